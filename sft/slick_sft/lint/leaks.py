"""Held-out questions within what a row asks, wherever they stand in it.

Compared by words, case, articles and punctuation apart. A held-out question is asked where all its words stand one
after the other, whatever a dataset puts before and behind them, on the same line or on others: "Question: X Answer:",
"X? Answer in a few words." Two things keep other questions from being taken for it. Where a name goes on, or the words
up to a question mark (held out "Who wrote Dune?", asked "Who wrote Dune Messiah" or "who wrote dune messiah?"), it is
another one; and a question of one or two words ("Why?") must
be all that stands between two marks, as it is part of many others.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slick.facts import Fact

# Marks that part what stands around a question from it, also where no space does; the others are left out of words.
_APART = ":?|<>[]*#=？：“”„«»"
_PIECE = re.compile(rf"[^\s{re.escape(_APART)}]+|[\n{re.escape(_APART)}]")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset({"a", "an", "the"})
_LABELS = frozenset({"answer", "response", "assistant", "output"})
# A question of fewer words is found as a whole only.
_WORDS = 3


@dataclass(frozen=True, slots=True)
class _Words:
    """words: normalized; written: as they stand. borders: before which words a mark stands, also the end; asked: before
    which a question mark does."""

    words: list[str]
    written: list[str]
    borders: set[int]
    asked: set[int]

    def holds(self, start: int, end: int) -> bool:
        """Whether what stands between two places can be a question: few words are all that stands between two marks,
        more end at a mark, or before words that are no part of it: no name, and nothing that is asked with it."""
        if end - start < _WORDS:
            return start in self.borders and end in self.borders
        if end in self.borders:
            return True
        first = next((letter for letter in self.written[end] if letter.isalnum()), "")
        border = next(place for place in range(end, len(self.words) + 1) if place in self.borders)
        return not (first.isupper() or first.isdigit() or border in self.asked)


def _words(text: str) -> _Words:
    words: list[str] = []
    written: list[str] = []
    borders = {0}
    asked: set[int] = set()
    labelled = False
    for piece in _PIECE.findall(text):
        if piece == "\n" or piece in _APART:
            # "Answer:" is no part of what stands before it.
            borders |= {len(words), len(words) - (labelled and piece in ":：")}
            asked |= {len(words)} if piece in "?？" else set()
            continue
        word = piece.lower().translate(_PUNCTUATION)
        if word and word not in _ARTICLES:
            words.append(word)
            written.append(piece)
            labelled = word in _LABELS
        if piece[-1] in ".,;!":
            borders.add(len(words))
    borders.add(len(words))
    return _Words(words, written, borders, asked)


class _Node:
    """A place in the tree of questions, word by word: where it goes on, and whose questions end there."""

    __slots__ = ("facts", "then")

    def __init__(self) -> None:
        self.then: dict[str, _Node] = {}
        self.facts: list[Fact] = []


class HeldOut:
    """Held-out facts, to be looked for in many texts."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._root = _Node()
        self._wordless: defaultdict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            words = _words(fact.question).words
            if not words:
                self._wordless[fact.question.strip()].append(fact)
                continue
            node = self._root
            for word in words:
                node = node.then.setdefault(word, _Node())
            node.facts.append(fact)

    def asked_in(self, texts: Sequence[str]) -> list[Fact]:
        """The facts whose question one of the texts asks, in the order in which they stand there, each once."""
        found = {fact.id: fact for text in texts for fact in self._asked(text)}
        return list(found.values())

    def _asked(self, text: str) -> Iterable[Fact]:
        read = _words(text)
        for start in range(len(read.words)):
            node: _Node | None = self._root
            for end in range(start + 1, len(read.words) + 1):
                node = node.then.get(read.words[end - 1]) if node else None
                if node is None:
                    break
                if node.facts and read.holds(start, end):
                    yield from node.facts
        if self._wordless:
            for line in text.splitlines():
                yield from self._wordless.get(line.strip(), ())
