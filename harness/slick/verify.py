"""`slick probe --verify N`: the exact estimator against the sampled protocol, drawn on N random facts.

A prompt's samples are Bernoulli draws with the exact p, so that the number of right ones has a known mean and
variance. They are tested as a distribution: once for bias, once for spread.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from slick.exact import ExactAnswer, exact_knowledge
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.matching import is_right
from slick.probe import Probe
from slick.sampled import count_right, probe_prompts

if TYPE_CHECKING:
    from slick.backend import Backend

T = TypeVar("T")

# Standard errors beyond which the two do not agree: 1 in 16,000 by chance alone, for each of the two tests, where
# much is expected. Where little is, one lucky sample lies far out: then none of so many simulated draws may either.
LIMIT = 4.0
SIMULATED = 2000


@dataclass(frozen=True, slots=True)
class Drawn:
    """One fact's sampled protocol. greedy: right or wrong a set; right: right samples a set; n: samples a set."""

    exact: Knowledge
    exact_greedy: tuple[bool, ...]
    sampled: Knowledge
    greedy: tuple[bool, ...]
    right: tuple[int, ...]
    n: int


@dataclass(frozen=True, slots=True)
class Verification:
    """How the estimators compare.

    greedy: answers compared; greedy_differ: of them with another verdict, not counting `uncertain` facts.
    chance_bias, chance_dispersion: the share of simulated draws that lie as far out (of those beyond LIMIT only).
    samples: drawn; right, expected: right ones found and expected; noise: the latter's binomial standard deviation.
    bias: (right - expected)/noise. dispersion: standard errors by which the squared errors exceed binomial ones.
    category_differs: facts with another category; unflagged: of them, those the estimator had not flagged, and
    unflagged_expected: how many of those were to be expected, by their own u.
    """

    facts: int
    greedy: int
    greedy_differ: int
    uncertain: int
    samples: int
    right: int
    expected: float
    noise: float
    bias: float
    dispersion: float
    category_differs: int
    unflagged: int
    unflagged_expected: float
    chance_bias: float = 1.0
    chance_dispersion: float = 1.0

    @property
    def agrees(self) -> bool:
        """Whether greedy verdicts are the same and the samples fit the chances (false alarms: 1 in 1,000 at most)."""
        return not self.greedy_differ and self.chance_bias > 0 and self.chance_dispersion > 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "agrees": self.agrees}


def compare(drawn: Sequence[Drawn]) -> Verification:
    """Pure: what the drawn facts say. Raises ValueError for none."""
    if not drawn:
        raise ValueError("no facts were drawn")
    right = expected = variance = squares = spread = 0.0
    for d in drawn:
        assert d.exact.chances is not None
        for p, k in zip(d.exact.chances.p_by_set, d.right, strict=True):
            pq = p * (1 - p)
            right, expected, variance = right + k, expected + d.n * p, variance + d.n * pq
            squares += (k - d.n * p) ** 2 - d.n * pq
            # Variance of a squared binomial error: its fourth central moment less the squared second.
            spread += d.n * pq * (1 + (2 * d.n - 6) * pq)
    certain = [d for d in drawn if not (d.exact.chances and d.exact.chances.uncertain)]
    unflagged = [d for d in certain if not d.exact.flagged]
    bias, dispersion = _ratio(right - expected, variance), _ratio(squares, spread)
    as_far = (
        _as_far(drawn, abs(right - expected), abs(squares)) if max(abs(bias), abs(dispersion)) > LIMIT else (1.0, 1.0)
    )
    return Verification(
        facts=len(drawn),
        greedy=sum(len(d.greedy) for d in drawn),
        greedy_differ=sum(a is not b for d in certain for a, b in zip(d.exact_greedy, d.greedy, strict=True)),
        uncertain=len(drawn) - len(certain),
        samples=sum(d.n * len(d.right) for d in drawn),
        right=int(right),
        expected=expected,
        noise=math.sqrt(variance),
        bias=bias,
        dispersion=dispersion,
        category_differs=sum(d.exact.category is not d.sampled.category for d in drawn),
        unflagged=sum(d.exact.category is not d.sampled.category for d in unflagged),
        unflagged_expected=math.fsum(min(u, 1 - u) for d in unflagged if (u := d.exact.u) is not None),
        chance_bias=as_far[0] if abs(bias) > LIMIT else 1.0,
        chance_dispersion=as_far[1] if abs(dispersion) > LIMIT else 1.0,
    )


def _as_far(drawn: Sequence[Drawn], error: float, squares: float) -> tuple[float, float]:
    """Shares of simulated draws whose total error, and whose excess of squared errors, are as large."""
    import numpy as np

    pairs = [(d.n, p) for d in drawn if d.exact.chances for p in d.exact.chances.p_by_set]
    n, p = (np.array(column) for column in zip(*pairs, strict=True))
    rng = np.random.default_rng(0)
    far = [0, 0]
    for _ in range(SIMULATED):
        off = rng.binomial(n, p) - n * p
        far[0] += abs(off.sum()) >= error
        far[1] += abs((off**2 - n * p * (1 - p)).sum()) >= squares
    return far[0] / SIMULATED, far[1] / SIMULATED


def _ratio(error: float, variance: float) -> float:
    """Standard errors; where nothing can vary, 0 for no error and else as far off as can be."""
    if variance > 1e-9:
        return error / math.sqrt(variance)
    return 0.0 if abs(error) < 1e-3 else math.copysign(math.inf, error)


def verify(probe: Probe, backend: Backend, n: int) -> Verification:
    """Draws the full sampled protocol on n facts of the probe, chosen by its seed, and compares.

    The samples' numbers are other than the probe's own would be.
    """
    e, sets = probe.estimator, probe.exemplar_sets()
    ranked = sorted(probe.facts, key=lambda f: hashlib.sha256(f"verify/{probe.seed}/{f.id}".encode()).digest())
    facts = sorted(ranked[:n], key=lambda f: f.relation)
    prompts = [probe_prompts(fact, sets[fact.relation][0], probe.chat) for fact in facts]
    flat = [prompt for group in prompts for prompt in group]
    asked = [probe.exact_request(prompt, fact) for fact, group in zip(facts, prompts, strict=True) for prompt in group]
    exact = _grouped(backend.exact(asked), prompts)
    greedy = _grouped(backend.generate([(prompt, e.greedy_kwargs()) for prompt in flat]), prompts)
    samples = _grouped(backend.sample(flat, e.sampled_kwargs(), e.n_samples, probe.seed + 1), prompts)
    return compare(
        [_drawn(probe, fact, exact[i], greedy[i], samples[i], tie=backend.tie) for i, fact in enumerate(facts)]
    )


def _grouped(answers: Sequence[T], prompts: Sequence[Sequence[str]]) -> list[list[T]]:
    left = iter(answers)
    return [[next(left) for _ in group] for group in prompts]


def _drawn(
    probe: Probe,
    fact: Fact,
    exact: Sequence[ExactAnswer],
    greedy: Sequence[str],
    samples: Sequence[Sequence[str]],
    *,
    tie: float,
) -> Drawn:
    n = probe.estimator.n_samples
    return Drawn(
        exact_knowledge(fact, exact, [], n_samples=n, tolerance=tie),
        tuple(answer.greedy for answer in exact),
        count_right(fact, greedy, samples, matching=probe.matching),
        tuple(is_right(text, fact.answers, probe.matching) for text in greedy),
        tuple(sum(is_right(text, fact.answers, probe.matching) for text in texts) for texts in samples),
        n,
    )
