"""Intervals and variances. Every function is pure; an interval that is undefined is None, never ±0.

Proportions are fractions in [0, 1]; levels are two-sided. The default 90 % is the verdict's: its lower
limit is a one-sided 95 % bound.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]

LEVEL = 0.90


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float
    level: float = LEVEL

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured share or difference: value, its interval (None: undefined), the n it rests on, the method."""

    value: float
    interval: Interval | None
    n: int
    method: str


def z_value(level: float) -> float:
    """The standard normal quantile of a two-sided interval. Raises ValueError outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), found {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(right: float, n: int, level: float = LEVEL) -> Estimate | None:
    """A share with Wilson's score interval (Wilson 1927); None for n = 0.

    right may be an expected number. Of all quantities between 0 and 1 with one mean, those that are 0 or 1 vary most,
    so that the interval of a mean chance is then at least as wide as it need be, also where all chances are alike.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} of {n} cannot be")
    if n == 0:
        return None
    z = z_value(level)
    p = right / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n the limit is exactly the edge; rounding must not move it inside.
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return Estimate(p, Interval(low, high, level), n, "Wilson")


def share_error(p: float, n: int) -> float | None:
    """Standard error of a share (sample variance, as lm-eval's mean_stderr); None for n < 2."""
    return math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else None


def tango(lost: int, gained: int, n: int, level: float = LEVEL, design_effect: float = 1.0) -> Estimate | None:
    """Difference of two paired proportions with Tango's score interval (Tango 1998, Stat. Med. 17:891).

    n pairs, of which `lost` were right before and wrong after and `gained` the reverse; the difference is
    after minus before, (gained - lost)/n. `design_effect` >= 1 shrinks all counts alike for clustered pairs.
    None for n = 0. Raises ValueError for counts that cannot be.
    """
    if lost < 0 or gained < 0 or lost + gained > n:
        raise ValueError(f"{lost} lost and {gained} gained of {n} pairs cannot be")
    if n == 0:
        return None
    difference = (gained - lost) / n
    x12, x21, m = gained / design_effect, lost / design_effect, n / design_effect
    z = z_value(level)
    low = -1.0 if x21 == m else _tango_root(x12, x21, m, z)
    high = 1.0 if x12 == m else _tango_root(x12, x21, m, -z)
    return Estimate(difference, Interval(low, high, level), n, "Tango")


def _tango_root(x12: float, x21: float, n: float, z: float) -> float:
    """The difference at which Tango's statistic equals z; the statistic falls in the difference."""

    def statistic(delta: float) -> float:
        a = 2 * n
        b = -x12 - x21 + (2 * n - x12 + x21) * delta
        c = -x21 * delta * (1 - delta)
        q21 = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * q21 + delta * (1 - delta))
        gap = x12 - x21 - n * delta
        if variance <= 0:
            return math.copysign(math.inf, gap) if gap else 0.0
        return gap / math.sqrt(variance)

    low, high = -1.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if statistic(middle) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def design_effect(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """max(1, V_cluster / V_iid) of the mean of `values`, where values of one cluster belong together.

    Kish's design effect, estimated with the usual G/(G-1) factor for G clusters; 1 when every value stands
    alone, when all are equal or when there is but one cluster.
    """
    n = len(values)
    if n != len(clusters):
        raise ValueError(f"{n} values but {len(clusters)} clusters")
    mean = sum(values) / n if n else 0.0
    total = sum((v - mean) ** 2 for v in values)
    sums: dict[Hashable, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    groups = len(sums)
    if groups < 2 or groups == n or total == 0:
        return 1.0
    clustered = groups / (groups - 1) * sum(s * s for s in sums.values())
    independent = n / (n - 1) * total
    return max(1.0, clustered / independent)


def arm_share(scores: Scores, level: float = LEVEL) -> Estimate | None:
    """Accuracy of an arm. scores: runs × facts, 0 or 1. One run: Wilson. Several: facts and runs both vary.

    Over S runs the variance is the facts' (of their mean over runs) plus the runs' beyond what their own
    residual explains, as in `seeds_difference` with a constant control; the interval is cut off at 0 and 1.
    """
    runs, n = scores.shape
    if n == 0:
        return None
    if runs == 1:
        return wilson(int(scores.sum()), n, level)
    import numpy as np

    found = seeds_difference(scores, np.zeros((1, n)), level)
    if found is None or found.interval is None:
        return found
    inside = Interval(max(found.interval.low, 0.0), min(found.interval.high, 1.0), level)
    return replace(found, interval=inside)


def seeds_difference(
    treated: Scores, control: Scores, level: float = LEVEL, design_effect: float = 1.0
) -> Estimate | None:
    """Difference of accuracies when arms were trained with several seeds (DESIGN, "Honest statistics").

    treated, control: runs × facts, 0 or 1, the same facts in the same order. A control of one run is taken
    as fixed (the base model has no seeds). With d_i the difference of fact i's means over runs:
    V_item = (Σ(d_i - D)² + 2)/n²; V_run = Σ s²/S over the arms; V_res = Σ MS_residual/(nS);
    V = max(V_item, V_item + V_run - V_res), degrees of freedom by Satterthwaite.
    None for n < 2. Raises ValueError when the treated arm has one run or the facts differ in number.
    """
    import numpy as np
    from scipy.special import stdtrit

    n = treated.shape[1]
    if control.shape[1] != n:
        raise ValueError(f"{n} facts against {control.shape[1]}")
    if treated.shape[0] < 2:
        raise ValueError("one run has no run-to-run variance: use tango")
    if n < 2:
        return None
    d = treated.mean(axis=0) - control.mean(axis=0)
    mean = float(d.mean())
    v_item = (float(((d - mean) ** 2).sum()) + 2) / n**2 * design_effect
    arms = [arm for arm in (treated, control) if arm.shape[0] > 1]
    v_run = sum(float(np.var(arm.mean(axis=1), ddof=1)) / arm.shape[0] for arm in arms)
    v_res = sum(_residual_mean_square(arm) / (n * arm.shape[0]) for arm in arms)
    v = max(v_item, v_item + v_run - v_res)
    runs = min(arm.shape[0] for arm in arms)
    df = v**2 / (v_item**2 / (n - 1) + v_run**2 / (2 * (runs - 1)))
    half = float(stdtrit(df, 0.5 + level / 2)) * math.sqrt(v)
    return Estimate(mean, Interval(mean - half, mean + half, level), n, f"facts and {runs} seeds")


def _residual_mean_square(arm: Scores) -> float:
    """Mean square of the runs-by-facts interaction of a two-way layout."""
    runs, n = arm.shape
    residual = arm - arm.mean(axis=0) - arm.mean(axis=1, keepdims=True) + arm.mean()
    total: float = (residual**2).sum().item()
    return float(total / ((n - 1) * (runs - 1)))


def paired_difference(
    after: Scores, before: Scores, clusters: Sequence[Hashable] | None = None, level: float = LEVEL
) -> Estimate | None:
    """after minus before on the same facts: Tango for one run each, `seeds_difference` for several.

    With one run after and several before, only the first before is used: one checkpoint cannot speak for
    its seeds. `clusters` names what facts belong together (their subject); None for no facts.
    """
    n = after.shape[1]
    if n == 0:
        return None
    if after.shape[0] == 1:
        before = before[:1]
    d = after.mean(axis=0) - before.mean(axis=0)
    effect = design_effect(d.tolist(), clusters) if clusters is not None else 1.0
    if after.shape[0] > 1:
        return seeds_difference(after, before, level, effect)
    return tango(int((d < 0).sum()), int((d > 0).sum()), n, level, effect)
