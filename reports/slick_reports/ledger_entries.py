"""Runs as entries of a ledger: which may be compared with which, when they were made, how each fact came out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import digest_of
from slick.knowledge import CATEGORIES, Knowledge
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick.runs import read_run
from slick_reports.inputs import Answered, Scored, mapping, read_scored
from slick_reports.ledger import Entry, Result
from slick_reports.records import versions_of
from slick_reports.text import visible, without_surrogates

RIGHT, ABSTAINED, NOT_ASKED = 1, 2, 3
# What must be alike for scores, and for probes, to be compared.
_SCORE = ("form", "matching", "max_gen_toks", "chat")
_PROBE = ("matching", "n_exemplar_sets", "n_exemplars", "n_samples", "max_gen_toks", "chat", "seed")
_LONGEST = 100


def entry_of(path: Path, *, version: str = "", date: str = "") -> Entry:
    """A score or probe run as an entry. version: what it is called, by default its arm's or directory's name.

    date: ISO 8601, by default when the run was made. Raises InputError for a run that is neither, or cannot be read.
    """
    probe = (path / KNOWLEDGE).exists() or path.suffix == ".parquet"
    entry = _probe(path) if probe else _score(path)
    named = version or entry.version
    return Entry(_name(named), _date(date) if date else entry.at, entry.kind, entry.series, entry.record, entry.results)


def _score(path: Path) -> Entry:
    scored = read_scored(path)
    provenance, settings = scored.provenance, scored.settings
    results = [_scored(row) for row in scored.rows.values()]
    arm = scored.training.get("arm")
    return Entry(
        arm if isinstance(arm, str) and arm else scored.run.name,
        _date(scored.run.date),
        "score",
        _series("score", {name: settings.get(name) for name in _SCORE}, _shots(scored)),
        _record(provenance, path, seed=scored.seed, libraries=versions_of(scored), settings=_SCORE),
        results,
    )


def _probe(path: Path) -> Entry:
    file = read_knowledge(path)
    settings = mapping(file.provenance.get("settings"))
    exact = settings.get("estimator") == "exact"
    date = read_run(path).date if path.is_dir() else ""
    unique = {k.fact.id: k for k in file.knowledge}
    return Entry(
        path.resolve().name,
        _date(date),
        "probe",
        _series("probe", {name: settings.get(name) for name in _PROBE}, exact),
        _record(
            file.provenance,
            path,
            seed=None,
            libraries={str(k): str(v) for k, v in mapping(file.provenance.get("versions")).items()},
            settings=_PROBE,
        ),
        [_known(k) for k in unique.values()],
    )


def _scored(row: Answered) -> Result:
    outcome = RIGHT if row.right else ABSTAINED if row.abstained else 0
    category = -1 if row.category is None else CATEGORIES.index(row.category)
    return Result(row.fact, outcome, category, answer=row.answer, prior=-1 if row.prior is None else int(row.prior))


def _known(knowledge: Knowledge) -> Result:
    u = knowledge.u
    unknown = math.nan if u is None or knowledge.greedy_right else u
    return Result(knowledge.fact, NOT_ASKED, CATEGORIES.index(knowledge.category), unknown)


def _series(kind: str, settings: Mapping[str, Any], others: Any) -> str:
    """Short, since people type it."""
    return f"{kind}-{digest_of([settings, others])[:8]}"


def _shots(scored: Scored) -> int:
    shots = [scored.settings.get("n_exemplars"), *mapping(scored.run.results.get("n-shot")).values()]
    return max((n for n in shots if isinstance(n, int)), default=0)


def _record(
    provenance: Mapping[str, Any],
    path: Path,
    *,
    seed: int | None,
    libraries: Mapping[str, str],
    settings: tuple[str, ...],
) -> dict[str, Any]:
    told = mapping(provenance.get("settings"))
    return {
        "model": dict(mapping(provenance.get("model"))),
        "seed": seed,
        "libraries": dict(libraries),
        "settings": {name: told.get(name) for name in settings},
        "source": str(path),
        # Whose knowledge a score's categories are; a probe's are its model's.
        **({"knowledge": dict(probed)} if (probed := mapping(provenance.get("knowledge_model"))) else {}),
    }


def _date(recorded: str) -> str:
    """ISO 8601 to the second; "" where a run recorded none."""
    if not recorded:
        return ""
    try:
        moment = datetime.fromisoformat(recorded)
    except ValueError as error:
        raise InputError(f"date: found {recorded!r:.60}, expected ISO 8601 such as 2025-01-31") from error
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _name(version: str) -> str:
    """A version's name, as it is shown everywhere."""
    shown = visible(without_surrogates(version.strip()), _LONGEST)
    if not shown:
        raise InputError("--version: found nothing, expected a name such as v1.2")
    return shown
