"""slick-hf: what ends an answer, what does not fit, and what is refused."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from slick.backend import Backend, load_backend
from slick.errors import InputError, RunError
from slick.sampled import greedy_kwargs


def test_a_special_token_may_be_a_stop(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """It writes nothing that could be found in a text; lm-eval alone with its row stops there, too."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    first = tokenizer.convert_ids_to_tokens(hf.engine(random_model("Llama"), tokenizer).encode([" P17land"], 8)[0][:1])[
        0
    ]
    tokenizer.add_special_tokens({"additional_special_tokens": [first]})
    model = random_model("Llama")
    ours, stock = hf.engine(model, tokenizer), hf.stock(model, tokenizer, batch_size=1)
    for settings_ in ({"until": [first]}, {"until": ["x", first]}):
        assert hf.generated(ours, hf.short, **settings_) == hf.generated(stock, hf.short, **settings_)


def test_a_prompt_that_is_too_long_is_cut_as_lm_eval_cuts_it(
    hf: Any, random_model: Any, tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On the left, with a warning; the question at the end is kept."""
    model = random_model("GPT2", n_positions=48)
    prompts = [hf.long[0], hf.short[8]]
    stock, ours = hf.stock(model, tiny_tokenizer, 1), hf.engine(model, tiny_tokenizer)
    with caplog.at_level(logging.WARNING, logger="lm_eval.slick"):
        assert hf.generated(ours, prompts) == hf.generated(stock, prompts)
    tokens = len(tiny_tokenizer(hf.long[0])["input_ids"])
    assert f"a prompt of {tokens} tokens loses its first {tokens - 40}" in caplog.text


@pytest.mark.parametrize("kind", ["GPT2", "Mamba"])
def test_a_prompt_that_is_too_long_is_refused_by_slick(
    hf: Any, random_model: Any, tiny_tokenizer: Any, kind: str
) -> None:
    """A probe whose exemplars are cut would measure something else; the message says what to lower."""
    lm = hf.engine(random_model(kind), tiny_tokenizer, max_length=48)
    lm.truncates = False
    backend = Backend(lm, "slick-hf", {}, 6, {})
    message = (
        r"a prompt of \d+ tokens and 8 for its answer do not fit .* context of 48: .*; lower --max-gen-toks, or a probe"
    )
    for ask in (
        lambda: backend.generate([(hf.long[0], hf.greedy)]),
        lambda: backend.sample([hf.long[0]], hf.sampled, 2, 0),
        lambda: backend.exact([hf.request(hf.long[0], "P17land 0")]),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    with pytest.raises(InputError, match="max_gen_toks = 48: the model's context is 48 tokens; ask for fewer"):
        backend.generate([(hf.short[0], greedy_kwargs(48))])


def test_a_prompt_without_tokens_is_refused(hf: Any, pair: Any) -> None:
    """There is nothing to go on from."""
    with pytest.raises(InputError, match="prompt '': the tokenizer makes no tokens of it"):
        hf.generated(pair("Llama")[1], ["Q: x", ""])


@pytest.mark.parametrize("kind", ["Llama", "Mamba"])
def test_logits_that_are_not_numbers_stop_the_run(hf: Any, random_model: Any, tiny_tokenizer: Any, kind: str) -> None:
    """Greedy, sampled and exact; lm-eval would take them for token 0."""
    model = copy.deepcopy(random_model(kind))
    model.get_output_embeddings().weight.data[7] = torch.nan
    backend = Backend(hf.engine(model, tiny_tokenizer), "slick-hf", {}, 6, {})
    for ask in (
        lambda: backend.generate([(hf.short[0], hf.greedy)]),
        lambda: backend.sample(hf.short[:1], hf.sampled, 2, 0),
        lambda: backend.exact([hf.request(hf.short[0], "x")]),
    ):
        with pytest.raises(RunError, match=r"logits are not numbers .* try --model-args dtype=float32"):
            ask()


def test_a_checkpoints_own_decoding_is_dropped_aloud(
    hf: Any, tiny_tokenizer: Any, random_model: Any, tmp_path: Path
) -> None:
    """A repetition penalty in generation_config.json: `hf` and `slick-hf` agree in slick, and decode without it."""
    model = random_model("Llama")
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    plain = load_backend("slick-hf", str(tmp_path)).generate([(prompt, hf.greedy) for prompt in hf.short])
    path = tmp_path / "generation_config.json"
    given = json.loads(path.read_text())
    path.write_text(json.dumps({**given, "repetition_penalty": 8.0, "do_sample": True, "top_p": 0.2}))
    for name in ("hf", "slick-hf"):
        backend = load_backend(name, str(tmp_path))
        assert backend.generate([(prompt, hf.greedy) for prompt in hf.short]) == plain
        (note,) = backend.notes()
        assert note.startswith("generation_config.json asks for repetition_penalty=8.0, which is not applied")


def test_thinking_models_have_no_chances(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """What is cut off before an answer would have to be summed over."""
    lm = hf.engine(random_model("Llama"), tiny_tokenizer, think_end_token="</think>")
    with pytest.raises(InputError, match=r"think_end_token: .* leave it out"):
        lm.exact([hf.request(hf.short[0], "x")])
    with pytest.raises(InputError, match="think_end_token"):
        lm.sample(hf.short[:1], hf.sampled, 1, 0)
    stock = hf.stock(random_model("Llama"), tiny_tokenizer, 6, think_end_token="</think>")
    assert hf.generated(lm, hf.short) == hf.generated(stock, hf.short)
