"""A text that can become a right answer is never given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.accepted import Accepted
from slick.matching import Matching, is_right

_EDGES = st.text(alphabet=" \t\x0b\x85\xa0\u2003\u3000", max_size=3)
_ANSWERS = st.text(alphabet="abthen AÉéΣσς'.,-_ \u3000x", min_size=1, max_size=8)
# What SQuAD's normalisation removes may stand anywhere between the words of a right answer.
_NOISE = st.sampled_from(["", " ", "the ", " a ", "an ", ".", "'", "-", "  "])


@given(answer=_ANSWERS, before=_EDGES, after=_EDGES)
def test_every_start_of_a_strictly_right_text_is_viable(answer: str, before: str, after: str) -> None:
    """However it is padded with white space, cut after any byte."""
    text = before + answer + after
    accepted = Accepted([answer, "other"])
    if is_right(text, [answer]):
        assert all(accepted.viable(text.encode()[:n]) for n in range(len(text.encode()) + 1))


@given(answer=_ANSWERS, noise=st.lists(_NOISE, min_size=9, max_size=9), upper=st.booleans())
def test_every_start_of_a_normally_right_text_is_viable(answer: str, noise: list[str], upper: bool) -> None:
    """Articles, punctuation, case and white space wherever the policy overlooks them."""
    text = noise[-1] + "".join(c + n for c, n in zip(answer, noise, strict=False))
    text = text.upper() if upper else text
    accepted = Accepted([answer, "other"], Matching.NORMALIZED)
    if is_right(text, [answer, "other"], Matching.NORMALIZED):
        assert all(accepted.viable(text.encode()[:n]) for n in range(len(text.encode()) + 1))


@pytest.mark.parametrize(
    ("text", "viable"),
    [("", True), (" Par", True), ("\u3000Paris ", True), ("Paris, ", False), ("paris", False), ("Parisian", False)],
)
def test_strict_gives_up_at_the_first_wrong_character(text: str, viable: bool) -> None:
    """Exact match, but for white space at the edges."""
    assert Accepted(["Paris"]).viable(text.encode()) is viable


@pytest.mark.parametrize(
    ("text", "viable"),
    [("The Eif", True), ("eiffel-t", False), ("Eiffel the tow", True), ("Eifel ", False), ("x", False)],
)
def test_normalized_gives_up_where_a_word_cannot_be_mended(text: str, viable: bool) -> None:
    """Words that differ after normalisation end the walk."""
    assert Accepted(["Eiffel Tower"], Matching.NORMALIZED).viable(text.encode()) is viable


def test_the_remainder_is_what_the_first_fitting_answer_lacks() -> None:
    """White space in front does not count, and an answer that does not fit is passed over."""
    accepted = Accepted(["Rome", "Paris"])
    assert accepted.remainder(b" Pa") == b"ris"
    assert accepted.remainder(b"") == b"Rome"
    assert accepted.remainder(b"Oslo") == b""


def test_the_first_line_is_judged() -> None:
    """Text behind a line end is not read."""
    accepted = Accepted(["Paris"])
    assert accepted.right(b" Paris\nQ: and")
    assert not accepted.right(b"\nParis")
