"""Which runs of two versions meet, and what is said of their noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.paired import paired
from slick.statistics import Estimate, Interval
from slick.verdict import holm
from slick_reports.history_numbers import Step
from slick_reports.history_steps import (
    ALPHA,
    adjusted,
    headline,
    matched_seeds,
    noise_told,
    seeds_told,
    step_of,
    two_sided,
)
from slick_reports.history_versions import Asked
from slick_reports.ledger_rows import Held

N = 100


def version(name: str, seeds: Sequence[int | None], wrong: Sequence[int]) -> Asked:
    """wrong: of every run, how many of the facts; the first ones."""
    runs = tuple(Held(i, name, "", "score", "s", False, {"seed": seed}) for i, seed in enumerate(seeds))
    right = np.array([[float(i >= k) for i in range(N)] for k in wrong])
    return Asked(name, "", runs, (), right, np.zeros_like(right), np.zeros(N))


def stepped(earlier: Asked, later: Asked) -> Step:
    each = list(range(N))
    return step_of("previous", earlier, later, "all", np.ones(N, dtype=bool), each, ["r"] * N)


@pytest.mark.parametrize(
    ("ours", "theirs", "pair"),
    [
        ([None], [0, 1, 2], None),
        ([0, 1], [None], None),
        ([0, 1], [0, 1, 2], None),
        ([1], [0, 1, 2], (0, 1)),
        ([0, 1, 2], [2], (2, 0)),
        ([7], [0, 1], (0, 0)),
        ([0], [1], (0, 0)),
        ([None], [None], (0, 0)),
    ],
)
def test_runs_meet_as_in_a_report(
    ours: list[int | None], theirs: list[int | None], pair: tuple[int, int] | None
) -> None:
    """A trained run meets one run, of its seed if it can; a base model is fixed, and meets all."""
    found = matched_seeds(version("a", ours, [0] * len(ours)), version("b", theirs, [0] * len(theirs)))
    assert found == pair


def test_a_base_model_meets_every_seed_on_either_side() -> None:
    """The difference, its interval and what was lost mirror each other."""
    base, tuned = version("base", [None], [5]), version("tuned", [0, 1, 2], [15, 20, 28])
    fall, rise = stepped(base, tuned), stepped(tuned, base)
    expected = paired(tuned.right, base.right, clusters=list(range(N)), strata=["r"] * N, fixed_control=True)
    assert expected is not None
    assert fall.estimate == expected.estimate()
    assert (fall.noise, fall.seeds) == ("facts and seeds", None)
    assert rise.estimate is not None
    assert rise.estimate.interval is not None
    assert expected.interval() is not None
    assert rise.estimate.value == -expected.value
    assert rise.estimate.interval.low == pytest.approx(-expected.interval().high)  # type: ignore[union-attr]
    assert (rise.lost, rise.gained, rise.p) == (fall.gained, fall.lost, fall.p)


def test_a_single_trained_run_meets_the_run_of_its_seed() -> None:
    """Not the first; and the headline says which seeds met."""
    one, several = version("one", [2], [10]), version("several", [0, 1, 2], [0, 0, 40])
    found = stepped(one, several)
    assert (found.lost, found.gained, found.noise, found.seeds) == (30, 0, "facts", (2, 2))
    told = headline("one", "several", adjusted([found]))
    assert "against “one” (seed 2 against seed 2; " in told
    assert "against the baseline “one” (seed 2 against seed 2; " in told


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ([0], [1], "seed 1 against seed 0"),
        ([None], [0], ""),
        ([None], [None], ""),
        ([1], [None, None], "no seed against seed 1"),
        ([0, 1], [0, 1], ""),
    ],
)
def test_seeds_are_told_where_one_run_met_one(ours: list[int | None], theirs: list[int | None], told: str) -> None:
    """The later version's first, as in the sentence that it stands in."""
    found = stepped(version("a", ours, [0] * len(ours)), version("b", theirs, [9] * len(theirs)))
    assert seeds_told(found) == told


@pytest.mark.parametrize(
    ("noises", "told"),
    [
        ([], ""),
        (["facts"], "Every step sets one checkpoint against another: their intervals hold the noise of facts alone"),
        (["facts and seeds"], "Several seeds a version: the intervals hold the noise of facts and of seeds."),
        (["facts", "facts and seeds"], "1 of 2 steps sets one checkpoint against another"),
    ],
)
def test_the_noise_of_the_intervals_is_named(noises: list[str], told: str) -> None:
    """Where it is that of facts alone, another seed may move as much."""
    found = noise_told([step(None, noise=noise) for noise in noises])
    assert found.startswith(told)
    assert ("another training seed may move as much" in found) is ("facts" in noises)


def test_the_most_is_the_largest_change_whichever_way() -> None:
    """A small fall does not hide a great rise."""
    steps = [changed("b", -0.05), changed("c", 0.30)]
    assert "most: in “c” it rose by 30.0 points" in headline("a", "x", steps)
    assert "most: in “b” it fell by 5.0 points" in headline("a", "x", steps[:1])
    assert headline("a", "b", ()) == "No step between two versions is a change that stands after correction."


def test_the_p_value_looks_both_ways() -> None:
    """It is the same for a fall and for the rise that mirrors it, and 1 at most."""
    a, b = np.ones((1, 100)), np.array([[0.0] * 12 + [1.0] * 88])
    fall, rise = paired(b, a), paired(a, b)
    assert fall is not None
    assert rise is not None
    assert two_sided(fall) == two_sided(rise)
    assert two_sided(fall) == pytest.approx(2 * fall.chance_above(0.0), rel=1e-12)  # type: ignore[operator]
    same = paired(a, a)
    assert same is not None
    assert two_sided(same) == 1.0


def step(p: float | None, later: str = "b", noise: str = "facts") -> Step:
    return Step("previous", "a", later, "all", 10, None, 0, 0, p, None, False, noise)


def changed(later: str, value: float) -> Step:
    estimate = Estimate(value, Interval(value - 0.01, value + 0.01, 0.9), 10, "Tango")
    return Step("previous", "a", later, "all", 10, estimate, 0, 0, 0.001, 0.001, True)


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction_is_that_of_the_verdict(chances: list[float | None]) -> None:
    """Marked is what the step-down procedure rejects; an undefined p-value counts and is never marked."""
    found = adjusted([step(p) for p in chances])
    rejected = holm({str(i): p for i, p in enumerate(chances)}, ALPHA)
    assert {str(i) for i, s in enumerate(found) if s.changed} == set(rejected)
    assert [s.adjusted is None for s in found] == [p is None for p in chances]
    assert all(s.p <= s.adjusted <= 1 for s in found if s.p is not None and s.adjusted is not None)
