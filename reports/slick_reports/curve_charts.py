"""Training curves as pictures and as tables: one of each for every watched set of an arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from slick.dynamics import DEV, TRAIN
from slick.knowledge import CATEGORIES
from slick_reports.curve_numbers import CurvePoint, LearningCurve, TrainingCurves
from slick_reports.curves import thinned
from slick_reports.numbers import ArmNumbers
from slick_reports.plots import Frame, Mark, Point, Series, line_plot
from slick_reports.svg import SHAPES, cut, element, marker
from slick_reports.text import short
from slick_reports.wording import NONE, estimate_percent

# Lines of a table, and marks along a line of a picture, at most.
ROWS = 12
_NAMES = tuple(str(category) for category in CATEGORIES)


def title_of(watched: str) -> str:
    """What a set's picture and table are of."""
    if watched == TRAIN:
        return "Training rows fitted"
    return "Dev facts right" if watched == DEV else f"Facts of “{cut(watched, 30)}” right"


def told(curves: TrainingCurves) -> str:
    """What is needed to read the arm's curves, in two sentences."""
    seeds = len(curves.seeds)
    first = "Percent right, asked greedily in the training form; epoch 0 is the model before its first step."
    if seeds > 1:
        first += f" Shares are means over {seeds} seeds, with intervals of rows and seeds."
    known = sorted({epoch for epoch in curves.scored if epoch is not None})
    if not known:
        return f"{first} Which epoch was scored is not recorded."
    *others, last = (f"{epoch:g}" for epoch in known)
    if not others:
        return f"{first} Scored was the model of epoch {last}."
    return f"{first} Scored were the models of epochs {', '.join(others)} and {last}."


def legend(curves: Sequence[LearningCurve]) -> Iterator[tuple[Markup, str, int]]:
    """(sign, group, rows asked) of each line of a picture."""
    for curve in curves:
        style, shape = _look(curve.group)
        sign = element("g", marker(shape, 7, 7), class_=style)
        yield (
            element("svg", sign, class_="sign", viewBox="0 0 14 14", aria_hidden="true"),
            curve.group,
            curve.points[0].share.n,
        )


def curve_chart(arm: ArmNumbers, place: int, watched: str) -> Markup:
    """Share right by epoch, one line a group; marks, with their intervals, where the table has its rows."""
    assert arm.training_curves is not None
    curves = arm.training_curves.of(watched)
    series = []
    for curve in curves:
        style, shape = _look(curve.group)
        marks = [
            Point(
                p.epoch, p.share.value, p.share.interval, f"{curve.group}, epoch {p.epoch:g}: {_percent(p)}", gap=True
            )
            for p in thinned(curve.points, ROWS)
        ]
        series.append(Series(curve.group, style, "", [Point(p.epoch, p.share.value) for p in curve.points]))
        series.append(Series(curve.group, style, shape, marks))
    ends = "; ".join(
        f"{curve.group}: {_percent(curve.points[0])} % at epoch {curve.points[0].epoch:g}, "
        f"{_percent(curve.points[-1])} % at epoch {curve.points[-1].epoch:g}"
        for curve in curves
    )
    epochs = [point.epoch for curve in curves for point in curve.points]
    scored = sorted({epoch for epoch in arm.training_curves.scored if epoch is not None})
    return line_plot(
        f"curves-{place}-{arm.training_curves.watched().index(watched)}",
        f"{title_of(watched)} by epoch, “{cut(arm.label, 40)}”, in percent",
        ends,
        series,
        Frame(x=(min(epochs), max(epochs))),
        [
            Mark(epoch, f"epoch {epoch:g}: a model that was scored", "baseline")
            for epoch in scored
            if min(epochs) <= epoch <= max(epochs)
        ],
    )


def curve_table(curves: TrainingCurves) -> tuple[list[str], list[list[str]]]:
    """(header, rows): a row an epoch, at most ROWS of them, the first and the last among them; a column a curve."""
    header = ["epoch"]
    for curve in curves.curves:
        what = "fitted" if curve.watched == TRAIN else short(curve.watched)
        header.append(f"{curve.group}, {what} (n\u00a0=\u00a0{curve.points[0].share.n:,})")
    by_epoch = [{point.epoch: point for point in curve.points} for curve in curves.curves]
    epochs = thinned(sorted({epoch for of in by_epoch for epoch in of}), ROWS)
    return header, [[f"{e:g}", *(_percent(of[e]) if e in of else NONE for of in by_epoch)] for e in epochs]


def _percent(point: CurvePoint) -> str:
    return estimate_percent(point.share)


def _look(group: str) -> tuple[str, str]:
    """(CSS class, shape) of a group; the same as in the pictures of before and after."""
    place = _NAMES.index(group) if group in _NAMES else 0
    return f"slope{place}", SHAPES[place]
