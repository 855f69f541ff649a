"""The grid of a study: which fine-tuning sets, trained how, watched on what. Read from YAML, all mistakes at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from slick.errors import InputError, Mistakes
from slick.knowledge import Category
from slick.prompts import DEFAULT_FORM
from slick.rows import nearest
from slick_sft.arguments import rows_a_step
from slick_sft.recipe import ZERO_WEIGHT, Recipe, named, paper_names
from slick_sft.recipe_file import recipe_of
from slick_sft.values import MisfitError, between, flag, whole_from
from slick_sft.yaml_text import load_yaml

SHIPPED = ("paper", "small")
# Splits that a study probes. Of these, all but the last must be among the facts.
SPLITS = ("train", "dev", "test", "ood")
# The training rows are watched anyway.
WATCHED = ("dev", "test", "ood")
METHODS = ("full", "lora")
# For `watch_rows`: what adds a tenth to the training at most.
TENTH = "tenth"

# The paper's: rate, batch size, and the epochs until CONVERGENCE.
_TRAINING: Mapping[str, Any] = {"method": "full", "epochs": 50.0, "batch_size": 128, "settings": {}}
_RATES = {"full": 1e-5, "lora": 1e-4}
_LORA = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0}

# Fields of TRL's SFTConfig that the study sets itself, and what to use instead; besides those of saving.
_OURS = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "epochs",
    "max_steps": "epochs",
    "per_device_train_batch_size": "batch_size",
    "seed": "--seeds",
    "data_seed": "--seeds",
}
_SAVING = "save_"
_GATHERED = "gradient_accumulation_steps"

_TRAINING_KEYS = ("method", "learning_rate", "epochs", "batch_size", *_LORA, "settings")
_KEYS = (
    *("variants", "versions", "training", "size", "facts"),
    *("watch", "watch_rows", "form", "conversational", "ptrue"),
)

_EXPECTED = "recipes by name, such as unknown-50-zero-weight, or as in a recipe file, with a name"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")
# Names become directories.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]*")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Training:
    """How the sets of one version are trained. settings: further fields of TRL's SFTConfig."""

    method: str
    learning_rate: float
    epochs: float
    batch_size: int
    lora: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def flags(self) -> dict[str, Any]:
        """As `sft_arguments` takes them."""
        return {
            "learning_rate": self.learning_rate,
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": self.batch_size,
        }

    @property
    def rows_a_step(self) -> int:
        """Of an optimiser step: a worker trains on one device, and gathers as many micro-batches as it is told to."""
        return rows_a_step({**self.flags(), **self.settings}, processes=1)

    def inherited(self) -> dict[str, Any]:
        """What a version takes over from it, by the grid's names."""
        lora = {} if self.lora is None else {name: self.lora[name.replace("lora_r", "r")] for name in _LORA}
        return {name: value for name, value in asdict(self).items() if name != "lora"} | lora

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Variant:
    """One recipe, by its name, trained in one way. version: "" for the grid's own training."""

    recipe: str
    version: str = ""

    @property
    def name(self) -> str:
        return f"{self.version}-{self.recipe}" if self.version else self.recipe


@dataclass(frozen=True, slots=True)
class Grid:
    """What a study is made of.

    recipes: by their names. trainings: by version. size: rows of a set; None for the paper's rule. limits: split → a
    seeded draw of so many of its facts. watch_rows: of each watched set, so many at most; 0 for all, None for what
    adds a tenth to the training at most. same: names that the grid asks for, and the variant that is the same and
    trained in their place.
    """

    variants: tuple[Variant, ...]
    recipes: Mapping[str, Recipe]
    trainings: Mapping[str, Training]
    size: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    watch: tuple[str, ...] = WATCHED
    watch_rows: int | None = 0
    form: str = DEFAULT_FORM
    conversational: bool = False
    ptrue: bool = True
    same: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as `study.json` records it."""
        return {
            "variants": [variant.name for variant in self.variants],
            "recipes": {name: recipe.as_dict() for name, recipe in self.recipes.items()},
            "same": dict(self.same),
            "trainings": {name: training.as_dict() for name, training in self.trainings.items()},
            "size": self.size,
            "facts": dict(self.limits),
            "watch": list(self.watch),
            "watch_rows": self.watch_rows,
            "form": self.form,
            "conversational": self.conversational,
            "ptrue": self.ptrue,
        }


def read_grid(source: str) -> Grid:
    """The grid of that name, or of a YAML file. Raises InputError with every mistake in it."""
    if source in SHIPPED:
        text = (files("slick_sft.study") / "grids" / f"{source}.yaml").read_text(encoding="utf-8")
        return parse_grid(text, f"grid {source}")
    path = Path(source)
    if not path.is_file():
        raise InputError(
            f"--grid {source}: no such file, and no grid of that name; expected {', '.join(SHIPPED)} or a YAML file"
            f"{nearest(source, SHIPPED)}"
        )
    try:
        return parse_grid(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error


def parse_grid(text: str, where: str) -> Grid:
    """The grid in a YAML text; `where` is what errors call it."""
    found = load_yaml(text, where)
    if not isinstance(found, dict):
        raise InputError(f"{where}: expected a mapping with at least 'variants', found {type(found).__name__}")
    mistakes = Mistakes(f"{where}: not a grid:")
    grid = _grid(found, mistakes)
    mistakes.raise_if_any()
    return grid


def canonical(recipe: Recipe) -> Recipe:
    """The recipe itself, or the simpler one that gives the same rows: of all Unknown rows there is one, and where no
    row is Unknown there is nothing to take out, to relabel or to weigh."""
    if recipe.label:
        return recipe
    if recipe.category is Category.UNKNOWN:
        recipe = replace(recipe, category=None, unknown=Fraction(1))
    if recipe.unknown == 0:
        without = tuple(category for category in recipe.without if category is not Category.UNKNOWN)
        weights = None if recipe.weights == ZERO_WEIGHT else recipe.weights
        recipe = replace(recipe, without=without, idk="", weights=weights, cap=None)
    return recipe


def _grid(found: Mapping[str, Any], mistakes: Mistakes) -> Grid:
    _unknown_keys(found, _KEYS, "", mistakes)
    trainings = {"": _training(_mapping(found, "training", mistakes), "training", {}, mistakes)}
    wanted = [("", recipe) for recipe in _recipes(found.get("variants"), "variants", mistakes)]
    for version, of in _mapping(found, "versions", mistakes).items():
        where = f"versions.{version}"
        if not _VERSION.fullmatch(str(version)):
            mistakes.add(f"{where}: expected a name of letters, digits, _ and .")
        if not isinstance(of, dict):
            mistakes.add(f"{where}: expected a mapping with 'variants' and settings of the training")
            continue
        given = {name: value for name, value in of.items() if name != "variants"}
        trainings[str(version)] = _training(given, where, trainings[""].inherited(), mistakes)
        wanted += [(str(version), recipe) for recipe in _recipes(of.get("variants"), f"{where}.variants", mistakes)]
    recipes: dict[str, Recipe] = {}
    for recipe in (canonical(recipe) for _, recipe in wanted):
        if recipes.setdefault(recipe.name, recipe) != recipe:
            mistakes.add(f"variants: two recipes are called {recipe.name}; give each a name of its own")
    asked: dict[Variant, Variant] = {}
    for version, recipe in wanted:
        variant = Variant(canonical(recipe).name, version)
        if asked.setdefault(Variant(recipe.name, version), variant) != variant:
            mistakes.add(f"variants: two recipes are called {recipe.name}; give each a name of its own")
    variants = tuple(dict.fromkeys(asked.values()))
    for name, n in Counter(variant.name for variant in {**asked, **dict.fromkeys(variants)}).items():
        if n > 1:
            mistakes.add(f"variants: a recipe is called {name}, as a version's variant is; give it another name")
    return Grid(
        variants=variants,
        recipes=recipes,
        trainings=trainings,
        size=_whole(found.get("size"), "size", mistakes),
        limits=_limits(_mapping(found, "facts", mistakes), mistakes),
        watch=_watch(found.get("watch", list(WATCHED)), mistakes),
        watch_rows=_watch_rows(found.get("watch_rows"), mistakes),
        form=_form(found.get("form", DEFAULT_FORM), mistakes),
        conversational=_flag(found.get("conversational", False), "conversational", mistakes),
        ptrue=_flag(found.get("ptrue", True), "ptrue", mistakes),
        same={name.name: other.name for name, other in asked.items() if name != other},
    )


def _recipes(found: Any, where: str, mistakes: Mistakes) -> list[Recipe]:
    """The good ones of a list of recipes."""
    if not isinstance(found, list) or not found:
        mistakes.add(f"{where}: expected a list of {_EXPECTED}, found {found!r}")
        return []
    good = []
    for i, given in enumerate(found, 1):
        recipe = _recipe(given, f"{where}, number {i}", mistakes)
        if recipe is not None:
            good.append(recipe)
    return good


def _recipe(given: Any, where: str, mistakes: Mistakes) -> Recipe | None:
    if isinstance(given, dict):
        try:
            recipe: Recipe | None = recipe_of(given, where)
        except InputError as error:
            mistakes.add(str(error).replace("\n", "\n  "))
            return None
    elif isinstance(given, str):
        recipe = named(given)
        if recipe is None:
            mistakes.add(f"{where}: {given!r}: no such recipe{nearest(given, paper_names())}; expected {_EXPECTED}")
            return None
        mistakes.extend(f"{where}: {given}: {problem}" for problem in recipe.problems())
    else:
        mistakes.add(f"{where}: found {given!r}, expected {_EXPECTED}")
        return None
    assert recipe is not None
    if not _NAME.fullmatch(recipe.name):
        mistakes.add(f"{where}: {recipe.name!r} cannot name a directory; give it a name of letters, digits, . _ + = -")
    if recipe.weights == ZERO_WEIGHT and recipe.unknown == 1:
        mistakes.add(f"{where}: {recipe.name}: no row has a weight, so that nothing would be trained")
    return recipe


def _training(given: Mapping[str, Any], where: str, inherited: Mapping[str, Any], mistakes: Mistakes) -> Training:
    """A version's training: its own settings, then the grid's, then the paper's."""
    _unknown_keys(given, _TRAINING_KEYS, f"{where}.", mistakes)
    method = given.get("method", inherited.get("method", _TRAINING["method"]))
    if method not in METHODS:
        mistakes.add(f"{where}.method = {method!r}: expected {' or '.join(METHODS)}{nearest(str(method), METHODS)}")
        method = METHODS[0]
    # The rate of one method says nothing of another's.
    passed_on = {k: v for k, v in inherited.items() if k != "learning_rate" or method == inherited.get("method")}
    found = {**_TRAINING, **_LORA, "learning_rate": _RATES[method], **passed_on, **given}
    if method == "full":
        for name in _LORA:
            if name in given:
                mistakes.add(f"{where}.{name}: only with method: lora")
    numbers = {
        name: _positive(found[name], f"{where}.{name}", mistakes) for name in ("learning_rate", "epochs", "lora_alpha")
    }
    whole = {name: _whole(found[name], f"{where}.{name}", mistakes) or 1 for name in ("batch_size", "lora_r")}
    share = between(0, 1, "from 0 to below 1", closed=True)
    dropout = _taken(found["lora_dropout"], share, f"{where}.lora_dropout", mistakes)
    settings = found["settings"]
    if not isinstance(settings, dict):
        mistakes.add(f"{where}.settings: expected a mapping of fields of TRL's SFTConfig")
        settings = {}
    elif "settings" in given:
        mistakes.extend(_not_settings(settings, where))
        # The study's steps are counted by it before the trainer sees it.
        _whole(settings.get(_GATHERED), f"{where}.settings.{_GATHERED}", mistakes)
    lora = {"r": whole["lora_r"], "lora_alpha": int(numbers["lora_alpha"]), "lora_dropout": dropout}
    return Training(
        method,
        numbers["learning_rate"],
        numbers["epochs"],
        whole["batch_size"],
        lora if method == "lora" else None,
        {str(name): value for name, value in settings.items()},
    )


def _not_settings(settings: Mapping[Any, Any], where: str) -> Iterable[str]:
    """What the grid or the study decides, and would be decided twice."""
    for name in map(str, settings):
        if name in _OURS:
            ours = _OURS[name]
            yield f"{where}.settings.{name}: use {ours if ours.startswith('--') else f'{where}.{ours}'}"
        elif name.startswith(_SAVING):
            yield f"{where}.settings.{name}: the study saves what it needs; to keep the models use --keep-models"


def _limits(found: Mapping[str, Any], mistakes: Mistakes) -> dict[str, int]:
    _unknown_keys(found, SPLITS, "facts.", mistakes)
    limits = {name: _whole(value, f"facts.{name}", mistakes) for name, value in found.items() if name in SPLITS}
    return {name: limit for name, limit in limits.items() if limit}


def _watch(found: Any, mistakes: Mistakes) -> tuple[str, ...]:
    if not isinstance(found, list) or not set(map(str, found)) <= {*WATCHED}:
        mistakes.add(f"watch = {found!r}: expected a list of some of {', '.join(WATCHED)}")
        return WATCHED
    if "dev" not in found:
        mistakes.add("watch: lacks dev, which decides EARLY_STOP; add it")
    return tuple(split for split in WATCHED if split in found)


def _watch_rows(found: Any, mistakes: Mistakes) -> int | None:
    """As `slick tune` has it: 0 for all, None for what a tenth buys. All, too, where the grid says nothing: a study is
    there to measure."""
    if found is None or found == "all":
        return 0
    if found == TENTH:
        return None
    rows = _taken(found, whole_from(1), "watch_rows", mistakes, f", all, or {TENTH}")
    return rows or 0


def _form(found: Any, mistakes: Mistakes) -> str:
    if isinstance(found, str) and found.count("{question}") == 1 and not found.endswith(" "):
        return found
    mistakes.add(f"form = {found!r}: expected a text with {{question}} exactly once that does not end in a space")
    return DEFAULT_FORM


def _unknown_keys(found: Mapping[Any, Any], known: Sequence[str], prefix: str, mistakes: Mistakes) -> None:
    for name in found:
        if name not in known:
            mistakes.add(f"{prefix}{name}: unknown; expected {_listed(known)}{nearest(str(name), known)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _mapping(found: Mapping[str, Any], name: str, mistakes: Mistakes) -> Mapping[str, Any]:
    value = found.get(name, {})
    if isinstance(value, dict):
        return value
    mistakes.add(f"{name}: expected a mapping, found {value!r}")
    return {}


def _taken(value: Any, read: Callable[[object], _T], where: str, mistakes: Mistakes, more: str = "") -> _T | None:
    """What a value is read as; None, and a mistake more, where it does not fit. more: what else was expected."""
    try:
        return read(value)
    except MisfitError as wrong:
        mistakes.add(f"{where} = {value!r}: expected {wrong}{more}")
        return None


def _positive(value: Any, where: str, mistakes: Mistakes) -> float:
    return _taken(value, between(0, float("inf"), "a number above 0"), where, mistakes) or 1.0


def _whole(value: Any, where: str, mistakes: Mistakes) -> int | None:
    return None if value is None else _taken(value, whole_from(1), where, mistakes)


def _flag(value: Any, where: str, mistakes: Mistakes) -> bool:
    return bool(_taken(value, flag, where, mistakes))
