"""Subjects that must not be trained on, since models are scored on facts of theirs.

As the paper's filter 2 does for EntityQuestions: a fact is left out where its subject is, letter for letter, the
subject of a held-out fact of any relation. Facts without a subject are compared by their question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick.reader import read_facts

# Facts that may be trained on: of the train split, or of a source without splits.
TRAINABLE = ("train", "")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What was kept out of training. facts and subjects: how many are held out; dropped: facts that were left out
    because of them, by relation."""

    facts: int = 0
    subjects: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"facts": self.facts, "subjects": self.subjects, "dropped": dict(self.dropped)}


def held_out_facts(facts: Iterable[Fact], allowed: Sequence[str] = ()) -> list[Fact]:
    """Those of `facts` that models are scored on, or draw exemplars from: neither of the train split, nor without a
    split, nor of one that the user allowed to be trained on."""
    return [fact for fact in facts if fact.split not in (*TRAINABLE, *allowed)]


def read_held_out(source: str, allowed: Sequence[str] = ()) -> list[Fact]:
    """The held-out facts of a source that `slick probe` takes, or of a probe: all but its train split, and but those
    that the user allowed to be trained on. Facts without splits are all held out."""
    path = Path(source)
    if path.name == KNOWLEDGE or (path / KNOWLEDGE).is_file():
        facts = [k.fact for k in read_knowledge(path).knowledge]
    else:
        facts = read_facts(source)
    return [fact for fact in facts if fact.split != "train" and fact.split not in allowed]


def check_splits(facts: Iterable[Fact], allowed: Sequence[str] = ()) -> None:
    """Raises InputError where held-out facts are among those to be trained on."""
    counts = Counter(fact.split for fact in held_out_facts(facts, allowed))
    with Mistakes("facts that must not be trained on, since models are scored on them:") as mistakes:
        for split, n in sorted(counts.items()):
            mistakes.add(
                f"{n} facts of split {split!r}: take the train split alone with --split train, "
                f"or allow it with --allow-split {split}"
            )


def without_held_out(
    knowledge: Iterable[Knowledge], held_out: Iterable[Fact], allowed: Sequence[str] = ()
) -> tuple[list[Knowledge], HeldOut]:
    """The knowledge whose subjects are not held out, and what was dropped.

    Raises InputError where held-out facts themselves are among the knowledge, or nothing would be left of it.
    """
    knowledge = list(knowledge)
    check_splits((k.fact for k in knowledge), allowed)
    held = list(held_out)
    subjects = {_subject(fact) for fact in held}
    questions = {fact.question for fact in held}
    kept: list[Knowledge] = []
    dropped: Counter[str] = Counter()
    for k in knowledge:
        if _subject(k.fact) in subjects or k.fact.question in questions:
            dropped[k.fact.relation] += 1
        else:
            kept.append(k)
    if knowledge and not kept:
        raise InputError(
            f"all {len(knowledge)} facts have subjects that are held out, so that none is left to train on; "
            "probe facts of other subjects"
        )
    return kept, HeldOut(len(held), len(subjects), dict(sorted(dropped.items())))


def _subject(fact: Fact) -> tuple[str, str]:
    return ("subject", fact.subject) if fact.subject else ("question", fact.question)
