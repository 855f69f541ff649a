"""The report's pictures, drawn from its numbers: accuracy, differences, category shares. Inline SVG, no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from slick.knowledge import CATEGORIES
from slick.statistics import Estimate
from slick_reports.numbers import ArmNumbers, GroupNumbers, Report, Shares, direction
from slick_reports.svg import Axis, arm_class, arm_marker, cut, element, label, line, marker, picture
from slick_reports.text import short
from slick_reports.wording import estimate_percent, estimate_points, expected, percent, points

_WIDTH = 460.0
_LEFT, _RIGHT = 8.0, 452.0
_TOP = 26.0
_HEADER, _ROW, _GAP = 25.0, 17.0, 10.0


@dataclass(frozen=True, slots=True)
class _Row:
    """One dot with its interval. style: the CSS class of its colour; hollow: outlined."""

    style: str
    shape: str
    estimate: Estimate
    text: str
    hollow: bool


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows of one group; a place that is None stays free. tick: where the answer prior stands."""

    name: str
    n: int
    rows: Sequence[_Row | None]
    tick: float | None = None


def accuracy_chart(report: Report) -> Markup:
    """Before and every arm, by group: a dot with its interval, the answer prior as a dashed tick."""
    blocks = [
        _Block(rows[0].group, rows[0].n, _accuracy_rows(report, rows), rows[0].prior)
        for rows in _by_group(report.arms)
        if rows[0].n
    ]
    description = "; ".join(
        f"{block.name}: " + ", ".join(row.text for row in block.rows if row is not None) for block in blocks
    )
    return _dots("accuracy", "Accuracy, in percent, by category", description, blocks, Axis(0, 1, _LEFT, _RIGHT), "%")


def _accuracy_rows(report: Report, rows: Sequence[GroupNumbers]) -> list[_Row | None]:
    found: list[_Row | None] = []
    if rows[0].before.accuracy:
        estimate = rows[0].before.accuracy
        found.append(_Row("before", "circle", estimate, _said("before", estimate_percent(estimate)), True))
    for place, (arm, row) in enumerate(zip(report.arms, rows, strict=True)):
        if row.after.accuracy:
            text = _said(arm.label, estimate_percent(row.after.accuracy))
            found.append(_Row(arm_class(place), arm_marker(place), row.after.accuracy, text, False))
    return found


def change_chart(report: Report) -> Markup:
    """Every arm minus before, by group, about the zero line; rows stand level with `accuracy_chart`'s."""
    blocks = [
        # The free place is where the other picture shows "before".
        _Block(rows[0].group, rows[0].n, [None, *_difference_rows(report, [r.change.estimate for r in rows])])
        for rows in _by_group(report.arms)
        if rows[0].n
    ]
    return _differences("change", "Difference to before, in points, by category", blocks)


def control_chart(report: Report) -> Markup | None:
    """Every other arm minus the control, by group; None without a control or another arm."""
    if report.control is None or len(report.arms) < 2:
        return None
    blocks = [
        _Block(rows[0].group, rows[0].n, _difference_rows(report, [r.against_control for r in rows]))
        for rows in _by_group(report.arms)
        if rows[0].n
    ]
    title = f"Difference to the control “{cut(report.control, 40)}”, in points, by category"
    return _differences("control", title, blocks)


def _difference_rows(report: Report, estimates: Sequence[Estimate | None]) -> list[_Row | None]:
    found: list[_Row | None] = []
    for place, (arm, estimate) in enumerate(zip(report.arms, estimates, strict=True)):
        if estimate is not None:
            text = _said(arm.label, estimate_points(estimate))
            hollow = direction(estimate) == "open"
            found.append(_Row(arm_class(place), arm_marker(place), estimate, text, hollow))
    return found


def _said(name: str, numbers: str) -> str:
    return f"{short(name)} {numbers}"


def _by_group(arms: Sequence[ArmNumbers]) -> Iterator[tuple[GroupNumbers, ...]]:
    """The arms' rows of each group, in one order."""
    return zip(*(arm.groups for arm in arms), strict=True)


def _differences(id: str, title: str, blocks: Sequence[_Block]) -> Markup:
    rows = [row for block in blocks for row in block.rows if row is not None]
    limits = [0.0]
    for row in rows:
        limits.append(row.estimate.value)
        if row.estimate.interval:
            limits += [row.estimate.interval.low, row.estimate.interval.high]
    # At least four points wide, so that noise alone does not look like a landslide.
    low, high = min(*limits, -0.02), max(*limits, 0.02)
    margin = 0.04 * (high - low)
    axis = Axis(low - margin, high + margin, _LEFT, _RIGHT)
    description = "; ".join(
        f"{block.name}: " + ", ".join(row.text for row in block.rows if row is not None) for block in blocks
    )
    return _dots(id, title, description, blocks, axis, "points")


def _dots(id: str, title: str, description: str, blocks: Sequence[_Block], axis: Axis, unit: str) -> Markup:
    pieces: list[Markup] = []
    y = _TOP
    for block in blocks:
        pieces.append(_block(block, y, axis))
        y += _HEADER + _ROW * len(block.rows) + _GAP
    grid = list(_grid(axis, _TOP - 6, y - _GAP / 2, unit))
    return picture(id, _WIDTH, y + 20, title, description, *grid, *pieces)


def _grid(axis: Axis, top: float, bottom: float, unit: str) -> Iterator[Markup]:
    for tick in axis.ticks(5 if unit == "%" else 8):
        zero = unit != "%" and abs(tick) < 1e-9
        x = axis.at(tick)
        yield line(x, top, x, bottom, "zero" if zero else "grid")
        value = f"{100 * tick:g}" if unit == "%" else "0" if zero else f"{points(tick)}".removesuffix(".0")
        for y in (top - 6, bottom + 14):
            # The outermost numbers stay inside the picture.
            anchor = "start" if x < axis.left + 8 else "end" if x > axis.right - 8 else "middle"
            yield label(value, x, y, "tick", anchor)


def _block(block: _Block, y: float, axis: Axis) -> Markup:
    first = y + _HEADER + _ROW / 2 - 3
    last = first + _ROW * (len(block.rows) - 1)
    pieces = [
        line(_LEFT, y, _RIGHT, y, "rule"),
        label(block.name, _LEFT, y + 15, "group"),
        label(f"n = {block.n:,}", _RIGHT, y + 15, "count", "end"),
    ]
    if block.tick is not None:
        x = axis.at(block.tick)
        pieces.append(line(x, first - 7, x, last + 7, "prior"))
    for place, row in enumerate(block.rows):
        if row is not None:
            pieces.append(_dot(row, first + _ROW * place, axis))
    return element("g", *pieces)


def _dot(row: _Row, y: float, axis: Axis) -> Markup:
    pieces = []
    if row.estimate.interval:
        pieces.append(line(axis.at(row.estimate.interval.low), y, axis.at(row.estimate.interval.high), y, "whisker"))
    pieces.append(marker(row.shape, axis.at(row.estimate.value), y, row.text, hollow=row.hollow))
    return element("g", *pieces, class_=row.style)


def shares_chart(shares: Shares) -> Markup:
    """One stacked bar for all facts, and one for each relation where there are several."""
    names = [str(category) for category in CATEGORIES]
    counts = [row.n for row in shares.categories]
    whole = not shares.expected
    pieces = [_bar("all", counts, 12, 34, names, whole=whole)]
    y = 62.0
    if len(shares.relations) > 1:
        for relation, row in shares.relations.items():
            pieces.append(_bar(relation, row, y, 16, names, whole=whole))
            y += 23
    title = "Share of facts in each category"
    description = ", ".join(
        f"{row.category} {estimate_percent(row.share)} % ({expected(row.n, whole=not shares.expected)} of {shares.n:,})"
        for row in shares.categories
    )
    return picture("shares", _WIDTH, y, title, description, *pieces)


def _bar(
    name: str, counts: Sequence[float], y: float, height: float, names: Sequence[str], *, whole: bool = True
) -> Markup:
    left, right, total = 106.0, 410.0, sum(counts)
    middle = y + height / 2 + 4.5
    pieces = [
        label(cut(name, 11), _LEFT, middle, "row"),
        label(f"{round(total):,}", _RIGHT, middle, "count", "end"),
    ]
    x = left
    for place, count in enumerate(counts):
        width = (right - left) * count / total
        told = expected(count, whole=whole)
        tooltip = element("title", f"{short(name)}, {names[place]}: {told} ({percent(count / total)} %)")
        if count:
            rect = element("rect", tooltip, x=x, y=float(y), width=max(width - 1, 0.5), height=float(height))
            text = percent(count / total, 0)
            number = [label(text, x + width / 2, middle, "inside", "middle")] if width > 24 and height > 20 else []
            pieces.append(element("g", rect, *number, class_=f"cat{place}"))
        x += width
    return element("g", *pieces)


def swatch(place: int) -> Markup:
    """The legend's square of a category."""
    square = element("rect", x=1, y=1, width=12, height=12)
    return element("svg", element("g", square, class_=f"cat{place}"), **_LEGEND)


def kind_swatch(place: int) -> Markup:
    """The legend's square of a kind of wrong answers."""
    square = element("rect", x=1, y=1, width=12, height=12)
    return element("svg", element("g", square, class_=f"kind{place}"), **_LEGEND)


def legend_marker(place: int | None) -> Markup:
    """The legend's sign of the arm at `place`; None is "before"."""
    sign = marker("circle" if place is None else arm_marker(place), 7, 7, hollow=place is None)
    return element("svg", element("g", sign, class_="before" if place is None else arm_class(place)), **_LEGEND)


def legend_prior() -> Markup:
    """The legend's sign of the answer prior."""
    return element("svg", line(7, 0, 7, 14, "prior"), **_LEGEND)


_LEGEND: dict[str, object] = {"class_": "sign", "viewBox": "0 0 14 14", "aria_hidden": "true"}
