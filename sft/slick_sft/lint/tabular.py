"""Datasets in columns: Parquet, and directories that `datasets` wrote. Their schema stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import sha256_of
from slick_sft.lint.edits import WEIGHT, Drop, Edit, Place, Relabel, Weigh
from slick_sft.lint.shapes import COLUMNS
from slick_sft.lint.sources import Row, Source

# What pyarrow, datasets and the JSON of a `datasets` directory raise on a file that is not what it claims to be.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError)
_TRAIN = "train"


@dataclass
class Parquet(Source):
    def write(self, edits: Mapping[int, Edit], out: Path) -> None:
        """As `Source.write`; also the codec and the size of the row groups stay."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.path)
        meta = file.metadata
        codec = meta.row_group(0).column(0).compression if meta.num_row_groups and meta.num_columns else "SNAPPY"
        rows = max((meta.row_group(i).num_rows for i in range(meta.num_row_groups)), default=None)
        table = _edited_table(file.read(), edits)
        pq.write_table(
            table, out, compression="NONE" if codec == "UNCOMPRESSED" else codec, row_group_size=rows or None
        )

    @property
    def digest(self) -> str:
        return sha256_of(self.path)


@dataclass
class DatasetDirectory(Source):
    """split: which of a dictionary's datasets the rows are of; "" for a directory that holds one."""

    split: str = ""
    files: list[Path] = field(default_factory=list)

    def write(self, edits: Mapping[int, Edit], out: Path) -> None:
        """As `Source.write`, a directory; other splits are copied as they are."""
        import shutil

        from datasets import Dataset, Value

        data = _load(self.path / self.split if self.split else self.path)
        table = _edited_table(data.with_format("arrow")[:], edits)
        info = data.info.copy()
        if WEIGHT in table.column_names and WEIGHT not in info.features:
            info.features[WEIGHT] = Value("float64")
        changed = Dataset(table.cast(info.features.arrow_schema), info=info, split=data.split)
        if self.split:
            shutil.copytree(self.path, out, dirs_exist_ok=True)
            shutil.rmtree(out / self.split)
        changed.save_to_disk(str(out / self.split if self.split else out))

    @property
    def digest(self) -> str:
        return sha256_of(*self.files)


def read_parquet(path: Path, columns: Sequence[str]) -> Source:
    """The rows of one Parquet file."""
    import pyarrow.parquet as pq

    source = Parquet(path, "Parquet")
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        wanted = [name for name in names if name in {*COLUMNS, *columns}]
        source.rows = _rows(file.read(columns=wanted), names, file.metadata.num_rows)
    except _UNREADABLE as error:
        raise InputError(f"{path}: not readable as Parquet ({_first_line(error)})") from error
    return source


def read_directory(path: Path, columns: Sequence[str]) -> Source:
    """What `save_to_disk` wrote: a dataset, or of a dictionary of datasets the one named train, or the only one."""
    source = DatasetDirectory(path, "`datasets` directory")
    try:
        if (path / "dataset_dict.json").is_file():
            splits = [
                _plain_name(name) for name in json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]
            ]
            if _TRAIN not in splits and len(splits) != 1:
                raise InputError(
                    f"{path}: holds the splits {', '.join(map(repr, splits)) or 'none'} and none named 'train'; "
                    "give the directory of the one that is trained on"
                )
            source.split = _TRAIN if _TRAIN in splits else splits[0]
            if len(splits) > 1:
                source.notes.append(f"{path}: of its {len(splits)} splits, only 'train' is looked at")
        elif not (path / "state.json").is_file():
            raise InputError(
                f"{path}: a directory without a dataset written by save_to_disk (state.json or dataset_dict.json); "
                "give the file of rows itself"
            )
        home = path / source.split if source.split else path
        source.files = [home / _plain_name(f["filename"]) for f in _state(home)["_data_files"]]
        if not source.files:  # what save_to_disk writes of an empty dataset, and load_from_disk cannot read
            return source
        data = _load(home)
        wanted = [name for name in data.column_names if name in {*COLUMNS, *columns}]
        arrow = data.select_columns(wanted).with_format("arrow")[:]
        source.rows = _rows(arrow, data.column_names, len(data))
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: not readable as a `datasets` directory ({type(error).__name__}: {_first_line(error)}); "
            "write it again by save_to_disk"
        ) from error
    return source


def _state(home: Path) -> Any:
    return json.loads((home / "state.json").read_text("utf-8"))


def _load(home: Path) -> Any:
    import datasets

    # load_from_disk follows any path that the file names; ours stay in the directory that the user named.
    for file in _state(home)["_data_files"]:
        _plain_name(file["filename"])
    return datasets.load_from_disk(str(home), keep_in_memory=False)


def _rows(arrow: Any, names: Sequence[str], n: int) -> list[Row]:
    columns = {}
    for name in arrow.column_names:
        # A damaged file may hold offsets that point anywhere; without this check to_pylist follows them.
        arrow.column(name).validate(full=True)
        columns[name] = arrow.column(name).to_pylist()
    # A column that is not read is there nevertheless: an error names it.
    others = dict.fromkeys((name for name in names if name not in columns), True)
    return [Row(i + 1, None, {**others, **{name: values[i] for name, values in columns.items()}}) for i in range(n)]


def _edited_table(table: Any, edits: Mapping[int, Edit]) -> Any:
    """An arrow table with rows dropped, answers changed, or weights set; its schema as it was."""
    import pyarrow as pa

    relabelled = {i: edit for i, edit in edits.items() if isinstance(edit, Relabel)}
    for name in sorted({str(place.path[0]) for edit in relabelled.values() for place in edit.places}):
        values = table.column(name).to_pylist()
        for i, edit in relabelled.items():
            for place in edit.from_the_end:
                if place.path[0] == name:
                    values[i] = _relabelled(values[i], place, place.path[1:], edit.answer)
        table = _with_column(table, name, values)
    weights = {i: edit.weight for i, edit in edits.items() if isinstance(edit, Weigh)}
    if weights and WEIGHT in table.column_names:
        table = _reweighted(table, weights)
    elif weights:
        values = [weights.get(i, 1.0) for i in range(table.num_rows)]
        table = table.append_column(pa.field(WEIGHT, pa.float64()), pa.array(values, pa.float64()))
    dropped = {i for i, edit in edits.items() if isinstance(edit, Drop)}
    return table.filter(pa.array([i not in dropped for i in range(table.num_rows)])) if dropped else table


def _with_column(table: Any, name: str, values: list[Any]) -> Any:
    import pyarrow as pa

    place = table.schema.get_field_index(name)
    kind = table.schema.field(place)
    return table.set_column(place, kind, pa.array(values, kind.type))


def _reweighted(table: Any, weights: Mapping[int, float]) -> Any:
    import pyarrow as pa

    place = table.schema.get_field_index(WEIGHT)
    kind = table.schema.field(place)
    try:
        given = table.column(WEIGHT).cast(pa.float64()).to_pylist()
        changed = pa.array([weights.get(i, value) for i, value in enumerate(given)], pa.float64())
        if not (pa.types.is_floating(kind.type) or pa.types.is_integer(kind.type)):
            raise pa.ArrowInvalid("it holds no numbers")
        # A safe cast: pa.array would make 0.5 a whole 0 without a word.
        return table.set_column(place, kind, changed.cast(kind.type, safe=pa.types.is_integer(kind.type)))
    except pa.ArrowException as error:
        raise InputError(
            f"the column {WEIGHT!r} of type {kind.type} cannot take the weight ({_first_line(error)}); "
            "make it a column of floats"
        ) from error


def _relabelled(value: Any, place: Place, path: Sequence[str | int], answer: str) -> Any:
    """A copy of a column's value with the answer changed in it."""
    if path:
        copied: Any = dict(value) if isinstance(value, dict) else list(value)
        copied[path[0]] = _relabelled(value[path[0]], place, path[1:], answer)
        return copied
    return [answer] if place.end is None else value[: place.start] + answer + value[place.end :]


def _plain_name(name: str) -> str:
    """`name` itself, where it names something directly in its directory; else ValueError."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
        raise ValueError(f"the name {name!r} leads out of the directory")
    return name


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
