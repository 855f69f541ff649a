"""Text from outside, made harmless to look at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick_reports.text import SHORT, short, visible, without_surrogates


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Paris", "Paris"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x00\x1b[31m", "\\x00\\x1b[31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("مرحبا", "مرحبا"),
        ("نمی\u200cدانم", "نمی\u200cدانم"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("é ß 東京", "é ß 東京"),
    ],
)
def test_invisible_characters_become_escapes_and_letters_of_any_script_stay(text: str, shown: str) -> None:
    """What cannot be seen or reorders its surroundings is spelled out; what can be read is left alone."""
    assert visible(text) == shown


def test_long_text_is_cut_and_says_how_long_it_was() -> None:
    """A line of 100 kB does not become a page of it."""
    assert short("x" * 100_000) == "x" * SHORT + "… [cut: 100,000 characters]"


def test_text_at_the_limit_is_whole() -> None:
    """Nothing is said of a cut that did not happen."""
    assert visible("x" * 50, 50) == "x" * 50


@given(st.text(st.characters(), max_size=60))
def test_what_is_shown_is_one_printable_line_that_utf_8_can_hold(text: str) -> None:
    """Whatever comes in, no control, line break, bidirectional mark or surrogate comes out."""
    shown = visible(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in shown)


@given(st.text(st.characters(), max_size=60))
def test_showing_twice_is_showing_once(text: str) -> None:
    """A text that passes two layers is not escaped twice."""
    assert visible(visible(text)) == visible(text)


def test_only_surrogates_are_spelled_out_for_json() -> None:
    """JSON escapes the rest by itself, and a reader gets it back."""
    assert without_surrogates("a\x00\u202e\ud800") == "a\x00\u202e\\ud800"
