"""slick.parts: whole chunks in part files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.parts import Extent, whole_chunks

TOTAL, CHUNK = 11, 3


def line(row: int) -> bytes:
    return (json.dumps({"doc_id": row, "text": "ü" * (row * 7)}, ensure_ascii=False) + "\n").encode()


def chunk_of(number: int) -> bytes:
    return b"".join(line(row) for row in range(number * CHUNK, min((number + 1) * CHUNK, TOTAL)))


def found(file: Path) -> list[tuple[int, Extent]]:
    return list(whole_chunks(file, chunk=CHUNK, total=TOTAL))


@given(st.permutations(range(4)), st.data())
def test_a_part_cut_at_any_byte_keeps_its_whole_chunks(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], data: st.DataObject
) -> None:
    """In whatever order they were written; their bytes and their lines come back as they were."""
    file = tmp_path_factory.mktemp("part") / "part"
    content = b"".join(chunk_of(number) for number in order)
    cut = data.draw(st.integers(0, len(content)))
    file.write_bytes(content[:cut])
    whole = found(file)
    sizes = [len(chunk_of(number)) for number in order]
    assert [number for number, _ in whole] == [n for i, n in enumerate(order) if sum(sizes[: i + 1]) <= cut]
    for number, extent in whole:
        copy = io.BytesIO()
        extent.copy(copy)
        assert copy.getvalue() == chunk_of(number) == b"".join(extent.lines())


@pytest.mark.parametrize(
    "behind",
    [
        b"{}\n",
        b"\n",
        b"x",
        line(4),
        line(12),
        line(99),
        line(6) + line(8),
        line(6) + line(9),
        b'{"text": 1, "doc_id": 6}\n',
    ],
)
def test_what_is_no_chunk_ends_a_part(tmp_path: Path, behind: bytes) -> None:
    """A row that is none, one out of its place, and whatever follows it."""
    file = tmp_path / "part"
    file.write_bytes(chunk_of(0) + behind + chunk_of(1))
    assert found(file) == [(0, Extent(file, 0, len(chunk_of(0))))]
