"""`--fix`: the dataset again, with the rows that break a rule dropped, relabelled, or given another weight.

Written beside the dataset, in its own format and order, every other byte (or the schema) as it was; a sidecar says
of each changed row what was done and why. The dataset itself is never written to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import replacing, replacing_directory, write_json
from slick_sft.lint.edits import Drop, Edit, Relabel, Weigh
from slick_sft.lint.examine import Examined
from slick_sft.lint.report import Report
from slick_sft.lint.sources import Source
from slick_sft.recipe import IDK

SCHEMA = 1


class Fix(StrEnum):
    DROP = "drop"
    RELABEL = "relabel"
    WEIGHT = "weight"


@dataclass(frozen=True, slots=True)
class Fixed:
    """One dataset that was written: from where, to where, its sidecar, and how many rows were changed."""

    source: Path
    out: Path
    sidecar: Path
    changed: int


def targets(sources: Sequence[Source], out: Path | None) -> dict[Path, Path]:
    """Where each dataset's fixed one goes: `out`, or beside it as NAME.fixed.SUFFIX.

    Raises InputError where something stands there already, or one `out` is given for several.
    """
    if out is not None and len(sources) > 1:
        raise InputError(
            f"--fix-out {out}: there are {len(sources)} datasets; leave it out, each is written beside itself"
        )
    found = {s.path: out or s.path.with_name(f"{s.path.stem}.fixed{s.path.suffix}") for s in sources}
    with Mistakes("--fix writes to new files only:") as mistakes:
        for target in found.values():
            for path in (target, _sidecar(target)):
                if path.exists():
                    mistakes.add(f"{path}: exists already; remove it, or give another --fix-out")
    return found


def write_fixed(
    report: Report, how: Fix, out: Mapping[Path, Path], *, rules: Sequence[str], weight: float = 0.0
) -> list[Fixed]:
    """Writes every dataset of the report. rules: the ids of those whose breach changes a row.

    Raises InputError where nothing would be left of a dataset.
    """
    broken: dict[int, list[str]] = {}
    for finding in report.findings:
        if finding.rule.id in rules:
            broken.setdefault(finding.row, []).append(finding.rule.id)
    written = []
    for source in report.sources:
        rows = [(i, row) for i, row in enumerate(report.rows) if row.source is source]
        edits = {
            place: edit
            for place, (i, row) in enumerate(rows)
            if i in broken and (edit := _edit(row, how, weight)) is not None
        }
        if sum(isinstance(edit, Drop) for edit in edits.values()) == len(rows):
            raise InputError(f"{source.path}: --fix drop would leave none of its {len(rows)} rows; it is not written")
        target = out[source.path]
        with _replacing(source, target) as temporary:
            source.write(edits, temporary)
        changes = [_change(report, rows[place][1], broken[rows[place][0]], edit) for place, edit in edits.items()]
        document = {
            "kind": "slick lint fix",
            "schema": SCHEMA,
            "fix": str(how),
            "rules": list(rules),
            "dataset": report.path(source),
            "sha256": source.digest,
            "rows": len(rows),
            "changed": len(changes),
            "model": dict(report.model),
            "changes": changes,
        }
        write_json(_sidecar(target), document)
        written.append(Fixed(source.path, target, _sidecar(target), len(changes)))
    return written


def _edit(row: Examined, how: Fix, weight: float) -> Edit | None:
    if how is Fix.DROP:
        return Drop()
    if how is Fix.WEIGHT:
        return Weigh(weight)
    place = row.exchange.place
    return Relabel(place, IDK) if place is not None else None


def _change(report: Report, row: Examined, rules: Sequence[str], edit: Edit) -> dict[str, Any]:
    k = report.known(row)
    change: dict[str, Any] = {
        "row": row.row.number,
        "line": row.row.line,
        "change": type(edit).__name__.lower(),
        "rules": list(rules),
        "question": row.asked or row.exchange.user,
        "answer": row.exchange.answer,
        "category": str(k.category) if k else None,
        "u": k.u if k else None,
    }
    if isinstance(edit, Relabel):
        change["new_answer"] = edit.answer
    if isinstance(edit, Weigh):
        change["weight"] = edit.weight
    return change


@contextmanager
def _replacing(source: Source, target: Path) -> Iterator[Path]:
    if not source.path.is_dir():
        with replacing(target) as temporary:
            yield temporary
        return
    with replacing_directory(target) as temporary:
        yield temporary
        # Mappings that `datasets` may have cached are no part of the dataset.
        for cached in temporary.rglob("cache-*.arrow"):
            shutil.rmtree(cached, ignore_errors=True) if cached.is_dir() else cached.unlink()


def _sidecar(target: Path) -> Path:
    return target.with_name(f"{target.name}.changes.json")
