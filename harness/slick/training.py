"""`training.json`: what made a tuned model. Written by `slick tune` beside the model, read by `slick score`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import read_json

TRAINING = "training.json"


def tuning_run_of(model: str) -> Path | None:
    """The directory of the tuning run that made `model`: its own or the one above; None for a base model."""
    path = Path(model)
    return next((place for place in (path, path.parent) if path.is_dir() and (place / TRAINING).exists()), None)


def read_training(model: str) -> Mapping[str, Any]:
    """The record of the tuning run that made `model`: beside it or one level up; empty for a base model.

    Raises InputError for a record that is damaged.
    """
    place = tuning_run_of(model)
    if place is None:
        return {}
    found = read_json(place / TRAINING)
    if not isinstance(found, Mapping):
        raise InputError(f"{place / TRAINING}: expected a JSON object, found {type(found).__name__}")
    return found
