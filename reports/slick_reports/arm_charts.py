"""The pictures of single arms: slopes by category, learned and forgotten, wrong answers, migration, training loss."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from slick.knowledge import CATEGORIES
from slick.statistics import Estimate
from slick_reports.numbers import ALL, ArmNumbers, GroupNumbers, Migration, Report, WrongAnswers
from slick_reports.plots import Bar, Frame, Point, Series, Slope, bars_plot, line_plot, matrix_plot, slope_plot
from slick_reports.svg import arm_class, arm_marker, cut
from slick_reports.text import short
from slick_reports.wording import estimate_percent, expected, percent
from slick_reports.wrong import KINDS, TOLD, Kind

_CATEGORY_NAMES = tuple(str(category) for category in CATEGORIES)
KIND_NAMES = tuple(TOLD[kind] for kind in KINDS)


def slopes(arm: ArmNumbers, place: int) -> Markup | None:
    """Accuracy before and after by category; by all facts where none has a category. None for no facts."""
    named = {row.group: row for row in arm.groups}
    groups = [name for name in _CATEGORY_NAMES if name in named and named[name].n] or [ALL]
    found = [
        Slope(name, _slope_place(name), row.before.accuracy, row.after.accuracy)
        for name in groups
        if (row := named[name]).before.accuracy and row.after.accuracy
    ]
    if not found:
        return None
    return slope_plot(f"slopes-{place}", f"“{cut(arm.label, 40)}”: accuracy before and after, in percent", found)


def _slope_place(name: str) -> int:
    return _CATEGORY_NAMES.index(name) if name in _CATEGORY_NAMES else len(_CATEGORY_NAMES)


def turned_rows(arms: Sequence[ArmNumbers]) -> list[tuple[ArmNumbers, GroupNumbers]]:
    """Every arm's groups that hold facts, for the table of what was learned and forgotten."""
    return [(arm, row) for arm in arms for row in arm.groups if row.n and row.turned]


def wrong_chart(report: Report) -> Markup | None:
    """What the wrong answers to all facts are: before, and by arm. None where there are none."""
    bars = []
    for place, arm in enumerate(report.arms):
        row = arm.group(ALL)
        if row is None:
            continue
        if place == 0 and row.wrong_before:
            bars.append(_wrong_bar("before", row.wrong_before))
        if row.wrong_after:
            bars.append(_wrong_bar(arm.label, row.wrong_after))
    if not any(sum(bar.parts) for bar in bars):
        return None
    return bars_plot("wrong", "What the wrong answers are, in percent of them", bars, KIND_NAMES, "kind")


def _wrong_bar(name: str, wrong: WrongAnswers) -> Bar:
    by_kind = {
        Kind.ABSTAINED: wrong.abstained,
        Kind.ECHO: wrong.echo or 0.0,
        Kind.ENTITY: wrong.entity,
        Kind.OTHER: wrong.other,
    }
    return Bar(name, [by_kind[kind] for kind in KINDS], f"{round(wrong.wrong):,}")


def migration_chart(migration: Migration, place: int) -> Markup:
    """The matrix of an arm: a cell's share of its row, by darkness and in figures."""
    whole = not migration.expected
    cells = [
        [
            (
                share.value if share else 0.0,
                expected(count, whole=whole),
                f"{row.category} → {name}: {expected(count, whole=whole)} facts, {estimate_percent(share)} %",
            )
            for count, share, name in zip(row.counts, row.shares, _CATEGORY_NAMES, strict=True)
        ]
        for row in migration.rows
    ]
    description = "; ".join(text for row in cells for _, _, text in row)
    title = f"Facts by category before and after, {short(migration.probe)}"
    return matrix_plot(f"migration-{place}", title, description, _CATEGORY_NAMES, cells)


def loss_chart(report: Report) -> Markup | None:
    """Training loss by step, one line a run; None where no run recorded it."""
    series = []
    told = []
    for place, arm in enumerate(report.arms):
        for curve in arm.loss:
            points = [Point(step, loss) for step, loss in curve.points]
            series.append(Series(arm.label, arm_class(place), "", points))
            first, last = curve.points[0], curve.points[-1]
            seed = "" if curve.seed is None else f" seed {curve.seed}"
            told.append(
                f"{short(arm.label)}{seed}: {first[1]:.3g} at step {first[0]:g}, {last[1]:.3g} at step {last[0]:g}"
            )
            # Told apart in grey by the mark at its end.
            series.append(Series(arm.label, arm_class(place), arm_marker(place), points[-1:]))
    if not series:
        return None
    xs = [point.x for one in series for point in one.points]
    ys = [point.y for one in series for point in one.points]
    frame = Frame(x=(min(xs), max(xs)), y=(min(0.0, *ys), max(ys)), y_unit="")
    return line_plot("loss", "Training loss by step", "; ".join(told), series, frame)


def turned_text(estimate: Estimate | None, n: int) -> str:
    """A share of n facts that turned: "12.3 [10.0, 14.9] of 310"; "–" for none."""
    return f"{estimate_percent(estimate)} of {n:,}" if estimate else percent(None)
