"""How often the pre-training text states a fact: drawn from a seed, recorded, never guessed afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from slick.facts import Fact

# About evenly spaced on a log scale. Whole numbers and no logarithm, so that every machine draws the same.
LEVELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
NEVER_PERCENT = 25


@dataclass(frozen=True, slots=True)
class LabFact:
    """A fact and its dose.

    exposures: times one pass over the pre-training text states the fact; 0 means it is never stated.
    """

    fact: Fact
    exposures: int

    def as_dict(self) -> dict[str, object]:
        """The fact's JSON form and "exposures": one row of a lab's facts.jsonl."""
        return {**self.fact.as_dict(), "exposures": self.exposures}


def draw_exposures(facts: Iterable[Fact], seed: int) -> list[LabFact]:
    """Every fact with its dose: 0 for a quarter of them, else one of LEVELS, each as likely.

    The draw depends on the seed and the fact's id alone: not on its relation, its split, the order of the
    facts or the other facts.
    """
    return [LabFact(fact, _dose(random.Random(f"exposures:{seed}:{fact.id}"))) for fact in facts]


def _dose(rng: random.Random) -> int:
    return 0 if rng.randrange(100) < NEVER_PERCENT else rng.choice(LEVELS)
