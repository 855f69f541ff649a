"""How numbers are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.statistics import Estimate, Interval
from slick_reports import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.0"),
        (1e-17, "0.0"),
        (0.1234, "+12.3"),
        (-0.1234, "−12.3"),
        (0.0003, "+0.03"),
        (-0.0003, "−0.03"),
        (-0.99996, "−99.996"),
        (-1.0, "−100.0"),
    ],
)
def test_points_keep_their_sign_and_never_round_to_an_edge(value: float | None, text: str) -> None:
    """A small difference is not 0, and one that is almost everything is not everything."""
    assert wording.points(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.0"), (0.0001, "<0.1"), (0.9999, ">99.9"), (1.0, "100.0"), (0.612, "61.2")],
)
def test_percentages_never_round_to_an_edge(value: float | None, text: str) -> None:
    """As in the terminal's tables; a group without facts has a dash and not 0."""
    assert wording.percent(value) == text


@given(st.floats(-1, 1, allow_nan=False))
def test_points_print_zero_and_hundred_only_for_themselves(value: float) -> None:
    """The rule holds for every difference above the noise of the arithmetic."""
    text = wording.points(value).lstrip("+−")
    if abs(value) > 1e-13:
        assert float(text) != 0
    if abs(abs(value) - 1) > 1e-13:
        assert float(text) != 100


@given(st.floats(-1, 1, allow_nan=False))
def test_the_sign_printed_is_the_sign_meant(value: float) -> None:
    """An interval that excludes 0 is seen to."""
    text = wording.points(value)
    assert text.startswith("−") == (value < -5e-15)
    assert text.startswith("+") == (value > 5e-15)


def test_an_undefined_interval_says_so() -> None:
    """It is never printed as ±0."""
    estimate = Estimate(0.5, None, 1, "undefined")
    assert wording.estimate_points(estimate) == "+50.0 undefined"
    assert wording.estimate_percent(estimate) == "50.0 undefined"
    assert wording.points_limits(None) == "undefined"


def test_estimates_carry_their_interval() -> None:
    """Value first, limits in brackets."""
    estimate = Estimate(-0.123, Interval(-0.15, -0.0921), 400, "Tango")
    assert wording.estimate_points(estimate) == "−12.3 [−15.0, −9.2]"
    assert wording.points_limits(estimate.interval) == "−15.0 to −9.2"
    share = Estimate(0.5, Interval(0.0004, 1.0), 400, "Wilson")
    assert wording.estimate_percent(share) == "50.0 [<0.1, 100.0]"
    assert wording.estimate_points(None) == wording.estimate_percent(None) == "–"


@pytest.mark.parametrize(("value", "runs", "text"), [(1204.0, 1, "1,204"), (31.333, 3, "31.3"), (62.0, 3, "62.0")])
def test_counts_have_a_decimal_where_they_are_means(value: float, runs: int, text: str) -> None:
    """One run loses whole facts; seeds lose facts on average."""
    assert wording.count(value, runs) == text


def test_levels_are_percentages() -> None:
    """Of an interval, as a sentence says it."""
    assert wording.level(0.9) == "90 %"
    assert wording.level(0.995) == "99.5 %"
