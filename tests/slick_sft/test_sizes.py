"""How many rows of which relation and category: exact totals, caps, and what is said where facts do not suffice."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.knowledge import CATEGORIES, Category
from slick_sft.recipe import POOLS, Recipe, named
from slick_sft.sizes import (
    check_supply,
    largest_remainder,
    missing_categories,
    missing_everywhere,
    relation_sizes,
    supply,
    wanted_rows,
)

Table = dict[str, dict[Category, int]]
UNKNOWN = str(Category.UNKNOWN)


def table(**counts: tuple[int, int, int, int]) -> Table:
    """Facts of each relation, so many of each category (best first)."""
    return {relation: dict(zip(CATEGORIES, numbers, strict=True)) for relation, numbers in counts.items()}


tables = st.dictionaries(st.sampled_from("ABCDEF"), st.tuples(*[st.integers(0, 30)] * 4), min_size=1).map(
    lambda counts: table(**counts)
)
percents = st.integers(0, 100).map(lambda p: Fraction(p, 100))


@st.composite
def parts(draw: st.DrawFn) -> tuple[tuple[str, Fraction], ...]:
    """Shares by category, or of Known and Unknown, that add up to 1."""
    pools = draw(st.sampled_from([POOLS[:4], ("Known", "Unknown")]))
    numbers = draw(st.lists(st.integers(0, 9), min_size=len(pools), max_size=len(pools)).filter(any))
    return tuple((pool, Fraction(n, sum(numbers))) for pool, n in zip(pools, numbers, strict=True))


def test_the_papers_size(paper_table: Table) -> None:
    """On the paper's own counts |D| is 6142, shared out as its column "min" says, whatever the recipe."""
    sizes = relation_sizes(paper_table)
    assert sum(sizes.values()) == 6142
    assert (sizes["P131"], sizes["P17"], sizes["P26"], sizes["P800"]) == (553, 364, 1087, 222)
    for name, unknown in (("known-only", 0), ("unknown-10", 614), ("unknown-50", 3071), ("unknown-90", 5528)):
        recipe = named(name)
        assert recipe is not None
        wanted = wanted_rows(paper_table, recipe, sizes)
        assert {relation: sum(of.values()) for relation, of in wanted.items()} == sizes
        assert sum(of[UNKNOWN] for of in wanted.values()) == unknown
        check_supply(paper_table, recipe, wanted, sizes)


@pytest.fixture
def paper_table() -> Table:
    """PAPER.md's table of the 12 relations."""
    return table(
        P131=(553, 2529, 1493, 3071),
        P136=(236, 3410, 1892, 1978),
        P17=(4387, 2628, 511, 364),
        P19=(369, 1884, 1498, 4170),
        P26=(1609, 1503, 1087, 3257),
        P264=(206, 1444, 1854, 3820),
        P36=(4160, 1634, 449, 572),
        P40=(692, 1467, 1271, 2680),
        P495=(5459, 1101, 408, 706),
        P69=(233, 1126, 1712, 3650),
        P740=(1323, 1618, 1428, 2902),
        P800=(301, 330, 222, 503),
    )


@given(tables, parts(), st.integers(1, 200))
def test_shares_are_exact(counts: Table, shares: tuple[tuple[str, Fraction], ...], size: int) -> None:
    """Every relation gets its size, and of all rows together each pool its share to within a row and a half."""
    assume(any(any(of.values()) for of in counts.values()))
    sizes = relation_sizes(counts, size)
    wanted = wanted_rows(counts, Recipe(shares=shares), sizes)
    assert {relation: sum(of.values()) for relation, of in wanted.items()} == sizes
    assert all(n >= 0 for of in wanted.values() for n in of.values())
    for pool, share in shares:
        assert abs(sum(of[pool] for of in wanted.values()) - share * size) < Fraction(3, 2)
        # Each of at most four pools rounds a relation by less than a row, the total by one and a half.
        assert all(abs(of[pool] - share * sizes[relation]) < 6 for relation, of in wanted.items())


@given(tables, percents, st.integers(1, 200))
def test_a_share_of_unknown_is_the_same_as_shares_of_known_and_unknown(
    counts: Table, share: Fraction, size: int
) -> None:
    """`unknown: 0.3` and `shares: {Known: 0.7, Unknown: 0.3}` are one recipe."""
    assume(any(any(of.values()) for of in counts.values()))
    sizes = relation_sizes(counts, size)
    shares = (("Known", 1 - share), (UNKNOWN, share))
    assert wanted_rows(counts, Recipe(unknown=share), sizes) == wanted_rows(counts, Recipe(shares=shares), sizes)


@given(tables, st.none() | parts(), percents, st.integers(1, 200))
def test_no_relation_is_above_the_cap(
    counts: Table, shares: tuple[tuple[str, Fraction], ...] | None, cap: Fraction, size: int
) -> None:
    """Under a cap no relation has a larger share of Unknown rows, and every relation keeps its size."""
    assume(any(any(of.values()) for of in counts.values()))
    recipe = Recipe(shares=shares or (), cap=cap)
    assume(not recipe.problems())
    sizes = relation_sizes(counts, size)
    free, capped = (wanted_rows(counts, r, sizes) for r in (Recipe(shares=shares or ()), recipe))
    assert {relation: sum(of.values()) for relation, of in capped.items()} == sizes
    for relation, of in capped.items():
        unknown = of.get(UNKNOWN, 0)
        assert unknown <= cap * sizes[relation]
        assert unknown == min(free[relation].get(UNKNOWN, 0), int(cap * sizes[relation]))
        if unknown == free[relation].get(UNKNOWN, 0):
            assert of == free[relation]


def test_what_is_above_a_cap_becomes_known_in_the_relations_own_shares() -> None:
    """A natural relation of 90 % Unknown under a cap of a half fills up with its Known categories as they are there."""
    counts = table(A=(10, 20, 70, 900), B=(40, 30, 20, 10))
    wanted = wanted_rows(counts, Recipe(cap=Fraction(1, 2)), {"A": 100, "B": 10})
    assert wanted["A"] == {"HighlyKnown": 5, "MaybeKnown": 10, "WeaklyKnown": 35, "Unknown": 50}
    assert wanted["B"] == {"HighlyKnown": 4, "MaybeKnown": 3, "WeaklyKnown": 2, "Unknown": 1}


def test_a_cap_without_known_facts_is_a_shortage() -> None:
    """A relation of Unknown facts alone has nothing to fill up with, and says so."""
    counts, sizes = table(A=(0, 0, 0, 9)), {"A": 4}
    recipe = Recipe(cap=Fraction(1, 2))
    with pytest.raises(InputError, match="A: 2 Known wanted, 0 there, 2 short"):
        check_supply(counts, recipe, wanted_rows(counts, recipe, sizes), sizes)


def test_a_category_that_is_nowhere_is_stated() -> None:
    """Where no fact at all is Unknown, that is said before the relations are."""
    counts = table(A=(5, 5, 5, 0), B=(5, 5, 0, 0))
    assert missing_everywhere(counts) == [Category.UNKNOWN]
    with pytest.raises(InputError, match=r"(?s)here it is 0.*\n  no fact at all is Unknown\n  A: no Unknown among 15"):
        relation_sizes(counts)
    recipe, sizes = Recipe(unknown=Fraction(1, 2)), relation_sizes(counts, 4)
    with pytest.raises(InputError, match=r"\n  no fact at all is Unknown\n  A: 1 Unknown wanted, 0 there, 1 short"):
        check_supply(counts, recipe, wanted_rows(counts, recipe, sizes), sizes)


def test_a_pools_supply_counts_its_categories() -> None:
    """Known facts are those of the three categories."""
    of = table(A=(1, 2, 4, 8))["A"]
    assert (supply(of, "Known"), supply(of, "MaybeKnown"), supply(of, "Unknown")) == (7, 2, 8)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), min_size=1), st.integers(0, 200))
def test_largest_remainder_is_exact_and_within_one(weights: dict[str, int], total: int) -> None:
    """Shares add up to the total, and each is its quota rounded down or up."""
    assume(any(weights.values()))
    shares = largest_remainder(weights, total)
    assert sum(shares.values()) == total
    for name, weight in weights.items():
        quota = Fraction(weight * total, sum(weights.values()))
        assert int(quota) <= shares[name] <= -(-quota // 1)


def test_relations_that_give_no_rows_are_found() -> None:
    """A relation that lacks a category is named with the categories that it lacks."""
    counts = table(A=(1, 1, 1, 1), B=(1, 0, 1, 0))
    assert missing_categories(counts) == {"B": [Category.MAYBE_KNOWN, Category.UNKNOWN]}


def test_nothing_is_shared_out_over_nothing() -> None:
    """A total of 0 needs no weights."""
    assert largest_remainder({"a": 0, "b": 0}, 0) == {"a": 0, "b": 0}
