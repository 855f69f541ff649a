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
from slick.fan import Fan
from slick.shared_prefix import Running, SharedPrefix
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
    fanned = samples > 1 and model.fans
    logits, running = model.start(prompts, prefixes, 1, more=length * samples if fanned else length)
    logits = logits[:, 0]
    if sampling is None or numbers is None:
        return _in_rows(model, logits, running, length, ended, lambda rows, _: rows.argmax(-1))
    draws = torch.from_numpy(numbers).to(logits.device)
    if fanned:
        return _side_by_side(model, logits, running, ended, sampling, draws)
    copies = torch.arange(len(prompts), device=logits.device).repeat_interleave(samples)
    running, logits, draws = running.select(copies, running.filled + length), logits[copies], draws.flatten(0, 1)
    return _in_rows(model, logits, running, length, ended, lambda rows, of: draw(rows, sampling, draws[of]))


def _in_rows(
    model: SharedPrefix,
    logits: torch.Tensor,
    running: Running,
    length: int,
    ended: Ended,
    choose: Callable[[torch.Tensor, Any], torch.Tensor],
) -> list[list[int]]:
    """One continuation a row. choose: logits, and (rows, place) that they belong to, to tokens."""
    written: list[list[int]] = [[] for _ in range(len(logits))]
    alive = list(range(len(written)))
    numbers = torch.arange(len(written), device=logits.device)
    for place in range(length):
        _check(logits)
        chosen = choose(logits, (numbers, place))
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
            running, chosen, numbers = running.select(kept, running.mask.shape[1]), chosen[kept], numbers[kept]
            alive = [alive[row] for row in going]
        else:
            still = set(going)
            alive = [i if row in still else -1 for row, i in enumerate(alive)]
        logits = model.step(running, chosen)
    return written


def _side_by_side(
    model: SharedPrefix,
    logits: torch.Tensor,
    running: Running,
    ended: Ended,
    sampling: Sampling,
    draws: torch.Tensor,
) -> list[list[int]]:
    """As many continuations a row as draws (rows × samples × length) has; they come row after row."""
    rows, samples, length = draws.shape
    fan = Fan(model, running, samples, length)
    written: list[list[int]] = [[] for _ in range(rows * samples)]
    # Row by row of the batch: which prompt it is, and the samples of it that go on.
    prompts, going = list(range(rows)), [list(range(samples)) for _ in range(rows)]
    logits = logits[:, None].expand(rows, samples, logits.shape[1])
    for place in range(length):
        _check(logits)
        which = _filled(going, fan.nobody, logits.device)
        numbers = draws[torch.tensor(prompts, device=logits.device)[:, None], which.clamp(max=samples - 1), place]
        chosen = draw(logits.flatten(0, 1), sampling, numbers.flatten()).view(which.shape)
        columns: list[list[int]] = []
        for prompt, some, tokens in zip(prompts, going, chosen.tolist(), strict=True):
            texts = [written[prompt * samples + j] for j in some]
            for text, token in zip(texts, tokens[: len(some)], strict=True):
                text.append(token)
            columns.append([column for column, text in enumerate(texts) if not ended(text)])
        left = [row for row, some in enumerate(columns) if some]
        if not left or place == length - 1:
            break
        going = [[some[column] for column in of] for some, of in zip(going, columns, strict=True)]
        # Rows that have no sample left are computed along, until they are half of all.
        if 2 * len(left) <= len(going):
            rest = torch.tensor(left, device=logits.device)
            fan.keep(rest, length - place - 1)
            chosen = chosen[rest]
            prompts, going = [prompts[row] for row in left], [going[row] for row in left]
            columns = [columns[row] for row in left]
        tokens = chosen.gather(1, _filled(columns, 0, logits.device))
        logits = fan.step(_filled(going, fan.nobody, logits.device), tokens)
    return written


def _filled(rows: Sequence[Sequence[int]], filler: int, device: torch.device) -> torch.Tensor:
    """Rows of different lengths as one table."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)


def _check(logits: torch.Tensor) -> None:
    if not bool(logits.amax(-1).isfinite().all()):  # a NaN would be the largest
        raise RunError(NOT_NUMBERS)


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
