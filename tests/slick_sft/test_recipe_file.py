"""Recipes as a user writes them: YAML files, names and options, and every mistake that can be made there."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick_sft.recipe import (
    IDK,
    POOLS,
    ZERO_WEIGHT,
    CategoryWeights,
    Extra,
    LinearWeights,
    Recipe,
    weights_of,
)
from slick_sft.recipe_file import read_recipe, recipe_of, settings_of_options

U, HK, MK, WK = Category.UNKNOWN, Category.HIGHLY_KNOWN, Category.MAYBE_KNOWN, Category.WEAKLY_KNOWN
HALF = Fraction(1, 2)


def written(path: Path, text: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    return read_recipe(str(path))


def refused(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as raised:
        written(tmp_path / "recipe.yaml", text)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "recipe.yaml"))
    return message.splitlines()


def test_a_file_with_everything(tmp_path: Path) -> None:
    """Each key of a file has its place in the recipe."""
    recipe = written(
        tmp_path / "recipe.yaml",
        """
        # the whole of it
        name: gentle
        shares: {Known: 0.7, Unknown: 0.3}
        cap: 0.4
        weights: {Unknown: 0.25, WeaklyKnown: 1/3}
        stages: [MaybeKnown, [HighlyKnown, WeaklyKnown]]
        replay: 100
        patch: {rows: 50, of: MaybeKnown}
        idk: true
        size: 400
        """,
    )
    assert recipe == Recipe(
        shares=(("Unknown", Fraction(3, 10)), ("Known", Fraction(7, 10))),
        cap=Fraction(2, 5),
        weights=CategoryWeights(((WK, Fraction(1, 3)), (U, Fraction(1, 4)))),
        stages=((MK,), (HK, WK)),
        replay=Extra(100, "HighlyKnown"),
        patch=Extra(50, "MaybeKnown"),
        idk=IDK,
        size=400,
        label="gentle",
    )


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("unknown: 0.1", Recipe(unknown=Fraction(1, 10))),
        ("unknown: 1e-1", Recipe(unknown=Fraction(1, 10))),
        ("unknown: 1", Recipe(unknown=Fraction(1))),
        ("category: WeaklyKnown", Recipe(category=WK)),
        ("natural: true", Recipe()),
        ("natural: false\nunknown: 0.5", Recipe(unknown=HALF)),
        ("unknown: 0.5\nwithout: Unknown", Recipe(unknown=HALF, without=(U,))),
        ("natural: true\nwithout: [Known]", Recipe(without=KNOWN)),
        ("unknown: 0.5\nidk: Who knows?", Recipe(unknown=HALF, idk="Who knows?")),
        ("unknown: 0.5\nidk: false", Recipe(unknown=HALF)),
        ("natural: true\nweights: {Unknown: 0}", Recipe(weights=ZERO_WEIGHT)),
        (
            "natural: true\nweights: {Known: 0.5}",
            Recipe(weights=CategoryWeights(((HK, HALF), (MK, HALF), (WK, HALF)))),
        ),
        ("natural: true\nweights: 1-p_greedy", Recipe(weights=LinearWeights(Fraction(1), Fraction(-1), "p_greedy"))),
        ("natural: true\nweights: p_sampled", Recipe(weights=LinearWeights(Fraction(0), Fraction(1), "p_sampled"))),
        (
            "natural: true\nweights: 0.2 + 0.8 * p_sampled",
            Recipe(weights=LinearWeights(Fraction(1, 5), Fraction(4, 5), "p_sampled")),
        ),
        ("natural: true\nstages: [Unknown, Known]", Recipe(stages=((U,), KNOWN))),
    ],
)
def test_each_key_is_read(tmp_path: Path, text: str, recipe: Recipe) -> None:
    """Numbers are read exactly, one category may stand for a list, and Known for its three."""
    assert written(tmp_path / "recipe.yaml", text) == recipe


def test_all_mistakes_are_told_at_once_with_the_nearest_names(tmp_path: Path) -> None:
    """A file with many mistakes is refused with all of them, each with what was probably meant."""
    assert refused(
        tmp_path,
        """
        unkown: 0.5
        shares: {HighlyKnown: 0.5, Maybeknown: 0.1, Unknown: much}
        weigths: {Unknown: 0}
        stages: [MaybeKnown, Unknwn]
        replay: {row: 10}
        patch: lots
        size: 1.5
        cap: 2
        42: x
        """,
    )[1:] == [
        "  'unkown': no key of a recipe; did you mean 'unknown'?",
        "  shares: expected one of HighlyKnown, MaybeKnown, WeaklyKnown, Unknown, Known, found 'Maybeknown'"
        "; did you mean 'MaybeKnown' or 'Known'?",
        "  shares: Unknown: expected a number, found 'much'",
        "  'weigths': no key of a recipe; did you mean 'weights'?",
        "  stages: expected one of HighlyKnown, MaybeKnown, WeaklyKnown, Unknown, Known, found 'Unknwn'"
        "; did you mean 'Unknown' or 'Known'?",
        "  replay: 'row': no key of it; did you mean 'rows'?",
        "  replay: lacks rows, their number",
        "  patch: expected a number of rows, or a mapping such as {rows: 100, of: Known}, found 'lots'",
        "  size: expected a whole number, found 1.5",
        "  42: no key of a recipe",
        "  cap 2: expected a share from 0 to 1, such as 0.5",
    ]


def test_shares_that_do_not_add_up_are_told_beside_other_mistakes(tmp_path: Path) -> None:
    """A sum other than 1 is said with what is missing, together with an unknown key."""
    assert refused(tmp_path, "shares: {HighlyKnown: 0.3, Unknown: 0.6}\nseed: 1")[1:] == [
        "  'seed': no key of a recipe",
        "  shares: add up to 0.9, expected 1; 0.1 is missing",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping such as 'unknown: 0.5', found None"),
        ("- unknown", "expected a mapping such as"),
        ("size: 3", "says nothing of the mix: expected one of unknown, category, shares, natural"),
        ("natural: false", "natural is false, and nothing else is given"),
        ("natural: true\nunknown: 0.5", "give one of unknown, category, shares, natural"),
        ("category: MaybeKnown\nunknown: 0.5", "give one of unknown, category, shares, natural"),
        ("unknown: 0.5\nunknown: 0.6", "the key 'unknown' stands twice"),
        ("unknown: [", "not YAML"),
        ("unknown: 2024-99-99", "not YAML"),
        ("unknown: true", "unknown: expected a number, found True"),
        ("natural: 1", "natural: expected true or false, found 1"),
        ("category: Known", "category: expected one of HighlyKnown, MaybeKnown, WeaklyKnown, Unknown, found 'Known'"),
        ("unknown: 0.5\nname: ''", "name: expected a text on one line"),
        ('unknown: 0.5\nname: "a\\nb"', "name: expected a text on one line"),
        ("natural: true\nweights: 2-p", "weights: expected a function such as 1-p_greedy or 0.2+0.8*p_sampled"),
        ("natural: true\nweights: {}", "weights: expected weights by category"),
        ("natural: true\nweights: {Known: 1, MaybeKnown: 0}", "weights: MaybeKnown is given twice, alone and as Known"),
        ("natural: true\nweights: {Unknown: -1}", "weights: Unknown weighs -1; expected at least 0"),
        ("natural: true\nstages: MaybeKnown", "stages: expected a list of categories"),
        ("natural: true\nreplay: true", "replay: expected a number of rows"),
        ("natural: true\npatch: {rows: x}", "patch: rows: expected a whole number, found 'x'"),
        ("natural: true\npatch: {rows: 1, of: Unknown}", "patch: of: expected one of Known, HighlyKnown"),
        ("natural: true\nidk: 3", "idk: expected a text on one line, found 3"),
        ("unknown: !!python/object:os.system x", "not YAML"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Every value that does not fit is named by its key, with what was expected; tags run nothing."""
    assert message in "\n".join(refused(tmp_path, text))


def test_a_name_needs_no_file() -> None:
    """The paper's recipes and their controls are known by name."""
    assert read_recipe("unknown-50-zero-weight") == Recipe(unknown=HALF, weights=ZERO_WEIGHT)
    with pytest.raises(InputError, match=r"recipe unknown-150:\n  unknown 1.5: expected a share from 0 to 1"):
        read_recipe("unknown-150")


@pytest.mark.parametrize("given", ["unknwon-50", "x" * 5000])
def test_neither_file_nor_name(given: str) -> None:
    """What is neither a file nor a name is refused with names that are."""
    with pytest.raises(InputError, match=r"no such file, and no recipe of that name.*such as known-only, unknown-10"):
        read_recipe(given)


def test_the_nearest_name_is_told() -> None:
    """A name with a slip is answered with the name that was probably meant."""
    with pytest.raises(InputError, match="did you mean 'unknown-50-zero-weight'"):
        read_recipe("unknown-50-zero-wieght")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are told as such."""
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not YAML"):
        read_recipe(str(path))


shares = st.integers(0, 100).map(lambda n: Fraction(n, 100))
numbers = st.fractions(0, 3, max_denominator=40)
categories = st.sampled_from(CATEGORIES)
extras = st.builds(Extra, st.integers(1, 99), st.sampled_from(["Known", *map(str, KNOWN)]))


@st.composite
def mixes(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["natural", "unknown", "category", "shares"]))
    if kind == "shares":
        pools = draw(st.sampled_from([POOLS[:4], ("Unknown", "Known")]))
        parts = draw(st.lists(st.integers(0, 9), min_size=len(pools), max_size=len(pools)))
        assume(any(parts))
        given_ = {pool: Fraction(n, sum(parts)) for pool, n in zip(pools, parts, strict=True)}
        return {"shares": tuple(sorted(given_.items(), key=lambda pair: POOLS.index(pair[0])))}
    return {"natural": {}, "unknown": {"unknown": draw(shares)}, "category": {"category": draw(categories)}}[kind]


recipes = st.builds(
    lambda mixed, **more: Recipe(**mixed, **more),
    mixes(),
    cap=st.none() | shares,
    without=st.lists(categories, unique=True, max_size=2).map(tuple),
    idk=st.sampled_from(["", IDK, "true", "Who knows: nobody?"]),
    weights=st.none()
    | st.dictionaries(categories, numbers, min_size=1).map(weights_of)
    | st.builds(LinearWeights, numbers, numbers, st.sampled_from(["p_greedy", "p_sampled"]))
    | numbers.map(lambda n: LinearWeights(n, -n, "p_greedy")),
    stages=st.permutations(CATEGORIES).flatmap(
        lambda order: st.sampled_from([(), ((order[0],),), ((order[0], order[1]), (order[2],))])
    ),
    replay=st.none() | extras,
    patch=st.none() | extras,
    size=st.none() | st.integers(1, 99),
    label=st.sampled_from(["", "mine", "true", "0.5", "a: b"]),
)


@given(recipes)
def test_a_written_recipe_is_read_back(recipe: Recipe) -> None:
    """`as_dict` through YAML and back is the same recipe, and so recipe.json can be mixed again."""
    assume(not recipe.problems())
    text = yaml.safe_dump(recipe.as_dict())
    assert recipe_of(yaml.safe_load(text), "x") == recipe


def test_options_say_what_a_file_says() -> None:
    """Each option of the verb stands for a key of the file."""
    settings = settings_of_options(
        shares="Known=0.7, Unknown=0.3",
        cap=0.4,
        without=[WK],
        weights="Unknown=0.25",
        stages="MaybeKnown,HighlyKnown+Unknown",
        replay="100",
        patch="50:MaybeKnown",
        name="mine",
    )
    assert recipe_of(settings, "options") == Recipe(
        shares=(("Unknown", Fraction(3, 10)), ("Known", Fraction(7, 10))),
        cap=Fraction(2, 5),
        without=(WK,),
        weights=CategoryWeights(((U, Fraction(1, 4)),)),
        stages=((MK,), (HK, U)),
        replay=Extra(100, "HighlyKnown"),
        patch=Extra(50, "MaybeKnown"),
        label="mine",
    )
    assert recipe_of(settings_of_options(unknown=0.1, idk=True), "o") == Recipe(unknown=Fraction(1, 10), idk=IDK)
    assert recipe_of(settings_of_options(category=WK, zero_weight=True), "o").weights == ZERO_WEIGHT
    assert recipe_of(settings_of_options(natural=True, weights="p_greedy"), "o").name == "natural-weights-p_greedy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": "Known,Unknown=1"}, "--shares Known,Unknown=1:\n  'Known': expected CATEGORY=NUMBER"),
        ({"weights": "Unknown=1,Unknown=2"}, "Unknown: is given twice"),
        ({"weights": "Unknown=1", "zero_weight": True}, "--zero-weight and --weights: give one of them"),
    ],
)
def test_options_that_cannot_be_read(options: dict[str, Any], message: str) -> None:
    """A list that is none is refused by the option's name."""
    with pytest.raises(InputError) as raised:
        settings_of_options(natural=True, **options)
    assert message in str(raised.value)


@pytest.mark.parametrize("replay", ["x", "1.5", "-3", "1:Unknown", "5:", "٣"])
def test_extra_rows_that_are_none(replay: str) -> None:
    """What is not ROWS or ROWS:CATEGORY is refused by its key."""
    with pytest.raises(InputError, match="replay: "):
        recipe_of(settings_of_options(natural=True, replay=replay), "options")


DOCS = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


def test_every_recipe_of_the_documentation_can_be_read() -> None:
    """The files and names that the page on recipes shows are recipes."""
    if not DOCS.is_file():
        pytest.skip("there is no documentation beside the tests")
    text = DOCS.read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        recipe_of(yaml.safe_load(block), "the documentation")
    table = text.split("## The paper's")[1].split("## The file")[0]
    for name in re.findall(r"`((?:known|unknown|only|natural)[\w-]*)`", table):
        assert read_recipe(name).name == name
