"""Which questions a model in training answers rightly when it answers greedily, told without generating.

The usual answer is put behind each prompt, and one pass says of every place of it which token the model would
write there. The greedy answer is followed as far as these places reach; where it goes on in other tokens and may
still become right (another tokenisation, an alias, a space in front), the pass is repeated for that question alone.
The verdict is that of generating, token by token, and of `slick.matching` under `strict`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from slick.accepted import Accepted
from slick.batches import Tokens
from slick.matching import is_right
from slick.vocabulary import Vocabulary

# The tokens that `slick score` allows an answer.
LENGTH = 32


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, what is accepted as its answer, and the tokens in which a model would usually write and end it.

    usual: only a guess; a wrong one costs time, and changes no verdict.
    """

    prompt: Tokens
    answers: tuple[str, ...]
    usual: Tokens

    @property
    def cost(self) -> int:
        """Tokens of the pass."""
        return len(self.prompt) + len(self.usual)


class Best(Protocol):
    """A model: of each row, the token of the largest logit behind each of its last keep[i] places."""

    def __call__(self, rows: Sequence[Tokens], keep: Sequence[int]) -> list[list[int]]: ...


@dataclass(frozen=True, slots=True)
class Reader:
    """How the tokens of an answer read. decode: the tokenizer's own, for one whose tokens do not stand alone."""

    vocabulary: Vocabulary
    decode: Callable[[Sequence[int]], str]

    def outcome(self, accepted: Accepted, written: Tokens, text: bytes) -> bytes | bool:
        """Of an answer with a new last token, the others reading `text`: right, wrong, or its text so far."""
        vocabulary, token = self.vocabulary, written[-1]
        if not vocabulary.exact:
            if token not in vocabulary.line_ends:
                return b""
            return is_right(self.decode(written), accepted.answers)
        if token in vocabulary.ends:
            return accepted.right(text)
        longer = text + vocabulary.piece(token)
        if b"\n" in longer or b"\r" in longer:
            return accepted.right(longer)
        return longer if accepted.viable(longer) else False

    def cut(self, accepted: Accepted, written: Tokens, text: bytes) -> bool:
        """Whether an answer that reached its length limit is right."""
        return accepted.right(text) if self.vocabulary.exact else is_right(self.decode(written), accepted.answers)

    def guess(self, accepted: Accepted, text: bytes) -> Tokens:
        """Tokens that may follow `text`."""
        return self.vocabulary.segment(accepted.remainder(text)) if self.vocabulary.exact else ()


def greedy_right(questions: Sequence[Question], best: Best, reader: Reader, length: int = LENGTH) -> list[bool]:
    """Whether the greedy answer to each question, of at most `length` tokens, is right."""
    found = [False] * len(questions)
    accepted = [Accepted(question.answers) for question in questions]
    # Of each open question: its number, the tokens written, what they read, and those that may follow.
    waiting: list[tuple[int, Tokens, bytes, Tokens]] = [(i, (), b"", q.usual) for i, q in enumerate(questions)]
    while waiting:
        paths = [(written + ahead)[: length - 1] for _, written, _, ahead in waiting]
        rows = [questions[i].prompt + path for (i, *_), path in zip(waiting, paths, strict=True)]
        keep = [len(path) - len(written) + 1 for (_, written, *_), path in zip(waiting, paths, strict=True)]
        still = []
        for (i, written, text, _), path, tokens in zip(waiting, paths, best(rows, keep), strict=True):
            verdict, written, text = _follow(accepted[i], written, text, path, tokens, reader, length)
            if verdict is None:
                still.append((i, written, text, reader.guess(accepted[i], text)))
            else:
                found[i] = verdict
        waiting = still
    return found


def _follow(
    accepted: Accepted, written: Tokens, text: bytes, path: Tokens, tokens: Sequence[int], reader: Reader, length: int
) -> tuple[bool | None, Tokens, bytes]:
    """Goes along `path` as long as the model writes it: the verdict, or None with what was written and reads so far."""
    for token in tokens:
        written = (*written, token)
        outcome = reader.outcome(accepted, written, text)
        if isinstance(outcome, bool):
            return outcome, written, text
        text = outcome
        if len(written) == length:
            return reader.cut(accepted, written, text), written, text
        if path[: len(written)] != written:
            break
    return None, written, text
