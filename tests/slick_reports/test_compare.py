"""The comparison's arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slick.errors import InputError
from slick.knowledge import Category
from slick.runs import Run
from slick.statistics import seeds_difference, tango, wilson
from slick_reports.arms import Arm, group_arms
from slick_reports.compare import Comparison
from slick_reports.inputs import Answered, Scored, read_scored
from slick_reports.numbers import ALL, KNOWN

if TYPE_CHECKING:
    from conftest import Lab


def comparison(lab: Lab, base: Path, *runs: Path) -> Comparison:
    return Comparison(read_scored(base), group_arms([read_scored(run) for run in runs], {}), lab.categories)


def alone(lab: Lab) -> None:
    """Gives every fact a subject of its own, so that no cluster widens an interval."""
    lab.facts = [type(f).create(f.question, f.answers, relation=f.relation, subject=f.question) for f in lab.facts]


def test_one_checkpoint_carries_tangos_interval(lab: Lab) -> None:
    """Lost and gained facts are counted, and the interval is that of the paired proportions."""
    alone(lab)
    arm = comparison(lab, lab.score("base", lab.wrong_on(0, 1)), lab.score("arm", lab.wrong_on(1, 2, 3, 4))).arm(
        "arm", None
    )
    row = arm.group(ALL)
    assert row is not None
    assert (row.n, row.change.lost, row.change.gained) == (40, 3, 1)
    assert row.change.estimate == tango(3, 1, 40)
    assert row.before.accuracy == wilson(38, 40)
    assert row.after.accuracy == wilson(36, 40)


def test_facts_of_one_subject_widen_the_interval(lab: Lab) -> None:
    """Two facts that are lost together are less than two witnesses."""
    row = comparison(lab, lab.score("base"), lab.score("arm", lab.wrong_on(*range(8)))).arm("arm", None).group(ALL)
    assert row is not None
    assert row.change.estimate is not None
    alone_estimate = tango(8, 0, 40)
    assert alone_estimate is not None
    assert row.change.estimate.interval is not None
    assert alone_estimate.interval is not None
    assert row.change.estimate.value == alone_estimate.value
    assert row.change.estimate.interval.low < alone_estimate.interval.low


def test_facts_without_a_subject_stand_alone(lab: Lab) -> None:
    """An empty subject is no cluster of all facts without one."""
    alone(lab)
    without = [type(f).create(f.question, f.answers, relation=f.relation) for f in lab.facts[:8]]
    lab.facts = [*without, *lab.facts[8:]]
    row = comparison(lab, lab.score("base"), lab.score("arm", lab.wrong_on(*range(8)))).arm("arm", None).group(ALL)
    assert row is not None
    assert row.change.estimate == tango(8, 0, 40)


def test_several_seeds_carry_the_noise_of_facts_and_seeds(lab: Lab) -> None:
    """The interval is DESIGN's, with the base model fixed; lost and gained are means over seeds."""
    alone(lab)
    missed = [(0, 1, 2), (0, 1), (0, 5, 6, 7)]
    runs = [lab.arm("a", seed, lab.wrong_on(*places)) for seed, places in enumerate(missed)]
    arm = comparison(lab, lab.score("base", lab.wrong_on(0)), *runs).arm("a", None)
    row = arm.group(ALL)
    assert row is not None
    after = np.ones((3, 40))
    for seed, places in enumerate(missed):
        after[seed, list(places)] = 0
    before = np.ones((1, 40))
    before[0, 0] = 0
    assert row.change.estimate == seeds_difference(after, before)
    assert (row.change.lost, row.change.gained) == (2.0, 0.0)
    assert arm.seeds == (0, 1, 2)


def test_categories_split_the_facts_and_known_is_the_first_three(lab: Lab) -> None:
    """Facts without a category count under all only."""
    order = [*Category, *Category, None]
    lab.categories = {f.id: c for f, c in zip(lab.facts, order * 5, strict=False) if c}
    arm = comparison(lab, lab.score("base"), lab.score("arm")).arm("arm", None)
    sizes = {row.group: row.n for row in arm.groups}
    assert sizes == {"all": 40, "Known": 27, "HighlyKnown": 9, "MaybeKnown": 9, "WeaklyKnown": 9, "Unknown": 9}


def test_an_empty_group_has_no_numbers(lab: Lab) -> None:
    """None, which every format prints as a dash; never 0."""
    lab.categories = {lab.facts[0].id: Category.UNKNOWN}
    row = comparison(lab, lab.score("base"), lab.score("arm")).arm("arm", None).group(KNOWN)
    assert row is not None
    assert (row.n, row.prior, row.before.accuracy, row.after.abstained, row.change.estimate) == (
        0,
        None,
        None,
        None,
        None,
    )


def test_without_categories_there_is_one_group(lab: Lab) -> None:
    """Six empty rows would say nothing."""
    arm = comparison(lab, lab.score("base"), lab.score("arm")).arm("arm", None)
    assert [row.group for row in arm.groups] == ["all"]


def test_a_single_fact_under_several_seeds_has_an_undefined_interval(lab: Lab) -> None:
    """There is a difference, and nothing that says how far it would move."""
    lab.categories = {lab.facts[0].id: Category.UNKNOWN}
    runs = [lab.arm("a", seed, lab.wrong_on(0)) for seed in range(2)]
    row = comparison(lab, lab.score("base"), *runs).arm("a", None).group("Unknown")
    assert row is not None
    assert row.change.estimate is not None
    assert (row.n, row.change.estimate.value, row.change.estimate.interval) == (1, -1.0, None)


def test_the_answer_prior_stands_beside_every_group(lab: Lab) -> None:
    """It is the share of facts that their relation's commonest answer gets right."""
    arm = comparison(lab, lab.score("base"), lab.score("arm")).arm("arm", None)
    row = arm.group(ALL)
    assert row is not None
    assert row.prior == pytest.approx(sum(f.answers[0] == "A0" for f in lab.facts) / 40)


def test_a_prior_that_was_not_recorded_is_none(lab: Lab) -> None:
    """Not measured is not 0."""
    row = comparison(lab, lab.score("base", priors={}), lab.score("arm")).arm("arm", None).group(ALL)
    assert row is not None
    assert row.prior is None


def test_abstentions_are_shares_of_the_group(lab: Lab) -> None:
    """Before and after, from the answers."""
    after = lab.wrong_on(0, 1, by="I don't know.")
    row = comparison(lab, lab.score("base", lab.wrong_on(0)), lab.score("arm", after)).arm("arm", None).group(ALL)
    assert row is not None
    assert (row.before.abstained, row.after.abstained) == (0.0, 0.05)


def test_only_shared_facts_count(lab: Lab) -> None:
    """Those that every run holds, in the order of the first."""
    runs = [lab.arm("a", 0, facts=lab.facts[5:35]), lab.arm("b", 0, facts=lab.facts[10:])]
    assert comparison(lab, lab.score("base"), *runs).facts == tuple(lab.facts[10:35])


def test_pairwise_shared_facts_that_all_runs_do_not_share_are_refused(lab: Lab) -> None:
    """Each run has facts in common with the first, but no fact stands in all."""
    runs = [lab.arm("a", 0, facts=lab.facts[:20]), lab.arm("b", 0, facts=lab.facts[20:])]
    with pytest.raises(InputError, match="no fact stands in all of the runs"):
        comparison(lab, lab.score("base"), *runs)


def test_lost_and_gained_facts_are_listed_with_both_answers(lab: Lab) -> None:
    """Best known first; a fact that is wrong in any seed is lost in as many."""
    lab.categories = {lab.facts[2].id: Category.HIGHLY_KNOWN, lab.facts[1].id: Category.UNKNOWN}
    runs = [lab.arm("a", 0, lab.wrong_on(1, 2)), lab.arm("a", 1, lab.wrong_on(1, by="Rome"))]
    arm = comparison(lab, lab.score("base", lab.wrong_on(0)), *runs).arm("a", None)
    two, one = lab.facts[2], lab.facts[1]
    assert [(f.fact, f.category, f.before, f.after, f.seeds) for f in arm.lost] == [
        (two, "HighlyKnown", two.answers[0], (f"not {two.answers[0]}", two.answers[0]), 1),
        (one, "Unknown", one.answers[0], (f"not {one.answers[0]}", "Rome"), 2),
    ]
    (gained,) = arm.gained
    assert (gained.fact, gained.before, gained.seeds) == (lab.facts[0], f"not {lab.facts[0].answers[0]}", 2)


def test_an_arm_is_set_against_the_control(lab: Lab) -> None:
    """The control itself is not."""
    alone(lab)
    found = comparison(
        lab, lab.score("base"), lab.arm("known", 0, lab.wrong_on(0)), lab.arm("half", 0, lab.wrong_on(0, 1, 2))
    )
    half, known = (found.arm(name, "known").group(ALL) for name in ("half", "known"))
    assert half is not None
    assert known is not None
    assert half.against_control == tango(2, 0, 40)
    assert known.against_control is None


def test_seeds_meet_seeds_where_both_arms_have_several(lab: Lab) -> None:
    """Both arms' run-to-run noise is in the interval."""
    alone(lab)
    known = [lab.arm("known", seed, lab.wrong_on(seed)) for seed in range(3)]
    half = [lab.arm("half", seed, lab.wrong_on(*range(5 + seed))) for seed in range(3)]
    row = comparison(lab, lab.score("base"), *known, *half).arm("half", "known").group(ALL)
    assert row is not None
    assert row.against_control is not None
    assert row.against_control.method == "facts and 3 seeds"


def test_a_single_run_meets_the_controls_run_of_the_same_seed(lab: Lab) -> None:
    """One checkpoint cannot speak for its seeds, so one meets one."""
    alone(lab)
    known = [lab.arm("known", seed, lab.wrong_on(*range(seed))) for seed in range(3)]
    found = comparison(lab, lab.score("base"), *known, lab.arm("half", 2, lab.wrong_on(5, 6, 7)))
    assert found.matched_seeds("half", "known") == (0, 2)
    row = found.arm("half", "known").group(ALL)
    assert row is not None
    assert row.against_control == tango(3, 2, 40)


def test_a_single_run_of_another_seed_meets_the_first(lab: Lab) -> None:
    """Some pair has to do, and the report says which."""
    known = [lab.arm("known", seed) for seed in range(2)]
    assert comparison(lab, lab.score("base"), *known, lab.arm("half", 7)).matched_seeds("half", "known") == (0, 0)


def test_several_seeds_against_a_control_of_one_meet_it_singly(lab: Lab) -> None:
    """A tuned control of one seed is not fixed as the base model is: its own noise is not known."""
    half = [lab.arm("half", seed, lab.wrong_on(seed)) for seed in range(3)]
    found = comparison(lab, lab.score("base"), *half, lab.arm("known", 1))
    assert found.matched_seeds("half", "known") == (1, 0)
    row = found.arm("half", "known").group(ALL)
    assert row is not None
    assert row.against_control is not None
    assert row.against_control.method == "Tango"


def test_relations_are_listed_by_name_with_every_arm(lab: Lab) -> None:
    """n, prior, before, and after in the arms' order."""
    found = comparison(lab, lab.score("base"), lab.arm("a", 0, lab.wrong_on(0, 1)), lab.arm("b", 0)).relations()
    assert [row.relation for row in found] == ["P17", "P19", "P36", "P50"]
    first = found[0]
    assert first.n == 10
    assert first.before.accuracy == wilson(10, 10)
    assert [side.accuracy for side in first.after] == [wilson(8, 10), wilson(10, 10)]


def test_intervals_stay_within_what_can_be(lab: Lab) -> None:
    """A t interval of few facts would reach past 100 %."""
    lab.categories = {lab.facts[place].id: Category.UNKNOWN for place in (0, 2)}
    runs = [lab.arm("a", seed, lab.wrong_on(*range(seed))) for seed in range(2)]
    row = comparison(lab, lab.score("base"), *runs).arm("a", None).group("Unknown")
    assert row is not None
    assert row.after.accuracy is not None
    assert row.after.accuracy.interval is not None
    assert row.change.estimate is not None
    assert row.change.estimate.interval is not None
    assert row.after.accuracy.interval.high == 1.0
    assert row.change.estimate.interval.low == -1.0


def test_a_tuning_record_is_reduced_to_what_tells_arms_apart(lab: Lab) -> None:
    """Loss curves and nested settings stay in the run."""
    run = lab.arm("a", 0, training={"loss": [1, 2], "recipe": {"name": "half", "unknown": 0.5, "counts": {}}})
    arm = comparison(lab, lab.score("base"), run).arm("a", None)
    assert arm.training == {
        "recipe": "half",
        "unknown_share": 0.5,
        "method": "full",
        "rows_trained": 512,
        "steps": 150,
        "epochs": 10.0,
        "learning_rate": 1e-4,
        "batch_size": 32,
    }


answers = st.lists(st.tuples(st.booleans(), st.lists(st.booleans(), min_size=2, max_size=2)), min_size=2, max_size=25)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers, st.integers(1, 2))
def test_the_difference_is_gained_less_lost(lab: Lab, rows: list[tuple[bool, list[bool]]], seeds: int) -> None:
    """Over the facts of every group, for one run and for several, and the flips add up to it."""
    facts = lab.facts[: len(rows)]

    def scored(column: list[bool]) -> Scored:
        found = {f.id: Answered(f, "", r, False, None, None, "") for f, r in zip(facts, column, strict=True)}
        return Scored(Run(Path("run"), {}), found, len(found))

    before = scored([b for b, _ in rows])
    arm = Arm("a", tuple(scored([after[s] for _, after in rows]) for s in range(seeds)))
    categories = {f.id: list(Category)[i % 4] for i, f in enumerate(facts)}
    numbers = Comparison(before, [arm], categories).arm("a", None)
    for row in numbers.groups:
        if row.change.estimate:
            assert row.change.estimate.value == pytest.approx((row.change.gained - row.change.lost) / row.n)
    total = numbers.group(ALL)
    assert total is not None
    assert sum(flip.seeds for flip in numbers.lost) == pytest.approx(total.change.lost * seeds)
    assert sum(flip.seeds for flip in numbers.gained) == pytest.approx(total.change.gained * seeds)
