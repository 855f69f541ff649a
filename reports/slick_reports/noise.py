"""The A/A lines: how far apart come out two measurements of the same thing, and where facts stand to begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import fsum, isnan
from statistics import mean, stdev

from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge
from slick.statistics import wilson
from slick_reports.arms import Arm
from slick_reports.compare import Comparison
from slick_reports.headline import quoted
from slick_reports.numbers import CategoryShare, SeedsLine, SelectionLine, Shares, direction


def selection_lines(knowledge: Sequence[Knowledge]) -> tuple[SelectionLine, ...]:
    """Per category: P_Correct(T=0) under the sets that chose it, and the share right under fresh sets.

    Both are of one untouched model, so the gap is regression to the mean. Only facts measured under fresh sets.
    """
    lines = []
    for category in CATEGORIES:
        group = [k for k in knowledge if k.category is category and k.before_total]
        fresh = [p for k in group if (p := k.p_before) is not None]
        lines.append(
            SelectionLine(
                str(category),
                len(group),
                mean(k.p_greedy for k in group) if group else None,
                mean(fresh) if fresh else None,
            )
        )
    return tuple(lines) if any(line.n for line in lines) else ()


def selection_note(knowledge: Sequence[Knowledge] | None, lines: Sequence[SelectionLine]) -> str:
    """What the lines mean, or why there are none and how to get them."""
    if knowledge is None:
        return "Not measured: give the probe of the base model with --knowledge PROBE_RUN."
    if not lines:
        return "Not measured: the probe drew no fresh exemplar sets; probe with --n-before 5."
    top = lines[0]
    if top.category_sets is None or top.fresh_sets is None:
        return "Both columns are of the same untouched model: a gap between them is selection, not forgetting."
    if top.fresh_sets >= top.category_sets:
        return (
            f"{top.category} {top.category_sets:.2f} → {_two(top.fresh_sets)}: fresh exemplars changed nothing there."
        )
    return (
        f"{top.category} {top.category_sets:.2f} → {_two(top.fresh_sets)}: selection, not forgetting. Both figures are "
        "of the same untouched model, few-shot; the answers of the first column put the facts into their categories."
    )


def _two(share: float) -> str:
    """Two decimals that never round up to a 1.00 that is not there."""
    return ">0.99" if share < 1 and f"{share:.2f}" == "1.00" else f"{share:.2f}"


def seeds_lines(comparison: Comparison, control: Arm | None) -> tuple[SeedsLine, ...]:
    """Per group: the control's seeds against each other; empty when it has fewer than two."""
    if control is None or len(control.runs) < 2:
        return ()
    scores = comparison.arms[control.label][1].right
    lines = []
    for group, mask in comparison.groups().items():
        if not mask.any():
            continue
        accuracies = tuple(float(value) for value in scores[:, mask].mean(axis=1))
        pairs = [
            estimate
            for i, j in combinations(range(len(accuracies)), 2)
            if (estimate := comparison.difference(scores[[j]], scores[[i]], mask)) is not None
        ]
        lines.append(
            SeedsLine(
                group,
                int(mask.sum()),
                accuracies,
                stdev(accuracies),
                max(pairs, key=lambda pair: abs(pair.value)),
                len(pairs),
                sum(direction(pair) != "open" for pair in pairs),
            )
        )
    return tuple(lines)


def seeds_note(control: Arm | None, lines: Sequence[SeedsLine]) -> str:
    """What the lines mean, or why there are none and how to get them."""
    if control is None:
        return "Not measured: there is no control arm whose seeds could be compared."
    if not lines:
        return (
            f"Not measured: the control {quoted(control.label)} has one seed. Tune it again with another --seed, "
            "score it, and give both runs."
        )
    return (
        f"The {len(control.runs)} seeds of {quoted(control.label)} differ in nothing but chance. Facts alone would set "
        "about 1 pair in 10 apart; more is run-to-run noise, which the interval of a single checkpoint does not hold."
    )


def category_shares(found: Iterable[tuple[Fact, Category]], source: str) -> Shares | None:
    """Facts per category, over all and per relation; None when there are none. Each fact counts once."""
    return _shares(((fact, {category: 1.0}) for fact, category in found), source, expected=False)


def knowledge_shares(knowledge: Sequence[Knowledge], source: str = "probe") -> Shares | None:
    """As `category_shares`, of a probe: expected counts (Σu) where the exact estimator gives chances."""
    expected = any(k.chances is not None for k in knowledge)
    return _shares(((k.fact, k.shares) for k in knowledge), source, expected=expected)


def known_shares(relations: Sequence[str], categories: Sequence[int], unknown: Sequence[float]) -> Shares | None:
    """As `knowledge_shares`, of columns: categories are places, unknown is u or NaN where it is not told."""
    counts = (
        {category: 1.0} if isnan(u) or category in KNOWN[:2] else {Category.UNKNOWN: u, Category.WEAKLY_KNOWN: 1 - u}
        for category, u in zip((CATEGORIES[place] for place in categories), unknown, strict=True)
    )
    facts = (Fact(r, "", "", ("",), "", str(i)) for i, r in enumerate(relations))
    return _shares(zip(facts, counts, strict=True), "probe", expected=not all(map(isnan, unknown)))


def _shares(found: Iterable[tuple[Fact, Mapping[Category, float]]], source: str, *, expected: bool) -> Shares | None:
    unique = {fact.id: (fact.relation, shares) for fact, shares in found}
    if not unique:
        return None
    relations: dict[str, dict[Category, list[float]]] = {}
    for relation, shares in unique.values():
        row = relations.setdefault(relation, {category: [] for category in CATEGORIES})
        for category, share in shares.items():
            row[category].append(share)
    counts = {name: tuple(fsum(row[c]) for c in CATEGORIES) for name, row in sorted(relations.items())}
    n = len(unique)
    # One rounding of a sum may carry it past n.
    totals = [min(float(n), fsum(row[i] for row in counts.values())) for i in range(len(CATEGORIES))]
    return Shares(
        source,
        n,
        tuple(CategoryShare(str(c), k, wilson(k, n)) for c, k in zip(CATEGORIES, totals, strict=True)),
        counts,
        expected,
    )
