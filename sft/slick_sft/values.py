"""Single values of recipes, grids and policies: each is read as what it must be, or it is said what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from slick.rows import nearest


class MisfitError(Exception):
    """A value that does not fit.

    expected: what would have fitted, in words; meant: the name that was probably meant, as a clause behind it, or "".
    Whoever reads knows where the value stands, and makes the message.
    """

    def __init__(self, expected: str, meant: str = "") -> None:
        self.expected = expected
        self.meant = meant
        super().__init__(expected + meant)


def number(value: object) -> float:
    """A number, also as the text that YAML 1.1 makes of 1e-5."""
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise MisfitError("a number")


def between(low: float, high: float, what: str, *, closed: bool = False) -> Callable[[object], float]:
    """Reads a number above `low` (or `low` itself, if `closed`) and below `high`, called `what`."""

    def read(value: object) -> float:
        try:
            found = number(value)
        except MisfitError:
            raise MisfitError(what) from None
        if low < found < high or (closed and found == low):
            return found
        raise MisfitError(what)

    return read


def whole(value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise MisfitError("a whole number")
    return value


def whole_from(least: int) -> Callable[[object], int]:
    """Reads a whole number of at least `least`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise MisfitError(f"a whole number of at least {least}")
        return value

    return read


def text(value: object) -> str:
    """A text on one line, without the spaces around it."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise MisfitError("a text on one line")
    return value.strip()


def flag(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise MisfitError("true or false")
    return value


def one_of(names: Iterable[str]) -> Callable[[object], str]:
    """Reads one of these names."""
    known = list(map(str, names))

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise MisfitError(f"one of {', '.join(known)}", nearest(value, known) if isinstance(value, str) else "")
        return value

    return read
