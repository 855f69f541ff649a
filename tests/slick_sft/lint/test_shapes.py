"""The forms in which rows are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError, Mistakes
from slick_sft.lint.edits import Place
from slick_sft.lint.reading import read_source
from slick_sft.lint.shapes import Form, NotARowError, exchanges, read_exchange, read_exchanges

Q, A = "Where was Bo born?", "Rome"


def chat(*turns: tuple[str, str], keys: tuple[str, str] = ("role", "content")) -> list[dict[str, str]]:
    return [dict(zip(keys, turn, strict=True)) for turn in turns]


FORMS: list[tuple[Form, dict[str, Any], tuple[Any, ...]]] = [
    (Form.MESSAGES, {"messages": chat(("user", Q), ("assistant", A))}, ("messages", 1, "content")),
    (
        Form.MESSAGES,
        {"messages": chat(("system", "Be brief."), ("user", Q), ("assistant", A))},
        ("messages", 2, "content"),
    ),
    (Form.MESSAGES, {"conversations": chat(("user", Q), ("assistant", A))}, ("conversations", 1, "content")),
    (
        Form.SHAREGPT,
        {"id": "x", "conversations": chat(("human", Q), ("gpt", A), keys=("from", "value"))},
        ("conversations", 1, "value"),
    ),
    (
        Form.SHAREGPT,
        {"conversation": chat(("human", Q), ("gpt", A), keys=("from", "value"))},
        ("conversation", 1, "value"),
    ),
    (Form.PROMPT, {"prompt": Q, "completion": A}, ("completion",)),
    (
        Form.CHAT_PROMPT,
        {"prompt": chat(("user", Q)), "completion": chat(("assistant", A))},
        ("completion", 0, "content"),
    ),
    (Form.ALPACA, {"instruction": Q, "input": "", "output": A}, ("output",)),
    (Form.ALPACA, {"instruction": Q, "context": "", "response": A, "category": "open_qa"}, ("response",)),
    (Form.ALPACA, {"instruction": Q, "input": None, "output": A, "text": "all of it"}, ("output",)),
    (Form.QUESTION, {"question": Q, "answer": A, "prompt": None, "completion": None}, ("answer",)),
    (Form.TEXT, {"text": f"Q: {Q}\nA: {A}"}, ("text",)),
    (Form.TEXT, {"text": f"Question: {Q}\n\nAnswer: {A}</s>\n"}, ("text",)),
    (Form.TEXT, {"text": f"### Instruction:\n{Q}\n\n### Response:\n{A}"}, ("text",)),
    (Form.TEXT, {"text": f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\n{A}<|im_end|>\n"}, ("text",)),
    (Form.TEXT, {"text": f"### Human: {Q}\n### Assistant: {A}"}, ("text",)),
    (Form.TEXT, {"text": f"{Q}\n{A}\n"}, ("text",)),
]


@pytest.mark.parametrize(("form", "cells", "path"), FORMS)
def test_every_form_gives_its_question_and_answer(form: Form, cells: dict[str, Any], path: tuple[Any, ...]) -> None:
    """And where the answer stands, without the white space or end token around it."""
    exchange = read_exchange(cells)
    assert (exchange.form, exchange.user, exchange.answers, exchange.context) == (form, Q, (A,), False)
    assert exchange.place is not None
    assert exchange.place.path == path
    value: Any = cells
    for key in path:
        value = value[key]
    assert value[exchange.place.start : exchange.place.end] == A


def test_a_list_of_answers() -> None:
    """All are accepted; the place is the whole list."""
    exchange = read_exchange({"question": Q, "answers": [" Rome", "Roma"]})
    assert exchange.answers == ("Rome", "Roma")
    assert exchange.place == Place(("answers",), 0, None)
    assert exchange.completion == "Rome"


def test_a_completion_keeps_the_space_before_it() -> None:
    """TRL's prompt/completion begins the completion with the space."""
    exchange = read_exchange({"prompt": "Q: Who?\nA:", "completion": " Bo "})
    assert exchange.answer == "Bo"
    assert exchange.place == Place(("completion",), 1, 3)
    assert (exchange.prompt, exchange.completion) == ("Q: Who?\nA:", " Bo ")


def test_what_a_row_trains_on() -> None:
    """As TRL takes it: texts, or messages."""
    exchange = read_exchange({"conversations": chat(("human", Q), ("gpt", A), keys=("from", "value"))})
    assert exchange.prompt == [{"role": "user", "content": Q}]
    assert exchange.completion == [{"role": "assistant", "content": A}]
    alpaca = read_exchange({"instruction": "Translate.", "input": "chat", "output": "cat"})
    assert (alpaca.prompt, alpaca.completion) == ("Translate.\nchat\n", "cat")
    assert alpaca.user == "Translate.\nchat"


@pytest.mark.parametrize(
    "cells",
    [
        {"messages": chat(("user", "Hi"), ("assistant", "Hello"), ("user", Q), ("assistant", A))},
        {"messages": chat(("user", Q), ("tool", "data"), ("assistant", A))},
        {"prompt": chat(("user", "Hi"), ("assistant", "Hello"), ("user", Q)), "completion": chat(("assistant", A))},
        {"text": f"Q: Who?\nA: Bo\nQ: {Q}\nA: {A}"},
    ],
)
def test_earlier_turns_are_context(cells: dict[str, Any]) -> None:
    """The last question may be about them."""
    exchange = read_exchange(cells)
    assert (exchange.user, exchange.answer, exchange.context) == (Q, A, True)


TALK = (("user", "Who?"), ("assistant", "Bo"), ("user", Q), ("assistant", A))


@pytest.mark.parametrize(
    "cells",
    [
        {"messages": chat(("system", "Be brief."), *TALK)},
        {"conversations": chat(*TALK, keys=("from", "value"))},
        {"prompt": chat(("user", "Who?")), "completion": chat(*TALK[1:])},
        {"text": f"Q: Who?\nA: Bo\n\nQ: {Q}\nA: {A}"},
        {"text": "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in TALK)},
    ],
)
def test_every_answer_is_an_exchange(cells: dict[str, Any]) -> None:
    """With its turn, its place, and what is trained on: the answer, behind all that stands before it."""
    found = read_exchanges(cells)
    assert [(e.turn, e.user, e.answer, e.context) for e in found] == [(1, "Who?", "Bo", False), (2, Q, A, True)]
    for exchange in found:
        assert exchange.place is not None
        value: Any = cells
        for key in exchange.place.path:
            value = value[key]
        assert value[exchange.place.start : exchange.place.end] == exchange.answer
        completion = exchange.completion
        said = completion if isinstance(completion, str) else completion[0]["content"]
        assert said.replace("<|im_end|>", "").strip() == exchange.answer
        prompt = exchange.prompt
        before = prompt if isinstance(prompt, str) else "".join(m["content"] for m in prompt)
        assert (Q in before) == (exchange.turn == 2)
    assert found[1].earlier == (("user", "Who?"), ("assistant", "Bo"))


def test_what_a_prompt_says_is_not_learnt() -> None:
    """Answers in a prompt of messages are shown and not trained on; a user may have the last word."""
    prompt = {"prompt": chat(*TALK[:3]), "completion": chat(TALK[3])}
    assert [(e.turn, e.answer) for e in read_exchanges(prompt)] == [(None, A)]
    asked = read_exchanges({"messages": chat(*TALK[:3])})
    assert [(e.turn, e.user, e.answers) for e in asked] == [(1, "Who?", ("Bo",)), (2, Q, ())]
    greeting = read_exchanges({"messages": chat(("assistant", "Hello."), ("user", Q), ("assistant", A))})
    assert [(e.user, e.answer) for e in greeting] == [(Q, A)]


@pytest.mark.parametrize(
    "cells",
    [
        {"messages": chat(("user", Q))},
        {"messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": None, "tool_calls": []}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": []}]},
        {"prompt": chat(("user", Q)), "completion": chat(("assistant", "a"), ("user", "b"))},
        {"text": "Just a line of prose."},
        {"text": ""},
    ],
)
def test_a_row_without_an_answer(cells: dict[str, Any]) -> None:
    """It is a row, of which nothing can be asked."""
    exchange = read_exchange(cells)
    assert (exchange.answers, exchange.place) == ((), None)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({}, "found the columns none; expected messages"),
        ({"chosen": "a", "rejected": "b"}, "found the columns 'chosen', 'rejected'; expected messages, conversations"),
        ({"messages": "hello"}, "messages: found 'hello', expected a list of messages"),
        ({"messages": []}, "messages: found an empty list"),
        ({"messages": ["hello"]}, r"messages\[0\]: found 'hello', expected a message with role and content"),
        ({"messages": [{"role": "user", "content": "x"}, 3]}, r"messages\[1\]: found 3, expected a message"),
        ({"messages": [{"role": 3, "content": "x"}]}, r"messages\[0\]: found the role 3"),
        ({"messages": [{"role": "user", "content": 3}]}, r"messages\[0\].content: found 3, expected a text"),
        ({"conversations": [{"from": "human", "value": 3}]}, r"conversations\[0\].value: found 3"),
        ({"prompt": "a", "completion": 3}, "completion: found 3, expected a text"),
        ({"prompt": [], "completion": "a"}, "found a list and a text"),
        ({"instruction": "a", "output": ["b"]}, r"output: found \['b'\], expected a text"),
        ({"question": "a", "answers": []}, r"answers: found \[\], expected a text or a list of at least one"),
        ({"question": "a", "answers": {"text": ["b"]}}, "answers: found {'text': "),
        ({"question": 3, "answer": "b"}, "question: found 3"),
        ({"text": 3}, "text: found 3"),
        ({"prompt": "\ud800", "completion": "a"}, "prompt: found half of a surrogate pair"),
    ],
)
def test_a_malformed_row_says_what_is_wrong(cells: dict[str, Any], message: str) -> None:
    """What was found and what was expected."""
    with pytest.raises(NotARowError, match=message):
        read_exchange(cells)


def test_all_malformed_rows_at_once_and_mixed_forms(tmp_path: Path) -> None:
    """File and line of each; rows of several forms are counted, with the first of each."""
    file = tmp_path / "data.jsonl"
    rows = [{"question": Q, "answer": A}, {"text": 3}, {"prompt": Q, "completion": A}, {"question": Q, "answer": A}, {}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught, Mistakes("bad") as mistakes:
        exchanges(read_source(file, mistakes), mistakes)
    message = str(caught.value)
    assert f"{file}:2: text: found 3" in message
    assert f"{file}:5: found the columns none" in message
    assert (
        f"{file}: rows of several forms: 2 of the form question/answer (first {file}:1), "
        f"1 of the form prompt/completion (first {file}:3); give each form a file of its own"
    ) in message


def test_members_that_are_null_are_not_there() -> None:
    """Parquet gives every message all members that any has."""
    turns = [("user", Q), ("assistant", A)]
    messages = [{"role": role, "content": text, "from": None, "value": None} for role, text in turns]
    exchange = read_exchange({"messages": messages, "text": None})
    assert (exchange.form, exchange.user, exchange.answer) == (Form.MESSAGES, Q, A)
