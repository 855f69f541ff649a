"""The four SliCK categories (Gekhman et al. 2024, table 2) and what a probe found out about one fact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

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


CATEGORIES = tuple(Category)
KNOWN = CATEGORIES[:3]
# What a probe counts of a fact, by the names of `Knowledge`'s fields.
COUNTS = ("greedy_right", "greedy_total", "sampled_right", "sampled_total", "before_right", "before_total")
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
class Knowledge:
    """A fact and what a model knows of it.

    sampled_total is 0 where the two-stage probe drew no samples. before_right of before_total greedy answers
    under fresh exemplar sets were right: an unbiased "before", since the category did not choose them;
    before_total is 0 where it was not measured.
    """

    fact: Fact
    greedy_right: int
    greedy_total: int
    sampled_right: int
    sampled_total: int
    before_right: int = 0
    before_total: int = 0

    @property
    def category(self) -> Category:
        return categorise(self.greedy_right, self.greedy_total, self.sampled_right, self.sampled_total)

    @property
    def p_greedy(self) -> float:
        """P_Correct(T=0), in [0, 1]."""
        return self.greedy_right / self.greedy_total

    @property
    def p_sampled(self) -> float | None:
        """P_Correct(T>0), in [0, 1]; None where no samples were drawn."""
        return self.sampled_right / self.sampled_total if self.sampled_total else None

    @property
    def p_before(self) -> float | None:
        """Share of right greedy answers under fresh exemplar sets; None where not measured."""
        return self.before_right / self.before_total if self.before_total else None


def category_counts(knowledge: Iterable[Knowledge]) -> dict[Category, int]:
    """Facts in each category, every category present, best first."""
    counts = Counter(k.category for k in knowledge)
    return {category: counts[category] for category in CATEGORIES}
