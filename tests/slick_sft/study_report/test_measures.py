"""slick_sft.study_report.measures: accuracies and differences over facts and seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slick.facts import Fact
from slick.statistics import Estimate, Interval, arm_share, seeds_difference, wilson
from slick_sft.study_report.asked import ALL, KNOWN_FACTS, Asked
from slick_sft.study_report.data import TEST, Study
from slick_sft.study_report.measures import (
    accuracy,
    auroc,
    base_accuracy,
    clipped,
    combined,
    compared,
    difference,
    prior,
    ratio,
    share,
)

Scores = NDArray[np.float64]


def asked(n: int, each: int = 1) -> Asked:
    """n facts of one relation, so many in a row about one subject."""
    facts = [
        Fact.create(f"question {i}", ["a"], relation="P17", subject=f"S{i // each}", split="test") for i in range(n)
    ]
    return Asked(tuple(facts), (None,) * n, np.full(n, np.nan))


def width(estimate: Estimate | None) -> float:
    assert estimate is not None
    assert estimate.interval is not None
    return estimate.interval.high - estimate.interval.low


def right(seeds: int, n: int, share: float, seed: int) -> Scores:
    return (np.random.default_rng(seed).random((seeds, n)) < share).astype(float)


def test_an_auroc_is_the_chance_of_a_higher_score() -> None:
    """Over all pairs, ties as half; undefined where there is but one kind."""
    scores, good = np.array([0.1, 0.4, 0.4, 0.9, 0.2]), np.array([False, True, False, True, False])
    found = auroc(scores, good, asked(5))
    assert found is not None
    pairs = [(a > b) + (a == b) / 2 for a in scores[good] for b in scores[~good]]
    assert found.value == pytest.approx(sum(pairs) / len(pairs))
    assert auroc(scores, np.zeros(5, dtype=bool), asked(5)) is None
    assert auroc(scores, np.ones(5, dtype=bool), asked(5)) is None


def test_an_aurocs_interval_covers_the_truth() -> None:
    """A 90 % interval, of facts that come in fours of one subject and are alike; the truth is Φ(1/√2)."""
    rng = np.random.default_rng(8)
    truth, held, facts = 0.76025, 0, asked(400, 4)
    for _ in range(200):
        good = np.repeat(rng.random(100) < 0.4, 4)
        found = auroc(np.repeat(rng.normal(size=100), 4) + good, good, facts)
        assert found is not None
        assert found.interval is not None
        held += found.interval.low <= truth <= found.interval.high
    assert held / 200 >= 0.85


def test_an_accuracy_is_the_arms_share(whole: Path) -> None:
    """Of the group's facts, over both seeds; two facts a subject make it no surer than facts that stand alone."""
    study = Study(whole)
    variant = study.variants["unknown-50"]
    mask = study.asked(TEST).mask(KNOWN_FACTS)
    found = accuracy(study, variant, "convergence", TEST, KNOWN_FACTS)
    alone = arm_share(study.answers(variant, "convergence", TEST).right[:, mask])
    assert found is not None
    assert alone is not None
    assert (found.value, found.n) == (alone.value, 180)
    assert width(found) >= width(alone)
    base = base_accuracy(study, TEST, ALL)
    assert base is not None
    assert base.value == study.base(TEST).right.mean()


@pytest.mark.parametrize("seeds", [1, 3])
def test_facts_of_one_subject_count_as_one(seeds: int) -> None:
    """Each fact four times over tells no more than once: the interval stays as wide, for every kind of measure."""
    once = right(1, 60, 0.6, 4).repeat(seeds, axis=0)
    four = once.repeat(4, axis=1)
    ones, fours = np.ones_like(once), np.ones_like(four)
    for few, many in (
        (share(once, asked(60)), share(four, asked(240, each=4))),
        (combined([(1.0, once)], asked(60)), combined([(1.0, four)], asked(240, each=4))),
        (ratio(once, ones, asked(60)), ratio(four, fours, asked(240, each=4))),
    ):
        assert width(many) == pytest.approx(width(few), rel=0.08)
    assert width(share(four, asked(240))) < 0.75 * width(share(once, asked(60)))


@pytest.mark.parametrize("seeds", [1, 3])
def test_clustered_accuracies_cover_the_truth(seeds: int) -> None:
    """90 % intervals of 300 draws of 60 subjects with four like facts each; as facts alone, two thirds at most."""
    rng = np.random.default_rng(5)
    held = held_alone = 0
    for _ in range(300):
        known = np.repeat(rng.random(60) < 0.6, 4)
        answers = (known & (rng.random((seeds, 240)) < 0.9)).astype(float)
        for of, found in ((True, share(answers, asked(240, each=4))), (False, share(answers, asked(240)))):
            assert found is not None
            assert found.interval is not None
            inside = found.interval.low <= 0.54 <= found.interval.high
            held, held_alone = held + (inside and of), held_alone + (inside and not of)
    assert held / 300 >= 0.86
    assert held_alone / 300 < 0.7


def test_facts_of_one_subject_alone_have_no_interval() -> None:
    """Nothing tells of another draw of subjects; it is undefined, never narrow."""
    for seeds in (1, 3):
        for found in (
            share(right(seeds, 8, 0.5, 6), asked(8, each=8)),
            combined([(1.0, right(seeds, 8, 0.5, 6))], asked(8, each=8)),
        ):
            assert found is not None
            assert found.interval is None
    assert share(np.zeros((1, 0)), asked(0)) is None


def test_the_answer_prior_is_that_of_the_commonest_answer(whole: Path) -> None:
    """A third of the made-up facts share theirs."""
    found = prior(Study(whole), TEST, ALL)
    assert found is not None
    assert found.value == pytest.approx(1 / 3, abs=0.02)
    assert found.interval is not None


def test_a_difference_pairs_facts_and_clusters_subjects(whole: Path) -> None:
    """Two facts a subject: 119 degrees of freedom for the facts, and the value of the accuracies."""
    study = Study(whole)
    one, other = (study.variants[name] for name in ("unknown-100", "known-only"))
    pair = compared(study, (one, "convergence"), (other, "convergence"), TEST, ALL)
    assert pair is not None
    assert pair.item_df == 119
    values = [accuracy(study, v, "convergence", TEST, ALL) for v in (one, other)]
    assert values[0] is not None
    assert values[1] is not None
    found = difference(study, (one, "convergence"), (other, "convergence"), TEST, ALL)
    assert found is not None
    assert found.value == pytest.approx(values[0].value - values[1].value)


def test_the_base_model_is_a_fixed_control(whole: Path) -> None:
    """It has no seeds: two seeds leave one degree of freedom to the run-to-run noise."""
    study = Study(whole)
    pair = compared(study, (study.variants["unknown-100"], "convergence"), None, TEST, ALL)
    assert pair is not None
    assert pair.run_df == 1


def test_combined_accuracies_are_those_of_seeds() -> None:
    """Of two arms it is their difference, with seeds paired."""
    a, b = right(3, 80, 0.7, 1), right(3, 80, 0.5, 2)
    found, expected = combined([(1.0, a), (-1.0, b)], asked(80)), seeds_difference(a - b, np.zeros((1, 80)))
    assert found is not None
    assert expected is not None
    assert (found.value, found.n, found.method) == (expected.value, 80, expected.method)
    assert width(found) == pytest.approx(width(expected))


def test_combined_checkpoints_rest_on_facts() -> None:
    """One run each: the facts' noise alone, and never an interval of no width."""
    a = right(1, 80, 0.7, 1)
    found = combined([(1.0, a), (-1.0, a)], asked(80))
    assert found is not None
    assert found.value == 0
    assert found.interval is not None
    assert found.interval.low < 0 < found.interval.high
    assert combined([(1.0, a[:, :1])], asked(1)) is None


def test_a_ratio_is_of_what_was_answered() -> None:
    """Right of the answered; one run has Wilson's interval, no answers have none."""
    answered = np.array([[1, 1, 1, 1, 0, 0.0]])
    assert ratio(np.array([[1, 1, 1, 0, 0, 0.0]]), answered, asked(6)) == wilson(3, 4)
    assert ratio(np.zeros((1, 6)), np.zeros((1, 6)), asked(6)) is None


def test_a_ratio_over_seeds_covers_the_truth() -> None:
    """90 % intervals of 300 draws, three seeds each."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        answered = (rng.random((3, 200)) < 0.6).astype(float)
        found = ratio((rng.random((3, 200)) < 0.7) * answered, answered, asked(200))
        assert found is not None
        assert found.interval is not None
        held += found.interval.low <= 0.7 <= found.interval.high
    assert held / 300 >= 0.86


def test_intervals_are_cut_off_at_what_can_be() -> None:
    """A difference at -1, a share at 0; an undefined interval stays undefined."""
    found = clipped(Estimate(0.9, Interval(-1.3, 1.2), 5, "t"), -1.0)
    assert found.interval == Interval(-1.0, 1.0)
    assert clipped(Estimate(0.9, None, 1, "t"), 0.0).interval is None
