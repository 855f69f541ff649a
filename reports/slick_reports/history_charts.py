"""The pictures of a history: accuracy by version as a time line, and the shares of categories."""

from __future__ import annotations

from markupsafe import Markup

from slick.knowledge import CATEGORIES
from slick_reports.history_numbers import History
from slick_reports.numbers import ALL, KNOWN
from slick_reports.plots import Bar, Frame, Mark, Point, Series, bars_plot, line_plot
from slick_reports.svg import SHAPES
from slick_reports.text import short
from slick_reports.wording import estimate_percent, estimate_points

NAMES = (ALL, KNOWN, *map(str, CATEGORIES))
_STYLES = {ALL: "slope4", KNOWN: "slope5", **{str(c): f"slope{i}" for i, c in enumerate(CATEGORIES)}}


def time_line(history: History, names: tuple[str, ...], id: str) -> Markup:
    """Accuracy of these groups by version, with intervals; marked changes as vertical lines, the baseline dotted."""
    series = []
    told = []
    for place, name in enumerate(names):
        points = []
        gap = False
        for x, version in enumerate(history.versions):
            row = next((row for row in version.groups if row.group == name), None)
            estimate = row.side.accuracy if row else None
            if estimate is None:
                gap = True
                continue
            text = f"{short(version.name)}, {name}: {estimate_percent(estimate)}"
            points.append(Point(x, estimate.value, estimate.interval, text, version.stale != (), gap))
            told.append(text)
            gap = False
        if points:
            series.append(Series(name, _STYLES.get(name, "slope4"), SHAPES[place % len(SHAPES)], points))
    places = {version.name: x for x, version in enumerate(history.versions)}
    marks = [
        Mark(
            places[step.later] - 0.5,
            f"{step.group}: {short(step.earlier)} → {short(step.later)} {estimate_points(step.estimate)} points",
            "change" if step.estimate and step.estimate.value < 0 else "change up",
        )
        for step in history.steps
        if step.changed and step.against == "previous" and step.group in names
    ]
    marks += [Mark(places[v.name], f"baseline: {short(v.name)}", "baseline") for v in history.versions if v.baseline]
    last = len(history.versions) - 1
    labels = [(float(x), short(v.name)) for x, v in enumerate(history.versions)]
    frame = Frame(720, 260, (-0.5, last + 0.5), (0.0, 1.0), labels)
    title = f"Accuracy by version, in percent: {', '.join(names)}"
    return line_plot(id, title, "; ".join(told + [mark.text for mark in marks]), series, frame, marks)


def categories_chart(history: History) -> Markup | None:
    """One bar a version that was probed; None where none was."""
    bars = [
        Bar(version.name, [row.n for row in version.shares.categories], f"{version.shares.n:,}")
        for version in history.versions
        if version.shares
    ]
    if not bars:
        return None
    return bars_plot("categories", "Share of facts in each category, by version", bars, NAMES[2:], "cat")


def legend_style(place: int, name: str) -> tuple[str, str]:
    """(CSS class, shape) of a group in the time line, for its legend."""
    return _STYLES.get(name, "slope4"), SHAPES[place % len(SHAPES)]
