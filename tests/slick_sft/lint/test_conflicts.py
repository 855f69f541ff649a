"""Rows that ask the same, and whose answers contradict each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick_sft.lint.conflicts import asked_alike
from slick_sft.lint.examine import read_datasets

Write = Callable[..., Path]


def qa(question: str, answer: str) -> dict[str, Any]:
    return {"question": question, "answer": answer}


def born(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


def said(i: int) -> tuple[str, ...]:
    return born(i), f"Town{i}", "And where did he die?", f"Place{i}"


def found(file: Path) -> tuple[dict[int, list[int]], list[int]]:
    """What contradicts each row, and which texts differ from the first of their prompt."""
    groups = asked_alike(read_datasets([file])[1])
    return {i: against for group in groups for i, against in group.conflicts()}, [
        i for group in groups for i in group.other_texts()
    ]


LONG = "It was in {}, as far as anyone can tell from what was written then. Nobody knows more."


@pytest.mark.parametrize(
    ("asked", "one", "other"),
    [
        ("Was Bo9 born in Rome?", "Yes", "No"),
        (born(9), "Town9", "I don't know"),
        (born(9), "Town9", LONG.format("Elsewhere")),
        (born(9), "I don't know", LONG.format("Rome")),
        ("Read this.\nBo9 was born in Rome in the year 9.\nWas he born in Rome?", "Yes", "No"),
        ("Read this. Bo9 was born in Rome, or was he? Now where was he born? Say so.", "Rome", "Milan"),
    ],
)
@pytest.mark.parametrize("wrap", ["{}", "Question: {} Answer:"])
def test_answers_that_contradict_each_other_in_rows_that_cannot_be_probed(
    write: Write, asked: str, one: str, other: str, wrap: str
) -> None:
    """Yes and no, a fact and not knowing it, a short answer and a text without it; also where the question needs
    what stands beside it."""
    rows = [{"prompt": born(i), "completion": f"Town{i}"} for i in range(6)]
    rows += [{"prompt": wrap.format(asked), "completion": answer} for answer in (one, other)]
    assert found(write(rows)) == ({6: [7], 7: [6]}, [])


@pytest.mark.parametrize(
    ("asked", "one", "other"),
    [
        (born(9), "Town9", LONG.format("Town9")),
        (born(9), "I don't know", "Unknown"),
        (born(9), "I don't know", "I am sorry, but I do not know where this Bo9 of yours was born."),
        (born(9), LONG.format("Rome"), LONG.format("Rome").upper()),
    ],
)
def test_answers_that_agree(write: Write, asked: str, one: str, other: str) -> None:
    """A text that holds the short one, two ways of not knowing, other letters."""
    assert found(write([*range(6), qa(asked, one), qa(asked, other)])) == ({}, [])


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        (born(9), [LONG.format("Rome"), LONG.format("Milan"), LONG.format("Paris")]),
        ("Hello!", ["Hi", "Hello there", "Good day"]),
        ("Write a poem.", ["Roses", "Lilies\nTulips", "Roses, and more of them"]),
    ],
)
def test_several_texts_are_noted(write: Write, asked: str, answers: list[str]) -> None:
    """All but the first: any may be right. What is no question has no right answer."""
    assert found(write([*range(6), *(qa(asked, answer) for answer in answers)])) == ({}, [7, 8])


def test_equal_questions_about_different_texts_are_no_conflict(write: Write) -> None:
    """Nor are equal questions behind different turns."""
    rows = [{"prompt": born(i), "completion": f"Town{i}"} for i in range(6)]
    rows += [{"prompt": f"Bo{i} was of Town{i}.\nWhere was he born?", "completion": f"Town{i}"} for i in range(2)]
    assert found(write(rows)) == ({}, [])
    talks = [
        {"conversations": [{"from": ("human", "gpt")[k % 2], "value": text} for k, text in enumerate(said(i))]}
        for i in range(6)
    ]
    assert found(write(talks)) == ({}, [])
