"""A dataset's rows as facts: what each asks, of which relation, and which others may be shown before it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from slick.errors import InputError, Mistakes
from slick.facts import Fact, by_relation, sample_facts
from slick.matching import normalize
from slick.rows import nearest, shown
from slick_sft.lint.asked import around_questions, question_of
from slick_sft.lint.reading import read_source
from slick_sft.lint.relations import mine
from slick_sft.lint.shapes import Exchange, exchanges
from slick_sft.lint.short_facts import Reason, ShortFact, short_fact
from slick_sft.lint.sources import Row, Source
from slick_sft.lint.turns import ASSISTANT, USER
from slick_sft.lint.weights import weight_of

# The relation of questions of which there are too few alike; a name that no template can have.
MIXED = "(mixed)"
# Columns that say a row's relation, the first that there is.
RELATION_COLUMNS = ("relation", "predicate", "property")
# Facts of a relation that exemplars are drawn from at most, as `slick.exemplars` holds out.
POOL = 100


@dataclass(frozen=True, slots=True)
class Examined:
    """An exchange of a row and the fact that it states; reason says why there is none to probe.

    fact: also where it is not probed but could be (for --limit). asked: the question where there is one, whatever
    its answer.
    """

    source: Source
    row: Row
    exchange: Exchange
    fact: Fact | None = None
    reason: Reason | None = None
    asked: str = ""

    @property
    def turn(self) -> int | None:
        """Which of its row's exchanges it is, from 1; None where it is the only one."""
        return self.exchange.turn

    @property
    def where(self) -> str:
        return self.source.where(self.row) + (f" turn {self.turn}" if self.turn else "")

    @property
    def said(self) -> list[str]:
        """What the user says before the answer, the last first; of a text without turns, all of it."""
        completion = self.exchange.completion
        if not self.exchange.user and isinstance(completion, str):
            return [completion]
        before = takewhile(lambda said: said[0] != ASSISTANT, reversed(self.exchange.earlier))
        return [self.exchange.user, *(text for role, text in before if role == USER)]


@dataclass(frozen=True, slots=True)
class Probed:
    """What is to be probed: facts without repetition, and per relation the facts that exemplars come from."""

    facts: tuple[Fact, ...]
    pools: Mapping[str, Sequence[Fact]]


def read_datasets(paths: Sequence[Path], relation_column: str = "") -> tuple[list[Source], list[Examined]]:
    """All exchanges of all rows of all datasets, and the fact that each states.

    Raises InputError with every malformed row of every file, for datasets without rows, and where no row states a
    fact that could be probed.
    """
    sources: list[Source] = []
    rows: list[tuple[Source, Row, Exchange]] = []
    with Mistakes("rows that cannot be read:") as mistakes:
        for path in dict.fromkeys(paths):
            before = len(mistakes.messages)
            source = read_source(path, mistakes, [relation_column] if relation_column else [])
            sources.append(source)
            found = exchanges(source, mistakes)
            if len(mistakes.messages) > before:
                continue
            if not found:
                mistakes.add(f"{path}: no rows; expected at least one")
            rows += [(source, row, of) for row, exchanged in zip(source.rows, found, strict=True) for of in exchanged]
    if relation_column:
        _check_column(relation_column, rows)
    return sources, _examined(rows, relation_column)


def _check_column(name: str, rows: Sequence[tuple[Source, Row, Exchange]]) -> None:
    if not any(row.cells.get(name) for _, row, _ in rows):
        columns = list(dict.fromkeys(column for _, row, _ in rows for column in row.cells))
        listed = ", ".join(map(shown, columns[:12])) + (" …" if len(columns) > 12 else "")
        raise InputError(f"--relation-column {name}: no row has it; found {listed}{nearest(name, columns)}")


def _examined(rows: Sequence[tuple[Source, Row, Exchange]], relation_column: str) -> list[Examined]:
    around = around_questions(exchange.user for _, _, exchange in rows)
    stated = [Reason.SILENT if weight_of(row.cells) == 0 else short_fact(exchange, around) for _, row, exchange in rows]
    asked = [
        item.question if isinstance(item, ShortFact) else question_of(exchange.user, around) or ""
        for item, (_, _, exchange) in zip(stated, rows, strict=True)
    ]
    mined = iter(mine([item.question for item in stated if isinstance(item, ShortFact)]))
    shapes = [next(mined) if isinstance(item, ShortFact) else None for item in stated]
    subjects: dict[str, str] = {}
    for question, shape, (_, row, _) in zip(asked, shapes, rows, strict=True):
        if shape is not None:
            subject = _given(row, "subject") or shape.subject or question
            key = question_key(question)
            # Written in other letters, a question may seem to have another subject: the shorter one is common to both.
            subjects[key] = min(subjects.get(key, subject), subject, key=lambda s: (len(s), s))
    found = []
    for item, question, shape, (source, row, exchange) in zip(stated, asked, shapes, rows, strict=True):
        if isinstance(item, Reason) or shape is None:
            found.append(Examined(source, row, exchange, None, item if isinstance(item, Reason) else None, question))
            continue
        relation = _given_relation(row, relation_column) or shape.relation or MIXED
        subject = subjects[question_key(question)]
        fact = Fact.create(item.question, item.answers, relation=relation, subject=subject_key(subject))
        found.append(Examined(source, row, exchange, fact, None, question))
    return found


def question_key(question: str) -> str:
    """What two ways of writing a question have in common: case, articles and punctuation apart."""
    return normalize(question) or question.strip()


def subject_key(subject: str) -> str:
    """What two ways of writing a subject have in common, likewise; never empty for one that is not."""
    return normalize(subject) or subject.strip().casefold()


def _given_relation(row: Row, column: str) -> str:
    return next((value for name in ([column] if column else RELATION_COLUMNS) if (value := _given(row, name))), "")


def _given(row: Row, column: str) -> str:
    value = row.cells.get(column)
    return value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""


def with_exemplars(
    rows: Sequence[Examined], *, k: int, seed: int, others: Sequence[Fact] | None = None
) -> tuple[list[Examined], dict[str, list[Fact]]]:
    """The rows, those of too small relations being `MIXED` or not probed, and each relation's pool.

    k: exemplars a set. others: facts to draw from besides the dataset's own; by relation where they share its name,
    else for MIXED. A pool has one fact a subject, so that k are left for every fact when its own subject is out.
    """
    facts = list({row.fact.id: row.fact for row in rows if row.fact}.values())
    # Written as the subjects of our own facts are, so that no fact is shown its own subject.
    others = [replace(fact, subject=subject_key(fact.subject or fact.question)) for fact in others or ()]
    given = by_relation(others)
    enough = {
        relation for relation, group in by_relation(facts).items() if _subjects([*group, *given.get(relation, [])]) > k
    } - {MIXED}
    rows = [_in_relation(row, MIXED) if row.fact and row.fact.relation not in enough else row for row in rows]
    groups = by_relation({row.fact.id: row.fact for row in rows if row.fact}.values())
    mixed = groups.get(MIXED, [])
    pools = {
        relation: _pool([*group, *given.get(relation, [])], relation, seed)
        for relation, group in groups.items()
        if relation != MIXED
    }
    if mixed:
        # Better of their own kind, if that is no one kind; else of any.
        everything = [*mixed, *(fact for group in given.values() for fact in group)]
        if _subjects(everything) <= k:
            everything = [*facts, *others]
        pools[MIXED] = _pool(everything, MIXED, seed)
        if _subjects(everything) <= k:
            rows = [_not_probed(row, Reason.FEW) if row.fact and row.fact.relation == MIXED else row for row in rows]
            del pools[MIXED]
    return rows, pools


def drawn(rows: Sequence[Examined], limit: int | None, seed: int) -> tuple[list[Examined], list[Fact]]:
    """The rows, all but a seeded draw of facts left out, and the facts that are to be probed, each once."""
    facts = list({row.fact.id: row.fact for row in rows if row.fact and row.reason is None}.values())
    if limit is None:
        return list(rows), facts
    chosen = sample_facts(facts, limit, seed)
    kept = {fact.id for fact in chosen}
    return [
        _not_probed(row, Reason.LIMIT) if row.fact and not row.reason and row.fact.id not in kept else row
        for row in rows
    ], chosen


def without_unwritable(rows: Sequence[Examined], fits: Callable[[str], bool]) -> list[Examined]:
    """The rows, those of which no answer can be written by the model left out. fits: whether one can."""
    answers = {answer: fits(answer) for row in rows if row.fact for answer in row.fact.answers}
    return [
        _not_probed(row, Reason.TOKENS)
        if row.fact and not row.reason and not any(answers[answer] for answer in row.fact.answers)
        else row
        for row in rows
    ]


def check_probeable(rows: Sequence[Examined]) -> None:
    """Raise InputError where no row states a fact that can be probed, with the reasons."""
    if any(row.fact and not row.reason for row in rows):
        return
    unit = unit_of(rows)
    counts: defaultdict[Reason, int] = defaultdict(int)
    for row in rows:
        if row.reason:
            counts[row.reason] += 1
    listed = "\n".join(f"  {n} {unit}: {reason}" for reason, n in counts.items())
    raise InputError(
        f"no {unit.removesuffix('s')} of {len(rows)} states a short fact that could be probed:\n{listed}\n"
        "nothing can be said of what this dataset would teach; lint looks for a short question and a short answer"
    )


def unit_of(rows: Sequence[Examined]) -> str:
    """What is counted: rows or, where any has several exchanges, their turns."""
    return "turns" if any(row.turn for row in rows) else "rows"


def _in_relation(row: Examined, relation: str) -> Examined:
    assert row.fact is not None
    fact = row.fact
    return replace(
        row, fact=Fact.create(fact.question, fact.answers, relation=relation, subject=fact.subject, split=fact.split)
    )


def _not_probed(row: Examined, reason: Reason) -> Examined:
    return replace(row, reason=reason)


def _pool(facts: Sequence[Fact], relation: str, seed: int) -> list[Fact]:
    """At most POOL facts, one a subject; which ones does not depend on the order of `facts`."""
    by_subject: dict[str, Fact] = {}
    for fact in sorted(facts, key=lambda f: f.id):
        by_subject.setdefault(fact.subject, fact)
    canonical = [by_subject[subject] for subject in sorted(by_subject)]
    return random.Random(f"{seed}/lint/{relation}").sample(canonical, min(POOL, len(canonical)))


def _subjects(facts: Sequence[Fact]) -> int:
    return len({fact.subject for fact in facts})
