"""The base model beside the one that is tuned, to hold Known rows to what it says of them. Imports torch at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from slick_sft.losses import only_at


class Base:
    """The frozen base model: a copy of it, or, where an adapter is trained, the tuned model without its adapter."""

    def __init__(self, model: Any, *, adapted: bool) -> None:
        self.model = model
        self.adapted = adapted

    @classmethod
    def copy(cls, name: str, options: Mapping[str, Any], device: Any) -> Base:
        """Loads the base model once more, in 32 bits as TRL loads the one that it trains."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(name, **{"dtype": torch.float32, **options})
        return cls(model.to(device).eval().requires_grad_(False), adapted=False)

    @classmethod
    def under(cls, model: Any) -> Base:
        """The base under an adapter; no second model is held."""
        return cls(model, adapted=True)

    def logits(self, inputs: Mapping[str, Any], positions: torch.Tensor) -> torch.Tensor:
        """What it makes of a micro-batch at some positions, a line each. No gradient, no dropout, no random number."""
        with torch.no_grad(), self._bare(), only_at(self.model, positions):
            logits: torch.Tensor = self.model(**inputs, use_cache=False).logits[0]
        return logits

    @contextmanager
    def _bare(self) -> Iterator[None]:
        if not self.adapted:
            yield
            return
        training = self.model.training
        self.model.eval()
        try:
            with self.model.disable_adapter():
                yield
        finally:
            self.model.train(training)
