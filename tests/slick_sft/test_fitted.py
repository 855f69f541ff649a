"""Which greedy answers are right, told in teacher-forced passes: the verdicts of real generation, token by token."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slick.accepted import Accepted
from slick.batches import Tokens
from slick.matching import first_line, is_right
from slick.vocabulary import Vocabulary, read_vocabulary
from slick_sft.fitted import LENGTH, Question, Reader, greedy_right

TEXTS = ["Where was Anna born? Berlin", "What is the capital of Land? Stadt am See", "Who wrote it? I. Land-Berg"]


def _byte_level() -> Any:
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS * 20, vocab_size=330, special_tokens=["<s>", "</s>", "<x>"], show_progress=False)
    return bpe._tokenizer


def _pieces() -> Any:
    """SentencePiece's ways: a mark for a leading space, bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = [*string.ascii_letters, *"?.- ▁"]
    pairs = [("▁", "W"), ("▁", "B"), ("a", "n"), ("e", "r"), ("i", "n"), ("l", "in"), ("er", "lin"), ("▁B", "erlin")]
    parts = ["<s>", "</s>", "<x>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), *letters, *(a + b for a, b in pairs)]
    vocab = {part: i for i, part in enumerate(dict.fromkeys(parts))}
    backend = Tokenizer(models.BPE(vocab, pairs, byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return backend


def _toy() -> Any:
    """Few tokens, and many ways to write a text: a, b, ab, ba, aab; spaces and two kinds of line end among them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    parts = ["<s>", "</s>", "<x>", "a", "b", "Ġ", "Ċ", "č", "ab", "ba", "aab", "Ġa", "bĊ", "ĠĠ"]
    backend = Tokenizer(models.BPE({part: i for i, part in enumerate(parts)}, [("a", "b"), ("b", "a"), ("a", "ab")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _words() -> Any:
    """WordPiece: what a token writes depends on its neighbours, and decoding takes spaces away again."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    parts = [
        "<s>",
        "</s>",
        "<x>",
        "[UNK]",
        "a",
        "##a",
        "ber",
        "##lin",
        "do",
        "n",
        "'",
        "t",
        ".",
        ",",
        "Land",
        "##s",
        "?",
    ]
    backend = Tokenizer(models.WordPiece({part: i for i, part in enumerate(parts)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=True)
    return backend


MAKERS: dict[str, Callable[[], Any]] = {"byte-level": _byte_level, "pieces": _pieces, "toy": _toy, "words": _words}


@dataclass
class Spoken:
    """A random model that likes to end its answers, with a tokenizer of some kind; and how it generates."""

    model: Any
    tokenizer: Any
    vocabulary: Vocabulary
    passes: int = 0

    @property
    def reader(self) -> Reader:
        return Reader(self.vocabulary, lambda ids: str(self.tokenizer.decode(ids, skip_special_tokens=True)))

    def generate(self, prompt: Tokens, length: int) -> str:
        """What transformers generates, greedily."""
        import torch

        ids = torch.tensor([prompt])
        ends = sorted(self.vocabulary.line_ends)
        written = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length, eos_token_id=ends
        )
        return str(self.tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=True))

    def best(self, rows: Sequence[Tokens], keep: Sequence[int]) -> list[list[int]]:
        import torch

        from slick_sft.observer import BestTokens

        self.passes += 1
        with torch.no_grad():
            return BestTokens(self.model, 0)(rows, keep)


@pytest.fixture(scope="module", params=MAKERS)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=MAKERS[request.param](),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=["<x>"],
    )
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=False, **shape)).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 1.0 if "q_proj" in name or "k_proj" in name else 0.4)
    vocabulary = read_vocabulary(tokenizer, {1})
    head = model.lm_head.weight.data
    for token, piece in enumerate(vocabulary.pieces):
        if token in vocabulary.line_ends:
            head[token] *= 1.5
        elif piece and not (piece.isascii() and (piece.decode().isprintable() or piece.isspace())):
            head[token] = 0
    return Spoken(model, tokenizer, vocabulary)


@st.composite
def asked(draw: Any) -> tuple[list[list[int]], list[str], list[str], int, int]:
    """Prompts by chance; of each what is made of the model's answer, and what is guessed of its tokens."""
    prompts = draw(st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), min_size=1, max_size=12))
    n = len(prompts)
    answers = draw(
        st.lists(st.sampled_from(["same", "spaced", "shorter", "longer", "alias", "other"]), min_size=n, max_size=n)
    )
    guesses = draw(st.lists(st.sampled_from(["usual", "segment", "none", "random", "true"]), min_size=n, max_size=n))
    return prompts, answers, guesses, draw(st.sampled_from([1, 2, 3, 6, 12, LENGTH])), draw(st.integers(0, 2**32))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=asked())
def test_the_verdict_is_that_of_real_generation(
    spoken: Spoken, case: tuple[list[list[int]], list[str], list[str], int, int]
) -> None:
    """Whatever the tokenizer, the answer, the guess of its tokens and the length limit, verdicts agree."""
    import random

    drawn, answers, guesses, length, seed = case
    rng, size = random.Random(seed), len(spoken.vocabulary.pieces)
    questions, truth = [], []
    for prompt, answer, guess in zip(drawn, answers, guesses, strict=True):
        tokens = tuple(token % size for token in prompt)
        text = spoken.generate(tokens, length)
        line = first_line(text)
        accepted = {
            "same": (line,),
            "spaced": (f"  {line}\t",),
            "shorter": (line[:-1],),
            "longer": (line + "a",),
            "alias": ("a", line + "b", line, "ab"),
            "other": ("ab",),
        }[answer]
        written = spoken.tokenizer(accepted[0], add_special_tokens=False)["input_ids"]
        usual = {
            "usual": written,
            "segment": spoken.vocabulary.segment(accepted[0].encode()),
            "none": (),
            "random": [rng.randrange(size) for _ in range(rng.randrange(LENGTH + 4))],
            "true": spoken.tokenizer(text, add_special_tokens=False)["input_ids"],
        }[guess]
        questions.append(Question(tokens, accepted, tuple(usual)))
        truth.append(is_right(text, accepted))
    assert greedy_right(questions, spoken.best, spoken.reader, length) == truth


def test_the_models_answers_are_of_many_kinds(spoken: Spoken) -> None:
    """The property above is not empty: right answers of several tokens, some ended by a line, some by the limit."""
    texts = [spoken.generate((i % len(spoken.vocabulary.pieces), 3, i % 5), 12) for i in range(60)]
    assert len({first_line(text) for text in texts}) > 10
    assert any("\n" in text for text in texts) or not any(b"\n" in piece for piece in spoken.vocabulary.pieces)


class Script:
    """A model that writes given tokens behind every prompt, and counts how often it is asked."""

    def __init__(self, *written: int) -> None:
        self.written = written
        self.asked: list[int] = []

    def __call__(self, rows: Sequence[Tokens], keep: Sequence[int]) -> list[list[int]]:
        self.asked.append(len(rows))
        # What it would write at a place depends on the place alone.
        return [[self.written[min(len(row) - 1 - k, len(self.written) - 1)] for k in reversed(range(n))]
                for row, n in zip(rows, keep, strict=True)]  # fmt: skip


PIECES = Vocabulary((b"", b"a", b"b", b"ab", b" ", b"\n", b"c\n", b""), frozenset({0}))
READER = Reader(PIECES, lambda ids: PIECES.text(ids).decode())


def verdict(written: Sequence[int], answers: Sequence[str], usual: Tokens, length: int = 8) -> tuple[bool, int]:
    script = Script(*written)
    # One token of prompt: place 0 of the answer stands behind it.
    (right,) = greedy_right([Question((7,), tuple(answers), usual)], script, READER, length)
    return right, len(script.asked)


def test_one_pass_is_enough_where_the_usual_tokens_are_written_or_left_for_good() -> None:
    """An answer in its usual tokens, and one that cannot become right, take a single pass."""
    assert verdict([1, 2, 0], ["ab"], (1, 2)) == (True, 1)
    assert verdict([1, 2, 5], ["ab"], (1, 2)) == (True, 1)
    assert verdict([2, 2, 0], ["ab"], (1, 2)) == (False, 1)


def test_other_tokens_of_the_same_text_are_followed() -> None:
    """Another tokenisation, a leading space, and an alias are found right, each in one pass more."""
    assert verdict([3, 0], ["ab"], (1, 2)) == (True, 2)
    assert verdict([4, 1, 2, 0], ["ab"], (1, 2)) == (True, 3)
    assert verdict([2, 0], ["ab", "b"], (1, 2)) == (True, 2)


def test_an_end_is_any_token_that_ends_the_line() -> None:
    """End-of-sequence, a line break, and a token that ends with one; what stands before the break counts."""
    assert verdict([1, 0], ["a"], (1,))[0]
    assert verdict([1, 5], ["a"], (1,))[0]
    assert verdict([1, 6], ["ac"], (1,))[0]
    assert not verdict([1, 6], ["a"], (1,))[0]
    assert not verdict([5, 1, 0], ["a"], (1,))[0]


def test_an_answer_that_is_cut_at_the_limit_counts_as_it_stands() -> None:
    """Right when the limit cuts it off in the right place, wrong elsewhere; one token never asks for more."""
    assert verdict([1, 2, 2], ["ab"], (1, 2), length=2)[0]
    assert not verdict([1, 2, 2], ["ab"], (1, 2), length=3)[0]
    assert verdict([1], ["a"], (1,), length=1) == (True, 1)


def test_tokens_that_write_nothing_end_at_the_limit() -> None:
    """A model that writes special tokens for ever is asked at most once a token, and is wrong."""
    right, passes = verdict([7], ["ab"], (1, 2), length=6)
    assert not right
    assert passes <= 6


def test_a_right_answer_needs_its_end() -> None:
    """A text that is right so far and goes on is wrong."""
    assert not verdict([1, 2, 1, 0], ["ab"], (1, 2))[0]
    assert not verdict([1, 0], ["ab"], (1, 2))[0]


def test_accepted_answers_are_those_of_matching() -> None:
    """The verdict is `slick.matching`'s, on texts with white space of all kinds around them."""
    for text in ("ab", " ab", "ab ", "\u00a0ab", "ab\u2003", "a b"):
        assert Accepted(("ab",)).right(text.encode()) == is_right(text, ["ab"])
