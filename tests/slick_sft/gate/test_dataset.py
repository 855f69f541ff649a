"""Tests of a linted dataset as arms: what it leaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slick.facts import Fact
from slick_sft.gate.dataset import leaked
from slick_sft.lint.examine import read_datasets

QUESTIONS = [f"Which country is Ton {name} located in?" for name in ("Abe", "Bul", "Cor", "Dun", "Eki", "Fam")]


def rows_of(path: Path, rows: list[dict[str, Any]]) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_datasets([path])[1]


def test_leaks_are_found_in_other_letters_and_within_more(tmp_path: Path) -> None:
    """Case, articles and punctuation apart; also where the question is one line of several, or part of one."""
    held_out = [Fact.create(q, ["Land"], relation="R", subject=q) for q in QUESTIONS]
    rows = rows_of(
        tmp_path / "d.jsonl",
        [
            {"prompt": QUESTIONS[0].upper(), "completion": "Land"},
            {"prompt": f"Think first.\n{QUESTIONS[1]}", "completion": "I would say that it is this. Or that."},
            {"prompt": "Which country is Ton Zed located in?", "completion": "Land"},
            {"prompt": f"Question: {QUESTIONS[2]} Answer:", "completion": "Land"},
            {"prompt": f"{QUESTIONS[3]} Answer in a few words.", "completion": "Land", "weight": 0},
        ],
    )
    assert leaked(rows, held_out) == {held_out[0].id, held_out[1].id, held_out[2].id}
