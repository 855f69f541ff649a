"""What the tests of training share: rows, a short run on the tiny model, and ways to look at it and to end it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick_sft.arguments import sft_arguments
from slick_sft.formats import TrainingSet, read_training_set
from slick_sft.train import Tuning

FORM = "Answer the following question.\n{}\n"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_facts: list[Fact]) -> TrainingSet:
    """32 rows in the training form, a user's own."""
    path = tmp_path_factory.mktemp("data") / "own.jsonl"
    rows = [{"prompt": FORM.format(f.question), "completion": f.answers[0]} for f in tiny_facts[:32]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_training_set(path)


@pytest.fixture
def tuning(tiny_model: Path, data: TrainingSet) -> Callable[..., Tuning]:
    """A short run, 8 steps of 8 rows, with some settings of its own."""

    def make(*settings: str, flags: Mapping[str, Any] | None = None, **more: Any) -> Tuning:
        given = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "max_steps": 8, **(flags or {})}
        arguments = sft_arguments({k: v for k, v in given.items() if v is not None}, settings=settings)
        return Tuning(**{"model": str(tiny_model), "data": data, "arguments": arguments, "device": "cpu", **more})

    return make


@pytest.fixture
def weights() -> Callable[[Path], dict[str, Any]]:
    """The tensors of a saved model or adapter."""

    def read(path: Path) -> dict[str, Any]:
        from safetensors.torch import load_file

        return dict(load_file(next(path.glob("*.safetensors"))))

    return read


@pytest.fixture
def trainer_of(tmp_path: Path) -> Callable[..., Any]:
    """The trainer of a run, and its notes. Its checkpoints go to the directory, if one is given; else it has none."""

    def build(tuning: Tuning, path: Path | None = None) -> Any:
        from slick_sft.trainer import build_trainer

        return build_trainer(
            tuning.model,
            tuning.data,
            {**tuning.arguments, **({} if path else {"save_strategy": "no"})},
            checkpoints=path or tmp_path / "no-checkpoints",
            lora=tuning.lora.as_peft() if tuning.lora else None,
            distill=tuning.distill,
            cpu=True,
            allow_truncated=tuning.allow_truncated,
        )

    return build


class Killed(BaseException):
    """What a kill looks like from inside: nothing may catch it."""


@pytest.fixture
def kill_at() -> Callable[[pytest.MonkeyPatch, int], type[BaseException]]:
    """From then on a run dies at the start of this step, with what is returned."""

    def kill(monkeypatch: pytest.MonkeyPatch, step: int) -> type[BaseException]:
        from slick_sft.checked_trainer import CheckedTrainer

        real = CheckedTrainer.training_step

        def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == step:
                raise Killed
            return real(self, *args, **kwargs)

        monkeypatch.setattr(CheckedTrainer, "training_step", training_step)
        return Killed

    return kill
