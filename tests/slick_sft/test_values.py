"""Values of recipes, grids and policies: what is taken for what, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slick_sft.values import MisfitError, between, flag, number, one_of, text, whole, whole_from

SHARE = between(0, 1, "from 0 to below 1", closed=True)
RATE = between(0, float("inf"), "a number above 0")


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (number, 2, 2.0),
        (number, "1e-5", 1e-5),  # a text to YAML 1.1
        (RATE, "1e-5", 1e-5),
        (RATE, 3, 3.0),
        (SHARE, 0, 0.0),
        (SHARE, 0.99, 0.99),
        (whole, -3, -3),
        (whole_from(1), 1, 1),
        (text, "  of one line ", "of one line"),
        (flag, False, False),
        (one_of(["full", "lora"]), "lora", "lora"),
    ],
)
def test_what_fits_is_taken(read: Callable[[object], Any], value: object, expected: object) -> None:
    """As what it is meant."""
    found = read(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("read", "values", "expected"),
    [
        (number, [None, True, "two", [], {}, 10**400], "a number"),
        (RATE, [0, -1, float("inf"), float("nan"), "x", True], "a number above 0"),
        (SHARE, [1, -0.1, None], "from 0 to below 1"),
        (whole, [True, 1.0, "1", None], "a whole number"),
        (whole_from(2), [1, False, 2.0, "2"], "a whole number of at least 2"),
        (text, ["", "  ", "two\nlines", 3, None], "a text on one line"),
        (flag, [0, 1, "true", None], "true or false"),
        (one_of(["full", "lora"]), [3, None, ["full"]], "one of full, lora"),
    ],
)
def test_what_does_not_fit_is_told_by_what_would(
    read: Callable[[object], Any], values: list[object], expected: str
) -> None:
    """Whatever it is instead."""
    for value in values:
        with pytest.raises(MisfitError) as caught:
            read(value)
        assert (caught.value.expected, caught.value.meant) == (expected, ""), value


def test_a_name_that_is_nearly_right_is_meant() -> None:
    """The clause stands apart, since each file puts it in a place of its own."""
    with pytest.raises(MisfitError) as caught:
        one_of(["full", "lora"])("lorra")
    assert (caught.value.expected, caught.value.meant) == ("one of full, lora", "; did you mean 'lora'?")
    assert str(caught.value) == "one of full, lora; did you mean 'lora'?"
