"""Which rows state a short fact, and why the others do not."""

from __future__ import annotations

import pytest

from slick_sft.lint.shapes import read_exchange, read_exchanges
from slick_sft.lint.short_facts import (
    Reason,
    ShortFact,
    is_short,
    reasons_counted,
    short_facts,
)


def row(question: str, answer: str) -> ShortFact | Reason:
    return short_facts([read_exchange({"prompt": question, "completion": answer})])[0]


@pytest.mark.parametrize(
    "answer", ["Rome", "St. Louis", "42", "1969-07-20", "The Lord of the Rings", "New York City, USA"]
)
def test_a_short_question_and_a_short_answer(answer: str) -> None:
    """That is what a fact looks like."""
    assert row("Where was Bo born?", answer) == ShortFact("Where was Bo born?", (answer,))


def test_a_text_in_which_no_turn_is_recognised_is_said_to_be_one() -> None:
    """An empty answer, or an empty text, is another thing."""
    texts = ["<user> Who? <model> Bo", "Q: Who?\nA:", "", "Q: Who?"]
    assert short_facts([read_exchange({"text": text}) for text in texts]) == [
        Reason.NO_TURNS,
        *[Reason.NO_ANSWER] * 3,
    ]


def test_a_full_stop_may_be_left_out() -> None:
    """The answer as it is written comes first; a model that ends without the stop is right as well."""
    assert row("Where was Bo born?", "Rome.") == ShortFact("Where was Bo born?", ("Rome.", "Rome"))


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Where was Bo born?", "", Reason.NO_ANSWER),
        ("Write a poem.", "Roses", Reason.NO_QUESTION),
        ("Is it? " + "x" * 200 + "?", "Rome", Reason.NO_QUESTION),
        ("Read this text.\nWhere was Bo born?", "Rome", Reason.CONTEXT),
        ("Where was Bo born?\nAnd when was it?", "Rome", Reason.NO_QUESTION),
        ("Where was Bo born?", "He was born in Rome", Reason.FREE),
        ("Where was Bo born?", "Somewhere in old Rome.", Reason.FREE),
        ("Where was Bo born?", "Rome\nItaly", Reason.FREE),
        ("Where was Bo born?", "a b c d e f g h i j k", Reason.FREE),
        ("Where was Bo born?", "x" * 101, Reason.FREE),
        ("Was Bo born?", "Yes.", Reason.GUESSED),
        ("Which is right?", "(B)", Reason.GUESSED),
        ("Where was Bo born?", "I don't know", Reason.ABSTAINS),
        ("Where was Bo born?", "Unknown", Reason.ABSTAINS),
    ],
)
def test_every_other_row_has_a_reason(question: str, answer: str, reason: Reason) -> None:
    """The first that holds."""
    assert row(question, answer) is reason


def test_what_a_dataset_puts_around_its_questions_is_taken_off() -> None:
    """A line that stands beside three others is no part of the question; a label never is."""
    rows = [
        read_exchange(
            {"instruction": "Answer the following question.", "input": f"Where was {name} born?", "output": "X"}
        )
        for name in ("Bo", "Al", "Cy")
    ]
    assert short_facts(rows) == [ShortFact(f"Where was {n} born?", ("X",)) for n in ("Bo", "Al", "Cy")]
    assert short_facts(rows[:2]) == [Reason.CONTEXT, Reason.CONTEXT]
    assert row("Q: Where was Bo born?\nA:", "Rome") == ShortFact("Where was Bo born?", ("Rome",))


def test_a_question_about_several_inputs_needs_them() -> None:
    """The same question beside three texts is no fact."""
    rows = [
        read_exchange({"instruction": "What is this about?", "input": f"Text {i}.", "output": "X"}) for i in range(3)
    ]
    assert short_facts(rows) == [Reason.NO_QUESTION] * 3


def last(*said: str) -> ShortFact | Reason:
    """What is found of the last exchange of a conversation."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]
    return short_facts(read_exchanges({"messages": messages}))[-1]


@pytest.mark.parametrize(
    "earlier", [("Hi", "Hello"), ("Where was Al born?", "Rome"), ("Who is Bo?", "He paints. " * 30)]
)
def test_a_later_question_that_names_what_it_asks_of_stands_alone(earlier: tuple[str, str]) -> None:
    """It is probed without the turns before it; an equal answer to another question is a chance."""
    assert last(*earlier, "Where was Bo born?", "Rome") == ShortFact("Where was Bo born?", ("Rome",))


@pytest.mark.parametrize(
    ("said", "question", "answer"),
    [
        (("Who was Bo?", "A king"), "Where was he born?", "Rome"),
        (("Who was Bo?", "A king"), "And what about Al?", "A queen"),
        (("Who was Bo?", "A king"), "where was the king born?", "Rome"),
        (("Who was Bo?", "A king"), "What else did Bo do?", "Paint"),
        (("Tell me of Bo.", "Bo was a king of old. He was born in Rome, as I was told."), "Where was Bo born?", "Rome"),
        (("Bo was born in Rome.", "I see"), "Where was Bo born?", "Rome"),
        (("Is Bo from Rome?", "Yes"), "Where was Bo born?", "Rome"),
    ],
)
def test_a_later_question_that_needs_what_was_said(said: tuple[str, str], question: str, answer: str) -> None:
    """It refers to it, names nothing, or its answer stands there."""
    assert last(*said, question, answer) is Reason.CONTEXT


def test_what_stands_between_question_and_answer_may_hold_it() -> None:
    """As what a tool found does."""
    messages = [
        {"role": r, "content": c} for r, c in (("user", "Where was Bo born?"), ("tool", "x"), ("assistant", "Rome"))
    ]
    assert short_facts(read_exchanges({"messages": messages})) == [Reason.CONTEXT]


def test_the_parts_by_themselves() -> None:
    """What is no answer at all, and how reasons are counted."""
    assert not is_short(" ")
    assert reasons_counted([Reason.FREE, Reason.LIMIT, Reason.FREE, ShortFact("q", ("a",))]) == {
        Reason.FREE: 2,
        Reason.LIMIT: 1,
    }
