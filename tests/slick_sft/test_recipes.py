"""Mixing fine-tuning sets: exact counts, equal sizes, paired draws, and what is refused."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Chances, Knowledge
from slick_sft.recipe import Recipe
from slick_sft.recipes import category_table, chosen_facts, mix
from slick_sft.sizes import category_counts_by_relation, largest_remainder, missing_categories, relation_sizes

COUNTS = {
    Category.HIGHLY_KNOWN: (10, 0),
    Category.MAYBE_KNOWN: (4, 0),
    Category.WEAKLY_KNOWN: (0, 3),
    Category.UNKNOWN: (0, 0),
}


def probed(counts: dict[str, tuple[int, int, int, int]], split: str = "train") -> list[Knowledge]:
    """Facts of each relation, so many of each category (best first)."""
    found = []
    for relation, numbers in counts.items():
        for category, number in zip(CATEGORIES, numbers, strict=True):
            for i in range(number):
                fact = Fact.create(f"{relation} {category} {i}?", [f"a{i}"], relation=relation, split=split)
                greedy, sampled = COUNTS[category]
                found.append(Knowledge(fact, greedy, 10, sampled, 0 if greedy else 160))
    return found


# Two relations of PAPER.md's table, scaled down.
WORLD = probed({"P131": (55, 253, 149, 307), "P17": (439, 263, 51, 36)})
SHARES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)

quartets = st.tuples(*[st.integers(1, 12)] * 4)
worlds = st.dictionaries(st.sampled_from("ABCDEF"), quartets, min_size=1).map(probed)
percents = st.integers(0, 100).map(lambda p: Fraction(p, 100))


def ids(rows: list) -> list[str]:  # type: ignore[type-arg]
    return [row.knowledge.fact.id for row in rows]


def unknown_ids(rows: list) -> set[str]:  # type: ignore[type-arg]
    return {row.knowledge.fact.id for row in rows if row.knowledge.category is Category.UNKNOWN}


@pytest.mark.parametrize("share", SHARES)
def test_size_is_the_sum_of_smallest_categories_for_every_share(share: float) -> None:
    """Every variant has as many rows as the relations' smallest categories together, and per relation as well."""
    rows = mix(WORLD, Recipe.share(share), 0)
    assert Counter(row.knowledge.fact.relation for row in rows) == {"P131": 55, "P17": 36}


@pytest.mark.parametrize(("share", "unknown"), [(0, 0), (0.1, 9), (0.25, 23), (0.5, 46), (0.9, 82), (1, 91)])
def test_unknown_rows_are_the_share_to_the_nearest_row(share: float, unknown: int) -> None:
    """Of 91 rows, X % are Unknown to the nearest row, halves up."""
    rows = mix(WORLD, Recipe.share(share), 0)
    assert sum(row.knowledge.category is Category.UNKNOWN for row in rows) == unknown


@pytest.mark.parametrize("category", CATEGORIES)
def test_single_category_takes_nothing_else(category: Category) -> None:
    """A single-category set has the same size and relation mix, of that category alone."""
    rows = mix(WORLD, Recipe(category=category), 0)
    assert category_counts_by_relation(row.knowledge for row in rows) == {
        relation: {c: n if c is category else 0 for c in CATEGORIES} for relation, n in (("P131", 55), ("P17", 36))
    }


def test_natural_keeps_each_relations_own_shares() -> None:
    """The natural set apportions a relation's rows by its category counts."""
    table = category_table(mix(WORLD, Recipe(), 0))
    assert table["P131"] == {"HighlyKnown": 4, "MaybeKnown": 18, "WeaklyKnown": 11, "Unknown": 22}
    assert table["P17"] == {"HighlyKnown": 20, "MaybeKnown": 12, "WeaklyKnown": 2, "Unknown": 2}


def test_all_unknown_is_the_single_category_unknown() -> None:
    """100 % Unknown and the single category Unknown are the same rows in the same order."""
    assert ids(mix(WORLD, Recipe.share(1), 3)) == ids(mix(WORLD, Recipe(category=Category.UNKNOWN), 3))


@given(worlds, percents, st.integers(0, 5))
def test_counts_are_exact(world: list[Knowledge], share: Fraction, seed: int) -> None:
    """The total is |D|, the Unknown rows are its share to the nearest row, and no relation is off by a whole row."""
    rows = mix(world, Recipe(unknown=share), seed)
    sizes = relation_sizes(category_counts_by_relation(world))
    unknown = Counter(row.knowledge.fact.relation for row in rows if row.knowledge.category is Category.UNKNOWN)
    assert Counter(row.knowledge.fact.relation for row in rows) == sizes
    assert unknown.total() == int(share * sum(sizes.values()) + Fraction(1, 2))
    # Rounding the total moves a relation by at most half a row, sharing it out by less than one more.
    assert all(abs(unknown[r] - share * n) < Fraction(3, 2) for r, n in sizes.items())


@given(worlds, percents, st.integers(0, 5), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(world: list[Knowledge], share: Fraction, seed: int, rng: random.Random) -> None:
    """Shuffled knowledge gives the same rows in the same order."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    assert mix(shuffled, Recipe(unknown=share), seed) == mix(world, Recipe(unknown=share), seed)


@given(worlds, percents, st.integers(0, 5))
def test_unknown_rows_are_nested_in_the_all_unknown_set(world: list[Knowledge], share: Fraction, seed: int) -> None:
    """With one seed, the Unknown rows of a variant are among those of 100 %, the Known rows among those of 0 %."""
    rows = mix(world, Recipe(unknown=share), seed)
    assert unknown_ids(rows) <= unknown_ids(mix(world, Recipe.share(1), seed))
    assert set(ids(rows)) - unknown_ids(rows) <= set(ids(mix(world, Recipe.share(0), seed)))


@given(worlds, percents, percents, st.integers(0, 5))
def test_a_row_that_two_mixes_share_stands_at_the_same_place(
    world: list[Knowledge], one: Fraction, other: Fraction, seed: int
) -> None:
    """Two mixes of one seed are paired row by row, so that an epoch's batches differ in the swapped rows only."""
    first, second = ids(mix(world, Recipe(unknown=one), seed)), ids(mix(world, Recipe(unknown=other), seed))
    places = {fact: place for place, fact in enumerate(second)}
    assert all(places[fact] == place for place, fact in enumerate(first) if fact in places)


@given(worlds, st.integers(0, 5))
def test_no_fact_is_taken_twice(world: list[Knowledge], seed: int) -> None:
    """A set holds each probed fact at most once."""
    rows = ids(mix(world, Recipe.share(0.5), seed))
    assert len(rows) == len(set(rows))


def test_seeds_draw_different_rows() -> None:
    """Another seed is another draw."""
    assert set(ids(mix(WORLD, Recipe.share(0.5), 0))) != set(ids(mix(WORLD, Recipe.share(0.5), 1)))


def test_known_rows_are_drawn_uniformly_from_known_facts() -> None:
    """Over many seeds the Known rows come in the relation's own shares (decision 4), within four standard errors."""
    world = probed({"A": (10, 30, 60, 10)})
    counts: Counter[Category] = Counter()
    for seed in range(200):
        counts.update(row.knowledge.category for row in mix(world, Recipe.share(0), seed))
    n = counts.total()
    for category, share in zip(KNOWN, (0.1, 0.3, 0.6), strict=True):
        assert abs(counts[category] / n - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_identical_facts_stay_separate_rows() -> None:
    """Rows that repeat an id are as many rows as were probed, whatever their order."""
    world = probed({"A": (2, 2, 2, 2)})
    doubled = world + [k for k in world if k.category is Category.UNKNOWN]
    rows = mix(doubled, Recipe.share(1), 0, size=4)
    assert sorted(Counter(ids(rows)).values()) == [2, 2]
    assert rows == mix(doubled[::-1], Recipe.share(1), 0, size=4)


def test_one_fact_probed_twice_does_not_depend_on_the_order() -> None:
    """A fact that two probes put into two categories is drawn the same way, whichever stands first."""
    world = probed({"A": (2, 2, 2, 2)})
    twice = [*world, *(Knowledge(k.fact, 0, 10, 5, 160) for k in world if k.category is Category.UNKNOWN)]
    for seed in range(20):
        assert mix(twice, Recipe.share(0.5), seed) == mix(twice[::-1], Recipe.share(0.5), seed)


def test_one_fact_probed_twice_by_the_exact_estimator_does_not_depend_on_the_order() -> None:
    """Facts without counts of samples are told apart by their chances."""
    unsure, sure = Chances((1e-3,) * 10), Chances((1e-9,) * 10)
    known = [k for k in probed({"A": (2, 2, 2, 2)}) if k.category in KNOWN]
    unknown = [k.fact for k in probed({"A": (0, 0, 0, 2)})]
    twice = [*known, *(Knowledge(fact, 0, 10, chances=chances) for fact in unknown for chances in (unsure, sure))]
    for seed in range(20):
        assert mix(twice, Recipe.share(0.5), seed) == mix(twice[::-1], Recipe.share(0.5), seed)


def test_size_scales_every_relation_in_proportion() -> None:
    """--size shares rows out in the proportion of the smallest categories, to the exact total."""
    rows = mix(WORLD, Recipe.share(0.5), 0, size=50)
    assert Counter(row.knowledge.fact.relation for row in rows) == {"P131": 30, "P17": 20}


def test_every_short_relation_is_named_with_the_size_that_would_do() -> None:
    """A recipe that cannot be filled names all relations, pools and shortfalls, and a size that the facts fill."""
    world = probed({"A": (9, 9, 9, 3), "B": (9, 9, 9, 2), "C": (9, 9, 9, 90)})
    with pytest.raises(InputError, match=r"unknown-100 at 42 rows") as raised:
        mix(world, Recipe.share(1), 0, size=42)
    message = str(raised.value)
    assert "A: 9 Unknown wanted, 3 there, 6 short" in message
    assert "B: 6 Unknown wanted, 2 there, 4 short" in message
    assert "C:" not in message
    assert "lower --size to 15 or less" in message
    assert "leave out A,B with --relations" in message
    assert len(mix(world, Recipe.share(1), 0, size=15)) == 15
    with pytest.raises(InputError, match="short"):
        mix(world, Recipe.share(1), 0, size=16)


@given(worlds, percents, st.integers(1, 300))
def test_the_size_in_the_message_can_be_filled(world: list[Knowledge], share: Fraction, size: int) -> None:
    """Whatever size an error names as possible is possible."""
    try:
        mix(world, Recipe(unknown=share), 0, size=size)
        assume(False)
    except InputError as error:
        possible = int(str(error).split("lower --size to ")[1].split()[0])
    assert possible < size
    assert len(mix(world, Recipe(unknown=share), 0, size=possible)) == possible


def test_no_unknown_facts_at_all_is_stated() -> None:
    """Knowledge without a single Unknown fact gives a statement and a way out, not a division by zero."""
    world = probed({"A": (5, 5, 5, 0), "B": (5, 0, 5, 0)})
    with pytest.raises(InputError, match=r"\|D\| is the sum") as raised:
        mix(world, Recipe.share(0.5), 0)
    assert "A: no Unknown among 15 facts" in str(raised.value)
    assert "B: no MaybeKnown, no Unknown among 10 facts" in str(raised.value)
    with pytest.raises(InputError, match="Unknown wanted, 0 there"):
        mix(world, Recipe.share(0.5), 0, size=4)
    assert Counter(row.knowledge.fact.relation for row in mix(world, Recipe.share(0), 0, size=5)) == {"A": 3, "B": 2}


def test_no_facts_at_all_is_stated() -> None:
    """Empty knowledge is refused with or without a size."""
    for size in (None, 3):
        with pytest.raises(InputError, match="there are no facts at all"):
            mix([], Recipe.share(0.5), 0, size=size)


@pytest.mark.parametrize("split", ["dev", "test", "ood", "ood_dev"])
def test_facts_that_models_are_scored_on_are_refused(split: str) -> None:
    """Facts of a held-out split must not be trained on, unless that split is allowed by name."""
    leaking = WORLD + probed({"P36": (3, 3, 3, 3)}, split=split)
    with pytest.raises(InputError, match=f"12 facts of split '{split}'.*--allow-split {split}"):
        mix(leaking, Recipe.share(0.5), 0)
    assert len(mix(leaking, Recipe.share(0.5), 0, allow_splits=[split])) == 94


def test_facts_without_splits_may_be_trained_on() -> None:
    """A user's own facts need no splits."""
    assert len(mix(probed({"A": (2, 2, 2, 2)}, split=""), Recipe.share(0.5), 0)) == 2


@pytest.mark.parametrize("share", [-0.1, 1.1, 50, float("nan"), float("inf"), "half"])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """A share is from 0 to 1; a percentage is refused."""
    with pytest.raises(InputError, match="expected a share from 0 to 1"):
        Recipe.share(share)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe.share(0), "known-only"),
        (Recipe.share(0.5), "unknown-50"),
        (Recipe.share(0.125), "unknown-12.5"),
        (Recipe.share(1), "unknown-100"),
        (Recipe(category=Category.MAYBE_KNOWN), "only-MaybeKnown"),
        (Recipe(), "natural"),
    ],
)
def test_a_recipe_has_a_name(recipe: Recipe, name: str) -> None:
    """The name says what is in the set, and is the arm's label by default."""
    assert recipe.name == name


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
    counts = category_counts_by_relation(probed({"A": (1, 1, 1, 1), "B": (1, 0, 1, 0)}))
    assert missing_categories(counts) == {"B": [Category.MAYBE_KNOWN, Category.UNKNOWN]}


def test_facts_are_chosen_by_split_and_relation() -> None:
    """One split and some relations are taken; a name that does not occur is refused, all of them at once."""
    world = probed({"A": (1, 1, 1, 1), "B": (1, 1, 1, 1)}) + probed({"A": (1, 1, 1, 1)}, split="test")
    assert len(chosen_facts(world, split="train", relations="A")) == 4
    assert len(chosen_facts(world)) == 12
    with pytest.raises(
        InputError, match=r"(?s)split 'dev': found 'test' \(4\), 'train' \(8\).*relation 'C': found A, B"
    ):
        chosen_facts(world, split="dev", relations="A,C")
