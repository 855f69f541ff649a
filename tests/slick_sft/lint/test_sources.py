"""Datasets on disk: what is read of them, and what is written again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError, Mistakes
from slick_sft.lint.edits import Drop, Edit, Place, Relabel, Weigh
from slick_sft.lint.reading import read_source
from slick_sft.lint.sources import Source


def read(path: Path) -> Source:
    mistakes = Mistakes("bad rows:")
    source = read_source(path, mistakes)
    mistakes.raise_if_any()
    return source


def rewritten(source: Source, edits: dict[int, Edit], tmp_path: Path) -> bytes:
    source.write(edits, tmp_path / "again")
    return (tmp_path / "again").read_bytes()


LINES = (
    b'\xef\xbb\xbf{"question": "a\\u00e9\\/", "answer": " Rome "}\r\n'
    b"\n"
    b'  {"answer":"Oslo","question":"b"}  \n'
    b'{"question": "\xe2\x80\xa8c", "answer": "Bern", "weight": 2}'
)
ANSWER = Place(("answer",), 1, 5)


def test_json_lines(tmp_path: Path) -> None:
    """Rows know their lines; empty ones are skipped."""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    source = read(tmp_path / "a.jsonl")
    assert [(row.number, row.line, row.cells["question"]) for row in source.rows] == [
        (1, 1, "aé/"),
        (2, 3, "b"),
        (3, 4, "\u2028c"),
    ]
    assert source.where(source.rows[1]) == f"{tmp_path / 'a.jsonl'}:3"
    assert rewritten(source, {}, tmp_path) == LINES


@pytest.mark.parametrize(
    ("edits", "old", "new"),
    [
        ({0: Relabel((ANSWER,), "I don't know")}, b" Rome ", b" I don't know "),
        ({1: Drop()}, b'  {"answer":"Oslo","question":"b"}  \n', b""),
        ({2: Drop()}, LINES.split(b"\n")[-1], b""),
        ({2: Weigh(0)}, b'"weight": 2', b'"weight": 0'),
        ({1: Weigh(0.25)}, b'"question":"b"}', b'"question":"b","weight":0.25}'),
    ],
)
def test_an_edit_of_json_lines_changes_nothing_else(
    tmp_path: Path, edits: dict[int, Edit], old: bytes, new: bytes
) -> None:
    """Byte order mark, line ends, escapes and spaces of every other row, and of the row itself, stay."""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    assert rewritten(read(tmp_path / "a.jsonl"), edits, tmp_path) == LINES.replace(old, new)


def json_list(values: list[Any], indent: int | None) -> bytes:
    return b" " + json.dumps(values, indent=indent).encode() + b"\n"


@pytest.mark.parametrize("indent", [None, 2])
@given(dropped=st.sets(st.integers(0, 4), max_size=4))
def test_rows_dropped_from_a_list_leave_a_list(
    tmp_path_factory: pytest.TempPathFactory, indent: int | None, dropped: set[int]
) -> None:
    """The bytes are those of the list that is left, written as the whole one was."""
    values = [{"question": f"q{i}", "answer": "x, [y"} for i in range(5)]
    path = tmp_path_factory.mktemp("list")
    (path / "a.json").write_bytes(json_list(values, indent))
    found = rewritten(read(path / "a.json"), {i: Drop() for i in dropped}, path)
    assert found == json_list([value for i, value in enumerate(values) if i not in dropped], indent)


def test_edits_of_a_list(tmp_path: Path) -> None:
    """Rows know the lines they begin on; answers and weights are changed where they stand."""
    text = b'[\n  {\n    "question": "a", "answer": "Rome"\n  },\n\n  {"question": "b",\n "answers": ["x", "y"]}\n]'
    (tmp_path / "a.json").write_bytes(text)
    source = read(tmp_path / "a.json")
    assert [row.line for row in source.rows] == [2, 6]
    assert rewritten(source, {}, tmp_path) == text
    edits: dict[int, Edit] = {0: Relabel((Place(("answer",), 0, 4),), 'n"o'), 1: Relabel((Place(("answers",)),), "no")}
    assert rewritten(source, edits, tmp_path) == text.replace(b"Rome", b'n\\"o').replace(b'["x", "y"]', b'["no"]')
    weighed = rewritten(source, {0: Weigh(0), 1: Weigh(0)}, tmp_path)
    assert weighed == text.replace(b'"Rome"', b'"Rome", "weight": 0').replace(b'"y"]', b'"y"],\n "weight": 0')
    with pytest.raises(ValueError, match="nothing would be left"):
        source.write({0: Drop(), 1: Drop()}, tmp_path / "x")


CSV = b'\xef\xbb\xbfquestion,answer\r\n"a, ""b""",Rome\r\n\r\nb,"Oslo ""x"""\r\n"c\nd",Bern'


def test_csv(tmp_path: Path) -> None:
    """Every byte but the changed ones; a new column is added to every line."""
    (tmp_path / "a.csv").write_bytes(CSV)
    source = read(tmp_path / "a.csv")
    assert [(row.line, row.cells["question"]) for row in source.rows] == [(2, 'a, "b"'), (4, "b"), (5, "c\nd")]
    assert rewritten(source, {}, tmp_path) == CSV
    dropped = rewritten(source, {0: Drop(), 2: Drop()}, tmp_path)
    assert dropped == b'\xef\xbb\xbfquestion,answer\r\n\r\nb,"Oslo ""x"""\r\n'
    edits: dict[int, Edit] = {
        0: Relabel((Place(("answer",), 0, 4),), "no, no"),
        1: Relabel((Place(("answer",), 0, 4),), "n"),
    }
    assert rewritten(source, edits, tmp_path) == CSV.replace(b"Rome", b'"no, no"').replace(b"Oslo", b"n")
    weighed = rewritten(source, {1: Weigh(0)}, tmp_path)
    assert weighed == (
        b'\xef\xbb\xbfquestion,answer,weight\r\n"a, ""b""",Rome,1\r\n\r\nb,"Oslo ""x""",0\r\n"c\nd",Bern,1'
    )
    (tmp_path / "b.csv").write_bytes(weighed)
    again = rewritten(read(tmp_path / "b.csv"), {0: Weigh(0.5)}, tmp_path)
    assert again == weighed.replace(b"Rome,1", b"Rome,0.5")
    rows = list(csv.DictReader(io.StringIO(again.decode("utf-8-sig"))))
    assert [row["weight"] for row in rows] == ["0.5", "0", "1"]


def test_tabs_and_semicolons(tmp_path: Path) -> None:
    """A .tsv has tabs; in a .csv the header tells."""
    (tmp_path / "a.tsv").write_text("question\tanswer\na, b\tRome\n")
    (tmp_path / "a.csv").write_text("question;answer\na, b;Rome\n")
    for name in ("a.tsv", "a.csv"):
        assert read(tmp_path / name).rows[0].cells == {"question": "a, b", "answer": "Rome"}


@pytest.mark.parametrize(
    ("name", "content", "messages"),
    [
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": \n[1]\n{"a": "\xff"}\n3\n' + b"[" * 100_000,
            [
                "a.jsonl:2:",
                "not JSON",
                "a.jsonl:3: found [1], expected a JSON object",
                "a.jsonl:4: not UTF-8 (byte 8",
                "a.jsonl:5: found 3",
                "a.jsonl:6: not readable JSON",
            ],
        ),
        ("a.json", b'[{"a": 1},\n 3, "x"]', ["a.json:2: found 3, expected a JSON object", "a.json:2: found 'x'"]),
        (
            "a.json",
            b'[{"a": 1}\n {}]',
            ["a.json:2:2: not JSON (Expecting ',' delimiter); the file may be half-written"],
        ),
        ("a.json", b'{"a": 1}\n{"a": 2}', ["a.json:2:1: not JSON (Extra data); one JSON object a line is JSON Lines"]),
        ("a.json", b'{"a": [1]}', ["found JSON that is no list; expected a list of objects"]),
        ("a.json", b"\n\xff", ["a.json:2: not UTF-8"]),
        ("a.json", b"[" * 100_000, ["not readable JSON"]),
        (
            "a.csv",
            b'question,answer\na,b,c\n"a"b,c\nx\n\n"a\nb,c\n',
            [
                "a.csv:2: found 3 fields, expected 2 as in the header",
                "a.csv:3: text behind a closing quotation mark",
                "a.csv:4: found 1 fields",
                "a.csv:6: a quotation mark that is never closed",
            ],
        ),
        ("a.csv", b"a,a\n1,2\n", ["a.csv:1: the columns 'a' stand twice in the header"]),
        ("a.csv", b'a,"b\n1,2\n', ["a.csv:1: a quotation mark that is never closed, in the header"]),
        ("a.parquet", b"PAR1", ["a.parquet: not readable as Parquet"]),
        ("a.txt", b"", ["a.txt: unknown format '.txt'; expected .jsonl, .ndjson, .json, .csv"]),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, messages: list[str]) -> None:
    """Every bad row of a file at once, each with its line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    for message in messages:
        assert message in str(caught.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    """A missing file, and a directory of something else."""
    with pytest.raises(InputError, match=r"no such file or directory; expected \.jsonl"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"without a dataset written by save_to_disk"):
        read(tmp_path)


ROWS = [
    {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f" a{i}"}], "n": i}
    for i in range(4)
]
TOLD = Place(("messages", 1, "content"), 1, 3)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """With a schema that is not the default: metadata, a small integer, two row groups, another codec."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("role", pa.large_string()), pa.field("content", pa.string())])
    schema = pa.schema(
        [pa.field("messages", pa.list_(message), nullable=False), ("n", pa.int8())], metadata={"made": "by hand"}
    )
    pq.write_table(
        pa.Table.from_pylist(ROWS, schema=schema), tmp_path / "a.parquet", row_group_size=2, compression="zstd"
    )
    return tmp_path / "a.parquet"


def test_parquet_keeps_its_schema(parquet: Path, tmp_path: Path) -> None:
    """Types, nullability, metadata, codec and row groups; only rows or one answer change."""
    import pyarrow.parquet as pq

    source = read(parquet)
    assert [row.line for row in source.rows] == [None] * 4
    assert source.where(source.rows[1]) == f"{parquet} row 2"
    before = pq.ParquetFile(parquet)
    source.write({1: Drop(), 2: Relabel((TOLD,), "I don't know")}, tmp_path / "b.parquet")
    after = pq.ParquetFile(tmp_path / "b.parquet")
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.metadata.num_row_groups == 2
    assert after.metadata.row_group(0).column(0).compression == "ZSTD"
    rows = after.read().to_pylist()
    assert [row["n"] for row in rows] == [0, 2, 3]
    assert rows[1]["messages"][1]["content"] == " I don't know"
    assert [rows[0], rows[2]] == [ROWS[0], ROWS[3]]


def test_a_weight_is_a_column_more(parquet: Path, tmp_path: Path) -> None:
    """1 where nothing is changed; an existing column keeps its type and its other values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    read(parquet).write({1: Weigh(0)}, tmp_path / "b.parquet")
    table = pq.read_table(tmp_path / "b.parquet")
    assert table.column("weight").to_pylist() == [1, 0, 1, 1]
    narrow = table.set_column(2, pa.field("weight", pa.float32()), pa.array([0.5, None, 3, 1], pa.float32()))
    pq.write_table(narrow, tmp_path / "c.parquet")
    read(tmp_path / "c.parquet").write({2: Weigh(0.25)}, tmp_path / "d.parquet")
    again = pq.read_table(tmp_path / "d.parquet")
    assert again.schema.equals(narrow.schema, check_metadata=True)
    assert again.column("weight").to_pylist() == [0.5, None, 0.25, 1]


@pytest.fixture
def directory(tmp_path: Path) -> Callable[..., Path]:
    """What save_to_disk writes: one dataset, or splits of one."""

    def written(*splits: str) -> Path:
        from datasets import Dataset, DatasetDict

        data = Dataset.from_list(ROWS)
        saved: Any = DatasetDict(dict.fromkeys(splits, data)) if splits else data
        saved.save_to_disk(str(tmp_path / "data"))
        return tmp_path / "data"

    return written


@pytest.mark.parametrize("splits", [(), ("train",), ("train", "test"), ("other",)])
def test_a_datasets_directory(directory: Callable[..., Path], tmp_path: Path, splits: tuple[str, ...]) -> None:
    """A dataset, or of several splits the one named train; the others are copied."""
    from datasets import load_from_disk

    path = directory(*splits)
    source = read(path)
    assert [row.cells["messages"] for row in source.rows] == [row["messages"] for row in ROWS]
    assert bool(source.notes) == (len(splits) > 1)
    edits: dict[int, Edit] = {0: Drop(), 1: Relabel((TOLD,), "no")}
    source.write(edits, tmp_path / "again")
    before, after = load_from_disk(str(path)), load_from_disk(str(tmp_path / "again"))
    if splits:
        assert set(after) == set(splits)
        if "test" in splits:
            assert after["test"].to_list() == ROWS
        before, after = before[splits[0]], after[splits[0]]
    assert after.features == before.features
    rows = after.to_list()
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert rows[0]["messages"][1]["content"] == " no"
    assert rows[1:] == ROWS[2:]


def test_a_weight_in_a_datasets_directory(directory: Callable[..., Path], tmp_path: Path) -> None:
    """A column more, which `datasets` reads."""
    from datasets import load_from_disk

    read(directory()).write({3: Weigh(0)}, tmp_path / "again")
    after = load_from_disk(str(tmp_path / "again"))
    assert after["weight"][:] == [1, 1, 1, 0]


def test_directories_that_are_refused(directory: Callable[..., Path], tmp_path: Path) -> None:
    """Splits of which none is meant, a path that leads out, a file that is cut off."""
    path = directory("a", "b")
    with pytest.raises(InputError, match="holds the splits 'a', 'b' and none named 'train'"):
        read(path)
    state = json.loads((path / "a" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../../x.arrow"}]
    (path / "a" / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="leads out of the directory"):
        read(path / "a")
    next((path / "b").glob("*.arrow")).write_bytes(b"cut off")
    with pytest.raises(InputError, match="write it again by save_to_disk"):
        read(path / "b")


def test_an_empty_datasets_directory(tmp_path: Path) -> None:
    """Is read as one without rows."""
    from datasets import Dataset

    Dataset.from_dict({"question": [], "answer": []}).save_to_disk(str(tmp_path / "data"))
    assert read(tmp_path / "data").rows == []


def test_the_output_of_slick_mix(tmp_path: Path) -> None:
    """Its train.jsonl is what is trained on."""
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    source = read(tmp_path)
    assert (source.path, len(source.rows)) == (tmp_path / "train.jsonl", 1)


def test_a_weight_that_its_column_cannot_hold(tmp_path: Path) -> None:
    """A column of whole numbers takes 0, and refuses a half."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["a"], "answer": ["b"], "weight": [1]}), tmp_path / "a.parquet")
    source = read(tmp_path / "a.parquet")
    source.write({0: Weigh(0)}, tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").column("weight").to_pylist() == [0]
    with pytest.raises(InputError, match="the column 'weight' of type int64 cannot take the weight"):
        source.write({0: Weigh(0.5)}, tmp_path / "c.parquet")
    pq.write_table(pa.table({"question": ["a"], "answer": ["b"], "weight": ["1"]}), tmp_path / "d.parquet")
    with pytest.raises(InputError, match="it holds no numbers"):
        read(tmp_path / "d.parquet").write({0: Weigh(0.5)}, tmp_path / "c.parquet")
