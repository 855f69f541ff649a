"""The exact estimator: the chance that a model answers rightly, without drawing a single sample.

A sample is a path of tokens that ends with a line, with end-of-sequence or at the length limit. Of all such
paths those are walked whose text is an accepted answer, in every tokenisation; the chances of their tokens,
tempered and cut to the top k as in sampling, are multiplied along a path and summed over paths. The greedy
answer is right where the path of largest logits is one of them. What the model says of its next token comes
from a `Teacher`, in rounds: first the usual tokenisation of the answer, then what branches off it.

Pure but for numpy; the model stands behind `Teacher`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from slick.accepted import Accepted
from slick.errors import RunError
from slick.matching import Matching
from slick.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Branches with less than this chance are not walked; their sum is the error's bound.
PRUNE = 1e-6
# Tokens with less are not even looked at, and count as pruned whole.
_IGNORE = 1e-9

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
        return {**{k: v for k, v in asdict(self).items() if k != "prompt"}, "matching": str(self.matching)}


@dataclass(frozen=True, slots=True)
class ExactAnswer:
    """What one prompt says of a fact.

    greedy: whether the greedy answer is right. p: chance in [0, 1] that a sample is right; the truth lies in
    [p, p + pruned]. gap: by how many logits the greedy verdict stands; inf where nothing else was near.
    """

    greedy: bool
    p: float
    pruned: float
    gap: float


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

    tokens, logits: places × (top k and whatever ties with the k-th); places whose ties are fewer are filled up
    with smaller ones. best: the argmax of each place.
    """

    tokens: NDArray[np.int64]
    logits: NDArray[np.float64]
    best: NDArray[np.int64]


class Teacher(Protocol):
    """A model that is told what was written and says what it would write next."""

    def heads(self, rows: Sequence[Row], top_k: int) -> Sequence[Heads]:
        """For each row its `keep` places, in the order of the path."""
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
    gap: float = float("inf")

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
        rows = [
            (i, node, _continuation(walks[i], node, i, teacher, vocabulary)) for i in waiting for node in walks[i].open
        ]
        asked = [Row(i, path, len(path) - len(node.path) + 1) for i, node, path in rows]
        heads = teacher.heads(asked, requests[0].top_k)
        for i in waiting:
            walks[i].open = []
        for (i, node, path), head in zip(rows, heads, strict=True):
            _follow(walks[i], node, path, _chances(head, walks[i].request), head, steps, prune)
        waiting = [i for i in waiting if walks[i].open]
    return [w.answer() for w in walks]


def _continuation(w: _Walk, node: _Node, index: int, teacher: Teacher, vocabulary: Vocabulary) -> Tokens:
    """The node's path, and behind it the usual rest of an answer: one pass then answers for all its places."""
    rest = w.accepted.remainder(node.text)
    usual = teacher.usual(index, w.request.answers[0]) if not node.path else vocabulary.segment(rest)
    return (node.path + usual)[: max(w.request.max_gen_toks - 1, len(node.path))]


def _chances(head: Heads, request: ExactRequest) -> NDArray[np.float64]:
    """Tempered and truncated chances of the next token: places × tokens, as transformers samples."""
    import numpy as np

    logits = head.logits
    if np.isnan(logits[:, 0]).any() or (logits[:, 0] == np.inf).any():
        raise RunError(
            "the model's logits are not numbers (NaN or infinite); its weights may be damaged, "
            "or its dtype too narrow: try --model-args dtype=float32"
        )
    k = min(request.top_k, logits.shape[1])
    kept = logits >= logits[:, k - 1 : k]
    powers = np.where(kept, np.exp((logits - logits[:, :1]) / request.temperature), 0.0)
    chances: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _follow(
    w: _Walk, start: _Node, path: Tokens, chances: NDArray[np.float64], head: Heads, steps: _Steps, prune: float
) -> None:
    """Walks from `start` as far as the places along `path` reach; what leaves them is opened for the next round."""
    first = len(start.path)
    node: _Node | None = start
    while node is not None:
        place = len(node.path) - first
        ahead = path[len(node.path)] if len(node.path) < len(path) else None
        node = _expand(w, node, chances[place], head, place, ahead, steps, prune)


def _expand(
    w: _Walk,
    node: _Node,
    chances: NDArray[np.float64],
    head: Heads,
    place: int,
    ahead: int | None,
    steps: _Steps,
    prune: float,
) -> _Node | None:
    """Takes every next token of `node`; returns the child whose own next tokens this pass has as well."""
    best = int(head.best[place])
    if node.greedy:
        _greedy_step(w, node, head, place, best, steps)
    found: _Node | None = None
    left = node.chance
    last = len(node.path) + 1 == w.request.max_gen_toks
    for token, share in _likely(head.tokens[place], chances, _IGNORE / node.chance, best if node.greedy else None):
        chance = node.chance * share
        left -= chance
        text = steps.take(w.accepted, node.text, token)
        if text is True:
            w.p += chance
        elif isinstance(text, bytes):
            greedy = node.greedy and token == best
            if last:
                w.p += chance if w.accepted.right(text) else 0.0
            elif chance < prune and not greedy:
                w.pruned += chance
            else:
                child = _Node((*node.path, token), text, chance, greedy)
                if token == ahead:
                    found = child
                else:
                    w.open.append(child)
    w.pruned += max(left, 0.0) if left > 1e-12 else 0.0
    return found


def _likely(
    tokens: NDArray[np.int64], chances: NDArray[np.float64], least: float, always: int | None
) -> Iterator[tuple[int, float]]:
    """Tokens in falling order of chance down to `least`, and `always` in any case."""
    count = max(int((chances >= least).sum()), 1)
    for token, chance in zip(tokens[:count].tolist(), chances[:count].tolist(), strict=True):
        if chance > 0:
            yield token, chance
            if token == always:
                always = None
    if always is not None:
        yield from ((t, c) for t, c in zip(tokens.tolist(), chances.tolist(), strict=True) if t == always)


def _greedy_step(w: _Walk, node: _Node, head: Heads, place: int, best: int, steps: _Steps) -> None:
    """Settles the greedy answer where the largest logit ends it, and how near the next logit came to another end."""
    logits = head.logits[place]
    outcome = steps.take(w.accepted, node.text, best)
    if isinstance(outcome, bytes) and len(node.path) + 1 == w.request.max_gen_toks:
        outcome = w.accepted.right(outcome)
    if outcome is True:
        w.greedy = True
    # A rival only matters if it would lead elsewhere: two dead ends are one.
    for token, logit in zip(head.tokens[place].tolist(), logits.tolist(), strict=True):
        gap = float(logits[0] - logit)
        if gap >= w.gap:
            break
        if token == best:
            continue
        other = steps.take(w.accepted, node.text, token)
        if other is not outcome:
            w.gap = gap
            break


class _Steps:
    """What a text becomes with one more token, remembered: the text of a start of a right answer, True where the
    answer has ended rightly, False where it has not or never will."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._taken: dict[int, dict[tuple[bytes, int], bytes | bool]] = {}

    def take(self, accepted: Accepted, text: bytes, token: int) -> bytes | bool:
        taken = self._taken.setdefault(id(accepted), {})
        found = taken.get((text, token))
        if found is None:
            found = taken[text, token] = self._take(accepted, text, token)
        return found

    def _take(self, accepted: Accepted, text: bytes, token: int) -> bytes | bool:
        if token in self.vocabulary.ends:
            return accepted.right(text)
        longer = text + self.vocabulary.piece(token)
        if b"\n" in longer or b"\r" in longer:
            return accepted.right(longer)
        return longer if accepted.viable(longer) else False
