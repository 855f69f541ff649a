"""What each token writes, for the kinds of tokenizer that language models come with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.vocabulary import Vocabulary, read_vocabulary


def _wrapped(backend: Any, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def _sentence_piece() -> Any:
    """A BPE with a leading-space mark, byte fallback and a start token, as Llama 2 has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    parts = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "P", "a", "r", "Pa", "▁Pa", "▁Par"]
    merges = [("P", "a"), ("▁", "Pa"), ("▁Pa", "r")]
    vocab = {part: i for i, part in enumerate(parts)}
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _words(*more: str) -> Any:
    """Whole words, decoded with spaces between them: a kind that no table knows."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ("</s>", "Paris", "Rome", "?", *more)
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="</s>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return _wrapped(backend, eos_token="</s>")


def test_byte_level_tokens_are_bytes(tiny_model: Path) -> None:
    """Byte-level BPE: every byte has a token, also one that is half a character."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    vocabulary = read_vocabulary(tokenizer, [tokenizer.eos_token_id])
    assert vocabulary.exact
    assert set(vocabulary.pieces) >= {bytes([i]) for i in range(256)}
    assert vocabulary.piece(tokenizer.eos_token_id) == b""


def test_gpt2s_tokenizer_is_read_exactly(shared: Path) -> None:
    """50,257 real entries."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers/gpt2")
    vocabulary = read_vocabulary(tokenizer, [tokenizer.eos_token_id])
    assert vocabulary.exact
    text = " São Paulo – 東京\n"
    assert vocabulary.text(tokenizer.encode(text)) == text.encode()


def test_a_leading_space_mark_is_a_space_and_byte_tokens_are_bytes() -> None:
    """SentencePiece's ways of writing."""
    tokenizer = _sentence_piece()
    vocabulary = read_vocabulary(tokenizer, [tokenizer.eos_token_id])
    assert vocabulary.exact
    assert vocabulary.text(tokenizer.encode("Par é", add_special_tokens=False)) == " Par é".encode()
    assert tokenizer.convert_tokens_to_ids("<0x0A>") in vocabulary.line_ends


def test_an_unknown_kind_is_read_off_its_decoding() -> None:
    """Words that are joined by spaces bring their space along."""
    vocabulary = read_vocabulary(_words(), [0])
    assert vocabulary.pieces == (b"", b" Paris", b" Rome", b" ?")
    assert vocabulary.exact


def test_a_tokenizer_that_tidies_up_is_not_called_exact() -> None:
    """Decoding that depends on the neighbours cannot be put together from pieces, and the vocabulary says so."""
    tokenizer = _words("'")
    tokenizer.clean_up_tokenization_spaces = True
    assert not read_vocabulary(tokenizer, [0]).exact


@given(text=st.binary(max_size=30))
def test_segments_write_the_text(text: bytes) -> None:
    """Where every byte has a token the segments are the text."""
    vocabulary = Vocabulary((*(bytes([i]) for i in range(256)), b"ab", b"abc", b" the"), frozenset())
    assert vocabulary.text(vocabulary.segment(text)) == text


def test_segments_stop_where_nothing_fits() -> None:
    """Text that cannot be written ends the segments."""
    assert Vocabulary((b"a", b"b"), frozenset()).segment(b"abxa") == (0, 1)


@pytest.mark.parametrize("token", [2, 99])
def test_tokens_without_text_write_nothing(token: int) -> None:
    """Special tokens, and embeddings beyond the tokenizer's vocabulary."""
    assert Vocabulary((b"a", b"\n", b""), frozenset({2})).piece(token) == b""


def test_lines_end_with_any_token_that_holds_a_line_break() -> None:
    """And with the tokens that end an answer altogether."""
    assert Vocabulary((b"a", b" \n", b"x\ny", b"", b""), frozenset({3})).line_ends == {1, 2, 3}
