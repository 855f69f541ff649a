"""What may be given beside the score runs: probes of the tuned models, and the sets that they were trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.knowledge import Knowledge
from slick.knowledge_file import KnowledgeFile, read_knowledge
from slick.provenance import same_model
from slick.runs import differences
from slick_reports.arms import Arm
from slick_reports.comparable import refuse
from slick_reports.inputs import mapping
from slick_reports.numbers import Mismatch
from slick_reports.text import visible

# The training set in a directory that `slick mix` wrote.
_TRAIN = "train.jsonl"
# What must be alike in two probes whose categories are set against each other.
_SETTINGS = ("matching", "n_exemplar_sets", "n_exemplars", "n_samples", "max_gen_toks", "estimator", "seed", "chat")


@dataclass(frozen=True, slots=True)
class Probed:
    """The probe of an arm's model. path: as given."""

    path: Path
    knowledge: Sequence[Knowledge]
    mismatches: Sequence[Mismatch] = ()


def read_after(
    paths: Sequence[Path], arms: Sequence[Arm], before: KnowledgeFile | None, *, allow_mismatch: bool
) -> dict[str, Probed]:
    """An arm's label → the probe of its model; of several seeds one is enough, and the first given counts.

    Raises InputError for a probe of none of the arms' models, for one without a probe of the base model to be set
    against, and for one that was made with other settings than that.
    """
    found: dict[str, Probed] = {}
    for path in paths:
        if before is None:
            raise InputError(f"--after {path}: needs the probe of the base model as well; give it with --knowledge")
        file = read_knowledge(path)
        label = _arm_of(path, file.provenance, arms)
        mismatches = _mismatches(path, before.provenance, file.provenance)
        refuse(mismatches, allow_mismatch=allow_mismatch)
        found.setdefault(label, Probed(path, file.knowledge, mismatches))
    return found


def _arm_of(path: Path, provenance: Mapping[str, Any], arms: Sequence[Arm]) -> str:
    model = mapping(provenance.get("model"))
    if not model and len(arms) == 1:
        return arms[0].label
    for arm in arms:
        if model and any(same_model(mapping(run.provenance.get("model")), model) for run in arm.runs):
            return arm.label
    raise InputError(
        f"--after {path}: is a probe of {visible(str(model.get('name', 'an unrecorded model')), 200)!r}, which none of "
        "the runs scores; probe the very model that an arm's run scored"
    )


def _mismatches(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Mismatch]:
    """How the two probes' settings differ; what one of them did not record is no difference."""
    there, here = (_settings(provenance) for provenance in (before, after))
    shared = [name for name in _SETTINGS if name in there and name in here]
    return [
        Mismatch(f"probe: {name}", str(path), visible(repr(a), 300), visible(repr(b), 300))
        for name, a, b in differences({n: there[n] for n in shared}, {n: here[n] for n in shared})
    ]


def _settings(provenance: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(mapping(provenance.get("settings")))
    if "estimator" in found:
        # With and without its second stage the sampled estimator finds the same categories.
        found["estimator"] = "exact" if found["estimator"] == "exact" else "sampled"
    return found


def read_training_sets(paths: Mapping[str, Path], arms: Sequence[Arm]) -> dict[str, frozenset[str]]:
    """An arm's label → the answers that it was trained on. InputError for a label of no arm or a set without rows."""
    labels = [arm.label for arm in arms]
    if strangers := [label for label in paths if label not in labels]:
        raise InputError(
            f"--training-set {', '.join(map(repr, strangers))}: no such arm; the arms are "
            f"{', '.join(map(repr, labels))}"
        )
    return {label: read_answers(path) for label, path in paths.items()}


def read_answers(path: Path) -> frozenset[str]:
    """The answers of a training set: `train.jsonl` of `slick mix`, its directory, or JSON Lines with completions."""
    file = path / _TRAIN if path.is_dir() else path
    answers: set[str] = set()
    with Mistakes(f"{file}: rows without an answer:") as mistakes:
        for number, line in enumerate(_lines(file), 1):
            answer = _answer(line)
            if answer is None:
                mistakes.add(f"{file.name}:{number}: expected an object with a completion (or messages, or an answer)")
            else:
                answers.add(answer)
    if not answers:
        raise InputError(f"{file}: holds no rows, expected a training set")
    return frozenset(answers)


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); expected a training set") from error


def _answer(line: bytes) -> str | None:
    """The text that a row teaches; a chat's is the last message."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    for name in ("completion", "messages", "answer"):
        value = mapping(row).get(name)
        if isinstance(value, list) and value:
            value = mapping(value[-1]).get("content")
        if isinstance(value, str):
            # What is taught begins after the prompt's "A:"; an answer is compared without the space between.
            return value.strip()
    return None
