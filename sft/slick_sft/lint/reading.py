"""Any dataset by its path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slick.errors import InputError, Mistakes
from slick_sft.formats import TRAIN
from slick_sft.lint import tabular, texts
from slick_sft.lint.sources import Source

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
FORMATS = f"{', '.join(SUFFIXES)}, or a directory written by datasets' save_to_disk or by slick mix"


def read_source(path: Path, mistakes: Mistakes, columns: Sequence[str] = ()) -> Source:
    """The dataset at `path`, by its suffix or by what the directory holds. Rows that cannot be read go to `mistakes`.

    columns: names that are wanted besides those of `slick_sft.lint.shapes`, where a format reads columns one by one.
    Raises InputError where `path` is none of the formats or cannot be read as the one it claims to be.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or directory; expected {FORMATS}")
    if path.is_dir() and (path / TRAIN).is_file():
        # The --out of `slick mix`.
        path = path / TRAIN
    if path.is_dir():
        return tabular.read_directory(path, columns)
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            return texts.read_jsonl(path, mistakes)
        case ".json":
            return texts.read_json(path, mistakes)
        case ".csv" | ".tsv":
            return texts.read_csv(path, mistakes)
        case ".parquet":
            return tabular.read_parquet(path, columns)
    raise InputError(f"{path}: unknown format {path.suffix or '(no suffix)'!r}; expected {FORMATS}")
