"""The exact estimator against drawn samples: what agrees passes, what is off is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from slick.exact import ExactAnswer, ExactRequest
from slick.exemplars import exemplar_pools
from slick.facts import Fact, of_split
from slick.knowledge import Chances, Knowledge
from slick.probe import Probe
from slick.verify import Drawn, compare, verify

FACT = Fact.create("Q?", ["A"], relation="P1")


def _drawn(ps: Sequence[float], right: Sequence[int], greedy: Sequence[bool] | None = None, n: int = 16) -> Drawn:
    said = tuple(p > 0.5 for p in ps)
    exact = Knowledge(FACT, sum(said), len(ps), chances=Chances(tuple(ps), n))
    got = said if greedy is None else tuple(greedy)
    sampled = Knowledge(FACT, sum(got), len(got), sum(right), n * len(right))
    return Drawn(exact, said, sampled, got, tuple(right), n)


def _draw(rng: random.Random, p: float, n: int = 16) -> int:
    return sum(rng.random() < p for _ in range(n))


def _many(rng: random.Random, found: Callable[[float], float]) -> list[Drawn]:
    """100 facts of 10 sets whose samples are right with `found(p)` where the estimator says p."""
    ps = [[rng.random() ** 3 for _ in range(10)] for _ in range(100)]
    return [_drawn(row, [_draw(rng, found(p)) for p in row]) for row in ps]


@pytest.mark.parametrize("seed", range(5))
def test_samples_of_the_very_chances_agree(seed: int) -> None:
    """Bias and dispersion are about standard normal."""
    found = compare(_many(random.Random(seed), lambda p: p))
    assert found.agrees
    assert found.samples == 16_000
    assert abs(found.right - found.expected) < 4 * found.noise


def test_a_bias_is_found() -> None:
    """Samples that are right a fifth less often than the estimator says."""
    assert compare(_many(random.Random(0), lambda p: 0.8 * p)).bias < -4


def test_chances_that_are_right_on_average_only_are_found() -> None:
    """Samples of a prompt that are all alike have the right mean and too large a spread."""
    rng = random.Random(0)
    rows = [[rng.random() for _ in range(10)] for _ in range(100)]
    found = compare([_drawn(row, [16 * (rng.random() < p) for p in row]) for row in rows])
    assert abs(found.bias) < 20
    assert found.dispersion > 4
    assert not found.agrees


def test_a_greedy_verdict_that_differs_is_counted() -> None:
    """One of ten differs, and the comparison says no."""
    found = compare([_drawn([0.9] * 10, [14] * 10, greedy=[True] * 9 + [False])])
    assert found.greedy_differ == 1
    assert not found.agrees


def test_a_numerically_uncertain_fact_may_differ() -> None:
    """What the estimator called uncertain does not count against it."""
    exact = Knowledge(FACT, 1, 1, chances=Chances((0.9,), uncertain=True))
    drawn = Drawn(exact, (True,), Knowledge(FACT, 0, 1, 14, 16), (False,), (14,), 16)
    found = compare([drawn])
    assert (found.greedy_differ, found.uncertain, found.category_differs, found.unflagged) == (0, 1, 1, 0)


def test_chances_of_nought_leave_no_room() -> None:
    """One right sample where the estimator says never is infinitely far off; none is no error."""
    assert compare([_drawn([0.0], [0])]).agrees
    assert not compare([_drawn([0.0], [1])]).agrees


def test_flagged_facts_may_change_their_category() -> None:
    """A fact of u near one half is counted apart from those that the estimator was sure of."""
    p = 1 - 0.5 ** (1 / 16)
    found = compare([_drawn([p], [1]), _drawn([0.0001], [0])])
    assert found.category_differs == 0 or found.unflagged == 0
    assert 0 < found.unflagged_expected < 0.01


def test_one_lucky_sample_is_no_disagreement() -> None:
    """Where a sixtieth of a right sample is expected, one is far out in standard errors and no wonder."""
    found = compare([_drawn([0.0001] * 10, [1] + [0] * 9), *[_drawn([0.0] * 10, [0] * 10)] * 5])
    assert found.dispersion > 4
    assert 0 < found.chance_dispersion < 0.2
    assert found.agrees
    assert not compare([_drawn([0.0006] * 10, [1] * 5 + [0] * 5)]).agrees


def test_nothing_drawn_is_no_comparison() -> None:
    """Agreement about nothing would be worth nothing."""
    with pytest.raises(ValueError, match="no facts"):
        compare([])


def test_the_protocol_is_drawn_on_n_facts_of_the_probe(tiny_facts: list[Fact], scripted: Any) -> None:
    """Every exemplar set once greedily and n_samples times, of facts that the seed chooses."""

    class Exact(scripted):  # type: ignore[misc]
        def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
            return [ExactAnswer(True, 1.0, 0.0, 9.0) for _ in requests]

    answers: Mapping[str, str] = {f.question: f.answers[0] for f in tiny_facts}

    def answer(prompt: str, _: int | None) -> str:
        return answers[prompt.rpartition("Q: ")[2].removesuffix("\nA:")]

    backend = Exact(answer)
    facts = of_split(tiny_facts, "test")
    probe = Probe(facts, exemplar_pools(tiny_facts, facts, seed=0), {}, exact=True)
    found = verify(probe, backend, 3)
    assert (found.facts, found.greedy, found.samples) == (3, 30, 480)
    assert found.right == 480
    assert found.agrees
    assert {seed for *_, seed in backend.drawn} == {probe.seed + 1}
