"""What a task's answers depend on, as it stands in lm-eval's results under configs → task → metadata → slick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from slick.facts import Fact, facts_digest
from slick.files import digest_of
from slick.provenance import fingerprint, library_versions


def task_record(
    facts: Sequence[Fact], prompts: Sequence[str], settings: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a run of one task.

    facts: those asked, after --limit. prompts: all of them, in order; lm-eval's own hash covers only the
    first of each fact. metadata: the task's, among which lm-eval puts the model's arguments.
    """
    model = next((metadata[name] for name in ("peft", "pretrained", "model") if metadata.get(name)), None)
    return {
        "schema": 1,
        "settings": dict(settings),
        "facts": {"n": len(facts), "digest": facts_digest(facts)},
        "prompts": digest_of(prompts),
        "model": _fingerprint(str(model), _newest(Path(str(model)))) if model else {},
        "versions": library_versions(),
    }


@cache
def _fingerprint(model: str, _: int) -> dict[str, Any]:
    # Hashing a large model takes seconds, and twelve tasks ask.
    return fingerprint(model)


def _newest(path: Path) -> int:
    """When a file of the model's directory last changed: in one process a model may be trained and asked again."""
    return max((file.stat().st_mtime_ns for file in path.iterdir()), default=0) if path.is_dir() else 0
