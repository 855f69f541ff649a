"""The exemplar sets of a relation, and the pools that they are drawn from.

The same sets serve every question of a relation, but a fact never sees itself, its subject or its own
question: a clashing exemplar is replaced by the next one of that set's own seeded order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from slick.errors import InputError, Mistakes
from slick.facts import Fact, by_relation, exemplar_split


@dataclass(frozen=True, slots=True)
class ExemplarSets:
    """The sets of one relation. orders[i]: the whole pool in set i's seeded order, the first k shown."""

    k: int
    orders: tuple[tuple[Fact, ...], ...]

    def for_fact(self, fact: Fact) -> list[tuple[Fact, ...]]:
        """Per set, the k exemplars shown with `fact`; fewer only where `check_pools` would have refused."""
        return [tuple(islice((e for e in order if not clashes(e, fact)), self.k)) for order in self.orders]


def clashes(exemplar: Fact, fact: Fact) -> bool:
    """Whether showing `exemplar` would give away or repeat `fact`."""
    return (
        exemplar.id == fact.id
        or exemplar.question == fact.question
        or (bool(fact.subject) and exemplar.subject == fact.subject)
    )


def draw_exemplar_sets(
    pool: Iterable[Fact], *, n_sets: int, k: int, seed: int, purpose: str = "category"
) -> ExemplarSets:
    """`n_sets` seeded sets of `k` exemplars from one relation's pool; the pool's order does not matter.

    Within a set no question stands twice. `purpose` keeps the draws of different uses apart.
    """
    canonical = _distinct(pool)
    relation = canonical[0].relation if canonical else ""
    orders = []
    for i in range(n_sets):
        rng = random.Random(f"{seed}/{purpose}/{relation}/{i}")
        orders.append(tuple(rng.sample(canonical, len(canonical))))
    return ExemplarSets(k, tuple(orders))


def _distinct(pool: Iterable[Fact]) -> list[Fact]:
    """One fact a question, sorted by question; the pool's order does not matter."""
    ordered = sorted(pool, key=lambda f: (f.question, f.id, f.subject), reverse=True)
    unique = {fact.question: fact for fact in ordered}
    return [unique[question] for question in sorted(unique)]


def draw_fresh_sets(pool: Sequence[Fact], used: ExemplarSets, *, n_sets: int, seed: int) -> ExemplarSets:
    """Sets for the "before" measurement: questions disjoint from `used` where the pool has enough."""
    shown = {fact.question for order in used.orders for fact in order[: used.k]}
    rest = [fact for fact in pool if fact.question not in shown]
    if len({fact.question for fact in rest}) < n_sets * used.k:
        return draw_exemplar_sets(pool, n_sets=n_sets, k=used.k, seed=seed, purpose="before")
    fresh = draw_exemplar_sets(rest, n_sets=n_sets, k=used.k, seed=seed, purpose="before")
    # Used ones stand last: only a fact that clashes with nearly all fresh ones is shown any.
    last = [fact for fact in pool if fact.question in shown]
    spare = draw_exemplar_sets(last, n_sets=n_sets, k=used.k, seed=seed, purpose="spare")
    return ExemplarSets(used.k, tuple(a + b for a, b in zip(fresh.orders, spare.orders, strict=True)))


def exemplar_pools(
    source: Sequence[Fact], targets: Iterable[Fact], *, seed: int, hold_out: int = 100
) -> dict[str, list[Fact]]:
    """Per relation of `targets`, the facts of `source` that exemplars may come from.

    Facts with splits give their dev split. Facts without splits give a seeded hold-out of each relation
    (at most `hold_out` facts; held-out facts are still probed, since no fact sees itself).
    """
    groups = by_relation(source)
    pools: dict[str, list[Fact]] = {}
    for relation, wanted in by_relation(targets).items():
        group = groups.get(relation, [])
        splits = {exemplar_split(fact.split) for fact in wanted if fact.split}
        if splits:
            pools[relation] = [fact for fact in group if fact.split in splits]
        else:
            ordered = sorted(group, key=lambda f: f.id)
            rng = random.Random(f"{seed}/hold-out/{relation}")
            pools[relation] = rng.sample(ordered, min(hold_out, len(ordered)))
    return pools


def check_pools(pools: Mapping[str, Sequence[Fact]], targets: Iterable[Fact], *, k: int) -> None:
    """Raise InputError naming every relation whose pool cannot give k exemplars to each of its facts."""
    with Mistakes(f"too few facts to draw {k} exemplars from:") as mistakes:
        for relation, group in by_relation(targets).items():
            pool = pools.get(relation, [])
            worst = _fewest_usable(pool, group)
            if worst < k:
                mistakes.add(
                    f"relation {relation}: found {worst} usable "
                    f"(of {len(pool)} in its exemplar split), expected at least {k}; "
                    "give --exemplars FILE with more facts of this relation, or lower --n-exemplars"
                )


def _fewest_usable(pool: Sequence[Fact], facts: Iterable[Fact]) -> int:
    """How many exemplars the least served of `facts` can be shown; as `clashes`, but looked up."""
    distinct = _distinct(pool)
    by_id = {e.id: e.question for e in distinct}
    by_subject: dict[str, set[str]] = {}
    for e in distinct:
        by_subject.setdefault(e.subject, set()).add(e.question)
    questions = set(by_id.values())

    def usable(fact: Fact) -> int:
        ruled_out = {fact.question, by_id.get(fact.id, fact.question)} & questions
        return len(distinct) - len(ruled_out | (by_subject.get(fact.subject, set()) if fact.subject else set()))

    return min(map(usable, facts), default=len(distinct))


def pools_from_file(facts: Sequence[Fact], targets: Iterable[Fact]) -> dict[str, list[Fact]]:
    """Pools from a file of exemplars: every fact of it, by relation. Raises InputError when it is empty."""
    if not facts:
        raise InputError("the exemplar file holds no facts")
    groups = by_relation(facts)
    return {relation: groups.get(relation, []) for relation in by_relation(targets)}
