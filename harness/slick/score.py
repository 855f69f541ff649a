"""`slick score`: closed-book question answering, zero-shot in the training form, exact match, greedy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.backend import Backend, Request
from slick.facts import Fact, by_relation, facts_digest
from slick.files import digest_of
from slick.knowledge import CATEGORIES, Category
from slick.matching import Matching, is_abstention, is_right
from slick.metrics import summarise
from slick.processes import ALONE, Processes
from slick.prompts import DEFAULT_FORM, PLAIN, Chat, form_prompt
from slick.provenance import library_versions
from slick.run_writer import RunWriter
from slick.runs import Row, Run, read_run, sample_row
from slick.sampled import greedy_kwargs

TASK = "closed_book"
CHUNK = 256


@dataclass(frozen=True, slots=True)
class Score:
    """Everything that a score depends on, besides the model.

    categories: fact id → category of the base model; facts that are not in it are scored without one.
    training:   what made the scored model ("arm", "seed", …), copied from its tuning run; empty for a base model.
    """

    facts: Sequence[Fact]
    categories: Mapping[str, Category]
    priors: Mapping[str, str]
    form: str = DEFAULT_FORM
    matching: Matching = Matching.STRICT
    chat: Chat = PLAIN
    max_gen_toks: int = 32
    source: str = ""
    training: Mapping[str, Any] | None = None
    knowledge_model: Mapping[str, Any] | None = None

    def settings(self, backend: Backend) -> dict[str, Any]:
        return {
            "form": self.form,
            "matching": str(self.matching),
            "max_gen_toks": self.max_gen_toks,
            "facts": facts_digest(self.facts),
            "categories": digest_of({k: str(v) for k, v in self.categories.items()}),
            "chat": {"template": self.chat.template is not None, "system": self.chat.system},
            "model": dict(backend.model),
            "backend": backend.provenance(),
        }


def answer_metrics(answer: str, fact: Fact, prior: str | None, matching: Matching) -> dict[str, float]:
    """One closed-book answer's metrics, by their lm-eval names."""
    metrics = {
        "exact_match": float(is_right(answer, fact.answers, matching)),
        "abstained": float(is_abstention(answer)),
    }
    if prior is not None:
        metrics["answer_prior"] = float(is_right(prior, fact.answers, matching))
    return metrics


def run_score(score: Score, backend: Backend, out: Path, processes: Processes = ALONE) -> Run:
    """Asks every fact once and writes a run into `out`; goes on where an interrupted run stopped.

    Of several processes, each with a backend of its own, each answers some of the chunks.
    """
    start = time.monotonic()
    facts = list(score.facts)
    settings = score.settings(backend)
    with RunWriter(out, TASK, settings, total=len(facts), chunk=CHUNK, processes=processes) as writer:
        if writer.finished:
            return read_run(out)
        for first in writer.chunks("Scoring"):
            writer.commit(_score_chunk(score, backend, first, facts[first : first + CHUNK]))
        return writer.finished_by(lambda: _finish(score, backend, writer, time.monotonic() - start))


def _score_chunk(score: Score, backend: Backend, first: int, facts: Sequence[Fact]) -> list[Row]:
    kwargs = greedy_kwargs(score.max_gen_toks)
    requests: list[Request] = [(form_prompt(score.form, f.question, score.chat), kwargs) for f in facts]
    rows = []
    for i, (fact, request, answer) in enumerate(zip(facts, requests, backend.generate(requests), strict=True)):
        metrics = answer_metrics(answer, fact, score.priors.get(fact.relation), score.matching)
        row = sample_row(first + i, fact, [request], [[answer]], metrics)
        category = score.categories.get(fact.id)
        row["category"] = str(category) if category else None
        rows.append(row)
    return rows


def _finish(score: Score, backend: Backend, writer: RunWriter, seconds: float) -> Run:
    rows = [
        {"relation": fact.relation, "category": row["category"], "prompt": row["prompt_hash"]}
        | {"metrics": {name: row[name] for name in row["metrics"]}}
        for fact, row in zip(score.facts, writer.rows(), strict=True)
    ]
    results = summarise([row["metrics"] for row in rows])
    for category in CATEGORIES:
        group = [
            {f"exact_match_{category.metric}": r["metrics"]["exact_match"]} for r in rows if r["category"] == category
        ]
        if group:
            results |= {**summarise(group), "sample_len": len(rows), f"{category.metric}_n,none": len(group)}
    relations = by_relation(score.facts)
    per_relation = {r: summarise([row["metrics"] for row in rows if row["relation"] == r]) for r in relations}
    provenance = {
        "schema": 1,
        "kind": "score",
        "versions": library_versions(),
        "model": dict(backend.model),
        "backend": backend.provenance(),
        "facts": {"source": score.source, "digest": facts_digest(score.facts), "n": len(score.facts)},
        "prompts": digest_of([row["prompt"] for row in rows]),
        "training": dict(score.training or {}),
        "knowledge_model": dict(score.knowledge_model or {}),
    }
    return writer.finish(
        results,
        provenance=provenance,
        per_relation=per_relation if len(relations) > 1 else None,
        seconds=seconds,
    )
