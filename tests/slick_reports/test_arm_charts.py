"""The pictures of single arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slick_reports import arm_charts
from slick_reports.numbers import Report
from slick_reports.report import build_report
from slick_reports.wording import estimate_percent, expected

if TYPE_CHECKING:
    from conftest import Lab, Study


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    after = study.lab.probe("after-known", of="known-1", skill={f.id: 0.5 for f in study.lab.facts})
    return build_report(study.runs, knowledge=study.probe, after=[after])


def test_slopes_hold_each_category_once(report: Report) -> None:
    """With the figures of the table."""
    text = arm_charts.slopes(report.arms[2], 2)
    assert text is not None
    for row in report.arms[2].groups[2:]:
        assert f"{row.group}: before {estimate_percent(row.before.accuracy)}, after" in text


def test_slopes_of_facts_without_categories_are_of_all(lab: Lab) -> None:
    """There is one line."""
    report = build_report([lab.score("base"), lab.score("arm")])
    assert "all: before 100.0" in str(arm_charts.slopes(report.arms[0], 0))


def test_the_migration_matrix_holds_every_cell(report: Report) -> None:
    """Counts, shares and intervals are in its description."""
    found = report.arms[0].migration
    assert found is not None
    text = arm_charts.migration_chart(found, 0)
    for row in found.rows:
        for count, share, to in zip(row.counts, row.shares, found.rows, strict=True):
            told = f"{row.category} → {to.category}: {expected(count, whole=True)} facts, {estimate_percent(share)} %"
            assert told in text


def test_wrong_answers_have_a_bar_for_before_and_for_each_arm(report: Report) -> None:
    """In shares of the wrong answers."""
    text = str(arm_charts.wrong_chart(report))
    for name in ("before", "known", "half", "unknown"):
        assert f"{name}: abstained " in text


def test_no_wrong_answers_are_no_picture(lab: Lab) -> None:
    """There is nothing to draw."""
    assert arm_charts.wrong_chart(build_report([lab.score("base"), lab.score("arm")])) is None


def test_loss_is_drawn_where_it_was_recorded(lab: Lab, report: Report) -> None:
    """One line a run, its first and last figure told."""
    assert arm_charts.loss_chart(report) is None
    loss = [{"step": s, "loss": 4 / (s + 1)} for s in range(10)]
    runs = [lab.arm("a", seed, training={"loss": loss}) for seed in range(2)]
    text = str(arm_charts.loss_chart(build_report([lab.score("base"), *runs])))
    assert "a seed 0: 4 at step 0, 0.4 at step 9; a seed 1: 4 at step 0" in text
    assert text.count('class="line"') == 2
