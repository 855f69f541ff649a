"""Named baselines: runs that a team approved, in one JSON file that it commits. None moves by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import mapping_of, read_json, sha256_of, write_json
from slick.provenance import library_versions
from slick.rows import nearest, shown
from slick_reports.inputs import Scored
from slick_sft.gate.arms import Arm, read_arm
from slick_sft.gate.locked import locked

SCHEMA = 1
KIND = "slick baselines"
DEFAULT = Path(".slick/baselines.json")
# A gate's directory holds this.
GATE = "gate.json"
_MOVES = 50


@dataclass(frozen=True, slots=True)
class Baseline:
    """runs: where its scores stand, and the digest of each one's answers. training: how its models were made."""

    name: str
    date: str
    runs: tuple[tuple[Path, str], ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    verdict: str | None = None

    def days(self, now: datetime | None = None) -> int:
        """How old it is, in whole days."""
        return max(0, ((now or datetime.now(UTC)) - moment(self.date)).days)

    def notes(self, stale_after: int, now: datetime | None = None) -> list[str]:
        """What is to be said of its age."""
        days = self.days(now)
        told = f"The baseline {shown(self.name)} was blessed on {self.date[:10]}, {days} day{'s' * (days != 1)} ago"
        if days <= stale_after:
            return [f"{told}."]
        return [f"Stale: {told}, more than {stale_after}; bless a newer run, with slick bless RUN NAME --move."]


def moment(date: str) -> datetime:
    """A date as it is written, in UTC where it names no time zone. ValueError for what is none."""
    found = datetime.fromisoformat(date)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def bless(
    paths: Sequence[Path], name: str, file: Path = DEFAULT, *, move: bool = False, now: datetime | None = None
) -> Baseline:
    """Calls these runs, or the candidate of a gate's directory, the baseline `name`, and returns it.

    Raises InputError for a name that cannot be, one that is taken unless it is to move, and runs that are not one arm.
    """
    if not name.strip() or not name.isprintable() or name != name.strip():
        raise InputError(f"baseline {shown(name)}: expected a name on one line")
    found, verdict = _runs_of(paths)
    arm = read_arm(found, f"baseline {name}")
    _check_one_recipe(arm)
    entry = _entry(arm, file, verdict, now or datetime.now(UTC))
    # Of two that bless at once, neither loses what the other wrote.
    with locked(file):
        document = _read(file)
        entries = document["baselines"]
        before = entries.get(name)
        if before and not move:
            raise InputError(
                f"{file}: the baseline {shown(name)} stands there already, of {str(before.get('date'))[:10]}; a "
                "baseline moves only with --move"
            )
        if before:
            runs = [mapping_of(run).get("weights") for run in before.get("runs", [])]
            moved = {"date": before.get("date"), "weights": runs}
            entry["moved_from"] = [moved, *before.get("moved_from", [])][:_MOVES]
        entries[name] = entry
        write_json(file, document)
    return _baseline(name, entry, file)


def read_baseline(name: str, file: Path = DEFAULT) -> Baseline:
    """The baseline of that name, its answers unchanged. InputError says what is missing, changed, or was meant."""
    if not file.exists():
        raise InputError(f"{file}: no such file, so there is no baseline {shown(name)}; make one: slick bless RUN NAME")
    entries = _read(file)["baselines"]
    if name not in entries:
        listed = ", ".join(map(shown, entries)) or "none"
        raise InputError(f"{file}: no baseline {shown(name)}; found {listed}{nearest(name, entries)}")
    found = _baseline(name, entries[name], file)
    with Mistakes(f"{file}: the runs of the baseline {shown(name)} are not what was blessed:") as mistakes:
        for path, digest in found.runs:
            if not path.is_dir():
                mistakes.add(f"{path}: is gone; bring it back, or bless another run with --move")
            elif digest_of_answers(read_arm([path], name).runs[0]) != digest:
                mistakes.add(f"{path}: its answers were changed since; bring them back, or bless it again with --move")
    return found


def digest_of_answers(run: Scored) -> str:
    """SHA-256 of a run's logged answers."""
    return sha256_of(*sorted(run.run.samples.values()))


def _runs_of(paths: Sequence[Path]) -> tuple[list[Path], str | None]:
    """The runs that are meant, and the verdict on them where a gate's directory was given."""
    if len(paths) == 1 and (paths[0] / GATE).is_file():
        document = mapping_of(read_json(paths[0] / GATE))
        runs = [mapping_of(run) for run in mapping_of(document.get("runs")).get("candidate") or []]
        found = [located(str(run.get("path")), paths[0]) for run in runs]
        if not found:
            raise InputError(f"{paths[0] / GATE}: names no runs of a candidate")
        return found, str(document.get("verdict"))
    return list(paths), None


def located(path: str, directory: Path) -> Path:
    """What a document in `directory` names, whatever the working directory. InputError where nothing is there: what
    stands elsewhere under the same name may be of another gate."""
    found = directory / path
    if not found.exists():
        raise InputError(
            f"{found}: is gone, and the verdict in {directory} is about it; bring it back, or move the "
            "verdict together with its runs"
        )
    return found


def _check_one_recipe(arm: Arm) -> None:
    keys = {key for run in arm.runs if isinstance(key := run.training.get("arm_key"), str)}
    if len(keys) > 1:
        raise InputError(
            f"{', '.join(str(run.path) for run in arm.runs)}: were trained by {len(keys)} recipes, and a baseline is "
            "one; give runs that differ in nothing but their seeds"
        )


def _entry(arm: Arm, file: Path, verdict: str | None, now: datetime) -> dict[str, Any]:
    first = arm.runs[0]
    training = {name: value for name, value in first.training.items() if name not in ("loss", "notes", "dynamics")}
    return {
        "date": now.isoformat(timespec="seconds"),
        "verdict": verdict,
        "runs": [
            {
                # From the file's own directory, so that a checkout may lie anywhere.
                "path": Path(os.path.relpath(run.path.resolve(), file.parent.resolve())).as_posix(),
                "answers": digest_of_answers(run),
                "seed": run.seed,
                "model": mapping_of(run.provenance.get("model")).get("name"),
                "weights": mapping_of(run.provenance.get("model")).get("weights"),
            }
            for run in arm.runs
        ],
        "facts": dict(mapping_of(first.provenance.get("facts"))),
        "settings": dict(first.settings),
        "training": training,
        "versions": library_versions(),
    }


def _baseline(name: str, entry: Any, file: Path) -> Baseline:
    try:
        moment(entry["date"])
        runs = tuple((Path(os.path.normpath(file.parent / run["path"])), str(run["answers"])) for run in entry["runs"])
        return Baseline(name, entry["date"], runs, mapping_of(entry.get("training")), entry.get("verdict"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: the baseline {shown(name)} is damaged ({error}); bless it again") from error


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {"schema": SCHEMA, "kind": KIND, "baselines": {}}
    found = read_json(file)
    if not isinstance(found, dict) or found.get("kind") != KIND or not isinstance(found.get("baselines"), dict):
        raise InputError(f"{file}: was not written by slick bless; choose another file with --baselines")
    if not all(isinstance(entry, dict) for entry in found["baselines"].values()):
        raise InputError(f"{file}: holds a baseline that is no JSON object; bless it again")
    schema = found.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{file}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    return found
