"""Pictures of a report as one SVG file, which brings its own style: for a README or a slide."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from slick_reports.svg import element, label
from slick_sft.study_report.blocks import Picture
from slick_sft.study_report.pictures import legend_sign

_GAP, _TOP, _ROW, _SIGN = 28.0, 30.0, 20.0, 20.0
_VIEW = re.compile(r'<svg class="picture"([^>]*) viewBox="0 0 ([\d.]+) ([\d.]+)"')
_STYLE = (
    'svg{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;font-size:13px}'
    ".picture .caption{font-weight:600;font-size:15px}"
    # As on the page, where a key is a list.
    ".keyed:has(.paper)~.keyed .paper .prior{stroke-dasharray:7 3}"
)


def picture_file(pictures: Sequence[Picture], css: str) -> str:
    """Side by side, each under its caption and the key to its signs; light or dark as the reader's system is.

    css: the style of the page that the pictures are from.
    """
    placed, x, height = [], _GAP / 2, 0.0
    for picture in pictures:
        drawn, width, tall = _sized(picture.svg)
        key = [_key(sign, x, _TOP + _ROW * i) for i, sign in enumerate(picture.key)]
        y = _TOP + _ROW * len(picture.key) + 4
        placed += [
            label(picture.caption, x, 19.0, "caption"),
            *key,
            element("g", drawn, transform=f"translate({x:g} {y:g})"),
        ]
        x, height = x + width + _GAP, max(height, y + tall)
    width = x - _GAP / 2
    # The classes of the page's pictures hold inside of it too.
    inner = element(
        "g", element("rect", x=0, y=0, width=width, height=height + 8, fill="var(--paper)"), *placed, class_="picture"
    )
    style = Markup("<style>{}</style>").format(Markup(_STYLE + css))  # noqa: S704  our own files
    whole = element("svg", style, inner, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height + 8:g}")
    return f"{whole}\n"


def _sized(svg: Markup) -> tuple[Markup, float, float]:
    """The picture with a size of its own, which it needs inside of another; and that size."""
    found = _VIEW.match(svg)
    if found is None:
        raise ValueError(f"not a picture of ours: {svg[:80]!r}")
    rest, width, height = found[1], float(found[2]), float(found[3])
    head = f'<svg class="inner"{rest} width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return Markup(head + str(svg)[found.end() :]), width, height  # noqa: S704  made by `picture`


def _key(sign: tuple[str, str, str], x: float, y: float) -> Markup:
    style, shape, name = sign
    # legend_sign draws in a box of 14, which takes its size from the page.
    box = 'viewBox="0 0 14 14"'
    drawn = Markup(str(legend_sign(style, shape)).replace(box, f'width="14" height="14" {box}'))  # noqa: S704  made by it
    return element("g", drawn, label(name, _SIGN, 11.5), class_="keyed", transform=f"translate({x:g} {y:g})")
