"""The sentences of a report."""

from __future__ import annotations

import pytest

from slick.statistics import Estimate, Interval
from slick_reports import headline
from slick_reports.numbers import ALL, KNOWN, ArmNumbers, Difference, GroupNumbers, Side


def estimate(value: float, half: float | None = 0.03, n: int = 400) -> Estimate:
    interval = None if half is None else Interval(value - half, value + half)
    return Estimate(value, interval, n, "Tango")


def group(name: str, change: Estimate | None, against: Estimate | None = None, n: int = 400) -> GroupNumbers:
    before = Side(Estimate(0.6, Interval(0.55, 0.65), n, "Wilson"), 0.0)
    after = Side(Estimate(0.6 + (change.value if change else 0), Interval(0.1, 0.9), n, "Wilson"), 0.0)
    return GroupNumbers(name, n, 0.1, before, after, Difference(change, 1, 1), against)


def arm(label: str, change: Estimate | None, against: Estimate | None = None, **others: object) -> ArmNumbers:
    seeds = others.pop("seeds", (0,))
    groups = (group(ALL, change, against), group(KNOWN, change, against, n=others.pop("known", 400)))  # type: ignore[arg-type]
    return ArmNumbers(label, False, seeds, others, groups, (), ())  # type: ignore[arg-type]


def test_a_fall_is_told_with_its_size_interval_and_n() -> None:
    """What fell, by how much, from where to where, and how sure that is."""
    assert headline.headline([arm("half", estimate(-0.123))], None) == (
        "Known facts: accuracy fell in “half” by 12.3 points, from 60.0 % to 47.7 % "
        "(90 % interval of the difference −15.3 to −9.3, n = 400)."
    )


def test_the_largest_of_several_falls_is_told_with_how_many_there_are() -> None:
    """An arm that did not fall is counted, not forgotten."""
    arms = [arm("a", estimate(-0.05)), arm("b", estimate(-0.2)), arm("c", estimate(0.0))]
    assert headline.headline(arms, None).startswith(
        "Known facts: accuracy fell in 2 of 3 arms, most in “b”: by 20.0 points"
    )


@pytest.mark.parametrize(
    ("against", "told"),
    [
        (estimate(-0.1), " That is 10.0 points lower than the control “known” (−13.0 to −7.0)."),
        (estimate(0.1), " That is 10.0 points higher than the control “known” (+7.0 to +13.0)."),
        (estimate(-0.01), " Against the control “known” no difference is shown (−1.0; −4.0 to +2.0)."),
        (estimate(-0.01, None), " Against the control “known” no difference is shown (−1.0; undefined)."),
    ],
)
def test_a_fall_is_set_against_the_control(against: Estimate, told: str) -> None:
    """A fall that the control shares is not the dataset's."""
    assert headline.headline([arm("half", estimate(-0.2), against)], "known").endswith(told)


def test_no_fall_shown_says_how_large_one_could_still_be() -> None:
    """Absence of evidence is not told as evidence of absence."""
    assert headline.headline([arm("a", estimate(-0.01)), arm("b", estimate(0.01))], None) == (
        "Known facts: no fall in accuracy is shown. The intervals still hold a fall of up to 4.0 points."
    )


def test_a_rise_is_told_where_nothing_fell() -> None:
    """And a rise of every arm leaves no fall to be feared."""
    assert headline.headline([arm("a", estimate(0.1))], None) == (
        "Known facts: no fall in accuracy is shown, and it rose in “a” by 10.0 points, from 60.0 % to 70.0 % "
        "(90 % interval of the difference +7.0 to +13.0, n = 400)."
    )


def test_a_loss_against_the_control_is_told_where_nothing_fell() -> None:
    """An arm may lose what its control gained."""
    arms = [arm("a", estimate(0.0), estimate(-0.1)), arm("b", estimate(0.0), estimate(-0.2))]
    assert headline.headline(arms, "known").endswith(
        " But “b” is 20.0 points lower than the control “known” (−23.0 to −17.0)."
    )


def test_an_undefined_interval_rules_nothing_out() -> None:
    """It is not taken for a narrow one."""
    told = headline.headline([arm("a", estimate(-0.5, None, 1))], None)
    assert told == "Known facts: no fall in accuracy is shown. An interval is undefined, so nothing is ruled out."


def test_without_known_facts_the_headline_speaks_of_all() -> None:
    """The group is fixed beforehand, never chosen by its result."""
    arms = [arm("a", estimate(-0.2), known=0)]
    assert headline.headline_group(arms) == ALL
    assert headline.headline(arms, None).startswith("All facts: accuracy fell")


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([(0,), (0,)], "One checkpoint per arm: this is about these checkpoints, not about training in general."),
        ([(0, 1, 2), (0, 1, 2)], "3 seeds per arm: the intervals hold the noise of facts and of seeds."),
        ([(0, 1), (0, 1, 2)], "2 to 3 seeds per arm: the intervals hold the noise of facts and of seeds."),
        ([(0,), (0, 1, 2)], "“arm 0” is one checkpoint: those figures are about the checkpoint"),
        ([(0,), (0,), (0, 1)], "“arm 0”, “arm 1” are one checkpoint each: those figures are about the checkpoint"),
    ],
)
def test_the_noise_that_the_intervals_hold_is_named(seeds: list[tuple[int, ...]], told: str) -> None:
    """One checkpoint speaks for itself; seeds speak for the training."""
    arms = [arm(f"arm {i}", estimate(0.0), seeds=s) for i, s in enumerate(seeds)]
    assert headline.noise(arms).startswith(told)


def test_an_arm_of_seeds_that_meets_a_single_control_is_told_to_be_two_checkpoints() -> None:
    """Its interval to before holds the noise of seeds, that to the control does not."""
    arms = [arm("known", estimate(0.0)), arm("unknown", estimate(0.0), seeds=(0, 1, 2))]
    assert headline.noise(arms, {"unknown": (0, None)}) == (
        "“known” is one checkpoint: those figures are about the checkpoint, not about training in general. Against the "
        "control: two checkpoints (“unknown” seed 0 against seed not recorded); those differences, and verdicts on "
        "them, are not about training in general. The other intervals of the arms with several seeds hold the noise of "
        "facts and of seeds."
    )


def test_a_finding_names_every_difference_that_excludes_0() -> None:
    """To before and to the control; there is no verdict in it."""
    told = headline.finding(arm("half", estimate(-0.1), estimate(-0.01)), KNOWN, "known")
    assert told == (
        "“half”: Known −10.0 points (−13.0 to −7.0); against “known” −1.0 points (−4.0 to +2.0). "
        "Differences to before that exclude 0: all −10.0, Known −10.0. Differences to the control that exclude 0: none."
    )


def test_a_finding_of_no_facts_has_a_dash() -> None:
    """Nothing was compared."""
    assert headline.finding(arm("a", None), KNOWN, None).startswith("“a”: Known –. Differences to before")


def test_fewer_steps_are_said() -> None:
    """Part of a difference may be the steps."""
    found = headline.caveats([arm("a", estimate(0.0), steps=90), arm("b", estimate(0.0), steps=150)], "a")
    assert any("different numbers of steps (“a” 90, “b” 150)" in told for told in found)
    equal = headline.caveats([arm("a", estimate(0.0), steps=150), arm("b", estimate(0.0), steps=150)], "a")
    assert not any("steps" in told for told in equal)


def test_a_missing_control_is_said() -> None:
    """Tuning as such is then not told apart from what was tuned on."""
    arms = [arm("a", estimate(0.0))]
    assert any("Without a control arm" in told for told in headline.caveats(arms, None))
    assert not any("Without a control arm" in told for told in headline.caveats(arms, "a"))


def test_the_method_says_where_runs_were_not_asked_alike() -> None:
    """A report must not claim one form when a mismatch was allowed."""
    assert "asked in one form on both sides" in headline.method("strict", alike=True)[0]
    assert "Not every run asked in the same way" in headline.method("strict", alike=False)[0]


def test_the_method_says_who_judged_and_what_is_a_cluster() -> None:
    """A task of lm_eval judges by filters of its own, and knows no subjects."""
    ours = headline.method("strict", alike=True)
    assert "right when its first line, stripped, matches an accepted answer (strict)." in ours[0]
    assert "Facts of one subject count as a cluster." in ours[1]
    others = headline.method("", alike=True, judge="lm_eval’s task", subjects=False)
    assert "An answer is right as lm_eval’s task, by its own filters and metric, says." in others[0]
    assert "No fact names a subject, so each stands alone." in others[1]


def test_a_long_label_does_not_become_the_headline() -> None:
    """It is cut, and its length said."""
    told = headline.headline([arm("x" * 100_000, estimate(-0.1))], None)
    assert len(told) < 600
    assert "100,000 characters" in told
