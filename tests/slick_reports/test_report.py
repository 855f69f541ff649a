"""The whole way: runs in, reports out, against files that were read and found right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick_reports.numbers import Report, direction
from slick_reports.report import TITLE, build_report, headline_table, write_report

if TYPE_CHECKING:
    from conftest import Lab, Study

GOLD = Path(__file__).parent / "gold"


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return build_report(study.runs, knowledge=study.probe)


@pytest.mark.parametrize("suffix", [".md", ".json", ".xml"])
def test_the_report_is_the_one_on_file(small_study: Study, suffix: str) -> None:
    """To renew the files after a wanted change: SLICK_GOLD=1 make test, and read the difference."""
    skill = {fact.id: [1.0, 0.5, 0.0][i % 3] for i, fact in enumerate(small_study.lab.facts)}
    after = small_study.lab.probe("after", of="half-0", skill=skill)
    report = build_report(small_study.runs, knowledge=small_study.probe, after=[after], margin=0.05)
    made = write_report(report, Path("report.html"), junit=Path("report.xml"))
    text = next(path for path in made if path.suffix == suffix).read_text(encoding="utf-8")
    gold = GOLD / f"report{suffix}"
    if os.environ.get("SLICK_GOLD"):
        gold.write_text(text, encoding="utf-8")
    assert text == gold.read_text(encoding="utf-8")


def test_seeds_are_grouped_and_the_control_is_found(report: Report) -> None:
    """Seven runs, three arms, the one without Unknown rows is the control."""
    assert [(arm.label, arm.seeds, arm.is_control) for arm in report.arms] == [
        ("known", (0, 1, 2), True),
        ("half", (0,), False),
        ("unknown", (0, 1, 2), False),
    ]
    assert report.control == "known"
    assert report.before == "base"


def test_harm_that_was_put_in_comes_out(report: Report) -> None:
    """Tuning on Unknown rows cost Known facts here, tuning on Known rows did not."""
    known, _, unknown = (arm.group("Known") for arm in report.arms)
    assert known is not None
    assert unknown is not None
    assert direction(unknown.change.estimate) == "fell"
    assert direction(unknown.against_control) == "fell"
    assert direction(known.change.estimate) != "fell"
    assert report.headline.startswith("Known facts: accuracy fell in 2 of 3 arms, most in “unknown”: by ")


def test_the_probe_gives_categories_shares_and_the_selection_line(report: Report, study: Study) -> None:
    """Without it the categories come from the score runs, and the line says how to get it."""
    assert report.shares is not None
    assert report.shares.source == "probe"
    assert report.selection
    without = build_report(study.runs)
    assert without.shares is not None
    assert without.shares.source == "scored facts"
    assert without.shares.categories == report.shares.categories
    assert without.selection == ()
    assert "--knowledge PROBE_RUN" in without.selection_note
    assert without.arms == report.arms


def test_the_order_of_the_arms_runs_does_not_change_a_number(study: Study, report: Report) -> None:
    """Seeds are put in order; arms keep the order in which they first came."""
    shuffled = build_report([study.base, *reversed(study.runs[1:])], knowledge=study.probe)
    assert {arm.label: arm.groups for arm in shuffled.arms} == {arm.label: arm.groups for arm in report.arms}


def test_the_same_runs_make_the_same_bytes(study: Study, tmp_path: Path) -> None:
    """A report holds no time of its own."""
    made = [
        [path.read_bytes() for path in write_report(build_report(study.runs), tmp_path / "report.html")]
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_mismatches_are_recorded_where_they_are_allowed(lab: Lab) -> None:
    """And the method no longer claims one form on both sides."""
    report = build_report([lab.score("base"), lab.score("arm", form="Q: {question}\nA:")], allow_mismatch=True)
    assert [mismatch.setting for mismatch in report.mismatches] == ["form"]
    assert any("Not every run asked in the same way" in told for told in report.caveats)
    assert report.command.endswith("--allow-mismatch")


def test_labels_title_and_control_are_the_users(lab: Lab) -> None:
    """And stand in the command that makes the report again."""
    runs = [lab.score("base"), lab.arm("a", 0), lab.arm("b", 0)]
    report = build_report(runs, labels={str(runs[1]): "mine"}, control="mine", title="A title")
    assert (report.title, report.control, [arm.label for arm in report.arms]) == ("A title", "mine", ["mine", "b"])
    assert "--control mine" in report.command
    assert build_report(runs).title == TITLE


def test_the_headline_table_holds_each_arm_on_three_groups(report: Report) -> None:
    """Small enough for a terminal of 80 columns."""
    header, rows = headline_table(report)
    assert header == ["", "facts", "n", "prior", "before", "after", "difference [90 %]"]
    assert [row[:2] for row in rows] == [
        [label, group] for label in ("known", "half", "unknown") for group in ("all", "Known", "HighlyKnown")
    ]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    assert sum(widths) + 2 * len(header) <= 80


def test_a_hostile_label_is_short_in_the_terminal(hostile: list[Path]) -> None:
    """No control character reaches it."""
    _, rows = headline_table(build_report(hostile))
    assert all(len(row[0]) < 300 and row[0].isprintable() for row in rows)


def test_the_seeds_that_stand_for_two_arms_are_named(lab: Lab) -> None:
    """Where the control has one run, an arm of several meets it with one seed, and the report's top says so."""
    runs = [lab.score("base"), lab.arm("known", 1), *(lab.arm("a", seed, lab.wrong_on(seed)) for seed in range(3))]
    report = build_report(runs, control="known", margin=0.1)
    assert "Against the control: two checkpoints (“a” seed 1 against seed 1)" in report.noise
    assert "two checkpoints" not in build_report([runs[0], runs[1], runs[2]], control="known").noise
