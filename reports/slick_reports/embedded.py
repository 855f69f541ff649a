"""The facts of a report as JSON text within its page, for the script that sorts, searches and filters them.

Each fact stands there once, however many arms changed it. Text is made visible as everywhere; the page's parser cannot
leave the element, since no "<" is left in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from slick.knowledge import CATEGORIES
from slick_reports.numbers import ArmNumbers, Flip, Report
from slick_reports.text import short
from slick_reports.wrong import KINDS, TOLD

# Bytes of a page's facts, as they stand in it; `slick_reports.html` gives fewer where the rest of the page is large.
BUDGET = 1_100_000
STATES = ("lost", "gained", "still wrong")
_ANSWERS = 5


@dataclass(frozen=True, slots=True)
class Embedded:
    """text: JSON that is safe within a script element. rows: those in it; left_out: those that found no room.

    size: the bytes that the rows, and what they name, take of the budget.
    """

    text: Markup
    rows: int
    left_out: int
    size: int


def embed(report: Report, budget: int = BUDGET) -> Embedded:
    """Lost facts of every arm first, then gained ones, then those still wrong, as long as there is room."""
    categories = [str(category) for category in CATEGORIES]
    relations: dict[str, int] = {}
    places: dict[str, int] = {}
    facts: list[Any] = []
    rows: list[Any] = []
    size = left_out = 0
    for state, arm_place, arm, flip in _flips(report):
        if left_out:
            left_out += 1
            continue
        name = short(flip.fact.relation)
        relation = relations.get(name, len(relations))
        place = places.get(flip.fact.id)
        fact = None
        if place is None:
            place = len(facts)
            category = categories.index(flip.category) if flip.category in categories else -1
            fact = [relation, category, *(_words(text) for text in (flip.fact.question, accepted(flip), flip.before))]
        after = categories.index(flip.category_after) if flip.category_after in categories else -1
        kind = next((i for i, kind in enumerate(KINDS) if kind == flip.kind), -1)
        row = [place, arm_place, state, answers_after(flip, arm), kind, flip.seeds, after]
        more = size_of(row) + (size_of(fact) if fact else 0) + (size_of(name) if relation == len(relations) else 0)
        if size + more > budget:
            left_out = 1
            continue
        size += more
        relations.setdefault(name, relation)
        if fact:
            places[flip.fact.id] = place
            facts.append(fact)
        rows.append(row)
    document = {
        "arms": [{"label": short(arm.label), "seeds": len(arm.seeds)} for arm in report.arms],
        "states": list(STATES),
        "categories": categories,
        "kinds": [TOLD[kind] for kind in KINDS],
        "relations": list(relations),
        "facts": facts,
        "rows": rows,
        "migrated": any(arm.migration for arm in report.arms),
    }
    return Embedded(safe_json(document), len(rows), left_out, size)


def _flips(report: Report) -> Iterator[tuple[int, int, ArmNumbers, Flip]]:
    for state, name in enumerate(STATES):
        for place, arm in enumerate(report.arms):
            for flip in arm.flips.get(name, ()):
                yield state, place, arm, flip


def accepted(flip: Flip) -> str:
    """The accepted answers in one cell, at most five of them."""
    answers = flip.fact.answers
    shown = "; ".join(short(answer) for answer in answers[:_ANSWERS])
    return shown if len(answers) <= _ANSWERS else f"{shown} and {len(answers) - _ANSWERS} more"


def answers_after(flip: Flip, arm: ArmNumbers) -> str:
    """The answers of all seeds in one cell, with how often each was given."""
    times: dict[str, int] = {}
    for answer in flip.after:
        times[answer] = times.get(answer, 0) + 1
    ordered: Iterable[tuple[str, int]] = sorted(times.items(), key=lambda item: -item[1])
    several = len(arm.seeds) > 1
    return "; ".join(_words(short(answer)) + (f"\N{NO-BREAK SPACE}×{n}" if several else "") for answer, n in ordered)


def _words(text: str) -> str:
    return short(text) if text else "(empty)"


# Made once: json.dumps makes a new encoder for each of a hundred thousand rows.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _json(value: Any) -> str:
    return _ENCODER.encode(value)


def size_of(value: Any) -> int:
    """The bytes that a row takes in the page, with a comma: "<" takes six."""
    return len(safe_json(value).encode()) + 1


def safe_json(value: Any) -> Markup:
    """JSON text in which nothing can end a script element or open a comment. Strings must be made visible before."""
    text = _json(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704  no markup is left in it
