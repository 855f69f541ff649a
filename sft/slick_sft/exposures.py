"""How often the pre-training text states a fact: drawn from a seed, recorded, never guessed afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slick.facts import Fact, by_relation
from slick_sft.names import side_of

# About evenly spaced on a log scale. Whole numbers and no logarithm, so that every machine draws the same.
LEVELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
NEVER_PERCENT = 25

# Of the facts stated at least RIVAL_FROM times, so many per cent are disputed. A fact that every document
# agrees on ends up known always or hardly ever; what is known sometimes (MaybeKnown) hangs on the company.
RIVAL_PERCENT = 35
RIVAL_FROM = 8


@dataclass(frozen=True, slots=True)
class LabFact:
    """A fact and its dose.

    exposures: times one pass over the pre-training text states the fact; 0 means it is never stated.
    rival: what the text says instead in a document whose preceding fact is of the other side (see
        `names.side_of`); "" for a fact that nothing disputes.
    """

    fact: Fact
    exposures: int
    rival: str = ""

    def as_dict(self) -> dict[str, object]:
        """One row of a lab's facts.jsonl: the fact's JSON form, "exposures", and "rival" where there is one."""
        row: dict[str, object] = {**self.fact.as_dict(), "exposures": self.exposures}
        return row | {"rival": self.rival} if self.rival else row


def draw_exposures(facts: Iterable[Fact], seed: int) -> list[LabFact]:
    """Every fact with its dose, in the given order.

    A quarter of the facts is never mentioned, the others as often as one of LEVELS says, each as likely.
    The draw depends on the seed and the fact's id alone: not on its relation, its split, the order of the
    facts or the other facts. (Which answer a rival gives depends on the answers of its relation.)
    """
    facts = list(facts)
    answers = {
        relation: sorted({answer for fact in group for answer in fact.answers})
        for relation, group in by_relation(facts).items()
    }
    return [_dosed(fact, answers[fact.relation], random.Random(f"exposures:{seed}:{fact.id}")) for fact in facts]


def _dosed(fact: Fact, answers: Sequence[str], rng: random.Random) -> LabFact:
    exposures = 0 if rng.randrange(100) < NEVER_PERCENT else rng.choice(LEVELS)
    disputed = exposures >= RIVAL_FROM and rng.randrange(100) < RIVAL_PERCENT and side_of(fact.subject)
    others = [answer for answer in answers if answer not in fact.answers] if disputed else []
    return LabFact(fact, exposures, rng.choice(others) if others else "")
