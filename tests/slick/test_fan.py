"""slick.fan: continuations side by side in a row's slots have the logits that each has alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from slick.batches import Tokens
from slick.fan import Fan
from slick.shared_prefix import SharedPrefix


def _tokens(n: int, seed: int) -> Tokens:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(2, 300, (n,), generator=draw).tolist())


HEAD = _tokens(16, 1)
ROWS = [HEAD + _tokens(9, 3), HEAD + _tokens(2, 4), _tokens(12, 5)]
PREFIXES = [16, 16, 0]
MANY, LENGTH = 3, 4


def _apart(model: Any, found: torch.Tensor, row: Tokens) -> float:
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1]
    return float((found - alone).abs().max() / alone.abs().max())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Gemma3", "Mistral", "GPT2", "GPTNeoX", "Mixtral"])
def test_each_continuation_sees_its_own_past_alone(random_model: Any, kind: str, attention: str) -> None:
    """Some of each row go on, in any order, as many as they like; then a row is left out, and they go on again."""
    model = random_model(kind, attn_implementation=attention)
    shared = SharedPrefix(model, 0)
    assert shared.fans
    _, running = shared.start(ROWS, PREFIXES, 1, more=MANY * LENGTH)
    fan = Fan(shared, running, MANY, LENGTH)
    written = {(row, j): ROWS[row] for row in range(3) for j in range(MANY)}
    rows = [0, 1, 2]
    chosen = random.Random(0)
    for place in range(LENGTH):
        if place == 2:
            rows = [2, 0]
            fan.keep(torch.tensor(rows), LENGTH - place)
        going = [chosen.sample(range(MANY), chosen.randint(1, MANY)) for _ in rows]
        m = max(map(len, going))
        which = torch.tensor([[*some, *[fan.nobody] * (m - len(some))] for some in going])
        tokens = torch.tensor([[chosen.randrange(2, 300) for _ in range(m)] for _ in rows])
        logits = fan.step(which, tokens)
        assert logits.shape[:2] == (len(rows), m)
        for at, (row, some) in enumerate(zip(rows, going, strict=True)):
            for column, j in enumerate(some):
                written[row, j] += (int(tokens[at, column]),)
                assert _apart(model, logits[at, column], written[row, j]) < 1e-4


@pytest.mark.parametrize("kind", ["Bloom", "MPT", "Mamba"])
def test_a_model_whose_positions_are_not_told_has_no_fan(random_model: Any, kind: str) -> None:
    """ALiBi counts slots, and so does a model without a cache of keys and values."""
    assert not SharedPrefix(random_model(kind), 0).fans


class _Deaf(torch.nn.Module):  # type: ignore[misc]
    """A model that takes a mask of many rows for one that shows everything."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.config = inner.config
        self.device = inner.device

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Any = None,
        past_key_values: Any = None,
        position_ids: Any = None,
        **kwargs: Any,
    ) -> Any:
        if attention_mask is not None and attention_mask.dim() == 4:
            attention_mask = torch.ones_like(attention_mask)
        return self.inner(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
            **kwargs,
        )


def test_a_model_that_does_not_heed_the_mask_is_found_out(random_model: Any) -> None:
    """It shares prefixes as before, and its samples get rows of their own."""
    shared = SharedPrefix(_Deaf(random_model("Llama")), 0)
    assert shared.reason == ""
    assert not shared.fans
