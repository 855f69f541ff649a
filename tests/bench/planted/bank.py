"""The bank: which of the lab's test facts each of many fine-tunings answers rightly. Nothing else is kept of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slick.files import replacing

# Runs × facts, whether the answer was right.
Right = NDArray[np.bool_]

_SETTINGS = b"settings"
_FACT = ("fact", "subject", "relation", "category")


@dataclass(frozen=True, slots=True, order=True)
class Tuned:
    """One fine-tuning of the organism. unknown: the share of Unknown rows, in percent."""

    rate: float
    unknown: int
    seed: int

    def __str__(self) -> str:
        return f"rate {self.rate:g}, {self.unknown} % Unknown, seed {self.seed}"


@dataclass(frozen=True)
class Bank:
    """facts, subjects, relations, categories: of the facts in their order; runs: tuning → right, one a fact.

    base: the untuned organism's. settings: what all of it was made with.
    """

    facts: Sequence[str]
    subjects: Sequence[str]
    relations: Sequence[str]
    categories: Sequence[str]
    base: Right
    runs: Mapping[Tuned, Right]
    settings: Mapping[str, Any]

    def arm(self, rate: float, unknown: int, seeds: Sequence[int]) -> Right:
        """Seeds × facts."""
        return np.stack([self.runs[Tuned(rate, unknown, seed)] for seed in seeds])

    def seeds(self, rate: float, unknown: int) -> list[int]:
        """The seeds that an arm was tuned with."""
        return sorted(run.seed for run in self.runs if (run.rate, run.unknown) == (rate, unknown))

    def arms(self) -> list[tuple[float, int]]:
        """(rate, percent Unknown) of every arm, the highest rate first."""
        return sorted({(run.rate, run.unknown) for run in self.runs}, key=lambda arm: (-arm[0], arm[1]))

    def of(self, categories: Sequence[str]) -> Bank:
        """The facts of some categories alone."""
        places = [i for i, category in enumerate(self.categories) if category in categories]
        names = {name: tuple(getattr(self, name)[i] for i in places) for name in _PER_FACT}
        runs = {run: right[places] for run, right in self.runs.items()}
        return replace(self, **names, base=self.base[places], runs=runs)

    def with_run(self, run: Tuned, right: Right, settings: Mapping[str, Any]) -> Bank:
        return replace(self, runs={**self.runs, run: right}, settings=settings)


_PER_FACT = ("facts", "subjects", "relations", "categories")


def write_bank(path: Path, bank: Bank) -> None:
    """One row a fact, one column of bits a run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {name: getattr(bank, of) for name, of in zip(_FACT, _PER_FACT, strict=True)}
    columns["base"] = bank.base
    columns |= {f"{run.rate!r}/{run.unknown}/{run.seed}": bank.runs[run] for run in sorted(bank.runs)}
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    table = table.replace_schema_metadata({_SETTINGS: json.dumps(dict(bank.settings)).encode()})
    with replacing(path) as temporary:
        # A page of bits has nothing to gain from a dictionary, nor a reader from its minimum.
        pq.write_table(
            table, temporary, compression="zstd", compression_level=19, use_dictionary=False, write_statistics=False
        )


def read_bank(path: Path) -> Bank:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}
    runs = {}
    for name, right in columns.items():
        if name not in (*_FACT, "base"):
            rate, unknown, seed = name.split("/")
            runs[Tuned(float(rate), int(unknown), int(seed))] = right.astype(bool)
    per_fact = [tuple(map(str, columns[name])) for name in _FACT]
    settings = json.loads(table.schema.metadata[_SETTINGS])
    return Bank(*per_fact, base=columns["base"].astype(bool), runs=runs, settings=settings)


def packed(right: Right) -> str:
    """A row of right and wrong as a short text."""
    return np.packbits(right).tobytes().hex()


def unpacked(text: str, n: int) -> Right:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=n).astype(bool)
