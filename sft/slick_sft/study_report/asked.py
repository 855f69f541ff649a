"""Facts that models are asked, in the groups that a report shows, with what belongs together among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

ALL, KNOWN_FACTS = "all", "Known"
GROUPS = (ALL, KNOWN_FACTS, *map(str, CATEGORIES))


@dataclass(frozen=True)
class Asked:
    """Facts of a split, in the base model's order. prior: whether the commonest answer is right, or NaN."""

    facts: tuple[Fact, ...]
    categories: tuple[Category | None, ...]
    prior: NDArray[np.float64]

    @cached_property
    def clusters(self) -> list[tuple[str, str]]:
        """A subject's facts belong together; a fact whose source names no subject stands alone."""
        return clusters_of(self.facts)

    @cached_property
    def relations(self) -> list[str]:
        return [fact.relation for fact in self.facts]

    def only(self, mask: Mask) -> Asked:
        """Those of its facts that the mask chooses."""
        places = np.flatnonzero(mask)
        return Asked(
            tuple(self.facts[i] for i in places), tuple(self.categories[i] for i in places), self.prior[places]
        )

    def mask(self, group: str) -> Mask:
        """Which facts belong to a group of `GROUPS`."""
        if group == ALL:
            return np.ones(len(self.facts), dtype=bool)
        wanted = KNOWN if group == KNOWN_FACTS else (Category(group),)
        return np.array([category in wanted for category in self.categories], dtype=bool)


def asked_of(knowledge: Sequence[Knowledge]) -> Asked:
    """The facts of a probe, with the categories that it found."""
    return Asked(
        tuple(k.fact for k in knowledge), tuple(k.category for k in knowledge), np.full(len(knowledge), np.nan)
    )


def clusters_of(facts: Iterable[Fact]) -> list[tuple[str, str]]:
    """What each fact belongs to: its subject, or itself where its source names none."""
    return [("subject", f.subject) if f.subject else ("fact", f.id) for f in facts]
