"""slick.token_count: tokens of prompts and answers, counted once where they are shared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slick.backend import load_backend
from slick.errors import InputError
from slick.facts import Fact
from slick.token_count import TokenCounter

HEAD = "Q: What is the capital of P36trainton 1?\nA: P36land 0\n"


def test_characters_stand_for_the_tokens_of_a_tokenizer_that_is_not_at_hand() -> None:
    """Four of them for one, rounded up; the counter owns up to it, and shares nothing."""
    other: Any = SimpleNamespace(ours=False)
    counter = TokenCounter(other, 6)
    assert counter.guesses
    assert counter.lengths(["", "abcd", "abcde"]) == [0, 1, 2]
    read = counter.read(["abcd", "abcde"])
    assert (read.own, read.shared, read.anew, read.longest, read.longest_own) == (3, 0, 3, 2, 2)
    assert not counter.shares(10)


def test_a_common_head_is_computed_once(tiny_model: Path) -> None:
    """Own tokens and the head's make all; without sharing every prompt is computed whole."""
    backend = load_backend("slick-hf", str(tiny_model), batch_size=4)
    counter = TokenCounter(backend, 6)
    prompts = [f"{HEAD}Q: {i}?\nA:" for i in range(4)]
    rows = backend.lm.encode(prompts, 6)
    read = counter.read(prompts)
    assert not counter.guesses
    assert read.anew == sum(map(len, rows))
    assert read.own + 4 * read.shared == read.anew
    assert read.computed == read.own + read.shared < read.anew / 2
    assert read.longest == max(map(len, rows)) == read.longest_own + read.shared
    with pytest.raises(InputError, match="do not fit the model's context"):
        TokenCounter(backend, 2040).read(prompts)


def test_answers_are_counted_as_they_stand_behind_a_prompt(tiny_model: Path, tiny_facts: list[Fact]) -> None:
    """Each fact's first answer with its space; the mean is over the facts."""
    counter = TokenCounter(load_backend("slick-hf", str(tiny_model)), 6)
    expected = [len(counter.lm.tokenizer.encode(f" {fact.answers[0]}")) for fact in tiny_facts]
    assert counter.answers(tiny_facts) == expected
    assert counter.mean_answer(tiny_facts) == sum(expected) / len(expected)
