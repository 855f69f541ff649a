"""Categories against true exposure: of an organism it is known how often it read each fact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from slick.files import mapping_of
from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick_reports import wording
from slick_reports.charts import shares_chart
from slick_reports.numbers import CategoryShare, Shares
from slick_sft.study.jobs import PROBE
from slick_sft.study_report.blocks import Cell, Claim, Finding, Picture, Section, Table, row
from slick_sft.study_report.data import Study

ID, TITLE = "exposure", "Categories against true exposure"
# Upper ends of the rows: how often one pass over the organism's text states a fact.
_BINS = (0, 1, 2, 3, 4, 6, 8, 12, 1_000_000)


def section(study: Study) -> Section:
    exposures = read_exposures(str(mapping_of(study.document.get("facts")).get("source", "")))
    known = [k for k in _probed(study) if k.fact.id in exposures]
    if not known:
        return Section(
            ID, TITLE, missing="Left out: how often the base model read each fact is known of organisms only."
        )
    groups = _by_exposure(known, exposures)
    rows = [_row(name, group) for name, group in groups.items()]
    header = ("exposures", "facts", *map(str, CATEGORIES))
    share = _rank_correlation([exposures[k.fact.id] for k in known], [k.category.rank for k in known])
    text = (
        f"Of the {len(known):,} probed facts (training and test), how often one pass over the organism's pre-training "
        "text states each is recorded. A probe knows nothing of it.",
        "Rank correlation (Spearman's) of exposures and category: "
        + (wording.UNDEFINED if share is None else f"{share:.2f}")
        + ".",
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
    finding = Finding.OPEN if share is None else Finding.AGREES if share > 0.3 else Finding.DIFFERS
    claim = Claim(
        "What was read more often is known better.",
        "cannot be told of its model",
        f"rank correlation {wording.UNDEFINED if share is None else f'{share:.2f}'}; {_ends(groups)}",
        finding,
        ours=True,
    )
    data = {"counts": counts, "rank_correlation": share}
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


def _probed(study: Study) -> list[Knowledge]:
    found: list[Knowledge] = []
    for split in ("train", "test"):
        if (study.path / PROBE / split / KNOWLEDGE).is_file():
            found += read_knowledge(study.path / PROBE / split).knowledge
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


def _row(name: str, group: list[Knowledge]) -> tuple[Cell, ...]:
    return row(name, f"{len(group):,}", *(wording.percent(_count(group, c) / len(group)) for c in CATEGORIES))


def _ends(groups: dict[str, list[Knowledge]]) -> str:
    told = []
    for name in (next(iter(groups)), list(groups)[-1]):
        group = groups[name]
        known = wording.percent(_count(group, Category.HIGHLY_KNOWN) / len(group))
        unknown = wording.percent(_count(group, Category.UNKNOWN) / len(group))
        told.append(f"{name} exposures: {known} % HighlyKnown, {unknown} % Unknown")
    return "; ".join(told)


def _rank_correlation(a: list[int], b: list[int]) -> float | None:
    """Spearman's; None where one of the two never varies."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)
