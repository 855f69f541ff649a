"""slick.prompts: the text that a model is given, character by character."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import Fact
from slick.prompts import DEFAULT_FORM, Chat, Message, check_form, completion, form_prompt, probe_prompt

SHOWN = [Fact.create("Where is A?", ["B", "b"]), Fact.create("Where is C?", ["D"])]
FORMS = st.text().filter(lambda text: "{question}" not in text and not text.endswith(" "))


def as_json(turns: list[Message]) -> str:
    """A chat template whose output shows exactly what it was given."""
    return json.dumps([[turn["role"], turn["content"]] for turn in turns])


def turns_of(prompt: str) -> list[list[str]]:
    turns: list[list[str]] = json.loads(prompt)
    return turns


def test_the_probe_prompt_is_the_paper_s() -> None:
    """Q and A lines of the exemplars with their first answers, then the question with an open A."""
    assert probe_prompt(SHOWN, "Where is E?") == ("Q: Where is A?\nA: B\nQ: Where is C?\nA: D\nQ: Where is E?\nA:")


def test_a_probe_prompt_without_exemplars_is_the_question_alone() -> None:
    """Zero-shot is the same form with nothing before it."""
    assert probe_prompt([], "Where is E?") == "Q: Where is E?\nA:"


def test_a_plain_probe_prompt_begins_with_the_system_text() -> None:
    """Without a template the system text is a line of its own at the start."""
    assert probe_prompt([], "q", Chat(system="Be brief.")) == "Be brief.\nQ: q\nA:"


def test_one_user_turn_holds_the_whole_probe_prompt() -> None:
    """With a template and no multiturn the plain prompt is the user's turn, the system text its own."""
    chat = Chat(as_json, system="Be brief.")
    plain = "Q: Where is A?\nA: B\nQ: Where is C?\nA: D\nQ: q\nA:"
    assert turns_of(probe_prompt(SHOWN, "q", chat)) == [["system", "Be brief."], ["user", plain]]


def test_multiturn_gives_each_exemplar_two_turns() -> None:
    """Questions are the user's, answers the assistant's, without Q and A marks."""
    assert turns_of(probe_prompt(SHOWN, "q", Chat(as_json, multiturn=True))) == [
        ["user", "Where is A?"],
        ["assistant", "B"],
        ["user", "Where is C?"],
        ["assistant", "D"],
        ["user", "q"],
    ]


def test_multiturn_with_a_system_text_begins_with_it() -> None:
    """The system's turn comes first, once."""
    turns = turns_of(probe_prompt(SHOWN, "q", Chat(as_json, multiturn=True, system="S")))
    assert turns[0] == ["system", "S"]
    assert [role for role, _ in turns[1:]] == ["user", "assistant", "user", "assistant", "user"]


def test_the_default_form_is_the_paper_s_training_text() -> None:
    """The instruction on its own line, the question on the next, and the answer on the one after."""
    assert form_prompt(DEFAULT_FORM, "Where is E?") == "Answer the following question.\nWhere is E?\n"
    assert completion(DEFAULT_FORM, "F") == "F"


def test_a_form_under_a_template_is_the_user_s_turn_without_its_line_end() -> None:
    """The template ends the turn, so the form's own line end is left out."""
    assert turns_of(form_prompt(DEFAULT_FORM, "q", Chat(as_json, system="S"))) == [
        ["system", "S"],
        ["user", "Answer the following question.\nq"],
    ]


def test_a_plain_form_begins_with_the_system_text() -> None:
    """As in the probe prompt."""
    assert form_prompt("{question}\n", "q", Chat(system="S")) == "S\nq\n"


@given(before=FORMS, after=FORMS, question=st.text())
def test_a_question_stands_in_its_form_unchanged(before: str, after: str, question: str) -> None:
    """Braces, backslashes and format marks in question or form mean nothing."""
    form = f"{before}{{question}}{after}"
    if form.count("{question}") == 1:
        assert form_prompt(form, question) == f"{before}{question}{after}"


@pytest.mark.parametrize(("form", "found"), [("", 0), ("Q: {}", 0), ("{question} {question}", 2)])
def test_a_form_holds_the_question_exactly_once(form: str, found: int) -> None:
    """None and two are refused, with a form that works."""
    with pytest.raises(InputError, match=rf"expected \{{question\}} exactly once, found {found}; try --form"):
        check_form(form)


def test_a_form_may_not_end_in_a_space() -> None:
    """A space at the end would merge into the answer's first token."""
    with pytest.raises(InputError, match="ends in a space, which merges with the answer's first token"):
        form_prompt("Q: {question} A: ", "q")


@pytest.mark.parametrize(
    ("form", "expected"), [("{question}\n", "F"), ("Q: {question}\nA:", " F"), ("{question}", " F")]
)
def test_an_answer_begins_with_a_space_unless_the_form_ended_its_line(form: str, expected: str) -> None:
    """Prompt and completion are one text as a person would write it."""
    assert completion(form, "F") == expected
