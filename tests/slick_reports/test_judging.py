"""The verdict of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick_reports.judging import check_margin
from slick_reports.numbers import Judged
from slick_reports.report import build_report

if TYPE_CHECKING:
    from conftest import Lab, Study


def judged(runs: list[Path], margin: float, **options: object) -> Judged:
    found = build_report(runs, margin=margin, **options).verdict  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture
def wide(lab: Lab) -> Lab:
    """400 facts of a subject each, so that a small margin can be defended."""
    lab.facts = [Fact.create(f"Q{i}?", [f"A{i}"], relation="r", subject=f"S{i}") for i in range(400)]
    return lab


def test_no_loss_passes(wide: Lab) -> None:
    """One sentence: verdict, facts, against what, figures; and which margin would end it."""
    found = judged([wide.score("base", wide.wrong_on(0)), wide.score("tuned", wide.wrong_on(1))], 0.05)
    assert found.outcome == "PASS"
    assert found.sentence == (
        "PASS: all facts, against before: in “tuned” a drop of 5.0 points or more is ruled out "
        "(0.0 points, 90 % interval −0.9 to +0.9, n = 400)."
    )
    (only,) = found.verdicts
    assert (only.arm, only.against, only.group, only.outcome) == ("tuned", "before", "all", "PASS")
    assert "against before: " in only.sentence
    (turn,) = found.turns
    assert "it would no longer PASS with a margin of 0.9 points or less." in turn
    assert only.passes_from == pytest.approx(0.00886, abs=1e-5)


def test_a_large_loss_fails(wide: Lab) -> None:
    """And the margins at which it would not are named."""
    found = judged([wide.score("base"), wide.score("tuned", wide.wrong_on(*range(80)))], 0.05)
    assert found.outcome == "FAIL"
    assert "FAIL: all facts, against before: “tuned” lost more than 5.0 points (−20.0 points" in found.sentence
    assert (
        "it would PASS with a margin above 23.5 points, and no longer FAIL with one of 16.8 points or more."
        in (found.turns[0])
    )


def test_what_is_open_says_what_would_settle_it(wide: Lab) -> None:
    """A margin, or more facts."""
    found = judged(
        [wide.score("base", wide.wrong_on(*range(40))), wide.score("t", wide.wrong_on(*range(25, 70)))], 0.02
    )
    assert found.outcome == "INCONCLUSIVE"
    assert "in “t” a drop of 2.0 points is not settled" in found.sentence
    assert any("facts in all would settle it." in turn for turn in found.turns)
    assert any("no margin makes it FAIL" in turn for turn in found.turns)


def test_no_margin_is_said_to_fail_where_counting_does_not_convict(wide: Lab) -> None:
    """16 lost and none gained lie beyond 2.6 points by the interval alone; counted, only below 2.5."""
    base, tuned = wide.score("base"), wide.score("tuned", wide.wrong_on(*range(16)))
    found = judged([base, tuned], 0.026)
    (only,) = found.verdicts
    assert only.estimate is not None
    assert only.estimate.interval is not None
    assert only.estimate.interval.high < -0.026
    assert found.outcome == "INCONCLUSIVE"
    assert only.fails_below == pytest.approx(0.02525, abs=3e-5)
    assert "and FAIL with one below 2.5 points." in found.turns[0]


@pytest.mark.parametrize("arms", [[16], [16, 17], [14, 20, 60], [0, 15], [80, 90, 100]])
def test_an_arm_turns_exactly_where_it_is_said_to(wide: Lab, arms: list[int]) -> None:
    """Whether counting, Holm's correction or the interval decides, and whatever margin was asked about."""
    runs = [wide.score("base"), *(wide.score(f"arm{i}", wide.wrong_on(*range(k))) for i, k in enumerate(arms))]
    turning = judged(runs, 0.03).verdicts
    for place, verdict in enumerate(turning):
        assert verdict.passes_from is not None
        assert verdict.fails_below is not None
        wanted = [
            (verdict.fails_below - 1e-4, "FAIL"),
            (verdict.fails_below + 1e-4, "INCONCLUSIVE"),
            (verdict.passes_from - 1e-4, "INCONCLUSIVE"),
            (verdict.passes_from + 1e-4, "PASS"),
        ]
        for margin, outcome in wanted:
            if margin > 0:
                assert judged(runs, margin).verdicts[place].outcome == outcome


def test_the_control_is_what_arms_are_judged_against(study: Study) -> None:
    """It is not judged itself; PASS needs every arm."""
    found = judged(study.runs, 0.03, knowledge=study.probe)
    assert [v.arm for v in found.verdicts] == ["half", "unknown"]
    assert {v.against for v in found.verdicts} == {"known"}
    assert {v.group for v in found.verdicts} == {"Known"}
    assert found.outcome == "FAIL"
    assert "against the control “known”: 2 of 2 arms lost more than 3.0 points (lowest “unknown”:" in found.sentence
    assert found.verdicts[1].estimate is not None
    report = build_report(study.runs, knowledge=study.probe)
    row = report.arms[2].group("Known")
    assert row is not None
    assert found.verdicts[1].estimate.interval == row.against_control.interval if row.against_control else False


def test_a_control_alone_is_judged_against_before(lab: Lab) -> None:
    """There is nothing else to judge."""
    found = judged([lab.score("base"), lab.arm("a", 0)], 0.5, control="a")
    assert [(v.arm, v.against) for v in found.verdicts] == [("a", "before")]


def test_an_undefined_interval_settles_nothing(lab: Lab) -> None:
    """One fact under several seeds."""
    lab.facts = lab.facts[:1]
    runs = [lab.arm("a", seed, lab.wrong_on(0)) for seed in range(2)]
    found = judged([lab.score("base"), *runs], 0.02)
    assert found.outcome == "INCONCLUSIVE"
    assert "undefined" in found.sentence
    assert found.turns == ()


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, 2.0, float("nan")])
def test_a_margin_that_cannot_be_is_refused(margin: float) -> None:
    """None is no margin at all."""
    with pytest.raises(InputError, match=r"--margin: found .* expected more than 0 and less than 100"):
        check_margin(margin)
    check_margin(None)


def test_a_verdict_on_the_very_weights_of_before_is_refused(lab: Lab) -> None:
    """A CI that scores the wrong path would go green; allowed, it stands under a banner."""
    runs = [lab.score("base"), lab.score("tuned", model=lab.model("base"))]
    with pytest.raises(InputError, match=r"(?s)would PASS whatever .*tuned has the very weights of before, .*base"):
        build_report(runs, margin=0.5)
    report = build_report(runs, margin=0.5, allow_mismatch=True)
    assert [(m.setting, m.run) for m in report.mismatches] == [("weights", f"{runs[1].parent.name}/{runs[1].name}")]
    assert build_report(runs).mismatches == ()


def test_a_verdict_on_the_very_weights_of_the_control_is_refused(lab: Lab) -> None:
    """One seed of an arm is enough."""
    runs = [lab.score("base"), lab.arm("known", 0), lab.arm("a", 0), lab.arm("a", 1, model=lab.model("known-0"))]
    with pytest.raises(InputError, match=r"(?s)  \S*a-1 has the very weights of the control, \S*known-0"):
        build_report(runs, control="known", margin=0.5)
