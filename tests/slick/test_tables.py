"""slick.tables: rows as they stand in JSON Lines, JSON, Parquet and `datasets` directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slick.errors import InputError, Mistakes
from slick.tables import Table, read_table

ROWS: list[dict[str, Any]] = [
    {"question": "Where is A?", "answers": ["B"], "relation": "P131", "extra": 1},
    {"question": "Where is Ä?", "answers": ["C", "D"], "relation": "P131", "extra": 2},
]


def read(path: Path) -> Table:
    """The table of a file in which every row can be read."""
    with Mistakes("unreadable:") as mistakes:
        return read_table(path, mistakes)


def mistakes_in(path: Path) -> list[str]:
    mistakes = Mistakes("unreadable:")
    read_table(path, mistakes)
    return mistakes.messages


def save_dataset(rows: list[dict[str, Any]], path: Path) -> Path:
    import datasets

    datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".JSONL", ".json", ".parquet", ""])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """A row's cells are the same from each format; where they stand is named by line or row number."""
    path = tmp_path / f"facts{suffix}"
    match suffix.lower():
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        case ".json":
            path.write_text(json.dumps(ROWS))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), path)
        case _:
            save_dataset(ROWS, path)
    table = read(path)
    assert list(table.columns) == ["question", "answers", "relation", "extra"]
    assert [row.cells["question"] for row in table.rows] == ["Where is A?", "Where is Ä?"]
    assert [row.cells["answers"] for row in table.rows] == [["B"], ["C", "D"]]
    separator = ":" if suffix.lower() == ".jsonl" else " row "
    assert [row.where for row in table.rows] == [f"{path}{separator}1", f"{path}{separator}2"]


def test_columns_that_no_fact_has_are_not_read(tmp_path: Path) -> None:
    """A Parquet file's other columns are seen, and left unread."""
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    table = read(tmp_path / "x.parquet")
    assert "extra" in table.columns
    assert set(table.rows[0].cells) == {"question", "answers", "relation"}


def test_rows_of_a_dataset_dict_know_their_split(tmp_path: Path) -> None:
    """Each row of a DatasetDict carries the name of its split, and where it stands says so."""
    import datasets

    parts = {"train": datasets.Dataset.from_list(ROWS), "validation": datasets.Dataset.from_list(ROWS[:1])}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    table = read(tmp_path / "d")
    assert [row.split for row in table.rows] == ["train", "train", "validation"]
    assert table.rows[2].where == f"{tmp_path / 'd'}[validation] row 1"


def test_a_dataset_saved_after_selection_gives_its_selection(tmp_path: Path) -> None:
    """Rows that were filtered out before saving stay out."""
    import datasets

    datasets.Dataset.from_list(ROWS * 5).select([3, 8]).save_to_disk(str(tmp_path / "d"))
    assert [row.cells["question"] for row in read(tmp_path / "d").rows] == ["Where is Ä?", "Where is A?"]


def test_json_lines_may_hold_a_byte_order_mark_blank_lines_and_any_line_end(tmp_path: Path) -> None:
    """What editors on other systems write is read, and lines keep their numbers."""
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"question": "a"}\r\n\r\n  \n{"question": "b"}')
    assert [row.where[-2:] for row in read(tmp_path / "x.jsonl").rows] == [":1", ":4"]


def test_json_lines_are_split_at_newlines_only(tmp_path: Path) -> None:
    """Other line separators may stand inside a JSON string."""
    text = "a\u2028b\u0085c\x0b"
    (tmp_path / "x.jsonl").write_text(json.dumps({"question": text}, ensure_ascii=False) + "\n", "utf-8")
    assert [row.cells["question"] for row in read(tmp_path / "x.jsonl").rows] == [text]


def test_every_unreadable_line_is_named(tmp_path: Path) -> None:
    """Half-written, non-UTF-8, non-object, too deep and absurd lines are all reported; good ones are kept."""
    lines = [
        b'{"question": "good"}',
        b'{"question": "half',
        b'{"question": "\xe4"}',
        b'["question"]',
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"3",
    ]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = mistakes_in(path)
    assert [message.split(": ")[0].removeprefix(f"{path}:") for message in found] == [
        *("2:14", "3", "4", "5", "6", "7"),
    ]
    assert "the line may be half-written" in found[0]
    assert "not UTF-8 (byte 15 of the line)" in found[1]
    assert "found a JSON list, expected an object" in found[2]
    assert "found a JSON number" in found[5]


def test_a_json_file_must_hold_a_list(tmp_path: Path) -> None:
    """An object in place of the list of rows is said to be one."""
    (tmp_path / "x.json").write_text('{"data": []}')
    with pytest.raises(InputError, match=r"x\.json: found a JSON object, expected a list of objects"):
        read(tmp_path / "x.json")


def test_a_half_written_json_file_is_named_with_its_place(tmp_path: Path) -> None:
    """Line and column of the break are given."""
    (tmp_path / "x.json").write_text('[\n{"question": "a"},\n{"quest')
    with pytest.raises(InputError, match=r"x\.json:3:2: not JSON .*may be half-written"):
        read(tmp_path / "x.json")


def test_json_lines_under_the_name_json_get_a_hint(tmp_path: Path) -> None:
    """The commonest mix-up is answered with the name to give."""
    (tmp_path / "x.json").write_text('{"question": "a"}\n{"question": "b"}\n')
    with pytest.raises(InputError, match=r"name the file \.jsonl"):
        read(tmp_path / "x.json")


@pytest.mark.parametrize("content", [b"\xff[]", b"[" * 100_000, b"[" + b"9" * 5000 + b"]"])
def test_a_json_file_that_cannot_be_read_is_one_error(tmp_path: Path, content: bytes) -> None:
    """Not UTF-8, nested without end, a number without end: InputError with the file's name."""
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: not (UTF-8|readable JSON)"):
        read(tmp_path / "x.json")


def test_rows_of_a_json_list_that_are_no_objects_are_named(tmp_path: Path) -> None:
    """Each is reported by its number."""
    (tmp_path / "x.json").write_text('[{"question": "a"}, null, "b", true]')
    assert [message.split(str(tmp_path))[1] for message in mistakes_in(tmp_path / "x.json")] == [
        f"/x.json row {number}: found a JSON {kind}, expected an object with question and answers"
        for number, kind in ((2, "null"), (3, "string"), (4, "boolean"))
    ]


def test_text_in_parquet_that_is_not_utf_8_stays_bytes(tmp_path: Path) -> None:
    """Only the cells concerned are spoilt, so that the error can name their rows."""
    text = pa.array([b"fine", b"\xff"], pa.binary()).view(pa.string())
    lists = pa.array([[b"\xfe"], [b"fine"]], pa.list_(pa.binary())).view(pa.list_(pa.string()))
    pq.write_table(pa.table({"question": text, "answers": lists}), tmp_path / "x.parquet")
    rows = read(tmp_path / "x.parquet").rows
    assert [dict(row.cells) for row in rows] == [
        {"question": "fine", "answers": [b"\xfe"]},
        {"question": b"\xff", "answers": ["fine"]},
    ]


def test_large_types_of_arrow_are_read(tmp_path: Path) -> None:
    """Files of writers that use 64-bit offsets give the same cells, spoilt or not."""
    table = pa.Table.from_pylist(ROWS).select(["question", "answers"])
    large = table.cast(pa.schema([("question", pa.large_string()), ("answers", pa.large_list(pa.large_string()))]))
    pq.write_table(large, tmp_path / "x.parquet")
    assert [row.cells["answers"] for row in read(tmp_path / "x.parquet").rows] == [["B"], ["C", "D"]]


def test_damaged_parquet_is_an_input_error_wherever_it_is_damaged(tmp_path: Path) -> None:
    """A file cut anywhere, or with a turned byte, is read or refused; it never crashes the reader."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS * 20), path)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            try:
                read(path)
            except InputError as error:
                refused += str(error).startswith(f"{path}: not readable as Parquet (")
    assert refused > len(whole) / 7  # every cut file, at least


def test_damaged_offsets_in_a_dataset_are_refused(tmp_path: Path) -> None:
    """Lengths that point out of the file are found before they are followed into foreign memory."""
    path = save_dataset(ROWS * 20, tmp_path / "d")
    file = next(path.glob("*.arrow"))
    content = file.read_bytes()
    # The offsets of the questions (11 bytes each, then 12): the third is turned into one far outside.
    offsets = b"".join(offset.to_bytes(4, "little") for offset in (0, 11, 23, 34))
    assert content.count(offsets) == 1
    file.write_bytes(content.replace(offsets, offsets[:8] + b"\xff\xff\xff\x7f" + offsets[12:]))
    with pytest.raises(InputError, match="not readable as a `datasets` directory"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("state.json", content) for content in ("", "{", "[]", "{}", '"x"', '{"_data_files": [3]}')),
        *(("dataset_info.json", content) for content in ("", "{", "[]", '"x"', '{"features": 3}')),
        *(("dataset_dict.json", content) for content in ("", "[]", "{}", '{"splits": [3]}')),
    ],
)
def test_broken_papers_of_a_dataset_are_refused(tmp_path: Path, name: str, content: str) -> None:
    """Half-written or foreign JSON beside the data is an InputError, not a traceback."""
    path = save_dataset(ROWS, tmp_path / "d")
    (path / name).write_text(content)
    with pytest.raises(InputError, match="write it again by save_to_disk"):
        read(path)


def test_a_dataset_cannot_name_files_outside_its_directory(tmp_path: Path) -> None:
    """Paths in state.json and dataset_dict.json that lead elsewhere are refused."""
    path = save_dataset(ROWS, tmp_path / "d")
    (name,) = (file.name for file in path.glob("*.arrow"))
    (path / name).rename(tmp_path / name)
    state = (path / "state.json").read_text().replace(f'"{name}"', f'"../{name}"')
    (path / "state.json").write_text(state)
    with pytest.raises(InputError, match=r"the name '\.\./data-.*' leads out of the directory"):
        read(path)
    (path / "dataset_dict.json").write_text('{"splits": [".."]}')
    with pytest.raises(InputError, match=r"the name '\.\.' leads out of the directory"):
        read(path)


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    """A CSV file, and a directory of something else, are refused with what is accepted."""
    (tmp_path / "x.csv").write_text("question,answer\n")
    with pytest.raises(InputError, match=r"unknown format '\.csv'; expected \.jsonl, \.json, \.parquet"):
        read(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"neither an EntityQuestions copy .* nor a dataset"):
        read(tmp_path)
