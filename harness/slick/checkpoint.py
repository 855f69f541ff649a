"""What a checkpoint says of how it is decoded: where answers end, and what is not taken over."""

from __future__ import annotations

from typing import Any

from slick.vocabulary import special_tokens

# Every request brings its own, or it changes no answer.
_SET_BY_REQUESTS = (
    *("do_sample", "temperature", "top_k", "top_p", "max_length", "max_new_tokens", "transformers_version"),
    *("output_attentions", "output_hidden_states", "use_cache", "cache_implementation", "return_dict_in_generate"),
)
# Values with which a setting does nothing.
_NEUTRAL = {"repetition_penalty": 1.0, "length_penalty": 1.0, "num_beams": 1, "no_repeat_ngram_size": 0}


def ending_tokens(lm: Any) -> set[int]:
    """Tokens that end an answer altogether: of the generation config, end-of-sequence, the chat turn's end."""
    ends = lm.model.generation_config.eos_token_id
    found = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
    found.add(lm.eot_token_id)
    turn = _turn_end(lm.tokenizer)
    return {int(i) for i in found if i is not None} | ({turn} if turn is not None else set())


def _turn_end(tokenizer: Any) -> int | None:
    """The special token that the chat template writes behind an assistant's turn, if there is one."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    mark = "Xyzzy"
    try:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}]
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception:  # a template may refuse anything; it then names no end of turn
        return None
    ids = tokenizer(text[text.rfind(mark) + len(mark) :], add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in special_tokens(tokenizer) else None


def decode_plainly(model: Any) -> str:
    """Drops what a checkpoint's generation_config.json adds to decoding; says what that is, "" for nothing.

    The protocol is the model's own distribution; a repetition penalty would punish answers that stand in the
    exemplars.
    """
    from transformers import GenerationConfig

    given = model.generation_config
    kept = {name: getattr(given, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**kept)
    neutral = {**model.generation_config.to_dict(), **_NEUTRAL}
    dropped = {
        name: value
        for name, value in given.to_dict().items()
        if value is not None and value != neutral.get(name) and name not in _SET_BY_REQUESTS and name[0] != "_"
    }
    if not dropped:
        return ""
    listed = ", ".join(f"{name}={value}" for name, value in sorted(dropped.items()))
    return f"generation_config.json asks for {listed}, which is not applied: the protocol decodes plainly"
