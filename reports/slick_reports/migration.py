"""Where facts went: their category by the base model's probe against that by the tuned model's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.redraw import chance_kept, mean_kept
from slick.statistics import Estimate, wilson
from slick_reports.numbers import Migration, MigrationRow


def migration(before: Sequence[Knowledge], after: Sequence[Knowledge], probe: str) -> Migration | None:
    """The matrix over the facts that both probes hold, each once; None where there is none.

    By the exact estimator a fact near a border counts in part on both sides, before as well as after.
    """
    later = {k.fact.id: k for k in after}
    pairs = {k.fact.id: (k, later[k.fact.id]) for k in before if k.fact.id in later}
    if not pairs:
        return None
    counts = {a: dict.fromkeys(CATEGORIES, 0.0) for a in CATEGORIES}
    for was, now in pairs.values():
        to = {b: share for b, share in now.shares.items() if share}
        for a, share in was.shares.items():
            for b, other in to.items() if share else ():
                counts[a][b] += share * other
    kept = mean_kept([was for was, _ in pairs.values()], chance_kept([was for was, _ in pairs.values()]))
    rows = tuple(_row(a, counts[a], kept) for a in CATEGORIES)
    expected = any(k.chances is not None for pair in pairs.values() for k in pair)
    moves = {"down": 0.0, "up": 0.0}
    for a in CATEGORIES:
        for b in CATEGORIES:
            if a is not b:
                moves["down" if b.rank < a.rank else "up"] += counts[a][b]
    n = len(pairs)
    return Migration(probe, n, expected, rows, expected_share(moves["down"], n), expected_share(moves["up"], n))


def _row(category: Category, counts: Mapping[Category, float], kept: Mapping[Category | None, float]) -> MigrationRow:
    n = math.fsum(counts.values())
    shares = tuple(expected_share(count, n) for count in counts.values())
    return MigrationRow(str(category), n, tuple(counts.values()), shares, kept.get(category))


def expected_share(count: float, n: float) -> Estimate | None:
    """A share of an expected number of facts, with Wilson's interval at the nearest whole number of them."""
    if n <= 0:
        return None
    whole = max(1, round(n))
    # A sum of shares may pass its own total by a rounding.
    return wilson(min(1.0, max(0.0, count / n)) * whole, whole)
