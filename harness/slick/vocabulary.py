"""What each token of a vocabulary writes, as bytes; a token may hold half a character.

Pure but for the tokenizer that it is handed. The table is derived from how the tokenizer decodes, and tried
against its `decode` on seeded token sequences: `exact` says whether the two agreed throughout.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_TRIALS = 300
_LONGEST_TRIAL = 6


@dataclass(frozen=True)
class Vocabulary:
    """pieces[i]: what token i adds to a text; b"" for special tokens, which decoding leaves out.

    ends: tokens that end an answer without writing anything (end of sequence, end of turn).
    exact: whether joined pieces were what the tokenizer's own `decode` gave, white space at the edges apart.
    """

    pieces: tuple[bytes, ...]
    ends: frozenset[int]
    exact: bool = True

    def text(self, tokens: Iterable[int]) -> bytes:
        """What `tokens` write together."""
        return b"".join(self.piece(token) for token in tokens)

    def piece(self, token: int) -> bytes:
        """What a token writes; b"" for one that the tokenizer does not know (a padded embedding has some)."""
        return self.pieces[token] if token < len(self.pieces) else b""

    @cached_property
    def line_ends(self) -> frozenset[int]:
        """Tokens that end an answer's line: the `ends`, and all whose text holds a line break."""
        return self.ends | {i for i, piece in enumerate(self.pieces) if b"\n" in piece}

    @cached_property
    def _by_piece(self) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for token, piece in enumerate(self.pieces):
            if piece:
                found.setdefault(piece, token)
        return found

    @cached_property
    def _longest_piece(self) -> int:
        return max(map(len, self.pieces), default=0)

    def segment(self, text: bytes) -> tuple[int, ...]:
        """Tokens that write `text`, the longest piece first at every place; stops where no piece fits."""
        tokens: list[int] = []
        place = 0
        while place < len(text):
            for length in range(min(self._longest_piece, len(text) - place), 0, -1):
                token = self._by_piece.get(text[place : place + length])
                if token is not None:
                    tokens.append(token)
                    place += length
                    break
            else:
                break
        return tuple(tokens)


def read_vocabulary(tokenizer: Any, ends: Iterable[int]) -> Vocabulary:
    """The vocabulary of a transformers tokenizer. ends: ids of the end-of-sequence and end-of-turn tokens."""
    special = special_tokens(tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = {int(i): token.content for i, token in tokenizer.added_tokens_decoder.items()}
    decoders = _decoders(tokenizer)
    if "ByteLevel" in decoders:
        write = _byte_level
    elif "▁" in decoders:
        write = _sentence_piece
    else:
        write = None
    known = [i for i, token in enumerate(tokens) if token is not None]
    pieces = [b""] * len(tokens)
    if write is not None:
        for i in known:
            pieces[i] = added[i].encode("utf-8", "surrogatepass") if i in added else write(tokens[i])
    else:
        _read_off(tokenizer, [i for i in known if i not in special], pieces)
    for i in special:
        if i < len(pieces):
            pieces[i] = b""
    ends = frozenset(ends)
    tried = [i for i in known if i not in special and i not in ends]
    return Vocabulary(tuple(pieces), ends, _agrees(tokenizer, pieces, tried))


def special_tokens(tokenizer: Any) -> set[int]:
    """Tokens that decoding leaves out: the named ones, and added ones that are marked so (Llama 3's `<|eot_id|>`)."""
    added = {int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | {int(i) for i in tokenizer.all_special_ids}


def _decoders(tokenizer: Any) -> frozenset[str]:
    """The kinds of decoder in a fast tokenizer, and "▁" where that sign stands for a space."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return frozenset()
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    parts = decoder.get("decoders", [decoder])
    kinds = {str(part.get("type")) for part in parts}
    spaces = any(part.get("pattern") == {"String": "▁"} and part.get("content") == " " for part in parts)
    return frozenset(kinds | ({"▁"} if spaces or "Metaspace" in kinds else set()))


def _byte_level(token: str) -> bytes:
    """Byte-level BPE writes each byte as one visible character."""
    return b"".join(_BYTE_OF.get(c, c.encode("utf-8", "surrogatepass")) for c in token)


def _bytes_to_characters() -> dict[int, str]:
    """GPT-2's table: printable Latin-1 stands for itself, the other bytes for characters from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    table = {byte: chr(byte) for byte in plain}
    rest = (byte for byte in range(256) if byte not in table)
    return table | {byte: chr(256 + n) for n, byte in enumerate(rest)}


_BYTE_OF = {character: bytes([byte]) for byte, character in _bytes_to_characters().items()}


def _sentence_piece(token: str) -> bytes:
    """ "▁" is a space, and "<0x0A>" one byte (SentencePiece with byte fallback)."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode("utf-8", "surrogatepass")


def _read_off(tokenizer: Any, tokens: Sequence[int], pieces: list[bytes]) -> None:
    """Pieces of an unknown kind of tokenizer: what a token adds to the text of another one before it."""
    if not tokens:
        return
    alone = tokenizer.batch_decode([[i] for i in tokens], skip_special_tokens=True)
    anchor, text = next(((i, t) for i, t in zip(tokens, alone, strict=True) if t and t == t.strip()), (tokens[0], ""))
    behind = tokenizer.batch_decode([[anchor, i] for i in tokens], skip_special_tokens=True)
    for i, whole, own in zip(tokens, behind, alone, strict=True):
        added = whole[len(text) :] if whole.startswith(text) else own
        pieces[i] = added.encode("utf-8", "surrogatepass")


def _agrees(tokenizer: Any, pieces: Sequence[bytes], tokens: Sequence[int]) -> bool:
    """Whether joined pieces read as the tokenizer decodes, on seeded sequences of whole characters."""
    if not tokens:
        return True
    rng = random.Random(0)
    drawn = [rng.choices(tokens, k=rng.randint(1, _LONGEST_TRIAL)) for _ in range(_TRIALS)]
    decoded = tokenizer.batch_decode(drawn, skip_special_tokens=True)
    for sequence, text in zip(drawn, decoded, strict=True):
        written = b"".join(pieces[i] for i in sequence).decode("utf-8", "replace")
        # Half characters are replaced in different ways; no accepted answer holds one.
        if "\ufffd" not in written and written.strip() != text.strip():
            return False
    return True
