"""Categories against true exposure: of an organism it is known how often it read each fact."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slick.files import mapping_of
from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.statistics import LEVEL, Estimate, Interval
from slick_reports.charts import shares_chart
from slick_reports.numbers import CategoryShare, Shares
from slick_reports.wording import UNDEFINED
from slick_sft.study_report.asked import asked_of, clusters_of
from slick_sft.study_report.blocks import Cell, Claim, Picture, Section, Table, found, percent, row, share_said
from slick_sft.study_report.data import Study
from slick_sft.study_report.measures import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

ID, TITLE = "exposure", "Categories against true exposure"
# Of the bootstrap.
DRAWS = 2_000
# Upper ends of the rows: how often one pass over the organism's text states a fact.
_BINS = (0, 1, 2, 3, 4, 6, 8, 12, 1_000_000)


def section(study: Study) -> Section:
    exposures = read_exposures(str(mapping_of(study.document.get("facts")).get("source", "")))
    known = [k for split in ("train", "test") for k in study.probed(split) if k.fact.id in exposures]
    if not known:
        return Section(
            ID, TITLE, missing="Left out: how often the base model read each fact is known of organisms only."
        )
    groups = _by_exposure(known, exposures)
    rows = [_row(name, group) for name, group in groups.items()]
    header = ("exposures", "facts", *map(str, CATEGORIES))
    correlation = rank_correlation(
        [exposures[k.fact.id] for k in known], [k.category.rank for k in known], clusters_of(k.fact for k in known)
    )
    told = UNDEFINED if correlation is None else _correlation(correlation)
    text = (
        f"Of the {len(known):,} probed facts (training and test), how often one pass over the organism's pre-training "
        "text states each is recorded. A probe knows nothing of it.",
        f"Rank correlation (Spearman's) of exposures and category: {told}. Its interval is a bootstrap over subjects, "
        f"{DRAWS:,} draws with a fixed seed; it holds the noise of the facts, of this one organism.",
    )
    table = Table("Facts by exposure, share of each category in percent", header, tuple(rows))
    counts = {name: tuple(_count(group, c) for c in CATEGORIES) for name, group in groups.items()}
    total = tuple(sum(of[i] for of in counts.values()) for i in range(len(CATEGORIES)))
    shares = Shares(
        "probe",
        len(known),
        tuple(CategoryShare(str(c), n, None) for c, n in zip(CATEGORIES, total, strict=True)),
        counts,
    )
    caption = "Share of each category, by exposures"
    key = tuple((f"cat{i}", "box", str(c)) for i, c in enumerate(CATEGORIES))
    claim = Claim(
        "What was read more often is known better.",
        "cannot be told of its model",
        f"rank correlation {told}; {_ends(groups)}",
        found(correlation, "rose"),
        ours=True,
    )
    data = {"counts": counts, "rank_correlation": correlation}
    return Section(ID, TITLE, text, (table, Picture(caption, shares_chart(shares), key)), (claim,), data)


def read_exposures(source: str) -> Mapping[str, int]:
    """Fact id → exposures, of the shipped lab or of a lab's facts.jsonl; empty for any other source."""
    if source == "lab":
        from slick_tasks.lab import load_exposures

        return load_exposures()
    path = Path(source)
    if path.suffix != ".jsonl" or not path.is_file():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            read = json.loads(line)
            found[str(read["id"])] = int(read["exposures"])
        except (ValueError, KeyError, TypeError):
            return {}
    return found


def _by_exposure(known: list[Knowledge], exposures: Mapping[str, int]) -> dict[str, list[Knowledge]]:
    groups: dict[str, list[Knowledge]] = {}
    for low, high in zip((0, *(b + 1 for b in _BINS)), _BINS, strict=False):
        group = [k for k in known if low <= exposures[k.fact.id] <= high]
        if group:
            seen = [exposures[k.fact.id] for k in group]
            name = f"{min(seen)}" if min(seen) == max(seen) else f"{min(seen)}–{max(seen)}"
            groups[name] = group
    return groups


def _count(group: list[Knowledge], category: Category) -> int:
    return sum(k.category is category for k in group)


def _share(group: list[Knowledge], category: Category) -> Estimate | None:
    return share(np.array([[k.category is category for k in group]], dtype=float), asked_of(group))


def _row(name: str, group: list[Knowledge]) -> tuple[Cell, ...]:
    return row(name, f"{len(group):,}", *(percent(_share(group, c)) for c in CATEGORIES))


def _ends(groups: dict[str, list[Knowledge]]) -> str:
    told = []
    for name in (next(iter(groups)), list(groups)[-1]):
        shares = [f"{share_said(_share(groups[name], c))} {c}" for c in (Category.HIGHLY_KNOWN, Category.UNKNOWN)]
        told.append(f"{name} exposures: {', '.join(shares)}")
    return "; ".join(told)


def rank_correlation(
    a: Sequence[int], b: Sequence[int], clusters: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0
) -> Estimate | None:
    """Spearman's, its interval the percentiles of a bootstrap over clusters; None where one of the two never varies.

    The interval is undefined for one cluster alone. Same input, same limits.
    """
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    (xs, x), (ys, y), (names, of) = (np.unique(v, return_inverse=True) for v in (a, b, _places(clusters)))
    cells, shape = x * len(ys) + y, (len(xs), len(ys))

    def of_weights(weights: Numbers) -> float:
        return _spearman(np.bincount(cells, weights, len(xs) * len(ys)).reshape(shape).astype(np.float64))

    value = of_weights(np.ones(len(cells)))
    interval = None
    if len(names) > 1:
        times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
        found = [of_weights(row[of].astype(float)) for row in times]
        # A draw in which one of the two never varies has no correlation.
        kept = [each for each in found if not math.isnan(each)]
        if len(kept) > draws / 2:
            low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            interval = Interval(float(low), float(high))
    return Estimate(value, interval, len(cells), "Spearman, bootstrap over subjects")


def _places(clusters: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]


def _spearman(table: Numbers) -> float:
    """Of facts counted by (exposure, category), both rising: Pearson's of their mid-ranks; NaN where one is fixed."""
    sides = table.sum(axis=1), table.sum(axis=0)
    n = float(table.sum())
    ranks = [np.cumsum(side) - side / 2 - n / 2 for side in sides]
    spreads = [float(side @ rank**2) for side, rank in zip(sides, ranks, strict=True)]
    if min(spreads) <= 0:
        return math.nan
    return float(ranks[0] @ table @ ranks[1]) / math.sqrt(spreads[0] * spreads[1])


def _correlation(found: Estimate) -> str:
    limits = f"{found.interval.low:.2f} to {found.interval.high:.2f}" if found.interval else UNDEFINED
    return f"{found.value:.2f} ({limits})".replace("-", "−")
