"""slick.shared_prefill: the same answers as lm-eval's own way, from one prefill a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.backend import Backend, load_backend, quiet
from slick.sampled import Sampled, greedy_kwargs
from slick.shared_prefill import sample_shared, serves

PROMPTS = [
    "Q: Which country is P17trainton 1 located in?\nA:",
    "Q: x\nA:",
    "Q: What is the capital of P36devton 3?\nA: P36land 0\nQ: y\nA:",
]
GREEDY = greedy_kwargs(8)
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {"num_key_value_heads": 1, "head_dim": 16}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1}

SERVED = [
    ("Llama", SHAPE),
    ("GPT2", GPT2),
    ("GPTNeoX", SHAPE),
    ("Qwen3", SHAPE | SMALL),
    ("Mistral", SHAPE | {"num_key_value_heads": 1, "sliding_window": None}),
]
REFUSED = [
    ("Mistral", SHAPE | {"num_key_value_heads": 1, "sliding_window": 16}),
    ("Gemma3", SHAPE | SMALL | {"sliding_window": 16}),
    ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
    ("T5", T5),
]


def wrapped(model: Any, tokenizer: Any, batch_size: int = 4) -> Backend:
    quiet()
    from lm_eval.models.huggingface import HFLM

    kind = "seq2seq" if model.config.is_encoder_decoder else "causal"
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu", backend=kind)
    return Backend(lm, "hf", {}, batch_size, {})


@pytest.fixture(scope="module")
def random_model(tiny_model: Path) -> Callable[[str, dict[str, Any]], Backend]:
    """Builds a random model of an architecture over the tiny model's tokenizer, with opinions of its own."""
    import torch
    import transformers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def build(name: str, shape: dict[str, Any]) -> Backend:
        config = getattr(transformers, {"Gemma3": "Gemma3Text"}.get(name, name) + "Config")(
            vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, pad_token_id=1, **shape
        )
        head = {"GPT2": "GPT2LMHeadModel", "T5": "T5ForConditionalGeneration"}.get(name, f"{name}ForCausalLM")
        torch.manual_seed(1)
        model = getattr(transformers, head)(config).eval()
        for which, parameter in model.named_parameters():
            if parameter.dim() > 1:
                # Strong layers: flat logits would tie, and answers from the last token alone would not miss a position.
                parameter.data.mul_(3 if "embed" in which or "wpe" in which else 10)
        return wrapped(model, tokenizer)

    return build


@pytest.mark.parametrize(("name", "shape"), SERVED, ids=[name for name, _ in SERVED])
def test_greedy_answers_are_lm_evals_own(random_model: Any, name: str, shape: dict[str, Any]) -> None:
    """Prompts of different lengths, padded on the left, answered through one prefill each."""
    backend = random_model(name, shape)
    assert serves(backend.lm)
    stock = backend.generate([(prompt, GREEDY) for prompt in PROMPTS])
    shared = sample_shared(backend.lm, PROMPTS, GREEDY, 2, 6)
    assert shared == [[answer, answer] for answer in stock]
    assert len(set(stock)) == 3


@pytest.mark.parametrize(("name", "shape"), REFUSED, ids=[name for name, _ in REFUSED])
def test_models_without_a_plain_cache_take_lm_evals_way(random_model: Any, name: str, shape: dict[str, Any]) -> None:
    """Windows, recurrent states, positions that are not given, encoder-decoders: refused, and sampled all the same."""
    backend = random_model(name, shape)
    assert not serves(backend.lm)
    answers = backend.sample(PROMPTS, Sampled(max_gen_toks=4, temperature=2.0).sampled_kwargs(), 4, seed=0)
    assert [len(group) for group in answers] == [4, 4, 4]
    assert len({answer for group in answers for answer in group}) > 3
    if backend.lm.backend == "causal":  # lm-eval lets an encoder-decoder's answer grow with its batch's padding
        greedy = backend.generate([(prompt, GREEDY) for prompt in PROMPTS])
        assert backend.sample(PROMPTS, GREEDY, 2, seed=0) == [[answer, answer] for answer in greedy]


def test_other_backends_are_not_served() -> None:
    """Only transformers models have a cache that can be reached."""
    assert not serves(load_backend("dummy", "any").lm)
    assert not serves(object())


def test_one_batch_or_many_give_greedy_answers_alike(random_model: Any) -> None:
    """How many sequences share a batch does not change what is most probable, nor the order of answers."""
    lm = random_model("Llama", SHAPE).lm
    one = sample_shared(lm, PROMPTS, GREEDY, 1, 1)
    assert sample_shared(lm, PROMPTS, GREEDY, 1, 64) == one
    assert sample_shared(lm, PROMPTS[::-1], GREEDY, 1, 64) == one[::-1]
    assert sample_shared(lm, PROMPTS, GREEDY, 5, 2) == [group * 5 for group in one]


def test_an_answer_ends_with_its_line(random_model: Any) -> None:
    """The stop string and what follows it are cut off, as lm-eval does."""
    backend = random_model("Llama", SHAPE)
    free = sample_shared(backend.lm, PROMPTS, GREEDY | {"until": []}, 1, 4)
    stop = free[0][0][2]
    (cut,) = sample_shared(backend.lm, PROMPTS[:1], GREEDY | {"until": [stop]}, 1, 4)[0]
    assert cut == free[0][0].split(stop)[0]
    assert backend.generate([(PROMPTS[0], GREEDY | {"until": [stop]})]) == [cut]


def test_a_prompt_longer_than_the_model_is_cut_on_the_left(random_model: Any) -> None:
    """As lm-eval cuts it: the question at the end is kept."""
    backend = random_model("GPT2", GPT2 | {"n_positions": 32})
    prompt = "Q: more\nA: words\n" * 20 + "Q: x\nA:"
    assert sample_shared(backend.lm, [prompt], GREEDY, 1, 1) == [backend.generate([(prompt, GREEDY)])]


def test_a_prompt_of_one_token_is_answered(random_model: Any) -> None:
    """There is nothing to share before it."""
    backend = random_model("Llama", SHAPE)
    assert len(backend.lm.tok_encode("Q")) == 1
    assert sample_shared(backend.lm, ["Q"], GREEDY, 2, 4) == [backend.generate([("Q", GREEDY)]) * 2]


# The first two end an answer.
WORDS = ["</s>", "\n", "a", "b", "c", "d", "e", "f"]


@pytest.fixture(scope="module")
def eight_words() -> Backend:
    """A random model whose vocabulary is eight words, so that its next-word distribution can be written down.

    A line break is one of them.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>", padding_side="left")
    torch.manual_seed(3)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, max_position_embeddings=64, **SHAPE, **ends)).eval()
    model.lm_head.weight.data.mul_(15)
    return wrapped(model, tokenizer, batch_size=400)


def chances(backend: Backend, prompt: str, temperature: float, top_k: int) -> dict[str, float]:
    """The next word's probabilities after `prompt`, from the logits; "" stands for the end."""
    import torch

    ids = torch.tensor([backend.lm.tok_encode(prompt)])
    with torch.no_grad():
        logits = backend.lm.model(ids).logits[0, -1].double() / temperature
    logits[logits < logits.topk(top_k).values[-1]] = -torch.inf
    found = {word: float(p) for word, p in zip(WORDS, logits.softmax(0), strict=True) if p > 0}
    ends = sum(found.pop(word, 0.0) for word in WORDS[:2])
    return found | ({"": ends} if ends else {})


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 8), (0.5, 5), (2.0, 3)])
def test_samples_follow_the_models_distribution(eight_words: Backend, temperature: float, top_k: int) -> None:
    """Chi-square against the tempered, truncated softmax, for each prompt of a padded batch, ours and lm-eval's."""
    from scipy.stats import chisquare

    prompts = ["a b", "c d e e a b c", "e"]
    kwargs = Sampled(max_gen_toks=1, temperature=temperature, top_k=top_k).sampled_kwargs()
    n = 1200
    assert serves(eight_words.lm)
    shared = eight_words.sample(prompts, kwargs, n, seed=0)
    stock = eight_words.generate([(prompt, kwargs) for prompt in prompts for _ in range(n)])
    for i, prompt in enumerate(prompts):
        expected = chances(eight_words, prompt, temperature, top_k)
        assert len(expected) >= 2
        for answers in (shared[i], stock[i * n : (i + 1) * n]):
            drawn = Counter(answer.strip() for answer in answers)
            assert set(drawn) <= set(expected)
            frequencies = [drawn[word] for word in expected]
            assert chisquare(frequencies, [p * n for p in expected.values()]).pvalue > 0.001


def test_samples_of_one_prompt_are_drawn_independently(eight_words: Backend) -> None:
    """Two words in a row: the second follows the first it was given, not a neighbour's."""
    from scipy.stats import chisquare

    kwargs = Sampled(max_gen_toks=2, temperature=1.0, top_k=8).sampled_kwargs()
    n = 2000
    (answers,) = eight_words.sample(["a b"], kwargs, n, seed=1)
    first = chances(eight_words, "a b", 1.0, 8)
    pairs = {
        (one, two): p * q
        for one, p in first.items()
        if one
        for two, q in chances(eight_words, f"a b {one}", 1.0, 8).items()
    }
    drawn = Counter(tuple([*answer.split(), "", ""][:2]) for answer in answers)
    frequent = [pair for pair, p in pairs.items() if p * n >= 5]
    observed = [drawn[pair] for pair in frequent]
    expected = [pairs[pair] * n for pair in frequent]
    assert len(frequent) > 5
    assert chisquare([*observed, n - sum(observed)], [*expected, n - sum(expected)]).pvalue > 0.001


def test_rows_end_with_their_lines_and_nothing_else_changes(eight_words: Backend) -> None:
    """The same draws give the same answers, in fewer steps than lm-eval's own stopping takes."""
    from slick.backend import seed_everything

    kwargs = Sampled(max_gen_toks=40, temperature=3.0, top_k=8).sampled_kwargs()
    assert eight_words.row_ends(kwargs) == {"eos_token_id": [0, 1]}
    assert eight_words.row_ends({**kwargs, "until": ["\n", "."]}) == {}
    assert load_backend("dummy", "any").row_ends(kwargs) == {}
    steps: Counter[str] = Counter()
    for name, more in (("stock", {}), ("ended", eight_words.row_ends(kwargs))):
        handle = eight_words.lm.model.register_forward_pre_hook(lambda *_, name=name: steps.update([name]))
        seed_everything(3)
        found = sample_shared(eight_words.lm, ["a b", "c"], {**kwargs, **more}, 3, 40)
        handle.remove()
        if name == "stock":
            expected = found
    assert found == expected
    assert len({answer for group in found for answer in group}) > 3
    assert steps["ended"] < steps["stock"]


def test_a_lora_adapter_is_served(tiny_model: Path, tmp_path: Path) -> None:
    """Its directory is the model: base and adapter together answer, through one prefill as through many."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.mul_(20)
    tuned.save_pretrained(tmp_path / "adapter")
    backend = load_backend("hf", str(tmp_path / "adapter"))
    assert serves(backend.lm)
    assert backend.model["adapter"]
    stock = backend.generate([(prompt, GREEDY) for prompt in PROMPTS])
    assert sample_shared(backend.lm, PROMPTS, GREEDY, 1, 4) == [[answer] for answer in stock]
    assert stock != load_backend("hf", str(tiny_model)).generate([(prompt, GREEDY) for prompt in PROMPTS])
