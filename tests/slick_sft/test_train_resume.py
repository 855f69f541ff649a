"""A tuning run that was interrupted ends as one that was not."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.dynamics import read_dynamics
from slick_sft.checkpoints import last_good_checkpoint
from slick_sft.formats import TrainingSet
from slick_sft.train import LoRA, Tuning, tune
from slick_sft.watched import Watch


@pytest.mark.parametrize("lora", [None, LoRA(r=4, lora_alpha=8, lora_dropout=0.1)], ids=["full", "lora"])
def test_a_killed_run_ends_with_the_bytes_of_an_unbroken_one(
    tuning: Callable[..., Tuning],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lora: LoRA | None,
    kill_at: Callable[..., type[BaseException]],
) -> None:
    """A run killed between checkpoints resumes behind the last one and ends with the same weights and losses."""
    this = tuning("logging_steps=1", "save_steps=3", "save_total_limit=1", lora=lora)
    whole = tune(this, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(kill_at(patch, 5)):
        tune(this, tmp_path / "broken")
    assert not (tmp_path / "broken" / "training.json").exists()
    assert not (tmp_path / "broken" / "model").exists()
    with monkeypatch.context() as patch:
        # Had it started anew, it would die here.
        kill_at(patch, 2)
        broken = tune(this, tmp_path / "broken")
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    assert (tmp_path / "broken/model" / name).read_bytes() == (tmp_path / "whole/model" / name).read_bytes()
    assert broken["loss"] == whole["loss"]


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from transformers import TrainerCallback
from slick_sft.train import tune

class Kill(TrainerCallback):
    def on_substep_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

tune(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), callbacks=[Kill()])
"""


def test_a_run_that_was_killed_outright_ends_with_the_bytes_of_an_unbroken_one(
    tuning: Callable[..., Tuning], tmp_path: Path, data: TrainingSet
) -> None:
    """SIGKILL between two micro-batches, with dropout, weights, stages and distillation: all as if unbroken."""
    rows = len(data.rows)
    staged = replace(
        data,
        weights=tuple((1.0, 0.5, 0.0, 2.0)[i % 4] for i in range(rows)),
        stages=tuple(int(i >= 20) for i in range(rows)),
        sidecar=tuple({"category": "Unknown" if i % 3 else "HighlyKnown"} for i in range(rows)),
    )
    this = tuning(
        "logging_steps=1",
        "save_steps=3",
        "gradient_accumulation_steps=3",
        "model_init_kwargs={attention_dropout: 0.1}",
        flags={"max_steps": None, "num_train_epochs": 2, "per_device_train_batch_size": 3},
        data=staged,
        distill=0.5,
        watch=None,
    )
    whole = tune(this, tmp_path / "whole")
    (tmp_path / "tuning").write_bytes(pickle.dumps(this))
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "tuning", tmp_path / "broken"], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = sorted(path.name for path in (tmp_path / "broken" / "checkpoints").glob("checkpoint-*"))
    assert left == ["checkpoint-3"]
    broken = tune(this, tmp_path / "broken")
    one, other = (tmp_path / n / "model" / "model.safetensors" for n in ("broken", "whole"))
    assert one.read_bytes() == other.read_bytes()
    assert broken["loss"] == whole["loss"]
    assert [entry["step"] for entry in broken["loss"]] == list(range(1, 11))
    assert whole["stages"] == [20, 12]


def test_a_half_written_checkpoint_is_not_resumed_from(
    tuning: Callable[..., Tuning],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: Callable[..., type[BaseException]],
) -> None:
    """A checkpoint that a kill cut off is removed, and the one before it is taken."""
    this = tuning("save_steps=2", "save_total_limit=3")
    with monkeypatch.context() as patch, pytest.raises(kill_at(patch, 5)):
        tune(this, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "checkpoint-4" / "complete").unlink()
    (checkpoints / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
    assert last_good_checkpoint(checkpoints) == checkpoints / "checkpoint-2"
    assert not (checkpoints / "checkpoint-4").exists()
    tune(this, tmp_path / "run")
    tune(this, tmp_path / "whole")
    one, other = (tmp_path / n / "model" / "model.safetensors" for n in ("run", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_killed_while_it_saved_its_model_is_finished(
    tuning: Callable[..., Tuning], tmp_path: Path, weights: Callable[[Path], dict[str, Any]]
) -> None:
    """A model without a record is what a kill at the very end leaves; the repeated command replaces it."""
    whole = tune(tuning(), tmp_path / "run")
    record = tmp_path / "run" / "training.json"
    (tmp_path / "run" / "progress.json").write_text(json.dumps({"settings": whole["settings"]}))
    record.unlink()
    (tmp_path / "run" / "model" / "model.safetensors").write_bytes(b"half")
    tune(tuning(), tmp_path / "run")
    assert record.exists()
    assert not (tmp_path / "run" / "progress.json").exists()
    assert len(weights(tmp_path / "run" / "model")) > 5


ENDS: dict[str, dict[str, Any]] = {
    "half an epoch": {"max_steps": None, "num_train_epochs": 2.5},
    "steps": {"max_steps": 3},
    "whole epoch": {"max_steps": None, "num_train_epochs": 2},
}


@pytest.mark.parametrize("moment", ["on_epoch_end", "finish"])
@pytest.mark.parametrize("end", ENDS)
def test_a_run_killed_behind_its_last_checkpoint_trains_nothing_more(
    end: str, moment: str, tuning: Callable[..., Tuning], tmp_path: Path, data: TrainingSet
) -> None:
    """Wherever in an epoch the run ends: the weights, losses and measurements of an unbroken one."""
    from transformers import TrainerCallback

    class Killed(BaseException):
        pass

    class Dies(TrainerCallback):  # type: ignore[misc]
        """At its moment, once the last checkpoint counts."""

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if moment == "on_epoch_end" and state.global_step == state.max_steps:
                raise Killed

        def finish(self) -> None:
            raise Killed

    class Reports(TrainerCallback):  # type: ignore[misc]
        heard: tuple[str, ...] = ()

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.heard += ("begin",)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.heard += ("end",)

    sidecar = tuple({"category": "Unknown" if i % 3 else "HighlyKnown"} for i in range(len(data.rows)))
    this = tuning("logging_steps=1", flags=ENDS[end], data=replace(data, sidecar=sidecar), watch=Watch(rows=0))
    whole = tune(this, tmp_path / "whole")
    with pytest.raises(Killed):
        tune(this, tmp_path / "broken", callbacks=[Dies()])
    last = last_good_checkpoint(tmp_path / "broken" / "checkpoints")
    assert last is not None
    assert last.name == f"checkpoint-{whole['steps']}"
    reports = Reports()
    broken = tune(this, tmp_path / "broken", callbacks=[reports])
    assert reports.heard == ("begin", "end")
    assert {key: broken[key] for key in ("steps", "epochs", "loss")} == {
        key: whole[key] for key in ("steps", "epochs", "loss")
    }
    one, other = (tmp_path / n / "model" / "model.safetensors" for n in ("broken", "whole"))
    assert one.read_bytes() == other.read_bytes()
    seen, expected = ([replace(m, seconds=0) for m in read_dynamics(tmp_path / n)] for n in ("broken", "whole"))
    assert seen == expected
    assert [m.step for m in expected] == {
        "half an epoch": [0, 4, 8, 10],
        "steps": [0, 3],
        "whole epoch": [0, 4, 8],
    }[end]


def test_a_finished_run_is_returned(
    tuning: Callable[..., Tuning],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: Callable[..., type[BaseException]],
) -> None:
    """The same command on a finished run trains nothing and returns its record; no checkpoints are left."""
    first = tune(tuning(), tmp_path / "run")
    kill_at(monkeypatch, 0)
    assert tune(tuning(), tmp_path / "run") == first
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["model", "training.json"]
