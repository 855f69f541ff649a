"""`--fix`: the dataset again, with the rows that break a rule dropped, relabelled, or given another weight.

Written beside the dataset, in its own format and order, every other byte (or the schema) as it was; a sidecar says
of each changed row what was done and why. The dataset itself is never written to. Of several datasets either all are
written or none is.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import replacing, replacing_directory, write_json
from slick_sft.lint.edits import Drop, Edit, Relabel, Weigh
from slick_sft.lint.examine import Examined, unit_of
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
    """One dataset that was written: from where, to where, its sidecar, and how many rows were changed. others: answers
    that go, or are weighed, with another one of their conversation, and break no rule themselves."""

    source: Path
    out: Path
    sidecar: Path
    changed: int
    others: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written of one dataset. edits: by place in its rows; document: the sidecar; others: see `Fixed`."""

    source: Source
    target: Path
    edits: Mapping[int, Edit]
    document: Mapping[str, Any]
    others: int


def check_weight(weight: float) -> float:
    """`weight`, which a row's loss can be multiplied by; else InputError."""
    if not math.isfinite(weight) or weight < 0:
        raise InputError(f"--fix-weight {weight}: expected a finite number of at least 0, such as 0 or 0.5")
    return weight


def targets(sources: Sequence[Source], out: Path | None) -> dict[Path, Path]:
    """Where each dataset's fixed one goes: `out`, or beside it as NAME.fixed.SUFFIX.

    Raises InputError where something stands there already, one `out` is given for several, or two would go to one
    place.
    """
    if out is not None and len(sources) > 1:
        raise InputError(
            f"--fix-out {out}: there are {len(sources)} datasets; leave it out, each is written beside itself"
        )
    found = {s.path: out or s.path.with_name(f"{s.path.stem}.fixed{s.path.suffix}") for s in sources}
    places: dict[Path, Path] = {}
    for source, target in found.items():
        if (other := places.setdefault(target.resolve(), source)) != source:
            raise InputError(f"{source} and {other}: are one dataset, and would both be written to {target}")
    _check_free(found)
    return found


def written(out: Mapping[Path, Path]) -> dict[str, Path]:
    """Everything that will be written, by what it is: datasets and their sidecars."""
    datasets = {f"the fixed {source.name}": target for source, target in out.items()}
    return datasets | {f"the changes of {source.name}": _sidecar(target) for source, target in out.items()}


def _check_free(out: Mapping[Path, Path]) -> None:
    with Mistakes("--fix writes to new files only:") as mistakes:
        for target in out.values():
            for path in (target, _sidecar(target)):
                if path.exists():
                    mistakes.add(f"{path}: exists already; remove it, or give another --fix-out")


def write_fixed(
    report: Report, how: Fix, out: Mapping[Path, Path], *, rules: Sequence[str], weight: float = 0.0
) -> list[Fixed]:
    """Writes every dataset of the report, or none. rules: the ids of those whose breach changes a row.

    Raises InputError where nothing would be left of a dataset, where an answer that is to be relabelled stands nowhere
    in the file, and where something took a target's place meanwhile.
    """
    check_weight(weight)
    broken: dict[int, list[str]] = {}
    for finding in report.findings:
        if finding.rule.id in rules:
            broken.setdefault(finding.row, []).append(finding.rule.id)
    with Mistakes("nothing was written:") as mistakes:
        plans = [
            _plan(report, source, how, out[source.path], broken, rules, weight, mistakes) for source in report.sources
        ]
    _check_free(out)
    with ExitStack() as moved:
        # The last to be entered is moved first: all have been written by then.
        for plan in plans:
            plan.source.write(plan.edits, moved.enter_context(_replacing(plan.source, plan.target)))
            write_json(moved.enter_context(replacing(_sidecar(plan.target))), plan.document)
    return [Fixed(plan.source.path, plan.target, _sidecar(plan.target), len(plan.edits), plan.others) for plan in plans]


def _plan(
    report: Report,
    source: Source,
    how: Fix,
    target: Path,
    broken: Mapping[int, Sequence[str]],
    rules: Sequence[str],
    weight: float,
    mistakes: Mistakes,
) -> _Plan:
    """What becomes of one dataset; what cannot be done goes to `mistakes`."""
    found = [(i, row) for i, row in enumerate(report.rows) if row.source is source and i in broken]
    if how is Fix.RELABEL:
        _check_places([row for _, row in found], mistakes)
    groups: dict[int, list[Examined]] = {}
    for _, row in found:
        groups.setdefault(row.row.number - 1, []).append(row)
    edits = {place: edit for place, rows in groups.items() if (edit := _edit(rows, how, weight)) is not None}
    if sum(isinstance(edit, Drop) for edit in edits.values()) == len(source.rows):
        mistakes.add(f"{source.path}: --fix drop would leave none of its {len(source.rows)} rows; it is not written")
    others = sum(
        row.source is source and row.row.number - 1 in edits and i not in broken and bool(row.exchange.answer)
        for i, row in enumerate(report.rows)
        if how is not Fix.RELABEL
    )
    document = {
        "kind": "slick lint fix",
        "schema": SCHEMA,
        "fix": str(how),
        "rules": list(rules),
        "dataset": report.path(source),
        "sha256": source.digest,
        "rows": len(source.rows),
        "changed": len(edits),
        **({"other_answers": others} if others else {}),
        "model": dict(report.model),
        "changes": [
            _change(report, row, broken[i], edits[row.row.number - 1])
            for i, row in found
            if row.row.number - 1 in edits
        ],
    }
    return _Plan(source, target, edits, document, others)


def _check_places(rows: Sequence[Examined], mistakes: Mistakes) -> None:
    """Rows without an answer have nothing that could be relabelled, and must not be passed over."""
    lost = [row for row in rows if row.exchange.place is None]
    if lost:
        where = ", ".join(row.where for row in lost[:5]) + (" …" if len(lost) > 5 else "")
        mistakes.add(
            f"--fix relabel: {len(lost)} of the {unit_of(rows)} to be changed have no answer in the file that could be "
            f"relabelled ({where}); use --fix drop, or leave their rule out of --fix-rule"
        )


def _edit(rows: Sequence[Examined], how: Fix, weight: float) -> Edit | None:
    """What becomes of a row of which these exchanges break a rule."""
    if how is Fix.DROP:
        return Drop()
    if how is Fix.WEIGHT:
        return Weigh(weight)
    places = tuple(row.exchange.place for row in rows if row.exchange.place is not None)
    return Relabel(places, IDK) if places else None


def _change(report: Report, row: Examined, rules: Sequence[str], edit: Edit) -> dict[str, Any]:
    k = report.known(row)
    change: dict[str, Any] = {
        "row": row.row.number,
        "line": row.row.line,
        **({"turn": row.turn} if row.turn else {}),
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
