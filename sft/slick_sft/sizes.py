"""How many rows a fine-tuning set takes of each relation, and of what is known there. All counts are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from slick.errors import InputError, Mistakes
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge
from slick_sft.recipe import KNOWN_POOL, Pool, Recipe, members

# Facts of a relation by category; rows of a relation by pool.
Counts = Mapping[str, Mapping[Category, int]]
Wanted = Mapping[str, Mapping[Pool, int]]

_UNKNOWN: Pool = str(Category.UNKNOWN)


def category_counts_by_relation(knowledge: Iterable[Knowledge]) -> dict[str, dict[Category, int]]:
    """Facts by relation and category, relations sorted, every category present."""
    counts = Counter((k.fact.relation, k.category) for k in knowledge)
    relations = sorted({relation for relation, _ in counts})
    return {relation: {c: counts[relation, c] for c in CATEGORIES} for relation in relations}


def relation_sizes(counts: Counts, size: int | None = None) -> dict[str, int]:
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


def missing_categories(counts: Counts) -> dict[str, list[Category]]:
    """The relations that lack a category, and so give no rows, with the categories that they lack."""
    lacking = {relation: [c for c in CATEGORIES if not of.get(c, 0)] for relation, of in counts.items()}
    return {relation: missing for relation, missing in lacking.items() if missing}


def missing_everywhere(counts: Counts) -> list[Category]:
    """The categories that no fact at all is of."""
    return [c for c in CATEGORIES if not any(of.get(c, 0) for of in counts.values())]


def largest_remainder(weights: Mapping[str, int | Fraction], total: int) -> dict[str, int]:
    """Whole shares of `total` in proportion to `weights` (Hamilton's method); they add up to it exactly.

    Equal remainders go to the larger weight, then to the smaller name. weights: not negative, and not all 0 unless
    `total` is 0.
    """
    if not total:
        return dict.fromkeys(weights, 0)
    whole = sum(weights.values(), Fraction(0))
    quotas = {name: Fraction(weight) * total / whole for name, weight in weights.items()}
    shares = {name: int(quota) for name, quota in quotas.items()}
    rest = total - sum(shares.values())
    order = sorted(quotas, key=lambda name: (shares[name] - quotas[name], -weights[name], name))
    for name in order[:rest]:
        shares[name] += 1
    return shares


def wanted_rows(counts: Counts, recipe: Recipe, sizes: Mapping[str, int]) -> dict[str, dict[Pool, int]]:
    """Rows to take from each pool of each relation; they add up to the relation's size.

    The Unknown rows of all relations together are their share of all rows to the nearest row, halves up. Under a
    cap, no relation has a larger share of them; what is above it becomes Known rows of the same relation.
    """
    parts = recipe.parts
    if parts is None:
        wanted = {relation: _natural(counts[relation], size) for relation, size in sizes.items()}
    else:
        wanted = _in_parts(parts, sizes)
    if recipe.cap is None:
        return wanted
    return {
        relation: _capped(of, recipe.cap, _known_weights(parts, counts[relation])) for relation, of in wanted.items()
    }


def supply(of: Mapping[Category, int], pool: Pool) -> int:
    """The facts of a pool in a relation with so many facts of each category."""
    return sum(of.get(c, 0) for c in members(pool))


def check_supply(counts: Counts, recipe: Recipe, wanted: Wanted, sizes: Mapping[str, int]) -> None:
    """Raises InputError that names every relation whose facts do not suffice, by how many, and what would do."""
    lacking = [
        (relation, pool, count, supply(counts[relation], pool))
        for relation, parts in wanted.items()
        for pool, count in parts.items()
        if count > supply(counts[relation], pool)
    ]
    if not lacking:
        return
    possible = _largest_size(counts, recipe, sizes)
    mends = [f"lower --size to {possible} or less" if possible else "choose another recipe", "probe more facts"]
    names = list(dict.fromkeys(relation for relation, *_ in lacking))
    if len(names) < sum(n > 0 for n in sizes.values()):
        mends.append(f"leave out {','.join(names)} with --relations")
    with Mistakes(
        f"{recipe.name} at {sum(sizes.values())} rows asks for more facts than were probed ({', or '.join(mends)}):"
    ) as mistakes:
        mistakes.extend(f"no fact at all is {c}" for c in missing_everywhere(counts))
        for relation, pool, count, there in lacking:
            mistakes.add(f"{relation or '(no relation)'}: {count} {pool} wanted, {there} there, {count - there} short")


def _natural(of: Mapping[Category, int], size: int) -> dict[Pool, int]:
    return largest_remainder({str(c): n for c, n in of.items()}, size)


def _in_parts(parts: Mapping[Pool, Fraction], sizes: Mapping[str, int]) -> dict[str, dict[Pool, int]]:
    """Each pool's rows shared out over the room that the pools before it left."""
    wanted: dict[str, dict[Pool, int]] = {relation: {} for relation in sizes}
    room = dict(sizes)
    for pool, rows in _totals(parts, sum(sizes.values())).items():
        for relation, count in largest_remainder(room, rows).items():
            wanted[relation][pool] = count
            room[relation] -= count
    return wanted


def _totals(parts: Mapping[Pool, Fraction], total: int) -> dict[Pool, int]:
    """Rows of each pool in all relations together; they add up to `total`."""
    # The nearest whole number of rows, halves up.
    unknown = int(parts.get(_UNKNOWN, Fraction(0)) * total + Fraction(1, 2))
    others = {pool: share for pool, share in parts.items() if pool != _UNKNOWN}
    return {**({_UNKNOWN: unknown} if _UNKNOWN in parts else {}), **largest_remainder(others, total - unknown)}


def _known_weights(parts: Mapping[Pool, Fraction] | None, of: Mapping[Category, int]) -> Mapping[Pool, int | Fraction]:
    """In which proportion a relation's Known rows come from its pools."""
    if parts is not None:
        return {pool: share for pool, share in parts.items() if pool != _UNKNOWN}
    there = {str(c): of.get(c, 0) for c in KNOWN}
    return there if any(there.values()) else {KNOWN_POOL: 1}


def _capped(of: Mapping[Pool, int], cap: Fraction, known: Mapping[Pool, int | Fraction]) -> dict[Pool, int]:
    size = sum(of.values())
    limit = int(cap * size)
    if of.get(_UNKNOWN, 0) <= limit:
        return dict(of)
    more = largest_remainder(known, size - limit)
    return {**{pool: more.get(pool, 0) for pool in of}, **more, _UNKNOWN: limit}


def _largest_size(counts: Counts, recipe: Recipe, sizes: Mapping[str, int]) -> int:
    """The largest number of rows that the facts can fill with this recipe, sharing them out as `sizes` does."""

    def fits(size: int) -> bool:
        wanted = wanted_rows(counts, recipe, relation_sizes(counts, size))
        return all(n <= supply(counts[r], pool) for r, parts in wanted.items() for pool, n in parts.items())

    total = sum(sizes.values())
    tightest = min(
        Fraction(supply(counts[relation], pool), count)
        for relation, parts in wanted_rows(counts, recipe, sizes).items()
        for pool, count in parts.items()
        if count
    )
    # Rounding moves a relation by less than two rows, so the answer lies just around the proportion.
    start = min(total - 1, int(tightest * total) + 2 * len(sizes))
    return next((size for size in range(start, 0, -1) if fits(size)), 0)


def _no_size(counts: Counts) -> None:
    with Mistakes(
        "|D| is the sum over relations of the smallest category's size, and here it is 0: every relation lacks a "
        "category (probe more facts, or give --size N to share N rows out by the relations' facts):"
    ) as mistakes:
        if counts:
            mistakes.extend(f"no fact at all is {c}" for c in missing_everywhere(counts))
        for relation, missing in missing_categories(counts).items():
            n = sum(counts[relation].values())
            mistakes.add(f"{relation or '(no relation)'}: no {', no '.join(missing)} among {n} facts")
        if not counts:
            mistakes.add("there are no facts at all")
