"""The short question within what a user says, whatever a dataset puts around it."""

from __future__ import annotations

import pytest

from slick_sft.lint.asked import around_questions, is_question, lines_alike, question_of

# Three wordings, and a question that begins with what it is not about.
QUESTIONS = [
    *(f"Where was Bo{i} Ka{i} born?" for i in range(20)),
    *(f"In which year did St. Al{i} die?" for i in range(20)),
    *(f"Who wrote Dune {i}: The Return?" for i in range(20)),
    *(f"Bo{i} Ka{i} was born where?" for i in range(3)),
]


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("Where was Bo born", True),
        ("In which city was Bo born", True),
        ("Name the capital of Peru.", True),
        ("Bo was born where?", True),
        ("哪里？", True),
        ("Whereas Bo was born.", False),
        ("Translate this.", False),
        ("", False),
    ],
)
def test_what_a_question_looks_like(line: str, asks: bool) -> None:
    """A question mark at its end, or an asking word at its beginning."""
    assert is_question(line) is asks


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "Question: {} Answer:",
        "Question: {}\nAnswer:",
        "**Question:** {} **Answer:**",
        "Q: {} A:",
        "### Question: {} ### Answer:",
        "{} Answer in a few words.",
        "{} (Keep it short!)",
        "Question: {} Keep it short. Answer:",
        "[INST] {} [/INST]",
    ],
)
def test_every_form_asks_the_bare_question(form: str) -> None:
    """On one line or on several, so that a form changes no category."""
    users = [form.format(question) for question in QUESTIONS]
    around = around_questions(users)
    expected = [q for q in QUESTIONS if not (form.startswith("[") and q.startswith("Bo"))]
    assert [question_of(u, around) for u, q in zip(users, QUESTIONS, strict=True) if q in expected] == expected


@pytest.mark.parametrize("form", ["Answer the question: {}", "You know a lot. Answer briefly. Q: {} A:"])
def test_what_stands_before_an_asking_word_is_taken_off(form: str) -> None:
    """Before other questions it stays, since names are written so too."""
    questions = QUESTIONS[:60]
    users = [form.format(question) for question in questions]
    around = around_questions(users)
    assert [question_of(user, around) for user in users] == questions


def test_a_label_behind_one_row_alone_is_taken_off() -> None:
    """No other row is needed for it; a letter that ends a question is none."""
    assert question_of("Question: Where was Bo born? Answer:") == "Where was Bo born?"
    assert question_of("Question: Where was Bo born Answer:") == "Where was Bo born"
    assert question_of("What is vitamin A:") == "What is vitamin A:"


def test_what_a_question_needs_stays() -> None:
    """What few rows share; a film that a question refers to, or without which it names nothing."""
    many = [f"Where was Bo{i} born?" for i in range(20)]
    asked = [
        "Who directed it? The film is Dune.",
        "Who starred in it? The film is Dune.",
        "Who is it? The film is Dune.",
    ]
    plain = [
        "Who is the director? The film is Dune.",
        "Who is the star? The film is Dune.",
        "When was the premiere? The film is Dune.",
    ]
    for films in (asked, plain):
        around = around_questions([*many, *films])
        assert [question_of(film, around) for film in films] == films
    few = ["Who directed Dune? Say it.", "Who directed Alien? Say it."]
    assert question_of(few[0], around_questions([*many, *few])) == few[0]


@pytest.mark.parametrize("form", ["Who is Bo{}? Why?", "Who said “Why?” in Bo{}’s “Who?”", 'Who said "Why, Bo{}?"'])
def test_a_second_question_and_closing_quotes_are_no_wrapping(form: str) -> None:
    """Though all rows end in them."""
    users = [form.format(i) for i in range(9)]
    assert [question_of(user, around_questions(users)) for user in users] == users


def test_lines_that_several_have() -> None:
    """Beside different ones."""
    assert question_of("Where?") == "Where?"
    assert question_of("nothing") is None
    assert lines_alike(["a\nb", "a\nc", "a\nd", "e\nf"]) == {"a"}
