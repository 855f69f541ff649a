"""Many samples of one prompt from one prefill, for lm-eval's transformers models.

lm-eval asks for each sample as a request of its own and computes its prompt anew. Here a prompt is computed
once, its keys and values are repeated, and lm-eval's own generation goes on from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def serves(lm: Any) -> bool:
    """Whether `lm` is a causal transformers model whose cache is a plain key-value cache of every layer.

    Anything else (another backend, an encoder-decoder, a recurrent or windowed cache) takes lm-eval's way.
    """
    from lm_eval.models.huggingface import HFLM

    in_process: bool = issubclass(type(lm), HFLM)
    if not in_process or lm.backend != "causal" or lm.world_size > 1:
        return False
    config = getattr(lm.model.config, "text_config", lm.model.config)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
    # Without explicit positions (ALiBi, recurrent models) left-padded prompts could not be told apart.
    return kinds == {"full_attention"} and not windowed and "position_ids" in _forward_arguments(lm)


def sample_shared(
    lm: Any, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, batch_size: int
) -> list[list[str]]:
    """n answers a prompt: prompts × n, in order. kwargs: generation settings as lm-eval takes them.

    A batch holds at most `batch_size` sequences (n of one prompt stay together) and depends only on the
    prompts and on that number; torch's generator, which the caller has seeded, draws batch after batch.
    """
    settings = dict(kwargs)
    until, new_tokens = list(settings.pop("until")), int(settings.pop("max_gen_toks"))
    order = sorted(range(len(prompts)), key=lambda i: (-len(lm.tok_encode(prompts[i])), i))
    answers: list[list[str]] = [[] for _ in prompts]
    per_batch = max(1, batch_size // n)
    for first in range(0, len(order), per_batch):
        batch = order[first : first + per_batch]
        texts = _sample_batch(lm, [prompts[i] for i in batch], until, new_tokens, settings, n)
        for position, i in enumerate(batch):
            answers[i] = texts[position * n : (position + 1) * n]
    return answers


def _sample_batch(
    lm: Any, prompts: list[str], until: list[str], new_tokens: int, settings: dict[str, Any], n: int
) -> list[str]:
    import torch
    from lm_eval.models.utils import handle_stop_sequences, postprocess_generated_text

    ids, mask = lm.tok_batch_encode(prompts, left_truncate_len=lm.max_length - new_tokens, truncation=lm.truncation)
    ids, mask = ids.to(lm.device), mask.to(lm.device)
    stop = handle_stop_sequences(until, eos=lm.tok_decode(lm.eot_token_id, skip_special_tokens=False))
    with torch.no_grad():
        shared = {} if ids.shape[1] < 2 else {"past_key_values": _prefill(lm, ids, mask, n)}
        whole = lm._model_generate(
            context=ids.repeat_interleave(n, 0),
            attention_mask=mask.repeat_interleave(n, 0),
            stop=stop,
            max_length=ids.shape[1] + new_tokens,
            **shared,
            **settings,
        )
    return [
        postprocess_generated_text(lm.tok_decode(row[ids.shape[1] :]), stop=stop, think_end_token=None)
        for row in whole.tolist()
    ]


def _prefill(lm: Any, ids: torch.Tensor, mask: torch.Tensor, n: int) -> Any:
    """Keys and values of all tokens but the last, which generation itself must see; n copies of each row."""
    import torch

    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.autocast(lm.device.type, lm.mixed_precision_dtype, lm.mixed_precision_dtype is not None):
        cache = lm.model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            use_cache=True,
            # Logits of every prompt token would be the largest tensor of all.
            **({"logits_to_keep": 1} if "logits_to_keep" in _forward_arguments(lm) else {}),
        ).past_key_values
    cache.batch_repeat_interleave(n)
    return cache


def _forward_arguments(lm: Any) -> Mapping[str, inspect.Parameter]:
    """What the model's forward takes, looked up behind an adapter's wrapper."""
    model = lm.model.get_base_model() if hasattr(lm.model, "get_base_model") else lm.model
    return inspect.signature(model.forward).parameters
