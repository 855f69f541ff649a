"""What a probe will cost, and what it can show, from its counts and a few measured pieces. Pure.

Costs are ranges: a burst of seconds cannot say what an hour will take, only about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean, stdev

from slick.statistics import LEVEL, wilson, z_value

# What the smallest difference is stated for: pairs that are right in one arm and wrong in the other, and the chance
# of showing it.
DISCORDANT = 0.10
POWER = 0.80
# A category's share of the facts, as an example.
EXAMPLE_SHARE = 0.20
# No forecast is called better than that, however alike its pieces were: a long run meets other load and other facts.
LEAST_FACTOR = 1.5
# What a single piece is worth.
LONE_FACTOR = 3.0
_MOST_FACTOR = 100.0


@dataclass(frozen=True, slots=True)
class Range:
    """What is expected, and between what it may well lie."""

    value: float
    low: float
    high: float

    @classmethod
    def certain(cls, value: float) -> Range:
        return cls(value, value, value)

    def __add__(self, other: Range) -> Range:
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, other: Range) -> Range:
        return Range(self.value * other.value, self.low * other.low, self.high * other.high)

    def times(self, factor: float) -> Range:
        return Range(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Piece:
    """A measured piece of work. work: tokens read and written; what takes the time, nearly."""

    work: float
    seconds: float


def factor_of(pieces: Sequence[Piece]) -> float:
    """By what factor a further piece may take more or less time a token than the mean of these (90 %, logarithmic)."""
    if not pieces:
        raise ValueError("nothing was measured")
    if len(pieces) == 1:
        return LONE_FACTOR
    from scipy.special import stdtrit

    n = len(pieces)
    spread = stdev(math.log(piece.seconds / piece.work) for piece in pieces)
    reach = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * spread * math.sqrt(1 + 1 / n)
    return min(max(LEAST_FACTOR, math.exp(min(reach, math.log(_MOST_FACTOR)))), _MOST_FACTOR)


def forecast(pieces: Sequence[Piece], work: float, least: float = LEAST_FACTOR) -> Range:
    """The seconds that so much work takes. least: the factor below which the range is not drawn."""
    rate = math.exp(fmean(math.log(piece.seconds / piece.work) for piece in pieces))
    factor = max(factor_of(pieces), least)
    return Range(work * rate, work * rate / factor, work * rate * factor)


def share_of(right: int, n: int) -> Range:
    """A share with Wilson's interval; anything from 0 to 1, about a half, where nothing was seen."""
    estimate = wilson(right, n)
    if estimate is None or estimate.interval is None:
        return Range(0.5, 0.0, 1.0)
    return Range(estimate.value, estimate.interval.low, estimate.interval.high)


def _quantiles(power: float, level: float) -> float:
    return z_value(level) + NormalDist().inv_cdf(power)


def facts_for(margin: float, *, discordant: float = DISCORDANT, power: float = POWER, level: float = LEVEL) -> int:
    """How many facts show that an arm is not worse than another by `margin`, where in truth it is not worse at all.

    With chance `power`, the two-sided interval of `level` then lies above -margin. discordant: the share of facts
    that are right in one of the arms only.
    """
    return math.ceil(discordant * (_quantiles(power, level) / margin) ** 2)


def smallest_margin(
    n: float, *, discordant: float = DISCORDANT, power: float = POWER, level: float = LEVEL
) -> float | None:
    """The smallest `margin` that n facts show in the sense of `facts_for`; None where they can show none below 1."""
    if n <= 0:
        return None
    margin = _quantiles(power, level) * math.sqrt(discordant / n)
    return margin if margin < 1 else None


def effective_facts(clusters: Iterable[int]) -> float:
    """So many independent facts are worth as much as clusters of these sizes whose members all fall alike (Kish)."""
    sizes = list(clusters)
    squares = sum(size * size for size in sizes)
    return sum(sizes) ** 2 / squares if squares else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The prompts of a selection in tokens.

    anew: every prompt whole. once: what prompts have in common counted once; None where the backend shares nothing
    of ours. counted: of how many facts the prompts were tokenised; the rest is reckoned from these.
    """

    prompts: int
    anew: float
    once: float | None
    counted: int

    @property
    def computed(self) -> float:
        return self.anew if self.once is None else self.once


@dataclass(frozen=True, slots=True)
class Cost:
    """What one estimator asks and takes. answers: generations, or exact answers. read: prompt tokens computed;
    anew: the same if nothing were shared. memory: peak bytes; None where they are another's."""

    name: str
    chosen: bool
    answers: Range
    read: Range
    anew: Range
    written: Range | None
    seconds: Range
    memory: float | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of asking over all facts. walked: tokens computed behind the prompts that nothing writes.

    pieces: what was measured of it; least: the factor below which its time is not called known.
    """

    answers: float
    read: float
    anew: float
    written: float
    walked: float
    pieces: Sequence[Piece]
    least: float = LEAST_FACTOR

    @property
    def seconds(self) -> Range:
        return forecast(self.pieces, self.read + self.written + self.walked, self.least)


EVERY = Range.certain(1.0)


def cost(
    name: str, stages: Sequence[tuple[Stage, Range]], memory: float | None, *, chosen: bool = False, processes: int = 1
) -> Cost:
    """Of an estimator that goes through these stages, each for a share of the facts; processes divide the time."""

    def summed(quantity: Callable[[Stage], float]) -> Range:
        return sum((share.times(quantity(stage)) for stage, share in stages), Range.certain(0.0))

    written = summed(lambda stage: stage.written)
    seconds = sum((stage.seconds * share for stage, share in stages), Range.certain(0.0))
    return Cost(
        name,
        chosen,
        summed(lambda stage: stage.answers),
        summed(lambda stage: stage.read),
        summed(lambda stage: stage.anew),
        written if written.value else None,
        seconds.times(1 / processes),
        memory,
    )


@dataclass(frozen=True, slots=True)
class Power:
    """n facts, and the smallest difference that they show: taken as independent, and at worst, if all facts of a
    subject fall alike. None: undefined."""

    name: str
    n: int
    margin: float | None
    worst: float | None


def powers(clusters: Sequence[int], share: float = EXAMPLE_SHARE) -> tuple[Power, ...]:
    """Of all facts, and of a category of this share. clusters: how many facts each subject has."""
    n, effective = sum(clusters), effective_facts(clusters)
    small = round(share * n)
    return (
        Power("all facts", n, smallest_margin(n), smallest_margin(effective)),
        # A random share of the facts: a cluster of s keeps 1 + share (s - 1) of its members for one that is there.
        Power(f"a category of {share:.0%}", small, smallest_margin(small), smallest_margin(_thinned(clusters, share))),
    )


def _thinned(clusters: Sequence[int], share: float) -> float:
    """`effective_facts` of a random share of all."""
    n = sum(clusters) * share
    squares = sum(share * size * (1 + share * (size - 1)) for size in clusters)
    return n * n / squares if squares else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a probe would do. undecided: share of facts without a right greedy answer; notes: what was measured."""

    facts: int
    relations: int
    n_sets: int
    n_before: int
    n_exemplars: int
    subjects: int
    batch_size: int
    reading: Reading
    costs: tuple[Cost, ...]
    powers: tuple[Power, ...]
    undecided: Range
    notes: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        return (
            f"{self.facts:,} facts of {self.relations} relations and {self.subjects:,} subjects, each under "
            f"{self.n_sets} + {self.n_before} exemplar sets of {self.n_exemplars}: {self.reading.prompts:,} prompts, "
            f"{self.batch_size} rows a batch"
        )

    def cost_rows(self) -> list[tuple[str, ...]]:
        """The table of costs: a header, and a row a quantity, a column an estimator."""
        costs = self.costs
        rows: list[tuple[str, ...]] = [("", *(f"{c.name} (chosen)" if c.chosen else c.name for c in costs))]
        rows.append(("answers", *(about(c.answers) for c in costs)))
        rows.append(("prompt tokens read", *(about(c.read) for c in costs)))
        rows.append(("if nothing were shared", *(about(c.anew) for c in costs)))
        rows.append(("tokens written", *(about(c.written) if c.written else "none" for c in costs)))
        rows.append(("time", *(duration(c.seconds.value) for c in costs)))
        rows.append(("time from", *(duration(c.seconds.low) for c in costs)))
        rows.append(("time to", *(duration(c.seconds.high) for c in costs)))
        rows.append(("peak memory", *("not known" if c.memory is None else size(c.memory) for c in costs)))
        return rows

    def power_rows(self) -> list[tuple[str, ...]]:
        return [(power.name, f"{power.n:,}", points(power.margin), points(power.worst)) for power in self.powers]


def about(value: Range) -> str:
    """A count; with a sign where it is expected only."""
    return ("" if value.low == value.high else "~") + count(value.value)


def count(value: float) -> str:
    """Whole up to six digits, then in millions and more, three digits of them."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= unit:
            return f"{_three(value / unit)} {name}"
    return f"{round(value):,}"


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{_three(seconds / unit)} {name}"
    return f"{_three(seconds)} s" if seconds >= 0.1 else "<0.1 s"


def size(amount: float) -> str:
    """Bytes, in decimal units."""
    return f"{_three(amount / 1e9)} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"


def points(margin: float | None) -> str:
    """A difference of accuracies in percentage points."""
    return "undefined" if margin is None else f"{100 * margin:.1f} points"


def _three(value: float) -> str:
    """Two or three digits that count."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2g}"
