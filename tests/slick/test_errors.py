"""slick.errors: one family of errors, and all mistakes of one input together."""

from __future__ import annotations

import pytest

from slick import errors
from slick.errors import InputError, Mistakes, RunError, SlickError


def test_the_exit_codes_are_the_documented_ones() -> None:
    """Scripts depend on these numbers."""
    assert [getattr(errors, f"EXIT_{name}") for name in ("PASS", "QUALITY", "INPUT", "INCONCLUSIVE", "RUN")] == [
        *(0, 1, 2, 3, 4),
    ]


@pytest.mark.parametrize(("error", "code"), [(SlickError, 4), (InputError, 2), (RunError, 4)])
def test_each_error_knows_its_exit_code(error: type[SlickError], code: int) -> None:
    """The command line needs nothing but the error itself, and no error passes for a verdict (1)."""
    assert error.exit_code == code
    assert issubclass(error, SlickError)


def test_no_mistakes_raise_nothing() -> None:
    """An input without mistakes passes."""
    with Mistakes("x:") as mistakes:
        pass
    mistakes.raise_if_any()


def test_all_mistakes_are_raised_together_under_what_they_are_about() -> None:
    """One line each, in order, below the headline."""
    mistakes = Mistakes("facts.jsonl:")
    mistakes.add("one")
    mistakes.extend(["two", "three"])
    with pytest.raises(InputError, match=r"^facts\.jsonl:\n  one\n  two\n  three$"), mistakes:
        pass


@pytest.mark.parametrize(
    ("n", "shown", "rest"), [(20, 20, ""), (21, 20, "\n  … and 1 more"), (1000, 20, "\n  … and 980 more")]
)
def test_a_long_list_is_cut_and_counted(n: int, shown: int, rest: str) -> None:
    """No terminal is flooded, and no number is hidden."""
    mistakes = Mistakes("x:")
    mistakes.extend(f"m{i}" for i in range(n))
    with pytest.raises(InputError, match=r"^x:\n") as raised:
        mistakes.raise_if_any()
    assert str(raised.value) == "x:\n" + "\n".join(f"  m{i}" for i in range(shown)) + rest


def test_the_limit_can_be_chosen() -> None:
    """A caller whose list must be whole can say so."""
    with pytest.raises(InputError, match=r"m1\n  … and 1 more$"), Mistakes("x:", limit=2) as mistakes:
        mistakes.extend(["m0", "m1", "m2"])


def test_another_error_inside_is_not_hidden_by_mistakes() -> None:
    """What went wrong unforeseen passes through as it is."""
    mistakes = Mistakes("x:")
    mistakes.add("one")
    with pytest.raises(KeyError, match="unforeseen"), mistakes:
        raise KeyError("unforeseen")
