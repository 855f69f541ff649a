"""How much a row's loss counts."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_sft.lint.examine import read_datasets
from slick_sft.lint.weights import weight_of

BAD = ["x", "", None, -1, "-0.5", float("nan"), float("inf"), "inf", "nan", True, [1], 10**400]


@pytest.mark.parametrize(
    ("cells", "weight"),
    [
        ({}, 1),
        ({"weight": 0}, 0),
        ({"weight": " 0.5 "}, 0.5),
        ({"weight": Decimal("2.5")}, 2.5),
        ({"weight": 1e-9}, 1e-9),
    ],
)
def test_weights(cells: dict[str, Any], weight: float) -> None:
    """A number, or a number as text; 1 where there is none."""
    assert weight_of(cells) == weight


def test_malformed_weights_are_malformed_rows(tmp_path: Path) -> None:
    """Each is named by file and line, all at once and beside what else is wrong, and none counts as 1."""
    file = tmp_path / "data.jsonl"
    rows: list[dict[str, Any]] = [{"question": "Where?", "answer": "Rome", "weight": value} for value in BAD]
    rows += [{"question": "Where?", "answer": 3, "weight": -1}, {"question": "Where?", "answer": "Rome", "weight": 0}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught:
        read_datasets([file])
    message = str(caught.value)
    assert message.count(": weight: found ") == len(BAD) + 1
    assert f"{file}:1: weight: found 'x', expected a finite number of at least 0, such as 0 or 0.5" in message
    assert f"{file}:3: weight: found null" in message or f"{file}:3: weight: found None" in message
    assert f"{file}:{len(BAD) + 1}: answer: found 3" in message
    assert f"{file}:{len(BAD) + 2}" not in message


def test_a_malformed_weight_in_csv(tmp_path: Path) -> None:
    """An empty field is no weight either."""
    file = tmp_path / "data.csv"
    file.write_text("question,answer,weight\nWhere?,Rome,1\nWhere?,Rome,\n")
    with pytest.raises(InputError, match="3: weight: found ''"):
        read_datasets([file])
