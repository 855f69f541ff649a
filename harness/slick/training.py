"""`training.json`: what made a tuned model. Written by `slick tune` beside the model, read by `slick score`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import read_json

TRAINING = "training.json"


def read_training(model: str) -> Mapping[str, Any]:
    """The record of the tuning run that made `model`: beside it or one level up; empty for a base model.

    Raises InputError for a record that is damaged.
    """
    path = Path(model)
    for directory in (path, path.parent):
        if path.is_dir() and (directory / TRAINING).exists():
            found = read_json(directory / TRAINING)
            if not isinstance(found, Mapping):
                raise InputError(f"{directory / TRAINING}: expected a JSON object, found {type(found).__name__}")
            return found
    return {}
