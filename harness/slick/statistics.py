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

    def as_dict(self) -> dict[str, float]:
        return {"low": self.low, "high": self.high, "level": self.level}


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


def t_value(level: float, df: float) -> float:
    """Student's quantile of a two-sided interval; the normal one for infinitely many degrees of freedom."""
    if math.isinf(df):
        return z_value(level)
    from scipy.special import stdtrit

    z_value(level)
    return float(stdtrit(df, 0.5 + level / 2))


def wilson(
    right: float, n: int, level: float = LEVEL, design_effect: float = 1.0, df: float = math.inf
) -> Estimate | None:
    """A share with Wilson's score interval (Wilson 1927); None for n = 0. design_effect, df: as of `tango`.

    right may be an expected number. Of all quantities between 0 and 1 with one mean, those that are 0 or 1 vary most,
    so that the interval of a mean chance is then at least as wide as it need be, also where all chances are alike.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} of {n} cannot be")
    if n == 0:
        return None
    z, m = t_value(level, df), n / design_effect
    p = right / n
    scale = 1 + z * z / m
    centre = (p + z * z / (2 * m)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / m + z * z / (4 * m * m))
    # At 0 and n the limit is exactly the edge; rounding must not move it inside.
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return Estimate(p, Interval(low, high, level), n, "Wilson")


def share_error(p: float, n: int) -> float | None:
    """Standard error of a share (sample variance, as lm-eval's mean_stderr); None for n < 2."""
    return math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else None


def tango(
    lost: int, gained: int, n: int, level: float = LEVEL, design_effect: float = 1.0, df: float = math.inf
) -> Estimate | None:
    """Difference of two paired proportions with Tango's score interval (Tango 1998, Stat. Med. 17:891).

    n pairs, of which `lost` were right before and wrong after and `gained` the reverse; the difference is
    after minus before, (gained - lost)/n. For clustered pairs `design_effect` >= 1 shrinks all counts alike, and `df`
    (clusters less one) takes Student's quantile for the normal one.
    None for n = 0. Raises ValueError for counts that cannot be.
    """
    if lost < 0 or gained < 0 or lost + gained > n:
        raise ValueError(f"{lost} lost and {gained} gained of {n} pairs cannot be")
    if n == 0:
        return None
    difference = (gained - lost) / n
    x12, x21, m = gained / design_effect, lost / design_effect, n / design_effect
    z = t_value(level, df)
    low = -1.0 if x21 == m else _tango_root(x12, x21, m, z)
    high = 1.0 if x12 == m else _tango_root(x12, x21, m, -z)
    return Estimate(difference, Interval(low, high, level), n, "Tango")


def tango_statistic(x12: float, x21: float, n: float, delta: float) -> float:
    """Tango's score statistic against the difference `delta` of x12 gained and x21 lost among n; it falls in delta."""
    variance = n * (2 * tango_lost(x12, x21, n, delta) + delta * (1 - delta))
    gap = x12 - x21 - n * delta
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def tango_lost(x12: float, x21: float, n: float, delta: float) -> float:
    """The likeliest share of lost pairs were the true difference `delta`; that of gained pairs is delta more."""
    a = 2 * n
    b = -x12 - x21 + (2 * n - x12 + x21) * delta
    c = -x21 * delta * (1 - delta)
    return max(0.0, (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a))


def _tango_root(x12: float, x21: float, n: float, z: float) -> float:
    """The difference at which Tango's statistic equals z."""
    low, high = -1.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if tango_statistic(x12, x21, n, middle) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def design_effect(
    values: Sequence[float], clusters: Sequence[Hashable], strata: Sequence[Hashable] | None = None
) -> float:
    """max(1, V_cluster / V_iid) of the mean of `values`, where values of one cluster belong together.

    Kish's design effect, estimated with the usual G/(G-1) factor for G clusters; 1 when every value stands
    alone, when all are equal or when there is but one cluster. strata: groups that are fixed by design, such as the
    relations; V_cluster is then about their means, since no other draw of facts would change how many each has.
    """
    n = len(values)
    if n != len(clusters):
        raise ValueError(f"{n} values but {len(clusters)} clusters")
    mean = sum(values) / n if n else 0.0
    total = sum((v - mean) ** 2 for v in values)
    groups = len(set(clusters))
    if groups < 2 or groups == n or total == 0:
        return 1.0
    means, lost = _stratum_means(values, strata or [0] * n)
    if n <= lost:
        return 1.0
    sums: dict[Hashable, float] = {}
    for value, cluster, centre in zip(values, clusters, means, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - centre
    clustered = groups / (groups - 1) * (n - 1) / (n - lost) * sum(s * s for s in sums.values())
    independent = n / (n - 1) * total
    return max(1.0, clustered / independent)


def _stratum_means(values: Sequence[float], strata: Sequence[Hashable]) -> tuple[list[float], int]:
    """(each value's mean of its stratum, how many strata there are)."""
    found: dict[Hashable, list[float]] = {}
    for value, stratum in zip(values, strata, strict=True):
        found.setdefault(stratum, []).append(value)
    means = {stratum: sum(group) / len(group) for stratum, group in found.items()}
    return [means[stratum] for stratum in strata], len(means)


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
    """Difference of accuracies when arms were trained with several seeds, by `seeds_variance`.

    None for n < 2. Raises ValueError when the treated arm has one run or the facts differ in number.
    """
    if treated.shape[0] < 2:
        raise ValueError("one run has no run-to-run variance: use tango")
    n = _shared_facts(treated, control)
    if n < 2:
        return None
    mean = float((treated.mean(axis=0) - control.mean(axis=0)).mean())
    variance = seeds_variance(treated, control, design_effect)
    half = t_value(level, variance.df) * math.sqrt(variance.total)
    return Estimate(mean, Interval(mean - half, mean + half, level), n, f"facts and {variance.seeds} seeds")


@dataclass(frozen=True, slots=True)
class SeedsVariance:
    """What the difference of two arms' mean accuracies varies by, as variances of that difference.

    item: facts, another draw of which could have been asked; run: seeds, less nothing; residual: the part of `run`
    that facts explain already. seeds: of the arm that has fewest. df: Satterthwaite's degrees of freedom.
    """

    item: float
    run: float
    residual: float
    seeds: int
    df: float

    @property
    def beyond(self) -> float:
        """What seeds add to the noise of facts; never negative."""
        return max(0.0, self.run - self.residual)

    @property
    def total(self) -> float:
        return self.item + self.beyond


def seeds_variance(
    treated: Scores, control: Scores, design_effect: float = 1.0, item_df: float | None = None
) -> SeedsVariance:
    """The variance of treated minus control over facts and seeds (DESIGN, "Honest statistics").

    treated, control: runs × facts, 0 or 1, the same facts (at least 2) in the same order, at least one arm of
    several runs. An arm of one run is taken as fixed (the base model has no seeds) and adds none.
    With d_i the difference of fact i's means over runs:
    item = (Σ(d_i - D)² + 2)/n² times the design effect; run = Σ s²/S over the arms; residual = Σ MS_residual/(nS);
    df = V²/(item²/item_df + run²/(S-1 for every arm of several runs)), item_df = n - 1 where not given, S the fewest.
    """
    n = _shared_facts(treated, control)
    d = treated.mean(axis=0) - control.mean(axis=0)
    item = (float(((d - d.mean()) ** 2).sum()) + 2) / n**2 * design_effect
    arms = [arm for arm in (treated, control) if arm.shape[0] > 1]
    run = sum(float(arm.mean(axis=1).var(ddof=1)) / arm.shape[0] for arm in arms)
    residual = sum(_residual_mean_square(arm) / (n * arm.shape[0]) for arm in arms)
    seeds = min(arm.shape[0] for arm in arms)
    total = max(item, item + run - residual)
    df = total**2 / (item**2 / (item_df or n - 1) + run**2 / (len(arms) * (seeds - 1)))
    return SeedsVariance(item, run, residual, seeds, df)


def _shared_facts(treated: Scores, control: Scores) -> int:
    n: int = treated.shape[1]
    if control.shape[1] != n:
        raise ValueError(f"{n} facts against {control.shape[1]}")
    return n


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
