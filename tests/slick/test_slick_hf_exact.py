"""slick-hf: exact chances against brute force, on models of many kinds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slick.exact import ExactAnswer, ExactRequest
from slick.matching import Matching, is_right
from slick.teacher import PromptTeacher
from slick.walk import walk

# Kinds that are computed in single precision.
SINGLE = ("Mixtral", "Bloom", "MPT")


def test_exact_verdicts_are_those_of_greedy_answers(hf: Any, pair: Any, every_kind: str) -> None:
    """On every kind of model."""
    stock, ours = pair(every_kind)
    hf.same_throughout(ours, stock, hf.short[:6] + hf.long[:2], least=3)


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
def toy(hf: Any, random_model: Any) -> Callable[..., Any]:
    """Engines on toy models, in double precision where the kind can be computed in it."""
    tokenizers = _toy_tokenizers()
    made: dict[tuple[str, str, int], Any] = {}

    def of(tokenizer: str, seed: int = 1, kind: str = "Llama") -> Any:
        key = (tokenizer, kind, seed)
        if key not in made:
            model = copy.deepcopy(random_model(kind, tokenizers[tokenizer], seed=seed))
            model.get_output_embeddings().weight.data.mul_(0.5)
            # Experts take no doubles, and in double precision the ALiBi models mask with infinity.
            made[key] = hf.engine(model if kind in SINGLE else model.double(), tokenizers[tokenizer])
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
    (whole,) = walk([request], teacher, lm.vocabulary, prune=0.0, budget=math.inf)
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


def test_exact_chances_on_every_kind_of_model(toy: Any, every_kind: str) -> None:
    """As for the first every_kind: shared, windowed, recurrent, with experts."""
    lm = toy("bytes", kind=every_kind)
    for prompt, temperature in product(["b", "ab b a ab" * 3], [0.5, 1.0]):
        _check_against_outputs(lm, ExactRequest(prompt, ("a", "ab", "b"), temperature, 6, 3))


def test_exact_answers_do_not_hang_on_their_company(hf: Any, pair: Any) -> None:
    """Requests of several settings in one call, in any order, in batches of any size: the same within rounding."""
    lm = pair("Llama")[1]
    requests = [
        hf.request(prompt, "P17land 0", "of", temperature=temperature, top_k=k, max_gen_toks=length)
        for prompt in hf.short[:5]
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
