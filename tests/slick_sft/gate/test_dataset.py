"""Tests of a linted dataset as arms: the form of its prompts, what it leaks, what the control is silent about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick_sft.gate.dataset import form_of, leaked
from slick_sft.lint.examine import read_datasets

QUESTIONS = [f"Which country is Ton {name} located in?" for name in ("Abe", "Bul", "Cor", "Dun", "Eki", "Fam")]


def rows_of(path: Path, rows: list[dict[str, Any]]) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_datasets([path])[1]


@pytest.mark.parametrize(
    ("row", "form"),
    [
        (lambda q: {"prompt": f"Answer this.\n{q}\n", "completion": "Land"}, "Answer this.\n{question}\n"),
        (lambda q: {"prompt": f"Q: {q}\nA: ", "completion": "Land"}, "Q: {question}\nA:"),
        (
            lambda q: {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "Land"}]},
            "{question}",
        ),
        (lambda q: {"question": q, "answer": "Land"}, None),
        (lambda q: {"instruction": q, "input": "", "output": "Land"}, None),
    ],
)
def test_facts_are_asked_as_the_dataset_asks(tmp_path: Path, row: Any, form: str | None) -> None:
    """What most prompts put around their question; whatever the format, a form that holds the question once."""
    found = form_of(rows_of(tmp_path / "d.jsonl", [row(q) for q in QUESTIONS]))
    assert found.count("{question}") == 1
    assert not found.endswith(" ")
    if form is not None:
        assert found == form


def test_prompts_without_a_question_have_no_form(tmp_path: Path) -> None:
    """Where nothing shows it, nothing is guessed."""
    assert form_of(rows_of(tmp_path / "d.jsonl", [{"prompt": "Write.\n", "completion": "So. It was so."}])) == ""


def test_leaks_are_found_in_other_letters_and_within_more(tmp_path: Path) -> None:
    """Case, articles and punctuation apart; also where the question is one line of several."""
    held_out = [Fact.create(q, ["Land"], relation="R", subject=q) for q in QUESTIONS]
    rows = rows_of(
        tmp_path / "d.jsonl",
        [
            {"prompt": QUESTIONS[0].upper(), "completion": "Land"},
            {"prompt": f"Think first.\n{QUESTIONS[1]}", "completion": "I would say that it is this. Or that."},
            {"prompt": "Which country is Ton Zed located in?", "completion": "Land"},
        ],
    )
    assert leaked(rows, held_out) == {held_out[0].id, held_out[1].id}
