"""The samples of an unfinished run: chunks of rows in part files, in whatever order they came.

A row bears its number ("doc_id", first in its line), which says to which chunk it belongs. A part holds whole
chunks one after the other; what stands behind the last whole one was cut off and does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_NUMBER = re.compile(rb'\{"doc_id": (\d+)[,}]')
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a chunk stands."""

    file: Path
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size

    def lines(self) -> Iterator[bytes]:
        with self.file.open("rb") as file:
            file.seek(self.start)
            while file.tell() < self.end:
                yield file.readline()

    def copy(self, target: IO[bytes]) -> None:
        with self.file.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left and (block := file.read(min(left, _BLOCK))):
                target.write(block)
                left -= len(block)


def whole_chunks(file: Path, *, chunk: int, total: int) -> Iterator[tuple[int, Extent]]:
    """(number, place) of every whole chunk in a part of a run of `total` rows, `chunk` rows each."""
    with file.open("rb") as lines:
        start = position = expected = 0
        end = 0  # the row behind the chunk that is being read; 0 between chunks
        for line in lines:
            found = _NUMBER.match(line)
            if not found or not line.endswith(b"\n"):
                return
            row = int(found[1])
            if not end:
                if row % chunk or row >= total:
                    return
                start, expected, end = position, row, min(row + chunk, total)
            if row != expected:
                return
            expected += 1
            position += len(line)
            if expected == end:
                yield (end - 1) // chunk, Extent(file, start, position - start)
                end = 0
