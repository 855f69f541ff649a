"""What a recipe says: its name, its parts, its weights, and what contradicts itself."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Chances, Knowledge
from slick_sft.recipe import (
    IDK,
    ZERO_WEIGHT,
    CategoryWeights,
    Extra,
    LinearWeights,
    Recipe,
    check,
    fraction,
    named,
    paper_names,
    plain,
)

FACT = Fact.create("Where?", ["there"], relation="A")
HALF = Fraction(1, 2)
U, HK, MK = Category.UNKNOWN, Category.HIGHLY_KNOWN, Category.MAYBE_KNOWN


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe.share(0), "known-only"),
        (Recipe.share(0.5), "unknown-50"),
        (Recipe.share(0.125), "unknown-12.5"),
        (Recipe.share(1), "unknown-100"),
        (Recipe(category=MK), "only-MaybeKnown"),
        (Recipe(), "natural"),
        (Recipe(unknown=HALF, without=(U,)), "unknown-50-without-unknown"),
        (Recipe(unknown=HALF, weights=ZERO_WEIGHT), "unknown-50-zero-weight"),
        (Recipe(unknown=HALF, idk=IDK), "unknown-50-idk"),
        (Recipe(cap=HALF), "natural-capped-50"),
        (Recipe(shares=(("HighlyKnown", HALF), ("Unknown", HALF))), "HighlyKnown-50-Unknown-50"),
        (Recipe(weights=CategoryWeights(((U, Fraction(1, 5)),))), "natural-weights-Unknown-0.2"),
        (Recipe(weights=LinearWeights(Fraction(1), Fraction(-1), "p_greedy")), "natural-weights-1-p_greedy"),
        (Recipe(stages=((MK,), (HK, U))), "natural-stages-MaybeKnown-HighlyKnown+Unknown"),
        (Recipe(unknown=HALF, replay=Extra(9, "HighlyKnown")), "unknown-50-replay-9"),
        (Recipe(unknown=HALF, replay=Extra(9, "Known"), patch=Extra(3, "Known")), "unknown-50-replay-9-Known-patch-3"),
        (Recipe(unknown=HALF, label="mine"), "mine"),
    ],
)
def test_a_recipe_has_a_name(recipe: Recipe, name: str) -> None:
    """The name says what is in the set and what is done with it, and is the arm's label by default."""
    assert recipe.name == name


extras = st.builds(Extra, st.integers(1, 10**6), st.sampled_from(["Known", *map(str, KNOWN)]))
percents = st.integers(0, 1000).map(lambda n: Fraction(n, 1000))


@given(
    st.one_of(
        st.builds(dict),
        percents.map(lambda share: {"unknown": share}),
        st.sampled_from(CATEGORIES).map(lambda c: {"category": c}),
    ),
    st.sampled_from([{}, {"without": (U,)}, {"idk": IDK}]),
    st.sampled_from([None, ZERO_WEIGHT]),
    st.none() | percents,
    st.none() | extras,
    st.none() | extras,
)
def test_a_name_gives_its_recipe_back(
    mixed: dict, more: dict, weights: CategoryWeights | None, cap: Fraction | None, replay: Extra, patch: Extra
) -> None:
    """Shares, caps, D_Known, IDK, zero weight, replay and patch can be told by the name alone."""
    recipe = Recipe(**mixed, **more, weights=weights, cap=cap, replay=replay, patch=patch)
    assert named(recipe.name) == recipe


def test_the_papers_recipes_have_names() -> None:
    """Every recipe of the paper, and the control of each of its shares, is known by the name that it has."""
    names = paper_names()
    assert len(names) == len(set(names)) == 7 + 5 + 5 + 4 + 1 + 1
    for name in names:
        recipe = named(name)
        assert recipe is not None
        assert (recipe.name, recipe.problems()) == (name, [])


@pytest.mark.parametrize("name", ["", "unknown", "unknown-x", "known", "unknown-50-", "only-Known", "natural-zero"])
def test_a_name_that_is_none_gives_nothing(name: str) -> None:
    """What is no recipe's name is told by None."""
    assert named(name) is None


def test_unknown_is_the_first_part() -> None:
    """The Unknown part stands first, whatever order the shares have, so that its rows fill the slots from the front."""
    assert Recipe(shares=(("Known", HALF), ("Unknown", HALF))).parts == Recipe(unknown=HALF).parts
    assert list(Recipe(shares=(("Known", HALF), ("Unknown", HALF))).parts or ()) == ["Unknown", "Known"]
    assert Recipe().parts is None


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (Recipe(unknown=HALF, category=U), "give one of unknown, category, shares, natural"),
        (Recipe(unknown=Fraction(50)), "unknown 50: expected a share from 0 to 1, such as 0.5"),
        (Recipe(cap=Fraction(-1)), "cap -1: expected a share from 0 to 1, such as 0.5"),
        (
            Recipe(shares=(("HighlyKnown", Fraction(2, 5)), ("Unknown", HALF))),
            "shares: add up to 0.9, expected 1; 0.1 is missing",
        ),
        (
            Recipe(shares=(("HighlyKnown", Fraction(4, 5)), ("Unknown", HALF))),
            "shares: add up to 1.3, expected 1; 0.3 is too much",
        ),
        (Recipe(shares=(("Known", Fraction(2)), ("Unknown", Fraction(-1)))), "shares: Known 2; expected from 0 to 1"),
        (
            Recipe(shares=(("Known", HALF), ("MaybeKnown", HALF))),
            "shares: Known holds MaybeKnown already; give Known, or its categories",
        ),
        (Recipe(shares=(("Unknown", HALF), ("Unknown", HALF))), "shares: Unknown is given twice"),
        (
            Recipe(unknown=HALF, cap=Fraction(2, 5)),
            "cap 0.4: below the share of Unknown rows, 0.5, that every relation gets; raise it, or leave it out",
        ),
        (Recipe(category=U, without=(U,)), "without Unknown: no rows are left"),
        (Recipe(unknown=Fraction(0), without=KNOWN), "without HighlyKnown, MaybeKnown, WeaklyKnown: no rows are left"),
        (Recipe(without=CATEGORIES), "without HighlyKnown, MaybeKnown, WeaklyKnown, Unknown: no rows are left"),
        (
            Recipe(idk=IDK, without=(U,)),
            "idk: answers Unknown rows, and without takes them out; give one of them",
        ),
        (
            Recipe(weights=CategoryWeights(((U, Fraction(-1)),))),
            "weights: Unknown weighs -1; expected at least 0",
        ),
        (
            Recipe(weights=LinearWeights(HALF, Fraction(-1), "p_greedy")),
            "weights: 0.5-p_greedy is below 0 for some P_Correct from 0 to 1; expected at least 0",
        ),
        (Recipe(stages=((MK,), (U, MK))), "stages: MaybeKnown is named 2 times; expected once"),
        (Recipe(stages=((MK,), ())), "stages: one of them names no category"),
        (Recipe(replay=Extra(0, "HighlyKnown")), "replay: 0 rows; expected at least 1"),
        (
            Recipe(patch=Extra(1, "Unknown")),
            "patch: of Unknown; expected one of Known, HighlyKnown, MaybeKnown, WeaklyKnown",
        ),
        (Recipe(size=0), "size 0: expected at least 1"),
    ],
)
def test_a_recipe_that_contradicts_itself_says_how(recipe: Recipe, problem: str) -> None:
    """What no facts could mend is told of the recipe alone."""
    assert problem in recipe.problems()
    with pytest.raises(InputError, match=r"recipe .*:\n"):
        check(recipe)


def test_all_contradictions_are_told_at_once() -> None:
    """One error lists them all."""
    with pytest.raises(InputError) as raised:
        check(Recipe(unknown=Fraction(2), cap=Fraction(3), size=-1, label="mine"))
    assert str(raised.value).splitlines() == [
        "recipe mine:",
        "  unknown 2: expected a share from 0 to 1, such as 0.5",
        "  cap 3: expected a share from 0 to 1, such as 0.5",
        "  size -1: expected at least 1",
    ]


@pytest.mark.parametrize("share", [-0.1, 1.1, 50, float("nan"), float("inf"), "half"])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """A share is from 0 to 1; a percentage is refused."""
    with pytest.raises(InputError, match="expected a share from 0 to 1"):
        Recipe.share(share)


def test_weights_by_category() -> None:
    """A row weighs what its category does, and 1 where that is not named."""
    weights = CategoryWeights(((MK, Fraction(1, 4)), (U, Fraction(0))))
    assert weights.of(Knowledge(FACT, 4, 10)) == 0.25
    assert weights.of(Knowledge(FACT, 0, 10, 0, 160)) == 0
    assert weights.of(Knowledge(FACT, 10, 10)) == 1


def test_weights_by_p_correct() -> None:
    """A row weighs a linear function of its P_Correct, of either kind; None where that was not measured."""
    falling = LinearWeights(Fraction(1), Fraction(-1), "p_greedy")
    assert falling.of(Knowledge(FACT, 4, 10)) == pytest.approx(0.6)
    rising = LinearWeights(Fraction(1, 5), Fraction(4, 5), "p_sampled")
    assert rising.of(Knowledge(FACT, 0, 10, 40, 160)) == pytest.approx(0.4)
    assert rising.of(Knowledge(FACT, 4, 10, chances=Chances((0.5,) * 10))) == pytest.approx(0.6)
    assert rising.of(Knowledge(FACT, 4, 10)) is None


@given(st.fractions(0, 1), st.integers(0, 10))
def test_a_weight_is_never_negative(slope: Fraction, right: int) -> None:
    """A function that reaches 0 does not fall below it by rounding."""
    weight = LinearWeights(slope, -slope, "p_greedy").of(Knowledge(FACT, right, 10, 0, 160))
    assert weight is not None
    assert weight >= 0


@given(st.fractions())
def test_a_number_is_written_as_it_is_read(value: Fraction) -> None:
    """Every share keeps its exact value through a file."""
    assert fraction(plain(value)) == value


@pytest.mark.parametrize("value", [True, None, [1], "half", float("nan"), float("inf"), "1/0", ""])
def test_what_is_no_number_is_none(value: object) -> None:
    """Whatever a file may hold, only numbers are read as such."""
    assert fraction(value) is None
