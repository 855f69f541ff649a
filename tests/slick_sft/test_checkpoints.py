"""A run that diverges stops and keeps what was good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.errors import RunError
from slick_sft.checkpoints import MarkGood, last_good_checkpoint
from slick_sft.train import Tuning, tune


def test_a_loss_that_is_no_number_stops_the_run(
    tuning: Callable[..., Tuning], tmp_path: Path, weights: Callable[[Path], dict[str, Any]]
) -> None:
    """A run that diverges is a run error with step and a way out; its last good checkpoint stays and is finite."""
    this = tuning("save_steps=1", "max_grad_norm=0", flags={"learning_rate": 1e30})
    with pytest.raises(RunError, match=r"(NaN|nan|inf).*lower --learning-rate and choose another --out"):
        tune(this, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    kept = last_good_checkpoint(tmp_path / "run" / "checkpoints")
    assert kept is None or all(weight.isfinite().all() for weight in weights(kept).values())


def test_the_first_loss_that_is_no_number_is_named(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Without a checkpoint in between, the step whose loss is no number stops the run, and not the next log."""
    with pytest.raises(RunError, match=r"the loss is nan at step \d; lower"):
        tune(tuning("save_strategy=no", "max_grad_norm=0", flags={"learning_rate": 1e30}), tmp_path / "run")


def test_a_checkpoint_with_weights_that_are_no_numbers_is_not_good(
    tuning: Callable[..., Tuning], tmp_path: Path, trainer_of: Callable[..., Any]
) -> None:
    """A finite loss does not make a checkpoint good: its weights are looked at before it is marked."""
    import torch

    trainer, _ = trainer_of(tuning(), tmp_path)
    (tmp_path / "checkpoint-0").mkdir()
    MarkGood().on_save(trainer.args, trainer.state, None, model=trainer.model)
    assert last_good_checkpoint(tmp_path) == tmp_path / "checkpoint-0"
    (tmp_path / "checkpoint-0" / "complete").unlink()
    with torch.no_grad():
        next(trainer.model.parameters())[0] = float("nan")
    with pytest.raises(RunError, match="1 weight tensors hold NaN or infinity after step 0"):
        MarkGood().on_save(trainer.args, trainer.state, None, model=trainer.model)
    assert last_good_checkpoint(tmp_path) is None
