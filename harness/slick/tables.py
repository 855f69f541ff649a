"""Files of rows from outside, read as they stand: JSON Lines, a JSON list, Parquet, a `datasets` directory.

What the rows mean is not decided here (see `slick.rows`); a row that cannot be read at all is a mistake.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes

# The columns that a fact is made of; others are ignored and, where the format allows, not even read.
COLUMNS = ("question", "answers", "answer", "relation", "subject", "split", "id")

# What pyarrow, datasets and the JSON of a `datasets` directory raise on a file that is not what it claims to
# be (a wrong length in it asks for more memory than there is).
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError)


@dataclass(frozen=True, slots=True)
class Row:
    """where: file and line, or row number, as an error shows it. split: the split the row's file stands for."""

    where: str
    cells: Mapping[str, Any]
    split: str = ""


@dataclass(slots=True)
class Table:
    """All rows of one source, and every column seen there (in order, also those that are ignored)."""

    name: str
    columns: dict[str, None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def see(self, columns: Iterable[str]) -> None:
        self.columns.update(dict.fromkeys(columns))


def read_table(path: Path, mistakes: Mistakes) -> Table:
    """The rows of `path`, by its suffix, or by what the directory holds. Unreadable rows go to `mistakes`.

    Raises InputError when `path` is none of the formats or cannot be read as the one it claims to be.
    """
    if path.is_dir():
        return _read_datasets(path)
    match path.suffix.lower():
        case ".jsonl":
            return _read_jsonl(path, mistakes)
        case ".json":
            return _read_json(path, mistakes)
        case ".parquet":
            return _read_parquet(path)
    raise InputError(
        f"{path}: unknown format {path.suffix or '(no suffix)'!r}; expected .jsonl, .json, .parquet, a directory "
        "with an EntityQuestions copy, or a directory written by datasets' save_to_disk"
    )


def _read_jsonl(path: Path, mistakes: Mistakes) -> Table:
    table = Table(str(path))
    # Split as bytes, so that a line that is not UTF-8 spoils only itself, and at "\n" only: a JSON string
    # may hold other line separators.
    for number, line in enumerate(_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            _add(table, json.loads(line.decode("utf-8")), where, mistakes)
        except UnicodeDecodeError as error:
            mistakes.add(f"{where}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8")
        except json.JSONDecodeError as error:
            mistakes.add(f"{where}:{error.colno}: not JSON ({error.msg}); the line may be half-written")
        except (ValueError, RecursionError) as error:
            mistakes.add(f"{where}: not readable JSON ({error})")
    return table


def _read_json(path: Path, mistakes: Mistakes) -> Table:
    table = Table(str(path))
    try:
        value = json.loads(_bytes(path).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        hint = (
            "one JSON object a line is JSON Lines: name the file .jsonl"
            if error.msg == "Extra data"
            else "the file may be half-written"
        )
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg}); {hint}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(value, list):
        raise InputError(f"{path}: found a JSON {_kind(value)}, expected a list of objects, one a fact")
    for number, row in enumerate(value, start=1):
        _add(table, row, f"{path} row {number}", mistakes)
    return table


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    table = Table(str(path))
    try:
        file = pq.ParquetFile(path)
        table.see(file.schema_arrow.names)
        arrow = file.read(columns=[name for name in table.columns if name in COLUMNS])
        _add_arrow(table, arrow, file.metadata.num_rows, str(path))
    except _UNREADABLE as error:
        raise InputError(f"{path}: not readable as Parquet ({_first_line(error)})") from error
    return table


def _read_datasets(path: Path) -> Table:
    table = Table(str(path))
    try:
        if (path / "dataset_dict.json").is_file():
            splits = json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]
            for split in splits:
                _add_dataset(table, path / _plain_name(split), split)
        elif (path / "state.json").is_file():
            _add_dataset(table, path, "")
        else:
            raise InputError(
                f"{path}: a directory with neither an EntityQuestions copy (train/P17.train.json …) "
                "nor a dataset written by save_to_disk (state.json or dataset_dict.json)"
            )
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: not readable as a `datasets` directory ({type(error).__name__}: {_first_line(error)}); "
            "write it again by save_to_disk"
        ) from error
    return table


def _add_dataset(table: Table, path: Path, split: str) -> None:
    import datasets

    # load_from_disk follows any path that the file names; ours stay in the directory that the user named.
    files = json.loads((path / "state.json").read_text("utf-8"))["_data_files"]
    for file in files:
        _plain_name(file["filename"])
    if not files:  # what save_to_disk writes of an empty dataset, and load_from_disk cannot read
        return
    dataset = datasets.load_from_disk(str(path), keep_in_memory=False)
    table.see(dataset.column_names)
    wanted = [name for name in dataset.column_names if name in COLUMNS]
    # Without the other columns nothing is decoded that needs more software (images, audio).
    arrow = dataset.select_columns(wanted).with_format("arrow")[:]
    _add_arrow(table, arrow, len(dataset), f"{table.name}[{split}]" if split else table.name, split)


def _add_arrow(table: Table, arrow: Any, n_rows: int, name: str, split: str = "") -> None:
    columns = [_cells(arrow.column(column)) for column in arrow.column_names]
    for i in range(n_rows):
        cells = {column: values[i] for column, values in zip(arrow.column_names, columns, strict=True)}
        table.rows.append(Row(f"{name} row {i + 1}", cells, split))


def _cells(column: Any) -> list[Any]:
    """The values of an arrow column; text that is not UTF-8 stays bytes, which no field accepts."""
    import pyarrow as pa

    try:
        # A damaged file may hold offsets that point anywhere; without this check to_pylist follows them.
        column.validate(full=True)
    except pa.ArrowInvalid:
        # Damaged, or merely not UTF-8: the same buffers, looked at as bytes, tell which.
        chunks = [chunk.view(_as_bytes(chunk.type)) for chunk in column.chunks]
        for chunk in chunks:
            chunk.validate(full=True)
        return [_decoded(value) for chunk in chunks for value in chunk.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _as_bytes(type: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_list(type):
        return pa.list_(_as_bytes(type.value_type))
    if pa.types.is_large_list(type):
        return pa.large_list(_as_bytes(type.value_type))
    return {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(type, type)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _add(table: Table, value: Any, where: str, mistakes: Mistakes) -> None:
    if not isinstance(value, dict):
        mistakes.add(f"{where}: found a JSON {_kind(value)}, expected an object with question and answers")
        return
    table.see(value)
    table.rows.append(Row(where, value))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _plain_name(name: str) -> str:
    """`name` itself, where it names something directly in its directory; else ValueError."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
        raise ValueError(f"the name {name!r} leads out of the directory")
    return name


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
