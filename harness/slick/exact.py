"""The exact estimator: the chance that a model answers rightly, without drawing a single sample.

A sample is a path of tokens that ends with a line, with end-of-sequence or at the length limit. Of all such
paths those are walked whose text is an accepted answer, in every tokenisation; the chances of their tokens,
tempered and cut to the top k as in sampling, are multiplied along a path and summed over paths. The greedy
answer is right where the path of largest logits is one of them. What the model says of its next token comes
from a `Teacher`, in rounds: first the usual tokenisation of the answer, then what branches off it.

Pure but for numpy; the model stands behind `Teacher`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from slick.accepted import Accepted
from slick.errors import RunError
from slick.facts import Fact
from slick.knowledge import Chances, Knowledge
from slick.matching import Matching
from slick.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Branches with less than this chance are not walked; their sum is the error's bound.
PRUNE = 1e-6
# Tokens with less are not even looked at, and count as pruned whole.
_IGNORE = 1e-9

NOT_NUMBERS = (
    "the model's logits are not numbers (NaN or infinite); its weights may be damaged, "
    "or its dtype too narrow: try --model-args dtype=float32"
)

# Stands for "no rival", since JSON has no infinity.
FAR = 1e3

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExactRequest:
    """A prompt, what is accepted as its answer, and how a sample of it would be drawn."""

    prompt: str
    answers: tuple[str, ...]
    temperature: float
    top_k: int
    max_gen_toks: int
    matching: Matching = Matching.STRICT

    def settings(self) -> dict[str, Any]:
        """Everything but the prompt, JSON-able."""
        return {
            "answers": list(self.answers),
            "temperature": self.temperature,
            "top_k": self.top_k,
            "max_gen_toks": self.max_gen_toks,
            "matching": str(self.matching),
        }

    @classmethod
    def of_settings(cls, prompt: str, settings: Mapping[str, Any]) -> ExactRequest:
        """The request whose `settings` are among these."""
        answers = tuple(map(str, settings["answers"]))
        temperature, top_k, length = (settings[name] for name in ("temperature", "top_k", "max_gen_toks"))
        return cls(prompt, answers, float(temperature), int(top_k), int(length), Matching(settings["matching"]))


@dataclass(frozen=True, slots=True)
class ExactAnswer:
    """What one prompt says of a fact.

    greedy: whether the greedy answer is right. p: chance in [0, 1] that a sample is right; the truth lies in
    [p, p + pruned]. gap: by how many logits the greedy verdict stands; FAR where none of the top k would turn it.
    """

    greedy: bool
    p: float
    pruned: float
    gap: float

    def as_json(self) -> str:
        """What a log has in the place of an answer's text."""
        return json.dumps({"greedy": self.greedy, "p": self.p, "pruned": self.pruned, "gap": self.gap})

    @classmethod
    def of_json(cls, text: str) -> ExactAnswer:
        """Raises KeyError, TypeError or ValueError for a text that is none."""
        found = json.loads(text)
        return cls(bool(found["greedy"]), float(found["p"]), float(found["pruned"]), float(found["gap"]))


def exact_knowledge(
    fact: Fact, answers: Sequence[ExactAnswer], before: Sequence[ExactAnswer], *, n_samples: int, tolerance: float
) -> Knowledge:
    """What the exact answers under a fact's sets say of it. tolerance: logits nearer than that are a tie."""
    chances = Chances(
        tuple(answer.p for answer in answers),
        n_samples,
        max(answer.pruned for answer in answers),
        any(answer.gap < tolerance for answer in answers),
    )
    return Knowledge(
        fact,
        greedy_right=sum(answer.greedy for answer in answers),
        greedy_total=len(answers),
        before_right=sum(answer.greedy for answer in before),
        before_total=len(before),
        chances=chances,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What a teacher is asked: the prompt of request `request`, followed by `path`.

    keep: of how many last places the next token is wanted; the last is the one behind `path`.
    """

    request: int
    path: Tokens
    keep: int


@dataclass(frozen=True, slots=True)
class Heads:
    """The largest logits of the next token at some places, largest first.

    tokens, logits: places × (at least the top k, and whatever ties with the k-th; smaller ones or -inf may
    follow). best: the argmax of each place.
    """

    tokens: NDArray[np.int64]
    logits: NDArray[np.float64]
    best: NDArray[np.int64]


class Teacher(Protocol):
    """A model that is told what was written and says what it would write next."""

    def heads(self, rows: Sequence[Row], top_k: int) -> Heads:
        """The `keep` places of each row in the order of its path, row after row."""
        ...

    def usual(self, request: int, answer: str) -> Tokens:
        """The tokens in which the model would usually write `answer` behind the prompt; a guess may be wrong."""
        ...


@dataclass(slots=True)
class _Node:
    path: Tokens
    text: bytes
    chance: float
    greedy: bool


@dataclass(slots=True)
class _Walk:
    """One request while it is walked. open: nodes whose next tokens are still to be asked for."""

    request: ExactRequest
    accepted: Accepted
    open: list[_Node]
    p: float = 0.0
    pruned: float = 0.0
    greedy: bool = False
    gap: float = FAR

    def answer(self) -> ExactAnswer:
        return ExactAnswer(self.greedy, min(self.p, 1.0), min(self.pruned, 1.0), self.gap)


def walk(
    requests: Sequence[ExactRequest], teacher: Teacher, vocabulary: Vocabulary, prune: float = PRUNE
) -> list[ExactAnswer]:
    """The answer to each request. All requests share temperature and top_k.

    Raises RunError when the model's logits are no numbers.
    """
    if not requests:
        return []
    accepted: dict[tuple[tuple[str, ...], Matching], Accepted] = {}
    walks = []
    for request in requests:
        key = (request.answers, request.matching)
        if key not in accepted:
            accepted[key] = Accepted(request.answers, request.matching)
        walks.append(_Walk(request, accepted[key], [_Node((), b"", 1.0, True)]))
    steps = _Steps(vocabulary)
    waiting = list(range(len(walks)))
    while waiting:
        asked = [
            (walks[i], node, Row(i, path, len(path) - len(node.path) + 1))
            for i in waiting
            for node in walks[i].open
            for path in [_continuation(walks[i], node, i, teacher, vocabulary)]
        ]
        heads = teacher.heads([row for _, _, row in asked], requests[0].top_k)
        chances = _chances(heads, requests[0])
        counts = (chances >= _IGNORE).sum(axis=1).tolist()
        for i in waiting:
            walks[i].open = []
        first = 0
        for w, node, row in asked:
            _follow(w, node, row.path, _Places(heads, chances, counts, first - len(node.path)), steps, prune)
            first += row.keep
        waiting = [i for i in waiting if walks[i].open]
    return [w.answer() for w in walks]


@dataclass(frozen=True, slots=True)
class _Places:
    """What the model says along one path: of the place behind n tokens at index first + n."""

    heads: Heads
    chances: NDArray[np.float64]
    counts: list[int]
    first: int

    def tokens(self, place: int) -> list[int]:
        """The tokens at a place that have any chance worth looking at."""
        return self.heads.tokens[place, : self.counts[place]].tolist()  # type: ignore[no-any-return]

    def shares(self, place: int) -> list[float]:
        """Their chances."""
        return self.chances[place, : self.counts[place]].tolist()  # type: ignore[no-any-return]


def _continuation(w: _Walk, node: _Node, index: int, teacher: Teacher, vocabulary: Vocabulary) -> Tokens:
    """The node's path, and behind it the usual rest of an answer: one pass then answers for all its places."""
    rest = w.accepted.remainder(node.text)
    usual = teacher.usual(index, w.request.answers[0]) if not node.path else vocabulary.segment(rest)
    return (node.path + usual)[: max(w.request.max_gen_toks - 1, len(node.path))]


def _chances(heads: Heads, request: ExactRequest) -> NDArray[np.float64]:
    """Tempered and truncated chances of the next token: places × tokens, as transformers samples."""
    import numpy as np

    logits = heads.logits
    if not np.isfinite(logits[:, 0]).all():
        raise RunError(NOT_NUMBERS)
    k = min(request.top_k, logits.shape[1])
    powers = np.exp((logits - logits[:, :1]) / request.temperature)
    powers[logits < logits[:, k - 1 : k]] = 0.0
    chances: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _follow(w: _Walk, start: _Node, path: Tokens, places: _Places, steps: _Steps, prune: float) -> None:
    """Walks from `start` as far as the places along `path` reach; what leaves them is opened for the next round."""
    node: _Node | None = start
    while node is not None:
        ahead = path[len(node.path)] if len(node.path) < len(path) else None
        node = _expand(w, node, places, ahead, steps, prune)


def _expand(w: _Walk, node: _Node, places: _Places, ahead: int | None, steps: _Steps, prune: float) -> _Node | None:
    """Takes every next token of `node`; returns the child `ahead`, whose own next tokens this pass has as well."""
    place = places.first + len(node.path)
    best = int(places.heads.best[place])
    if node.greedy:
        _greedy_step(w, node, places.heads, place, best, steps)
    found: _Node | None = None
    left = node.chance
    last = len(node.path) + 1 == w.request.max_gen_toks
    taken = steps.behind(w.accepted, node.text)
    for token, share in zip(places.tokens(place), places.shares(place), strict=True):
        chance = node.chance * share
        # The argmax comes first, but for ties with it.
        if chance < _IGNORE and not (node.greedy and share):
            break
        left -= chance
        text = taken.get(token)
        if text is None:
            text = taken[token] = steps.first(w.accepted, node.text, token)
        if text is False:
            continue
        greedy = node.greedy and token == best
        if text is True or (last and w.accepted.right(text)):
            w.p += chance
        elif last:
            continue
        elif chance < prune and not greedy:
            w.pruned += chance
        else:
            child = _Node((*node.path, token), text, chance, greedy)
            if token == ahead:
                found = child
            else:
                w.open.append(child)
    # Tokens that were not looked at; less than that is rounding.
    w.pruned += left if left > 1e-12 else 0.0
    return found


def _greedy_step(w: _Walk, node: _Node, heads: Heads, place: int, best: int, steps: _Steps) -> None:
    """Settles the greedy answer where the largest logit ends it, and how near the next logit came to another end."""
    outcome = steps.take(w.accepted, node.text, best)
    if len(node.path) + 1 == w.request.max_gen_toks and not isinstance(outcome, bool):
        outcome = w.accepted.right(outcome)
    w.greedy = w.greedy or outcome is True
    logits = heads.logits[place].tolist()
    # A rival only matters if it would lead elsewhere: two dead ends are one.
    for token, logit in zip(heads.tokens[place].tolist(), logits, strict=True):
        gap = logits[0] - logit
        if gap >= w.gap:
            break
        if token != best and steps.take(w.accepted, node.text, token) is not outcome:
            w.gap = gap
            break


class _Steps:
    """What a text becomes with one more token, remembered by fact and text.

    A step is the longer text where that may still become a right answer, True where the answer has ended
    rightly, False where it has not or never will.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._taken: dict[tuple[int, bytes], dict[int, bytes | bool]] = {}

    def behind(self, accepted: Accepted, text: bytes) -> dict[int, bytes | bool]:
        """The steps taken so far from `text`, by token."""
        return self._taken.setdefault((id(accepted), text), {})

    def take(self, accepted: Accepted, text: bytes, token: int) -> bytes | bool:
        taken = self.behind(accepted, text)
        found = taken.get(token)
        if found is None:
            found = taken[token] = self.first(accepted, text, token)
        return found

    def first(self, accepted: Accepted, text: bytes, token: int) -> bytes | bool:
        """A step that was not taken yet."""
        if token in self.vocabulary.ends:
            return accepted.right(text)
        longer = text + self.vocabulary.piece(token)
        if b"\n" in longer or b"\r" in longer:
            return accepted.right(longer)
        return longer if accepted.viable(longer) else False
