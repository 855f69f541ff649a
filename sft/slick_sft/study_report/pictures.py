"""Lines with intervals over a numeric axis, as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from slick.statistics import Interval
from slick_reports.plots import sideways
from slick_reports.svg import SHAPES, Axis, arm_class, arm_marker, element, label, line, marker, picture
from slick_reports.wording import percent

_WIDTH, _HEIGHT = 460.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 448.0, 14.0, 262.0


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a line; y in [0, 1] is a share."""

    x: float
    y: float
    interval: Interval | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A named line. place: its colour and shape; None for the paper's, which is dashed and without signs."""

    name: str
    dots: tuple[Dot, ...]
    place: int | None = 0

    @property
    def style(self) -> str:
        return "paper" if self.place is None else arm_class(self.place)

    @property
    def key(self) -> tuple[str, str, str]:
        """(colour, shape, name) for the legend."""
        return self.style, "" if self.place is None else arm_marker(self.place), self.name


def lines_chart(
    id: str, title: str, lines: Sequence[Line], *, x_name: str, x_unit: str = "", y_low: float | None = None
) -> Markup:
    """Shares (y, in percent) over x. y_low: where the axis begins; by the lowest point if not given."""
    dots = [dot for each in lines for dot in each.dots]
    first, last = min(d.x for d in dots), max(d.x for d in dots)
    # Points at the edges keep clear of the numbers beside the axis.
    xs = Axis(first, max(last, first + 1e-6), _LEFT + 8, _RIGHT - 8)
    lows = [d.interval.low if d.interval else d.y for d in dots]
    highs = [d.interval.high if d.interval else d.y for d in dots]
    low = max(0.0, min(lows) - 0.02) if y_low is None else y_low
    # Downwards on the page is less.
    ys = Axis(low, max(min(1.0, max(highs) + 0.02), low + 0.05), _BOTTOM, _TOP)
    pieces = [*_grid(xs, ys, x_name, x_unit)]
    with_intervals = [each for each in lines if any(dot.interval for dot in each.dots)]
    for each in lines:
        pieces.append(_line(each, xs, ys, x_unit, sideways(with_intervals, each)))
    described = "; ".join(
        f"{each.name}: " + ", ".join(f"{_number(d.x)}{x_unit} {percent(d.y)} %" for d in each.dots) for each in lines
    )
    return picture(id, _WIDTH, _HEIGHT, title, described, *pieces)


def _grid(xs: Axis, ys: Axis, x_name: str, x_unit: str) -> Iterator[Markup]:
    for tick in ys.ticks(6):
        y = ys.at(tick)
        yield line(_LEFT, y, _RIGHT, y, "grid")
        yield label(f"{100 * tick:g}", _LEFT - 6, y + 4, "tick", "end")
    for tick in xs.ticks(7):
        x = xs.at(tick)
        yield line(x, _BOTTOM, x, _BOTTOM + 4, "grid")
        yield label(_number(tick), x, _BOTTOM + 17, "tick", "middle")
    yield line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "rule")
    yield label(
        f"{x_name}{f', {x_unit.strip()}' if x_unit else ''}", (_LEFT + _RIGHT) / 2, _HEIGHT - 5, "count", "middle"
    )


def _line(each: Line, xs: Axis, ys: Axis, x_unit: str, aside: float) -> Markup:
    """aside: how far to the right of its places it is drawn, so that no interval hides another's."""
    pieces: list[Markup] = []
    style = "prior" if each.place is None else "curve"
    for a, b in zip(each.dots, each.dots[1:], strict=False):
        pieces.append(line(xs.at(a.x) + aside, ys.at(a.y), xs.at(b.x) + aside, ys.at(b.y), style))
    for dot in each.dots if each.place is not None else ():
        if dot.interval:
            x = xs.at(dot.x) + aside
            pieces.append(line(x, ys.at(dot.interval.low), x, ys.at(dot.interval.high), "whisker"))
    for dot in each.dots if each.place is not None else ():
        told = f"{dot.name or each.name}, {_number(dot.x)}{x_unit}: {percent(dot.y)} %"
        size = 5.0 if len(each.dots) <= 12 else 3.0
        pieces.append(marker(arm_marker(each.place or 0), xs.at(dot.x) + aside, ys.at(dot.y), told, r=size))
    if each.place is None:
        for dot in each.dots:
            told = element("title", f"{each.name}, {_number(dot.x)}{x_unit}: {percent(dot.y)} %")
            pieces.append(element("circle", told, cx=xs.at(dot.x), cy=ys.at(dot.y), r=2.5, class_="paper-dot"))
    return element("g", *pieces, class_=each.style)


def _number(value: float) -> str:
    return f"{round(value, 6):g}"


def legend_sign(style: str, shape: str) -> Markup:
    """A series' sign beside its name; "box" is a category's; without a shape the dashed line of the paper's."""
    if shape == "box":
        inner = element("rect", x=1, y=1, width=12, height=12)
    else:
        inner = marker(shape, 7, 7) if shape in SHAPES else line(0, 7, 14, 7, "prior")
    return element("svg", element("g", inner, class_=style), class_="sign", viewBox="0 0 14 14", aria_hidden="true")
