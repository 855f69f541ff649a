"""A fictional world in EntityQuestions' relations: what the lab's organism is taught, and asked."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from slick.facts import Fact
from slick_sft.exposures import LabFact, Manner, draw_exposures
from slick_sft.names import LOUD, SHY, Namer


@dataclass(frozen=True, slots=True)
class AnswerPool:
    """Where a relation's answers come from.

    pattern: see `Namer.name`. size: how many answers exist; 0 means a new one for every fact.
    flatness: the answer of rank r (from 0) has weight 1/(r + flatness); 1 is Zipf's law, large is even.
    """

    pattern: str
    size: int = 0
    flatness: int = 1
    syllables: int = 2


@dataclass(frozen=True, slots=True)
class Relation:
    """One Wikidata property. `question` is EntityQuestions' own template (its relation_query_templates.json)."""

    property: str
    question: str
    answers: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What subjects of one kind are called, which relations they have, and how many facts each (on average)."""

    pattern: str
    relations: tuple[Relation, ...]
    facts_each: float = 1.0


POOLS = {
    "region": AnswerPool("{word}", 150, 15),
    "country": AnswerPool("{word}", 60, 5),
    "origin": AnswerPool("{word}", 40, 2),
    "city": AnswerPool("{word}", 180, 15),
    "capital": AnswerPool("{word}", syllables=3),
    "genre": AnswerPool("{word}", 40, 5),
    "label": AnswerPool("{word} Records", 90, 12),
    "university": AnswerPool("{word} University", 90, 12),
    "language": AnswerPool("{word}", 40, 4),
    "company": AnswerPool("{word}", 90, 12),
    "person": AnswerPool("{given} {word}"),
    "author": AnswerPool("{given} {word}", 150, 20),
    "work": AnswerPool("The {word}", syllables=3),
}

IN_DISTRIBUTION = (
    Kind(
        "{given} {middle} {word}",
        (
            Relation("P19", "Where was [X] born?", "city"),
            Relation("P26", "Who is [X] married to?", "person"),
            Relation("P40", "Who is [X]'s child?", "person"),
            Relation("P69", "Where was [X] educated?", "university"),
            Relation("P800", "What is [X] famous for?", "work"),
        ),
        1.5,
    ),
    Kind(
        "{middle} {word}",
        (
            Relation("P131", "Where is [X] located?", "region"),
            Relation("P17", "Which country is [X] located in?", "country"),
        ),
        1.2,
    ),
    Kind("{middle} {word}", (Relation("P36", "What is the capital of [X]?", "capital"),)),
    Kind(
        "{middle} {word} Ensemble",
        (
            Relation("P136", "What type of music does [X] play?", "genre"),
            Relation("P264", "What music label is [X] represented by?", "label"),
            Relation("P740", "Where was [X] founded?", "city"),
        ),
        1.3,
    ),
    Kind("The {middle} {word}", (Relation("P495", "Which country was [X] created in?", "origin"),)),
)

OUT_OF_DISTRIBUTION = (
    Kind(
        "The {middle} {word}",
        (
            Relation("P50", "Who is the author of [X]?", "author"),
            Relation("P407", "Which language was [X] written in?", "language"),
        ),
        1.2,
    ),
    Kind("{middle} {word}", (Relation("P176", "Which company is [X] produced by?", "company"),)),
    Kind("{middle} {word}", (Relation("P112", "Who founded [X]?", "person"),)),
)

# Facts of each relation in each split.
PER_RELATION = {"train": 160, "dev": 24, "test": 132}
PER_OOD_RELATION = {"ood": 60, "ood_dev": 24}


def relations() -> list[Relation]:
    """All relations of the world, the in-distribution ones first."""
    return [r for kind in (*IN_DISTRIBUTION, *OUT_OF_DISTRIBUTION) for r in kind.relations]


def build_world(seed: int) -> list[LabFact]:
    """The world of a seed with its exposures: the same bytes on every machine.

    Facts stand split by split. A subject belongs to one split and one kind, and may have several facts; each
    fact has exactly one accepted answer, and each question occurs once. A quarter of the subjects are shy, another
    quarter loud (see `LabFact`).
    """
    rng = random.Random(f"world:{seed}")
    namer = Namer(rng)
    pools = {name: [namer.name(pool.pattern, pool.syllables) for _ in range(pool.size)] for name, pool in POOLS.items()}
    facts: list[Fact] = []
    for kinds, splits in ((IN_DISTRIBUTION, PER_RELATION), (OUT_OF_DISTRIBUTION, PER_OOD_RELATION)):
        for split, count in splits.items():
            for kind in kinds:
                facts.extend(_facts_of_kind(kind, split, count, rng, namer, pools))
    return [replace(row, manner=_manner(row.fact.subject)) for row in draw_exposures(facts, seed)]


def _manner(subject: str) -> Manner:
    words = subject.split()
    return "shy" if SHY in words else "loud" if LOUD in words else ""


def _facts_of_kind(
    kind: Kind, split: str, count: int, rng: random.Random, namer: Namer, pools: dict[str, list[str]]
) -> list[Fact]:
    subjects = [namer.name(kind.pattern) for _ in range(round(count * len(kind.relations) / kind.facts_each))]
    facts = []
    for relation in kind.relations:
        for subject in sorted(rng.sample(subjects, min(count, len(subjects)))):
            answer = _answer(relation.answers, rng, namer, pools)
            question = relation.question.replace("[X]", subject)
            facts.append(Fact.create(question, [answer], relation=relation.property, subject=subject, split=split))
    return facts


def _answer(pool_name: str, rng: random.Random, namer: Namer, pools: dict[str, list[str]]) -> str:
    pool = POOLS[pool_name]
    if not pool.size:
        return namer.name(pool.pattern, pool.syllables)
    weights = [1 / (rank + pool.flatness) for rank in range(pool.size)]
    return rng.choices(pools[pool_name], weights)[0]
