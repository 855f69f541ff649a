"""slick-hf: lm-eval's own answers, the samples' distribution, and exact chances, on models of many kinds."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slick.backend import Backend, load_backend, quiet
from slick.errors import InputError, RunError
from slick.exact import ExactAnswer, ExactRequest
from slick.matching import Matching, is_right
from slick.prompts import probe_prompt
from slick.sampled import Sampled, greedy_kwargs
from slick.teacher import PromptTeacher
from slick.walk import walk

LENGTH = 8
GREEDY = greedy_kwargs(LENGTH)
SAMPLED = Sampled(max_gen_toks=LENGTH, temperature=1.0).sampled_kwargs()

SHARING = ["Llama", "Qwen3", "Gemma3", "Mistral", "GPT2", "GPTNeoX", "Mixtral", "Bloom"]
EVERY = [*SHARING, "MPT", "Mamba"]


def _behind(head: str) -> list[str]:
    """Questions of different lengths behind the same exemplars."""
    names = ["1", "devton 2", "P17devton 3, of all countries,", "country 4"]
    return [f"{head}Q: Which country is {name} located in?\nA:" for name in names]


# Behind two exemplar sets, which fit into a window of 64 tokens, and behind none.
SHORT = [
    *_behind("Q: What is the capital of P36trainton 1?\nA: P36land 0\n"),
    *_behind("Q: Which country is P17trainton 2 located in?\nA: P17land 1\n"),
    "Q: x\nA:",
    "Q",
]
# These do not.
LONG = [
    prompt
    for i in range(2)
    for prompt in _behind(f"Q: Which country is P17trainton {i} located in?\nA: P17land 0\n" * 3)
]


def _engine(model: Any, tokenizer: Any, batch_size: int = 6, **args: Any) -> Any:
    quiet()
    from slick.slick_hf import SlickHF

    return SlickHF(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu", **args)


def _stock(model: Any, tokenizer: Any, batch_size: int = 5, **args: Any) -> Any:
    quiet()
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu", **args)


def _generated(lm: Any, prompts: Sequence[str], **settings: Any) -> list[str]:
    """What lm-eval gets from the model for requests of these prompts."""
    from lm_eval.api.instance import Instance

    requests = [Instance("generate_until", {}, (p, {**GREEDY, **settings}), i) for i, p in enumerate(prompts)]
    answers: list[str] = lm.generate_until(requests, disable_tqdm=True)
    return answers


def _request(prompt: str, *answers: str, **changes: Any) -> ExactRequest:
    return replace(ExactRequest(prompt, answers, 1.0, 40, LENGTH), **changes)


@pytest.fixture(scope="module")
def pair(random_model: Any, tiny_tokenizer: Any) -> Callable[[str], tuple[Any, Any]]:
    """lm-eval's backend and ours on the same model."""
    made: dict[str, tuple[Any, Any]] = {}

    def of(kind: str) -> tuple[Any, Any]:
        if kind not in made:
            model = random_model(kind)
            made[kind] = _stock(model, tiny_tokenizer), _engine(model, tiny_tokenizer)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", EVERY)
def test_greedy_answers_are_lm_evals_own(pair: Any, kind: str) -> None:
    """Token for token, for prompts within a window and beyond it, whatever ends the answers and wherever."""
    stock, ours = pair(kind)
    for prompts in (SHORT, LONG + SHORT[:3]):
        expected = _generated(stock, prompts)
        assert _generated(ours, prompts) == expected
        assert len(set(expected)) >= 4
    assert _generated(ours, SHORT, until=["i", "\n\n"]) == _generated(stock, SHORT, until=["i", "\n\n"])
    assert _generated(ours, SHORT, until=[]) == _generated(stock, SHORT, until=[])


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
    random_model: Any, tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    """When they are loaded, in one line."""
    with caplog.at_level(logging.WARNING, logger="lm_eval.slick"):
        _engine(random_model(kind), tiny_tokenizer)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "lm_eval.slick"]
    assert re.match(f"slick-hf: prompts share nothing, since {reason}", message)


def test_a_lora_adapter_answers_with_its_base(tiny_model: Path, tmp_path: Path) -> None:
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
    requests = [(prompt, GREEDY) for prompt in SHORT]
    found = ours.generate(requests)
    assert found == load_backend("hf", str(tmp_path / "adapter")).generate(requests)
    assert found != load_backend("slick-hf", str(tiny_model)).generate(requests)


def test_in_bfloat16_only_near_ties_may_differ(random_model: Any, tiny_tokenizer: Any) -> None:
    """Where an answer is not lm-eval's, the first token that differs was nearer to its rival than rounding reaches."""
    model = copy.deepcopy(random_model("Llama")).to(torch.bfloat16)
    stock, ours = _stock(model, tiny_tokenizer), _engine(model, tiny_tokenizer)
    assert ours.shared.reason == ""
    assert ours.tie == 0.5
    prompts = SHORT + LONG
    differing = 0
    for prompt, one, other in zip(prompts, _generated(stock, prompts), _generated(ours, prompts), strict=True):
        if one != other:
            differing += 1
            ids, left, right = (tiny_tokenizer(text)["input_ids"] for text in (prompt, prompt + one, prompt + other))
            split = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(ids))
            with torch.no_grad():
                top = model(input_ids=torch.tensor([left[:split]])).logits[0, -1].float().topk(2).values
            assert top[0] - top[1] <= ours.tie
    assert differing <= 3


@pytest.mark.parametrize("args", [{"mixed_precision_dtype": "bfloat16"}, {"mixed_precision_dtype": "float16"}])
def test_mixed_precision_is_lm_evals(random_model: Any, tiny_tokenizer: Any, args: Any) -> None:
    """Weights in float32, products in less: near ties apart, the same answers."""
    model = random_model("Llama")
    ours = _engine(model, tiny_tokenizer, **args)
    assert ours.shared.reason == ""
    assert ours.tie >= 0.1
    stock = _generated(_stock(model, tiny_tokenizer, **args), SHORT)
    same = [one == other for one, other in zip(stock, _generated(ours, SHORT), strict=True)]
    assert sum(same) >= len(SHORT) - 2


def test_an_encoder_decoder_is_refused(tiny_tokenizer: Any, tmp_path: Path) -> None:
    """By name, with what is expected."""
    from transformers import T5Config, T5ForConditionalGeneration

    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 1}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tiny_tokenizer), **shape))
    with pytest.raises(InputError, match="T5ForConditionalGeneration is an encoder-decoder; expected a causal"):
        _engine(model, tiny_tokenizer)
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


def test_one_batch_or_many_give_the_same_answers(random_model: Any, tiny_tokenizer: Any) -> None:
    """Batches decide speed only; answers come in the order of their requests."""
    model = random_model("Llama")
    expected = _generated(_engine(model, tiny_tokenizer, 64), SHORT)
    assert _generated(_engine(model, tiny_tokenizer, 1), SHORT) == expected
    assert _generated(_engine(model, tiny_tokenizer, 4), SHORT[::-1]) == expected[::-1]


def test_equal_greedy_requests_are_computed_once(pair: Any) -> None:
    """However often they are asked, in whatever order."""
    lm = pair("Llama")[1]
    rows = 0

    def count(_: Any, __: Any, kwargs: Any) -> None:
        nonlocal rows
        rows += kwargs["input_ids"].shape[0]

    lm.shared._prefixes.clear()
    handle = lm.model.register_forward_pre_hook(count, with_kwargs=True)
    answers = _generated(lm, [SHORT[8], SHORT[9]] * 5, max_gen_toks=1)
    handle.remove()
    assert rows == 2
    assert answers == [answers[0], answers[1]] * 5


def test_equal_sampled_requests_are_samples(pair: Any) -> None:
    """lm-eval's repeats: the n-th equal request has sample n, of the seed that lm-eval has set."""
    lm = pair("Llama")[1]
    torch.manual_seed(11)
    repeated = _generated(lm, [SHORT[0], SHORT[1], SHORT[0], SHORT[0]], **SAMPLED)
    assert [repeated[0], repeated[2], repeated[3]] == lm.sample([SHORT[0]], SAMPLED, 3, 11)[0]
    assert [repeated[1]] == lm.sample([SHORT[1]], SAMPLED, 1, 11)[0]
    assert _generated(lm, [SHORT[0]] * 2, **SAMPLED, seed=5) == lm.sample([SHORT[0]], SAMPLED, 2, 5)[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_gen_toks": 5},
        {"until": ["\n"], "max_gen_toks": 5},
        {"until": "i", "max_gen_toks": 5, "temperature": 0.0},
    ],
)
def test_settings_may_be_left_out(pair: Any, given: dict[str, Any]) -> None:
    """As in lm-eval: no stop string, 256 tokens, greedy."""
    from lm_eval.api.instance import Instance

    requests = [Instance("generate_until", {}, (SHORT[0], dict(given)), 0)]
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
def test_other_settings_are_lm_evals(random_model: Any, tiny_tokenizer: Any, given: dict[str, Any]) -> None:
    """Beams, penalties and nucleus sampling are answered by its own code, with its own generator."""
    from lm_eval.api.instance import Instance

    model = random_model("Llama")
    found = []
    for lm in (_stock(model, tiny_tokenizer), _engine(model, tiny_tokenizer, 5)):
        torch.manual_seed(3)
        found.append(
            lm.generate_until([Instance("generate_until", {}, (p, dict(given)), i) for i, p in enumerate(SHORT)], True)
        )
    assert found[0] == found[1]


def test_log_likelihoods_are_lm_evals(pair: Any) -> None:
    """Other tasks run on it as on `hf`."""
    from lm_eval.api.instance import Instance

    stock, ours = pair("Llama")
    requests = [Instance("loglikelihood", {}, (prompt, " P17land 0"), i) for i, prompt in enumerate(SHORT)]
    for one, other in zip(ours.loglikelihood(requests), stock.loglikelihood(requests), strict=True):
        assert one == (pytest.approx(other[0], abs=1e-3), other[1])


def test_the_largest_batch_may_be_left_to_lm_eval(random_model: Any, tiny_tokenizer: Any) -> None:
    """`--batch_size auto`: its trial, once, at most --max_batch_size."""
    lm = _engine(random_model("GPT2"), tiny_tokenizer, "auto", max_batch_size=3)  # type: ignore[arg-type]
    expected = _generated(_engine(random_model("GPT2"), tiny_tokenizer), SHORT)
    assert _generated(lm, SHORT) == expected
    assert lm.rows_per_batch == lm.batch_size == 3


def test_nothing_asked_is_nothing_answered(pair: Any) -> None:
    """An empty call is no error."""
    lm = pair("Llama")[1]
    assert lm.generate_until([]) == lm.sample([], SAMPLED, 4, 0) == lm.exact([]) == lm.greedy([], GREEDY) == []


# --- samples


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Mamba", "MPT"])
def test_samples_hang_on_seed_prompt_and_number_alone(pair: Any, kind: str) -> None:
    """Whatever is drawn with them, before them or after; where nothing is shared as well."""
    lm = pair(kind)[1]
    prompts = SHORT[:3] + (LONG[:2] if kind == "Mistral" else [])
    many = lm.sample(prompts, SAMPLED, 5, seed=1)
    assert len({answer for answers in many for answer in answers}) > len(prompts)
    torch.manual_seed(99)
    assert lm.sample(prompts, SAMPLED, 5, seed=1) == many
    assert lm.sample(prompts[::-1], SAMPLED, 3, seed=1) == [answers[:3] for answers in many[::-1]]
    assert lm.sample(prompts[1:2], SAMPLED, 2, seed=1, first=3) == [many[1][3:]]
    assert lm.sample(prompts, SAMPLED, 5, seed=2) != many


def test_samples_are_the_same_with_and_without_sharing(random_model: Any, tiny_tokenizer: Any) -> None:
    """The same numbers meet the same chances, up to rounding."""
    lm = _engine(random_model("Llama"), tiny_tokenizer)
    shared = lm.sample(SHORT, SAMPLED, 3, seed=4)
    lm.shared.reason = "for the test's sake"
    assert lm.sample(SHORT, SAMPLED, 3, seed=4) == shared
    assert _generated(lm, [SHORT[0]] * 3, **SAMPLED, seed=4) == shared[0]


def test_one_sample_of_the_top_one_is_the_greedy_answer(pair: Any) -> None:
    """On every path."""
    for kind in ("Llama", "Mamba"):
        lm = pair(kind)[1]
        (answers,) = zip(*lm.sample(SHORT, {**SAMPLED, "top_k": 1}, 1, 0), strict=True)
        assert list(answers) == _generated(lm, SHORT)


# --- what ends an answer, what does not fit


def test_a_special_token_may_be_a_stop(random_model: Any, tiny_tokenizer: Any) -> None:
    """It writes nothing that could be found in a text; lm-eval alone with its row stops there, too."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    first = tokenizer.convert_ids_to_tokens(_engine(random_model("Llama"), tokenizer).encode([" P17land"], 8)[0][:1])[0]
    tokenizer.add_special_tokens({"additional_special_tokens": [first]})
    model = random_model("Llama")
    ours, stock = _engine(model, tokenizer), _stock(model, tokenizer, batch_size=1)
    for settings_ in ({"until": [first]}, {"until": ["x", first]}):
        assert _generated(ours, SHORT, **settings_) == _generated(stock, SHORT, **settings_)


def test_a_prompt_that_is_too_long_is_cut_as_lm_eval_cuts_it(
    random_model: Any, tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On the left, with a warning; the question at the end is kept."""
    model = random_model("GPT2", n_positions=48)
    prompts = [LONG[0], SHORT[8]]
    stock, ours = _stock(model, tiny_tokenizer, 1), _engine(model, tiny_tokenizer)
    with caplog.at_level(logging.WARNING, logger="lm_eval.slick"):
        assert _generated(ours, prompts) == _generated(stock, prompts)
    tokens = len(tiny_tokenizer(LONG[0])["input_ids"])
    assert f"a prompt of {tokens} tokens loses its first {tokens - 40}" in caplog.text


@pytest.mark.parametrize("kind", ["GPT2", "Mamba"])
def test_a_prompt_that_is_too_long_is_refused_by_slick(random_model: Any, tiny_tokenizer: Any, kind: str) -> None:
    """A probe whose exemplars are cut would measure something else; the message says what to lower."""
    lm = _engine(random_model(kind), tiny_tokenizer, max_length=48)
    lm.truncates = False
    backend = Backend(lm, "slick-hf", {}, 6, {})
    message = r"a prompt of \d+ tokens and 8 for its answer do not fit .* context of 48: .*; lower --n-exemplars"
    for ask in (
        lambda: backend.generate([(LONG[0], GREEDY)]),
        lambda: backend.sample([LONG[0]], SAMPLED, 2, 0),
        lambda: backend.exact([_request(LONG[0], "P17land 0")]),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    with pytest.raises(InputError, match="max_gen_toks = 48: the model's context is 48 tokens; ask for fewer"):
        backend.generate([(SHORT[0], greedy_kwargs(48))])


def test_a_prompt_without_tokens_is_refused(pair: Any) -> None:
    """There is nothing to go on from."""
    with pytest.raises(InputError, match="prompt '': the tokenizer makes no tokens of it"):
        _generated(pair("Llama")[1], ["Q: x", ""])


@pytest.mark.parametrize("kind", ["Llama", "Mamba"])
def test_logits_that_are_not_numbers_stop_the_run(random_model: Any, tiny_tokenizer: Any, kind: str) -> None:
    """Greedy, sampled and exact; lm-eval would take them for token 0."""
    model = copy.deepcopy(random_model(kind))
    model.get_output_embeddings().weight.data[7] = torch.nan
    backend = Backend(_engine(model, tiny_tokenizer), "slick-hf", {}, 6, {})
    for ask in (
        lambda: backend.generate([(SHORT[0], GREEDY)]),
        lambda: backend.sample(SHORT[:1], SAMPLED, 2, 0),
        lambda: backend.exact([_request(SHORT[0], "x")]),
    ):
        with pytest.raises(RunError, match=r"logits are not numbers .* try --model-args dtype=float32"):
            ask()


def test_a_checkpoints_own_decoding_is_dropped_aloud(tiny_tokenizer: Any, random_model: Any, tmp_path: Path) -> None:
    """A repetition penalty in generation_config.json: `hf` and `slick-hf` agree in slick, and decode without it."""
    model = random_model("Llama")
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    plain = load_backend("slick-hf", str(tmp_path)).generate([(prompt, GREEDY) for prompt in SHORT])
    path = tmp_path / "generation_config.json"
    given = json.loads(path.read_text())
    path.write_text(json.dumps({**given, "repetition_penalty": 8.0, "do_sample": True, "top_p": 0.2}))
    for name in ("hf", "slick-hf"):
        backend = load_backend(name, str(tmp_path))
        assert backend.generate([(prompt, GREEDY) for prompt in SHORT]) == plain
        (note,) = backend.notes()
        assert note.startswith("generation_config.json asks for repetition_penalty=8.0, which is not applied")


def test_thinking_models_have_no_chances(random_model: Any, tiny_tokenizer: Any) -> None:
    """What is cut off before an answer would have to be summed over."""
    lm = _engine(random_model("Llama"), tiny_tokenizer, think_end_token="</think>")
    with pytest.raises(InputError, match=r"think_end_token: .* leave it out"):
        lm.exact([_request(SHORT[0], "x")])
    with pytest.raises(InputError, match="think_end_token"):
        lm.sample(SHORT[:1], SAMPLED, 1, 0)
    stock = _stock(random_model("Llama"), tiny_tokenizer, 6, think_end_token="</think>")
    assert _generated(lm, SHORT) == _generated(stock, SHORT)


# --- tokenizers


def _piece_tokenizer(add_bos: bool) -> Any:
    """SentencePiece's ways, as Llama 2 has them: a mark for a leading space, bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [*"QAPWlandtrievcouyhs?:,0123456789", "▁"]
    merged = ["▁Q", "▁A", "an", "land", "▁P", "▁Wh", "ch", "tr", "tra", "in"]
    pairs = [("▁", "Q"), ("▁", "A"), ("▁", "P"), ("a", "n"), ("l", "an"), ("lan", "d"), ("c", "h"), ("t", "r")]
    parts = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *letters]
    parts += [p for p in [*merged, "lan", *(a + b for a, b in pairs)] if p not in parts]
    vocab = {part: i for i, part in enumerate(dict.fromkeys(parts))}
    backend = Tokenizer(models.BPE(vocab, pairs, byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


@pytest.fixture(scope="session")
def pieces() -> dict[bool, Any]:
    return {add: _piece_tokenizer(add) for add in (False, True)}


def _same_throughout(lm: Any, stock: Any, prompts: Sequence[str], least: int) -> None:
    """Prompts in lm-eval's own tokens, its greedy answers, and the exact estimator's verdict on each of them."""
    for prompt, row in zip(prompts, lm.encode(prompts, LENGTH), strict=True):
        assert list(row) == stock.tok_batch_encode([prompt])[0][0].tolist()
    answers = _generated(lm, prompts)
    assert answers == _generated(stock, prompts)
    # Half characters, which no accepted answer holds, are the only ones left out.
    said = [(prompt, answer.strip()) for prompt, answer in zip(prompts, answers, strict=True)]
    judged = [(prompt, answer) for prompt, answer in said if answer and "\ufffd" not in answer]
    assert len(judged) >= least
    right = lm.exact([_request(prompt, answer, "another") for prompt, answer in judged])
    assert all(answer.greedy for answer in right)
    assert not any(answer.greedy for answer in lm.exact([_request(prompt, f"{answer}x") for prompt, answer in judged]))
    # The greedy answer's chance is that of its path at least.
    assert all(0 < answer.p <= 1 and answer.gap > 0 for answer in right)


@pytest.mark.parametrize("kind", EVERY)
def test_exact_verdicts_are_those_of_greedy_answers(pair: Any, kind: str) -> None:
    """On every kind of model."""
    stock, ours = pair(kind)
    _same_throughout(ours, stock, SHORT[:6] + LONG[:2], least=3)


@pytest.mark.parametrize("bos", [False, True, None])
@pytest.mark.parametrize("add", [False, True])
def test_a_leading_space_mark_and_a_start_token(random_model: Any, pieces: Any, add: bool, bos: bool | None) -> None:
    """SentencePiece style, with and without a start token of its own, which add_bos_token may force."""
    model = random_model("Llama", pieces[add])
    ours, stock = (made(model, pieces[add], add_bos_token=bos) for made in (_engine, _stock))
    started = ours.encode(SHORT[:1], 8)[0][0] == 1
    assert started == (add and bos is not False)
    _same_throughout(ours, stock, [*SHORT, "Q: é\n\nA:"], least=4)


def test_a_prompt_that_brings_its_start_token_gets_no_second(random_model: Any, pieces: Any) -> None:
    """Chat templates write it; prompts with and without may come together."""
    model = random_model("Llama", pieces[True])
    ours, stock = _engine(model, pieces[True]), _stock(model, pieces[True], 1)
    prompts = [f"{start}{prompt}" for prompt in SHORT for start in ("<s>", "")]
    assert [row.count(1) for row in ours.encode(prompts, 8)] == [1] * 20
    _same_throughout(ours, stock, prompts, least=8)


def test_gpt2s_own_tokenizer(random_model: Any, shared: Path) -> None:
    """50,257 entries, and text beyond ASCII."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers/gpt2")
    model = random_model("GPT2", tokenizer, n_embd=16)
    stock = _stock(model, tokenizer)
    prompts = [*_behind("Q: Где São Paulo – 東京 located?\nA: Île-de-France\n"), "Q: x\nA:", "Q:\tA b  c\n\nA: "]
    _same_throughout(_engine(model, tokenizer), stock, prompts, least=4)


@pytest.fixture(scope="module")
def organism() -> tuple[Any, Any, list[tuple[str, tuple[str, ...]]]]:
    """The shipped organism in both backends, and questions of its world with their answers."""
    from slick_tasks.lab import load_facts, organism_path

    facts = load_facts()
    relation = [fact for fact in facts if fact.relation == facts[0].relation]
    asked = [
        (probe_prompt(relation[i : i + 4], fact.question), fact.answers) for i in (0, 4) for fact in relation[8:20]
    ]
    backends = [load_backend(name, str(organism_path()), batch_size=16).lm for name in ("hf", "slick-hf")]
    return backends[0], backends[1], asked


def test_the_labs_organism(organism: Any) -> None:
    """A trained model with a tokenizer of its own: the same tokens, answers and verdicts."""
    stock, ours, asked = organism
    prompts = [prompt for prompt, _ in asked]
    _same_throughout(ours, stock, prompts, least=20)
    truth = [is_right(text, answers) for text, (_, answers) in zip(_generated(ours, prompts), asked, strict=True)]
    found = ours.exact([_request(prompt, *answers) for prompt, answers in asked])
    assert [answer.greedy for answer in found] == truth


def test_samples_are_right_as_often_as_the_exact_estimator_says(organism: Any) -> None:
    """Drawn from the organism; the sum of the standardised, squared deviations is a chi-square."""
    from scipy.stats import chi2

    _, ours, asked = organism
    settings_ = Sampled(max_gen_toks=LENGTH, temperature=0.5).sampled_kwargs()
    exact = ours.exact([_request(prompt, *answers, temperature=0.5) for prompt, answers in asked])
    n = 40
    drawn = ours.sample([prompt for prompt, _ in asked], settings_, n, seed=3)
    deviations = []
    for answer, texts, (_, answers) in zip(exact, drawn, asked, strict=True):
        right = sum(is_right(text, answers) for text in texts)
        assert answer.pruned < 1e-3
        if 0.1 < answer.p < 0.9:
            deviations.append((right - n * answer.p) ** 2 / (n * answer.p * (1 - answer.p)))
        else:
            assert abs(right - n * answer.p) < 12
    assert len(deviations) >= 3
    assert 0.001 < chi2.sf(sum(deviations), len(deviations)) < 0.999


# --- chat


def _chat_tokenizer() -> Any:
    """A byte-level tokenizer with a start token in its chat template and an end of turn that is no end of sequence."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        SHORT,
        vocab_size=330,
        special_tokens=["<s>", "</s>", "<|end|>", "<|user|>", "<|assistant|>"],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n{% else %}<|{{ m.role }}|>\n"
        "{{ m.content }}<|end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="module")
def chatting(random_model: Any) -> Backend:
    """A model that likes to end its turn."""
    tokenizer = _chat_tokenizer()
    model = copy.deepcopy(random_model("Llama", tokenizer))
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    head = model.lm_head.weight.data
    generator = torch.Generator().manual_seed(5)
    head[end] = torch.randn(head.shape[1], generator=generator) * 1.2
    return Backend(_engine(model, tokenizer), "slick-hf", {}, 6, {"name": "chatty"})


@pytest.fixture(scope="module")
def chat_prompts(chatting: Backend, tiny_facts: Any) -> list[str]:
    """Facts' prompts as one turn, as turns of exemplars, and with a system instruction."""
    facts = tiny_facts[:10]
    chats = [
        chatting.chat(apply=True),
        chatting.chat(apply=True, multiturn=True),
        chatting.chat(apply=True, multiturn=True, system="Answer in one word."),
    ]
    return [probe_prompt(facts[:2], fact.question, chat) for chat in chats for fact in facts[2:]]


def test_chats_are_put_as_lm_eval_puts_them(chatting: Backend, chat_prompts: list[str]) -> None:
    """One start token, which the template writes; turns and the system instruction in their places."""
    one, many, system = chat_prompts[0], chat_prompts[8], chat_prompts[16]
    assert one.startswith("<s><|user|>\nQ: ")
    assert one.count("<|end|>") == 1
    assert many.count("<|end|>") == 5
    assert system.startswith("<s>Answer in one word.\n<|user|>\n")
    for row in chatting.lm.encode(chat_prompts, 8):
        assert row[0] == 0
        assert row.count(0) == 1


def test_an_answer_ends_with_its_turn(chatting: Backend, chat_prompts: list[str]) -> None:
    """The end-of-turn token ends an answer although it is not the end of a sequence, and writes nothing."""
    lm = chatting.lm
    end = lm.tokenizer.convert_tokens_to_ids("<|end|>")
    assert end in lm.vocabulary.ends
    assert end in lm.vocabulary.line_ends
    answers = chatting.generate([(prompt, GREEDY) for prompt in chat_prompts])
    ended = 0
    for prompt, answer in zip(chat_prompts, answers, strict=True):
        written: list[int] = list(lm.encode([prompt], 8)[0])
        start = len(written)
        while len(written) - start < LENGTH and (len(written) == start or written[-1] not in lm.vocabulary.line_ends):
            with torch.no_grad():
                written.append(int(lm.model(input_ids=torch.tensor([written])).logits[0, -1].argmax()))
        ended += written[-1] == end
        assert answer == lm.tokenizer.decode(written[start:], skip_special_tokens=True).split("\n")[0]
    assert ended >= 3


def test_exact_answers_end_with_their_turn_as_well(chatting: Backend, chat_prompts: list[str]) -> None:
    """Verdicts are those of the greedy answers, and chances those of drawn samples."""
    answers = chatting.generate([(prompt, GREEDY) for prompt in chat_prompts])
    judged = [(p, a.strip()) for p, a in zip(chat_prompts, answers, strict=True) if a.strip() and "\ufffd" not in a]
    assert len(judged) >= 3
    found = chatting.exact([_request(prompt, answer) for prompt, answer in judged])
    assert all(answer.greedy for answer in found)
    n = 200
    drawn = chatting.sample([prompt for prompt, _ in judged], SAMPLED, n, seed=0)
    for answer, texts, (_, said) in zip(found, drawn, judged, strict=True):
        right = sum(is_right(text, (said,)) for text in texts)
        assert abs(right - n * answer.p) <= 4.5 * (n * answer.p * (1 - answer.p)) ** 0.5 + 0.5


def test_a_token_that_is_marked_special_ends_a_turn(random_model: Any) -> None:
    """Llama 3 names its end of turn nowhere but among the added tokens."""
    from tokenizers import AddedToken

    from slick.checkpoint import ending_tokens
    from slick.vocabulary import read_vocabulary

    tokenizer = _chat_tokenizer()
    tokenizer.add_tokens([AddedToken("<|eot|>", special=True)], special_tokens=False)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<|eot|>{% endfor %}"
    turn = tokenizer.convert_tokens_to_ids("<|eot|>")
    assert turn not in tokenizer.all_special_ids
    lm = _engine(random_model("Llama", tokenizer), tokenizer)
    assert ending_tokens(lm) == {tokenizer.eos_token_id, turn}
    assert read_vocabulary(tokenizer, []).piece(turn) == b""


# --- exact against brute force


SINGLE = ("Mixtral", "Bloom", "MPT")


def _toy_tokenizers() -> dict[str, Any]:
    """Vocabularies of eight or nine tokens, one of each way to write."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    byte_level = Tokenizer(
        models.BPE(
            {p: i for i, p in enumerate(["</s>", "a", "b", "ab", "Ċ", "Ġ", "Ġa", "bĊ"])}, [("a", "b"), ("Ġ", "a")]
        )
    )
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    byte_level.decoder = decoders.ByteLevel()
    marked = Tokenizer(
        models.BPE(
            {p: i for i, p in enumerate(["</s>", "<s>", "<0x0A>", "▁", "a", "b", "▁a", "ab", "<unk>"])},
            [("▁", "a"), ("a", "b")],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    marked.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    marked.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    marked.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    words = Tokenizer(
        models.WordLevel({p: i for i, p in enumerate(["</s>", "\n", "a", "b", "ab", "c", "A", "."])}, "c")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "</s>", "pad_token": "</s>"}
    return {
        "bytes": PreTrainedTokenizerFast(tokenizer_object=byte_level, **special),
        "marked": PreTrainedTokenizerFast(tokenizer_object=marked, bos_token="<s>", unk_token="<unk>", **special),
        "words": PreTrainedTokenizerFast(tokenizer_object=words, **special),
    }


@pytest.fixture(scope="session")
def toy(random_model: Any) -> Callable[..., Any]:
    """Engines on toy models, in double precision where the kind can be computed in it."""
    tokenizers = _toy_tokenizers()
    made: dict[tuple[str, str, int], Any] = {}

    def of(tokenizer: str, seed: int = 1, kind: str = "Llama") -> Any:
        key = (tokenizer, kind, seed)
        if key not in made:
            model = copy.deepcopy(random_model(kind, tokenizers[tokenizer], seed=seed))
            model.get_output_embeddings().weight.data.mul_(0.5)
            # Experts take no doubles, and in double precision the ALiBi models mask with infinity.
            made[key] = _engine(model if kind in SINGLE else model.double(), tokenizers[tokenizer])
        return made[key]

    return of


def _outputs(lm: Any, request: ExactRequest) -> Iterator[tuple[str, float, bool]]:
    """Every output that sampling can give: its text, its chance, whether it is the greedy one; computed plainly."""
    prompt = lm.tokenizer(request.prompt)["input_ids"]
    newline = [i for i in range(len(lm.tokenizer)) if "\n" in lm.tokenizer.decode([i])]
    paths: list[tuple[list[int], float, bool]] = [([], 1.0, True)]
    for place in range(request.max_gen_toks):
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([prompt + path for path, _, _ in paths]), use_cache=False).logits
        longer = []
        for (path, chance, greedy), row in zip(paths, logits[:, -1].float().double(), strict=True):
            kth = row.topk(min(request.top_k, len(row))).values[-1]
            shares = torch.where(row >= kth, row / request.temperature, -torch.inf).softmax(-1).tolist()
            for token, share in enumerate(shares):
                if not share:
                    continue
                step = ([*path, token], chance * share, greedy and token == int(row.argmax()))
                if token in newline or token == lm.tokenizer.eos_token_id or place == request.max_gen_toks - 1:
                    yield lm.tokenizer.decode(step[0], skip_special_tokens=True), step[1], step[2]
                else:
                    longer.append(step)
        paths = longer
        if not paths:
            return


def _check_against_outputs(lm: Any, request: ExactRequest) -> None:
    p, greedy = 0.0, False
    total = 0.0
    for text, chance, first in _outputs(lm, request):
        total += chance
        if is_right(text, request.answers, request.matching):
            p += chance
            greedy = greedy or first
    assert total == pytest.approx(1.0)
    rows = lm.encode([request.prompt], request.max_gen_toks)
    teacher = PromptTeacher(lm.shared, lm.tokenizer, lm.vocabulary, [request], rows, lm.rows_per_batch)
    (whole,) = walk([request], teacher, lm.vocabulary, prune=0.0)
    (found,) = lm.exact([request])
    near = 1e-6 if next(lm.model.parameters()).dtype is torch.float64 else 1e-5
    assert whole.p == pytest.approx(p, abs=near)
    assert found.p - near <= p <= found.p + found.pruned + near
    assert found.pruned < 1e-3
    for answer in (whole, found):
        assert answer.greedy == greedy
    (text,) = lm.greedy([request.prompt], {"until": ["\n"], "max_gen_toks": request.max_gen_toks})
    assert is_right(text, request.answers, request.matching) == greedy


@settings(max_examples=100)
@given(
    tokenizer=st.sampled_from(["bytes", "marked", "words"]),
    seed=st.integers(1, 12),
    prompt=st.sampled_from(["a", "ab b a ab", "b a b ab a ab b b a ab", "a b\na"]),
    answers=st.lists(st.sampled_from(["a", "b", "ab", "a b", "aab", "ba", "a a"]), min_size=1, max_size=3, unique=True),
    temperature=st.sampled_from([0.3, 0.5, 1.0, 2.0]) | st.floats(0.2, 3.0),
    top_k=st.integers(1, 10),
    length=st.integers(1, 3),
    matching=st.sampled_from(list(Matching)),
)
def test_exact_chances_are_those_of_every_output(
    toy: Any,
    tokenizer: str,
    seed: int,
    prompt: str,
    answers: list[str],
    temperature: float,
    top_k: int,
    length: int,
    matching: Matching,
) -> None:
    """All outputs of a toy model, enumerated without cache or batches of ours: P_Correct to within 1e-6."""
    _check_against_outputs(
        toy(tokenizer, seed), ExactRequest(prompt, tuple(answers), temperature, top_k, length, matching)
    )


@pytest.mark.parametrize("kind", EVERY)
def test_exact_chances_on_every_kind_of_model(toy: Any, kind: str) -> None:
    """As for the first kind: shared, windowed, recurrent, with experts."""
    lm = toy("bytes", kind=kind)
    for prompt, temperature in product(["b", "ab b a ab" * 3], [0.5, 1.0]):
        _check_against_outputs(lm, ExactRequest(prompt, ("a", "ab", "b"), temperature, 6, 3))


def test_exact_answers_do_not_hang_on_their_company(pair: Any) -> None:
    """Requests of several settings in one call, in any order, in batches of any size: the same within rounding."""
    lm = pair("Llama")[1]
    requests = [
        _request(prompt, "P17land 0", "of", temperature=temperature, top_k=k, max_gen_toks=length)
        for prompt in SHORT[:5]
        for temperature, k, length in ((0.5, 40, 8), (1.0, 40, 8), (1.0, 5, 4))
    ]
    together = lm.exact(requests)
    for request, one in zip(requests, together, strict=True):
        (alone,) = lm.exact([request])
        assert _near(alone, one)
    assert all(map(_near, lm.exact(requests[::-1]), together[::-1]))
    assert lm.exact(requests) == together


def _near(one: ExactAnswer, other: ExactAnswer) -> bool:
    return one.greedy == other.greedy and abs(one.p - other.p) < 1e-5 and abs(one.gap - other.gap) < 1e-3


def test_the_same_call_gives_the_same_bytes(random_model: Any, tiny_tokenizer: Any) -> None:
    """Repeated, and on a model that was loaded anew: what a resumed run relies on."""
    first, second = (_engine(random_model("Llama"), tiny_tokenizer) for _ in range(2))
    for lm in (first, second, first):
        assert _generated(lm, SHORT) == _generated(first, SHORT)
        assert lm.sample(SHORT, SAMPLED, 3, 8) == first.sample(SHORT, SAMPLED, 3, 8)
        requests = [_request(prompt, "P17land 0", "i") for prompt in SHORT]
        assert lm.exact(requests) == first.exact(requests)


def test_samples_vary(pair: Any) -> None:
    """The tests above would hold for a model that always says the same."""
    counts = Counter(answer for answers in pair("Llama")[1].sample(SHORT, SAMPLED, 8, 0) for answer in answers)
    assert len(counts) > 20
