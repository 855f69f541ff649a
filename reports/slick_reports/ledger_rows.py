"""What the rows of a ledger hold, checked as they are read: anyone may have written the file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from slick.knowledge import CATEGORIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OUTCOMES = 4


@dataclass(frozen=True, slots=True)
class Held:
    """A run as the ledger holds it."""

    id: int
    version: str
    at: str
    kind: str
    series: str
    baseline: bool
    record: Mapping[str, Any]

    @property
    def seed(self) -> int | None:
        """The training seed; None where none is recorded, as of a base model."""
        seed = self.record.get("seed")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < 1 << 63 else None


@dataclass(frozen=True, slots=True)
class Columns:
    """A run's results. facts: numbers in the ledger, the others in their order; see `Result`.

    prior: None where the run's was not recorded.
    """

    facts: NDArray[np.int64]
    outcome: NDArray[np.int8]
    category: NDArray[np.int8]
    unknown: NDArray[np.float32]
    answers: Sequence[str] = field(default_factory=list)
    prior: NDArray[np.int8] | None = None


def held_of(row: Sequence[Any]) -> Held:
    """From (id, version, at, kind, series, baseline, record). Raises ValueError for what a ledger never writes."""
    id, version, at, kind, series, baseline, record = row
    for name, value in (("version", version), ("date", at), ("kind", kind), ("series", series), ("record", record)):
        if not isinstance(value, str):
            raise ValueError(f"the {name} of run {id} is {value!r:.60}, expected text")
    if at and datetime.fromisoformat(at).tzinfo is not None:
        raise ValueError(f"the date of run {id} is {at!r:.60}, expected one without a zone")
    return Held(id, version, at, kind, series, bool(baseline), object_of(record))


def object_of(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"found {text!r:.60}, expected a JSON object")
    return found


def columns_of(blobs: Sequence[bytes], answers: bytes | None, prior: bytes | None) -> Columns:
    """From compressed columns: steps of the facts' numbers, outcome, category, unknown; and what else is to be read.

    Raises ValueError or zlib.error for what a ledger never writes.
    """
    import numpy as np

    steps, outcome, category, unknown = (
        np.frombuffer(zlib.decompress(blob), dtype=kind)
        for blob, kind in zip(blobs, ("<i4", "i1", "i1", "<f4"), strict=True)
    )
    priors = None if prior is None else np.frombuffer(zlib.decompress(prior), dtype="i1")
    texts = [] if answers is None else _texts(answers)
    lengths = {len(steps), len(outcome), len(category), len(unknown)}
    lengths |= set() if answers is None else {len(texts)}
    lengths |= set() if priors is None else {len(priors)}
    if len(lengths) > 1:
        raise ValueError("its columns differ in length")
    _check("facts' numbers", steps >= 1)
    _check("outcomes", (outcome >= 0) & (outcome < _OUTCOMES))
    _check("categories", (category >= -1) & (category < len(CATEGORIES)))
    _check("chances", np.isnan(unknown) | ((unknown >= 0) & (unknown <= 1)))
    if priors is not None:
        _check("answer priors", (priors >= -1) & (priors <= 1))
    return Columns(np.cumsum(steps, dtype=np.int64), outcome, category, unknown, texts, priors)


def _texts(compressed: bytes) -> list[str]:
    try:
        found = json.loads(zlib.decompress(compressed))
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError("its answers are no list of texts")
    return found


def _check(what: str, fine: NDArray[np.bool_]) -> None:
    if not fine.all():
        raise ValueError(f"{what} that cannot be")
