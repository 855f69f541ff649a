"""slick-hf: lm-eval's own greedy answers on models of many kinds, and what one call may hold."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from slick.backend import load_backend
from slick.errors import InputError

SHARING = ["Llama", "Qwen3", "Gemma3", "Mistral", "GPT2", "GPTNeoX", "Mixtral", "Bloom"]


def test_greedy_answers_are_lm_evals_own(hf: Any, pair: Any, every_kind: str) -> None:
    """Token for token, for prompts within a window and beyond it, whatever ends the answers and wherever."""
    stock, ours = pair(every_kind)
    for prompts in (hf.short, hf.long + hf.short[:3]):
        expected = hf.generated(stock, prompts)
        assert hf.generated(ours, prompts) == expected
        assert len(set(expected)) >= 4
    assert hf.generated(ours, hf.short, until=["i", "\n\n"]) == hf.generated(stock, hf.short, until=["i", "\n\n"])
    assert hf.generated(ours, hf.short, until=[]) == hf.generated(stock, hf.short, until=[])


@pytest.mark.parametrize("kind", SHARING)
def test_these_kinds_share(pair: Any, kind: str) -> None:
    """Nothing falls back where it need not; windows bound what is shared."""
    shared = pair(kind)[1].shared
    assert shared.reason == ""
    assert shared.window == (64 if kind in ("Mistral", "Gemma3") else None)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("Mamba", "the model keeps no key-value cache"), ("MPT", r"sharing changed its logits by \S+ of")],
)
def test_models_that_cannot_share_say_so(
    hf: Any, random_model: Any, tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    """When they are loaded, in one line."""
    with caplog.at_level(logging.WARNING, logger="lm_eval.slick"):
        hf.engine(random_model(kind), tiny_tokenizer)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "lm_eval.slick"]
    assert re.match(f"slick-hf: prompts share nothing, since {reason}", message)


def test_a_lora_adapter_answers_with_its_base(hf: Any, tiny_model: Path, tmp_path: Path) -> None:
    """Its directory is the model, as `hf` loads it; and it does change the answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.mul_(20)
    tuned.save_pretrained(tmp_path / "adapter")
    ours = load_backend("slick-hf", str(tmp_path / "adapter"))
    assert ours.model["adapter"]
    assert ours.lm.shared.reason == ""
    requests = [(prompt, hf.greedy) for prompt in hf.short]
    found = ours.generate(requests)
    assert found == load_backend("hf", str(tmp_path / "adapter")).generate(requests)
    assert found != load_backend("slick-hf", str(tiny_model)).generate(requests)


def test_in_bfloat16_only_near_ties_may_differ(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """Where an answer is not lm-eval's, the first token that differs was nearer to its rival than rounding reaches."""
    model = copy.deepcopy(random_model("Llama")).to(torch.bfloat16)
    stock, ours = hf.stock(model, tiny_tokenizer), hf.engine(model, tiny_tokenizer)
    assert ours.shared.reason == ""
    assert ours.tie == 0.5
    prompts = hf.short + hf.long
    differing = 0
    for prompt, one, other in zip(prompts, hf.generated(stock, prompts), hf.generated(ours, prompts), strict=True):
        if one != other:
            differing += 1
            ids, left, right = (tiny_tokenizer(text)["input_ids"] for text in (prompt, prompt + one, prompt + other))
            split = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(ids))
            with torch.no_grad():
                top = model(input_ids=torch.tensor([left[:split]])).logits[0, -1].float().topk(2).values
            assert top[0] - top[1] <= ours.tie
    assert differing <= 3


@pytest.mark.parametrize("args", [{"mixed_precision_dtype": "bfloat16"}, {"mixed_precision_dtype": "float16"}])
def test_mixed_precision_is_lm_evals(hf: Any, random_model: Any, tiny_tokenizer: Any, args: Any) -> None:
    """Weights in float32, products in less: near ties apart, the same answers."""
    model = random_model("Llama")
    ours = hf.engine(model, tiny_tokenizer, **args)
    assert ours.shared.reason == ""
    assert ours.tie >= 0.1
    stock = hf.generated(hf.stock(model, tiny_tokenizer, **args), hf.short)
    same = [one == other for one, other in zip(stock, hf.generated(ours, hf.short), strict=True)]
    assert sum(same) >= len(hf.short) - 2


def test_an_encoder_decoder_is_refused(hf: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    """By name, with what is expected."""
    from transformers import T5Config, T5ForConditionalGeneration

    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 1}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tiny_tokenizer), **shape))
    with pytest.raises(InputError, match="T5ForConditionalGeneration is an encoder-decoder; expected a causal"):
        hf.engine(model, tiny_tokenizer)
    model.save_pretrained(tmp_path / "t5")
    tiny_tokenizer.save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match=r"t5: backend slick-hf cannot load it .* is an encoder-decoder"):
        load_backend("slick-hf", str(tmp_path / "t5"))


def test_lm_eval_knows_it_by_name() -> None:
    """`lm_eval --model slick-hf`."""
    import lm_eval.models  # noqa: F401
    from lm_eval.api.registry import get_model

    from slick.slick_hf import SlickHF

    assert get_model("slick-hf") is SlickHF


# --- one call


def test_one_batch_or_many_give_the_same_answers(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """Batches decide speed only; answers come in the order of their requests."""
    model = random_model("Llama")
    expected = hf.generated(hf.engine(model, tiny_tokenizer, 64), hf.short)
    assert hf.generated(hf.engine(model, tiny_tokenizer, 1), hf.short) == expected
    assert hf.generated(hf.engine(model, tiny_tokenizer, 4), hf.short[::-1]) == expected[::-1]


def test_equal_greedy_requests_are_computed_once(hf: Any, pair: Any) -> None:
    """However often they are asked, in whatever order."""
    lm = pair("Llama")[1]
    rows = 0

    def count(_: Any, __: Any, kwargs: Any) -> None:
        nonlocal rows
        rows += kwargs["input_ids"].shape[0]

    lm.shared._prefixes.clear()
    handle = lm.model.register_forward_pre_hook(count, with_kwargs=True)
    answers = hf.generated(lm, [hf.short[8], hf.short[9]] * 5, max_gen_toks=1)
    handle.remove()
    assert rows == 2
    assert answers == [answers[0], answers[1]] * 5


def test_equal_sampled_requests_are_samples(hf: Any, pair: Any) -> None:
    """lm-eval's repeats: the n-th equal request has sample n, of the seed that lm-eval has set."""
    lm = pair("Llama")[1]
    torch.manual_seed(11)
    repeated = hf.generated(lm, [hf.short[0], hf.short[1], hf.short[0], hf.short[0]], **hf.sampled)
    assert [repeated[0], repeated[2], repeated[3]] == lm.sample([hf.short[0]], hf.sampled, 3, 11)[0]
    assert [repeated[1]] == lm.sample([hf.short[1]], hf.sampled, 1, 11)[0]
    assert hf.generated(lm, [hf.short[0]] * 2, **hf.sampled, seed=5) == lm.sample([hf.short[0]], hf.sampled, 2, 5)[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_gen_toks": 5},
        {"until": ["\n"], "max_gen_toks": 5},
        {"until": "i", "max_gen_toks": 5, "temperature": 0.0},
    ],
)
def test_settings_may_be_left_out(hf: Any, pair: Any, given: dict[str, Any]) -> None:
    """As in lm-eval: no stop string, 256 tokens, greedy."""
    from lm_eval.api.instance import Instance

    requests = [Instance("generate_until", {}, (hf.short[0], dict(given)), 0)]
    answers = [lm.generate_until(requests, disable_tqdm=True) for lm in pair("Llama")]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "given",
    [
        {"num_beams": 2, "do_sample": False, "max_gen_toks": 5, "until": ["\n"]},
        {"repetition_penalty": 1.5, "max_gen_toks": 5, "until": ["\n"]},
        {"max_new_tokens": 3, "until": ["\n"]},
        {"do_sample": False, "temperature": 0.7, "max_gen_toks": 5, "until": ["\n"]},
        {"do_sample": True, "temperature": 0.7, "max_gen_toks": 5, "until": ["\n"]},
        {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.5, "max_gen_toks": 5, "until": ["\n"]},
    ],
)
def test_other_settings_are_lm_evals(hf: Any, random_model: Any, tiny_tokenizer: Any, given: dict[str, Any]) -> None:
    """Beams, penalties and nucleus sampling are answered by its own code, with its own generator."""
    from lm_eval.api.instance import Instance

    model = random_model("Llama")
    found = []
    for lm in (hf.stock(model, tiny_tokenizer), hf.engine(model, tiny_tokenizer, 5)):
        torch.manual_seed(3)
        found.append(
            lm.generate_until(
                [Instance("generate_until", {}, (p, dict(given)), i) for i, p in enumerate(hf.short)], True
            )
        )
    assert found[0] == found[1]


def test_log_likelihoods_are_lm_evals(hf: Any, pair: Any) -> None:
    """Other tasks run on it as on `hf`."""
    from lm_eval.api.instance import Instance

    stock, ours = pair("Llama")
    requests = [Instance("loglikelihood", {}, (prompt, " P17land 0"), i) for i, prompt in enumerate(hf.short)]
    for one, other in zip(ours.loglikelihood(requests), stock.loglikelihood(requests), strict=True):
        assert one == (pytest.approx(other[0], abs=1e-3), other[1])


def test_the_largest_batch_may_be_left_to_lm_eval(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """`--batch_size auto`: its trial, once, at most --max_batch_size."""
    lm = hf.engine(random_model("GPT2"), tiny_tokenizer, "auto", max_batch_size=3)  # type: ignore[arg-type]
    expected = hf.generated(hf.engine(random_model("GPT2"), tiny_tokenizer), hf.short)
    assert hf.generated(lm, hf.short) == expected
    assert lm.rows_per_batch == lm.batch_size == 3


def test_nothing_asked_is_nothing_answered(hf: Any, pair: Any) -> None:
    """An empty call is no error."""
    lm = pair("Llama")[1]
    assert lm.generate_until([]) == lm.sample([], hf.sampled, 4, 0) == lm.exact([]) == lm.greedy([], hf.greedy) == []


def test_the_same_call_gives_the_same_bytes(hf: Any, random_model: Any, tiny_tokenizer: Any) -> None:
    """Repeated, and on a model that was loaded anew: what a resumed run relies on."""
    first, second = (hf.engine(random_model("Llama"), tiny_tokenizer) for _ in range(2))
    for lm in (first, second, first):
        assert hf.generated(lm, hf.short) == hf.generated(first, hf.short)
        assert lm.sample(hf.short, hf.sampled, 3, 8) == first.sample(hf.short, hf.sampled, 3, 8)
        requests = [hf.request(prompt, "P17land 0", "i") for prompt in hf.short]
        assert lm.exact(requests) == first.exact(requests)
