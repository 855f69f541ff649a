"""Plots that any report of ours can use: lines, slopes, matrices, bars. Inline SVG without colours of its own.

A series has a CSS class, which gives it its colour, and a shape, which tells it apart in grey. Every picture carries a
title and a description that holds its figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from slick.statistics import Estimate, Interval
from slick_reports.svg import Axis, cut, element, label, line, marker, picture
from slick_reports.text import short
from slick_reports.wording import estimate_percent, percent


@dataclass(frozen=True, slots=True)
class Point:
    """One measured point. text: its tooltip; hollow: outlined; gap: no line leads here from the point before."""

    x: float
    y: float
    interval: Interval | None = None
    text: str = ""
    hollow: bool = False
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the order of x. shape: "" for a line without marks."""

    name: str
    style: str
    shape: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at x, with a tooltip. style: a CSS class."""

    x: float
    text: str
    style: str = "change"


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a plot stands, and its axes. x_labels: (x, text); y_unit: "%" prints fractions in percent."""

    width: float = 460.0
    height: float = 240.0
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    x_labels: Sequence[tuple[float, str]] = ()
    y_unit: str = "%"

    @property
    def across(self) -> Axis:
        low, high = self.x if self.x[0] < self.x[1] else (self.x[0] - 0.5, self.x[0] + 0.5)
        return Axis(low, high, 50, self.width - 14)

    @property
    def up(self) -> Axis:
        low, high = self.y if self.y[0] < self.y[1] else (self.y[0] - 0.5, self.y[0] + 0.5)
        return Axis(low, high, self.height - 30, 14)


def line_plot(
    id: str, title: str, description: str, series: Sequence[Series], frame: Frame, marks: Sequence[Mark] = ()
) -> Markup:
    """Lines over a common x, with intervals as bands (lines) or whiskers (where points have a shape)."""
    pieces = [*_grid(frame), *_x_labels(frame)]
    for mark in marks:
        x = frame.across.at(mark.x)
        pieces.append(
            element("g", element("title", mark.text), line(x, 10, x, frame.height - 28, mark.style), class_="marked")
        )
    # Series that share their places stand a little apart, so that no interval hides another.
    with_intervals = [one for one in series if any(point.interval for point in one.points)]
    for one in series:
        pieces.append(_series(one, frame, sideways(with_intervals, one)))
    return picture(id, frame.width, frame.height, title, description, *pieces)


def sideways(lines: Sequence[object], one: object, least: float = 5.0, room: float = 12.0) -> float:
    """How far to the right of its places one of several lines is drawn: at most `room` / 2 pixels to either side."""
    place = next((i for i, each in enumerate(lines) if each is one), None)
    if place is None or len(lines) < 2:
        return 0.0
    return (place - (len(lines) - 1) / 2) * min(least, room / (len(lines) - 1))


def _grid(frame: Frame) -> Iterator[Markup]:
    for tick in frame.up.ticks(5):
        y = frame.up.at(tick)
        yield line(46, y, frame.width - 8, y, "grid")
        text = f"{100 * tick:g}" if frame.y_unit == "%" else f"{tick:g}"
        yield label(text, 42, y + 4, "tick", "end")


def _x_labels(frame: Frame) -> Iterator[Markup]:
    if not frame.x_labels:
        for tick in frame.across.ticks(6):
            yield label(f"{tick:g}", frame.across.at(tick), frame.height - 8, "tick", "middle")
        return
    # As many as fit: a label is about seven pixels a character.
    longest = max(min(len(text), 12) for _, text in frame.x_labels)
    room = max(1, int((frame.width - 64) / (7.0 * longest + 10)))
    step = max(1, -(-len(frame.x_labels) // room))
    for x, text in frame.x_labels[::step]:
        at = frame.across.at(x)
        anchor = "start" if at < 60 else "end" if at > frame.width - 40 else "middle"
        yield label(
            cut(text, 12),
            at if anchor == "middle" else 46 if anchor == "start" else frame.width - 8,
            frame.height - 8,
            "tick",
            anchor,
        )


def _series(series: Series, frame: Frame, aside: float) -> Markup:
    at = [(frame.across.at(p.x) + aside, frame.up.at(p.y), p) for p in series.points]
    pieces: list[Markup] = []
    for part in _stretches(at):
        if len(part) > 1:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in part)
            pieces.append(element("path", d=path, class_="line"))
    for x, y, point in at:
        if point.interval is not None:
            low, high = frame.up.at(point.interval.low), frame.up.at(point.interval.high)
            pieces.append(line(x, low, x, high, "whisker thin"))
        if series.shape:
            pieces.append(marker(series.shape, x, y, point.text, hollow=point.hollow, r=4.0))
    return element("g", *pieces, class_=series.style)


def _stretches(points: Sequence[tuple[float, float, Point]]) -> list[list[tuple[float, float, Point]]]:
    found: list[list[tuple[float, float, Point]]] = []
    for point in points:
        if not found or point[2].gap:
            found.append([])
        found[-1].append(point)
    return found


@dataclass(frozen=True, slots=True)
class Slope:
    """One group before and after. place: of its shape and colour."""

    name: str
    place: int
    before: Estimate
    after: Estimate


_SLOPE_SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "cross")


def slope_plot(id: str, title: str, slopes: Sequence[Slope]) -> Markup:
    """Before on the left, after on the right, one line a group, named at its end."""
    width, height = 460.0, 250.0
    up, left, right = Axis(0, 1, height - 24, 16), 60.0, 300.0
    pieces = [label("before", left, height - 6, "tick", "middle"), label("after", right, height - 6, "tick", "middle")]
    for tick in up.ticks(5):
        pieces += [line(left, up.at(tick), right, up.at(tick), "grid")]
        pieces += [label(f"{100 * tick:g}", left - 14, up.at(tick) + 4, "tick", "end")]
    ends = _apart([up.at(slope.after.value) for slope in slopes], 15, 20, height - 26)
    for slope, end in zip(slopes, ends, strict=True):
        shape = _SLOPE_SHAPES[slope.place % len(_SLOPE_SHAPES)]
        a, b = up.at(slope.before.value), up.at(slope.after.value)
        marks = [line(left, a, right, b, "line")]
        for x, estimate, side in ((left, slope.before, "before"), (right, slope.after, "after")):
            if estimate.interval:
                marks.append(line(x, up.at(estimate.interval.low), x, up.at(estimate.interval.high), "whisker thin"))
            told = f"{short(slope.name)} {side} {estimate_percent(estimate)}"
            marks.append(marker(shape, x, up.at(estimate.value), told, r=4.5))
        marks.append(line(right + 7, b, right + 18, end, "lead"))
        marks.append(label(f"{cut(slope.name, 14)} {percent(slope.after.value)}", right + 22, end + 4, "row"))
        pieces.append(element("g", *marks, class_=f"slope{slope.place % 6}"))
    description = "; ".join(
        f"{short(s.name)}: before {estimate_percent(s.before)}, after {estimate_percent(s.after)}" for s in slopes
    )
    return picture(id, width, height, title, description, *pieces)


def _apart(wanted: Sequence[float], least: float, top: float, bottom: float) -> list[float]:
    """Places as near as may be to `wanted`, in its order, at least `least` apart."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [min(max(wanted[i], top), bottom) for i in order]
    for i, j in pairwise(range(len(placed))):
        placed[j] = max(placed[j], placed[i] + least)
    over = max(0.0, placed[-1] - bottom) if placed else 0.0
    for i in range(len(placed) - 1, -1, -1):
        limit = bottom - least * (len(placed) - 1 - i)
        if over and placed[i] > limit:
            placed[i] = limit
    found = [0.0] * len(wanted)
    for place, i in zip(placed, order, strict=True):
        found[i] = place
    return found


_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def matrix_plot(
    id: str,
    title: str,
    description: str,
    names: Sequence[str],
    cells: Sequence[Sequence[tuple[float, str, str]]],
) -> Markup:
    """A square matrix: rows from, columns to. A cell is (share of its row in [0, 1], its text, its tooltip)."""
    left, top, width, height = 112.0, 44.0, 84.0, 40.0
    pieces = [label("before ↓  after →", 8, 18, "tick")]
    for place, name in enumerate(names):
        # Two names that stand side by side would touch: "HighlyKnown" takes two lines.
        for i, part in enumerate(reversed(_HUMP.split(name))):
            pieces.append(label(part, left + width * (place + 0.5), top - 8 - 14 * i, "tick", "middle"))
        pieces.append(label(name, left - 8, top + height * (place + 0.5) + 4, "row", "end"))
    for i, row in enumerate(cells):
        for j, (share, text, tooltip) in enumerate(row):
            x, y = left + width * j, top + height * i
            rect = element(
                "rect",
                element("title", tooltip),
                x=x + 1,
                y=y + 1,
                width=width - 2,
                height=height - 2,
                fill_opacity=round(0.05 + 0.9 * share, 2),
                class_="heat same" if i == j else "heat",
            )
            pieces += [
                rect,
                label(text, x + width / 2, y + height / 2 + 4.5, "over" if share > 0.5 else "on", "middle"),
            ]
    return picture(id, left + width * len(names) + 8, top + height * len(names) + 8, title, description, *pieces)


@dataclass(frozen=True, slots=True)
class Bar:
    """A stacked bar. parts: amounts, one for each class of `bars_plot`."""

    name: str
    parts: Sequence[float]
    text: str = ""


def bars_plot(id: str, title: str, bars: Sequence[Bar], names: Sequence[str], style: str) -> Markup:
    """Stacked bars, each in shares of its own total. names: of the parts; style0, style1, … colour them."""
    left, right, y = 112.0, 404.0, 8.0
    pieces: list[Markup] = []
    for bar in bars:
        total = sum(bar.parts)
        pieces.append(label(cut(bar.name, 12), 8, y + 13, "row"))
        pieces.append(label(bar.text or f"{round(total):,}", 452, y + 13, "count", "end"))
        x = left
        for place, part in enumerate(bar.parts):
            width = (right - left) * part / total if total else 0.0
            if part:
                told = f"{short(bar.name)}, {names[place]}: {percent(part / total)} %"
                rect = element("rect", element("title", told), x=x, y=y, width=max(width - 1, 0.5), height=18.0)
                number = [label(percent(part / total, 0), x + width / 2, y + 13.5, "inside", "middle")]
                pieces.append(element("g", rect, *(number if width > 26 else []), class_=f"{style}{place}"))
            x += width
        y += 25
    description = "; ".join(
        f"{short(bar.name)}: "
        + (
            ", ".join(f"{name} {percent(part / sum(bar.parts))} %" for name, part in zip(names, bar.parts, strict=True))
            if sum(bar.parts)
            else "nothing"
        )
        for bar in bars
    )
    return picture(id, 460, y + 4, title, description, *pieces)
