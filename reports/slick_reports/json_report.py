"""The report as JSON: the numbers object itself, at full precision, with a schema number for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

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
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """`value` as JSON can hold it. Twelve digits: what lies beyond them depends on the machine."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, float):
        # A file of someone else's may record NaN, which JSON has no word for.
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {without_surrogates(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
