"""Reading a recipe: from a YAML file, by its name, or from the settings that stand in either."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from slick.errors import InputError, Mistakes
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.rows import nearest, shown
from slick_sft.recipe import (
    IDK,
    KNOWN_POOL,
    MEASURES,
    PATCHED,
    POOLS,
    REPLAYED,
    ZERO_WEIGHT,
    Extra,
    LinearWeights,
    Pool,
    Recipe,
    Weights,
    fraction,
    members,
    named,
    paper_names,
    weights_of,
)
from slick_sft.values import MisfitError, flag, one_of, text, whole
from slick_sft.yaml_text import load_yaml

_T = TypeVar("_T")
_EXAMPLE = "a mapping such as 'unknown: 0.5'"
_MIXES = ("unknown", "category", "shares", "natural")
_NUMBER = r"\d+(?:[./]\d+)?"
_LINEAR = re.compile(
    rf"(?:(?P<constant>{_NUMBER})?(?P<sign>[+-]))?(?:(?P<slope>{_NUMBER})\*)?(?P<measure>{'|'.join(MEASURES)})"
)


def read_recipe(given: str) -> Recipe:
    """The recipe in the YAML file `given`, or the one of that name ("unknown-50-zero-weight").

    Raises InputError that lists every mistake of the file, or says that there is neither file nor name.
    """
    path = Path(given)
    if not _is_file(path):
        if (recipe := named(given)) is not None:
            return check_recipe(recipe, f"recipe {given}")
        names = paper_names()
        raise InputError(
            f"recipe {shown(given)}: no such file, and no recipe of that name{nearest(given, names)}; expected a YAML "
            f"file, or a name such as {', '.join(names[:3])}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    found = load_yaml(content, str(path))
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected {_EXAMPLE}, found {shown(found)}")
    return recipe_of(found, str(path))


def recipe_of(given: Mapping[Any, Any], where: str) -> Recipe:
    """The recipe that these settings describe; `Recipe.as_dict` is its inverse.

    Raises InputError with all mistakes at once: unknown keys with the nearest valid name, values that do not fit,
    shares that do not add up, settings that contradict each other. `where` is what they are called in it.
    """
    with Mistakes(f"{where}: not a recipe:") as mistakes:
        fields: dict[str, Any] = {}
        for key, value in given.items():
            if key not in _KEYS:
                mistakes.add(f"{shown(key)}: no key of a recipe{_meant(key, _KEYS)}")
                continue
            field, read = _KEYS[key]
            try:
                fields[field] = read(value)
            except _MisfitsError as wrong:
                mistakes.extend(f"{key}: {message}" for message in wrong.messages)
        natural = fields.pop("natural", False)
        if not any(key in given for key in _MIXES):
            mistakes.add(f"says nothing of the mix: expected one of {', '.join(_MIXES)}")
        elif natural and any(key in given for key in _MIXES[:3]):
            mistakes.add(f"give one of {', '.join(_MIXES)}")
        elif given.get("natural") is False and not any(key in given for key in _MIXES[:3]):
            mistakes.add(f"natural is false, and nothing else is given: expected one of {', '.join(_MIXES)}")
        recipe = Recipe(**fields)
        mistakes.extend(recipe.problems())
    return recipe


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a name
        return False


def settings_of_options(
    *,
    unknown: float | None = None,
    category: Category | None = None,
    natural: bool = False,
    shares: str = "",
    cap: float | None = None,
    without: Iterable[Category] = (),
    idk: bool = False,
    zero_weight: bool = False,
    weights: str = "",
    stages: str = "",
    replay: str = "",
    patch: str = "",
    name: str = "",
) -> dict[str, Any]:
    """What the options of `slick mix` say, as a recipe file has it. What was not given is left out.

    shares, weights: CATEGORY=NUMBER, separated by commas; weights may be a function too. stages: categories separated
    by commas, those of one stage joined by +. replay, patch: ROWS, or ROWS:CATEGORY.
    """
    given: dict[str, Any] = {
        "name": name or None,
        "unknown": unknown,
        "category": category and str(category),
        "natural": natural or None,
        "shares": _pairs("--shares", shares) if shares else None,
        "cap": cap,
        "without": [str(c) for c in without] or None,
        "idk": idk or None,
        "weights": _pairs("--weights", weights) if "=" in weights else weights or None,
        "stages": [_parts(stage, "+") for stage in _parts(stages, ",")] or None,
        "replay": _rows_of(replay) if replay else None,
        "patch": _rows_of(patch) if patch else None,
    }
    if zero_weight and weights:
        raise InputError("--zero-weight and --weights: give one of them")
    if zero_weight:
        given["weights"] = ZERO_WEIGHT.as_yaml()
    return {key: value for key, value in given.items() if value is not None}


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _pairs(option: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    with Mistakes(f"{option} {text}:") as mistakes:
        for part in _parts(text, ","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals:
                mistakes.add(f"{shown(part)}: expected CATEGORY=NUMBER")
            elif name in found:
                mistakes.add(f"{name}: is given twice")
            found[name] = number
    return found


def _rows_of(text: str) -> int | str | dict[str, Any]:
    """ROWS or ROWS:CATEGORY; what is neither is left for the recipe to refuse."""
    rows, colon, of = (piece.strip() for piece in text.partition(":"))
    number = int(rows) if rows.isascii() and rows.isdigit() and len(rows) < 19 else None
    if number is None:
        return text
    return {"rows": number, "of": of} if colon else number


def check_recipe(recipe: Recipe, where: str) -> Recipe:
    """Itself; raises InputError that lists what is wrong with it."""
    with Mistakes(f"{where}:") as mistakes:
        mistakes.extend(recipe.problems())
    return recipe


class _MisfitsError(Exception):
    """A value that does not fit its key, or some of its parts; each message says what was found and what expected."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(messages)
        super().__init__(*self.messages)


def _expected(what: str, value: object) -> _MisfitsError:
    return _MisfitsError([f"expected {what}, found {shown(value)}"])


def _fitting(read: Callable[[object], _T]) -> Callable[[object], _T]:
    """The same reader, which says what was found besides what was expected."""

    def reading(value: object) -> _T:
        try:
            return read(value)
        except MisfitError as wrong:
            raise _MisfitsError([f"expected {wrong.expected}, found {shown(value)}{wrong.meant}"]) from wrong

    return reading


_whole, _text, _flag = _fitting(whole), _fitting(text), _fitting(flag)


def _number(value: object) -> Fraction:
    found = fraction(value)
    if found is None:
        raise _expected("a number", value)
    return found


def _category(value: object) -> Category:
    return Category(_fitting(one_of(CATEGORIES))(value))


def _pool(value: object, pools: Iterable[Pool] = POOLS) -> Pool:
    return _fitting(one_of(pools))(value)


def _categories(value: object) -> tuple[Category, ...]:
    """Categories of a list, or of one name; Known stands for its three."""
    items = value if isinstance(value, list) else [value]
    pools = _each(items, _pool)
    return tuple(dict.fromkeys(category for pool in pools for category in members(pool)))


def _shares(value: object) -> tuple[tuple[Pool, Fraction], ...]:
    given = _mapping(value, "shares by category, such as {Known: 0.5, Unknown: 0.5}")
    pairs = _each(given.items(), _pair)
    return tuple(sorted(pairs, key=lambda pair: POOLS.index(pair[0])))


def _pair(item: tuple[object, object]) -> tuple[Pool, Fraction]:
    name, share = item
    return _pool(name), _named(str(name), _number, share)


def _weights(value: object) -> Weights:
    what = "weights by category, such as {Unknown: 0.2}, or a function of P_Correct such as 1-p_greedy"
    if isinstance(value, str):
        return _linear(value)
    given: dict[Category, Fraction] = {}
    wrong = []
    for pool, weight in _each(_mapping(value, what).items(), _pair):
        for category in members(pool):
            if category in given:
                wrong.append(f"{category} is given twice, alone and as Known")
            given[category] = weight
    if wrong:
        raise _MisfitsError(wrong)
    return weights_of(given)


def _linear(text: str) -> LinearWeights:
    found = _LINEAR.fullmatch("".join(text.split()))
    constant, slope = (
        fraction((found and found[name]) or default) for name, default in (("constant", 0), ("slope", 1))
    )
    if found is None or constant is None or slope is None:
        raise _expected(f"a function such as 1-{MEASURES[0]} or 0.2+0.8*{MEASURES[1]}", text)
    return LinearWeights(constant, -slope if found["sign"] == "-" else slope, found["measure"])


def _stages(value: object) -> tuple[tuple[Category, ...], ...]:
    if not isinstance(value, list) or not value:
        raise _expected("a list of categories, such as [MaybeKnown, [HighlyKnown, WeaklyKnown], Unknown]", value)
    return tuple(_each(value, _stage))


def _stage(value: object) -> tuple[Category, ...]:
    """The categories of one stage; one that is named twice stays so, to be refused with those of other stages."""
    items = value if isinstance(value, list) else [value]
    return tuple(c for pool in _each(items, _pool) for c in members(pool))


def _extra(usual: Pool) -> Callable[[object], Extra]:
    def read(value: object) -> Extra:
        if isinstance(value, int) and not isinstance(value, bool):
            return Extra(value, usual)
        given = _mapping(value, f"a number of rows, or a mapping such as {{rows: 100, of: {usual}}}")
        wrong = [
            f"{shown(key)}: no key of it{_meant(key, ('rows', 'of'))}" for key in given if key not in ("rows", "of")
        ]
        if "rows" not in given:
            wrong.append("lacks rows, their number")
        if wrong:
            raise _MisfitsError(wrong)
        rows = _named("rows", _whole, given["rows"])
        return Extra(rows, _named("of", lambda of: _pool(of, (KNOWN_POOL, *map(str, KNOWN))), given.get("of", usual)))

    return read


def _idk(value: object) -> str:
    """true for the paper's words, or other words."""
    return (IDK if value else "") if isinstance(value, bool) else _text(value)


def _mapping(value: object, what: str) -> dict[object, object]:
    if not isinstance(value, dict) or not value:
        raise _expected(what, value)
    return value


def _named(name: str, read: Callable[[object], Any], value: object) -> Any:
    try:
        return read(value)
    except _MisfitsError as wrong:
        raise _MisfitsError(f"{name}: {message}" for message in wrong.messages) from wrong


def _each(values: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
    """Every value read, or the mistakes of all that could not be."""
    found, wrong = [], []
    for value in values:
        try:
            found.append(read(value))
        except _MisfitsError as error:
            wrong += error.messages
    if wrong:
        raise _MisfitsError(wrong)
    return found


def _meant(given: object, names: Iterable[str]) -> str:
    return nearest(given, names) if isinstance(given, str) else ""


# Key of a recipe file → field of Recipe, and what reads the value.
_KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("label", _text),
    "unknown": ("unknown", _number),
    "category": ("category", _category),
    "shares": ("shares", _shares),
    "natural": ("natural", _flag),
    "cap": ("cap", _number),
    "without": ("without", _categories),
    "idk": ("idk", _idk),
    "weights": ("weights", _weights),
    "stages": ("stages", _stages),
    "replay": ("replay", _extra(REPLAYED)),
    "patch": ("patch", _extra(PATCHED)),
    "size": ("size", _whole),
}
