"""The four SliCK categories (Gekhman et al. 2024, table 2) and what a probe found out about one fact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slick.facts import Fact


class Category(StrEnum):
    """How well a model knows a fact, best first."""

    HIGHLY_KNOWN = "HighlyKnown"
    MAYBE_KNOWN = "MaybeKnown"
    WEAKLY_KNOWN = "WeaklyKnown"
    UNKNOWN = "Unknown"

    @property
    def rank(self) -> int:
        """0 for Unknown up to 3 for HighlyKnown."""
        return len(CATEGORIES) - 1 - CATEGORIES.index(self)

    @property
    def metric(self) -> str:
        """The name of its share as an lm-eval metric."""
        return _METRICS[self]


class Estimator(StrEnum):
    """How P_Correct is measured: by generating answers, or by computing the chances of right ones."""

    SAMPLED = "sampled"
    EXACT = "exact"


CATEGORIES = tuple(Category)
KNOWN = CATEGORIES[:3]
# What a probe counts of a fact, by the names of `Knowledge`'s fields.
COUNTS = ("greedy_right", "greedy_total", "sampled_right", "sampled_total", "before_right", "before_total")
# What the exact estimator adds, by the names of `Chances`'s fields.
CHANCES = ("p_by_set", "n_samples", "pruned", "uncertain")
# Between these limits of u, the sampled protocol may well find either category.
FLAGGED = (0.05, 0.95)
_METRICS = {
    Category.HIGHLY_KNOWN: "highly_known",
    Category.MAYBE_KNOWN: "maybe_known",
    Category.WEAKLY_KNOWN: "weakly_known",
    Category.UNKNOWN: "unknown",
}


def categorise(greedy_right: int, greedy_total: int, sampled_right: int, sampled_total: int) -> Category:
    """The SliCK category of a fact from its counts of right answers.

    greedy_right of greedy_total greedy answers (one per exemplar set) and sampled_right of sampled_total
    sampled answers were right. Samples matter only where no greedy answer is right, so `sampled_total` may
    be 0 otherwise (the two-stage probe). Raises ValueError for counts that cannot be.
    """
    if not (0 <= greedy_right <= greedy_total and greedy_total > 0):
        raise ValueError(f"{greedy_right} right of {greedy_total} greedy answers cannot be")
    if not 0 <= sampled_right <= sampled_total:
        raise ValueError(f"{sampled_right} right of {sampled_total} sampled answers cannot be")
    if greedy_right == greedy_total:
        return Category.HIGHLY_KNOWN
    if greedy_right > 0:
        return Category.MAYBE_KNOWN
    if sampled_total == 0:
        raise ValueError("no greedy answer is right and none was sampled: the category cannot be told")
    return Category.WEAKLY_KNOWN if sampled_right > 0 else Category.UNKNOWN


@dataclass(frozen=True, slots=True)
class Chances:
    """What the exact estimator knows of a fact's samples without drawing any.

    p_by_set:  per exemplar set, the chance that one T>0 sample is right.
    n_samples: the samples a set that the sampled protocol would draw.
    pruned:    the truth of every set lies between its p and p + pruned.
    uncertain: a greedy verdict rests on a gap between logits so small that rounding could turn it.
    Raises ValueError for what cannot be.
    """

    p_by_set: tuple[float, ...]
    n_samples: int = 16
    pruned: float = 0.0
    uncertain: bool = False

    def __post_init__(self) -> None:
        if not self.p_by_set:
            raise ValueError("chances of no exemplar set cannot be")
        if wrong := [p for p in (*self.p_by_set, self.pruned) if not 0 <= p <= 1]:
            raise ValueError(f"{wrong[0]} is no probability")
        if self.n_samples < 1:
            raise ValueError(f"{self.n_samples} samples a set cannot be")

    @property
    def none_right(self) -> float:
        """Π(1 - p)^n_samples: the chance that of all samples not one is right."""
        return self._none_right(0.0)

    @property
    def none_right_at_least(self) -> float:
        """The same, were all pruned answers right ones."""
        return self._none_right(self.pruned)

    def _none_right(self, more: float) -> float:
        right = [min(1.0, p + more) for p in self.p_by_set]
        # Summed as logarithms: 160 factors near 1 keep their digits, and a p of 1 is no logarithm.
        return 0.0 if 1.0 in right else math.exp(self.n_samples * math.fsum(math.log1p(-p) for p in right))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """A fact and what a model knows of it, by either estimator.

    sampled_total is 0 where no samples were drawn: the two-stage probe needs none for a fact with a right greedy
    answer, and the exact estimator has `chances` in their place. before_right of before_total greedy answers
    under fresh exemplar sets were right: an unbiased "before", since the category did not choose them;
    before_total is 0 where it was not measured.
    """

    fact: Fact
    greedy_right: int
    greedy_total: int
    sampled_right: int = 0
    sampled_total: int = 0
    before_right: int = 0
    before_total: int = 0
    chances: Chances | None = None

    @property
    def category(self) -> Category:
        """The SliCK category; by `chances`, where no greedy answer is right, the likelier of the two.

        Raises ValueError for counts or chances that cannot be.
        """
        if self.chances is None:
            return categorise(self.greedy_right, self.greedy_total, self.sampled_right, self.sampled_total)
        if len(self.chances.p_by_set) != self.greedy_total:
            raise ValueError(f"{self.greedy_total} greedy answers but chances of {len(self.chances.p_by_set)} sets")
        return categorise(self.greedy_right, self.greedy_total, int(self.chances.none_right <= 0.5), 1)

    @property
    def p_greedy(self) -> float:
        """P_Correct(T=0), in [0, 1]."""
        return self.greedy_right / self.greedy_total

    @property
    def p_sampled(self) -> float | None:
        """P_Correct(T>0), in [0, 1]; None where it was not measured."""
        if self.chances is not None:
            return math.fsum(self.chances.p_by_set) / len(self.chances.p_by_set)
        return self.sampled_right / self.sampled_total if self.sampled_total else None

    @property
    def p_before(self) -> float | None:
        """Share of right greedy answers under fresh exemplar sets; None where not measured."""
        return self.before_right / self.before_total if self.before_total else None

    @property
    def u(self) -> float | None:
        """The chance that samples under these exemplar sets would say Unknown; None where `chances` do not tell."""
        if self.chances is None:
            return None
        return 0.0 if self.greedy_right else self.chances.none_right

    @property
    def flagged(self) -> bool | None:
        """Whether samples may well find another category, pruned answers included; None as u."""
        if self.chances is None:
            return None
        low, high = FLAGGED
        return not self.greedy_right and self.chances.none_right > low and self.chances.none_right_at_least < high

    @property
    def shares(self) -> dict[Category, float]:
        """The chance of each category under the sampled protocol with these exemplar sets; they add up to 1."""
        found = dict.fromkeys(CATEGORIES, 0.0)
        if self.u is not None and not self.greedy_right:
            found[Category.UNKNOWN], found[Category.WEAKLY_KNOWN] = self.u, 1 - self.u
        else:
            found[self.category] = 1.0
        return found

    def record(self) -> dict[str, Any]:
        """Everything but the fact, as JSON has it; `of_record` reads it back."""
        found: dict[str, Any] = {name: getattr(self, name) for name in COUNTS}
        if self.chances is not None:
            found |= {name: getattr(self.chances, name) for name in CHANCES}
            found["p_by_set"] = list(self.chances.p_by_set)
        return found

    @classmethod
    def of_record(cls, fact: Fact, record: Mapping[str, Any]) -> Knowledge:
        """Raises KeyError, TypeError or ValueError for a record that is none, or whose counts cannot be."""
        counts = {name: int(record[name]) for name in COUNTS}
        chances = None
        if record.get("p_by_set") is not None:
            p_by_set = tuple(map(float, record["p_by_set"]))
            n_samples, pruned, uncertain = (record[name] for name in CHANCES[1:])
            chances = Chances(p_by_set, int(n_samples), float(pruned), bool(uncertain))
        found = cls(fact, **counts, chances=chances)
        _ = found.category
        return found


def category_counts(knowledge: Iterable[Knowledge]) -> dict[Category, int]:
    """Facts in each category, every category present, best first."""
    counts = Counter(k.category for k in knowledge)
    return {category: counts[category] for category in CATEGORIES}


def expected_shares(knowledge: Iterable[Knowledge]) -> dict[Category, float]:
    """The share of facts that the sampled protocol is expected to find in each category, best first.

    Of sampled knowledge it is what was found. Raises ValueError for no facts.
    """
    rows = [k.shares for k in knowledge]
    if not rows:
        raise ValueError("no facts have no shares")
    return {category: math.fsum(row[category] for row in rows) / len(rows) for category in CATEGORIES}


def unknown_noise(knowledge: Iterable[Knowledge]) -> float:
    """Standard deviation of the number of Unknown facts from sampling alone, the exemplar sets held: √Σu(1-u)."""
    return math.sqrt(math.fsum(k.u * (1 - k.u) for k in knowledge if k.u is not None))
