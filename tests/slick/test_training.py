"""slick.training: the record of what made a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick.errors import InputError
from slick.training import TRAINING, read_training, tuning_run_of


def test_the_record_lies_beside_the_model_or_one_level_up(tmp_path: Path) -> None:
    """The nearer one wins."""
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    assert read_training(str(model)) == {}
    (model.parent / TRAINING).write_text('{"arm": "up"}')
    assert read_training(str(model)) == {"arm": "up"}
    (model / TRAINING).write_text('{"arm": "beside"}')
    assert read_training(str(model)) == {"arm": "beside"}


def test_the_tuning_run_is_the_directory_that_holds_the_record(tmp_path: Path) -> None:
    """None for a base model, and for a model that is not there."""
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    assert tuning_run_of(str(model)) is None
    (model.parent / TRAINING).write_text("{}")
    assert tuning_run_of(str(model)) == model.parent
    assert tuning_run_of(str(model.parent / "other")) is None


def test_a_base_model_has_none(tmp_path: Path) -> None:
    """Neither a directory without a record, nor a name that is no directory."""
    (tmp_path / TRAINING).write_text('{"arm": "up"}')
    assert read_training(str(tmp_path / "none")) == {}
    assert read_training("org/model") == {}


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    """It is not passed over: the score would be of an unknown arm."""
    (tmp_path / TRAINING).write_text('{"arm": ')
    with pytest.raises(InputError, match=r"training\.json:1:9: not JSON"):
        read_training(str(tmp_path))
    (tmp_path / TRAINING).write_text("[1]")
    with pytest.raises(InputError, match=r"training\.json: expected a JSON object"):
        read_training(str(tmp_path))
