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
from slick_reports.lm_eval_scores import answered_of, counted, lacks_of, told_of


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
    """A score run. rows: fact id → answer; a fact that stands there several times is kept once (n_rows counts all).

    told: provenance where lm_eval wrote the run, else None. lacks: what such a run does not record.
    """

    run: Run
    rows: Mapping[str, Answered]
    n_rows: int
    told: Mapping[str, Any] | None = None
    lacks: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.run.provenance if self.told is None else self.told

    @property
    def settings(self) -> Mapping[str, Any]:
        return mapping(self.provenance.get("settings"))

    @property
    def judge(self) -> str:
        """Who judged the answers; "" where `slick` did, or our task under lm_eval."""
        return "" if self.run.provenance else "lm_eval’s task"

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
    """The score run in `path`, of `slick score` or of lm_eval's closed-book tasks, ours and others, with --log_samples.

    InputError for another kind of run, one without samples or with fewer than it counts, and rows that cannot be.
    """
    run = read_finished(path)
    ours = run.kind == "score"
    if run.kind not in ("score", "lm_eval"):
        raise InputError(f"{path}: {_KINDS.get(run.kind, f'is a run of kind {run.kind!r}')}; expected scores")
    if not run.samples:
        raise InputError(
            f"{path}: logged no samples (samples_*.jsonl), so its answers cannot be paired; {_again(ours)}"
        )
    rows: dict[str, Answered] = {}
    total = 0
    with Mistakes(f"{path}: rows that are no scored facts:") as mistakes:
        for task, file in run.samples.items():
            docs: set[Any] = set()
            chosen: Any = None
            for number, row in enumerate(read_samples(file), 1):
                # lm_eval writes a row a filter; the first one's answers count.
                chosen = row.get("filter") if number == 1 else chosen
                if row.get("filter") != chosen:
                    continue
                total += 1
                try:
                    docs.add(row.get("doc_id", number))
                    answered = _answered(row) if ours else _of_lm_eval(row, task)
                except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                    mistakes.add(f"{file.name}:{number}: {_reason(error)}")
                    continue
                rows.setdefault(answered.fact.id, answered)
            wanted = counted(run.results, task)
            if docs and wanted is not None and len(docs) < wanted:
                mistakes.add(
                    f"{file.name}: holds {len(docs):,} of the {wanted:,} answers that the results count; copy it again "
                    f"from where it was made, or {_again(ours)}"
                )
    if not rows:
        raise InputError(f"{path}: its samples file is empty; {_again(ours)}")
    if ours:
        return Scored(run, rows, total)
    told = told_of(run.results, run.provenance)
    return Scored(run, rows, total, told, lacks_of(run.results, told, ours=bool(run.provenance)))


def _again(ours: bool) -> str:
    return "score the model again" if ours else "run lm_eval again with --log_samples"


def read_finished(path: Path) -> Run:
    """`slick.runs.read_run`, but samples whose results are missing are said to be that."""
    if path.is_dir() and not any(path.rglob("results_*.json")):
        found = next(path.rglob("samples_*.jsonl"), None)
        if found is not None:
            raise InputError(
                f"{path}: holds samples ({found.name}) but no results_*.json; copy it from where they were made, "
                "or run again"
            )
    return read_run(path)


_KINDS = {
    "probe": "is a probe (few-shot knowledge, never compared with a zero-shot score; give it as --knowledge)",
}


def _of_lm_eval(row: Mapping[str, Any], task: str) -> Answered:
    if "p_correct_greedy" in row:
        raise ValueError("is a row of a probe; give the run as --knowledge")
    found = answered_of(row, task)
    return Answered(
        found["fact"],
        found["answer"],
        _flag(found["right"], "exact_match"),
        _flag(found["abstained"], "abstained"),
        None if found["prior"] is None else _flag(found["prior"], "answer_prior"),
        None,
        found["prompt"],
    )


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
