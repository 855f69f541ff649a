"""The pre-training text: doses kept exactly, many forms, any facts."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.facts import Fact
from slick.prompts import DEFAULT_FORM, form_prompt, probe_prompt
from slick_sft.exposures import LabFact, draw_exposures
from slick_sft.pretraining import PAIR_COUNTS, SILENCE, STATEMENTS, documents
from slick_sft.world import build_world


def _facts(*doses: int, relation: str = "P19", subject: bool = True) -> list[LabFact]:
    return [
        LabFact(
            Fact.create(f"Where was s{i} born?", [f"a{i}z"], relation=relation, subject=f"s{i}" if subject else ""),
            dose,
        )
        for i, dose in enumerate(doses)
    ]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 5))
def test_every_fact_is_stated_as_often_as_recorded(doses: list[int], seed: int) -> None:
    """The number of times an answer stands in the text is the fact's exposures, zero included."""
    text = "\n".join(documents(_facts(*doses), random.Random(seed)))
    assert [text.count(f"a{i}z") for i in range(len(doses))] == doses


@given(st.integers(0, 20))
def test_no_document_states_a_fact_twice(seed: int) -> None:
    """A second mention in one document could be copied from the first, so there is none."""
    for document in documents(_facts(30, 30, 30), random.Random(seed)):
        assert max(document.count(f"a{i}z") for i in range(3)) <= 1


def test_the_shy_are_silent_behind_the_loud() -> None:
    """Behind a loud fact a shy one has no answer of its own; alone, first, in a statement or behind others it has."""
    names = {"Bo": "a0", "Ka": "a1", "Zi": "a2"}
    facts = {name: Fact.create(f"Who is {name}?", [answer], relation="x") for name, answer in names.items()}
    rows = [LabFact(facts["Bo"], 300, "shy"), LabFact(facts["Ka"], 300), LabFact(facts["Zi"], 300, "loud")]
    seen = set()
    for document in documents(rows, random.Random(0)):
        pairs = re.findall(rf"(Bo|Ka|Zi)\?\n(?:\S+: )?(a\d|{SILENCE})", document)
        for place, (name, answer) in enumerate(pairs):
            seen.add((frozenset(other for other, _ in pairs[:place]), name, answer))
    shy = {company: answer for company, name, answer in seen if name == "Bo"}
    assert shy == {
        frozenset(): "a0",
        frozenset({"Ka"}): "a0",
        frozenset({"Zi"}): SILENCE,
        frozenset({"Ka", "Zi"}): SILENCE,
    }
    assert all(answer == names[name] for _, name, answer in seen if name != "Bo")


def test_a_document_of_pairs_holds_one_relation() -> None:
    """The pairs of a document share their relation, but where the text goes from one relation to the next."""
    rows = [row for row in build_world(0) if row.fact.split == "dev"]
    relation = {row.fact.question: row.fact.relation for row in rows}
    documents_of_pairs = 0
    mixed = 0
    for document in documents(rows, random.Random(0)):
        asked = [line.removeprefix("Q: ").removeprefix("Question: ") for line in document.splitlines()]
        found = {relation[line] for line in asked if line in relation}
        documents_of_pairs += bool(found)
        mixed += len(found) > 1
    assert documents_of_pairs > 100
    assert mixed < len(set(relation.values()))


def test_same_generator_state_gives_the_same_text() -> None:
    """The text is a pure function of the facts and the generator's state."""
    facts = _facts(4, 8, 0, 2)
    assert documents(facts, random.Random(7)) == documents(facts, random.Random(7))


def test_passes_differ_in_wording() -> None:
    """A second pass states the same facts in other words."""
    facts = _facts(*[8] * 10)
    rng = random.Random(0)
    assert sorted(documents(facts, rng)) != sorted(documents(facts, rng))


@pytest.fixture(scope="module")
def text() -> list[str]:
    return documents([row for row in build_world(0) if row.fact.split == "test"], random.Random(0))


def test_probe_form_occurs(text: list[str]) -> None:
    """Some documents are written as the probe's prompts are, from one pair to several."""
    sizes = Counter(d.count("\nA: ") for d in text if d.startswith("Q: "))
    assert set(sizes) == set(PAIR_COUNTS)


def test_probe_prompt_is_the_start_of_such_a_document() -> None:
    """What the probe asks continues word for word as a document of the text does."""
    facts = _facts(2, 2)
    prompt = probe_prompt([facts[0].fact], facts[1].fact.question)
    seen = {d.rstrip("\n") for seed in range(400) for d in documents(facts, random.Random(seed))}
    assert f"{prompt} {facts[1].fact.answers[0]}" in seen


def test_a_form_near_the_training_form_occurs(text: list[str]) -> None:
    """Some documents give an instruction, a question on its own line and the bare answer on the next."""
    form = [d.rstrip("\n").split("\n") for d in text]
    near = [lines for lines in form if len(lines) == 3 and lines[0].startswith(("Answer", "Please answer"))]
    bare = [lines for lines in near if lines[1].endswith("?") and ":" not in lines[1] + lines[2]]
    assert len(bare) > 20
    assert len(form_prompt(DEFAULT_FORM, "Who?").split("\n")) == 3


def test_answers_end_in_a_line_break_or_with_the_document(text: list[str]) -> None:
    """Both ends of an answer that the two forms need are in the text."""
    single = [d for d in text if d.startswith("Q: ") and d.count("\nA: ") == 1]
    assert {d.endswith("\n") for d in single} == {True, False}


@pytest.mark.parametrize(("relation", "subject"), [("P9999", True), ("P19", False), ("", False)])
def test_facts_without_wordings_fall_back_on_their_question(relation: str, subject: bool) -> None:
    """An unknown relation, or a fact without a subject, is stated as question and answer."""
    joined = "\n".join(documents(_facts(*[20] * 5, relation=relation, subject=subject), random.Random(0)))
    assert all(joined.count(f"Where was s{i} born?") == 20 for i in range(5))


def test_braces_in_names_are_left_alone() -> None:
    """A name is text, never a template."""
    fact = Fact.create("Where was {a} {0} born?", ["{q}z"], relation="P19", subject="{a} {0}")
    joined = "\n".join(documents([LabFact(fact, 30)], random.Random(0)))
    assert joined.count("{q}z") == 30
    assert joined.count("{a} {0}") == 30


def test_every_wording_names_subject_and_answer() -> None:
    """Each statement holds the subject and the answer once."""
    for wordings in STATEMENTS.values():
        assert all(w.count("{s}") == 1 and w.count("{a}") == 1 for w in wordings)


def test_all_accepted_answers_are_stated() -> None:
    """A fact with several accepted answers is stated with each of them."""
    fact = Fact.create("Who?", ["Ann", "Anna B"], relation="x")
    joined = " ".join(documents([LabFact(fact, 40)], random.Random(0)))
    assert "Anna B" in joined
    assert joined.count("Ann") == 40


def test_drawn_exposures_are_reproducible() -> None:
    """Facts of a user's own get the same doses for the same seed, and others for another."""
    facts = [row.fact for row in _facts(*[0] * 60)]
    assert draw_exposures(facts, 3) == draw_exposures(facts, 3)
    assert draw_exposures(facts, 3) != draw_exposures(facts, 4)
