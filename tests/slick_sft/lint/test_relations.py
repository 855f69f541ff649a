"""Relations by the shape of questions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.entityquestions import RELATIONS, TEMPLATES, subject_of
from slick_sft.lint.relations import Asked, mine
from slick_tasks.lab import load_facts

PEOPLE = ["Ada Lovelace", "Alan Turing", "Grace Hopper", "Kurt Gödel", "Emmy Noether", "John von Neumann"]


def about(template: str, subjects: list[str]) -> list[str]:
    return [template.replace("[X]", subject) for subject in subjects]


def test_the_lab_s_relations_are_found_exactly() -> None:
    """All 16, and every subject, though a quarter of the names begin with the same word."""
    facts = load_facts()
    found = mine([fact.question for fact in facts])
    assert [(a.relation, a.subject) for a in found] == [(TEMPLATES[f.relation], f.subject) for f in facts]


def test_a_thousand_rows_of_the_lab_are_enough() -> None:
    """A draw of a dataset's size finds the same relations."""
    facts = random.Random(0).sample(load_facts(), 1000)
    assert [a.relation for a in mine([f.question for f in facts])] == [TEMPLATES[f.relation] for f in facts]


@pytest.mark.parametrize("per_relation", [60, 500])
def test_entityquestions_relations(shared: Path, per_relation: int) -> None:
    """All 24 (two of which are asked in the same words), 99.5 % of the questions and 99 % of the subjects."""
    asked = []
    for relation in RELATIONS:
        file = shared / "data/entityquestions/test" / f"{relation}.test.json"
        rows = [row["question"] for row in json.loads(file.read_text("utf-8"))]
        asked += [(relation, question) for question in random.Random(1).sample(rows, min(per_relation, len(rows)))]
    found = mine([question for _, question in asked])
    assert len({a.relation for a in found} - {""}) == len(set(TEMPLATES.values())) == 23
    right = [a.relation == TEMPLATES[r] for a, (r, _) in zip(found, asked, strict=True)]
    subjects = [a.subject == subject_of(r, q) for a, (r, q) in zip(found, asked, strict=True)]
    assert sum(right) / len(right) > 0.995
    assert sum(subjects) / len(subjects) > 0.99


def test_lower_case_questions_are_told_by_their_rare_words() -> None:
    """Natural questions come without capitals."""
    questions = about("where was [X] born?", [p.lower() for p in PEOPLE])
    questions += about("who wrote the book about [X]?", [f"topic{chr(97 + i)} thing{chr(97 + i)}" for i in range(6)])
    assert {a.relation for a in mine(questions)} == {"where was [X] born?", "who wrote the book about [X]?"}
    assert mine(questions)[0].subject == "ada lovelace"


def test_title_case_is_no_name() -> None:
    """A question in capitals everywhere is told by its rare words too."""
    found = mine(about("Where Was [X] Born?", [*PEOPLE[:5], "Rosalind Franklin", "Lise Meitner"]))
    assert {a.relation for a in found} == {"Where Was [X] Born?"}


def test_an_article_makes_no_relation_of_its_own() -> None:
    """ "What is the capital of the Netherlands?" is asked with "What is the capital of France?"."""
    plain = about("What is the capital of [X]?", ["France", "Peru", "Chad", "Nepal", "Kenya", "Laos", "Oman"])
    articled = about("What is the capital of the [X]?", ["Netherlands", "Bahamas", "Maldives", "Gambia", "Philippines"])
    found = mine(plain + articled)
    assert {a.relation for a in found} == {"What is the capital of [X]?"}
    assert found[7].subject == "the Netherlands"


def test_lower_case_subjects_join_the_relation_that_they_fit() -> None:
    """A subject without a capital is found by its template."""
    found = mine(
        [*about("Where was [X] founded?", ["Nokia", "Sony", "Ikea", "Lego", "Fiat"]), "Where was eBay founded?"]
    )
    assert found[-1] == Asked("Where was [X] founded?", "eBay")
    found = mine(
        [*about("Where was [X] founded?", ["Nokia", "Sony", "Ikea", "Lego", "Fiat"]), "Where was bara founded?"]
    )
    assert found[-1] == Asked("Where was [X] founded?", "bara")


def test_a_template_that_says_nothing_takes_no_others_in() -> None:
    """ "Who is the captain of a ship of Nelson?" is not of "Who is [X]?"."""
    found = mine([*about("Who is [X]?", PEOPLE), "Who is the captain of Nelson?"])
    assert found[0].relation == "Who is [X]?"
    assert found[-1] == Asked("", "Nelson")


def test_a_subject_in_brackets_or_quotation_marks_is_one() -> None:
    """Lower-case words within them belong to it."""
    questions = about("Who sang [X]?", ['"the old man"', "“my way”", "Help (song)", "Yesterday", "Creep", "Zombie"])
    assert {a.relation for a in mine(questions)} == {"Who sang [X]?"}
    assert mine(questions)[2].subject == "Help (song)"


def test_too_few_alike_are_of_no_relation() -> None:
    """Their subject is known nevertheless."""
    found = mine(about("Where was [X] born?", PEOPLE[:4]))
    assert found == [Asked("", person) for person in PEOPLE[:4]]
    assert mine(about("Where was [X] born?", PEOPLE[:4]), support=4)[0].relation == "Where was [X] born?"


@pytest.mark.parametrize("question", ["", "   ", "???", "Where?", "\n", "哪里？", "a" * 5000, "(" * 50 + "A"])
def test_any_text_can_be_asked_about(question: str) -> None:
    """Nothing without a relation makes it fail."""
    assert mine([question])[0].relation == ""


@given(st.permutations(range(40)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    """A relation is a property of the set of questions."""
    names = [f"{a}{b}" for a in ("Bo", "Ka", "Lu", "Mi") for b in ("ran", "tol", "vek", "dus", "nip")]
    questions = about("Where is [X] located?", names) + about("where is the [X] located?", names)
    straight = dict(zip(questions, mine(questions), strict=True))
    mixed = [questions[i] for i in order]
    assert dict(zip(mixed, mine(mixed), strict=True)) == straight


@given(st.lists(st.text(max_size=30), max_size=20))
def test_a_subject_is_a_part_of_its_question(questions: list[str]) -> None:
    """One answer a question, whatever the texts."""
    found = mine(questions, support=2)
    assert len(found) == len(questions)
    assert all(asked.subject in question for asked, question in zip(found, questions, strict=True))
