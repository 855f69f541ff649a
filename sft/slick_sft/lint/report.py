"""What `slick lint` found, as numbers and words; every kind of output is made from this."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from slick.facts import Fact, by_relation
from slick.knowledge import CATEGORIES, Category, Knowledge, category_counts, expected_shares
from slick_reports.text import without_surrogates
from slick_sft.lint.examine import Examined, unit_of
from slick_sft.lint.findings import Finding, Level
from slick_sft.lint.prediction import Prediction
from slick_sft.lint.short_facts import Reason
from slick_sft.lint.sources import Source

# 2: one entry of `rows` an exchange, of which a row may have several.
SCHEMA = 2
KIND = "slick lint"


@dataclass(frozen=True, slots=True)
class RelationShare:
    """facts: probed ones, each once. unknown: how many of them are expected Unknown (Σu)."""

    relation: str
    facts: int
    unknown: float


@dataclass(frozen=True)
class Report:
    """rows: every exchange of every row, in their order. knowledge: by fact id, of those probed. base: what paths are
    shown from."""

    sources: Sequence[Source]
    rows: Sequence[Examined]
    knowledge: Mapping[str, Knowledge]
    findings: Sequence[Finding]
    prediction: Prediction
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    base: Path
    notes: Sequence[str] = field(default=())

    @property
    def unit(self) -> str:
        """What `rows` are: see `unit_of`."""
        return unit_of(self.rows)

    @property
    def n_rows(self) -> int:
        """Rows of the datasets; there may be more exchanges."""
        return sum(len(source.rows) for source in self.sources)

    @property
    def counted(self) -> str:
        """How many there are of what is examined, in words."""
        inside = f" in {self.n_rows} rows" if self.unit != "rows" else ""
        return f"{len(self.rows)} {self.unit}{inside}"

    @cached_property
    def of_rows(self) -> list[Knowledge]:
        """What is known of each row that was probed: a fact that stands twice counts twice."""
        return [k for row in self.rows if (k := self.known(row)) is not None]

    def known(self, row: Examined) -> Knowledge | None:
        """What the model knows of a row's fact; None where it was not probed."""
        return self.knowledge[row.fact.id] if row.fact and row.reason is None else None

    @property
    def categories(self) -> dict[Category, int]:
        """Probed rows by category."""
        return category_counts(self.of_rows)

    @property
    def shares(self) -> dict[Category, float]:
        """Expected shares of the probed rows."""
        return expected_shares(self.of_rows)

    @property
    def not_probed(self) -> dict[Reason, int]:
        counts = Counter(row.reason for row in self.rows if row.reason)
        return {reason: counts[reason] for reason in Reason if counts[reason]}

    @property
    def relations(self) -> list[RelationShare]:
        groups = by_relation(k.fact for k in self.knowledge.values())
        return [
            RelationShare(relation, len(facts), math.fsum(self._unknown_share(fact) for fact in facts))
            for relation, facts in groups.items()
        ]

    def _unknown_share(self, fact: Fact) -> float:
        return self.knowledge[fact.id].shares[Category.UNKNOWN]

    def count(self, level: Level) -> int:
        return sum(finding.rule.level is level for finding in self.findings)

    def by_severity(self) -> list[Finding]:
        """The findings, the worst first, else by row."""
        return sorted(self.findings, key=lambda f: (-f.rule.level.rank, f.row))

    def failing(self, level: Level | None) -> bool:
        """Whether anything of that level or worse was found; None: nothing fails."""
        return level is not None and any(f.rule.level.rank >= level.rank for f in self.findings)

    def path(self, source: Source) -> str:
        """A dataset's path as it is shown: from `base` where it lies there, with / between its parts."""
        resolved = source.path.resolve()
        return (
            resolved.relative_to(self.base).as_posix() if resolved.is_relative_to(self.base) else source.path.as_posix()
        )

    def where(self, row: Examined) -> str:
        """File and line, or row number, and which of its turns."""
        path, turn = self.path(row.source), f" turn {row.turn}" if row.turn else ""
        return f"{path}:{row.row.line}{turn}" if row.row.line else f"{path} row {row.row.number}{turn}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON document. Fractions stay fractions; what was not measured is null."""
        broken: dict[int, list[str]] = {}
        for finding in self.findings:
            broken.setdefault(finding.row, []).append(finding.rule.id)
        document = {
            "kind": KIND,
            "schema": SCHEMA,
            "datasets": [
                {"path": self.path(s), "format": s.format, "rows": len(s.rows), "sha256": s.digest}
                for s in self.sources
            ],
            "model": dict(self.model),
            "settings": dict(self.settings),
            "summary": {
                "rows": self.n_rows,
                "exchanges": len(self.rows),
                "probed": len(self.of_rows),
                "facts": len(self.knowledge),
                "categories": {str(c): n for c, n in self.categories.items()},
                "expected_shares": {str(c): share for c, share in self.shares.items()},
                "flagged": sum(bool(k.flagged) for k in self.of_rows),
                "not_probed": {reason.name.lower(): n for reason, n in self.not_probed.items()},
                "findings": {str(level): self.count(level) for level in Level},
            },
            "relations": [
                {"relation": r.relation, "facts": r.facts, "expected_unknown": r.unknown} for r in self.relations
            ],
            "prediction": self.prediction.as_dict(),
            "rows": [self._row(row, broken.get(i, [])) for i, row in enumerate(self.rows)],
            "findings": [
                {
                    "rule": f.rule.id,
                    "level": str(f.rule.level),
                    **self._location(self.rows[f.row]),
                    "message": f.message,
                    "related": [self._location(self.rows[i]) for i in f.related],
                }
                for f in self.findings
            ],
            "notes": list(self.notes),
        }
        return dict(_plain(document))

    def _location(self, row: Examined) -> dict[str, Any]:
        place: dict[str, Any] = {"path": self.path(row.source), "line": row.row.line, "row": row.row.number}
        return place | ({"turn": row.turn} if row.turn else {})

    def _row(self, row: Examined, rules: Sequence[str]) -> dict[str, Any]:
        k = self.known(row)
        return {
            **self._location(row),
            "form": str(row.exchange.form),
            "not_probed": row.reason.name.lower() if row.reason else None,
            "relation": row.fact.relation if row.fact else None,
            "subject": row.fact.subject if row.fact else None,
            "question": row.asked or None,
            "answers": list(row.fact.answers) if row.fact else None,
            "category": str(k.category) if k else None,
            "p_greedy": k.p_greedy if k else None,
            "p_sampled": k.p_sampled if k else None,
            "u": k.u if k else None,
            "flagged": k.flagged if k else None,
            "findings": list(rules),
        }


def category_rows(report: Report) -> list[tuple[str, int, float]]:
    """(category, rows, expected share), best first."""
    shares = report.shares
    return [(str(c), report.categories[c], shares[c]) for c in CATEGORIES]


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it. Twelve digits: what lies beyond them depends on the machine."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {without_surrogates(str(k)): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
