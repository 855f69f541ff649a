"""A fact, and the pure questions one asks of a list of facts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slick.errors import InputError

# The splits of a dataset. "ood" and "ood_dev" hold the relations that are never trained on.
SPLITS = ("train", "dev", "test", "ood", "ood_dev")

# Made once: json.dumps makes a new encoder for each of a dataset's 100,000 facts.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Fact:
    """One question of one relation with every answer that counts as right.

    relation: a Wikidata property such as "P17", or any name; facts of one relation share exemplars.
    subject:  what the question is about; "" when the source does not say.
    answers:  at least one accepted surface form.
    split:    one of SPLITS, or "" for facts that came without splits.
    id:       a stable hash of relation, question and answers, or the id the source gave.
    """

    relation: str
    subject: str
    question: str
    answers: tuple[str, ...]
    split: str
    id: str

    @classmethod
    def create(
        cls,
        question: str,
        answers: Iterable[str],
        *,
        relation: str = "",
        subject: str = "",
        split: str = "",
        id: str = "",
    ) -> Fact:
        accepted = tuple(answers)
        return cls(relation, subject, question, accepted, split, id or fact_id(relation, question, accepted))

    def as_dict(self) -> dict[str, object]:
        """JSON form, as it stands in `samples_*.jsonl` under "doc"."""
        return {
            "id": self.id,
            "relation": self.relation,
            "subject": self.subject,
            "question": self.question,
            "answers": list(self.answers),
            "split": self.split,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, object]) -> Fact:
        answers = row["answers"]
        if not isinstance(answers, (list, tuple)):
            raise TypeError("answers must be a list")
        return cls(
            str(row["relation"]),
            str(row["subject"]),
            str(row["question"]),
            tuple(map(str, answers)),
            str(row["split"]),
            str(row["id"]),
        )


def fact_id(relation: str, question: str, answers: Sequence[str]) -> str:
    """16 hexadecimal digits over relation, question and answers; the same on every machine and version."""
    text = _ENCODER.encode([relation, question, list(answers)])
    # surrogatepass: a fact with a lone surrogate still has an identity, so that it can be reported.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def by_relation(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """Facts grouped by relation, relations sorted by name, facts in their given order."""
    groups: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.relation].append(fact)
    return {relation: groups[relation] for relation in sorted(groups)}


def of_split(facts: Iterable[Fact], split: str) -> list[Fact]:
    return [fact for fact in facts if fact.split == split]


def exemplar_split(split: str) -> str:
    """The split that exemplars for facts of `split` are drawn from."""
    return "ood_dev" if split.startswith("ood") else "dev"


def commonest_answers(facts: Iterable[Fact]) -> dict[str, str]:
    """The answer-prior baseline: each relation's commonest first answer; ties go to the smaller string."""
    return {
        relation: min(Counter(fact.answers[0] for fact in group).items(), key=lambda item: (-item[1], item[0]))[0]
        for relation, group in by_relation(facts).items()
    }


def facts_digest(facts: Iterable[Fact]) -> str:
    """SHA-256 over the ids in order: two runs over the same facts have the same digest."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.id.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def check_limit(limit: int | None) -> None:
    """Raise InputError unless `limit` is None or at least 1."""
    if limit is not None and limit < 1:
        raise InputError(f"limit: found {limit}, expected at least 1; leave it out to take all facts")


def sample_facts(facts: Sequence[Fact], n: int, seed: int) -> list[Fact]:
    """A seeded draw of `n` facts (all, where there are no more), in their given order.

    Each relation gets its share of `n`, whole numbers by largest remainder (ties to the smaller name).
    Which facts of a relation are drawn depends on seed and ids alone, not on the order of `facts`.
    Raises InputError unless n is at least 1.
    """
    check_limit(n)
    if n >= len(facts):
        return list(facts)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        places[fact.relation].append(place)
    shares = _shares({relation: len(group) for relation, group in places.items()}, n)
    drawn: list[int] = []
    for relation, group in places.items():
        # Ranked by a hash rather than drawn by `random`, whose sample may change between Pythons.
        ranked = sorted(group, key=lambda place: (_rank(seed, facts[place].id), place))
        drawn.extend(ranked[: shares[relation]])
    return [facts[place] for place in sorted(drawn)]


def _shares(counts: Mapping[str, int], n: int) -> dict[str, int]:
    """`n` split in proportion to `counts` by largest remainder; n is at most their sum."""
    total = sum(counts.values())
    shares = {name: n * count // total for name, count in counts.items()}
    by_remainder = sorted(counts, key=lambda name: (-(n * counts[name] % total), name))
    for name in by_remainder[: n - sum(shares.values())]:
        shares[name] += 1
    return shares


def _rank(seed: int, id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{id}".encode("utf-8", "surrogatepass")).digest()
