"""The walk of the exact estimator: over all ways in which a model can write an accepted answer and end it.

A sample is a path of tokens that ends with a line, with end-of-sequence or at the length limit. Of all such
paths those are walked whose text is an accepted answer, in every tokenisation; the chances of their tokens,
tempered and cut to the top k as in sampling, are multiplied along a path and summed over paths. The greedy
answer is right where the path of largest logits is one of them. What the model says of its next token comes
from a `Teacher`: first along the usual tokens of the answer, then of what branches off.

Pure but for numpy; the model stands behind `Teacher`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from slick.accepted import Accepted
from slick.errors import RunError
from slick.exact import FAR, ExactAnswer, ExactRequest
from slick.matching import Matching
from slick.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Branches with less than this chance are not walked; their sum is the error's bound.
PRUNE = 1e-6
# Branches of one request that are walked at most, the likeliest first: where nearly any text may still become
# right (flat models under `normalized`) their number would grow with every token. The rest counts as pruned.
BUDGET = 256
# Tokens with less are not even looked at, and count as pruned whole.
_IGNORE = 1e-9

NOT_NUMBERS = (
    "the model's logits are not numbers (NaN or infinite); its weights may be damaged, "
    "or its dtype too narrow: try --model-args dtype=float32"
)

Tokens = tuple[int, ...]


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


class Reading(Protocol):
    """What the model said of some of the rows it was asked, and can still say of what follows them.

    rows: which of the rows, by their place in the question. heads: their places, row after row.
    """

    @property
    def rows(self) -> Sequence[int]: ...

    @property
    def heads(self) -> Heads: ...

    def branch(self, rows: Sequence[Row], top_k: int) -> tuple[Sequence[int], Heads]:
        """Takes up some of these rows, each one token behind what was read before: which, and one place each.

        None of them where it would not pay; they are then asked anew. Only until the next reading is taken.
        """
        ...


class Teacher(Protocol):
    """A model that is told what was written and says what it would write next."""

    def read(self, rows: Sequence[Row], top_k: int) -> Iterator[Reading]:
        """Every row in one reading."""
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
    """One request while it is walked. open: nodes whose next tokens are still to be asked for; left: its budget."""

    request: ExactRequest
    accepted: Accepted
    open: list[_Node]
    left: float
    p: float = 0.0
    pruned: float = 0.0
    greedy: bool = False
    gap: float = FAR

    def ready(self) -> list[_Node]:
        """The open nodes, without those that the budget does not reach; the greedy path costs nothing."""
        if len(self.open) > self.left:
            self.open.sort(key=lambda node: (not node.greedy, -node.chance, node.path))
            kept = int(self.left) + sum(node.greedy for node in self.open)
            self.pruned += sum(node.chance for node in self.open[kept:])
            del self.open[kept:]
        return self.open

    def take(self, node: _Node) -> None:
        """Asks for this node's next tokens."""
        self.open.remove(node)
        self.left -= not node.greedy

    def answer(self) -> ExactAnswer:
        return ExactAnswer(self.greedy, min(self.p, 1.0), min(self.pruned, 1.0), self.gap)


def walk(
    requests: Sequence[ExactRequest],
    teacher: Teacher,
    vocabulary: Vocabulary,
    prune: float = PRUNE,
    budget: float = BUDGET,
) -> list[ExactAnswer]:
    """The answer to each request. All requests share temperature and top_k.

    prune: branches of less chance are not walked; budget: nor more of a request than so many.
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
        walks.append(_Walk(request, accepted[key], [_Node((), b"", 1.0, True)], budget))
    steps = _Steps(vocabulary)
    waiting = list(range(len(walks)))
    while waiting:
        asked = [
            (node, Row(i, path, len(path) - len(node.path) + 1))
            for i in waiting
            for node in walks[i].ready()
            for path in [_continuation(walks[i], node, i, teacher, vocabulary)]
        ]
        for node, row in asked:
            walks[row.request].take(node)
        for reading in teacher.read([row for _, row in asked], requests[0].top_k):
            part = [asked[place] for place in reading.rows]
            _follow_all(walks, part, reading.heads, requests[0], steps, prune)
            _branch(walks, {row.request for _, row in part}, reading, requests[0], steps, prune)
        waiting = [i for i in waiting if walks[i].open]
    return [w.answer() for w in walks]


def _branch(
    walks: Sequence[_Walk], members: set[int], reading: Reading, request: ExactRequest, steps: _Steps, prune: float
) -> None:
    """Follows what branched off as long as the reading takes it up."""
    while opened := [(node, Row(i, node.path, 1)) for i in sorted(members) for node in walks[i].ready()]:
        taken, heads = reading.branch([row for _, row in opened], request.top_k)
        if not taken:
            return
        part = [opened[place] for place in taken]
        for node, row in part:
            walks[row.request].take(node)
        _follow_all(walks, part, heads, request, steps, prune)
        members = {row.request for _, row in opened}


def _follow_all(
    walks: Sequence[_Walk],
    part: Sequence[tuple[_Node, Row]],
    heads: Heads,
    request: ExactRequest,
    steps: _Steps,
    prune: float,
) -> None:
    """Walks every node as far as its row's places reach."""
    places = _Places.of(heads, request)
    first = 0
    for node, row in part:
        _follow(walks[row.request], node, row.path, places, first - len(node.path), steps, prune)
        first += row.keep


@dataclass(frozen=True, slots=True)
class _Places:
    """What the model says at some places: chances, by falling chance; the first counts[i] are worth looking at.

    rest: what all other tokens of a place have together.
    """

    heads: Heads
    chances: NDArray[np.float64]
    counts: list[int]
    rest: list[float]

    @classmethod
    def of(cls, heads: Heads, request: ExactRequest) -> _Places:
        import numpy as np

        chances = _chances(heads, request)
        looked_at = chances >= _IGNORE
        rest = np.where(looked_at, 0.0, chances).sum(axis=1)
        return cls(heads, chances, looked_at.sum(axis=1).tolist(), rest.tolist())


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


def _follow(w: _Walk, start: _Node, path: Tokens, places: _Places, first: int, steps: _Steps, prune: float) -> None:
    """Walks from `start` along `path`, whose place behind n tokens is first + n; opens what leaves it."""
    node: _Node | None = start
    while node is not None:
        ahead = path[len(node.path)] if len(node.path) < len(path) else None
        node = _expand(w, node, places, first + len(node.path), ahead, steps, prune)


def _expand(
    w: _Walk, node: _Node, places: _Places, place: int, ahead: int | None, steps: _Steps, prune: float
) -> _Node | None:
    """Takes every next token of `node`; returns the child `ahead`, whose own next tokens are read as well."""
    best = int(places.heads.best[place])
    if node.greedy:
        _greedy_step(w, node, places.heads, place, best, steps)
    found: _Node | None = None
    last = len(node.path) + 1 == w.request.max_gen_toks
    taken = steps.behind(w.accepted, node.text)
    count = places.counts[place]
    tokens, chances = places.heads.tokens[place, :count].tolist(), places.chances[place, :count].tolist()
    for token, share in zip(tokens, chances, strict=True):
        text = taken.get(token)
        if text is None:
            text = taken[token] = steps.first(w.accepted, node.text, token)
        if text is False:
            continue
        chance = node.chance * share
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
    w.pruned += node.chance * places.rest[place]
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
