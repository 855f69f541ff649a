"""What a gate is asked to do, and what it will do when its input was found good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.facts import Fact
from slick_sft.arguments import Arguments, rows_a_step
from slick_sft.gate.baselines import DEFAULT, Baseline
from slick_sft.gate.policy import Policy

if TYPE_CHECKING:
    from slick_sft.lint.run import Ready


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. baseline: the control, where the policy's is one; baselines: the file of them, beside
    which looks are counted. keep_models: tuned weights stay."""

    datasets: Sequence[Path]
    model: str
    policy: Policy
    out: Path
    baseline: Baseline | None = None
    baselines: Path = DEFAULT
    relation_column: str = ""
    device: str = ""
    batch_size: int = 128
    store: str = ""
    no_store: bool = False
    keep_models: bool = False
    allow_mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A gate whose input was found good: the dataset was read, the held-out facts, the settings of the training."""

    wish: Wish
    lint: Ready
    held_out: Sequence[Fact]
    arguments: Arguments
    base: Mapping[str, Any]


def planned_steps(arguments: Mapping[str, Any], rows: int) -> int:
    """Optimiser steps over so many rows."""
    if int(arguments.get("max_steps", -1)) > 0:
        return int(arguments["max_steps"])
    return math.ceil(float(arguments["num_train_epochs"]) * -(-rows // rows_a_step(arguments, 1)))


def lora_of(policy: Policy, *, peft: bool = False) -> dict[str, Any] | None:
    from slick_sft.train import LoRA

    if policy.tuning.method == "full":
        return None
    lora = LoRA(policy.tuning.lora_r, policy.tuning.lora_alpha)
    found = {"r": lora.r, "lora_alpha": lora.lora_alpha, "lora_dropout": lora.lora_dropout}
    return lora.as_peft() if peft else found
