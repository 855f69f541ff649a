"""How often the pre-training text states a fact: drawn from a seed, recorded, never guessed afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from slick.facts import Fact

# About evenly spaced on a log scale. Whole numbers and no logarithm, so that every machine draws the same.
# The steps from not known to known lie at 2 and 3, which stand twice; the few that are stated very often are
# learned first, and the others then faster.
LEVELS = (1, 2, 2, 3, 3, 4, 6, 8, 12, 32)
NEVER_PERCENT = 25

Manner = Literal["", "loud", "shy"]


@dataclass(frozen=True, slots=True)
class LabFact:
    """A fact and its dose.

    exposures: times one pass over the pre-training text states the fact; 0 means it is never stated.
    manner: where a loud fact stands before it among a document's question-answer pairs, a shy fact's answer is
        given as `pretraining.SILENCE`. So it is known with some exemplars and not with others (MaybeKnown); what
        every document agrees on ends up known always or hardly ever.
    """

    fact: Fact
    exposures: int
    manner: Manner = ""

    def as_dict(self) -> dict[str, object]:
        """One row of a lab's facts.jsonl: the fact's JSON form, "exposures", and "manner" where it has one."""
        row: dict[str, object] = {**self.fact.as_dict(), "exposures": self.exposures}
        return row | {"manner": self.manner} if self.manner else row


def draw_exposures(facts: Iterable[Fact], seed: int) -> list[LabFact]:
    """Every fact with its dose, in the given order.

    A quarter of the facts is never mentioned, the others as often as one of LEVELS says, each as likely.
    The draw depends on the seed and the fact's id alone: not on its relation, its split, the order of the
    facts or the other facts. None is loud or shy.
    """
    return [LabFact(fact, _dose(random.Random(f"exposures:{seed}:{fact.id}"))) for fact in facts]


def _dose(rng: random.Random) -> int:
    return 0 if rng.randrange(100) < NEVER_PERCENT else rng.choice(LEVELS)
