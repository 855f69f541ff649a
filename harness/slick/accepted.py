"""Which texts can still become a right answer: what the exact estimator prunes its walk by.

A text grows token by token, as bytes. `viable` may say yes to a text that cannot be completed (the walk then
goes a step too far), never no to one that can; what is right is decided by `slick.matching` alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from slick.matching import Matching, is_right, normalize

# White space that `str.strip` removes, without the two characters that end a line: of one byte, of several, and
# the starts of the latter.
_PLAIN_SPACE = b"\t\x0b\x0c\x1c\x1d\x1e\x1f "
_SPACE = re.compile(
    rb"(?:[\t\x0b\x0c\x1c-\x1f ]|\xc2[\x85\xa0]|\xe1\x9a\x80"
    rb"|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)*"
)
_HALF_SPACE = frozenset((b"\xc2", b"\xe1", b"\xe1\x9a", b"\xe2", b"\xe2\x80", b"\xe2\x81", b"\xe3", b"\xe3\x80"))
_ARTICLES = ("a", "an", "the")


class Accepted:
    """The accepted answers of one fact under a matching policy, and what is known of texts so far."""

    def __init__(self, answers: Sequence[str], matching: Matching = Matching.STRICT) -> None:
        self.answers = tuple(answers)
        self.matching = matching
        self._strict = tuple(answer.strip().encode("utf-8", "surrogatepass") for answer in answers)
        self._words = tuple(tuple(normalize(answer).split()) for answer in answers)
        self._right: dict[bytes, bool] = {}

    def right(self, text: bytes) -> bool:
        """Whether a model that wrote `text` answered rightly; its first line counts."""
        found = self._right.get(text)
        if found is None:
            found = is_right(text.decode("utf-8", "replace"), self.answers, self.matching)
            self._right[text] = found
        return found

    def viable(self, text: bytes) -> bool:
        """Whether `text`, which has no line end yet, may be the start of a right answer."""
        if self.matching is Matching.STRICT:
            return self._viable_strictly(text)
        return self._viable_strictly(text) or self._viable_normalized(text.decode("utf-8", "ignore"))

    def remainder(self, text: bytes) -> bytes:
        """What the first answer that `text` is a start of still lacks; b"" where nothing is lacking or fits."""
        rest = _behind_space(text)
        return next((a[len(rest) :] for a in self._strict if a.startswith(rest)), b"")

    def _viable_strictly(self, text: bytes) -> bool:
        rest = _behind_space(text)
        if not rest or rest in _HALF_SPACE:
            return True
        for answer in self._strict:
            if answer.startswith(rest):
                return True
            if rest.startswith(answer):
                tail = _behind_space(rest[len(answer) :])
                if not tail or tail in _HALF_SPACE:
                    return True
        return False

    def _viable_normalized(self, text: str) -> bool:
        whole, last = _last_word(text)
        written = normalize(whole).split()
        return any(self._may_follow(words, written, last) for words in self._words)

    def _may_follow(self, words: Sequence[str], written: Sequence[str], last: str) -> bool:
        """Whether the word begun with `last` may go on after `written` towards `words`."""
        if not words:
            return False  # compared as it stands, which is the strict case
        if list(written) != list(words[: len(written)]):
            return False
        begun = last.lower()
        if not begun.isascii():
            return True  # other alphabets' letters and signs: no word is ruled out before it has ended
        begun = "".join(c for c in begun if c.isalnum() or c == "_")
        coming = words[len(written) : len(written) + 1]
        # Underscores and apostrophes go with the punctuation; what they leave is compared.
        plain = begun.replace("_", "")
        return any(w.startswith(plain) for w in (*coming, *_ARTICLES))


def _behind_space(text: bytes) -> bytes:
    rest = text.lstrip(_PLAIN_SPACE)
    if rest[:1] not in _HALF_SPACE:
        return rest  # nearly always, and a tenth of the pattern's cost
    match = _SPACE.match(rest)
    return rest[match.end() :] if match else rest


def _last_word(text: str) -> tuple[str, str]:
    """`text` cut before its last word; that word is empty where `text` ends in white space."""
    place = len(text)
    while place and not text[place - 1].isspace():
        place -= 1
    return text[:place], text[place:]
