"""Mixing a fine-tuning set from facts of known category: which facts, how many, and in which order.

Source of the sizes and recipes: PAPER.md "Fine-tuning sets" (Gekhman et al. 2024).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from slick.errors import InputError, Mistakes
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge

# Facts that may be trained on: of the train split, or of a source without splits.
TRAINABLE = ("train", "")

# What rows are drawn from: one category by its name, or all Known facts of a relation together.
Pool = str
KNOWN_POOL = "Known"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a fine-tuning set is mixed. Exactly one of the two may be set; neither is the natural mix.

    unknown:  share of Unknown rows in [0, 1]; the rest is Known.
    category: every row is of this category.
    """

    unknown: Fraction | None = None
    category: Category | None = None

    @classmethod
    def share(cls, unknown: float | str) -> Recipe:
        """The mix with this share of Unknown rows, read as a decimal: 0.1 means exactly one in ten."""
        try:
            exact = Fraction(str(unknown))
        except (ValueError, ZeroDivisionError):
            exact = Fraction(-1)
        if not 0 <= exact <= 1:
            raise InputError(f"--unknown {unknown}: expected a share from 0 to 1, such as 0.5")
        return cls(unknown=exact)

    @property
    def name(self) -> str:
        """The arm's label where the user gives none: "known-only", "unknown-50", "only-HighlyKnown", "natural"."""
        if self.category is not None:
            return f"only-{self.category}"
        if self.unknown is None:
            return "natural"
        return f"unknown-{float(100 * self.unknown):g}" if self.unknown else "known-only"


@dataclass(frozen=True, slots=True)
class MixRow:
    """One row of a fine-tuning set: a fact, what the base model knows of it, and the answer that is trained."""

    knowledge: Knowledge
    answer: str


def chosen_facts(knowledge: Sequence[Knowledge], *, split: str = "", relations: str = "") -> list[Knowledge]:
    """The facts of one split and of some relations (names separated by commas); "" takes all.

    Raises InputError for a split or relations that do not occur, naming those that do.
    """
    wanted = [name.strip() for name in relations.split(",") if name.strip()]
    there = {k.fact.relation for k in knowledge}
    splits = Counter(k.fact.split for k in knowledge)
    with Mistakes("no such facts were probed:") as mistakes:
        if split and split not in splits:
            mistakes.add(f"split {split!r}: found {', '.join(f'{name!r} ({n})' for name, n in sorted(splits.items()))}")
        for name in dict.fromkeys(wanted):
            if name not in there:
                mistakes.add(f"relation {name!r}: found {', '.join(sorted(there))}")
    chosen = [k for k in knowledge if (not split or k.fact.split == split)]
    return [k for k in chosen if not wanted or k.fact.relation in wanted]


def mix(
    knowledge: Iterable[Knowledge],
    recipe: Recipe,
    seed: int,
    *,
    size: int | None = None,
    allow_splits: Sequence[str] = (),
) -> list[MixRow]:
    """The rows of one fine-tuning set, mixed relation by relation.

    size: rows in all; if not given |D|, the sum over relations of the smallest category's size. A relation has the
    same number of rows in every recipe, and so the recipes differ in nothing but what is known. The order of
    `knowledge` never matters; identical facts stay separate rows.

    Mixes of Known and Unknown of one seed are paired: a row that two of them share stands at the same place in
    both, and the Unknown rows of any are among those of the all-Unknown mix.

    Raises InputError for facts of a split that must not be trained on (unless it is in `allow_splits`), and for a
    recipe that the facts cannot fill, naming every relation that falls short.
    """
    facts = list(knowledge)
    _check_splits(facts, allow_splits)
    pools = _pools(facts, seed)
    sizes = relation_sizes({relation: _counts(groups) for relation, groups in pools.items()}, size)
    wanted = _wanted(pools, recipe, sizes)
    _check_supply(pools, recipe, wanted, sizes)
    slots: list[tuple[str, Knowledge]] = []
    for relation, parts in wanted.items():
        taken = [_ranked(pools[relation], pool)[:count] for pool, count in parts.items()]
        slots += [(relation_slot(seed, relation, slot), k) for slot, k in enumerate(_in_slots(taken))]
    slots.sort(key=lambda item: item[0])
    return [MixRow(k, k.fact.answers[0]) for _, k in slots]


def relation_sizes(counts: Mapping[str, Mapping[Category, int]], size: int | None = None) -> dict[str, int]:
    """Rows of each relation: its smallest category's count, or `size` rows shared out in that proportion.

    Where no relation has facts of all four categories, a given `size` is shared out in proportion to the
    relations' facts instead; without one InputError says which categories are missing where.
    """
    if size is not None and size < 1:
        raise InputError(f"--size {size}: expected at least 1")
    smallest = {relation: min(of.get(c, 0) for c in CATEGORIES) for relation, of in counts.items()}
    if size is None or not counts:
        if not any(smallest.values()):
            _no_size(counts)
        return smallest
    weights = smallest if any(smallest.values()) else {relation: sum(of.values()) for relation, of in counts.items()}
    return largest_remainder(weights, size)


def missing_categories(counts: Mapping[str, Mapping[Category, int]]) -> dict[str, list[Category]]:
    """The relations that lack a category, and so give no rows, with the categories that they lack."""
    lacking = {relation: [c for c in CATEGORIES if not of.get(c, 0)] for relation, of in counts.items()}
    return {relation: missing for relation, missing in lacking.items() if missing}


def largest_remainder(weights: Mapping[str, int | Fraction], total: int) -> dict[str, int]:
    """Whole shares of `total` in proportion to `weights` (Hamilton's method); they add up to it exactly.

    Equal remainders go to the larger weight, then to the smaller name. weights: not negative, not all 0.
    """
    whole = sum(weights.values(), Fraction(0))
    quotas = {name: Fraction(weight) * total / whole for name, weight in weights.items()}
    shares = {name: int(quota) for name, quota in quotas.items()}
    rest = total - sum(shares.values())
    order = sorted(quotas, key=lambda name: (shares[name] - quotas[name], -weights[name], name))
    for name in order[:rest]:
        shares[name] += 1
    return shares


def relation_slot(seed: int, relation: str, slot: int) -> str:
    """Where in the set the relation's row number `slot` stands: the same place in every recipe of a seed."""
    return hashlib.sha256(f"slot:{seed}:{slot}:{relation}".encode("utf-8", "surrogatepass")).hexdigest()


def category_counts_by_relation(knowledge: Iterable[Knowledge]) -> dict[str, dict[Category, int]]:
    """Facts by relation and category, relations sorted, every category present."""
    counts = Counter((k.fact.relation, k.category) for k in knowledge)
    relations = sorted({relation for relation, _ in counts})
    return {relation: {c: counts[relation, c] for c in CATEGORIES} for relation in relations}


def category_table(rows: Iterable[MixRow]) -> dict[str, dict[str, int]]:
    """Rows by relation and category, as `recipe.json` records them."""
    counts = category_counts_by_relation(row.knowledge for row in rows)
    return {relation: {str(c): n for c, n in of.items()} for relation, of in counts.items()}


Groups = Mapping[Category, Sequence[tuple[str, Knowledge]]]


def _pools(facts: Iterable[Knowledge], seed: int) -> dict[str, Groups]:
    """Relation → category → its facts, each with the key that ranks it in a draw.

    A key depends on the seed and the fact alone, so that a draw never depends on what else was probed.
    """
    # Equal ids are told apart by what was measured, so that their order in the file cannot matter.
    ordered = sorted(facts, key=lambda k: (k.fact.relation, k.fact.id, k.greedy_right, k.sampled_right, _by_set(k)))
    copies: Counter[tuple[str, str]] = Counter()
    pools: dict[str, dict[Category, list[tuple[str, Knowledge]]]] = {}
    for k in ordered:
        name = (k.fact.relation, k.fact.id)
        text = f"fact:{seed}:{copies[name]}:{k.fact.id}"
        copies[name] += 1
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        pools.setdefault(k.fact.relation, {c: [] for c in CATEGORIES})[k.category].append((key, k))
    return dict(pools)


def _by_set(k: Knowledge) -> tuple[float, ...]:
    return k.chances.p_by_set if k.chances else ()


def _counts(groups: Groups) -> dict[Category, int]:
    return {category: len(group) for category, group in groups.items()}


def _members(pool: Pool) -> tuple[Category, ...]:
    return KNOWN if pool == KNOWN_POOL else (Category(pool),)


def _supply(groups: Groups, pool: Pool) -> int:
    return sum(len(groups[c]) for c in _members(pool))


def _ranked(groups: Groups, pool: Pool) -> list[Knowledge]:
    """The pool's facts in the order in which they are drawn."""
    entries = sorted((entry for c in _members(pool) for entry in groups[c]), key=lambda entry: entry[0])
    return [k for _, k in entries]


def _wanted(pools: Mapping[str, Groups], recipe: Recipe, sizes: Mapping[str, int]) -> dict[str, dict[Pool, int]]:
    """Rows to take from each pool of each relation; they add up to the relation's size."""
    if recipe.category is not None:
        return {relation: {str(recipe.category): n} for relation, n in sizes.items()}
    if recipe.unknown is None:
        return {
            relation: largest_remainder({str(c): len(group) for c, group in pools[relation].items()}, size)
            for relation, size in sizes.items()
        }
    total = sum(sizes.values())
    # The nearest whole number of rows, halves up.
    unknown_total = int(recipe.unknown * total + Fraction(1, 2))
    unknown = largest_remainder(sizes, unknown_total)
    return {
        relation: {str(Category.UNKNOWN): unknown[relation], KNOWN_POOL: size - unknown[relation]}
        for relation, size in sizes.items()
    }


def _in_slots(taken: Sequence[Sequence[Knowledge]]) -> list[Knowledge]:
    """The first part fills the slots from the front, the rest from the back: with two parts, a row keeps its slot
    when the parts' sizes change."""
    first, *rest = taken
    return [*first, *reversed([k for part in rest for k in part])]


def _check_splits(facts: Iterable[Knowledge], allowed: Sequence[str]) -> None:
    counts = Counter(k.fact.split for k in facts if k.fact.split not in (*TRAINABLE, *allowed))
    with Mistakes("facts that must not be trained on, since models are scored on them:") as mistakes:
        for split, n in sorted(counts.items()):
            mistakes.add(
                f"{n} facts of split {split!r}: take the train split alone with --split train, "
                f"or allow it with --allow-split {split}"
            )


def _check_supply(
    pools: Mapping[str, Groups],
    recipe: Recipe,
    wanted: Mapping[str, Mapping[Pool, int]],
    sizes: Mapping[str, int],
) -> None:
    short = [
        (relation, pool, count, _supply(pools[relation], pool))
        for relation, parts in wanted.items()
        for pool, count in parts.items()
        if count > _supply(pools[relation], pool)
    ]
    if not short:
        return
    possible = _largest_size(pools, recipe, sizes)
    mends = [f"lower --size to {possible} or less" if possible else "choose another recipe", "probe more facts"]
    names = list(dict.fromkeys(relation for relation, *_ in short))
    if len(names) < sum(n > 0 for n in sizes.values()):
        mends.append(f"leave out {','.join(names)} with --relations")
    with Mistakes(
        f"{recipe.name} at {sum(sizes.values())} rows asks for more facts than were probed ({', or '.join(mends)}):"
    ) as mistakes:
        for relation, pool, count, supply in short:
            mistakes.add(
                f"{relation or '(no relation)'}: {count} {pool} wanted, {supply} there, {count - supply} short"
            )


def _largest_size(pools: Mapping[str, Groups], recipe: Recipe, sizes: Mapping[str, int]) -> int:
    """The largest number of rows that the facts can fill with this recipe, sharing them out as `sizes` does."""
    counts = {relation: _counts(groups) for relation, groups in pools.items()}

    def fits(size: int) -> bool:
        wanted = _wanted(pools, recipe, relation_sizes(counts, size))
        return all(n <= _supply(pools[r], pool) for r, parts in wanted.items() for pool, n in parts.items())

    total = sum(sizes.values())
    tightest = min(
        Fraction(_supply(pools[relation], pool), count)
        for relation, parts in _wanted(pools, recipe, sizes).items()
        for pool, count in parts.items()
        if count
    )
    # Rounding moves a relation by less than two rows, so the answer lies just around the proportion.
    start = min(total - 1, int(tightest * total) + 2 * len(sizes))
    return next((size for size in range(start, 0, -1) if fits(size)), 0)


def _no_size(counts: Mapping[str, Mapping[Category, int]]) -> None:
    with Mistakes(
        "|D| is the sum over relations of the smallest category's size, and here it is 0: every relation lacks a "
        "category (probe more facts, or give --size N to share N rows out by the relations' facts):"
    ) as mistakes:
        for relation, missing in missing_categories(counts).items():
            n = sum(counts[relation].values())
            mistakes.add(f"{relation or '(no relation)'}: no {', no '.join(missing)} among {n} facts")
        if not counts:
            mistakes.add("there are no facts at all")
