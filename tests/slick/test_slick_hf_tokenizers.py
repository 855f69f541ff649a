"""slick-hf: tokenizers of several families, and a trained model with one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slick.backend import load_backend
from slick.matching import is_right
from slick.prompts import probe_prompt
from slick.sampled import Sampled


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


@pytest.mark.parametrize("bos", [False, True, None])
@pytest.mark.parametrize("add", [False, True])
def test_a_leading_space_mark_and_a_start_token(
    hf: Any, random_model: Any, pieces: Any, add: bool, bos: bool | None
) -> None:
    """SentencePiece style, with and without a start token of its own, which add_bos_token may force."""
    model = random_model("Llama", pieces[add])
    ours, stock = (made(model, pieces[add], add_bos_token=bos) for made in (hf.engine, hf.stock))
    started = ours.encode(hf.short[:1], 8)[0][0] == 1
    assert started == (add and bos is not False)
    hf.same_throughout(ours, stock, [*hf.short, "Q: é\n\nA:"], least=4)


def test_a_prompt_that_brings_its_start_token_gets_no_second(hf: Any, random_model: Any, pieces: Any) -> None:
    """Chat templates write it; prompts with and without may come together."""
    model = random_model("Llama", pieces[True])
    ours, stock = hf.engine(model, pieces[True]), hf.stock(model, pieces[True], 1)
    prompts = [f"{start}{prompt}" for prompt in hf.short for start in ("<s>", "")]
    assert [row.count(1) for row in ours.encode(prompts, 8)] == [1] * 20
    hf.same_throughout(ours, stock, prompts, least=8)


def test_gpt2s_own_tokenizer(hf: Any, random_model: Any, shared: Path) -> None:
    """50,257 entries, and text beyond ASCII."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers/gpt2")
    model = random_model("GPT2", tokenizer, n_embd=16)
    stock = hf.stock(model, tokenizer)
    prompts = [*hf.behind("Q: Где São Paulo – 東京 located?\nA: Île-de-France\n"), "Q: x\nA:", "Q:\tA b  c\n\nA: "]
    hf.same_throughout(hf.engine(model, tokenizer), stock, prompts, least=4)


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


def test_the_labs_organism(hf: Any, organism: Any) -> None:
    """A trained model with a tokenizer of its own: the same tokens, answers and verdicts."""
    stock, ours, asked = organism
    prompts = [prompt for prompt, _ in asked]
    hf.same_throughout(ours, stock, prompts, least=20)
    truth = [is_right(text, answers) for text, (_, answers) in zip(hf.generated(ours, prompts), asked, strict=True)]
    found = ours.exact([hf.request(prompt, *answers) for prompt, answers in asked])
    assert [answer.greedy for answer in found] == truth


def test_samples_are_right_as_often_as_the_exact_estimator_says(hf: Any, organism: Any) -> None:
    """Drawn from the organism; the sum of the standardised, squared deviations is a chi-square."""
    from scipy.stats import chi2

    _, ours, asked = organism
    settings_ = Sampled(max_gen_toks=hf.length, temperature=0.5).sampled_kwargs()
    exact = ours.exact([hf.request(prompt, *answers, temperature=0.5) for prompt, answers in asked])
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
