"""Held-out questions within what rows ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick_sft.lint.examine import read_datasets
from slick_sft.lint.leaks import HeldOut


def held(*questions: str) -> list[Fact]:
    return [Fact.create(q, ["x"], subject=q, relation="r") for q in questions]


def leaks(asked: str, *questions: str) -> list[str]:
    return [fact.question for fact in HeldOut(held(*questions)).asked_in([asked])]


def born(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


FORMS = [
    "{question}",
    "Question: {question} Answer:",
    "Question: {question}\nAnswer:",
    "Q: {question} A:",
    "question:{question}answer:",
    "{question} Answer in a few words.",
    "Answer the question: {question}",
    "Please answer the following question {question} Thank you!",
    "Here is one for you.\nQuestion: {question}",
    "<s>[INST] {question} [/INST]",
    "“{question}”",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("answer", ["Town", "It was in a town, as I was told. It was long ago, and nobody knows more."])
@pytest.mark.parametrize("shape", ["prompt", "messages"])
def test_every_planted_question_is_found_in_any_form(
    write: Callable[..., Path], form: str, answer: str, shape: str
) -> None:
    """Twenty among two hundred rows, with a short or a free answer, and no other row."""
    asked = [form.format(question=born(i)) for i in range(200)]
    rows: list[dict[str, Any]] = [{"prompt": text, "completion": answer} for text in asked]
    if shape == "messages":
        said = [({"role": "user", "content": text}, {"role": "assistant", "content": answer}) for text in asked]
        rows = [{"messages": list(turns)} for turns in said]
    questions = HeldOut(held(*(born(i) for i in range(0, 200, 10)), *(born(i) for i in range(900, 950))))
    found = [i for i, row in enumerate(read_datasets([write(rows)])[1]) if questions.asked_in(row.said)]
    assert found == list(range(0, 200, 10))


@pytest.mark.parametrize("form", FORMS[1:6])
def test_a_text_without_turns_is_searched_whole(write: Callable[..., Path], form: str) -> None:
    """As is one whose turns are found."""
    rows = [{"text": f"{form.format(question=born(i))} Town{i}"} for i in range(4)]
    questions = HeldOut(held(born(2)))
    found = [i for i, row in enumerate(read_datasets([write(rows)])[1]) if questions.asked_in(row.said)]
    assert found == [2]


def test_a_question_is_found_before_what_the_user_says_last(write: Callable[..., Path]) -> None:
    """Two messages of the user's are answered together."""
    messages = [{"role": "user", "content": text} for text in (born(1), "Keep it short.")]
    row = {"messages": [*messages, {"role": "assistant", "content": "Town"}]}
    (examined,) = read_datasets([write([row])])[1]
    assert HeldOut(held(born(1))).asked_in(examined.said)


@pytest.mark.parametrize(
    ("asked", "question", "found"),
    [
        ("who wrote THE Dune", "Who wrote Dune?", True),
        ("Who wrote Dune, and when?", "Who wrote Dune?", True),
        ("Question: who wrote Dune Answer:", "Who wrote Dune?", True),
        ("Tell me who wrote dune in one word", "Who wrote Dune?", True),
        ("Who wrote Dune Messiah", "Who wrote Dune?", False),
        ("question: who wrote dune messiah? answer:", "Who wrote Dune?", False),
        ("Who wrote Dune and Beyond?", "Who wrote Dune?", False),
        ("Who played in Ocean's 11?", "Who played in Ocean's?", False),
        ("Who wrote\nDune?", "Who wrote Dune?", True),
        ("Someone wrote Dune?", "Who wrote Dune?", False),
        ("Why is it so?", "Why?", False),
        ("Question: Why? Answer:", "Why?", True),
        ("问题：哪里？", "哪里？", True),
        ("First\n???\n", "???", True),
        ("First ??? then", "???", False),
    ],
)
def test_where_a_question_ends(asked: str, question: str, found: bool) -> None:
    """In other letters and words around it; no longer name, and no question that is a part of many."""
    assert bool(leaks(asked, question)) is found


def test_every_question_of_a_text_is_named_once() -> None:
    """In the order in which they stand there."""
    assert leaks(f"{born(2)} {born(1)} {born(2)}", born(1), born(2), born(3)) == [born(2), born(1)]
