"""One family of errors, and the exit codes that the command line turns them into.

Libraries raise; only `slick.cli` prints and exits.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

EXIT_PASS = 0
EXIT_QUALITY = 1
EXIT_INPUT = 2
EXIT_INCONCLUSIVE = 3
EXIT_RUN = 4


class SlickError(Exception):
    """Something the user can act on; the message says what was found, expected, and how to mend it."""

    exit_code = EXIT_RUN


class InputError(SlickError):
    """A file, column, setting or path that the user gave is wrong."""

    exit_code = EXIT_INPUT


class RunError(SlickError):
    """A run started on good input and could not be finished."""

    exit_code = EXIT_RUN


class Mistakes:
    """Collects every mistake of one input and raises them together.

    Used as a context manager: leaving the block raises one `InputError` that lists them all
    (up to `limit`, then a count of the rest). An exception inside the block passes through.
    """

    def __init__(self, what: str, *, limit: int = 20) -> None:
        self.what = what
        self.limit = limit
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        self.messages.append(message)

    def extend(self, messages: Iterable[str]) -> None:
        self.messages.extend(messages)

    def raise_if_any(self) -> None:
        if not self.messages:
            return
        shown = self.messages[: self.limit]
        rest = len(self.messages) - len(shown)
        lines = [self.what, *(f"  {m}" for m in shown)]
        if rest:
            lines.append(f"  … and {rest} more")
        raise InputError("\n".join(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.raise_if_any()
