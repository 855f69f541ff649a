"""`study.json`: what a study is, and what its jobs were done with; a reader of the directory begins here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import make_directory, mapping_of, read_json, write_json
from slick.provenance import library_versions, same_model
from slick.runs import differences
from slick.training import TRAINING
from slick_sft.study.conditions import Conditions
from slick_sft.study.grid import TENTH
from slick_sft.study.jobs import (
    BASE,
    CONVERGENCE,
    EARLY_STOP,
    SCORED,
    SCORES,
    SETS,
    STAGES,
    TUNED,
    Arm,
    Job,
    Setup,
    arms_of,
    base_won,
    conflicts,
    other_sets,
)

SCHEMA = 1
STUDY = "study.json"
LOCK = "study.lock"
_AS_BEGUN = f", or go on as it was begun, with `watch_rows: {TENTH}` in the grid"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class State:
    """A study's record on disk. Every change is written at once."""

    def __init__(self, out: Path, found: Mapping[str, Any]) -> None:
        self.out = out
        self._document: dict[str, Any] = dict(found)

    @classmethod
    def read(cls, out: Path) -> State:
        """The record in a directory; an empty one where it is new. InputError where the directory is not a study's."""
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file, expected a directory for the study; choose another --out")
        if (out / STUDY).exists():
            found = read_json(out / STUDY)
            if not isinstance(found, dict) or found.get("kind") != "study":
                raise InputError(f"{out / STUDY}: was not written by slick study; choose another --out")
            if found.get("schema", 0) > SCHEMA:
                raise InputError(f"{out / STUDY}: schema version {found['schema']}, this slick reads up to {SCHEMA}")
            return cls(out, found)
        if out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
            raise InputError(f"{out}: is not empty and holds no study; choose another --out")
        return cls(out, {})

    @property
    def begun(self) -> bool:
        return bool(self._document)

    @property
    def threads(self) -> int | None:
        """The threads of each worker, which the last digits of its sums depend on; None for a new study."""
        found = self._document.get("threads")
        return found if isinstance(found, int) else None

    @property
    def measured(self) -> Mapping[str, Any]:
        return mapping_of(self._document.get("measured"))

    def check(self, setup: Setup, jobs: Sequence[Job]) -> None:
        """Raises InputError where the directory holds the study of another model, or outcomes of other settings."""
        there = mapping_of(self._document.get("model"))
        if there and not same_model(there, setup.base):
            raise InputError(
                f"{self.out / STUDY}: is the study of another model ({there.get('name')}, weights "
                f"{str(there.get('weights'))[:12]}; now {setup.base.get('name')}, weights "
                f"{str(setup.base.get('weights'))[:12]}); choose another --out"
            )
        found = list(conflicts(jobs, mapping_of(self._document.get("jobs")), self.out))
        shown = {job.name: text for job, settings in found if (text := _differing(job, settings))}
        followed = len(found) - len(shown)
        if all(job.kind != "mix" for job, _ in found):
            shown |= {place: _told(place, differing) for place, differing in other_sets(setup).items()}
        with Mistakes(
            f"{self.out}: holds outcomes of other settings; choose another --out, or remove them"
            + (f" and the {followed} that rest on them" if followed else "")
            + (_AS_BEGUN if any(_watched_a_tenth(job, settings) for job, settings in found) else "")
            + ":",
            limit=8,
        ) as mistakes:
            # Outcomes that nothing is known of may rest on nothing else that is shown.
            mistakes.extend(shown.values() if shown else (", ".join(job.outs[:2]) for job, _ in found))

    @property
    def conditions(self) -> Mapping[str, Any]:
        """Version → what its arms were last tuned on."""
        return mapping_of(self._document.get("conditions"))

    def begin(
        self, setup: Setup, jobs: Sequence[Job], threads: int, conditions: Mapping[str, Conditions] | None = None
    ) -> None:
        """Records the study as it is now; outcomes that only an earlier grid asked for stay recorded.

        conditions: version → what its arms are tuned on from now on; None leaves what was recorded.
        """
        make_directory(self.out)
        before = mapping_of(self._document.get("jobs"))
        recorded = {job.name: {**mapping_of(before.get(job.name)), "settings": dict(job.settings)} for job in jobs}
        self._document = {
            "schema": SCHEMA,
            "kind": "study",
            "model": dict(setup.base),
            "facts": {
                "source": setup.facts,
                "splits": {split: {"n": setup.counts[split], "digest": of} for split, of in setup.splits.items()},
            },
            "grid": setup.grid.as_dict(),
            "seeds": setup.seeds,
            "threads": threads,
            "conditions": {**self.conditions, **{name: of.as_dict() for name, of in (conditions or {}).items()}},
            "finished": False,
            "arms": [],
            "measured": dict(self.measured),
            "versions": library_versions(),
            "jobs": {**before, **recorded},
        }
        self._write()

    def note_measured(self, measured: Mapping[str, Any]) -> None:
        self._document["measured"] = dict(measured)
        self._write()

    def note_done(self, job: str, seconds: float, record: Mapping[str, Any]) -> None:
        """Records how long a job took and what it found out; that it is done is told by what it wrote."""
        self._document["jobs"][job] |= {"seconds": round(seconds, 1), "found": dict(record)}
        self._write()

    def finish(self, setup: Setup) -> None:
        """Records where each arm's outcomes stand."""
        self._document |= {"finished": True, "arms": [_arm(setup, arm) for arm in arms_of(setup)]}
        self._write()

    def _write(self) -> None:
        write_json(self.out / STUDY, self._document)


def _watched_a_tenth(job: Job, there: Mapping[str, Any]) -> bool:
    """As arms did, where the grid says nothing, before a study asked all; now this one would ask other rows."""
    return "watch_rows" in there and there["watch_rows"] is None and job.settings.get("watch_rows") is not None


def _differing(job: Job, there: Mapping[str, Any]) -> str:
    """What differs between a job's settings there and now, but for what follows from earlier jobs; "" if nothing."""
    derived = job.kind != "probe"
    differing = [
        (name, old, new)
        for name, old, new in differences(there, job.settings)
        if not (derived and _is_digest(old) and _is_digest(new))
    ]
    if not differing:
        return ""
    places = ", ".join(job.outs[:2]) + (" …" if len(job.outs) > 2 else "")
    return _told(places, differing)


def _told(place: str, differing: Sequence[tuple[str, Any, Any]]) -> str:
    return f"{place}: " + "; ".join(f"{name}: there {old!r}, now {new!r}" for name, old, new in differing[:3])


def _is_digest(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and _DIGEST.fullmatch(text) for text in texts)


def _arm(setup: Setup, arm: Arm) -> dict[str, Any]:
    """Where an arm's outcomes stand. At EARLY_STOP these are the base's own where no epoch was better on dev."""
    tuned = setup.out / TUNED / arm.name
    names = {
        EARLY_STOP: BASE if base_won(tuned) else f"{arm.name}-{EARLY_STOP}",
        CONVERGENCE: f"{arm.name}-{CONVERGENCE}",
    }
    training = mapping_of(read_json(tuned / TRAINING))
    return {
        "name": arm.name,
        "variant": arm.variant.name,
        "recipe": arm.variant.recipe,
        "version": arm.variant.version,
        "seed": arm.seed,
        "set": f"{SETS}/{arm.mixed}",
        "tuned": f"{TUNED}/{arm.name}",
        "steps": training.get("steps"),
        "early_stop": training.get("early_stop"),
        "conditions": Conditions.of_record(training).as_dict(),
        "scores": {
            stage: {split: f"{SCORES}/{names[stage]}{SCORED[split]}" for split in setup.scored} for stage in STAGES
        },
    }
