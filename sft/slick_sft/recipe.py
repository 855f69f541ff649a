"""The description of a fine-tuning set: shares of what is known, and what is then done with the rows.

Source of the paper's recipes: PAPER.md "Fine-tuning sets" (Gekhman et al. 2024).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from slick.errors import InputError, Mistakes
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge

# What rows are drawn from: one category by its name, or all Known facts of a relation together.
Pool = str
KNOWN_POOL = "Known"
POOLS: tuple[Pool, ...] = (*map(str, CATEGORIES), KNOWN_POOL)
# What IDK relabelling answers, as the paper does; `slick score` counts it as abstaining.
IDK = "I don't know"
MEASURES = ("p_greedy", "p_sampled")


def members(pool: Pool) -> tuple[Category, ...]:
    """The categories of a pool."""
    return KNOWN if pool == KNOWN_POOL else (Category(pool),)


@dataclass(frozen=True, slots=True)
class CategoryWeights:
    """The weight of each row by its category; a category that is not named weighs 1."""

    by_category: tuple[tuple[Category, Fraction], ...]

    def of(self, k: Knowledge) -> float:
        return float(dict(self.by_category).get(k.category, Fraction(1)))

    def problems(self) -> list[str]:
        return [
            f"weights: {category} weighs {short(weight)}; expected at least 0"
            for category, weight in self.by_category
            if weight < 0
        ]

    @property
    def name(self) -> str:
        if self == ZERO_WEIGHT:
            return "zero-weight"
        return "weights-" + "-".join(f"{category}-{short(weight)}" for category, weight in self.by_category)

    def as_yaml(self) -> Any:
        return {str(category): plain(weight) for category, weight in self.by_category}


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """The weight of each row as constant + slope * P_Correct. measure: "p_greedy" (T=0) or "p_sampled" (T>0)."""

    constant: Fraction
    slope: Fraction
    measure: str

    def of(self, k: Knowledge) -> float | None:
        """None where the measure was not taken: the two-stage probe samples only where no greedy answer is right."""
        p = k.p_greedy if self.measure == "p_greedy" else k.p_sampled
        return None if p is None else float(self.constant) + float(self.slope) * p

    def problems(self) -> list[str]:
        if min(self.constant, self.constant + self.slope) >= 0:
            return []
        return [f"weights: {self.as_yaml()} is below 0 for some P_Correct from 0 to 1; expected at least 0"]

    @property
    def name(self) -> str:
        return f"weights-{self.as_yaml()}"

    def as_yaml(self) -> str:
        factor = "" if abs(self.slope) == 1 else f"{short(abs(self.slope))}*"
        sign = "-" if self.slope < 0 else "+"
        start = "" if not self.constant and sign == "+" else f"{short(self.constant)}{sign}"
        return f"{start}{factor}{self.measure}"


Weights = CategoryWeights | LinearWeights
# The control arm: Unknown rows stand where they stood, and teach nothing.
ZERO_WEIGHT = CategoryWeights(((Category.UNKNOWN, Fraction(0)),))


@dataclass(frozen=True, slots=True)
class Extra:
    """Rows on top of the mix. of: the Known category that they are drawn from, or all Known facts together."""

    rows: int
    of: Pool

    def as_yaml(self) -> dict[str, Any]:
        return {"rows": self.rows, "of": self.of}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a fine-tuning set is mixed.

    The shares of the mix; at most one of the three, and none is the natural mix:
    unknown:  share of Unknown rows in [0, 1]; the rest is Known.
    category: every row is of this category.
    shares:   of each pool; they add up to 1.
    cap:      no relation has a larger share of Unknown rows; those above it become Known rows.

    What is then done with its rows:
    without:  rows of these categories are taken out (D_Known: Unknown).
    idk:      what Unknown rows answer in place of the truth; "" leaves the truth.
    weights:  how much each row counts in the loss.
    stages:   categories trained one group after the other; those not named come last, together.
    replay:   Known rows on top, strewn among the others. patch: Known rows on top, as a stage behind all others.

    size: rows of the mix; |D| if None. label: the recipe's name, where the user gives one.
    """

    unknown: Fraction | None = None
    category: Category | None = None
    shares: tuple[tuple[Pool, Fraction], ...] = ()
    cap: Fraction | None = None
    without: tuple[Category, ...] = ()
    idk: str = ""
    weights: Weights | None = None
    stages: tuple[tuple[Category, ...], ...] = ()
    replay: Extra | None = None
    patch: Extra | None = None
    size: int | None = None
    label: str = ""

    @classmethod
    def share(cls, unknown: float | str) -> Recipe:
        """The mix with this share of Unknown rows, read as a decimal: 0.1 means exactly one in ten."""
        exact = fraction(unknown)
        if exact is None or not 0 <= exact <= 1:
            raise InputError(f"--unknown {unknown}: expected a share from 0 to 1, such as 0.5")
        return cls(unknown=exact)

    @property
    def parts(self) -> dict[Pool, Fraction] | None:
        """The share of each pool in every relation, Unknown first; None for the natural mix."""
        unknown = str(Category.UNKNOWN)
        if self.category is not None:
            return {str(self.category): Fraction(1)}
        if self.unknown is not None:
            return {unknown: self.unknown, KNOWN_POOL: 1 - self.unknown}
        return dict(sorted(self.shares, key=lambda part: part[0] != unknown)) or None

    @property
    def name(self) -> str:
        """The arm's label where the user gives none: "known-only", "unknown-50", "only-HighlyKnown", "natural"; what
        is done with the rows stands behind it, as in "unknown-50-zero-weight"."""
        return self.label or "-".join([self._mix_name(), *self._other_names()])

    def _mix_name(self) -> str:
        if self.category is not None:
            return f"only-{self.category}"
        if self.unknown is not None:
            return f"unknown-{percent(self.unknown)}" if self.unknown else "known-only"
        return "-".join(f"{pool}-{percent(share)}" for pool, share in self.shares) or "natural"

    def _other_names(self) -> list[str]:
        found = [] if self.cap is None else [f"capped-{percent(self.cap)}"]
        found += [f"without-{'unknown' if c is Category.UNKNOWN else c}" for c in self.without]
        found += ["idk"] if self.idk else []
        found += [self.weights.name] if self.weights else []
        found += ["stages-" + "-".join("+".join(stage) for stage in self.stages)] if self.stages else []
        for what, extra, usual in (("replay", self.replay, REPLAYED), ("patch", self.patch, PATCHED)):
            if extra is not None:
                found.append(f"{what}-{extra.rows}" + ("" if extra.of == usual else f"-{extra.of}"))
        return found

    def problems(self) -> list[str]:
        """What keeps this recipe from being mixed whatever the facts; empty if nothing does."""
        found = []
        if sum([self.unknown is not None, self.category is not None, bool(self.shares)]) > 1:
            found.append("give one of unknown, category, shares, natural")
        found += [
            f"{name} {short(share)}: expected a share from 0 to 1, such as 0.5"
            for name, share in (("unknown", self.unknown), ("cap", self.cap))
            if share is not None and not 0 <= share <= 1
        ]
        found += _share_problems(self.shares)
        found += self._leftover_problems()
        found += self.weights.problems() if self.weights else []
        found += _stage_problems(self.stages)
        for name, extra in (("replay", self.replay), ("patch", self.patch)):
            if extra is not None and extra.rows < 1:
                found.append(f"{name}: {extra.rows} rows; expected at least 1")
            if extra is not None and extra.of == Category.UNKNOWN:
                found.append(f"{name}: of Unknown; expected one of {', '.join((KNOWN_POOL, *KNOWN))}")
        if self.size is not None and self.size < 1:
            found.append(f"size {self.size}: expected at least 1")
        return found

    def _leftover_problems(self) -> list[str]:
        """Mistakes in what is done with the categories that the shares give."""
        found = []
        parts = {pool: share for pool, share in (self.parts or {}).items() if share}
        unknown = parts.get(str(Category.UNKNOWN), Fraction(0))
        if self.cap is not None and 0 <= self.cap < unknown <= 1:
            found.append(
                f"cap {short(self.cap)}: below the share of Unknown rows, {short(unknown)}, that every relation gets; "
                "raise it, or leave it out"
            )
        if self.without and (parts or len(set(self.without)) == len(CATEGORIES)):
            left = {c for pool in parts or map(str, CATEGORIES) for c in members(pool)} - set(self.without)
            if not left:
                found.append(f"without {', '.join(self.without)}: no rows are left")
        if self.idk and Category.UNKNOWN in self.without:
            found.append("idk: answers Unknown rows, and without takes them out; give one of them")
        return found

    def as_dict(self) -> dict[str, Any]:
        """The recipe as a recipe file has it; what is not set is left out."""
        found: dict[str, Any] = {"name": self.label} if self.label else {}
        if self.unknown is not None:
            found["unknown"] = plain(self.unknown)
        if self.category is not None:
            found["category"] = str(self.category)
        if self.shares:
            found["shares"] = {pool: plain(share) for pool, share in self.shares}
        if self.parts is None:
            found["natural"] = True
        if self.cap is not None:
            found["cap"] = plain(self.cap)
        found |= {"without": [str(c) for c in self.without]} if self.without else {}
        found |= {"idk": self.idk} if self.idk else {}
        found |= {"weights": self.weights.as_yaml()} if self.weights else {}
        found |= {"stages": [[str(c) for c in stage] for stage in self.stages]} if self.stages else {}
        found |= {"replay": self.replay.as_yaml()} if self.replay else {}
        found |= {"patch": self.patch.as_yaml()} if self.patch else {}
        return found if self.size is None else {**found, "size": self.size}


# What the extra rows are drawn from where the user does not say.
REPLAYED: Pool = str(Category.HIGHLY_KNOWN)
PATCHED: Pool = KNOWN_POOL

# The names that need no file; the order of the endings is that of `Recipe.name`.
PAPER_SHARES = (0, 10, 25, 50, 75, 90, 100)
_NUMBER = r"\d+(?:\.\d+)?"
_NAME = re.compile(
    rf"(?:known-only|(?P<natural>natural)|unknown-(?P<unknown>{_NUMBER})|only-(?P<category>{'|'.join(CATEGORIES)}))"
    rf"(?:-capped-(?P<cap>{_NUMBER}))?(?P<without>-without-unknown)?(?P<idk>-idk)?(?P<zero>-zero-weight)?"
    rf"(?:-replay-(?P<replay>\d+)(?:-(?P<replayed>{'|'.join(POOLS)}))?)?"
    rf"(?:-patch-(?P<patch>\d+)(?:-(?P<patched>{'|'.join(POOLS)}))?)?"
)


def named(name: str) -> Recipe | None:
    """The recipe that has this name: the paper's, its controls, a cap, replay and patch. None where none has."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    share = None if found["natural"] or found["category"] else Fraction(found["unknown"] or 0) / 100
    return Recipe(
        unknown=share,
        category=Category(found["category"]) if found["category"] else None,
        cap=Fraction(found["cap"]) / 100 if found["cap"] else None,
        without=(Category.UNKNOWN,) if found["without"] else (),
        idk=IDK if found["idk"] else "",
        weights=ZERO_WEIGHT if found["zero"] else None,
        replay=Extra(int(found["replay"]), found["replayed"] or REPLAYED) if found["replay"] else None,
        patch=Extra(int(found["patch"]), found["patched"] or PATCHED) if found["patch"] else None,
    )


def paper_names() -> list[str]:
    """The names of the paper's recipes, and of the control with zero weight at each of its shares."""
    shares = ["known-only", *(f"unknown-{x}" for x in PAPER_SHARES[1:])]
    mixed = [f"unknown-{x}" for x in PAPER_SHARES[1:-1]]
    return [
        *shares,
        *(f"{name}-without-unknown" for name in mixed),
        *(f"{name}-zero-weight" for name in shares[1:-1]),
        *(f"only-{category}" for category in CATEGORIES),
        "natural",
        "unknown-50-idk",
    ]


def check(recipe: Recipe) -> None:
    """Raises InputError that lists everything that is wrong with the recipe itself."""
    with Mistakes(f"recipe {recipe.name}:") as mistakes:
        mistakes.extend(recipe.problems())


def fraction(value: object) -> Fraction | None:
    """A number from outside, read as a decimal and exactly; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction)):
        return None
    try:
        return Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError):
        return None


def plain(value: Fraction) -> int | float | str:
    """A fraction as JSON and YAML have it, such that `fraction` reads back the same."""
    if value.denominator == 1:
        return int(value)
    return float(value) if Fraction(str(float(value))) == value else str(value)


def short(value: Fraction) -> str:
    return str(plain(value))


def percent(value: Fraction) -> str:
    return f"{float(100 * value):g}"


def _share_problems(shares: Sequence[tuple[Pool, Fraction]]) -> list[str]:
    if not shares:
        return []
    found = [f"shares: {pool} {short(share)}; expected from 0 to 1" for pool, share in shares if not 0 <= share <= 1]
    pools = Counter(pool for pool, _ in shares)
    if overlapping := [str(c) for c in KNOWN if c in pools and KNOWN_POOL in pools]:
        found.append(f"shares: Known holds {', '.join(overlapping)} already; give Known, or its categories")
    found += [f"shares: {pool} is given twice" for pool, n in pools.items() if n > 1]
    total = sum((share for _, share in shares), Fraction(0))
    if total != 1:
        rest = f"{short(abs(1 - total))} {'is missing' if total < 1 else 'is too much'}"
        found.append(f"shares: add up to {short(total)}, expected 1; {rest}")
    return found


def _stage_problems(stages: Sequence[Sequence[Category]]) -> list[str]:
    named_in = Counter(category for stage in stages for category in stage)
    found = [f"stages: {category} is named {n} times; expected once" for category, n in named_in.items() if n > 1]
    return found + ["stages: one of them names no category" for stage in stages if not stage]


def weights_of(given: Mapping[Category, Fraction]) -> CategoryWeights:
    """Weights by category, best category first."""
    return CategoryWeights(tuple((c, given[c]) for c in CATEGORIES if c in given))
