"""Known rows held to what the base model says of them: against the formula, with an adapter and without."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slick.errors import InputError, RunError
from slick_sft.checkpoints import last_good_checkpoint
from slick_sft.distillation import Base
from slick_sft.formats import TrainingSet
from slick_sft.loader import IGNORED
from slick_sft.train import LoRA, Tuning, tune

KNOWN, UNKNOWN = {"category": "WeaklyKnown"}, {"category": "Unknown"}
ADAPTER = LoRA(r=4, lora_dropout=0.2)


@pytest.fixture
def half(data: TrainingSet) -> TrainingSet:
    """Every other row is Known, and every third counts half."""
    return replace(
        data,
        sidecar=tuple(UNKNOWN if i % 2 else KNOWN for i in range(32)),
        weights=tuple(1.0 if i % 3 else 0.5 for i in range(32)),
    )


def trained(trainer: Any) -> dict[str, Any]:
    trainer.train()
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("lora", [None, ADAPTER], ids=["full", "lora"])
def test_strength_0_is_no_distillation_in_every_bit(
    tuning: Callable[..., Tuning], half: TrainingSet, trainer_of: Callable[..., Any], lora: LoRA | None
) -> None:
    """Without strength there is no base model, and a set that knows its rows trains as one that does not."""
    trainer, _ = trainer_of(tuning(data=half, lora=lora, distill=0.0))
    assert trainer.base is None
    one = trained(trainer)
    other = trained(trainer_of(tuning(data=replace(half, sidecar=()), lora=lora))[0])
    assert all(weight.equal(other[name]) for name, weight in one.items())


@pytest.mark.parametrize("lora", [None, ADAPTER], ids=["full", "lora"])
def test_the_loss_is_that_of_the_formula(
    tuning: Callable[..., Tuning], half: TrainingSet, trainer_of: Callable[..., Any], lora: LoRA | None
) -> None:
    """sum w (-log p + W k KL(base || model)) / sum w, over the target tokens of both micro-batches, from scratch."""
    strength = 2.5
    this = tuning(
        "logging_steps=1",
        "gradient_accumulation_steps=2",
        flags={"max_steps": 3, "learning_rate": 0.02},
        data=half,
        lora=replace(lora, lora_dropout=0.0) if lora else None,
        distill=strength,
    )
    trainer, notes = trainer_of(this)
    assert notes == []
    base, _ = trainer_of(tuning())
    expected: list[tuple[float, float]] = []

    def logits(model: Any, row: Any) -> Any:
        with torch.no_grad():
            return torch.log_softmax(model(input_ids=torch.tensor([row["input_ids"]])).logits[0].double(), -1)

    real = trainer.get_batch_samples

    def get_batch_samples(*args: Any) -> Any:
        told = divergence = total = 0.0
        for i in trainer.plan().step(trainer.state.global_step):
            row = trainer.train_dataset[i]
            ours, theirs = logits(trainer.model, row), logits(base.model, row)
            assert half.weights is not None
            weight = half.weights[i]
            for place, label in enumerate(row["labels"]):
                if label != IGNORED:
                    total += weight
                    told -= weight * ours[place - 1, label].item()
                    if half.sidecar[i] is KNOWN:
                        p = theirs[place - 1]
                        divergence += weight * (p.exp() * (p - ours[place - 1])).sum().item()
        expected.append((told / total, divergence / total))
        return real(*args)

    trainer.get_batch_samples = get_batch_samples
    trainer.train()
    found = losses(trainer)
    assert found == pytest.approx([a + strength * b for a, b in expected], rel=1e-4)
    # The base model diverges from itself by nothing, and later by more than rounding.
    assert expected[0][1] == pytest.approx(0, abs=1e-9)
    assert expected[2][1] > 1e-3


def test_a_strong_hold_keeps_known_rows_near_the_base(
    tuning: Callable[..., Tuning], half: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """What the tuned model says of Known rows stays nearer to the base model, at little cost for the Unknown ones."""
    from slick_sft.losses import divergence

    base, _ = trainer_of(tuning())

    def apart(trainer: Any) -> list[float]:
        trainer.train()
        found = []
        for rows in (range(0, 32, 2), range(1, 32, 2)):
            values = []
            for i in rows:
                tokens = torch.tensor([trainer.train_dataset[i]["input_ids"]])
                with torch.no_grad():
                    logits = [m(input_ids=tokens).logits[0, -4:] for m in (base.model, trainer.model)]
                values.append(divergence(*logits).mean().item())
            found.append(sum(values) / len(values))
        return found

    flags = {"max_steps": 30}
    free, held = (apart(trainer_of(tuning(data=half, flags=flags, distill=w))[0]) for w in (0.0, 20.0))
    assert held[0] < 0.5 * free[0]


def test_with_an_adapter_the_base_is_the_model_without_it(
    tuning: Callable[..., Tuning], half: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """No second model is loaded; asking the base draws no random number and leaves mode, adapter and gradients be."""
    trainer, _ = trainer_of(tuning(data=half, lora=ADAPTER, distill=1.0))
    model = trainer.model
    assert trainer.base.model is model
    base, _ = trainer_of(tuning())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    tokens = torch.arange(10)[None]
    model.train()
    before = torch.get_rng_state()
    said = trainer.base.logits({"input_ids": tokens}, torch.ones(1, 10, dtype=torch.bool))
    assert torch.get_rng_state().equal(before)
    assert model.training
    assert all(weight.requires_grad for name, weight in model.named_parameters() if "lora_" in name)
    base.model.eval()
    with torch.no_grad():
        assert torch.allclose(said, base.model(input_ids=tokens).logits[0], atol=1e-5)
        assert not torch.allclose(said, model.eval()(input_ids=tokens).logits[0], atol=1e-2)


def test_the_base_is_frozen(tuning: Callable[..., Tuning], half: TrainingSet, trainer_of: Callable[..., Any]) -> None:
    """With full fine-tuning the base is a model of its own, which training leaves as it was."""
    trainer, _ = trainer_of(tuning(data=half, distill=1.0))
    before = [weight.clone() for weight in trainer.base.model.parameters()]
    assert not any(weight.requires_grad for weight in trainer.base.model.parameters())
    trained(trainer)
    assert all(a.equal(b) for a, b in zip(before, trainer.base.model.parameters(), strict=True))


def test_a_set_without_known_rows_holds_nothing(
    tuning: Callable[..., Tuning], data: TrainingSet, trainer_of: Callable[..., Any]
) -> None:
    """With Unknown rows alone the losses are those without distillation, and a note says why."""
    unknown = replace(data, sidecar=(UNKNOWN,) * 32)
    trainer, notes = trainer_of(tuning("logging_steps=1", data=unknown, distill=3.0))
    assert notes == ["no row is Known, so nothing is held to the base model"]
    plain, _ = trainer_of(tuning("logging_steps=1"))
    trainer.train()
    plain.train()
    assert losses(trainer) == pytest.approx(losses(plain), rel=1e-4)


def test_rows_that_nobody_probed_cannot_be_distilled(
    tuning: Callable[..., Tuning], data: TrainingSet, tmp_path: Path
) -> None:
    """A user's own rows do not say what is Known: refused with the way out, nothing written."""
    with pytest.raises(InputError, match=r"does not say which of its rows the base model knows.*leave out --distill"):
        tune(tuning(distill=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for strength in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=r"--distill .*: expected 0 \(no distillation\) or more"):
            tune(tuning(distill=strength), tmp_path / "run")
    with pytest.raises(InputError, match="--distill cannot be had with packing"):
        tune(tuning("packing=true", data=replace(data, sidecar=(KNOWN,) * 32), distill=1.0), tmp_path / "run")


def test_a_tuned_model_with_other_tokens_cannot_be_compared(
    tuning: Callable[..., Tuning],
    half: TrainingSet,
    tmp_path: Path,
    trainer_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the tuned model's vocabulary grew, its predictions and the base's are of different lengths: refused."""
    real = Base.copy.__func__  # type: ignore[attr-defined]

    def smaller(cls: Any, *args: Any) -> Base:
        base: Base = real(cls, *args)
        base.model.resize_token_embeddings(300)
        return base

    monkeypatch.setattr(Base, "copy", classmethod(smaller))
    with pytest.raises(InputError, match="the base model has 300 tokens and the tuned one"):
        tune(tuning(data=half, distill=1.0), tmp_path / "run")


def test_a_sharded_base_is_refused() -> None:
    """Under FSDP no process holds the whole base model; it is said before anything is loaded."""
    from slick_sft.trainer import _base

    with pytest.raises(InputError, match="--distill: the base model cannot be spread over devices"):
        _base(SimpleNamespace(is_fsdp_enabled=True, is_deepspeed_enabled=False), "none", False)  # type: ignore[arg-type]


@pytest.mark.parametrize("lora", [None, ADAPTER], ids=["full", "lora"])
def test_a_distilled_run_that_diverges_stops(
    tuning: Callable[..., Tuning], half: TrainingSet, tmp_path: Path, lora: LoRA | None
) -> None:
    """A loss that is no number stops a weighted and distilled run; its last checkpoint is finite."""
    from safetensors.torch import load_file

    this = tuning("save_steps=1", "max_grad_norm=0", flags={"learning_rate": 1e30}, data=half, lora=lora, distill=1.0)
    with pytest.raises(RunError, match=r"(NaN|nan|inf).*lower --learning-rate and choose another --out"):
        tune(replace(this, watch=None), tmp_path / "run")
    kept = last_good_checkpoint(tmp_path / "run" / "checkpoints")
    if kept:
        assert all(w.isfinite().all() for w in load_file(next(kept.glob("*.safetensors"))).values())
    assert not (tmp_path / "run" / "model").exists()


def test_the_record_says_that_it_was_distilled(
    tuning: Callable[..., Tuning], half: TrainingSet, tmp_path: Path
) -> None:
    """The strength is recorded, decides the arm, and cannot be changed on the way."""
    this = tuning(data=half, distill=0.5, flags={"max_steps": 1})
    record = tune(this, tmp_path / "run")
    assert record["distill"] == 0.5
    assert replace(this, distill=0.0).arm_key() != this.arm_key()
    with pytest.raises(InputError, match=r"distill: there 0.5, now 1"):
        tune(replace(this, distill=1.0), tmp_path / "run")
