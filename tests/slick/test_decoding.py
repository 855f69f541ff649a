"""slick.decoding: greedy answers, and samples that follow the model's distribution and nothing else."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slick.batches import Tokens
from slick.decoding import Sampling, decode, draw, largest, uniforms
from slick.errors import RunError
from slick.shared_prefix import SharedPrefix


def _tokens(n: int, seed: int) -> Tokens:
    drawn = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(2, 300, (n,), generator=drawn).tolist())


HEAD = _tokens(16, 1)
PROMPTS = [HEAD + _tokens(n, 10 + n) for n in (1, 2, 4, 6, 9)]
SHARED = [16] * 5


def _never(_: Sequence[int]) -> bool:
    return False


def _greedy(model: Any, prompt: Tokens, length: int) -> list[int]:
    """The argmax path, every token computed from the whole row before it."""
    written: list[int] = []
    for _ in range(length):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *written]]), use_cache=False).logits[0, -1]
        written.append(int(logits.argmax()))
    return written


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Mistral"])
def test_greedy_answers_are_the_argmax_path(random_model: Any, kind: str) -> None:
    """Token for token, in one batch behind one prefix."""
    model = random_model(kind)
    found = decode(SharedPrefix(model, 0), PROMPTS, SHARED, 5, _never)
    assert found == [_greedy(model, prompt, 5) for prompt in PROMPTS]


def test_an_answer_ends_where_it_says(random_model: Any) -> None:
    """Rows end one by one, each with the token that ended it; those that go on are not disturbed."""
    model = random_model("Llama")
    shared = SharedPrefix(model, 0)
    whole = decode(shared, PROMPTS, SHARED, 8, _never)
    # The first row ends at once, the second after two tokens, …, the last at the length limit.
    stops = [row[: 1 + 2 * i] for i, row in enumerate(whole)]
    assert decode(shared, PROMPTS, SHARED, 8, lambda written: list(written) in stops) == [
        row[: min(1 + 2 * i, 8)] for i, row in enumerate(whole)
    ]


def test_rows_that_have_ended_are_left_out_once_they_are_half(random_model: Any) -> None:
    """The batch shrinks, and stops where all have ended."""
    model = random_model("Llama")
    shared = SharedPrefix(model, 0)
    whole = decode(shared, PROMPTS[:4], SHARED[:4], 8, _never)
    stops = [whole[0][:1], whole[1][:2], whole[2][:4], whole[3][:5]]
    rows: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    decode(shared, PROMPTS[:4], SHARED[:4], 8, lambda written: list(written) in stops)
    handle.remove()
    # The prompts (their prefix is there); a step of all four, two of two, one of one; none after the fifth token.
    assert rows == [4, 4, 2, 2, 1]


SAMPLING = Sampling(temperature=1.5, top_k=30, seed=7)


def _samples(
    model: SharedPrefix, prompts: Sequence[Tokens], n: int, sampling: Sampling = SAMPLING, length: int = 6
) -> list[list[list[int]]]:
    numbers = np.stack([uniforms(sampling, str(prompt), n, length) for prompt in prompts])
    prefixes = [16 if prompt[:16] == HEAD else 0 for prompt in prompts]
    flat = decode(model, prompts, prefixes, length, _never, sampling, numbers)
    return [flat[i * n : (i + 1) * n] for i in range(len(prompts))]


@pytest.mark.parametrize("kind", ["Llama", "GPTNeoX"])
def test_a_sample_does_not_hang_on_its_company(random_model: Any, kind: str) -> None:
    """Sample j of a prompt is the same among few and many samples, alone and in a batch, drawn now or later."""
    shared = SharedPrefix(random_model(kind), 0)
    many = _samples(shared, PROMPTS, 6)
    assert len({tuple(sample) for samples in many for sample in samples}) == 30
    assert _samples(shared, PROMPTS, 2) == [samples[:2] for samples in many]
    assert [_samples(shared, [prompt], 6)[0] for prompt in PROMPTS] == many
    assert _samples(shared, PROMPTS[::-1], 6) == many[::-1]
    later = Sampling(SAMPLING.temperature, SAMPLING.top_k, SAMPLING.seed, first=4)
    assert _samples(shared, PROMPTS, 2, later) == [samples[4:] for samples in many]


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_samples_side_by_side_are_those_of_rows_of_their_own(random_model: Any, kind: str) -> None:
    """Samples end one by one and whole prompts before others; some models need a row for each sample."""
    shared = SharedPrefix(random_model(kind), 0)

    def ended(written: Sequence[int]) -> bool:
        return written[-1] % 9 == 0 or (len(written) > 1 and written[0] % 5 == 1)

    numbers = np.stack([uniforms(SAMPLING, str(prompt), 7, 9) for prompt in PROMPTS])
    assert shared.fans
    beside = decode(shared, PROMPTS, SHARED, 9, ended, SAMPLING, numbers)
    shared.fans = False
    assert beside == decode(shared, PROMPTS, SHARED, 9, ended, SAMPLING, numbers)
    assert {1, 2, 9} <= set(map(len, beside))
    assert all(not ended(sample[:end]) for sample in beside for end in range(1, len(sample)))


def test_prompts_that_have_no_sample_left_are_left_out(random_model: Any) -> None:
    """A batch of samples shrinks in its rows and in the samples of each, and stops where all have ended."""
    model = random_model("Llama")
    shared = SharedPrefix(model, 0)
    whole = _samples(shared, PROMPTS[:4], 3)
    flat = [sample for samples in whole for sample in samples]
    # Samples of the prompts 0 to 3 end after so many tokens.
    ends = [1, 1, 1, 2, 2, 1, 1, 4, 1, 6, 6, 3]
    stops = [sample[:end] for sample, end in zip(flat, ends, strict=True)]
    shapes: list[tuple[int, ...]] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    numbers = np.stack([uniforms(SAMPLING, str(prompt), 3, 6) for prompt in PROMPTS[:4]])
    found = decode(shared, PROMPTS[:4], SHARED[:4], 6, lambda written: list(written) in stops, SAMPLING, numbers)
    handle.remove()
    assert found == [sample[:end] for sample, end in zip(flat, ends, strict=True)]
    assert shapes[1:] == [(4, 3), (2, 3), (2, 2), (1, 2), (1, 2)]


def test_other_seeds_draw_other_samples(random_model: Any) -> None:
    """And the same seed the same ones."""
    shared = SharedPrefix(random_model("Llama"), 0)
    first = _samples(shared, PROMPTS, 4)
    assert _samples(shared, PROMPTS, 4) == first
    assert _samples(shared, PROMPTS, 4, Sampling(1.5, 30, seed=8)) != first


def test_one_token_of_the_top_one_is_the_greedy_answer(random_model: Any) -> None:
    """Sampling from the largest logit alone."""
    model = random_model("Llama")
    found = _samples(SharedPrefix(model, 0), PROMPTS, 2, Sampling(1.0, 1, 0))
    assert found == [[_greedy(model, prompt, 6)] * 2 for prompt in PROMPTS]


@given(seed=st.integers(0, 2**64), prompt=st.text(max_size=20), n=st.integers(1, 5), first=st.integers(0, 9))
def test_numbers_belong_to_seed_prompt_and_sample(seed: int, prompt: str, n: int, first: int) -> None:
    """Those of sample j are the same whichever samples are asked for; they lie in [0, 1) and differ."""
    numbers = uniforms(Sampling(1.0, 1, seed, first), prompt, n, 4)
    assert numbers.shape == (n, 4)
    assert (numbers >= 0).all()
    assert (numbers < 1).all()
    assert len(set(numbers.ravel().tolist())) == 4 * n
    np.testing.assert_array_equal(numbers, uniforms(Sampling(1.0, 1, seed), prompt, first + n, 4)[first:])
    assert (uniforms(Sampling(1.0, 1, seed + 1, first), prompt, n, 4) != numbers).all()
    assert (uniforms(Sampling(1.0, 1, seed, first), prompt + "?", n, 4) != numbers).all()


def test_numbers_are_uniform() -> None:
    """Over prompts, samples and places."""
    from scipy.stats import kstest

    numbers = np.concatenate([uniforms(Sampling(1.0, 1, 0), f"prompt {i}", 16, 8).ravel() for i in range(100)])
    assert kstest(numbers, "uniform").pvalue > 0.001


def test_lone_surrogates_in_a_prompt_are_no_obstacle() -> None:
    """Prompts come from files, with whatever they hold."""
    assert uniforms(Sampling(1.0, 1, 0), "\ud800", 1, 1).shape == (1, 1)


def _theirs(logits: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    """The probabilities from which transformers samples."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper

    ids = torch.zeros(len(logits), 1, dtype=torch.long)
    tempered = TemperatureLogitsWarper(temperature)(ids, logits)
    probabilities: torch.Tensor = TopKLogitsWarper(top_k)(ids, tempered).double().softmax(-1)
    return probabilities


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 60),
    temperature=st.sampled_from([0.3, 0.5, 1.0, 2.0]),
    top_k=st.integers(1, 70),
    rounded=st.booleans(),
)
def test_tokens_are_drawn_with_transformers_probabilities(
    seed: int, size: int, temperature: float, top_k: int, rounded: bool
) -> None:
    """A fine grid of numbers falls on the tokens as often as transformers' warpers say, ties with the k-th kept."""
    logits = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 2
    logits = logits.round() if rounded else logits
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    tokens = draw(logits.expand(2000, -1), Sampling(temperature, top_k, 0), grid)
    shares = torch.bincount(tokens, minlength=size) / 2000
    expected = _theirs(logits[None], temperature, top_k)[0]
    assert not shares[expected == 0].any()
    # Each token owns one interval of [0, 1): the grid counts it to within one point.
    assert (shares - expected).abs().max() <= 1.01 / 2000


def test_the_largest_number_below_one_draws_a_token_with_a_chance() -> None:
    """Whatever rounding leaves of the sum."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -50.0, -60.0]])
    below_one = torch.tensor([float(np.nextafter(1, 0))], dtype=torch.float64)
    assert draw(logits, Sampling(0.5, 3, 0), below_one).tolist() == [2]
    assert draw(logits, Sampling(0.5, 3, 0), torch.tensor([0.0], dtype=torch.float64)).tolist() == [0]


def test_a_token_out_of_reach_is_never_drawn() -> None:
    """Its logit may be -inf; the number 0 does not find it."""
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.0]])
    drawn = [draw(logits, Sampling(1.0, 4, 0), torch.tensor([u], dtype=torch.float64)).item() for u in (0.0, 0.5, 0.99)]
    assert set(drawn) <= {1, 3}


@given(
    logits=st.lists(st.integers(-3, 3), min_size=1, max_size=80),
    k=st.integers(1, 90),
)
def test_all_that_tie_with_the_kth_are_among_the_largest(logits: list[int], k: int) -> None:
    """However many they are."""
    values, tokens = largest(torch.tensor([logits], dtype=torch.float32), k)
    kth = sorted(logits, reverse=True)[min(k, len(logits)) - 1]
    assert {i for i, logit in enumerate(logits) if logit >= kth} <= set(tokens[0].tolist())
    assert values[0].tolist() == sorted(values[0].tolist(), reverse=True)
    assert [float(logits[i]) for i in tokens[0].tolist()] == values[0].tolist()


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 12), (0.5, 40), (3.0, 5)])
def test_samples_follow_the_models_distribution(random_model: Any, temperature: float, top_k: int) -> None:
    """Chi-square of pairs of tokens against the product of tempered, truncated softmaxes, on a fixed seed."""
    from scipy.stats import chisquare

    model = copy.deepcopy(random_model("Llama"))
    model.lm_head.weight.data *= 0.3  # several tokens in play
    prompt, n = PROMPTS[2], 3000

    def chances(row: Tokens) -> dict[int, float]:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row])).logits[:, -1]
        found = _theirs(logits, temperature, top_k)[0]
        return {int(i): float(found[i]) for i in found.nonzero().flatten()}

    pairs = {(a, b): p * q for a, p in chances(prompt).items() for b, q in chances((*prompt, a)).items()}
    (samples,) = _samples(SharedPrefix(model, 0), [prompt], n, Sampling(temperature, top_k, 1), length=2)
    drawn = Counter((a, b) for a, b in samples)
    assert set(drawn) <= set(pairs)
    frequent = [pair for pair, p in pairs.items() if p * n >= 5]
    assert len(frequent) > 5
    observed, expected = [drawn[pair] for pair in frequent], [pairs[pair] * n for pair in frequent]
    rest = n - sum(expected)
    if rest > 1:
        observed, expected = [*observed, n - sum(observed)], [*expected, rest]
    scale = sum(observed) / sum(expected)
    assert chisquare(observed, [e * scale for e in expected]).pvalue > 0.001


@pytest.mark.parametrize("samples", [0, 3])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_numbers_stop_the_run(random_model: Any, samples: int, bad: float) -> None:
    """No answer is made up from them."""
    model = copy.deepcopy(random_model("Llama"))
    shared = SharedPrefix(model, 0)
    handle = model.lm_head.register_forward_hook(lambda _, __, logits: torch.full_like(logits, bad))
    numbers = uniforms(SAMPLING, "x", samples, 4)[None] if samples else None
    with pytest.raises(RunError, match=r"logits are not numbers .* try --model-args dtype=float32"):
        decode(shared, PROMPTS[:1], [16], 4, _never, SAMPLING if samples else None, numbers)
    handle.remove()
