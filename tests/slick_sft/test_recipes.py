"""Mixing fine-tuning sets: exact counts, equal sizes, paired draws, and what is refused."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Chances, Knowledge
from slick_sft.held_out import without_held_out
from slick_sft.recipe import IDK, ZERO_WEIGHT, CategoryWeights, Extra, LinearWeights, Recipe, named, paper_names
from slick_sft.recipes import MixRow, Role, category_table, chosen_facts, mix, remarks, stage_sizes
from slick_sft.sizes import category_counts_by_relation, relation_sizes

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


def ids(rows: list[MixRow]) -> list[str]:
    return [row.knowledge.fact.id for row in rows]


def unknown_ids(rows: list[MixRow]) -> set[str]:
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


@pytest.mark.parametrize("name", paper_names())
def test_every_recipe_of_the_paper_has_the_same_relation_mix(name: str) -> None:
    """Each of the paper's recipes, and each control, takes the same rows from every relation; only D_Known loses its
    Unknown rows afterwards, and then it has as many rows as D has Known ones."""
    recipe = named(name)
    assert recipe is not None
    relations = Counter(row.knowledge.fact.relation for row in mix(WORLD, recipe, 0))
    if not recipe.without:
        assert relations == {"P131": 55, "P17": 36}
    else:
        whole = category_table(mix(WORLD, replace(recipe, without=()), 0))
        assert relations == {relation: sum(of.values()) - of["Unknown"] for relation, of in whole.items()}


def is_unknown(row: MixRow) -> bool:
    return row.knowledge.category is Category.UNKNOWN


@given(worlds, percents, st.integers(0, 5))
def test_known_of_d_is_d_without_its_unknown_rows(world: list[Knowledge], share: Fraction, seed: int) -> None:
    """D_Known has the Known rows of the same D, in the same order, and nothing else."""
    rows = mix(world, Recipe(unknown=share), seed)
    known = [row for row in rows if not is_unknown(row)]
    assume(known)
    assert mix(world, Recipe(unknown=share, without=(Category.UNKNOWN,)), seed) == known


@given(worlds, percents, st.integers(0, 5))
def test_the_control_differs_in_nothing_but_its_weights(world: list[Knowledge], share: Fraction, seed: int) -> None:
    """The zero-weight control has the rows of D at the places of D; its Unknown rows weigh 0, the others 1."""
    rows = mix(world, Recipe(unknown=share), seed)
    assume(not all(map(is_unknown, rows)))
    control = mix(world, Recipe(unknown=share, weights=ZERO_WEIGHT), seed)
    assert [replace(row, weight=1.0) for row in control] == rows
    assert [row.weight for row in control] == [0.0 if is_unknown(row) else 1.0 for row in rows]


@given(worlds, percents, st.integers(0, 5))
def test_relabelling_changes_unknown_answers_alone(world: list[Knowledge], share: Fraction, seed: int) -> None:
    """D_IDK has the rows of D at the places of D; its Unknown rows answer "I don't know"."""
    rows = mix(world, Recipe(unknown=share), seed)
    relabelled = mix(world, Recipe(unknown=share, idk=IDK), seed)
    assert relabelled == [replace(row, answer="I don't know") if is_unknown(row) else row for row in rows]


@given(worlds, percents, st.integers(0, 5), st.permutations(CATEGORIES), st.integers(1, 3))
def test_stages_keep_the_order_within(
    world: list[Knowledge], share: Fraction, seed: int, order: list[Category], n: int
) -> None:
    """A curriculum sorts the rows of D by stage and leaves their order within; stages count from 0 without a gap."""
    rows = mix(world, Recipe(unknown=share), seed)
    stages = tuple((category,) for category in order[:n])
    staged = mix(world, Recipe(unknown=share, stages=stages), seed)
    rank = {category: min(i, n) for i, category in enumerate(order)}
    assert [replace(row, stage=0) for row in staged] == sorted(rows, key=lambda row: rank[row.knowledge.category])
    numbers = [row.stage for row in staged]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(max(numbers) + 1))
    assert len({(row.stage, rank[row.knowledge.category]) for row in staged}) == len(set(numbers))
    assert stage_sizes(staged) == [numbers.count(i) for i in range(max(numbers) + 1)]


plenty = st.dictionaries(st.sampled_from("ABC"), st.tuples(*[st.integers(4, 9)] * 4), min_size=1).map(
    lambda counts: probed({r: (40 + hk, mk, wk, u) for r, (hk, mk, wk, u) in counts.items()})
)


@given(plenty, percents, st.integers(0, 5), st.integers(1, 20), st.integers(1, 9))
def test_extra_rows_come_on_top(
    world: list[Knowledge], share: Fraction, seed: int, replayed: int, patched: int
) -> None:
    """Replay and patch add exactly their rows to D, which stays as it was: HighlyKnown ones strewn in, Known ones as a
    last stage, in D's relation mix, and none of them twice."""
    rows = mix(world, Recipe(unknown=share), seed)
    recipe = Recipe(unknown=share, replay=Extra(replayed, "HighlyKnown"), patch=Extra(patched, "Known"))
    more = mix(world, recipe, seed)
    by_role = {role: [row for row in more if row.role is role] for role in Role}
    assert by_role[Role.MIX] == rows
    assert len(by_role[Role.REPLAY]) == replayed
    assert len(by_role[Role.PATCH]) == patched
    assert {row.knowledge.category for row in by_role[Role.REPLAY]} == {Category.HIGHLY_KNOWN}
    assert all(row.knowledge.category in KNOWN for row in by_role[Role.PATCH])
    assert len(set(ids(more))) == len(more)
    assert [row.role is Role.PATCH for row in more] == [row.stage == 1 for row in more]
    sizes = relation_sizes(category_counts_by_relation(world))
    for role, n in ((Role.REPLAY, replayed), (Role.PATCH, patched)):
        counts = Counter(row.knowledge.fact.relation for row in by_role[role])
        assert all(abs(counts[r] - Fraction(n * size, sum(sizes.values()))) < 1 for r, size in sizes.items())


@given(plenty, percents, percents, st.integers(0, 5), st.integers(1, 20))
def test_extra_rows_are_the_same_for_every_share(
    world: list[Knowledge], one: Fraction, other: Fraction, seed: int, n: int
) -> None:
    """While there are facts enough, mixes of one seed replay the same rows, whatever their share of Unknown."""
    first, second = (
        {fact for fact, row in zip(ids(rows), rows, strict=True) if row.role is Role.REPLAY}
        for rows in (mix(world, Recipe(unknown=share, replay=Extra(n, "HighlyKnown")), seed) for share in (one, other))
    )
    assert first == second


def test_extra_rows_ask_no_question_again() -> None:
    """A fact whose question the mix asks, under another answer or relation, is not replayed; nor is one of a question
    that another replayed row asks."""
    world = probed({"A": (9, 1, 1, 1)})
    twins = [
        Knowledge(Fact.create(k.fact.question, ["else"], relation=relation, split="train"), 10, 10)
        for k in world
        if k.category is Category.HIGHLY_KNOWN
        for relation in ("A", "B")
    ]
    rows = mix([*world, *twins], Recipe(category=Category.HIGHLY_KNOWN, replay=Extra(8, "HighlyKnown")), 0)
    assert len({row.knowledge.fact.question for row in rows}) == len(rows) == 9
    with pytest.raises(InputError, match="A: 9 HighlyKnown wanted for the replay, 8 left beside the mix, 1 short"):
        mix([*world, *twins], Recipe(category=Category.HIGHLY_KNOWN, replay=Extra(9, "HighlyKnown")), 0)


def test_what_is_taken_out_of_the_mix_may_be_put_on_top() -> None:
    """Rows on top stay, though their category is taken out of the mix; it is the very rows of the mix that go."""
    recipe = Recipe(without=(Category.HIGHLY_KNOWN,), replay=Extra(5, "HighlyKnown"))
    rows = mix(WORLD, recipe, 0)
    assert Counter(row.role for row in rows if row.knowledge.category is Category.HIGHLY_KNOWN) == {Role.REPLAY: 5}
    kept = [row for row in mix(WORLD, Recipe(), 0) if row.knowledge.category is not Category.HIGHLY_KNOWN]
    assert [row for row in rows if row.role is Role.MIX] == kept


def test_every_relation_that_is_short_of_extra_rows_is_named() -> None:
    """Replay and patch say together which relations are short, by how many rows, and how many there could be."""
    world = probed({"A": (5, 4, 4, 4), "B": (9, 4, 4, 4), "C": (99, 99, 99, 4)})
    recipe = Recipe(unknown=Fraction(1), replay=Extra(30, "HighlyKnown"), patch=Extra(90, "MaybeKnown"))
    with pytest.raises(InputError) as raised:
        mix(world, recipe, 0)
    lines = str(raised.value).splitlines()
    assert lines[0] == (
        "unknown-100-replay-30-patch-90-MaybeKnown asks for more facts than were probed (lower the replay to 15 rows, "
        "or lower the patch to 12 rows, or make the mix smaller with --size, or probe more facts):"
    )
    assert lines[1:] == [
        "  A: 10 HighlyKnown wanted for the replay, 5 left beside the mix, 5 short",
        "  B: 10 HighlyKnown wanted for the replay, 9 left beside the mix, 1 short",
        "  A: 30 MaybeKnown wanted for the patch, 4 left beside the mix, 26 short",
        "  B: 30 MaybeKnown wanted for the patch, 4 left beside the mix, 26 short",
    ]
    possible = Recipe(unknown=Fraction(1), replay=Extra(15, "HighlyKnown"), patch=Extra(12, "MaybeKnown"))
    assert len(mix(world, possible, 0)) == 12 + 15 + 12


def test_no_extra_row_at_all_is_possible() -> None:
    """Where a relation has nothing left, leaving the extra rows out is what mends it."""
    with pytest.raises(InputError, match="leave out the replay"):
        mix(probed({"A": (2, 2, 2, 2)}), Recipe(category=Category.HIGHLY_KNOWN, replay=Extra(1, "HighlyKnown")), 0)


WHOLE = Recipe(
    unknown=Fraction(1, 4),
    weights=LinearWeights(Fraction(1, 10), Fraction(9, 10), "p_greedy"),
    stages=((Category.MAYBE_KNOWN,),),
    idk=IDK,
    replay=Extra(5, "HighlyKnown"),
    patch=Extra(3, "Known"),
)


@given(plenty, st.integers(0, 5), st.randoms(use_true_random=False))
def test_whatever_is_done_with_the_rows_the_order_of_input_does_not_matter(
    world: list[Knowledge], seed: int, rng: random.Random
) -> None:
    """Weights, stages, relabelling, replay and patch depend on seed and facts alone."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    assert mix(shuffled, WHOLE, seed) == mix(world, WHOLE, seed)


def test_weights_follow_what_is_known() -> None:
    """A function of P_Correct weighs every row of the set, those on top included."""
    rows = mix(probed({"A": (40, 9, 9, 9)}), WHOLE, 0)
    expected = {"HighlyKnown": 1.0, "MaybeKnown": 0.46, "WeaklyKnown": 0.1, "Unknown": 0.1}
    assert {row.role for row in rows} == set(Role)
    assert all(row.weight == pytest.approx(expected[row.knowledge.category]) for row in rows)


def test_weights_by_a_measure_that_was_not_taken_are_refused() -> None:
    """The two-stage probe has no P_Correct(T>0) of most Known facts, and a weight by it says so."""
    by_samples = LinearWeights(Fraction(0), Fraction(1), "p_sampled")
    with pytest.raises(InputError, match=r"(\d+) of 91 rows have no P_Correct\(T>0\).*--all-samples"):
        mix(WORLD, Recipe(unknown=Fraction(1, 2), weights=by_samples), 0)
    assert all(
        row.weight == 0.01875 for row in mix(WORLD, Recipe(category=Category.WEAKLY_KNOWN, weights=by_samples), 0)
    )


def test_a_set_without_any_weight_is_refused() -> None:
    """Rows that all weigh 0 would train nothing."""
    with pytest.raises(InputError, match="unknown-100-zero-weight: every row weighs 0"):
        mix(WORLD, Recipe(unknown=Fraction(1), weights=ZERO_WEIGHT), 0)


def test_a_set_without_any_row_is_refused() -> None:
    """What leaves no row, which the recipe alone did not tell, is refused."""
    tiny = probed({"A": (1, 1, 1, 1)})
    with pytest.raises(InputError, match="no rows are left without Unknown"):
        mix(tiny, Recipe(unknown=Fraction(1, 2), without=(Category.UNKNOWN,)), 0)


def test_a_recipe_brings_its_size() -> None:
    """The recipe's size holds where the call gives none."""
    assert len(mix(WORLD, Recipe(unknown=Fraction(1, 2), size=50), 0)) == 50
    assert len(mix(WORLD, Recipe(unknown=Fraction(1, 2), size=50), 0, size=40)) == 40
    with pytest.raises(InputError, match="expected at least 1"):
        mix(WORLD, Recipe(), 0, size=0)


def test_a_recipe_that_contradicts_itself_is_not_mixed() -> None:
    """What is wrong with the recipe is told before any facts are looked at."""
    with pytest.raises(InputError, match=r"add up to 0.5, expected 1"):
        mix(WORLD, Recipe(shares=(("Unknown", Fraction(1, 2)),)), 0)


@given(worlds, st.integers(0, 5), st.data())
def test_no_held_out_subject_is_trained_on(world: list[Knowledge], seed: int, data: st.DataObject) -> None:
    """Whatever subjects are held out, none of theirs is in the set, nor in its replay; the sizes are those of what is
    left, and the recipes stay paired."""
    named_ = [replace(k, fact=replace(k.fact, subject=f"{k.fact.relation}{i}")) for i, k in enumerate(world)]
    chosen = data.draw(st.lists(st.sampled_from(named_), max_size=6))
    held = [Fact.create("Who?", ["x"], relation="Z", subject=k.fact.subject, split="test") for k in chosen]
    assume(len({k.fact.subject for k in chosen}) < len(named_))
    kept, held_out = without_held_out(named_, held)
    assert sum(held_out.dropped.values()) == len(named_) - len(kept)
    try:
        rows = mix(kept, Recipe(unknown=Fraction(1, 2), replay=Extra(1, "HighlyKnown")), seed)
    except InputError:
        assume(False)
    assert not {row.knowledge.fact.subject for row in rows} & {fact.subject for fact in held}
    assert sum(row.role is Role.MIX for row in rows) == sum(relation_sizes(category_counts_by_relation(kept)).values())


def test_remarks_say_what_had_nothing_to_work_on() -> None:
    """A recipe whose Unknown rows are not there says so, as do weights and stages that change nothing."""
    known = probed({"A": (9, 9, 9, 0)})
    recipe = Recipe(idk=IDK, weights=ZERO_WEIGHT, stages=((Category.UNKNOWN,),), size=9, patch=Extra(2, "Known"))
    rows = mix(known, recipe, 0)
    assert remarks(rows, recipe, known) == [
        "none of the facts is Unknown: the base model knows them all, and nothing in the set is new to it",
        "no row is Unknown, so none is relabelled",
        "every row weighs 1, so the weights change nothing",
        "all rows are of one stage, so the stages change nothing",
    ]
    halves = CategoryWeights(((Category.UNKNOWN, Fraction(1, 2)),))
    whole = Recipe(unknown=Fraction(1, 2), idk=IDK, weights=halves, stages=((Category.MAYBE_KNOWN,),))
    assert remarks(mix(WORLD, whole, 0), whole, WORLD) == []


def test_facts_are_chosen_by_split_and_relation() -> None:
    """One split and some relations are taken; a name that does not occur is refused, all of them at once."""
    world = probed({"A": (1, 1, 1, 1), "B": (1, 1, 1, 1)}) + probed({"A": (1, 1, 1, 1)}, split="test")
    assert len(chosen_facts(world, split="train", relations="A")) == 4
    assert len(chosen_facts(world)) == 12
    with pytest.raises(
        InputError, match=r"(?s)split 'dev': found 'test' \(4\), 'train' \(8\).*relation 'C': found A, B"
    ):
        chosen_facts(world, split="dev", relations="A,C")
