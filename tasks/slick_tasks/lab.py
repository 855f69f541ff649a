"""The shipped lab: a fictional world with its exposures, and the organism that was grown on it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from slick.facts import Fact


def data_path() -> Path:
    """The directory that holds the shipped lab, as `slick lab build --seed 0` wrote it."""
    return Path(str(files("slick_tasks"))) / "lab_data"


def organism_path() -> Path:
    """The shipped organism's model directory."""
    return data_path() / "organism"


def load_facts() -> list[Fact]:
    """The world's facts of all splits, in their order on disk."""
    return [Fact.from_dict(row) for row in _rows()]


def load_exposures() -> dict[str, int]:
    """Fact id → times one pass over the organism's pre-training text states the fact; 0 is never."""
    return {str(row["id"]): int(row["exposures"]) for row in _rows()}


def _rows() -> list[dict[str, Any]]:
    with (data_path() / "facts.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
