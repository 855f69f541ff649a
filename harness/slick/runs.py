"""Runs on disk, in lm-eval's own format: what they are, and how they are read.

A run is a directory with one `results_*.json` (lm-eval's schema and a "slick" key with the provenance) and
one `samples_<task>_*.jsonl` a task. A probe adds `knowledge.parquet` (`slick.knowledge_file`). While a run is
being written (`slick.run_writer`) its settings stand in `progress.json`. No other module reads or writes runs.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.facts import Fact
from slick.files import digest_of, read_json
from slick.lm_eval_results import provenance_of_tasks

SCHEMA = 1
PROGRESS = "progress.json"
_AGAIN = "copy it again from where it was made, or repeat the run"
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T[\d.-]+$")
# Seconds since 1970, in the year 2096; a larger number is no date.
_LATEST = 4e9

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. path: as given. samples: task name → its samples file; empty when none were logged."""

    path: Path
    results: Mapping[str, Any]
    samples: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its directory is called."""
        place = self.path.resolve()
        return (place.parent if place.is_file() else place).name

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What `slick` recorded, or our tasks under lm_eval; empty for a run of other tasks."""
        found = self.results.get("slick")
        return found if isinstance(found, Mapping) else provenance_of_tasks(self.results)

    @property
    def date(self) -> str:
        """When it was started: ISO 8601, to the second and in UTC where the file has seconds since 1970; or ""."""
        recorded = self.results.get("date")
        if isinstance(recorded, (int, float)) and not isinstance(recorded, bool) and 0 <= recorded < _LATEST:
            return datetime.fromtimestamp(recorded, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return "" if recorded is None else str(recorded)

    @property
    def kind(self) -> str:
        """ "probe", "score", or "lm_eval" for a run that lm_eval itself wrote."""
        return str(self.provenance.get("kind", "lm_eval"))


def read_run(path: Path | str) -> Run:
    """The run in a directory (the newest results file below it), or of a results file, whose samples lie beside it.

    InputError says what is missing.
    """
    path = Path(path)
    if path.is_file():
        return _run_of(path, path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run directory; expected what `slick probe`, `slick score` or lm_eval wrote")
    if (path / PROGRESS).exists() and not results_files(path):
        raise InputError(f"{path}: this run is not finished; repeat its command to go on where it stopped")
    found = results_files(path) or sorted(path.rglob("results_*.json"), key=lambda p: p.name)
    if not found:
        raise InputError(
            f"{path}: holds no results_*.json; expected the --out of `slick probe` or `slick score`, or lm_eval's "
            "--output_path (results of another name are given as the file itself)"
        )
    return _run_of(path, found[-1])


def _run_of(path: Path, file: Path) -> Run:
    """The run at `path` whose results are `file`."""
    if file.suffix != ".json":
        raise InputError(f"{file}: expected a run's directory, or its results_*.json")
    try:
        results = read_json(file)
    except InputError as error:
        raise InputError(f"{error}; {_AGAIN}") from error
    kind = results.get("kind") if isinstance(results, dict) else None
    if isinstance(kind, str) and kind.startswith("slick "):
        raise InputError(f"{file}: is a {kind!r} document, no run; expected the runs that it was made of")
    if not isinstance(results, dict) or not isinstance(results.get("results"), dict):
        raise InputError(f'{file}: has no "results" table; it was not written by lm_eval or slick')
    # lm_eval puts the name that a user gave before the stamp, where otherwise "results" stands.
    named = _STAMP.search(file.stem)
    suffix = f"_{named.group() if named else file.stem.removeprefix('results_')}.jsonl"
    samples = {
        beside.name.removeprefix("samples_").removesuffix(suffix): beside
        for beside in sorted(file.parent.glob(f"samples_*{glob.escape(suffix)}"))
    }
    run = Run(path, results, samples)
    schema = run.provenance.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{file}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    return run


def results_files(path: Path) -> list[Path]:
    """The results that stand in a directory itself, the newest last."""
    return sorted(path.glob("results_*.json"))


def read_samples(path: Path) -> Iterator[Row]:
    """The rows of a samples file. InputError names file and line of one that is cut off or not JSON."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = row_of(line, f"{path}:{number}")
                except InputError as error:
                    raise InputError(f"{error}; {_AGAIN}") from error
                yield row
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def row_of(line: bytes, where: str) -> Row:
    """The row in one line of a samples file. where: what an InputError calls the line."""
    # Brackets by the thousand end the parser's recursion before they end the line.
    with suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict):
            return row
    raise InputError(f"{where}: not a JSON object; the file may be half-written")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted name, value there, value here) of everything that differs; nested mappings are entered."""
    found: list[tuple[str, Any, Any]] = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [(f"{name}.{inner}", a, b) for inner, a, b in differences(old, new)]
        elif old != new:
            found.append((name, old, new))
    return found


def sample_row(
    doc_id: int,
    fact: Fact,
    requests: Sequence[tuple[str, Mapping[str, Any]]],
    answers: Sequence[Sequence[str]],
    metrics: Mapping[str, Any],
) -> Row:
    """One line of `samples_*.jsonl`. requests[i] = (prompt, generation settings) was answered by answers[i].

    `prompt_hash` covers every prompt of the fact; lm-eval's own covers the first only.
    """
    doc = fact.as_dict()
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": fact.answers[0],
        "arguments": {
            f"gen_args_{i}": {"arg_0": prompt, "arg_1": dict(kwargs)} for i, (prompt, kwargs) in enumerate(requests)
        },
        "resps": [list(a) for a in answers],
        "filtered_resps": [list(a) for a in answers],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": digest_of(doc),
        "prompt_hash": digest_of([prompt for prompt, _ in requests]),
        "target_hash": digest_of(fact.answers[0]),
        **metrics,
    }


def results_document(
    task: str,
    results: Mapping[str, Any],
    per_relation: Mapping[str, Mapping[str, Any]],
    provenance: Mapping[str, Any],
    started: str,
    seconds: float,
) -> dict[str, Any]:
    """lm-eval's results schema (api/…/result_schema), as far as it applies, with our provenance under "slick".

    started: ISO 8601; written as lm-eval does, in seconds since 1970.
    """
    model = provenance.get("model", {})
    versions = provenance.get("versions", {})
    subtasks = {f"{task}_{relation.lower()}": dict(values) for relation, values in per_relation.items()}
    return {
        "results": {
            task: {"alias": task, **results},
            **{n: {"alias": f" - {n}", **v} for n, v in subtasks.items()},
        },
        "group_subtasks": {task: list(subtasks)},
        "configs": {task: {"task": task, "metadata": provenance.get("settings", {})}},
        "versions": {task: SCHEMA},
        "n-shot": {task: provenance.get("settings", {}).get("n_exemplars", 0)},
        "n-samples": {task: {"original": results.get("sample_len", 0), "effective": results.get("sample_len", 0)}},
        "config": {
            "model": provenance.get("backend", {}).get("name", ""),
            "model_args": provenance.get("backend", {}).get("args", {}),
            "batch_size": provenance.get("backend", {}).get("batch_size"),
            "model_sha": model.get("weights"),
        },
        "date": datetime.fromisoformat(started).timestamp(),
        "lm_eval_version": versions.get("lm_eval"),
        "transformers_version": versions.get("transformers"),
        "model_name": model.get("name", ""),
        "total_evaluation_time_seconds": str(seconds),
        "slick": dict(provenance),
    }
