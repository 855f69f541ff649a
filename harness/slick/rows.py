"""What a row from outside must hold to be a fact, and every reason why it is not one."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

from slick.entityquestions import subject_of
from slick.errors import Mistakes
from slick.facts import SPLITS, Fact, fact_id
from slick.tables import Row, Table

# Facts that came without a relation are one relation, called this.
DEFAULT_RELATION = "facts"

# Other libraries' names of the dev split.
_SPLIT_ALIASES = {"validation": "dev", "valid": "dev", "val": "dev"}

_SHOWN = 80  # characters of a value in an error
_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 60


def facts_of(table: Table, mistakes: Mistakes) -> list[Fact]:
    """The facts of a table in its order; every reason why a row is none goes to `mistakes`.

    Answers are one line each, since only the first line of a model's output is compared with them. A
    question may span several lines. `answers` wins where a row has `answer` too. Relation and split must
    be given by every row or by none, or a fact would silently be left out of its own kind.
    """
    if not table.rows:
        if not mistakes.messages:
            mistakes.add(f"{table.name}: no rows; expected at least one fact")
        return []
    if missing := _missing_columns(table.columns):
        mistakes.extend(f"{table.name}: {message}" for message in missing)
        return []
    required = {name for name in ("relation", "split") if any(_given(row, name) for row in table.rows)}
    facts: list[Fact] = []
    seen: dict[str, tuple[Fact, str]] = {}
    for row in table.rows:
        fact, problems = _fact(row, required)
        if fact is not None:
            first, where = seen.setdefault(fact.id, (fact, row.where))
            if (first.relation, first.question, first.answers) != (fact.relation, fact.question, fact.answers):
                problems.append(f"id: {shown(fact.id)} is also the id of another fact, at {where}; make ids unique")
            facts.append(fact)
        mistakes.extend(f"{row.where}: {problem}" for problem in problems)
    return facts


def split_name(name: str) -> str:
    """The split that `name` stands for: itself, or "dev" for what other libraries call validation."""
    return _SPLIT_ALIASES.get(name, name)


def shown(value: Any) -> str:
    """A value from outside as an error shows it: short, on one line, with nothing a terminal would obey."""
    text = _shorten.repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """What in `known` was probably meant by `name`, as "; did you mean …?", or ""."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(shown(by_lower[match]) for match in close)}?" if close else ""


def _missing_columns(columns: Collection[str]) -> list[str]:
    found = ", ".join(shown(column) for column in islice(columns, 12)) + (" …" if len(columns) > 12 else "")
    messages = []
    if "question" not in columns:
        messages.append(f"no column 'question'; found {found}{nearest('question', columns)}")
    if "answers" not in columns and "answer" not in columns:
        messages.append(
            f"no column 'answers' (lists of strings) or 'answer' (strings); found {found}{nearest('answers', columns)}"
        )
    return messages


def _given(row: Row, name: str) -> bool:
    value = row.cells.get(name)
    # A fact without a split is written with "" for it.
    return (value not in (None, "") or bool(row.split)) if name == "split" else value is not None


def _fact(row: Row, required: set[str]) -> tuple[Fact | None, list[str]]:
    problems: list[str] = []
    question = _text(row.cells.get("question"), "question", problems)
    answers = _answers(row, problems)
    relation, split = DEFAULT_RELATION, ""
    if "relation" in required:
        relation = _text(row.cells.get("relation"), "relation", problems)
    if "split" in required:
        split = _split(row, problems)
    subject = _optional(row.cells.get("subject"), "subject", problems)
    id = _id(row.cells.get("id"), problems)
    if problems:
        return None, problems
    subject = subject or subject_of(relation, question)
    return Fact(relation, subject, question, answers, split, id or fact_id(relation, question, answers)), problems


def _text(value: Any, field: str, problems: list[str]) -> str:
    """`value` where it is text; a problem, and "", where it is not."""
    if value is None:
        problems.append(f"{field}: missing, expected a string")
    elif not isinstance(value, str):
        problems.append(f"{field}: found {type(value).__name__} {shown(value)}, expected a string")
    elif not value.strip():
        problems.append(f"{field}: found {shown(value)}, expected a string that is not empty")
    elif not _encodes(value):
        problems.append(
            f"{field}: found half of a surrogate pair in {shown(value)}, which no tokenizer can read; remove it"
        )
    else:
        return value
    return ""


def _optional(value: Any, field: str, problems: list[str]) -> str:
    return _text(value, field, problems) if value not in (None, "") else ""


def _answers(row: Row, problems: list[str]) -> tuple[str, ...]:
    value, field = row.cells.get("answers"), "answers"
    if value is None and row.cells.get("answer") is not None:
        value, field = [row.cells["answer"]], "answer"
    if value is None:
        problems.append("answers: missing, expected a list of strings (or a column answer with one string)")
        return ()
    if not isinstance(value, list):
        problems.append(
            f"answers: found {type(value).__name__} {shown(value)}, expected a list of strings "
            "(a single string belongs in the column answer)"
        )
        return ()
    if not value:
        problems.append("answers: found an empty list, expected at least one accepted answer")
    return tuple(_answer(item, field, problems) for item in value)


def _answer(value: Any, field: str, problems: list[str]) -> str:
    text = _text(value, field, problems)
    if "\n" in text or "\r" in text:
        problems.append(
            f"{field}: found a line break in {shown(text)}, which no answer can match, "
            "since only the first line counts; give it on one line"
        )
    return text


def _split(row: Row, problems: list[str]) -> str:
    value = row.cells.get("split")
    split = split_name(_text((row.split or None) if value is None else value, "split", problems))
    if split and split not in SPLITS:
        problems.append(f"split: found {shown(split)}, expected one of {', '.join(SPLITS)} (validation stands for dev)")
    return split


def _id(value: Any, problems: list[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _optional(value, "id", problems)


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
