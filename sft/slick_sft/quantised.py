"""QLoRA: a base model in 4 bits under an adapter (Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from slick.errors import InputError

_INSTALL = 'pip install "slick-eval[qlora]"'


def check_four_bits(device: str) -> None:
    """InputError where a model cannot be held in 4 bits here: no GPU, or no bitsandbytes."""
    if device == "cpu":
        raise InputError("--method qlora: needs a GPU, and the device is cpu; use --method lora, or a machine with one")
    if find_spec("bitsandbytes") is None:
        raise InputError(f"--method qlora: needs bitsandbytes, which is not installed; install it with: {_INSTALL}")


def four_bit_options(bf16: bool) -> dict[str, Any]:
    """The paper's: NormalFloat, its constants quantised too; sums in 16 bits where the GPU has bf16."""
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16" if bf16 else "float16",
    }


def four_bits(bf16: bool) -> Any:
    """As transformers takes it."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(**four_bit_options(bf16))
