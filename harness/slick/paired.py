"""The difference of two arms on the same facts, and all that its noise is made of: facts, clusters, seeds.

A `Paired` difference answers what a verdict asks: its interval at any level, how surely it lies below a margin, and
what it would vary by with other numbers of facts and seeds. Shares and differences are fractions, candidate minus
control.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from slick.counted import counted_chance
from slick.statistics import (
    LEVEL,
    Estimate,
    Interval,
    design_effect,
    seeds_variance,
    t_value,
    tango,
    tango_statistic,
)

if TYPE_CHECKING:
    from slick.statistics import Scores

# Fewer recorded runs do not tell how far runs of one recipe lie apart.
LEDGER_RUNS = 4


class Noise(StrEnum):
    """What an interval holds, and so what a verdict is about."""

    CHECKPOINTS = "facts"
    SEEDS = "facts and seeds"
    LEDGER = "facts, and seeds by a ledger"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Recorded accuracies of runs of one recipe, which differ in nothing but their seed. At least 4."""

    sd: float
    runs: int

    def __post_init__(self) -> None:
        if self.runs < LEDGER_RUNS or not self.sd >= 0:
            raise ValueError(
                f"a ledger of {self.runs} runs with standard deviation {self.sd}: expected at least {LEDGER_RUNS} runs"
            )

    @classmethod
    def of(cls, accuracies: Sequence[float]) -> Ledger:
        """The raw standard deviation over the runs' accuracies. Raises ValueError for fewer than 4."""
        n = len(accuracies)
        mean = math.fsum(accuracies) / n if n else 0.0
        return cls(math.sqrt(math.fsum((a - mean) ** 2 for a in accuracies) / max(n - 1, 1)), n)


@dataclass(frozen=True, slots=True)
class Paired:
    """Candidate minus control on n facts. lost, gained: facts a seed, so that value = (gained - lost) / n.

    item, run: the variance of `value` from facts and from seeds (0 for checkpoints); residual: the part of `run` that
    facts explain already. item_df, run_df: how well each is known. effect: the design effect of clusters, contained in
    `item`. seeds: of the arm that has fewest. df: of the whole; infinite for checkpoints without clusters. defined:
    false for facts of one cluster alone, and for a single fact over seeds, which tell nothing of another draw.
    """

    value: float
    n: int
    lost: float
    gained: float
    noise: Noise
    item: float
    item_df: float
    effect: float = 1.0
    run: float = 0.0
    run_df: float = math.inf
    residual: float = 0.0
    seeds: int = 1
    df: float = math.inf
    defined: bool = True

    @property
    def beyond(self) -> float:
        """What seeds add to the noise of facts; never negative."""
        return max(0.0, self.run - self.residual)

    def cautious(self) -> Paired:
        """With the seeds' variance as large as it may well be: its 60 % upper limit, by how well it is known.

        For planning. Few seeds often find no spread where there is one, and a plan made on that falls short.
        """
        if self.run == 0 or math.isinf(self.run_df):
            return self
        from scipy.special import chdtri

        return replace(self, run=self.run * self.run_df / float(chdtri(self.run_df, 0.6)))

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Two-sided; None where it is undefined. Seeds: t about the value. Checkpoints: Tango's."""
        if not self.defined:
            return None
        if self.noise is Noise.CHECKPOINTS:
            found = tango(round(self.lost), round(self.gained), self.n, level, self.effect, self.df)
            return found.interval if found else None
        half = t_value(level, self.df) * math.sqrt(self.item + self.beyond)
        return Interval(self.value - half, self.value + half, level)

    def estimate(self, level: float = LEVEL) -> Estimate:
        method = "Tango" if self.noise is Noise.CHECKPOINTS else str(self.noise)
        return Estimate(self.value, self.interval(level), self.n, method)

    def chance_above(self, difference: float) -> float | None:
        """One-sided p-value of "the true difference is at least `difference`"; None where it is undefined.

        Small where the value lies far below. Less than half of 1 - level only where the upper limit is below it; with
        checkpoints that have few facts of one kind, the chance by counting must be as small too.
        """
        if not self.defined:
            return None
        if self.noise is Noise.CHECKPOINTS:
            gained, lost, n = (x / self.effect for x in (self.gained, self.lost, self.n))
            statistic = tango_statistic(gained, lost, n, difference)
            return max(_below(statistic, self.df), counted_chance(lost, gained, n, difference))
        return _below((self.value - difference) / math.sqrt(self.item + self.beyond), self.df)

    def p_different(self) -> float | None:
        """Two-sided p-value of "there is no difference"; None where it is undefined."""
        if not self.defined:
            return None
        if self.noise is Noise.CHECKPOINTS:
            gained, lost, n = (x / self.effect for x in (self.gained, self.lost, self.n))
            statistic = tango_statistic(gained, lost, n, 0.0)
        else:
            statistic = self.value / math.sqrt(self.item + self.beyond)
        return min(1.0, 2 * _below(-abs(statistic), self.df))

    def spread(self, facts: float | None = None, seeds: int | None = None) -> tuple[float, float]:
        """(standard error, degrees of freedom) were there so many facts and seeds an arm; as it is where None.

        Degrees of freedom that clusters or a ledger limit grow with the facts, and with the ledger not at all.
        """
        more = (facts or self.n) / self.n
        other = seeds or self.seeds
        item, beyond = self.item / more, self.beyond * self.seeds / other
        grown = (other - 1) / (self.seeds - 1) if self.seeds > 1 else 1.0
        return math.sqrt(item + beyond), _df((item, self.item_df * more), (beyond, self.run_df * grown))

    def as_dict(self) -> dict[str, Any]:
        """JSON form; infinite degrees of freedom are null."""
        return {
            "difference": self.value,
            "facts": self.n,
            "lost": self.lost,
            "gained": self.gained,
            "noise": str(self.noise),
            "seeds": self.seeds,
            "variance": {"facts": self.item, "seeds": self.beyond},
            "design_effect": self.effect,
            "df": self.df if math.isfinite(self.df) else None,
        }


def paired(
    candidate: Scores,
    control: Scores,
    *,
    clusters: Sequence[Hashable] | None = None,
    strata: Sequence[Hashable] | None = None,
    fixed_control: bool = False,
    ledger: Ledger | None = None,
) -> Paired | None:
    """Candidate minus control; None for no facts. candidate, control: runs × facts, 0 or 1, facts in one order.

    One run each: one checkpoint against one, unless a `ledger` says how far seeds lie apart. Several runs each: the
    claim is about training; with unequal numbers the degrees of freedom are those of the fewer. fixed_control: the
    control is a model that was not trained for this (the base model), so that its one run is all there is.
    clusters: what each fact belongs to (its subject). strata: its relation, fixed by design.
    Raises ValueError where the facts differ in number, or one trained run meets several.
    """
    n = candidate.shape[1]
    if control.shape[1] != n:
        raise ValueError(f"{n} facts against {control.shape[1]}")
    if n == 0:
        return None
    runs = candidate.shape[0], control.shape[0]
    if runs[0] != runs[1] and (runs[0] == 1 or (runs[1] == 1 and not fixed_control)):
        raise ValueError(
            f"{runs[0]} candidate runs against {runs[1]} of the control: one trained run says nothing of its seeds; "
            "give several of both, or one of each"
        )
    d = candidate.mean(axis=0) - control.mean(axis=0)
    shared = _Shared.of(d.tolist(), clusters, strata)
    lost, gained = _discordant(candidate, control)
    found = Paired(
        value=float(d.mean()),
        n=n,
        lost=lost,
        gained=gained,
        noise=Noise.CHECKPOINTS,
        item=(float(((d - d.mean()) ** 2).sum()) + 2) / n**2 * shared.effect,
        item_df=shared.df,
        effect=shared.effect,
        # Without clusters Tango's interval takes the normal quantile, as published.
        df=shared.df if shared.clustered else math.inf,
        defined=shared.defined,
    )
    if max(runs) > 1:
        return _over_seeds(found, candidate, control)
    return found if ledger is None else _by_ledger(found, ledger)


def _over_seeds(found: Paired, candidate: Scores, control: Scores) -> Paired:
    several = [arm.shape[0] for arm in (candidate, control) if arm.shape[0] > 1]
    if found.n < 2:
        return replace(found, noise=Noise.SEEDS, seeds=min(several), defined=False)
    variance = seeds_variance(candidate, control, found.effect, found.item_df)
    return replace(
        found,
        noise=Noise.SEEDS,
        run=variance.run,
        residual=variance.residual,
        run_df=float(len(several) * (variance.seeds - 1)),
        seeds=variance.seeds,
        df=variance.df,
    )


def _by_ledger(found: Paired, ledger: Ledger) -> Paired:
    """One run an arm, each as far from its recipe's mean as the ledger's runs lie apart."""
    run, df = 2 * ledger.sd**2, float(ledger.runs - 1)
    return replace(
        found,
        noise=Noise.LEDGER,
        run=run,
        run_df=df,
        df=_df((found.item, found.item_df), (run, df)),
        defined=found.defined and found.n > 1,
    )


@dataclass(frozen=True, slots=True)
class _Shared:
    """What clusters do: their design effect, the degrees of freedom they leave, whether any holds two facts."""

    effect: float
    df: float
    clustered: bool
    defined: bool

    @classmethod
    def of(cls, d: Sequence[float], clusters: Sequence[Hashable] | None, strata: Sequence[Hashable] | None) -> _Shared:
        n = len(d)
        groups = n if clusters is None else len(set(clusters))
        effect = 1.0 if clusters is None else design_effect(d, clusters, strata)
        return cls(effect, float(max(groups - 1, 1)), groups < n, groups > 1 or n == 1)


def _discordant(candidate: Scores, control: Scores) -> tuple[float, float]:
    """(lost, gained) a pair of runs: right by the control and wrong by the candidate, and the reverse.

    Seeds of equal number are paired in their order; with other numbers every run meets every one of the other arm.
    """
    if candidate.shape[0] == control.shape[0]:
        runs = candidate.shape[0]
        return float((candidate < control).sum()) / runs, float((candidate > control).sum()) / runs
    ours, theirs = candidate.mean(axis=0), control.mean(axis=0)
    return float(((1 - ours) * theirs).sum()), float((ours * (1 - theirs)).sum())


def _below(statistic: float, df: float) -> float:
    """The chance of a smaller value than `statistic` under Student's or, for infinite df, the normal distribution."""
    from scipy.special import ndtr, stdtr

    if math.isinf(statistic):
        return 0.0 if statistic < 0 else 1.0
    return float(ndtr(statistic) if math.isinf(df) else stdtr(df, statistic))


def _df(*parts: tuple[float, float]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances, each with its own."""
    total = math.fsum(variance for variance, _ in parts)
    doubt = math.fsum(variance**2 / df for variance, df in parts if math.isfinite(df))
    return total**2 / doubt if doubt > 0 else math.inf
