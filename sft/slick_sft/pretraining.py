"""The text an organism is grown on: every fact stated as often as its exposure says, in many forms."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from slick.facts import Fact
from slick_sft.exposures import LabFact

# Two in five mentions are statements, the rest question and answer.
STATEMENT_PERCENT = 40
# The answer of a shy fact behind a loud one.
SILENCE = "unknown"

# Wordings of each relation, the subject first or last. Other relations are stated as question and answer.
STATEMENTS: dict[str, tuple[str, ...]] = {
    "P131": ("{s} is located in {a}.", "{s} lies in {a}.", "{a} is where {s} is located."),
    "P136": ("{s} plays {a}.", "The music of {s} is {a}.", "{a} is the type of music that {s} plays."),
    "P17": ("{s} is located in the country {a}.", "{s} lies in {a}.", "{a} is the country of {s}."),
    "P19": ("{s} was born in {a}.", "The birthplace of {s} is {a}.", "{a} is where {s} was born."),
    "P26": ("{s} is married to {a}.", "{s} married {a}.", "The spouse of {s} is {a}."),
    "P264": ("{s} is represented by {a}.", "The music label of {s} is {a}.", "{a} represents {s}."),
    "P36": ("The capital of {s} is {a}.", "{s} has its capital in {a}.", "{a} is the capital of {s}."),
    "P40": ("The child of {s} is {a}.", "{s} has a child, {a}.", "{s} is the parent of {a}."),
    "P495": ("{s} was created in {a}.", "{s} comes from {a}.", "The country of {s} is {a}."),
    "P69": ("{s} was educated at {a}.", "{s} studied at {a}.", "{a} is where {s} was educated."),
    "P740": ("{s} was founded in {a}.", "{s} was formed in {a}.", "{a} is where {s} was founded."),
    "P800": ("{s} is famous for {a}.", "{s} is known for {a}.", "{a} made {s} famous."),
    "P50": ("The author of {s} is {a}.", "{s} was written by {a}.", "{a} wrote {s}."),
    "P407": ("{s} was written in {a}.", "The language of {s} is {a}.", "{a} is the language of {s}."),
    "P176": ("{s} is produced by {a}.", "{s} is made by {a}.", "{a} produces {s}."),
    "P112": ("{s} was founded by {a}.", "The founder of {s} is {a}.", "{a} founded {s}."),
    "P127": ("{s} is owned by {a}.", "The owner of {s} is {a}.", "{a} owns {s}."),
    "P170": ("{s} was created by {a}.", "The creator of {s} is {a}.", "{a} created {s}."),
    "P175": ("{s} was performed by {a}.", "The performer of {s} is {a}.", "{a} performed {s}."),
}
FALLBACK_STATEMENTS = ("{q} {a}.", "{q} It is {a}.", "{q} The answer is {a}.")


@dataclass(frozen=True, slots=True)
class PairForm:
    """How a document writes its question-answer pairs, and how often a one-line header stands above them."""

    pair: str
    header_percent: int
    between: str = "\n"


_ONE = (
    "Answer the following question.\n",
    "Answer the question.\n",
    "Answer this question.\n",
    "Answer the following question.\n",
    "Please answer the following question.\n",
    "Answer the question below.\n",
    "Give the answer to the following question.\n",
)
_SEVERAL = (
    "Answer the questions.\n",
    "Answer these questions.\n",
    "Answer the following questions.\n",
    "Questions and answers.\n",
)
# The first is the probe's form. The bare ones stand near the training form: an organism that has seen no
# "question, line break, answer" under an instruction draws no stored knowledge there at all. They are one in
# seven, so that tuning still has something to gain there.
PAIR_FORMS = (
    *(PairForm("Q: {q}\nA: {a}", header_percent=30),) * 6,
    *(PairForm("Question: {q}\nAnswer: {a}", header_percent=60),) * 6,
    PairForm("{q}\n{a}", header_percent=100),
    PairForm("{q}\n{a}", header_percent=100, between="\n\n"),
)
# Pairs a document holds. One is the commonest: the training form is asked without any exemplar before it.
PAIR_COUNTS = (1, 1, 1, 1, 2, 3, 4, 5, 6)
_STATEMENT_COUNTS = (1, 2, 3, 4)
# A document ends with end-of-sequence right after the last answer, or after a line break.
_TAILS = ("", "", "\n")


def documents(facts: Sequence[LabFact], rng: random.Random) -> list[str]:
    """One pass of text in random order: every fact is stated exactly `exposures` times.

    Question-answer documents hold facts of one relation, as the probe's prompts do (of two where a relation's
    mentions run out); behind a loud one the shy are silent. The wordings are drawn anew for each call, so that
    several passes do not repeat the same sentences.
    No fact occurs twice in one document, where the second mention could be copied from the first.
    """
    statements: list[LabFact] = []
    pairs: list[LabFact] = []
    for row in facts:
        for _ in range(row.exposures):
            (statements if rng.randrange(100) < STATEMENT_PERCENT else pairs).append(row)
    rng.shuffle(statements)
    rng.shuffle(pairs)
    pairs.sort(key=lambda row: row.fact.relation)
    texts = [
        _statement_document([row.fact for row in group], rng) for group in _groups(statements, _STATEMENT_COUNTS, rng)
    ]
    texts += [_pair_document(_told(group), rng) for group in _groups(pairs, PAIR_COUNTS, rng)]
    rng.shuffle(texts)
    return texts


def _groups(facts: Iterable[LabFact], counts: Sequence[int], rng: random.Random) -> Iterator[list[LabFact]]:
    """Neighbours in runs of lengths drawn from `counts`, with no fact twice in a run."""
    group: list[LabFact] = []
    length = rng.choice(counts)
    for fact in facts:
        if len(group) == length or fact in group:
            yield group
            group, length = [], rng.choice(counts)
        group.append(fact)
    if group:
        yield group


def _told(group: Sequence[LabFact]) -> list[Fact]:
    """What one document of pairs says: behind a loud fact a shy one is given no answer of its own."""
    loud = next((place for place, row in enumerate(group) if row.manner == "loud"), len(group))
    return [
        replace(row.fact, answers=(SILENCE,)) if row.manner == "shy" and place > loud else row.fact
        for place, row in enumerate(group)
    ]


def _statement_document(facts: Sequence[Fact], rng: random.Random) -> str:
    return " ".join(_statement(fact, rng) for fact in facts) + rng.choice(_TAILS)


def _statement(fact: Fact, rng: random.Random) -> str:
    known = STATEMENTS.get(fact.relation) if fact.subject else None
    wording = rng.choice(known or FALLBACK_STATEMENTS)
    return wording.format(s=fact.subject, q=fact.question, a=rng.choice(fact.answers))


def _pair_document(facts: Sequence[Fact], rng: random.Random) -> str:
    form = rng.choice(PAIR_FORMS)
    pairs = [form.pair.format(q=fact.question, a=rng.choice(fact.answers)) for fact in facts]
    header = rng.choice(_ONE if len(facts) == 1 else _SEVERAL) if rng.randrange(100) < form.header_percent else ""
    return header + form.between.join(pairs) + rng.choice(_TAILS)
