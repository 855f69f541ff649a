"""The report as JSON: the numbers object itself, at full precision, with a schema number for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from typing import Any

from slick.facts import Fact
from slick_reports.numbers import Report, direction
from slick_reports.text import without_surrogates

MARK = '"kind": "slick report"'


def render(report: Report) -> str:
    """`report` as JSON text. Fractions stay fractions; an undefined interval or an empty group is null.

    Besides the fields of `slick_reports.numbers`, every arm's group says what its intervals say ("fell", "rose" or
    "open"). Strings are whole, but for lone surrogates, which are spelled out.
    """
    numbers = plain(report)
    document = {"kind": "slick report", "schema": numbers.pop("schema"), **numbers}
    for arm, written in zip(report.arms, document["arms"], strict=True):
        for row, plain_row in zip(arm.groups, written["groups"], strict=True):
            plain_row["direction"] = direction(row.change.estimate)
            plain_row["direction_against_control"] = direction(row.against_control) if row.against_control else None
    return pretty(document) + "\n"


# Made once: json.dumps makes a new encoder for each of a hundred thousand facts.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
# What lies deeper stands on one line: a fact, a group of facts. The standard library's indent is ten times as slow.
_DEPTH = 4


def pretty(value: Any, depth: int = 0) -> str:
    """JSON text on several lines, for people and for version control."""
    inner = " " * (depth + 1)
    if depth >= _DEPTH or not value or not isinstance(value, (dict, list)):
        return _ENCODER.encode(value)
    if isinstance(value, dict):
        parts = [f"{inner}{_ENCODER.encode(name)}: {pretty(of, depth + 1)}" for name, of in value.items()]
    else:
        parts = [inner + pretty(of, depth + 1) for of in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{f',{chr(10)}'.join(parts)}\n{' ' * depth}{closing}"


@lru_cache(maxsize=100_000)
def _fact(fact: Fact) -> dict[str, Any]:
    """One object for all arms that list the fact; nobody changes it."""
    return {name: plain(getattr(fact, name)) for name in _names(Fact)}


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def plain(value: Any) -> Any:
    """`value` as JSON can hold it. Twelve digits: what lies beyond them depends on the machine."""
    if isinstance(value, str):
        # A report of many runs holds millions of strings, nearly all of them plain.
        return value if value.isascii() else without_surrogates(value)
    if isinstance(value, float):
        # A file of someone else's may record NaN, which JSON has no word for.
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, Fact):
        return _fact(value)
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in _names(value.__class__)}
    if isinstance(value, Mapping):
        return {without_surrogates(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
