"""The migration matrix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.facts import Fact
from slick.knowledge import CATEGORIES, Chances, Knowledge
from slick.statistics import wilson
from slick_reports.migration import expected_share, migration

HIGHLY, MAYBE, WEAKLY, UNKNOWN = range(4)


def known(number: int, category: int) -> Knowledge:
    """A fact that ten sets of sampled answers put into a category."""
    greedy, sampled = [(10, 0), (5, 0), (0, 3), (0, 0)][category]
    return Knowledge(Fact.create(f"Q{number}?", ["a"]), greedy, 10, sampled, 160 if greedy == 0 else 0)


def near(number: int, p: float) -> Knowledge:
    """A fact without a right greedy answer, by the exact estimator."""
    return Knowledge(Fact.create(f"Q{number}?", ["a"]), 0, 10, chances=Chances((p,) * 10))


def test_every_fact_stands_in_one_cell() -> None:
    """Rows are categories before, columns after; shares are of the row."""
    before = [known(i, c) for i, c in enumerate([HIGHLY, HIGHLY, HIGHLY, MAYBE, UNKNOWN])]
    after = [known(i, c) for i, c in enumerate([HIGHLY, UNKNOWN, MAYBE, HIGHLY, UNKNOWN])]
    found = migration(before, after, "after")
    assert found is not None
    assert (found.n, found.expected, found.probe) == (5, False, "after")
    assert [row.counts for row in found.rows] == [(1, 1, 0, 1), (1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1)]
    assert [row.n for row in found.rows] == [3, 1, 0, 1]
    assert found.rows[HIGHLY].shares[UNKNOWN] == wilson(1, 3)
    assert found.rows[WEAKLY].shares == (None,) * 4
    assert (found.down, found.up) == (wilson(2, 5), wilson(1, 5))


def test_only_facts_that_both_probes_hold_count_and_each_once() -> None:
    """None in common: no matrix."""
    before = [known(0, HIGHLY), known(0, HIGHLY), known(1, MAYBE)]
    found = migration(before, [known(0, HIGHLY), known(2, UNKNOWN)], "p")
    assert found is not None
    assert found.n == 1
    assert migration(before, [known(2, UNKNOWN)], "p") is None


def test_exact_probes_count_in_parts() -> None:
    """A fact that samples call Unknown with chance u counts u there, before as well as after."""
    was, now = near(0, 0.005), near(0, 0.01)
    found = migration([was], [now], "p")
    assert found is not None
    assert found.expected
    assert was.u is not None
    assert now.u is not None
    assert found.rows[UNKNOWN].counts[UNKNOWN] == pytest.approx(was.u * now.u)
    assert found.rows[UNKNOWN].counts[WEAKLY] == pytest.approx(was.u * (1 - now.u))
    assert found.rows[WEAKLY].n == pytest.approx(1 - was.u)


def test_what_a_redraw_keeps_stands_beside_it() -> None:
    """Undefined for few facts; a chance for many."""
    few = migration([known(0, MAYBE)], [known(0, MAYBE)], "p")
    assert few is not None
    assert few.rows[MAYBE].kept is None
    facts = [Knowledge(Fact.create(f"Q{i}?", ["a"]), i % 11, 10, 0, 160 if i % 11 == 0 else 0) for i in range(60)]
    many = migration(facts, facts, "p")
    assert many is not None
    assert many.rows[HIGHLY].kept is not None
    assert 0 < many.rows[HIGHLY].kept < 1


@given(st.lists(st.tuples(st.sampled_from(range(4)), st.sampled_from(range(4))), min_size=1, max_size=30))
def test_the_cells_add_up(pairs: list[tuple[int, int]]) -> None:
    """To the rows, to the facts; what stayed, fell and rose is everything."""
    before = [known(i, a) for i, (a, _) in enumerate(pairs)]
    after = [known(i, b) for i, (_, b) in enumerate(pairs)]
    found = migration(before, after, "p")
    assert found is not None
    assert found.down is not None
    assert found.up is not None
    assert sum(row.n for row in found.rows) == pytest.approx(len(pairs))
    stayed = sum(row.counts[place] for place, row in enumerate(found.rows)) / len(pairs)
    assert stayed + found.down.value + found.up.value == pytest.approx(1)
    for row in found.rows:
        assert sum(row.counts) == pytest.approx(row.n)


@pytest.mark.parametrize(("count", "n"), [(0.3, 0.4), (1.0000000001, 1.0), (0.0, 2.0)])
def test_a_share_of_part_of_a_fact_has_an_interval(count: float, n: float) -> None:
    """By the nearest whole number of facts, at least one; never past 1."""
    found = expected_share(count, n)
    assert found is not None
    assert found.value == pytest.approx(min(1.0, count / n))
    assert found.interval is not None
    assert expected_share(0.0, 0.0) is None
    assert len(CATEGORIES) == 4
