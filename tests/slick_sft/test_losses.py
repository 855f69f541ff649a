"""The loss against a plain reading of its formula, token by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slick_sft.losses import divergence, mean, only_at, target_weight, token_losses, weighted_sum

LOGITS = st.lists(st.lists(st.floats(-8, 8, width=32), min_size=5, max_size=5), min_size=1, max_size=6)


def chances(logits: list[float]) -> list[float]:
    """A softmax in 64 bits, one number after the other."""
    largest = max(logits)
    powers = [math.exp(value - largest) for value in logits]
    return [power / sum(powers) for power in powers]


@given(LOGITS, LOGITS)
def test_divergence_is_that_of_the_definition(base: list[list[float]], ours: list[list[float]]) -> None:
    """KL(base || model) = sum of p_base log(p_base / p_model); never below 0, and 0 for equal models."""
    n = min(len(base), len(ours))
    found = divergence(torch.tensor(base[:n]), torch.tensor(ours[:n])).tolist()
    for value, theirs, mine in zip(found, base, ours, strict=False):
        p, q = chances(theirs), chances(mine)
        assert value == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-5)
        assert value > -1e-6
    assert divergence(torch.tensor(ours), torch.tensor(ours)).abs().max() == 0


def test_divergence_goes_from_the_base_to_the_model() -> None:
    """What the base model holds possible and the tuned one does not costs more than the reverse."""
    wide, narrow = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -9.0]])
    assert divergence(wide, narrow) > 3 > 1 > divergence(narrow, wide)


@given(LOGITS, st.data())
def test_a_tokens_loss_is_that_of_the_definition(logits: list[list[float]], data: st.DataObject) -> None:
    """-log of the target's chance, the entropy, and whether nothing is likelier."""
    targets = [data.draw(st.integers(0, 4)) for _ in logits]
    losses, entropy, right = token_losses(torch.tensor(logits), torch.tensor(targets))
    for i, (line, target) in enumerate(zip(logits, targets, strict=True)):
        p = chances(line)
        assert losses[i].item() == pytest.approx(-math.log(p[target]), abs=1e-5)
        assert entropy[i].item() == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-5)
        assert not right[i] or line[target] == max(line)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), min_size=1, max_size=20))
def test_the_mean_is_weighted(items: list[tuple[float, float]]) -> None:
    """sum of w * loss over the sum of w; 0 where nothing weighs anything."""
    losses, weights = (torch.tensor([item[i] for item in items]) for i in (0, 1))
    whole = sum(w for _, w in items)
    expected = sum(loss * w for loss, w in items) / whole if whole > 1e-3 else None
    found = mean(weighted_sum(losses, weights), weights.sum()).item()
    assert math.isfinite(found)
    if expected is not None:
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    if not any(weights):
        assert found == 0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50))
def test_weights_of_one_change_no_bit(losses: list[float]) -> None:
    """The weighted sum and mean of rows that all weigh 1 are those without weights."""
    values = torch.tensor(losses)
    assert weighted_sum(values, torch.ones_like(values)).equal(values.sum())
    assert mean(values.sum(), torch.tensor(float(len(losses)))).equal(values.sum() / len(losses))


def test_only_what_is_predicted_is_counted() -> None:
    """A row's first token is never predicted; masked tokens have no weight; without weights tokens are counted."""
    labels = torch.tensor([[5, -100, 7, 8], [-100, -100, 9, -100]])
    weights = torch.tensor([[2.0] * 4, [0.5] * 4])
    assert target_weight(labels, weights).item() == 4.5
    assert target_weight(labels, None).item() == 3


@pytest.mark.parametrize("adapter", [False, True])
def test_the_head_at_some_positions_says_what_it_says_at_all(tiny_model: Path, adapter: bool) -> None:
    """Kept positions have the logits of the whole pass, in order; outside the block the model is as it was."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    if adapter:
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=2))
    tokens = torch.arange(12).reshape(2, 6)
    positions = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    with torch.no_grad():
        whole = model(input_ids=tokens).logits
        with only_at(model, positions):
            some = model(input_ids=tokens).logits
        assert model(input_ids=tokens).logits.equal(whole)
    assert some.shape == (1, 3, whole.shape[-1])
    assert torch.allclose(some[0], whole[positions], atol=1e-6)
