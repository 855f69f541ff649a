"""What a ledger gives to other programs: a trend for CI, and every result as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.files import replacing
from slick.knowledge import CATEGORIES
from slick.statistics import Estimate
from slick_reports.history_numbers import History
from slick_reports.ledger_entries import ABSTAINED, NOT_ASKED, RIGHT
from slick_reports.text import visible, without_surrogates

if TYPE_CHECKING:
    from slick_reports.ledger import Ledger


def trend(history: History, *, smaller: bool = False) -> str:
    """The newest version as benchmark-trend actions read it: customBiggerIsBetter, or customSmallerIsBetter.

    Bigger is better: accuracy by group. Smaller is better: wrong answers by group, abstentions, facts lost since the
    baseline. An undefined interval is left out of "range".
    """
    newest = history.versions[-1]
    extra = f"{newest.name}, n = {{n:,}}, series {history.series}"
    rows: list[dict[str, Any]] = []
    for row in newest.groups:
        found = row.side.accuracy
        if found is None:
            continue
        value = 1 - found.value if smaller else found.value
        what = "wrong answers" if smaller else "accuracy"
        rows.append(_trend_row(f"{what}, {row.group}", "%", 100 * value, _range(found, smaller), extra.format(n=row.n)))
    if smaller:
        abstained = newest.groups[0].side.abstained
        told = extra.format(n=newest.n)
        if abstained is not None:
            rows.append(_trend_row("abstained, all", "%", 100 * abstained, "", told))
        lost = sum(flip.state == "lost" for flip in history.flipped)
        rows.append(_trend_row(f"facts lost since {history.baseline}", "facts", lost, "", told))
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _trend_row(name: str, unit: str, value: float, spread: str, extra: str) -> dict[str, Any]:
    row = {"name": visible(without_surrogates(name)), "unit": unit, "value": float(f"{value:.12g}")}
    return row | ({"range": spread} if spread else {}) | {"extra": visible(without_surrogates(extra))}


def _range(found: Estimate, smaller: bool) -> str:
    if found.interval is None:
        return ""
    low, high = found.interval.low, found.interval.high
    low, high = (1 - high, 1 - low) if smaller else (low, high)
    return f"{100 * low:.2f} to {100 * high:.2f}"


def write_parquet(ledger: Ledger, path: Path) -> int:
    """Every result of a ledger as a row of a Parquet file, run by run; returns how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("version", "at", "kind", "series", "model", "fact", "relation")),
            ("seed", pa.int64()),
            *((name, pa.string()) for name in ("subject", "question")),
            ("answers", pa.list_(pa.string())),
            ("baseline", pa.bool_()),
            ("right", pa.bool_()),
            ("abstained", pa.bool_()),
            ("category", pa.string()),
            ("unknown", pa.float32()),
            ("answer", pa.string()),
            ("answer_prior", pa.bool_()),
        ]
    )
    facts = ledger.facts()
    total = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for run in ledger.runs():
            of = ledger.columns(run.id, answers=True)
            asked = [facts[int(number)] for number in of.facts]
            n = len(asked)
            total += n
            model = run.record.get("model")
            name = model.get("name") if isinstance(model, dict) else None
            columns: dict[str, list[Any]] = {
                **{key: [getattr(run, key)] * n for key in ("version", "at", "kind", "series", "baseline")},
                "model": [without_surrogates(str(name or ""))] * n,
                "seed": [run.seed] * n,
                "fact": [without_surrogates(f.id) for f in asked],
                **{
                    key: [without_surrogates(getattr(f, key)) for f in asked]
                    for key in ("relation", "subject", "question")
                },
                "answers": [[without_surrogates(answer) for answer in f.answers] for f in asked],
                "right": [None if o == NOT_ASKED else bool(o == RIGHT) for o in of.outcome.tolist()],
                "abstained": [None if o == NOT_ASKED else bool(o == ABSTAINED) for o in of.outcome.tolist()],
                "category": [str(CATEGORIES[c]) if c >= 0 else None for c in of.category.tolist()],
                "unknown": [None if u != u else u for u in of.unknown.tolist()],
                "answer": [without_surrogates(answer) for answer in of.answers],
                "answer_prior": [None] * n if of.prior is None else [None if p < 0 else bool(p) for p in of.prior],
            }
            writer.write_table(pa.table(columns, schema=schema))
    return total
