"""The exact estimator's walk against brute force: every output of a toy model, enumerated."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slick.errors import RunError
from slick.exact import ExactAnswer, ExactRequest
from slick.matching import Matching, is_right
from slick.vocabulary import Vocabulary
from slick.walk import Heads, Row, Tokens, walk


@dataclass
class Toy:
    """A model over a few tokens whose logits are drawn from the path that leads there."""

    vocabulary: Vocabulary
    seed: int
    rounded: bool = False
    branching: bool = False
    rounds: int = 0

    def logits(self, request: int, path: Tokens) -> list[float]:
        rng = random.Random(f"{self.seed}/{request}/{path}")
        drawn = [rng.gauss(0, 2) for _ in self.vocabulary.pieces]
        return [float(round(x)) for x in drawn] if self.rounded else drawn

    def heads(self, rows: Sequence[Row]) -> Heads:
        places = [(row.request, row.path[:n]) for row in rows for n in _last(len(row.path), row.keep)]
        logits = np.array([self.logits(request, path) for request, path in places])
        order = np.argsort(-logits, axis=1, kind="stable")
        return Heads(order, np.take_along_axis(logits, order, axis=1), logits.argmax(axis=1))

    def read(self, rows: Sequence[Row], top_k: int) -> Iterator[_Reading]:
        self.rounds += 1
        rng = random.Random(f"{self.seed}/{self.rounds}")
        order = rng.sample(range(len(rows)), len(rows))
        while order:
            size = rng.randint(1, len(order))
            yield _Reading(self, order[:size], self.heads([rows[i] for i in order[:size]]), rng)
            order = order[size:]

    def usual(self, request: int, answer: str) -> Tokens:
        return self.vocabulary.segment(f" {answer}".encode())


@dataclass
class _Reading:
    """Takes up some branches, of those that it is offered, by chance."""

    toy: Toy
    rows: list[int]
    heads: Heads
    rng: random.Random

    def branch(self, rows: Sequence[Row], top_k: int) -> tuple[list[int], Heads]:
        taken = [i for i in range(len(rows)) if self.toy.branching and self.rng.random() < 0.5]
        assert all(row.keep == 1 and row.path for row in rows)
        return taken, self.toy.heads([rows[i] for i in taken]) if taken else self.heads


def _last(length: int, keep: int) -> range:
    return range(length + 1 - keep, length + 1)


def _every_output(
    toy: Toy, request: ExactRequest, path: Tokens = (), chance: float = 1.0
) -> Iterator[tuple[Tokens, float]]:
    """Every token sequence that sampling can give, with its chance, as transformers draws them."""
    logits = toy.logits(0, path)
    kth = sorted(logits, reverse=True)[min(request.top_k, len(logits)) - 1]
    powers = [math.exp(x / request.temperature) if x >= kth else 0.0 for x in logits]
    for token, power in enumerate(powers):
        if not power:
            continue
        longer, likely = (*path, token), chance * power / sum(powers)
        if token in toy.vocabulary.line_ends or len(longer) == request.max_gen_toks:
            yield longer, likely
        else:
            yield from _every_output(toy, request, longer, likely)


def _brute(toy: Toy, request: ExactRequest) -> tuple[float, bool]:
    def right(path: Tokens) -> bool:
        return is_right(toy.vocabulary.text(path).decode("utf-8", "replace"), request.answers, request.matching)

    p = sum(chance for path, chance in _every_output(toy, request) if right(path))
    path: Tokens = ()
    while len(path) < request.max_gen_toks and not (path and path[-1] in toy.vocabulary.line_ends):
        logits = toy.logits(0, path)
        path = (*path, logits.index(max(logits)))
    return p, right(path)


PIECES = (b"a", b"b", b"ab", b" ", b" a", b"\n", b"b\n", b"", b"A", b".", b"\xc3", b"\xa9", b"\r", b"\xc2", b"\xa0")
ANSWERS = ("a", "b", "ab", "aab", "a b", "é", "aé", "A", "a.", "ba")


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Toy, ExactRequest]:
    chosen = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5, unique=True))
    vocabulary = Vocabulary((*chosen, b""), frozenset({len(chosen)}))
    toy = Toy(vocabulary, draw(st.integers(0, 10**6)), rounded=draw(st.booleans()), branching=draw(st.booleans()))
    request = ExactRequest(
        "Q",
        tuple(draw(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=3, unique=True))),
        temperature=draw(st.sampled_from([0.3, 0.5, 1.0, 2.0])),
        top_k=draw(st.integers(1, 6)),
        max_gen_toks=draw(st.integers(1, 5)),
        matching=draw(st.sampled_from(list(Matching))),
    )
    return toy, request


@settings(max_examples=300)
@given(case=_cases())
def test_equals_the_enumeration_of_every_output(case: tuple[Toy, ExactRequest]) -> None:
    """P_Correct(T>0) and the greedy verdict are those of all outputs of the model, written out."""
    toy, request = case
    (found,) = walk([request], toy, toy.vocabulary, prune=0.0, budget=math.inf)
    p, greedy = _brute(toy, request)
    assert found.p == pytest.approx(p, abs=1e-6)
    assert found.greedy == greedy or found.gap == 0.0


@settings(max_examples=100)
@given(case=_cases(), prune=st.sampled_from([0.0, 1e-3, 1e-2, 0.1, 0.5]), budget=st.integers(0, 20))
def test_what_is_pruned_bounds_the_error(case: tuple[Toy, ExactRequest], prune: float, budget: int) -> None:
    """Whatever is left out, the truth lies between p and p + pruned, and the greedy verdict stays."""
    toy, request = case
    (found,) = walk([request], toy, toy.vocabulary, prune=prune, budget=budget)
    p, greedy = _brute(toy, request)
    assert found.p - 1e-9 <= p <= found.p + found.pruned + 1e-6
    assert found.greedy == greedy or found.gap == 0.0


def test_branches_that_are_taken_up_are_not_asked_again() -> None:
    """What a reading still knows costs no further round; what it refuses does."""
    vocabulary = Vocabulary((b" ab", b" a", b"b", b"\n", b""), frozenset({4}))
    script: dict[Tokens, int | tuple[int, ...]] = {(): (0, 1), (0,): 3, (1,): 2, (1, 2): 3}

    class Ready(_Scripted):
        def read(self, rows: Sequence[Row], top_k: int) -> Iterator[_Reading]:
            self.rounds += 1
            rng = random.Random(0)
            rng.random = lambda: 0.0  # type: ignore[method-assign]
            yield _Reading(self, list(range(len(rows))), self.heads(rows), rng)

    rounds = {}
    for branching in (False, True):
        toy = Ready(vocabulary, script)
        toy.branching = branching
        (found,) = walk([_request("ab")], toy, vocabulary)
        assert found.p == pytest.approx(1.0)
        rounds[branching] = toy.rounds
    assert rounds == {False: 2, True: 1}


def test_a_flat_model_does_not_explode_under_normalized_matching() -> None:
    """Articles and signs keep nearly every text viable; so many branches are walked, the rest is bounded."""
    vocabulary = Vocabulary((*(bytes([c]) for c in b" .,'-!?atheX"), b""), frozenset({12}))

    class Flat(_Table):
        asked = 0

        def heads(self, rows: Sequence[Row]) -> Heads:
            self.asked += len(rows)
            return super().heads(rows)

    flat = Flat(vocabulary, {})
    request = ExactRequest("Q", ("X",), 0.5, 40, 12, Matching.NORMALIZED)
    (found,) = walk([request], flat, vocabulary)
    assert flat.asked <= 300
    assert 0 < found.p < found.p + found.pruned <= 1.0 + 1e-9


def test_one_round_suffices_where_the_answer_is_written_as_usual() -> None:
    """A model that is sure of the usual tokens is asked once."""
    vocabulary = Vocabulary((b" ab", b"\n", b"x", b""), frozenset({3}))
    sure = _Scripted(vocabulary, {(): 0, (0,): 1})
    (found,) = walk([_request("ab")], sure, vocabulary)
    assert found == ExactAnswer(True, pytest.approx(1.0), pytest.approx(0.0, abs=1e-6), pytest.approx(30.0))
    assert sure.rounds == 1


def test_all_tokenisations_of_an_answer_count() -> None:
    """A model that spells the answer letter by letter half of the time is right all of the time."""
    vocabulary = Vocabulary((b" ab", b" a", b"b", b"\n", b""), frozenset({4}))
    toy = _Scripted(vocabulary, {(): (0, 1), (0,): 3, (1,): 2, (1, 2): 3})
    (found,) = walk([_request("ab")], toy, vocabulary)
    assert found.p == pytest.approx(1.0)


@pytest.mark.parametrize("end", [b"\n", b"\n\n", b" \n", b"  \nQ:", b"\r\n"])
def test_every_way_to_end_a_line_ends_an_answer(end: bytes) -> None:
    """Line breaks in any company end an answer, and white space before them is stripped."""
    vocabulary = Vocabulary((b" ab", end, b""), frozenset({2}))
    (found,) = walk([_request("ab")], _Scripted(vocabulary, {(): 0, (0,): 1}), vocabulary)
    assert found.greedy
    assert found.p == pytest.approx(1.0)


def test_an_answer_that_is_cut_at_the_length_limit_counts() -> None:
    """At the length limit what stands there is judged, as after generation."""
    vocabulary = Vocabulary((b" a", b"b", b""), frozenset({2}))
    toy = _Scripted(vocabulary, {(): 0, (0,): 1, (0, 1): 1})
    (found,) = walk([_request("ab", max_gen_toks=2)], toy, vocabulary)
    assert found.greedy
    assert found.p == pytest.approx(1.0)
    (longer,) = walk([_request("ab", max_gen_toks=3)], toy, vocabulary)
    assert not longer.greedy


def test_an_answer_on_the_second_line_is_wrong() -> None:
    """The first line counts, and then it is stripped: a line break first is silence."""
    vocabulary = Vocabulary((b"\n", b"ab", b""), frozenset({2}))
    (found,) = walk([_request("ab")], _Scripted(vocabulary, {(): 0, (0,): 1}), vocabulary)
    assert not found.greedy
    assert found.p == pytest.approx(0.0, abs=1e-9)


def test_half_a_character_is_followed_to_its_end() -> None:
    """A character may be written byte by byte."""
    vocabulary = Vocabulary((b" \xc3", b"\xa9", b"\n", b""), frozenset({3}))
    (found,) = walk([_request("é")], _Scripted(vocabulary, {(): 0, (0,): 1, (0, 1): 2}), vocabulary)
    assert found.p == pytest.approx(1.0)


def test_aliases_that_begin_alike_do_not_count_twice() -> None:
    """ "New" and "New York" are told apart by where the answer ends."""
    vocabulary = Vocabulary((b" New", b" York", b"\n", b""), frozenset({3}))
    toy = _Scripted(vocabulary, {(): 0, (0,): (1, 2), (0, 1): 2})
    (found,) = walk([_request("New", "New York")], toy, vocabulary)
    assert found.p == pytest.approx(1.0)
    (one,) = walk([_request("New York")], toy, vocabulary)
    assert one.p == pytest.approx(0.5)


def test_a_near_tie_is_measured_where_it_matters() -> None:
    """The gap is to the nearest token that would lead elsewhere; two dead ends are one."""
    vocabulary = Vocabulary((b"x", b"y", b" ab", b"\n", b""), frozenset({4}))
    toy = _Table(vocabulary, {(): [5.0, 5.0, 4.0, 0.0, 0.0]})
    (found,) = walk([_request("ab")], toy, vocabulary)
    assert not found.greedy
    assert found.gap == pytest.approx(1.0)


def test_ties_with_the_kth_token_are_kept() -> None:
    """As transformers does, every logit equal to the k-th may be drawn."""
    vocabulary = Vocabulary((b"a", b"x", b"y", b""), frozenset({3}))
    toy = _Table(vocabulary, {(): [1.0, 1.0, 1.0, -9.0], (0,): [-9.0, -9.0, -9.0, 9.0]})
    (found,) = walk([_request("a", top_k=1)], toy, vocabulary)
    assert found.p == pytest.approx(1 / 3)


def test_logits_that_are_not_numbers_stop_the_run() -> None:
    """NaN is never taken for a wrong answer."""
    vocabulary = Vocabulary((b"a", b""), frozenset({1}))
    toy = _Table(vocabulary, {(): [float("nan"), float("nan")]})
    with pytest.raises(RunError, match="not numbers"):
        walk([_request("a")], toy, vocabulary)


def test_nothing_asked_is_nothing_answered() -> None:
    """No requests, no rounds."""
    toy = Toy(Vocabulary((b"a",), frozenset()), 0)
    assert walk([], toy, toy.vocabulary) == []
    assert toy.rounds == 0


def _request(*answers: str, top_k: int = 40, max_gen_toks: int = 8) -> ExactRequest:
    return ExactRequest("Q", answers, 0.5, top_k, max_gen_toks)


class _Table(Toy):
    """Logits from a table; 0 everywhere else."""

    def __init__(self, vocabulary: Vocabulary, table: dict[Tokens, list[float]]) -> None:
        super().__init__(vocabulary, 0)
        self.table = table

    def logits(self, request: int, path: Tokens) -> list[float]:
        return self.table.get(path, [0.0] * len(self.vocabulary.pieces))


class _Scripted(_Table):
    """Writes the given tokens, each likely by turns; elsewhere ends the answer."""

    def __init__(self, vocabulary: Vocabulary, script: dict[Tokens, int | tuple[int, ...]]) -> None:
        def row(wanted: tuple[int, ...]) -> list[float]:
            return [30.0 if i in wanted else 0.0 for i in range(len(vocabulary.pieces))]

        super().__init__(vocabulary, {p: row(t if isinstance(t, tuple) else (t,)) for p, t in script.items()})
        self.end = row((len(vocabulary.pieces) - 1,))

    def logits(self, request: int, path: Tokens) -> list[float]:
        return self.table.get(path, self.end)
