"""slick.rows: when a row is a fact, and every reason why it is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import Mistakes
from slick.facts import Fact, fact_id
from slick.rows import facts_of, nearest, shown, split_name
from slick.tables import Row, Table

GOOD = {"question": "Where is A?", "answers": ["B"]}


def table_of(*rows: dict[str, Any], split: str = "") -> Table:
    table = Table("t")
    for number, row in enumerate(rows, start=1):
        table.see(row)
        table.rows.append(Row(f"t:{number}", row, split))
    return table


def read(*rows: dict[str, Any], split: str = "") -> list[Fact]:
    with Mistakes("bad:") as mistakes:
        return facts_of(table_of(*rows, split=split), mistakes)


def mistakes_of(*rows: dict[str, Any], split: str = "") -> list[str]:
    mistakes = Mistakes("bad:")
    facts_of(table_of(*rows, split=split), mistakes)
    return mistakes.messages


def test_the_least_a_fact_needs() -> None:
    """Question and answers are enough; the relation is then "facts", the id the hash, the rest empty."""
    (fact,) = read(GOOD)
    assert fact == Fact("facts", "", "Where is A?", ("B",), "", fact_id("facts", "Where is A?", ("B",)))


def test_all_that_a_fact_may_have_is_taken_over() -> None:
    """Every known column reaches the fact; unknown ones are ignored."""
    row = {**GOOD, "relation": "r", "subject": "A", "split": "test", "id": "x1", "colour": "red"}
    assert read(row) == [Fact("r", "A", "Where is A?", ("B",), "test", "x1")]


def test_one_answer_may_stand_in_the_column_answer() -> None:
    """`answer` is a list of one; where both are given, `answers` holds."""
    assert read({"question": "q", "answer": "a"})[0].answers == ("a",)
    assert read({"question": "q", "answer": "a", "answers": ["b"]})[0].answers == ("b",)
    assert read({"question": "q", "answer": "a", "answers": None})[0].answers == ("a",)


@pytest.mark.parametrize(("id", "expected"), [(7, "7"), ("7", "7"), (None, fact_id("facts", "q", ("a",)))])
def test_an_id_may_be_a_whole_number(id: Any, expected: str) -> None:
    """Row numbers serve as ids; without an id the hash is taken."""
    assert read({"question": "q", "answer": "a", "id": id})[0].id == expected


def test_a_missing_subject_is_derived_from_a_known_template() -> None:
    """Questions in EntityQuestions' words have a subject, unless the row names another."""
    row = {"question": "Which country is Oslo located in?", "answer": "Norway", "relation": "P17"}
    assert read(row)[0].subject == "Oslo"
    assert read({**row, "subject": ""})[0].subject == "Oslo"
    assert read({**row, "subject": "Greater Oslo"})[0].subject == "Greater Oslo"
    assert read({**row, "relation": "country"})[0].subject == ""


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_validation_is_the_dev_split(name: str) -> None:
    """Other libraries' names of dev are understood, in a column and as a split's own name."""
    assert split_name(name) == "dev"
    assert read({**GOOD, "split": name})[0].split == "dev"
    assert read(GOOD, split=name)[0].split == "dev"


def test_a_question_may_span_lines() -> None:
    """Questions with a passage before them are questions."""
    assert read({"question": "Text.\n\nWho?", "answer": "a"})[0].question == "Text.\n\nWho?"


def test_length_and_nul_are_no_mistakes() -> None:
    """A very long question and a NUL character are kept as they are."""
    question = "x" * 100_000 + "\0"
    assert read({"question": question, "answer": "a\0"})[0].question == question


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": ""}, "question: found '', expected a string that is not empty"),
        ({"question": " \n"}, "question: found ' \\n', expected a string that is not empty"),
        ({"question": None}, "question: missing, expected a string"),
        ({"question": 3}, "question: found int 3, expected a string"),
        ({"question": b"\xff"}, "question: found bytes b'\\xff', expected a string"),
        ({"question": "a\ud800"}, "question: found half of a surrogate pair in 'a\\ud800'"),
        ({"answers": []}, "answers: found an empty list, expected at least one accepted answer"),
        ({"answers": None}, "answers: missing, expected a list of strings"),
        ({"answers": "B"}, "answers: found str 'B', expected a list of strings (a single string belongs in"),
        ({"answers": {"text": ["B"]}}, "answers: found dict {'text': ['B']}, expected a list of strings"),
        ({"answers": ["B", 1]}, "answers: found int 1, expected a string"),
        ({"answers": ["B", None]}, "answers: missing, expected a string"),
        ({"answers": ["B", " "]}, "answers: found ' ', expected a string that is not empty"),
        ({"answers": ["B\nC"]}, "answers: found a line break in 'B\\nC', which no answer can match"),
        ({"answers": ["B\r"]}, "answers: found a line break in 'B\\r'"),
        ({"answers": ["\udfff"]}, "answers: found half of a surrogate pair"),
        ({"answers": None, "answer": 1997}, "answer: found int 1997, expected a string"),
        ({"relation": ""}, "relation: found '', expected a string that is not empty"),
        ({"relation": 17}, "relation: found int 17, expected a string"),
        ({"subject": ["A"]}, "subject: found list ['A'], expected a string"),
        ({"split": "prod"}, "split: found 'prod', expected one of train, dev, test, ood, ood_dev"),
        ({"split": 1}, "split: found int 1, expected a string"),
        ({"id": 1.5}, "id: found float 1.5, expected a string"),
        ({"id": True}, "id: found bool True, expected a string"),
    ],
)
def test_what_a_row_has_wrong_is_said_with_its_place(row: dict[str, Any], expected: str) -> None:
    """Field, what was found and what was expected stand behind the row's place, in one line."""
    (message,) = mistakes_of({**GOOD, **row})
    assert message.startswith(f"t:1: {expected}")
    assert "\n" not in message


def test_all_mistakes_of_all_rows_are_listed() -> None:
    """Two mistakes in one row and one in another are three messages."""
    found = mistakes_of({"question": "", "answers": []}, GOOD, {"question": "q", "answers": [2]})
    assert [message.split(": ")[0] for message in found] == ["t:1", "t:1", "t:3"]


def test_a_missing_column_is_one_mistake_with_the_nearest_name() -> None:
    """Not one message a row, but one a column, with the columns there are."""
    found = mistakes_of({"Questions": "q", "anwser": "a"}, {"Questions": "q", "anwser": "a"})
    assert found == [
        "t: no column 'question'; found 'Questions', 'anwser'; did you mean 'Questions'?",
        "t: no column 'answers' (lists of strings) or 'answer' (strings); "
        "found 'Questions', 'anwser'; did you mean 'anwser'?",
    ]


def test_a_key_that_only_some_rows_lack_is_their_mistake() -> None:
    """A row without a question is named by its place."""
    assert mistakes_of(GOOD, {"answers": ["a"]}) == ["t:2: question: missing, expected a string"]


def test_no_rows_are_a_mistake() -> None:
    """An empty dataset is never a result of zero facts."""
    assert mistakes_of() == ["t: no rows; expected at least one fact"]


@pytest.mark.parametrize("column", ["relation", "split"])
def test_relation_and_split_stand_in_all_rows_or_in_none(column: str) -> None:
    """A row without the relation that the others have would be left out of its own kind."""
    value = {"relation": "P17", "split": "dev"}[column]
    assert mistakes_of({**GOOD, column: value}, GOOD) == [f"t:2: {column}: missing, expected a string"]
    assert len(read(GOOD, {**GOOD, column: None})) == 2


def test_one_id_for_two_facts_is_a_mistake_that_names_both_places() -> None:
    """Results are kept by id, so that two facts of one id would be one."""
    rows = [{"question": q, "answer": "a", "id": "x"} for q in ("one", "two", "one")]
    assert mistakes_of(*rows) == ["t:2: id: 'x' is also the id of another fact, at t:1; make ids unique"]


def test_the_same_fact_may_stand_twice() -> None:
    """Identical rows, with an id or without, stay rows."""
    assert len(read(GOOD, GOOD)) == 2
    assert len(read({**GOOD, "id": "x"}, {**GOOD, "id": "x"})) == 2


@given(value=st.integers() | st.text() | st.binary() | st.lists(st.text() | st.lists(st.text())))
def test_shown_is_short_and_on_one_printable_line(value: Any) -> None:
    """Whatever stands in a file can be shown on a terminal that obeys control characters."""
    text = shown(value)
    assert text.isprintable()
    assert len(text) <= 81


@given(
    row=st.dictionaries(
        st.sampled_from(["question", "answers", "answer", "relation", "subject", "split", "id"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.none()),
    )
)
def test_any_row_is_a_fact_or_a_mistake(row: dict[str, Any]) -> None:
    """No row raises anything, none is dropped in silence, and what passes can be written as UTF-8."""
    mistakes = Mistakes("bad:")
    facts = facts_of(table_of(row), mistakes)
    assert bool(facts) != bool(mistakes.messages)
    for fact in facts:
        assert fact.question.strip()
        assert fact.answers
        assert all(answer.strip() for answer in fact.answers)
        assert repr(fact.as_dict()).encode("utf-8")


def test_nearest_ignores_case_and_knows_when_nothing_is_near() -> None:
    """A suggestion is made only where one is likely."""
    assert nearest("p17", ["P17", "P19"]).startswith("; did you mean 'P17'")
    assert nearest("country", ["P17", "P19"]) == ""
