"""A finished study as its report needs it: what was trained, what was measured on the way, and who answered what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slick.dynamics import DYNAMICS, Measurement, read_dynamics
from slick.errors import InputError
from slick.files import mapping_of, read_json
from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick_reports.inputs import read_scored
from slick_sft.formats import RECIPE
from slick_sft.recipe import IDK, ZERO_WEIGHT, Recipe
from slick_sft.recipe_file import recipe_of
from slick_sft.study.jobs import BASE, CONVERGENCE, EARLY_STOP, PROBE, SCORED, SCORES
from slick_sft.study.state import STUDY
from slick_sft.study_report.asked import Asked

if TYPE_CHECKING:
    from slick.statistics import Scores
    from slick_sft.study_report.asked import Mask

TEST, OOD = "test", "ood"
STAGES = (EARLY_STOP, CONVERGENCE)
STAGE_NAMES = {EARLY_STOP: "EARLY_STOP", CONVERGENCE: "CONVERGENCE"}
# What is done with the rows of a mix, whatever its share of Unknown rows.
PLAIN, WITHOUT = Recipe(), Recipe(without=(Category.UNKNOWN,))
CONTROL, RELABELLED = Recipe(weights=ZERO_WEIGHT), Recipe(idk=IDK)


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant with one seed. scores: stage → split → the run's directory. stopped: the epoch of EARLY_STOP."""

    name: str
    seed: int
    steps: int | None
    stopped: float | None
    base_won: bool
    scores: Mapping[str, Mapping[str, Path]]
    tuned: Path
    set: Path


@dataclass(frozen=True, slots=True)
class Variant:
    """Arms that differ in nothing but their seed, in its order."""

    name: str
    recipe: Recipe
    version: str
    method: str
    arms: tuple[Arm, ...]

    @property
    def share(self) -> float:
        """The share of Unknown rows in the mix that its recipe begins with; only of recipes that name one."""
        assert self.recipe.unknown is not None
        return float(self.recipe.unknown)

    @property
    def untuned(self) -> bool:
        """Whether its EARLY_STOP is the base model itself, in every seed."""
        return all(arm.base_won for arm in self.arms)

    @property
    def steps(self) -> float | None:
        """Optimiser steps, the mean over seeds."""
        known = [arm.steps for arm in self.arms if arm.steps is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one variant at one stage on one split: runs × facts, 0 or 1."""

    right: Scores
    abstained: Scores


class Study:
    """A finished study's directory. Raises InputError where it is none, is not finished, or is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        document = read_json(path / STUDY) if (path / STUDY).is_file() else None
        if not isinstance(document, dict) or document.get("kind") != "study":
            raise InputError(f"{path}: holds no study; expected the --out of slick study")
        if not document.get("finished") or not document.get("arms"):
            raise InputError(f"{path}: this study is not finished; repeat its command to go on where it stopped")
        self.document: Mapping[str, Any] = document
        self.grid = mapping_of(document.get("grid"))
        self.seeds = int(document.get("seeds") or 1)
        self.variants = self._variants()
        self._asked: dict[str, Asked] = {}
        self._groups: dict[tuple[str, str], tuple[Mask, Asked]] = {}
        self._answers: dict[Path, Answers] = {}
        self._probed: dict[str, tuple[Knowledge, ...]] = {}
        self._rows: dict[Path, dict[Category, int]] = {}
        self._dynamics: dict[Path, list[Measurement]] = {}

    def _variants(self) -> dict[str, Variant]:
        recipes = mapping_of(self.grid.get("recipes"))
        trainings = mapping_of(self.grid.get("trainings"))
        arms: dict[str, list[Mapping[str, Any]]] = {}
        for arm in self.document["arms"]:
            arms.setdefault(str(arm["variant"]), []).append(arm)
        found = {}
        for name, group in arms.items():
            recipe, version = str(group[0]["recipe"]), str(group[0]["version"])
            found[name] = Variant(
                name,
                recipe_of(recipes[recipe], f"{self.path / STUDY}: recipe {recipe}"),
                version,
                str(mapping_of(trainings.get(version)).get("method", "full")),
                tuple(sorted((self._arm(arm) for arm in group), key=lambda arm: arm.seed)),
            )
        return found

    def _arm(self, arm: Mapping[str, Any]) -> Arm:
        stopped = mapping_of(arm.get("early_stop"))
        epoch = stopped.get("epoch")
        return Arm(
            str(arm["name"]),
            int(arm["seed"]),
            arm.get("steps"),
            None if epoch is None else float(epoch),
            stopped.get("step") == 0,
            {stage: {split: self._inside(place) for split, place in of.items()} for stage, of in arm["scores"].items()},
            self._inside(arm["tuned"]),
            self._inside(arm["set"]),
        )

    def _inside(self, place: object) -> Path:
        """A place that the record names; it never leads out of the study's directory."""
        path = self.path / str(place)
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise InputError(f"{self.path / STUDY}: {str(place)!r} lies outside of the study's directory")
        return path

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Those that models are scored on, the test facts first."""
        return tuple(split for split in SCORED if (self.path / SCORES / f"{BASE}{SCORED[split]}").is_dir())

    def asked(self, split: str) -> Asked:
        """The facts of a scored split."""
        if split not in self._asked:
            rows = read_scored(self._base(split)).rows.values()
            self._asked[split] = Asked(
                tuple(row.fact for row in rows),
                tuple(row.category for row in rows),
                np.array([np.nan if row.prior is None else float(row.prior) for row in rows]),
            )
        return self._asked[split]

    def group(self, split: str, group: str) -> tuple[Mask, Asked]:
        """(which facts of a split belong to a group of `GROUPS`, these facts)."""
        if (split, group) not in self._groups:
            asked = self.asked(split)
            mask = asked.mask(group)
            self._groups[split, group] = mask, asked.only(mask)
        return self._groups[split, group]

    def probed(self, split: str) -> tuple[Knowledge, ...]:
        """What the base model knows of a split's facts; empty where they were not probed."""
        if split not in self._probed:
            place = self.path / PROBE / split
            self._probed[split] = read_knowledge(place).knowledge if (place / KNOWLEDGE).is_file() else ()
        return self._probed[split]

    def _base(self, split: str) -> Path:
        return self.path / SCORES / f"{BASE}{SCORED[split]}"

    def base(self, split: str) -> Answers:
        """The base model's own answers."""
        return self._read(self._base(split), split)

    def answers(self, variant: Variant, stage: str, split: str) -> Answers:
        """A variant's answers, a run a seed."""
        runs = [self._read(arm.scores[stage][split], split) for arm in variant.arms]
        return Answers(*(np.concatenate([getattr(run, name) for run in runs]) for name in ("right", "abstained")))

    def _read(self, path: Path, split: str) -> Answers:
        if path not in self._answers:
            rows = read_scored(path).rows
            ids = [fact.id for fact in self.asked(split).facts]
            if absent := [id for id in ids if id not in rows]:
                raise InputError(
                    f"{path}: lacks {len(absent)} of the {len(ids)} facts that the base model was scored on; remove "
                    "it and repeat the study's command"
                )
            self._answers[path] = Answers(
                np.array([[rows[id].right for id in ids]], dtype=float),
                np.array([[rows[id].abstained for id in ids]], dtype=float),
            )
        return self._answers[path]

    def dynamics(self, arm: Arm) -> list[Measurement]:
        """What was measured while an arm was trained, the base model's own figures first."""
        if arm.tuned not in self._dynamics:
            self._dynamics[arm.tuned] = read_dynamics(arm.tuned / DYNAMICS)
        return self._dynamics[arm.tuned]

    def rows(self, arm: Arm) -> dict[Category, int]:
        """Training rows by category, as the set's recipe.json counts them."""
        if arm.set not in self._rows:
            counts = mapping_of(mapping_of(read_json(arm.set / RECIPE)).get("counts"))
            self._rows[arm.set] = {c: sum(int(of.get(str(c), 0)) for of in counts.values()) for c in CATEGORIES}
        return self._rows[arm.set]

    @cached_property
    def longest(self) -> int:
        """The optimiser steps of the longest run that was measured; 0 where none was."""
        runs = [self.dynamics(arm) for variant in self.variants.values() for arm in variant.arms]
        return max((run[-1].step for run in runs if run), default=0)

    @cached_property
    def version(self) -> str:
        """The grid's own training; of a grid that has none, its first version."""
        versions = [variant.version for variant in self.variants.values()]
        return "" if "" in versions else versions[0]

    def named(self, name: str) -> Variant | None:
        """The variant of that name, or the one that was trained in its place because it is the same."""
        prefix = f"{self.version}-" if self.version else ""
        same = mapping_of(self.grid.get("same"))
        return self.variants.get(str(same.get(prefix + name, prefix + name)))

    def mixes(self, version: str | None = None) -> dict[float, Variant]:
        """Share of Unknown rows → the plain mix of that share, in rising order."""
        return self._family(PLAIN, version)

    def without(self) -> dict[float, Variant]:
        """Share of Unknown rows → the mix of that share with these rows taken out (D_Known)."""
        return self._family(WITHOUT)

    def controls(self) -> dict[float, Variant]:
        """Share of Unknown rows → the mix of that share in which these rows weigh nothing."""
        return self._family(CONTROL)

    def relabelled(self) -> dict[float, Variant]:
        """Share of Unknown rows → the mix of that share in which these rows answer "I don't know"."""
        return self._family(RELABELLED)

    @cached_property
    def size(self) -> int | None:
        """The common |D|: that of the grid or, where no mix has it, of most mixes. None where nothing tells it."""
        sizes = [self._size(variant) for variant in self._alike(PLAIN, self.version)]
        common = self._size_of_grid
        if common in sizes or not sizes:
            return common
        return Counter(sizes).most_common(1)[0][0]

    @cached_property
    def _size_of_grid(self) -> int | None:
        """|D| of recipes without a size of their own; by the paper's rule, it is what their sets hold."""
        if self.grid.get("size"):
            return int(self.grid["size"])
        ruled = (v for version in self._versions for v in self._alike(PLAIN, version) if v.recipe.size is None)
        variant = next(ruled, None)
        return None if variant is None else sum(self.rows(variant.arms[0]).values())

    @property
    def _versions(self) -> list[str]:
        return list(dict.fromkeys(variant.version for variant in self.variants.values()))

    def _size(self, variant: Variant) -> int | None:
        return variant.recipe.size or self._size_of_grid

    def _alike(self, like: Recipe, version: str) -> list[Variant]:
        """Mixes of a version that differ from `like` in nothing but share, size and name; named by their kind first."""
        found = [
            variant
            for variant in self.variants.values()
            if variant.version == version
            and variant.recipe.unknown is not None
            and replace(variant.recipe, unknown=None, label="", size=None) == like
        ]
        return sorted(found, key=lambda variant: bool(variant.recipe.label))

    def _family(self, like: Recipe, version: str | None = None) -> dict[float, Variant]:
        """Of one |D|, so that what they are compared in is not their size; of a share the one that is named by it."""
        found: dict[float, Variant] = {}
        for variant in self._alike(like, self.version if version is None else version):
            if self._size(variant) == self.size:
                found.setdefault(variant.share, variant)
        return dict(sorted(found.items()))

    @cached_property
    def beside(self) -> dict[str, str]:
        """Mixes that stand in no comparison of shares → why."""
        found = {}
        for version in self._versions:
            for like in (PLAIN, WITHOUT, CONTROL, RELABELLED):
                family = self._family(like, version)
                for variant in self._alike(like, version):
                    chosen = family.get(variant.share)
                    if self._size(variant) != self.size:
                        found[variant.name] = f"|D| is {self._size(variant)} rows there and {self.size} elsewhere"
                    elif chosen is not None and chosen is not variant:
                        found[variant.name] = f"{chosen.name} is that of the same share"
        return {name: found[name] for name in self.variants if name in found}


def share_name(share: float) -> str:
    """ "50 %"."""
    return f"{100 * share:g} %"
