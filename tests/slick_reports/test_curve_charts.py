"""Training curves as pictures and tables."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slick_reports import curve_charts
from slick_reports.curve_numbers import TrainingCurves
from slick_reports.numbers import ArmNumbers
from slick_reports.report import build_report
from slick_reports.wording import estimate_percent

if TYPE_CHECKING:
    from conftest import Lab


@pytest.fixture
def arm(lab: Lab) -> ArmNumbers:
    """Two seeds, one of which was scored where dev was best."""
    measured = lab.measurements(30)
    runs = [
        lab.arm("a", seed, **lab.tuned("a", seed, measured, kept=kept))
        for seed, kept in ((0, "early_stop"), (1, "model"))
    ]
    (found,) = build_report([lab.score("base"), *runs]).arms
    return found


def curves(arm: ArmNumbers) -> TrainingCurves:
    assert arm.training_curves is not None
    return arm.training_curves


def test_a_picture_tells_where_each_line_begins_and_ends(arm: ArmNumbers) -> None:
    """In its description, with intervals; its id is its own."""
    text = str(curve_charts.curve_chart(arm, 2, "train"))
    for curve in curves(arm).of("train"):
        first, last = (estimate_percent(curve.points[i].share) for i in (0, -1))
        assert f"{curve.group}: {first} % at epoch 0, {last} % at epoch 30" in text
    assert 'id="curves-2-0-title"' in text
    assert 'id="curves-2-1-title"' in str(curve_charts.curve_chart(arm, 2, "dev"))


def test_lines_are_whole_and_marks_few(arm: ArmNumbers) -> None:
    """Every epoch bends the line; told apart in grey are the lines by the shapes along them."""
    text = str(curve_charts.curve_chart(arm, 0, "train"))
    assert [len(d.split("L")) for d in re.findall(r'd="(M[^"]*)" class="line"', text)] == [31, 31]
    marks = re.findall(r"<title>(Known|Unknown), epoch ([0-9]+): ", text)
    assert len(marks) == 2 * 11 < 2 * curve_charts.ROWS
    assert (marks[0], marks[-1]) == (("Known", "0"), ("Unknown", "30"))
    assert len(re.findall("<circle", text)) == 11


def test_scored_epochs_are_marked_where_they_lie_within_the_picture(arm: ArmNumbers) -> None:
    """And told in words."""
    text = str(curve_charts.curve_chart(arm, 0, "dev"))
    assert re.findall("epoch ([0-9]+): a model that was scored", text) == ["1", "30"]
    assert curve_charts.told(curves(arm)).endswith(
        "over 2 seeds, with intervals of rows and seeds. Scored were the models of epochs 1 and 30."
    )
    later = replace(arm, training_curves=replace(curves(arm), scored=(40.0, None)))
    assert "a model that was scored" not in str(curve_charts.curve_chart(later, 0, "dev"))
    unknown = replace(curves(arm), seeds=(0,), scored=(None,))
    assert curve_charts.told(unknown).endswith("before its first step. Which epoch was scored is not recorded.")


def test_the_table_has_a_dozen_rows_at_most(arm: ArmNumbers) -> None:
    """From the first epoch to the last, a column a line, and how many were asked."""
    header, rows = curve_charts.curve_table(curves(arm))
    assert header[:3] == ["epoch", "Known, fitted (n\u00a0=\u00a0100)", "Unknown, fitted (n\u00a0=\u00a0100)"]
    assert header[3] == "HighlyKnown, dev (n\u00a0=\u00a050)"
    assert [row[0] for row in rows] == [str(epoch) for epoch in range(0, 31, 3)]
    assert rows[0][1] == estimate_percent(curves(arm).curves[0].points[0].share)


def test_a_group_that_was_not_asked_at_an_epoch_has_no_figure(arm: ArmNumbers) -> None:
    """It prints as nothing measured."""
    first, *others = curves(arm).curves
    found = replace(curves(arm), curves=(replace(first, points=first.points[1:]), *others))
    assert curve_charts.curve_table(found)[1][0][1] == "–"


def test_the_legend_counts_what_was_asked(arm: ArmNumbers) -> None:
    """A sign of its own for each group."""
    signs = list(curve_charts.legend(curves(arm).of("dev")))
    assert [(group, n) for _, group, n in signs] == [
        (c, 50) for c in ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")
    ]
    assert len({str(sign) for sign, _, _ in signs}) == 4


@pytest.mark.parametrize(
    ("watched", "title"),
    [("train", "Training rows fitted"), ("dev", "Dev facts right"), ("mine", "Facts of “mine” right")],
)
def test_every_set_has_a_title(watched: str, title: str) -> None:
    """A user's own bears its name."""
    assert curve_charts.title_of(watched) == title
