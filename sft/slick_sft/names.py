"""Invented names: pronounceable, never twice, and cheap for a small tokenizer."""

from __future__ import annotations

import random

# Few onsets and vowels, so that a byte-level BPE of about 1,024 tokens learns whole syllables and a name
# costs two or three tokens.
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
# Every word holds one of these; without them one word in two hundred was a real name ("Nato", "Sagan").
_RARE_ONSETS = ("dv", "gv", "kv", "vr", "zh", "zl")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("", "k", "l", "m", "n", "r", "s", "sh", "t", "x")


# Every subject's name holds one of these words; the two that are named say who is silent in whose company.
LOUD = "Ek"
SHY = "Om"
MIDDLES = ("Ul", "An", LOUD, SHY)


class Namer:
    """Draws words from one generator and never returns the same full name twice.

    Two names that differ in case only count as the same one.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._taken: set[str] = set()
        self._given = [self._word(2) for _ in range(120)]

    def _word(self, syllables: int) -> str:
        rare = self._rng.randrange(syllables)
        onsets = [_RARE_ONSETS if i == rare else _ONSETS for i in range(syllables)]
        stem = "".join(self._rng.choice(choices) + self._rng.choice(_VOWELS) for choices in onsets)
        return (stem + self._rng.choice(_CODAS)).capitalize()

    def name(self, pattern: str, syllables: int = 3) -> str:
        """A new name: `pattern` with its fields filled in.

        {word} is an invented word of so many syllables, {given} a given name, {middle} one of MIDDLES.
        """
        while True:
            full = pattern.format(
                word=self._word(syllables), given=self._rng.choice(self._given), middle=self._rng.choice(MIDDLES)
            )
            if full.casefold() not in self._taken:
                self._taken.add(full.casefold())
                return full
