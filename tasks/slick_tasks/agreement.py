"""Whether two sampled probes of one model agree: `lm_eval --tasks slick_…` and `slick probe`, or two machines.

Greedy answers must be equal, except where two tokens are numerically tied. Samples are draws, so they are
tested as a distribution: given how many of a prompt's n + m samples are right in both probes together, the
number among the first n is hypergeometric, whatever the model's probability is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from slick.facts import Fact
from slick.matching import Matching, is_right

Row = Mapping[str, Any]
# (prompt, whether sampled) → the answers.
_Answers = dict[tuple[str, bool], list[str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A prompt with two greedy answers."""

    fact: str
    prompt: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two probes compare over the facts of both.

    greedy: prompts with a greedy answer in both; `different` are those whose answers differ.
    sampled: prompts whose samples can tell (neither all right nor all wrong in both).
    bias: standard errors by which the first probe has more right samples.
    dispersion: standard errors by which the squared differences exceed those of two equal probes.
    Both are about standard normal where the probes agree, and 0 where no prompt can tell.
    """

    facts: int
    greedy: int
    different: tuple[Difference, ...]
    sampled: int
    bias: float
    dispersion: float

    def sampling_agrees(self, limit: float = 3.0) -> bool:
        """Whether bias and dispersion lie within `limit` standard errors (3: 0.5 % false alarms)."""
        return abs(self.bias) <= limit and abs(self.dispersion) <= limit


def compare_rows(first: Iterable[Row], second: Iterable[Row], matching: Matching = Matching.STRICT) -> Agreement:
    """Compares the sample rows of two probes of one model.

    Raises ValueError when they share no fact, or asked one in different words. Prompts that only one probe
    has (the fresh exemplar sets of `slick probe`) are left out.
    """
    one, two = _by_fact(first), _by_fact(second)
    shared = [id for id in one if id in two]
    if not shared:
        raise ValueError("the two probes share no fact")
    greedy = 0
    different: list[Difference] = []
    counts: list[tuple[int, int, int, int]] = []
    for id in shared:
        fact = one[id][0]
        for (prompt, is_sampled), a, b in _shared_prompts(id, one[id][1], two[id][1]):
            if is_sampled:
                counts.append((_right(a, fact, matching), len(a), _right(b, fact, matching), len(b)))
            else:
                greedy += 1
                different += [Difference(id, prompt, a[0], b[0])] if a[0] != b[0] else []
    sampled, bias, dispersion = sampling_differences(counts)
    return Agreement(len(shared), greedy, tuple(different), sampled, bias, dispersion)


def sampling_differences(counts: Iterable[tuple[int, int, int, int]]) -> tuple[int, float, float]:
    """(prompts that can tell, bias, dispersion) of (right, n, right, m) per prompt; see `Agreement`."""
    number = 0
    total = squares = variance = spread = 0.0
    for right, n, other, m in counts:
        mean, second, fourth = _moments(n, m, right + other)
        if second == 0:
            continue
        number += 1
        total += right - mean
        squares += (right - mean) ** 2 - second
        variance += second
        spread += fourth - second**2
    bias = total / math.sqrt(variance) if variance else 0.0
    return number, bias, squares / math.sqrt(spread) if spread else 0.0


def smallest_gap(lm: Any, prompt: str, difference: Difference, max_new_tokens: int = 32) -> float:
    """The least distance, in logits, of the best two tokens on the greedy path up to where the answers part.

    lm: lm-eval's HFLM of the model. Within the rounding of the model's number format it is a numeric tie:
    about 1e-4 for float32, 0.1 for bfloat16.
    """
    import torch

    tokens = torch.tensor([lm.tok_encode(prompt)], device=lm.device)
    found = lm.model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        output_logits=True,
        return_dict_in_generate=True,
    )
    answer = found.sequences[0, tokens.shape[1] :]
    gaps = []
    for i, logits in enumerate(found.logits):
        best = logits[0].topk(2).values
        gaps.append(float(best[0] - best[1]))
        text = lm.tok_decode(answer[: i + 1])
        if not (difference.first.startswith(text) and difference.second.startswith(text)):
            break
    return min(gaps)


def _by_fact(rows: Iterable[Row]) -> dict[str, tuple[Fact, _Answers]]:
    found = {}
    for row in rows:
        fact = Fact.from_dict(row["doc"])
        asked = [(request["arg_0"], bool(request["arg_1"]["do_sample"])) for request in row["arguments"].values()]
        found[fact.id] = (fact, dict(zip(asked, row["resps"], strict=True)))
    return found


def _shared_prompts(id: str, one: _Answers, two: _Answers) -> Iterator[tuple[tuple[str, bool], list[str], list[str]]]:
    # Samples are often missing (the two-stage probe); greedy prompts only beyond the other's.
    greedy, other = ({asked for asked in answers if not asked[1]} for answers in (one, two))
    if not (greedy <= other or other <= greedy):
        raise ValueError(f"fact {id}: the two probes asked it in different words")
    for asked in one:
        if asked in two:
            yield asked, one[asked], two[asked]


def _right(answers: Iterable[str], fact: Fact, matching: Matching) -> int:
    return sum(is_right(answer, fact.answers, matching) for answer in answers)


@cache
def _moments(n: int, m: int, right: int) -> tuple[float, float, float]:
    """Mean, variance and fourth central moment of the right ones among n, of `right` among n + m in all."""
    mean = n * right / (n + m)
    second = fourth = 0.0
    for k in range(max(0, right - m), min(n, right) + 1):
        weight = math.comb(n, k) * math.comb(m, right - k) / math.comb(n + m, right)
        second += weight * (k - mean) ** 2
        fourth += weight * (k - mean) ** 4
    return mean, second, fourth
