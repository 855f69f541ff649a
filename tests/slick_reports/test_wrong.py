"""Kinds of wrong answers."""

from __future__ import annotations

import pytest

from slick.facts import Fact
from slick.matching import Matching
from slick_reports.wrong import KINDS, TOLD, Entities, Kind, matching_of

FACTS = [
    Fact.create("Capital of France?", ["Paris"], relation="capital"),
    Fact.create("Capital of Italy?", ["Rome", "Roma"], relation="capital"),
    Fact.create("Who wrote it?", ["Dante"], relation="author"),
]


@pytest.mark.parametrize(
    ("answer", "abstained", "kind"),
    [
        ("Rome", False, Kind.ENTITY),
        ("Roma", False, Kind.ENTITY),
        ("Roma\nand more", False, Kind.ENTITY),
        ("rome", False, Kind.OTHER),
        ("Dante", False, Kind.OTHER),
        ("Madrid", False, Kind.ECHO),
        ("Madrid", True, Kind.ABSTAINED),
        ("", True, Kind.ABSTAINED),
        ("", False, Kind.OTHER),
        ("Rome is large", False, Kind.OTHER),
    ],
)
def test_a_wrong_answer_is_of_the_first_kind_that_fits(answer: str, abstained: bool, kind: Kind) -> None:
    """Another relation's answer is none of ours; a part of one is none either."""
    entities = Entities(FACTS)
    training = entities.keys(["Madrid", ""])
    assert entities.kind(FACTS[0], answer, abstained=abstained, training=training) is kind


def test_an_answer_that_was_trained_on_is_an_echo_even_where_it_is_another_facts() -> None:
    """The more particular of the two is told."""
    entities = Entities(FACTS)
    assert entities.kind(FACTS[0], "Rome", abstained=False, training=entities.keys(["Rome"])) is Kind.ECHO


def test_the_policy_that_judged_also_tells_entities() -> None:
    """Normalized matching takes "the rome" for Rome; an answer with nothing left is compared as it stands."""
    entities = Entities([*FACTS, Fact.create("Band?", ["The The"], relation="capital")], Matching.NORMALIZED)
    assert entities.kind(FACTS[0], "the rome!", abstained=False) is Kind.ENTITY
    assert entities.kind(FACTS[0], "The The", abstained=False) is Kind.ENTITY
    assert entities.kind(FACTS[0], "a", abstained=False) is Kind.OTHER


@pytest.mark.parametrize(
    ("settings", "matching"),
    [
        ({"matching": "normalized"}, Matching.NORMALIZED),
        ({"matching": "strict"}, Matching.STRICT),
        ({"matching": "odd"}, Matching.STRICT),
        ({"matching": ["strict"]}, Matching.STRICT),
        ({}, Matching.STRICT),
    ],
)
def test_a_policy_that_is_not_known_is_strict(settings: dict[str, object], matching: Matching) -> None:
    """Settings come from files that others wrote."""
    assert matching_of(settings) is matching


def test_every_kind_has_words() -> None:
    """A page shows each of them."""
    assert set(TOLD) == set(KINDS) == set(Kind)
