"""Fine-tuning datasets as they lie on disk: JSON Lines, JSON, CSV, Parquet, a `datasets` directory.

A source knows where each of its rows stands, and can be written again with some rows changed and everything else as
it was: text keeps every other byte, Parquet and `datasets` keep their schema. What the rows mean is not decided here
(see `slick_sft.lint.shapes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick_sft.lint.edits import Edit


@dataclass(frozen=True, slots=True)
class Row:
    """number: from 1. line: where it begins in a file of text, else None."""

    number: int
    line: int | None
    cells: Mapping[str, Any]


@dataclass
class Source(ABC):
    """One dataset. format: what it is, in a word. notes: what a user should know of how it was read."""

    path: Path
    format: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def where(self, row: Row) -> str:
        """File and line, or row number, as an error shows it."""
        return f"{self.path}:{row.line}" if row.line else f"{self.path} row {row.number}"

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of what was read."""

    @abstractmethod
    def write(self, edits: Mapping[int, Edit], out: Path) -> None:
        """Writes the dataset to `out`, in its own format, with rows changed. edits: by place in `rows`.

        `out` is a temporary path that nobody reads yet.
        """
