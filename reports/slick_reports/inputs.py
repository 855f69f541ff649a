"""Score runs as the report needs them: one answered fact a row. Files are untrusted; all their mistakes are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.facts import Fact
from slick.knowledge import Category
from slick.matching import first_line
from slick.runs import Run, read_run, read_samples


@dataclass(frozen=True, slots=True)
class Answered:
    """A scored fact. answer: the line that was matched; prior: whether the relation's commonest answer is right."""

    fact: Fact
    answer: str
    right: bool
    abstained: bool
    prior: bool | None
    category: Category | None
    prompt: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A score run. rows: fact id → answer; a fact that stands there several times is kept once (n_rows counts all)."""

    run: Run
    rows: Mapping[str, Answered]
    n_rows: int

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.run.provenance

    @property
    def settings(self) -> Mapping[str, Any]:
        return mapping(self.provenance.get("settings"))

    @property
    def training(self) -> Mapping[str, Any]:
        """What made the model; empty for a base model."""
        return mapping(self.provenance.get("training"))

    @property
    def seed(self) -> int | None:
        seed = self.training.get("seed")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one: provenance comes from files that others wrote."""
    return value if isinstance(value, Mapping) else {}


def read_scored(path: Path) -> Scored:
    """The score run in `path`. InputError for another kind of run, one without samples, and rows that cannot be."""
    run = read_run(path)
    if run.kind != "score":
        found = _KINDS.get(run.kind, f"is a run of kind {run.kind!r}")
        raise InputError(f"{path}: {found}; expected a `slick score` run")
    if not run.samples:
        raise InputError(
            f"{path}: logged no samples (samples_*.jsonl), so its answers cannot be paired; score the model again"
        )
    rows: dict[str, Answered] = {}
    total = 0
    with Mistakes(f"{path}: rows that are no scored facts:") as mistakes:
        for file in run.samples.values():
            for number, row in enumerate(read_samples(file), 1):
                total += 1
                try:
                    answered = _answered(row)
                except (KeyError, IndexError, TypeError, ValueError) as error:
                    mistakes.add(f"{file.name}:{number}: {_reason(error)}")
                    continue
                rows.setdefault(answered.fact.id, answered)
    if not rows:
        raise InputError(f"{path}: its samples file is empty; score the model again")
    return Scored(run, rows, total)


_KINDS = {
    "probe": "is a probe (few-shot knowledge, never compared with a zero-shot score; give it as --knowledge)",
    "lm_eval": "was written by lm_eval itself, without the prompts' form",
}


def _answered(row: Mapping[str, Any]) -> Answered:
    doc, resps = row["doc"], row["resps"]
    if not isinstance(doc, Mapping):
        raise TypeError(f"doc is {doc!r:.80}, expected an object")
    answer = resps[0][0]
    if not isinstance(answer, str):
        raise TypeError(f"resps[0][0] is {answer!r:.80}, expected the answer's text")
    fact = Fact.from_dict(doc)
    if not fact.answers:
        raise ValueError("answers is empty, expected at least one accepted answer")
    category = row.get("category")
    return Answered(
        fact,
        first_line(answer),
        _flag(row["exact_match"], "exact_match"),
        _flag(row["abstained"], "abstained"),
        None if row.get("answer_prior") is None else _flag(row["answer_prior"], "answer_prior"),
        None if category is None else Category(category),
        str(row.get("prompt_hash", "")),
    )


def _flag(value: Any, name: str) -> bool:
    if value not in (0, 1):
        raise ValueError(f"{name} is {value!r:.80}, expected 0 or 1")
    return bool(value)


def _reason(error: Exception) -> str:
    return f"lacks the field {error}" if isinstance(error, KeyError) else str(error)
