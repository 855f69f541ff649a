"""slick.terminal: numbers that rounding does not turn into others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.statistics import Interval
from slick.terminal import expected_share, interval, percent, print_table, share


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 1, "0.0"),
        (1.0, 1, "100.0"),
        (0.0004, 1, "<0.1"),
        (0.0005, 1, "0.1"),
        (0.9996, 1, ">99.9"),
        (0.9994, 1, "99.9"),
        (0.123, 1, "12.3"),
        (0.004, 0, "<1"),
        (0.996, 0, ">99"),
        (1e-9, 3, "<0.001"),
        (1 - 1e-9, 3, ">99.999"),
    ],
)
def test_a_share_in_percent(value: float, digits: int, text: str) -> None:
    """0 and 100 are printed for exactly 0 and 1."""
    assert percent(value, digits) == text


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(0, 3))
def test_no_share_is_rounded_to_an_edge(counts: tuple[int, int], digits: int) -> None:
    """Some are not none, and most are not all."""
    right, n = counts
    text = percent(right / n, digits)
    assert (text == percent(0.0, digits)) is (right == 0)
    assert (text == percent(1.0, digits)) is (right == n)


def test_an_undefined_interval_says_so() -> None:
    """Never ±0."""
    assert interval(None) == "undefined"
    assert interval(Interval(0.123, 0.4567)) == "[12.3, 45.7]"


def test_the_ends_of_an_interval_are_not_rounded_to_an_edge() -> None:
    """An interval that stops short of 0 or 100 does not seem to reach it."""
    assert interval(Interval(0.0001, 0.9999)) == "[<0.1, >99.9]"
    assert interval(Interval(0.0, 1.0)) == "[0.0, 100.0]"


def test_a_share_of_facts_comes_with_its_interval() -> None:
    """Count, percentage and Wilson's 90 % interval; undefined for no facts."""
    assert share(1 / 3, 12) == ("4", "33.3", "[15.9, 56.9]")
    assert share(0.0, 0) == ("0", "0.0", "undefined")


def test_an_expected_share_has_an_expected_count() -> None:
    """A mean chance is no count; chances that are all alike, or all next to 0, do not make its interval vanish."""
    assert expected_share(1 / 3, 10) == ("3.3", "33.3", "[14.8, 58.9]")
    assert expected_share(0.0001, 10) == ("<0.1", "<0.1", "[<0.1, 21.3]")
    assert expected_share(0.0, 0) == ("0.0", "0.0", "undefined")


def test_a_table_prints_text_and_obeys_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Names come from files that others wrote: brackets are shown, not obeyed."""
    print_table("Title", ("", "share"), [("[red]name[/red]", "1.0"), ("[/]", "2.0")])
    out = capsys.readouterr().out
    assert "[red]name[/red]" in out
    assert "[/]" in out
    assert "Title" in out
