"""QLoRA: its configuration is built without a GPU, and what it needs is said where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slick.errors import InputError
from slick_sft import quantised
from slick_sft.quantised import check_four_bits, four_bit_options
from slick_sft.train import LoRA, Tuning, tune


@pytest.mark.parametrize(("bf16", "sums"), [(True, torch.bfloat16), (False, torch.float16)])
def test_the_configuration_is_the_papers(bf16: bool, sums: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """NormalFloat of 4 bits with quantised constants; sums in bf16 where there is one, as transformers reads it."""
    from importlib import metadata

    from transformers import BitsAndBytesConfig

    # transformers looks at the version of bitsandbytes, and this machine may have none.
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.46.0" if name == "bitsandbytes" else real(name))
    config = BitsAndBytesConfig(**four_bit_options(bf16))
    assert (config.load_in_4bit, config.load_in_8bit, config.bnb_4bit_quant_type) == (True, False, "nf4")
    assert config.bnb_4bit_use_double_quant is True
    assert config.bnb_4bit_compute_dtype is sums


def test_a_machine_without_a_gpu_is_told(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Weights of 4 bits need a GPU: refused before anything is written, with the alternative."""
    with pytest.raises(InputError, match="--method qlora: needs a GPU, and the device is cpu; use --method lora"):
        tune(tuning(lora=LoRA(), four_bit=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_bitsandbytes_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the message holds what to type."""
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'needs bitsandbytes.*pip install "slick-eval\[qlora\]"'):
        check_four_bits("cuda")
    monkeypatch.setattr(quantised, "find_spec", lambda name: object())
    check_four_bits("cuda")


def test_four_bits_are_for_adapters(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Without an adapter there would be nothing to train."""
    with pytest.raises(InputError, match="weights of 4 bits cannot be trained themselves"):
        tune(tuning(four_bit=True), tmp_path / "run")


def test_the_method_is_named_and_decides_the_arm(tuning: Callable[..., Tuning]) -> None:
    """full, lora and qlora are three arms."""
    methods: dict[str, Any] = {
        of.method: of.arm_key() for of in (tuning(), tuning(lora=LoRA()), replace(tuning(lora=LoRA()), four_bit=True))
    }
    assert list(methods) == ["full", "lora", "qlora"]
    assert len(set(methods.values())) == 3


def test_the_trainer_gets_the_configuration(tuning: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded in 4 bits is the base under the adapter: TRL is handed both configurations."""
    from slick_sft import trainer

    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def record(**given: Any) -> None:
        seen.update(given)
        raise Stop

    monkeypatch.setattr(trainer, "CheckedTrainer", record)
    monkeypatch.setattr(trainer, "four_bits", lambda bf16: four_bit_options(bf16))
    this = tuning(lora=LoRA(r=4))
    with pytest.raises(Stop):
        trainer.build_trainer(
            this.model,
            this.data,
            dict(this.arguments),
            checkpoints=Path("none"),
            lora=LoRA(r=4).as_peft(),
            four_bit=True,
            cpu=True,
        )
    assert seen["quantization_config"]["load_in_4bit"] is True
    assert seen["peft_config"].r == 4
