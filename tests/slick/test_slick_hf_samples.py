"""slick-hf: samples, whatever they are drawn with."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Mamba", "MPT"])
def test_samples_hang_on_seed_prompt_and_number_alone(hf: Any, pair: Any, kind: str) -> None:
    """Whatever is drawn with them, before them or after; where nothing is shared as well."""
    lm = pair(kind)[1]
    prompts = hf.short[:3] + (hf.long[:2] if kind == "Mistral" else [])
    many = lm.sample(prompts, hf.sampled, 5, seed=1)
    assert len({answer for answers in many for answer in answers}) > len(prompts)
    torch.manual_seed(99)
    assert lm.sample(prompts, hf.sampled, 5, seed=1) == many
    assert lm.sample(prompts[::-1], hf.sampled, 3, seed=1) == [answers[:3] for answers in many[::-1]]
    assert lm.sample(prompts[1:2], hf.sampled, 2, seed=1, first=3) == [many[1][3:]]
    assert lm.sample(prompts, hf.sampled, 5, seed=2) != many


def test_samples_are_the_same_with_and_without_sharing(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """The same numbers meet the same chances, up to rounding."""
    lm = hf.engine(random_model("Llama"), tiny_tokenizer)
    shared = lm.sample(hf.short, hf.sampled, 3, seed=4)
    lm.shared.reason = "for the test's sake"
    assert lm.sample(hf.short, hf.sampled, 3, seed=4) == shared
    assert hf.generated(lm, [hf.short[0]] * 3, **hf.sampled, seed=4) == shared[0]


def test_one_sample_of_the_top_one_is_the_greedy_answer(hf: Any, pair: Any) -> None:
    """On every path."""
    for kind in ("Llama", "Mamba"):
        lm = pair(kind)[1]
        (answers,) = zip(*lm.sample(hf.short, {**hf.sampled, "top_k": 1}, 1, 0), strict=True)
        assert list(answers) == hf.generated(lm, hf.short)


def test_samples_vary(hf: Any, pair: Any) -> None:
    """The tests above would hold for a model that always says the same."""
    counts = Counter(answer for answers in pair("Llama")[1].sample(hf.short, hf.sampled, 8, 0) for answer in answers)
    assert len(counts) > 20
