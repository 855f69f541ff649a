"""The chance that a redraw of the exemplar sets keeps a fact's category.

The sets are a sample of those that could be shown, so a category is one draw too. How facts differ is learnt from all
of them: a fact's counts are beta-binomial, with one shape for the whole probe, and what the next sets would say is the
posterior predictive of its own counts. By the exact estimator the shape's mean rises with P_Correct(T>0), which tells
facts that nearly had a right greedy answer from those that had none in sight.

Where no greedy answer is right, samples decide. By the exact estimator their part is a bootstrap of the sets'
chances; the sampled one records counts over all sets together, to which a second beta-binomial is fitted: it takes
samples of one set for no more alike than those of two, which measured on the lab is off by about a point.

Predicted and measured on the shipped lab's organism by the exact estimator, in percent: 1,584 test facts, draws of
10 sets by seeds 0, 1 and 2, each predicting the two others.
            all        HighlyKnown  MaybeKnown  WeaklyKnown  Unknown
  seed 0    93.2 91.2  92.8 93.6    83.8 86.6   86.0 88.3    99.0 92.2
  seed 1    93.6 92.6  93.8 93.3    86.3 81.9   86.2 87.0    99.1 98.8
  seed 2    91.7 91.9  92.7 94.5    81.1 79.4   81.4 85.3    99.3 98.1
What it cannot see is that all facts of a relation have their sets in common. By seed 0 every set of two relations
held an exemplar behind which some facts are answered "unknown" (docs/decisions/0006): 44 of the 50 facts that left
Unknown by seed 1 are of those two.
On an earlier organism the counts alone, as the sampled estimator has them, predicted within 3.5 points; a shape of
its own for each relation no better; without P_Correct(T>0) the exact estimator's single facts worse (20 to 23 % more
logarithmic loss), and Jeffreys' prior not at all (all facts: 71.9, measured 94).

An undefined chance is None: too few facts, one set, or no fact whose answers differ between sets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slick.knowledge import CATEGORIES, Category, Knowledge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

# Fewer facts do not tell how facts differ.
MIN_FACTS = 20
# Redraws in the bootstrap: a chance is off by at most 0.011 (standard error), for a fact in the middle.
REDRAWS = 2000
# P_Correct nearer to 0 or 1 than this tells nothing more.
_P_EDGE = 1e-6
_HALF = math.log(0.5)


@dataclass(frozen=True, slots=True)
class BetaBinomial:
    """Counts of facts that differ: a fact's chance is Beta(mean·size, (1 - mean)·size) distributed.

    The logit of the mean is intercept + slope·x, x a figure known of the fact (0 where none is).
    """

    intercept: float
    slope: float
    size: float

    def again(self, right: Ints, total: Ints, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Of as many further trials as a fact had, the chances that none, some and all are right."""
        import numpy as np

        a, b = _shape(self.intercept, self.slope, self.size, x)
        a, b = a + right, b + total - right
        none, every = _none_of(a, b, total), _none_of(b, a, total)
        return none, np.clip(1 - none - every, 0, 1), every


def fit(right: Ints, total: Ints, x: Floats | None = None) -> BetaBinomial | None:
    """The maximum-likelihood beta-binomial of right[i] of total[i] successes, with the covariate x if there is one.

    None where the counts do not tell it: fewer than MIN_FACTS, or all of them 0 or total.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import betaln

    if len(right) < MIN_FACTS or not bool(((right > 0) & (right < total)).any()):
        return None
    covariate = np.zeros(len(right)) if x is None else x
    middle = float(covariate.mean())
    # Facts that are alike are counted, so that the time of a step does not grow with the facts.
    grid = np.round((covariate - middle) / 0.05)
    cells, times = np.unique(np.stack([right, total, grid]), axis=1, return_counts=True)
    k, n, at = cells[0], cells[1], cells[2] * 0.05

    def shape_of(found: Floats) -> tuple[float, float, float]:
        return float(found[0]), float(found[1]) if x is not None else 0.0, math.exp(float(found[-1]))

    def loss(parameters: Floats) -> float:
        a, b = _shape(*shape_of(parameters), at)
        return -float((times * (betaln(k + a, n - k + b) - betaln(a, b))).sum())

    share = float(right.sum() / total.sum())
    start, bounds = [math.log(share / (1 - share)), 0.0], [(-20.0, 20.0), (-6.0, 10.0)]
    if x is not None:
        # Never falling: what samples get right more often is not what greedy answers get right less often.
        start.insert(1, 1.0)
        bounds.insert(1, (0.0, 20.0))
    options = {"maxiter": 2000, "xatol": 1e-6, "fatol": 1e-8}
    intercept, slope, size = shape_of(minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options).x)
    return BetaBinomial(intercept - slope * middle, slope, size)


def _shape(intercept: float, slope: float, size: float, x: Floats) -> tuple[Floats, Floats]:
    from scipy.special import expit

    logit = intercept + slope * x
    # Bounded away from 0, where a beta distribution ends; both sides by expit, so that neither loses its digits.
    return size * expit(logit) + 1e-12, size * expit(-logit) + 1e-12


def _none_of(a: Floats, b: Floats, trials: Ints) -> Floats:
    """The chance that no trial succeeds, where one's is Beta(a, b); a product, since beta functions lose digits."""
    import numpy as np

    chance = np.ones(len(a))
    for j in range(int(trials.max(initial=0))):
        chance *= np.where(j < trials, (b + j) / (a + b + j), 1.0)
    return chance


def chance_kept(knowledge: Sequence[Knowledge]) -> list[float | None]:
    """Per fact, the chance that as many other exemplar sets give the same category; None where it is undefined.

    knowledge: all facts of one probe, since they tell each other's spread.
    """
    kept: list[float | None] = [None] * len(knowledge)
    for exact in (True, False):
        places = [i for i, k in enumerate(knowledge) if (k.chances is not None) is exact]
        found = _chance_kept([knowledge[i] for i in places])
        for i, chance in zip(places, found, strict=True):
            kept[i] = chance
    return kept


def _chance_kept(knowledge: Sequence[Knowledge]) -> list[float | None]:
    """As `chance_kept`, of facts of one estimator."""
    import numpy as np

    right = np.array([k.greedy_right for k in knowledge], dtype=np.int64)
    total = np.array([k.greedy_total for k in knowledge], dtype=np.int64)
    x = _covariate(knowledge)
    shape = fit(right, total, x)
    if shape is None:
        return [None] * len(knowledge)
    none, some, every = shape.again(right, total, np.zeros(len(right)) if x is None else x)
    of_samples = iter(_samples_keep([k for k in knowledge if k.greedy_right == 0]))
    kept: list[float | None] = []
    for i, k in enumerate(knowledge):
        if k.category is Category.HIGHLY_KNOWN:
            kept.append(float(every[i]))
        elif k.category is Category.MAYBE_KNOWN:
            kept.append(float(some[i]))
        else:
            samples = next(of_samples)
            kept.append(None if samples is None else float(none[i]) * samples)
    return kept


def _covariate(knowledge: Sequence[Knowledge]) -> Floats | None:
    """The logit of P_Correct(T>0), where every fact has it."""
    import numpy as np
    from scipy.special import logit

    p = [k.p_sampled for k in knowledge if k.chances is not None]
    return logit(np.clip(np.array(p, dtype=np.float64), _P_EDGE, 1 - _P_EDGE)) if len(p) == len(knowledge) else None


def _samples_keep(knowledge: Sequence[Knowledge]) -> Sequence[float | None]:
    """Of facts of one estimator without a right greedy answer: the chance that samples decide as they did."""
    import numpy as np

    unknown = np.array([k.category is Category.UNKNOWN for k in knowledge], dtype=np.bool_)
    none_right: Floats
    if all(k.chances is not None for k in knowledge):
        none_right = _unknown_again(knowledge)
    else:
        right = np.array([k.sampled_right for k in knowledge], dtype=np.int64)
        total = np.array([k.sampled_total for k in knowledge], dtype=np.int64)
        shape = fit(right, total)
        if shape is None:
            return [None] * len(knowledge)
        none_right = shape.again(right, total, np.zeros(len(right)))[0]
    return [float(chance) for chance in np.where(unknown, none_right, 1 - none_right)]


def _unknown_again(knowledge: Sequence[Knowledge]) -> Floats:
    """Of facts with `chances`: how often sets drawn from their own, with replacement, have u > 0.5.

    Every fact is judged by the same seeded draws, so that a chance depends on the fact alone.
    """
    import numpy as np

    found = np.empty(len(knowledge))
    open_: dict[int, list[tuple[int, list[float]]]] = {}
    for i, k in enumerate(knowledge):
        logs = _logs(k)
        found[i] = float(len(logs) * logs[0] > _HALF)
        # Drawn is only what the worst set alone and the best set alone do not decide alike.
        if found[i] != float(len(logs) * logs[-1] > _HALF):
            open_.setdefault(len(logs), []).append((i, logs))
    for sets, facts in open_.items():
        draws = np.random.default_rng(0).multinomial(sets, [1 / sets] * sets, size=REDRAWS).astype(np.float64)
        for first in range(0, len(facts), 256):
            places, rows = zip(*facts[first : first + 256], strict=True)
            # Not a matrix product, whose rounding would depend on the facts beside it.
            found[[*places]] = (np.einsum("fs,ds->fd", np.array(rows), draws) > _HALF).mean(axis=1)
    return found


def _logs(knowledge: Knowledge) -> list[float]:
    """Per set, the logarithm of the chance that no sample is right; sorted, since sets have no order."""
    assert knowledge.chances is not None
    # Never quite -inf, which no draw could leave out.
    return sorted(knowledge.chances.n_samples * math.log1p(-min(p, 1 - 1e-12)) for p in knowledge.chances.p_by_set)


def mean_kept(knowledge: Sequence[Knowledge], kept: Iterable[float | None]) -> Mapping[Category | None, float]:
    """The mean chance of all facts (under None) and of each category's; one that is undefined is left out."""
    of_facts = [(k.category, chance) for k, chance in zip(knowledge, kept, strict=True)]
    found: dict[Category | None, float] = {}
    for group in (None, *CATEGORIES):
        chances = [chance for category, chance in of_facts if group in (None, category)]
        defined = [chance for chance in chances if chance is not None]
        if defined and len(defined) == len(chances):
            found[group] = math.fsum(defined) / len(defined)
    return found
