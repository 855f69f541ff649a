"""Greedy answers and samples of many prompts, token by token, on top of `SharedPrefix`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from slick.batches import Tokens
from slick.errors import RunError
from slick.shared_prefix import SharedPrefix
from slick.walk import NOT_NUMBERS

# More than the top k are looked up, so that logits which tie with the k-th are seen.
_SPARE = 8

# Whether an answer has ended, from its tokens so far.
Ended = Callable[[Sequence[int]], bool]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn; None instead of it means greedy. first: the number of the first sample."""

    temperature: float
    top_k: int
    seed: int
    first: int = 0


def uniforms(sampling: Sampling, prompt: str, n: int, length: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """n × length numbers in [0, 1) that decide the samples `first` to `first` + n - 1 of a prompt.

    Sample j depends on seed, prompt and j alone: not on n, nor on what it is computed together with.
    """
    key = hashlib.blake2b(f"{sampling.seed}/{prompt}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big")))
    return generator.random((sampling.first + n, length))[sampling.first :]


def decode(
    model: SharedPrefix,
    prompts: Sequence[Tokens],
    prefixes: Sequence[int],
    length: int,
    ended: Ended,
    sampling: Sampling | None = None,
    numbers: np.ndarray[Any, np.dtype[np.float64]] | None = None,
) -> list[list[int]]:
    """The tokens that follow each prompt, at most `length`, the one that ends it included.

    prefixes[i]: how many first tokens of a prompt are shared. numbers: prompts × samples × length, for sampling:
    every prompt is continued `samples` times, from one prefill; answers come prompt after prompt.
    """
    samples = 1 if numbers is None else numbers.shape[1]
    logits, running = model.start(prompts, prefixes, 1, more=length)
    logits = logits[:, 0]
    written: list[list[int]] = [[] for _ in range(len(prompts) * samples)]
    alive = list(range(len(written)))
    draws = None if numbers is None else torch.from_numpy(numbers.reshape(len(written), -1)).to(logits.device)
    if samples > 1:
        copies = torch.arange(len(prompts), device=logits.device).repeat_interleave(samples)
        running, logits = running.select(copies, running.filled + length), logits[copies]
    for place in range(length):
        best, chosen = logits.max(-1)  # a NaN would be the largest
        if not bool(best.isfinite().all()):
            raise RunError(NOT_NUMBERS)
        if sampling is not None and draws is not None:
            chosen = draw(logits, sampling, draws[:, place])
        tokens = chosen.tolist()
        going = []
        for row, i in enumerate(alive):
            if i >= 0:
                written[i].append(tokens[row])
                if not ended(written[i]):
                    going.append(row)
        if not going or place == length - 1:
            break
        # Rows whose answer has ended are computed along, until they are half of all.
        if 2 * len(going) <= len(alive):
            kept = torch.tensor(going, device=logits.device)
            running, chosen = running.select(kept, running.mask.shape[1]), chosen[kept]
            draws = None if draws is None else draws[kept]
            alive = [alive[row] for row in going]
        else:
            still = set(going)
            alive = [i if row in still else -1 for row, i in enumerate(alive)]
        logits = model.step(running, chosen)
    return written


def draw(logits: torch.Tensor, sampling: Sampling, numbers: torch.Tensor) -> torch.Tensor:
    """One token a row from the tempered top k, by inverting its distribution function at `numbers`."""
    values, tokens = largest(logits, sampling.top_k)
    k = min(sampling.top_k, values.shape[1])
    # In the vocabulary's order, so that two logits that change places by rounding change nothing else.
    tokens, order = tokens.sort(dim=-1)
    kept = values >= values[:, k - 1 : k]
    scores = torch.where(kept, values.double() / sampling.temperature, -torch.inf).gather(1, order)
    reached = scores.softmax(-1).cumsum(-1)
    # The sum may fall short of 1 by rounding: the last token with any chance is meant.
    place = torch.searchsorted(
        reached, numbers[:, None].clamp(max=float(np.nextafter(1, 0))) * reached[:, -1:], right=True
    )
    return tokens.gather(1, place.clamp(max=tokens.shape[1] - 1))[:, 0]


def largest(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest logits of each row and all that tie with the k-th, with their tokens, largest first."""
    size = logits.shape[-1]
    k, wide = min(k, size), min(k + _SPARE, size)
    while True:
        values, tokens = logits.topk(wide, dim=-1)
        if wide == size or not bool((values[:, -1] >= values[:, k - 1]).any()):
            return values, tokens
        wide = min(4 * wide, size)
