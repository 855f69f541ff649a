"""A linted dataset as rows to train on, and how its prompts ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick_sft.lint.examine import read_datasets
from slick_sft.lint.training import form_of, training_rows

QUESTIONS = [f"Which country is Ton {name} located in?" for name in ("Abe", "Bul", "Cor", "Dun", "Eki", "Fam")]


def test_rows_with_their_weights(write: Callable[..., Path]) -> None:
    """A silenced row stays, at weight 0; its own weight counts else; one without an answer goes from every arm."""
    rows = [
        {"prompt": "a", "completion": " b"},
        {"prompt": "c", "completion": "d", "weight": 0.5},
        {"prompt": "e", "completion": " "},
        {"prompt": "f", "completion": "g", "weight": "2"},
    ]
    _, found = read_datasets([write(rows)])
    assert training_rows(found) == [
        {"prompt": "a", "completion": " b", "weight": 1.0},
        {"prompt": "c", "completion": "d", "weight": 0.5},
        {"prompt": "f", "completion": "g", "weight": 2.0},
    ]
    assert [row["weight"] for row in training_rows(found, {0, 1, 2})] == [0.0, 0.0, 2.0]


def test_conversations_are_messages(write: Callable[..., Path]) -> None:
    """In the roles that TRL knows."""
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    _, found = read_datasets([write([{"conversations": turns}, {"conversations": turns[:1]}])])
    assert training_rows(found) == [
        {
            "prompt": [{"role": "user", "content": "a"}],
            "completion": [{"role": "assistant", "content": "b"}],
            "weight": 1.0,
        }
    ]


def test_every_answer_of_a_conversation_is_a_row(write: Callable[..., Path]) -> None:
    """Behind all that was said before it, with the conversation's weight, and silenced by itself; a greeting that
    answers nothing is none."""
    said = [("assistant", "Hi"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    row = {"messages": [{"role": role, "content": text} for role, text in said], "weight": 0.5}
    _, found = read_datasets([write([row, {"messages": row["messages"][:1]}])])
    trained = training_rows(found, {1})
    assert [(len(r["prompt"]), r["completion"][0]["content"], r["weight"]) for r in trained] == [
        (2, "b", 0.5),
        (4, "d", 0.0),
    ]


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
def test_facts_are_asked_as_the_dataset_asks(write: Callable[..., Path], row: Any, form: str | None) -> None:
    """What most prompts put around their question; whatever the format, a form that holds the question once."""
    found = form_of(read_datasets([write([row(q) for q in QUESTIONS])])[1])
    assert found.count("{question}") == 1
    assert not found.endswith(" ")
    if form is not None:
        assert found == form


def test_prompts_without_a_question_have_no_form(write: Callable[..., Path]) -> None:
    """Where nothing shows it, nothing is guessed."""
    assert form_of(read_datasets([write([{"prompt": "Write.\n", "completion": "So. It was so."}])])[1]) == ""
