"""slick.shared_prefix: the logits of every row as if it had been computed alone and whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from slick.batches import Tokens
from slick.shared_prefix import SharedPrefix

SHARING = ["Llama", "Qwen3", "Gemma3", "Mistral", "GPT2", "GPTNeoX", "Mixtral", "Bloom"]


def _tokens(n: int, seed: int, size: int = 300) -> Tokens:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(2, size, (n,), generator=draw).tolist())


def _alone(model: Any, row: Tokens) -> torch.Tensor:
    """The logits at every place of one row, without cache, padding or neighbours."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([row]), use_cache=False).logits[0]
    return logits


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, in units of the largest logit."""
    return float((one - other).abs().max() / other.abs().max())


@contextmanager
def _counted(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the ids that the model is called with."""
    seen: list[tuple[int, ...]] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    yield seen
    handle.remove()


ONE, OTHER = _tokens(20, 1), _tokens(11, 2)
ROWS = [
    ONE + _tokens(9, 3),
    ONE + _tokens(4, 4),
    ONE + _tokens(1, 5),
    OTHER + _tokens(6, 6),
    OTHER + _tokens(3, 7),
    _tokens(12, 8),
]
PREFIXES = [20, 20, 20, 11, 11, 0]


@pytest.mark.parametrize("kind", SHARING)
def test_shared_rows_have_the_logits_of_lonely_ones(random_model: Any, kind: str) -> None:
    """Two prefixes and none in one batch, rows of different lengths, several places of each, and two further steps."""
    model = random_model(kind)
    shared = SharedPrefix(model, 0)
    assert shared.reason == ""
    logits, running = shared.start(ROWS, PREFIXES, keep=3, more=2)
    assert logits.shape[:2] == (6, 3)
    own = [min(len(row) - length, 3) for row, length in zip(ROWS, PREFIXES, strict=True)]
    for i, row in enumerate(ROWS):
        assert _apart(logits[i, 3 - own[i] :], _alone(model, row)[len(row) - own[i] :]) < 1e-4
    rows = ROWS
    for token in (5, 7):
        rows = [(*row, token + i) for i, row in enumerate(rows)]
        step = shared.step(running, torch.tensor([row[-1] for row in rows]))
        assert all(_apart(step[i], _alone(model, row)[-1]) < 1e-4 for i, row in enumerate(rows))


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "GPT2"])
def test_chosen_rows_go_on_as_they_were(random_model: Any, kind: str) -> None:
    """Rows may be repeated and left out between two steps."""
    model = random_model(kind)
    shared = SharedPrefix(model, 0)
    _, running = shared.start(ROWS[:3], PREFIXES[:3], keep=1, more=1)
    shared.step(running, torch.tensor([5, 6, 7]))
    chosen = running.select(torch.tensor([2, 0, 2]), running.filled + 1)
    step = shared.step(chosen, torch.tensor([8, 9, 10]))
    for i, row in enumerate([(*ROWS[2], 7, 8), (*ROWS[0], 5, 9), (*ROWS[2], 7, 10)]):
        assert _apart(step[i], _alone(model, row)[-1]) < 1e-4


@pytest.mark.parametrize("kind", ["Mistral", "Gemma3"])
def test_padding_does_not_push_a_prefix_out_of_the_window(random_model: Any, kind: str) -> None:
    """Rows shorter than the window, whose batch has more slots than it: nothing is lost."""
    model = random_model(kind)
    shared = SharedPrefix(model, 0)
    rows = [ONE * 2 + _tokens(2, 3), ONE[:8] + _tokens(40, 4)]
    assert shared.window == 64
    assert shared.serves(max(map(len, rows)))
    logits, _ = shared.start(rows, [40, 8], 1)
    assert all(_apart(logits[i, -1], _alone(model, row)[-1]) < 1e-4 for i, row in enumerate(rows))


@pytest.mark.parametrize("kind", ["Mistral", "Gemma3"])
def test_rows_beyond_a_window_are_not_served(random_model: Any, kind: str) -> None:
    """Up to the window everything attends to everything; `whole` computes what is longer."""
    model = random_model(kind)
    shared = SharedPrefix(model, 0)
    assert shared.serves(64)
    assert not shared.serves(65)
    rows = [_tokens(90, 1), _tokens(30, 2)]
    logits = shared.whole(rows, 1)
    assert all(_apart(logits[i, -1], _alone(model, row)[-1]) < 1e-4 for i, row in enumerate(rows))


@pytest.mark.parametrize("kind", [*SHARING, "Mamba", "MPT"])
def test_the_way_without_a_cache(random_model: Any, kind: str) -> None:
    """Every model can compute rows whole, padded behind."""
    model = random_model(kind)
    logits = SharedPrefix(model, 0).whole(ROWS, 4)
    for i, row in enumerate(ROWS):
        assert _apart(logits[i], _alone(model, row)[-4:]) < 1e-4


def test_a_model_of_recurrent_layers_alone_is_computed_whole(tiny_tokenizer: Any) -> None:
    """Transformers' caches are made for some attention: none is asked for."""
    from transformers import JambaConfig, JambaForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = JambaConfig(vocab_size=len(tiny_tokenizer), num_key_value_heads=1, num_experts=2, mamba_d_state=4, **shape)
    model = JambaForCausalLM(config).eval()
    logits = SharedPrefix(model, 0).whole(ROWS, 2)
    assert all(_apart(logits[i], _alone(model, row)[-2:]) < 1e-4 for i, row in enumerate(ROWS))


def test_more_places_than_a_row_has_hold_nothing(random_model: Any) -> None:
    """A short row in company of one of which more is wanted."""
    shared = SharedPrefix(random_model("Llama"), 0)
    rows = [_tokens(2, 1), _tokens(9, 2)]
    for logits in (shared.start(rows, [0, 0], 5)[0], shared.whole(rows, 5)):
        assert logits.shape[1] == 5
        assert _apart(logits[0, 3:], _alone(shared.model, rows[0])) < 1e-4
        assert _apart(logits[1], _alone(shared.model, rows[1])[-5:]) < 1e-4
    assert not shared.whole(rows, 5)[0, :3].any()


def test_a_prefix_is_computed_once(random_model: Any) -> None:
    """In this batch and in all later ones; its copy is made anew only where a batch does not fit the last one."""
    model = random_model("Llama")
    shared = SharedPrefix(model, 0)
    with _counted(model) as seen:
        first, _ = shared.start(ROWS[:3], [20] * 3, 1)
        again, _ = shared.start(ROWS[:2], [20] * 2, 1)
        more, _ = shared.start(ROWS[:3] * 2, [20] * 6, 1, more=5)
    assert seen == [(1, 20), (3, 9), (2, 9), (6, 9)]
    torch.testing.assert_close(again, first[:2])
    torch.testing.assert_close(more, first.repeat(2, 1, 1))


def test_a_batch_leaves_nothing_to_the_next_one(random_model: Any) -> None:
    """The copied prefix is used again, what stood behind it is not."""
    model = random_model("Llama")
    shared = SharedPrefix(model, 0)
    _, running = shared.start(ROWS[:2], [20, 20], 1, more=4)
    for token in (3, 4, 5, 6):
        shared.step(running, torch.tensor([token, token]))
    row = (*ONE, *_tokens(2, 9))
    logits, _ = shared.start([row], [20], 1, more=1)
    assert _apart(logits[0, -1], _alone(model, row)[-1]) < 1e-4


def test_a_small_batch_leaves_room_for_a_larger_one(random_model: Any) -> None:
    """The buffer that serves all batches has the rows of the largest so far and the slots of the longest."""
    model = random_model("Llama")
    shared = SharedPrefix(model, 0)
    shared.start(ROWS[:5], PREFIXES[:5], 1)
    shared.start([_tokens(50, 1)], [0], 1)  # longer, but alone and without a prefix
    for rows, prefixes in ((ROWS, [0] * 6), (ROWS, PREFIXES), (ROWS[:2] * 4, [20] * 8), (ROWS[::-1], PREFIXES[::-1])):
        logits, running = shared.start(rows, prefixes, 1, more=1)
        step = shared.step(running, torch.tensor([5] * len(rows)))
        assert all(_apart(logits[i, -1], _alone(model, row)[-1]) < 1e-4 for i, row in enumerate(rows))
        assert all(_apart(step[i], _alone(model, (*row, 5))[-1]) < 1e-4 for i, row in enumerate(rows))


def test_only_so_many_prefixes_are_kept(random_model: Any) -> None:
    """Memory does not grow with the number of exemplar sets: the one that was used longest ago goes."""
    model = random_model("Llama")
    # Keys and values of 8 tokens, 32 wide, in 2 layers, of 4 bytes each: room for three prefixes.
    shared = SharedPrefix(model, 0, kept_bytes=3 * 2 * 8 * 32 * 2 * 4)
    heads = [_tokens(8, seed) for seed in range(4)]
    computed = []
    for which in (0, 1, 2, 0, 3, 0, 2, 1):
        with _counted(model) as seen:
            shared.start([(*heads[which], 5)], [8], 1)
        computed.append((1, 8) in seen)
    assert computed == [True, True, True, False, True, False, False, True]


REFUSED = [("Mamba", "the model keeps no key-value cache"), ("MPT", "sharing changed its logits by .* of ")]


@pytest.mark.parametrize(("kind", "reason"), REFUSED)
def test_models_that_cannot_share_say_why(random_model: Any, kind: str, reason: str) -> None:
    """Without a cache, or with positions that count slots (MPT's ALiBi), which only a trial shows."""
    import re

    shared = SharedPrefix(random_model(kind), 0)
    assert re.match(reason, shared.reason)
    assert not shared.serves(4)


def test_a_cache_of_more_than_keys_and_values_cannot_be_shared(tiny_tokenizer: Any) -> None:
    """A hybrid model: recurrent layers among those with attention."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    kinds = {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2}
    model = Lfm2ForCausalLM(Lfm2Config(vocab_size=len(tiny_tokenizer), **shape, **kinds)).eval()
    assert "its cache holds more than keys and values" in SharedPrefix(model, 0).reason


def test_a_window_too_small_to_try_is_refused(random_model: Any) -> None:
    """Nothing that is worth sharing fits into it."""
    assert "reaches back 8 tokens only" in SharedPrefix(random_model("Mistral", sliding_window=8), 0).reason


class _Stubborn(torch.nn.Module):
    """A model whose own code does not take the cache that it is given."""

    def __init__(self, inner: Any, error: Exception) -> None:
        super().__init__()
        self.inner = inner
        self.config = inner.config
        self.device = inner.device
        self.error = error

    def forward(
        self, input_ids: torch.Tensor, attention_mask: Any = None, past_key_values: Any = None, **kwargs: Any
    ) -> Any:
        if past_key_values is not None:
            raise self.error
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def test_a_model_that_refuses_the_cache_is_computed_whole(random_model: Any) -> None:
    """Models bring code of their own, which may fail in any way; the way without a cache remains."""
    shared = SharedPrefix(_Stubborn(random_model("Llama"), AttributeError("to_legacy_cache")), 0)
    assert shared.reason == "it refuses a shared cache (AttributeError: to_legacy_cache)"
    assert _apart(shared.whole(ROWS[:1], 1)[0], _alone(random_model("Llama"), ROWS[0])[-1:]) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_share_as_well(random_model: Any, dtype: torch.dtype) -> None:
    """In bfloat16 as nearly as it can be; the trial allows for that."""
    import copy

    model = copy.deepcopy(random_model("Llama")).to(dtype)
    shared = SharedPrefix(model, 0)
    assert shared.reason == ""
    logits, _ = shared.start(ROWS, PREFIXES, 1)
    assert logits.dtype == torch.float32
    near = 0.1 if dtype is torch.bfloat16 else 1e-6
    assert all(_apart(logits[i, -1], _alone(model, row)[-1].float()) < near for i, row in enumerate(ROWS))


def test_mixed_precision_reaches_every_pass(random_model: Any) -> None:
    """Prefix, batch and step run under the caller's autocast."""
    entered: list[int] = []

    @contextmanager
    def autocast() -> Iterator[None]:
        entered.append(1)
        yield

    shared = SharedPrefix(random_model("Llama"), 0, autocast)
    entered.clear()
    _, running = shared.start(ROWS[:2], [20, 20], 1, more=1)
    shared.step(running, torch.tensor([3, 4]))
    shared.whole(ROWS[:1], 1)
    assert len(entered) == 4


def test_logits_that_are_not_numbers_are_not_blamed_on_sharing(random_model: Any) -> None:
    """A damaged model is found out by whoever reads its logits."""
    import copy

    model = copy.deepcopy(random_model("Llama"))
    model.lm_head.weight.data[3] = torch.nan
    assert SharedPrefix(model, 0).reason == ""
