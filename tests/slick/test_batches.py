"""Which rows are computed together: every row once, what is shared really shared."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.batches import Batch, Tokens, plan


@st.composite
def _calls(draw: st.DrawFn) -> tuple[list[Tokens], list[int], int]:
    """Rows behind a few beginnings, some of them equal, with how much each must keep, and a batch size."""
    token = st.integers(0, 3)
    beginnings = draw(st.lists(st.lists(token, max_size=24), min_size=1, max_size=4))
    tails = st.lists(token, min_size=1, max_size=12)
    rows = draw(st.lists(st.builds(lambda a, b: (*a, *b), st.sampled_from(beginnings), tails), max_size=24))
    keep = [draw(st.integers(1, len(row))) for row in rows]
    return rows, keep, draw(st.integers(1, 12))


def _pairs(batch: Batch) -> list[tuple[int, int]]:
    """Each row with the length of its prefix."""
    return list(zip(batch.rows, batch.prefixes, strict=True))


@given(call=_calls())
def test_every_row_stands_in_one_batch(call: tuple[list[Tokens], list[int], int]) -> None:
    """None is lost, none is computed twice, and no batch is larger than allowed."""
    rows, keep, size = call
    batches = plan(rows, keep, size)
    assert sorted(i for batch in batches for i in batch.rows) == list(range(len(rows)))
    assert all(1 <= len(batch.rows) <= size for batch in batches)
    assert all(len(batch.rows) == len(batch.prefixes) for batch in batches)


@given(call=_calls())
def test_what_is_shared_is_the_beginning_of_several_rows(call: tuple[list[Tokens], list[int], int]) -> None:
    """A prefix is that of at least two rows, worth its cost, and leaves of each row what it must keep."""
    rows, keep, size = call
    shared = [pair for batch in plan(rows, keep, size) for pair in _pairs(batch)]
    times = Counter(rows[i][:length] for i, length in shared)
    for i, length in shared:
        assert length <= len(rows[i]) - keep[i]
        assert length == 0 or (length >= 8 and times[rows[i][:length]] >= 2)


@given(call=_calls())
def test_batches_hang_on_nothing_but_the_call(call: tuple[list[Tokens], list[int], int]) -> None:
    """Repeated, the same batches."""
    assert plan(*call) == plan(*call)


@given(call=_calls())
def test_rows_with_and_without_a_prefix_stand_apart(call: tuple[list[Tokens], list[int], int]) -> None:
    """Rows that share nothing would only be padded by a prefix."""
    for batch in plan(*call):
        assert len({length > 0 for length in batch.prefixes}) == 1


@given(call=_calls())
def test_longer_rows_come_first(call: tuple[list[Tokens], list[int], int]) -> None:
    """Within a batch, among rows of one prefix: neighbours are of like length."""
    rows, keep, size = call
    for batch in plan(rows, keep, size):
        for (i, own), (j, other) in pairwise(_pairs(batch)):
            same = rows[i][:own] == rows[j][:other]
            assert not same or len(rows[i]) >= len(rows[j])


@given(call=_calls())
def test_rows_may_come_in_any_order(call: tuple[list[Tokens], list[int], int]) -> None:
    """What is shared by a row does not depend on where it stands among the others."""
    rows, keep, size = call

    def prefixes(rows: list[Tokens], keep: list[int]) -> Counter[tuple[Tokens, int]]:
        return Counter((rows[i], n) for batch in plan(rows, keep, size) for i, n in _pairs(batch))

    assert prefixes(rows, keep) == prefixes(rows[::-1], keep[::-1])


def test_questions_behind_one_exemplar_set_share_it_whole() -> None:
    """Two sets of ten questions: two prefixes, of all tokens that the questions have in common, in full batches."""
    heads = [tuple(range(100, 140)), tuple(range(200, 240))]
    rows = [(*head, 1, 2, 10 + i, *range(i % 3)) for head in heads for i in range(10)]
    batches = plan(rows, [1] * 20, 5)
    assert [len(batch.rows) for batch in batches] == [5, 5, 5, 5]
    assert all(set(batch.prefixes) == {42} for batch in batches)
    assert all(len({rows[i][:42] for i in batch.rows}) == 1 for batch in batches)


def test_beginnings_that_few_rows_have_share_batches() -> None:
    """Three rows behind each of four sets: together they fill a batch, each with its own prefix."""
    rows = [(*range(100 * s, 100 * s + 20), i) for s in range(1, 5) for i in range(3)]
    (batch,) = plan(rows, [1] * 12, 12)
    assert set(batch.prefixes) == {20}


def test_rows_that_cannot_be_filled_evenly_are_parted_evenly() -> None:
    """Nine rows in batches of four: three of three, rather than four, four and one."""
    rows = [(*range(50, 70), i) for i in range(9)]
    assert [len(batch.rows) for batch in plan(rows, [1] * 9, 4)] == [3, 3, 3]


@pytest.mark.parametrize("rows", [[(1,)], [(1, 2, 3)], [(5, 6), (5, 7)]])
def test_short_rows_share_nothing(rows: list[Tokens]) -> None:
    """A prefix of a few tokens costs more than it saves; a single row has nobody to share with."""
    (batch,) = plan(rows, [1] * len(rows), 4)
    assert set(batch.prefixes) == {0}


def test_equal_rows_share_all_but_what_they_keep() -> None:
    """Several continuations of one prompt, or one prompt asked twice."""
    row = tuple(range(30))
    (batch,) = plan([row, row], [1, 4], 4)
    assert batch.prefixes == (26, 26)


def test_no_rows_make_no_batches() -> None:
    """An empty call is no error."""
    assert plan([], [], 8) == []
