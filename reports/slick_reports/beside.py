"""What may be given beside the score runs: probes of the tuned models, and the sets that they were trained on."""

from __future__ import annotations

import hashlib
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
from slick_reports.inputs import Scored, mapping
from slick_reports.numbers import Mismatch
from slick_reports.text import visible

# The training set in a directory that `slick mix` wrote.
_TRAIN = "train.jsonl"
# What must be alike in two probes whose categories are set against each other.
_SETTINGS = ("matching", "n_exemplar_sets", "n_exemplars", "n_samples", "max_gen_toks", "estimator", "seed", "chat")


# For each run of an arm the answers that it was trained on; None where its set was not given.
Trained = tuple[frozenset[str] | None, ...]


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


def read_training_sets(paths: Mapping[str, Sequence[Path]], arms: Sequence[Arm]) -> dict[str, Trained]:
    """An arm's label → the answers that each of its runs was trained on.

    A run meets the set whose digest its provenance records. Raises InputError for a label of no arm, a set without
    rows, one given twice, and one that none of the arm's runs was trained on.
    """
    named = {arm.label: arm for arm in arms}
    if strangers := [label for label in paths if label not in named]:
        raise InputError(
            f"--training-set {', '.join(map(repr, strangers))}: no such arm; the arms are {', '.join(map(repr, named))}"
        )
    return {label: _trained(named[label], given) for label, given in paths.items()}


def training_digest(run: Scored) -> str | None:
    """The digest of the set that a run's model was trained on; None where it is not recorded."""
    digest = mapping(run.training.get("data")).get("digest")
    return digest if isinstance(digest, str) and digest else None


def _trained(arm: Arm, paths: Sequence[Path]) -> Trained:
    sets: dict[str, tuple[Path, frozenset[str]]] = {}
    for path in paths:
        digest, answers = _read_set(path)
        if digest in sets:
            raise InputError(f"--training-set {arm.label}: {sets[digest][0]} and {path} are the same set; give it once")
        sets[digest] = path, answers
    recorded = [training_digest(run) for run in arm.runs]
    strangers = [digest for digest in sets if digest not in recorded]
    # Where a single run does not say what it was trained on, there is nothing to go by but the user's word.
    if len(strangers) == 1 and recorded.count(None) == 1:
        recorded[recorded.index(None)] = strangers.pop()
    if strangers:
        given = ", ".join(f"{sets[digest][0]} ({digest[:12]}…)" for digest in strangers)
        told = ", ".join(
            f"{run.path} {f'{digest[:12]}…' if digest else 'not recorded'}"
            for run, digest in zip(arm.runs, recorded, strict=True)
        )
        raise InputError(
            f"--training-set {arm.label}: no run of this arm was trained on {given}; by their records the runs were "
            f"trained on {visible(told, 2000)}; give the very file that each was trained on"
        )
    return tuple(sets[digest][1] if digest in sets else None for digest in recorded)


def read_answers(path: Path) -> frozenset[str]:
    """The answers of a training set: `train.jsonl` of `slick mix`, its directory, or JSON Lines with completions."""
    return _read_set(path)[1]


def _read_set(path: Path) -> tuple[str, frozenset[str]]:
    """(digest as a tuning run records it, answers)."""
    file = path / _TRAIN if path.is_dir() else path
    answers: set[str] = set()
    digest = hashlib.sha256()
    with Mistakes(f"{file}: rows without an answer:") as mistakes:
        for number, line in enumerate(_lines(file), 1):
            digest.update(line)
            answer = _answer(line)
            if answer is None:
                mistakes.add(f"{file.name}:{number}: expected an object with a completion (or messages, or an answer)")
            else:
                answers.add(answer)
    if not answers:
        raise InputError(f"{file}: holds no rows, expected a training set")
    return digest.hexdigest(), frozenset(answers)


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
    except (ValueError, RecursionError):
        return None
    for name in ("completion", "messages", "answer"):
        value = mapping(row).get(name)
        if isinstance(value, list) and value:
            value = mapping(value[-1]).get("content")
        if isinstance(value, str):
            # What is taught begins after the prompt's "A:"; an answer is compared without the space between.
            return value.strip()
    return None
