"""Rows that weigh different amounts, in stages: what reaches the weights of the model, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slick.errors import InputError
from slick_sft.formats import TrainingSet
from slick_sft.loader import IGNORED
from slick_sft.train import LoRA, Tuning, tune

DECAY = ("weight_decay=0.1", "logging_steps=1")


def masked(trainer: Any, rows: set[int]) -> Any:
    """The trainer with these rows' labels masked, as if the data had come so."""
    labels = [of if i not in rows else of * 0 + IGNORED for i, of in enumerate(trainer.rows.labels)]
    trainer.rows = replace(trainer.rows, labels=labels)
    return trainer


def trained(trainer: Any) -> dict[str, Any]:
    trainer.train()
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(weight.equal(other[name]) for name, weight in one.items())


@pytest.mark.parametrize("lora", [None, LoRA(r=4, lora_dropout=0.1)], ids=["full", "lora"])
def test_a_weight_of_0_is_a_masked_label_in_every_bit(
    tuning: Callable[..., Tuning],
    data: TrainingSet,
    trainer_of: Callable[..., Any],
    lora: LoRA | None,
) -> None:
    """With dropout, decay and accumulation: rows of weight 0 give the bytes of rows without labels, and not others."""
    settings = (*DECAY, "gradient_accumulation_steps=2", "model_init_kwargs={attention_dropout: 0.1}")
    zero = set(range(0, 32, 3))
    weighted = replace(data, weights=tuple(float(i not in zero) for i in range(32)))
    by_weight = trained(trainer_of(tuning(*settings, data=weighted, lora=lora))[0])
    by_label = trained(masked(trainer_of(tuning(*settings, lora=lora))[0], zero))
    assert equal(by_weight, by_label)
    assert not equal(by_weight, trained(trainer_of(tuning(*settings, lora=lora))[0]))


def test_equal_weights_are_no_weights(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """The mean is weighted by their share: rows that all weigh 1 change no bit, and all 4 (a power of two) neither."""
    plain = trained(trainer_of(tuning(*DECAY))[0])
    for weight in (1.0, 4.0):
        even = tuning(*DECAY, data=replace(data, weights=(weight,) * 32))
        assert equal(plain, trained(trainer_of(even)[0]))


def test_the_logged_loss_is_the_weighted_mean_over_target_tokens(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """The first step's loss, over two micro-batches, is sum(w * -log p) / sum(w), token by token from the model."""
    weighted = replace(data, weights=tuple((0.0, 0.25, 1.0, 3.0)[i % 4] for i in range(32)))
    this = tuning("logging_steps=1", "gradient_accumulation_steps=2", flags={"max_steps": 1}, data=weighted)
    trainer, _ = trainer_of(this)
    whole = total = 0.0
    for i in trainer.plan().step(0):
        row = trainer.train_dataset[i]
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        for place, label in enumerate(row["labels"]):
            if label != IGNORED:
                loss = -torch.log_softmax(logits[place - 1].double(), -1)[label].item()
                whole, total = whole + weighted.weights[i] * loss, total + weighted.weights[i]
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(whole / total, rel=1e-5)


def test_trls_own_loss_is_ours_without_weights(
    tuning: Callable[..., Tuning], trainer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same batches TRL's loss over all positions gives the losses that the head at the targets alone gives."""
    from slick_sft.checked_trainer import CheckedTrainer

    def logged() -> list[dict[str, float]]:
        trainer, _ = trainer_of(tuning("logging_steps=1", "gradient_accumulation_steps=2"))
        trainer.train()
        return [entry for entry in trainer.state.log_history if "loss" in entry]

    ours = logged()
    monkeypatch.setattr(CheckedTrainer, "own_loss", False)
    theirs = logged()
    for one, other in zip(ours, theirs, strict=True):
        for name in ("loss", "grad_norm", "entropy", "num_tokens"):
            assert one[name] == pytest.approx(other[name], rel=1e-4), name


@pytest.mark.parametrize("optimiser", ["adamw_torch_fused", "adamw_torch", "sgd"])
def test_a_step_without_targets_changes_nothing_but_the_schedule(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any], optimiser: str
) -> None:
    """No weight and no momentum moves in a step whose rows all weigh 0; step count and schedule go on; it is told."""
    from transformers import TrainerCallback

    # Two stages: the second one, without any weight, comes after there is momentum and something to decay.
    staged = replace(data, stages=(0,) * 16 + (1,) * 16, weights=(1.0,) * 16 + (0.0,) * 16)
    settings = (*DECAY, f"optim={optimiser}", "lr_scheduler_type=linear", "optim_args=momentum=0.9")
    this = tuning(*settings[: 4 if optimiser != "sgd" else None], flags={"max_steps": 4}, data=staged)
    trainer, notes = trainer_of(this)
    assert notes == ["2 of 4 steps have no token to learn: they change no weight, but the schedule goes on"]
    seen = []

    class Look(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            weights = [p.detach().clone() for p in kwargs["model"].parameters()]
            moments = [v.clone() for of in trainer.optimizer.state.values() for v in of.values() if torch.is_tensor(v)]
            seen.append((weights, moments))

    trainer.add_callback(Look())
    trainer.train()

    def same(one: list[Any], other: list[Any]) -> bool:
        return all(a.equal(b) for a, b in zip(one, other, strict=True))

    moved = [[not same(seen[i][of], seen[i + 1][of]) for of in (0, 1)] for i in range(3)]
    assert moved == [[True, True], [False, False], [False, False]]
    assert seen[0][1]
    assert [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry] == pytest.approx(
        [1e-3, 0.75e-3, 0.5e-3, 0.25e-3]
    )
    assert trainer.state.global_step == 4


def test_the_record_counts_steps_without_targets(
    tuning: Callable[..., Tuning], data: TrainingSet, tmp_path: Path
) -> None:
    """training.json has their number, whether rows were weighted, and the rows of each stage."""
    staged = replace(data, stages=(0,) * 16 + (1,) * 16, weights=(1.0,) * 16 + (0.0,) * 16)
    record = tune(tuning(data=staged, flags={"max_steps": 4}), tmp_path / "run")
    assert (record["steps"], record["steps_without_targets"], record["weighted"]) == (4, 2, True)
    assert record["stages"] == [16, 16]
    assert "2 of 4 steps have no token to learn" in record["notes"][0]


def test_rows_that_all_weigh_nothing_are_refused(
    tuning: Callable[..., Tuning], data: TrainingSet, tmp_path: Path
) -> None:
    """A set without any token to learn is wrong input, and nothing is written."""
    with pytest.raises(InputError, match=r"no row has a token to learn: every weight is 0"):
        tune(tuning(data=replace(data, weights=(0.0,) * 32)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stages_are_trained_one_after_the_other(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """All epochs of a stage come before the next; a step holds rows of one; a row comes once an epoch."""
    staged = replace(data, stages=(0,) * 20 + (1,) * 12)
    this = tuning(
        "gradient_accumulation_steps=2",
        flags={"max_steps": None, "num_train_epochs": 3, "per_device_train_batch_size": 4},
        data=staged,
    )
    trainer, _ = trainer_of(this)
    real, seen = trainer.training_step, []

    def training_step(model: Any, inputs: Any, *more: Any) -> Any:
        live = (inputs["labels"] != IGNORED).any(1)
        seen.append(
            [tuple(row[row != trainer.processing_class.pad_token_id].tolist()) for row in inputs["input_ids"][live]]
        )
        return real(model, inputs, *more)

    trainer.training_step = training_step
    trainer.train()
    places = {
        tuple(t for t in row if t != trainer.processing_class.pad_token_id): i
        for i, row in enumerate(trainer.train_dataset["input_ids"])
    }
    rows = [places[row] for batch in seen for row in batch]
    assert sorted(rows) == sorted(list(range(32)) * 3)
    assert all(row < 20 for row in rows[:60])
    assert all(row >= 20 for row in rows[60:])
    assert trainer.state.global_step == 15
    assert trainer.state.epoch == 3


def test_paired_sets_meet_in_the_same_batches(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """Sets of as many rows and one seed: rows of equal places share steps; another seed is another order."""
    other = replace(data, rows=[{**row, "completion": "x"} for row in data.rows], weights=(0.5,) * 32)
    plans = [trainer_of(tuning(data=of, flags={"seed": 3}))[0].plan() for of in (data, other)]
    assert [plans[0].step(i) for i in range(8)] == [plans[1].step(i) for i in range(8)]
    third = trainer_of(tuning(flags={"seed": 4}))[0].plan()
    assert third.step(0) != plans[0].step(0)
    seeded = trainer_of(tuning("data_seed=4", flags={"seed": 3}))[0].plan()
    assert seeded.step(0) == third.step(0)


def test_rows_laid_end_to_end_are_weighted_alike(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """Padding-free batches have the losses of padded ones, weights included."""
    weighted = replace(data, weights=tuple((0.0, 0.25, 1.0, 3.0)[i % 4] for i in range(32)))
    losses = []
    for more in ((), ("padding_free=true", "max_length=null")):
        trainer, _ = trainer_of(tuning("logging_steps=1", *more, data=weighted))
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ("packing=true", {"weights": (0.5,) * 32}, r"weights cannot be had with packing puts rows together"),
        ("packing=true", {"stages": (0,) * 32}, r"stages cannot be had with packing"),
        ("train_sampling_strategy=group_by_length", {"weights": (0.5,) * 32}, r"train_sampling_strategy = group_by_le"),
        (
            "label_smoothing_factor=0.1",
            {"weights": (0.5,) * 32},
            r"weights cannot be had with .*label_smoothing_factor",
        ),
    ],
)
def test_what_cannot_be_weighted_is_refused(
    tuning: Callable[..., Tuning], data: TrainingSet, tmp_path: Path, settings: str, more: Any, message: str
) -> None:
    """Settings under which a row's weight or stage would be lost are refused, and nothing is written."""
    with pytest.raises(InputError, match=message):
        tune(tuning(settings, data=replace(data, **more)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_plain_rows_can_be_packed(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Packing is off unless asked for, and then TRL's own batches are trained on."""
    record = tune(tuning("packing=true", "max_length=128", flags={"max_steps": 2}), tmp_path / "run")
    assert record["steps"] == 2
    assert record["rows_trained"] < 32


def test_a_stage_that_gets_no_step_is_noted(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """With fewer steps than stages some stage is never trained, and the run says which."""
    staged = replace(data, stages=(0,) * 30 + (5,) * 2)
    _, notes = trainer_of(tuning(flags={"max_steps": 2}, data=staged))
    assert notes == ["2 steps are too few for stage 5"]


def test_rows_that_make_no_whole_step_are_refused(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Fewer rows than a step's, and short steps left out: there is nothing to train, and it is said."""
    flags = {"max_steps": None, "per_device_train_batch_size": 64}
    with pytest.raises(InputError, match="32 rows make no whole step of 64; lower --batch-size"):
        tune(tuning("dataloader_drop_last=true", flags=flags), tmp_path / "run")
