"""Mixing a fine-tuning set from facts of known category: which facts, and in which order.

How many: `sizes`. What a recipe can say: `recipe`. Source of the paper's recipes: PAPER.md "Fine-tuning sets"
(Gekhman et al. 2024).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from slick.errors import InputError, Mistakes
from slick.knowledge import CATEGORIES, Category, Knowledge, category_counts
from slick_sft.held_out import check_splits
from slick_sft.recipe import Extra, Pool, Recipe, check, members
from slick_sft.sizes import (
    category_counts_by_relation,
    check_supply,
    largest_remainder,
    relation_sizes,
    wanted_rows,
)


class Role(StrEnum):
    """Why a row stands in the set: drawn by the mix's shares, or on top of it."""

    MIX = "mix"
    REPLAY = "replay"
    PATCH = "patch"


@dataclass(frozen=True, slots=True)
class MixRow:
    """One row of a fine-tuning set: a fact, what the base model knows of it, and the answer that is trained.

    weight: how much it counts in the loss. stage: rows of a stage are trained before those of the next.
    """

    knowledge: Knowledge
    answer: str
    weight: float = 1.0
    stage: int = 0
    role: Role = Role.MIX


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
    """The rows of one fine-tuning set, mixed relation by relation, in the order of their stages.

    size: rows of the mix; if not given the recipe's, or else |D|, the sum over relations of the smallest category's
    size. A relation has the same number of them in every recipe, and so the recipes differ in nothing but what is
    known. Rows that the recipe takes out, or puts on top, come off or on after that. The order of `knowledge` never
    matters; identical facts stay separate rows.

    Mixes of Known and Unknown of one seed are paired: a row that two of them share stands at the same place in
    both, and the Unknown rows of any are among those of the all-Unknown mix. Weights and relabelling leave rows and
    places as they are; what is taken out, put on top or trained in stages leaves the order of the rest.

    Raises InputError for a recipe that contradicts itself, for facts of a split that must not be trained on (unless
    it is in `allow_splits`), and for a recipe that the facts cannot fill, naming every relation that falls short.
    Subjects are not looked at: see `held_out`.
    """
    check(recipe)
    facts = list(knowledge)
    check_splits((k.fact for k in facts), allow_splits)
    pools = _pools(facts, seed)
    counts = {relation: {c: len(group) for c, group in groups.items()} for relation, groups in pools.items()}
    sizes = relation_sizes(counts, recipe.size if size is None else size)
    wanted = wanted_rows(counts, recipe, sizes)
    check_supply(counts, recipe, wanted, sizes)
    placed: list[tuple[str, MixRow]] = []
    for relation, parts in wanted.items():
        taken = [_ranked(pools[relation], pool)[:count] for pool, count in parts.items()]
        placed += [
            (relation_slot(seed, relation, slot), MixRow(k, k.fact.answers[0]))
            for slot, k in enumerate(_in_slots(taken))
        ]
    placed += _extra_rows(pools, recipe, sizes, [row.knowledge for _, row in placed], seed)
    placed.sort(key=lambda item: item[0])
    return _finished([row for _, row in placed], recipe)


def relation_slot(seed: int, relation: str, slot: int) -> str:
    """Where in the set the relation's row number `slot` stands: the same place in every recipe of a seed."""
    return _key(f"slot:{seed}:{slot}:{relation}")


def category_table(rows: Iterable[MixRow]) -> dict[str, dict[str, int]]:
    """Rows by relation and category, as `recipe.json` records them."""
    counts = category_counts_by_relation(row.knowledge for row in rows)
    return {relation: {str(c): n for c, n in of.items()} for relation, of in counts.items()}


def stage_sizes(rows: Iterable[MixRow]) -> list[int]:
    """Rows of each stage, in order."""
    return [n for _, n in sorted(Counter(row.stage for row in rows).items())]


def remarks(rows: Sequence[MixRow], recipe: Recipe, knowledge: Iterable[Knowledge]) -> list[str]:
    """What of the recipe had nothing to work on, or less than its name says."""
    found = []
    there = category_counts(knowledge)
    if not there[Category.UNKNOWN]:
        found.append("none of the facts is Unknown: the base model knows them all, and nothing in the set is new to it")
    unknown = sum(row.knowledge.category is Category.UNKNOWN for row in rows)
    if recipe.idk and not unknown:
        found.append("no row is Unknown, so none is relabelled")
    if recipe.weights and all(row.weight == 1 for row in rows):
        found.append("every row weighs 1, so the weights change nothing")
    if recipe.stages and len({row.stage for row in rows if row.role is not Role.PATCH}) == 1:
        found.append("all rows are of one stage, so the stages change nothing")
    return found


# Category → its facts of one relation, each with the key that ranks it in a draw.
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
        key = _key(f"fact:{seed}:{copies[name]}:{k.fact.id}")
        copies[name] += 1
        if k.fact.relation not in pools:
            pools[k.fact.relation] = {c: [] for c in CATEGORIES}
        pools[k.fact.relation][k.category].append((key, k))
    return dict(pools)


def _by_set(k: Knowledge) -> tuple[float, ...]:
    return k.chances.p_by_set if k.chances else ()


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _ranked(groups: Groups, pool: Pool) -> list[Knowledge]:
    """The pool's facts in the order in which they are drawn."""
    entries = sorted((entry for c in members(pool) for entry in groups[c]), key=lambda entry: entry[0])
    return [k for _, k in entries]


def _in_slots(taken: Sequence[Sequence[Knowledge]]) -> list[Knowledge]:
    """The first part fills the slots from the front, the rest from the back: with two parts, a row keeps its slot
    when the parts' sizes change."""
    first, *rest = taken
    return [*first, *reversed([k for part in rest for k in part])]


def _extra_rows(
    pools: Mapping[str, Groups],
    recipe: Recipe,
    sizes: Mapping[str, int],
    taken: Iterable[Knowledge],
    seed: int,
) -> list[tuple[str, MixRow]]:
    """The rows on top of the mix with their places, shared out over the relations as the mix is.

    None asks a question that the mix asks, or another of them. They are drawn from the end of the ranking: mixes of
    one seed, whatever their share of Unknown rows, get the same ones while there are facts enough.
    """
    asked = {k.fact.question for k in taken}
    placed: list[tuple[str, MixRow]] = []
    short: list[str] = []
    mends: list[str] = []
    for role, extra in ((Role.REPLAY, recipe.replay), (Role.PATCH, recipe.patch)):
        if extra is None:
            continue
        wanted = largest_remainder(sizes, extra.rows)
        left: dict[str, int] = {}
        for relation, n in wanted.items():
            there = list(_unasked(pools[relation], extra.of, asked))
            left[relation] = len(there)
            asked |= {k.fact.question for k in there[:n]}
            placed += [
                (_key(f"{role}:{seed}:{i}:{relation}"), MixRow(k, k.fact.answers[0], role=role))
                for i, k in enumerate(there[:n])
            ]
            if n > len(there):
                short.append(
                    f"{relation or '(no relation)'}: {n} {extra.of} wanted for the {role}, {len(there)} left beside "
                    f"the mix, {n - len(there)} short"
                )
        if any(n > left[relation] for relation, n in wanted.items()):
            mends.append(_possible(role, extra, sizes, left))
    if short:
        mends += ["make the mix smaller with --size", "probe more facts"]
        with Mistakes(f"{recipe.name} asks for more facts than were probed ({', or '.join(mends)}):") as mistakes:
            mistakes.extend(short)
    return placed


def _unasked(groups: Groups, pool: Pool, asked: Iterable[str]) -> Iterator[Knowledge]:
    """The pool's facts from the end of the ranking, one a question, without those that are asked already."""
    seen = set(asked)
    for k in reversed(_ranked(groups, pool)):
        if k.fact.question not in seen:
            seen.add(k.fact.question)
            yield k


def _possible(role: Role, extra: Extra, sizes: Mapping[str, int], left: Mapping[str, int]) -> str:
    """How many extra rows there could be."""
    for rows in range(min(extra.rows - 1, sum(left.values())), 0, -1):
        if all(n <= left[relation] for relation, n in largest_remainder(sizes, rows).items()):
            return f"lower the {role} to {rows} rows"
    return f"leave out the {role}"


def _finished(rows: Sequence[MixRow], recipe: Recipe) -> list[MixRow]:
    """The rows after all that the recipe does with them, in the order of their stages."""
    kept = [row for row in rows if row.role is not Role.MIX or row.knowledge.category not in recipe.without]
    if not kept:
        raise InputError(f"{recipe.name}: no rows are left without {', '.join(recipe.without)}")
    if recipe.idk:
        kept = [replace(row, answer=recipe.idk) if row.knowledge.category is Category.UNKNOWN else row for row in kept]
    staged = _in_stages(_weighted(kept, recipe), recipe)
    return sorted(staged, key=lambda row: row.stage)


def _weighted(rows: Sequence[MixRow], recipe: Recipe) -> list[MixRow]:
    if recipe.weights is None:
        return list(rows)
    weights = [recipe.weights.of(row.knowledge) for row in rows]
    if unmeasured := sum(weight is None for weight in weights):
        raise InputError(
            f"{recipe.name}: {unmeasured} of {len(rows)} rows have no P_Correct(T>0), which the two-stage probe "
            "measures only where no greedy answer is right; weigh by p_greedy, or probe with --estimator exact or "
            "--all-samples"
        )
    if not any(weights):
        raise InputError(f"{recipe.name}: every row weighs 0, so that nothing would be trained; change the weights")
    return [replace(row, weight=weight or 0.0) for row, weight in zip(rows, weights, strict=True)]


def _in_stages(rows: Sequence[MixRow], recipe: Recipe) -> list[MixRow]:
    """The rows with their stages, numbered from 0 without a gap."""
    if not recipe.stages and recipe.patch is None:
        return list(rows)
    stage_of = {category: stage for stage, group in enumerate(recipe.stages) for category in group}
    last = len(recipe.stages)
    stages = [last + 1 if row.role is Role.PATCH else stage_of.get(row.knowledge.category, last) for row in rows]
    number = {stage: i for i, stage in enumerate(sorted(set(stages)))}
    return [replace(row, stage=number[stage]) for row, stage in zip(rows, stages, strict=True)]
