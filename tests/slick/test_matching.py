"""slick.matching: what counts as a right answer, and what as abstaining."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.matching import ABSTENTIONS, Matching, first_line, is_abstention, is_right, normalize

STRICT, NORMALIZED = Matching.STRICT, Matching.NORMALIZED


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("Paris", "Paris"),
        (" Paris", "Paris"),
        ("Paris\nQ: next", "Paris"),
        ("Paris\r\nQ: next", "Paris"),
        ("Paris\r", "Paris"),
        ("\t Paris \n", "Paris"),
        ("", ""),
        ("\nParis", ""),
        (" \nParis", ""),
        ("\r\nParis", ""),
        ("New  York", "New  York"),
        ("\u00a0Paris\u2003", "Paris"),
    ],
)
def test_the_answer_is_the_first_line_and_then_stripped(output: str, answer: str) -> None:
    """An output that begins with a line break is empty: the line is cut first, white space second."""
    assert first_line(output) == answer


@pytest.mark.parametrize(
    ("output", "accepted", "strict", "normalized"),
    [
        (" Paris", ["Paris"], True, True),
        (" Paris\nQ: more", ["Paris"], True, True),
        (" Paris", [" Paris "], True, True),
        (" Rome", ["Paris"], False, False),
        (" Rome", ["Paris", "Rome"], True, True),
        (" paris", ["Paris"], False, True),
        (" Paris.", ["Paris"], False, True),
        (" The Hague", ["Hague"], False, True),
        (" U.S.A.", ["USA"], False, True),
        (" New   York", ["New York"], False, True),
        (" Zürich", ["Zurich"], False, False),
        (" Paris, France", ["Paris"], False, False),
        (" Paris", ["Paris, France"], False, False),
        (" It is Paris", ["Paris"], False, False),
        (" Parisian", ["Paris"], False, False),
        ("\n Paris", ["Paris"], False, False),
        ("", ["Paris"], False, False),
        (" Paris", [], False, False),
    ],
)
def test_what_is_right_under_each_policy(output: str, accepted: list[str], strict: bool, normalized: bool) -> None:
    """Strict is character by character; normalized forgives case, punctuation, articles and spaces, no more."""
    assert is_right(output, accepted, STRICT) is strict
    assert is_right(output, accepted, NORMALIZED) is normalized


@pytest.mark.parametrize(
    ("output", "accepted", "right"),
    [
        ("", "The The", False),
        ("\n", "The The", False),
        (" a", "The The", False),
        (" !", "The The", False),
        (" The The", "The The", True),
        (" the the", "The The", False),
        (" A", "A", True),
        (" !!!", "!!!", True),
        (" ", "!!!", False),
    ],
)
def test_an_answer_that_normalises_to_nothing_is_compared_as_it_stands(output: str, accepted: str, right: bool) -> None:
    """Otherwise silence, or any article, would be a right answer."""
    assert is_right(output, [accepted], NORMALIZED) is right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Beatles", "beatles"),
        ("A an the", ""),
        ("theatre", "theatre"),
        ("Rock'n'Roll", "rocknroll"),
        ("AC/DC", "acdc"),
        ("  two\t words\n", "two words"),
        ("e-mail", "email"),
        ("the-end", "theend"),
        ("ÉTÉ", "été"),
    ],
)
def test_normalisation_is_that_of_squad(text: str, expected: str) -> None:
    """Lower case, no ASCII punctuation, no English articles, single spaces; in this order."""
    assert normalize(text) == expected


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    """Normalisation is idempotent for any text."""
    assert normalize(normalize(text)) == normalize(text)


@given(st.text(alphabet="anthe .-!İΣßA\u0301", max_size=12))
def test_normalising_twice_is_normalising_once_around_articles(text: str) -> None:
    """Taking out punctuation, articles and spaces leaves no new article behind."""
    assert normalize(normalize(text)) == normalize(text)


@given(st.text(min_size=1).filter(lambda t: first_line(t) == t.strip() != ""), st.text())
def test_strict_right_is_normalized_right(answer: str, rest: str) -> None:
    """What strict matching accepts, normalized matching accepts too, whatever follows the first line."""
    output = f" {answer.strip()}\n{rest}"
    assert is_right(output, [answer], STRICT)
    assert is_right(output, [answer], NORMALIZED)


@given(st.text(), st.lists(st.text(max_size=5), max_size=4), st.sampled_from(Matching))
def test_the_order_of_accepted_answers_does_not_matter(output: str, accepted: list[str], matching: Matching) -> None:
    """Any accepted answer is as good as the first."""
    assert is_right(output, accepted, matching) == is_right(output, accepted[::-1], matching)


@pytest.mark.parametrize(
    ("output", "abstains"),
    [
        ("", True),
        (" \nParis", True),
        (" I don't know", True),
        (" I don't know.", True),
        (" I DO NOT KNOW!", True),
        (" Unknown", True),
        (" unknown\nQ: next", True),
        (" I don't know the answer", True),
        (" No idea", True),
        (" Paris", False),
        (" I don't know, Paris", False),
        (" The Unknown Soldier", False),
        (" Noidea", False),
    ],
)
def test_what_abstains(output: str, abstains: bool) -> None:
    """An answer abstains when its normalised first line is one of the listed phrases, or is empty."""
    assert is_abstention(output) is abstains


def test_abstentions_are_written_as_they_are_compared() -> None:
    """Every listed phrase is its own normalisation; another spelling could never be met."""
    assert {normalize(phrase) for phrase in ABSTENTIONS} == ABSTENTIONS
