"""A small set of SVG pieces: escaped elements, markers that differ in shape, and a linear axis.

Colours are CSS classes of the page, so that one picture serves light, dark and print; no `style` attribute, since
the page's content-security policy forbids it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

from slick_reports.text import visible

# Told apart without colour; an arm beyond the last takes the first shape again, in another colour.
SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "cross")
COLOURS = 8


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """`<tag …>children</tag>`. Strings are escaped, Markup is not; `class_` is class, `_` in a name is a hyphen."""
    text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(visible(child)) for child in children)
    return Markup(f"<{tag}{text}>{inner}</{tag}>")  # noqa: S704  tag is ours, text and inner are escaped


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else visible(str(value))


def picture(id: str, width: float, height: float, title: str, description: str, *children: str) -> Markup:
    """A whole SVG image that scales with its container and carries its text alternative."""
    return element(
        "svg",
        element("title", title, id=f"{id}-title"),
        element("desc", description, id=f"{id}-desc"),
        *children,
        class_="picture",
        role="img",
        aria_labelledby=f"{id}-title {id}-desc",
        viewBox=f"0 0 {width:g} {height:g}",
        xmlns="http://www.w3.org/2000/svg",
    )


def label(text: str, x: float, y: float, class_: str = "", anchor: str = "start") -> Markup:
    return element("text", text, x=float(x), y=float(y), class_=class_ or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def cut(text: str, characters: int) -> str:
    """`text` short enough for a place of so many characters."""
    shown = visible(text)
    return shown if len(shown) <= characters else shown[: characters - 1] + "…"


def marker(shape: str, x: float, y: float, tooltip: str = "", *, hollow: bool = False, r: float = 5.0) -> Markup:
    """A data point. hollow: outlined only. The tooltip needs no script."""
    children = (element("title", tooltip),) if tooltip else ()
    class_ = "mark hollow" if hollow else "mark"
    if shape == "circle":
        return element("circle", *children, cx=float(x), cy=float(y), r=r, class_=class_)
    path = "M" + "L".join(f"{x + r * dx:.2f} {y + r * dy:.2f}" for dx, dy in _OUTLINES[shape]) + "Z"
    return element("path", *children, d=path, class_=class_)


_OUTLINES = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "wedge": ((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
    "cross": tuple(
        (x, y)
        for x, y in (
            *((-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4)),
            *((0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)),
        )
    ),
}


def arm_marker(place: int) -> str:
    """The shape of the arm at `place`."""
    return SHAPES[place % len(SHAPES)]


def arm_class(place: int) -> str:
    """The colour class of the arm at `place`."""
    return f"arm{place % COLOURS}"


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis: values low..high at left..right."""

    low: float
    high: float
    left: float
    right: float

    def at(self, value: float) -> float:
        """Where `value` stands; values outside stand at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)

    def ticks(self, most: int = 6) -> list[float]:
        """At most `most` + 1 round values from low to high."""
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * (1 - 1e-9))
