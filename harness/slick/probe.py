"""`slick probe`: either estimator over many facts, in chunks that are committed as they are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.backend import Backend, Request
from slick.exact import ExactRequest, exact_knowledge
from slick.exemplars import ExemplarSets, draw_exemplar_sets, draw_fresh_sets
from slick.facts import Fact, by_relation, facts_digest
from slick.files import digest_of
from slick.knowledge import Knowledge
from slick.matching import Matching
from slick.metrics import Means, fact_metrics, probe_metrics
from slick.processes import ALONE, Processes
from slick.prompts import PLAIN, Chat
from slick.provenance import library_versions
from slick.run_writer import RunWriter
from slick.runs import Row, Run, read_run, sample_row
from slick.sampled import PAPER, Sampled, count_right, probe_prompts

TASK = "slick_probe"
# Facts a chunk. A chunk's batches depend on nothing outside it, so a resumed run repeats an unbroken one.
CHUNK = 128

# Per relation, the exemplar sets that make the category, and the fresh ones of the "before" measurement.
Sets = Mapping[str, tuple[ExemplarSets, ExemplarSets]]


@dataclass(frozen=True, slots=True)
class Probe:
    """Everything that a probe's answers depend on, besides the model.

    estimator: the sampled protocol's settings; `exact` computes what it estimates.
    all_samples: draw samples for every fact, not only where no greedy answer is right.
    Facts are probed relation by relation, since those of one relation share their exemplar sets.
    """

    facts: Sequence[Fact]
    pools: Mapping[str, Sequence[Fact]]
    priors: Mapping[str, str]
    estimator: Sampled = PAPER
    matching: Matching = Matching.STRICT
    chat: Chat = PLAIN
    seed: int = 0
    all_samples: bool = False
    source: str = ""
    exact: bool = False

    def __post_init__(self) -> None:
        ordered = [fact for group in by_relation(self.facts).values() for fact in group]
        object.__setattr__(self, "facts", ordered)

    @property
    def method(self) -> str:
        """The estimator's name, as a run records it."""
        return "exact" if self.exact else "sampled" if self.all_samples else "two-stage sampled"

    def exact_request(self, prompt: str, fact: Fact) -> ExactRequest:
        """What the exact estimator is asked of a fact under one of its prompts."""
        e = self.estimator
        return ExactRequest(prompt, fact.answers, e.temperature, e.top_k, e.max_gen_toks, self.matching)

    def exemplar_sets(self) -> dict[str, tuple[ExemplarSets, ExemplarSets]]:
        """Per relation, the sets that make the category and the fresh sets of the "before" measurement."""
        e = self.estimator
        found = {}
        for relation in by_relation(self.facts):
            pool = self.pools[relation]
            sets = draw_exemplar_sets(pool, n_sets=e.n_exemplar_sets, k=e.n_exemplars, seed=self.seed)
            found[relation] = (sets, draw_fresh_sets(pool, sets, n_sets=e.n_before, seed=self.seed))
        return found

    def settings(self, backend: Backend) -> dict[str, Any]:
        """What must be equal for an interrupted run to be gone on with."""
        return {
            "estimator": self.method,
            **self.estimator.as_dict(),
            "matching": str(self.matching),
            "seed": self.seed,
            "facts": facts_digest(self.facts),
            "exemplars": digest_of({r: [f.id for f in pool] for r, pool in self.pools.items()}),
            "chat": {
                "template": self.chat.template is not None,
                "multiturn": self.chat.multiturn,
                "system": self.chat.system,
            },
            "model": dict(backend.model),
            "backend": backend.provenance(),
        }


def run_probe(probe: Probe, backend: Backend, out: Path, processes: Processes = ALONE) -> Run:
    """Probes every fact and writes a run into `out`; goes on where an interrupted run stopped.

    Of several processes, each with a backend of its own, each answers some of the chunks. Raises InputError when
    `out` holds something else. The finished run is returned, also when it was finished before.
    """
    start = time.monotonic()
    facts = list(probe.facts)
    settings = probe.settings(backend)
    with RunWriter(out, TASK, settings, total=len(facts), chunk=CHUNK, processes=processes) as writer:
        if writer.finished:
            return read_run(out)
        sets = probe.exemplar_sets()
        rows = _exact_rows if probe.exact else _sampled_rows
        for first in writer.chunks("Probing"):
            writer.commit(rows(probe, backend, sets, first, facts[first : first + CHUNK]))
        return writer.finished_by(lambda: _finish(probe, backend, writer, time.monotonic() - start))


def _sampled_rows(
    probe: Probe,
    backend: Backend,
    sets: Sets,
    first: int,
    facts: Sequence[Fact],
) -> Iterator[Row]:
    """Stage one: greedy answers under all sets. Stage two: samples where they are needed."""
    e = probe.estimator
    prompts, fresh = _prompts(probe, sets, facts)
    greedy, before = _greedy(backend, e, prompts, fresh)
    undecided = [
        i
        for i, fact in enumerate(facts)
        if probe.all_samples or count_right(fact, greedy[i], [], matching=probe.matching).greedy_right == 0
    ]
    # Else keyed by the chunk, so that a resumed run draws what an unbroken one would have drawn.
    seed = probe.seed if backend.independent_samples else int(digest_of([probe.seed, first])[:7], 16)
    asked = [p for i in undecided for p in prompts[i]]
    answers = iter(backend.sample(asked, e.sampled_kwargs(), e.n_samples, seed))
    drawn = [[next(answers) for _ in prompts[i]] for i in undecided]
    sampled = dict(zip(undecided, drawn, strict=True))
    for i, fact in enumerate(facts):
        asked_under = (prompts[i], fresh[i])
        yield _sampled_row(probe, first + i, fact, asked_under, greedy[i], sampled.get(i, []), before[i])


def _greedy(
    backend: Backend, e: Sampled, prompts: Sequence[Sequence[str]], fresh: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Greedy answers per fact under its prompts and its fresh prompts, asked together."""
    groups = [*prompts, *fresh]
    answers = iter(backend.generate([(p, e.greedy_kwargs()) for group in groups for p in group]))
    taken = [[next(answers) for _ in group] for group in groups]
    return taken[: len(prompts)], taken[len(prompts) :]


def _prompts(probe: Probe, sets: Sets, facts: Sequence[Fact]) -> tuple[list[list[str]], list[list[str]]]:
    """Per fact, its prompts under the sets that make the category and under the fresh ones."""
    return (
        [probe_prompts(fact, sets[fact.relation][0], probe.chat) for fact in facts],
        [probe_prompts(fact, sets[fact.relation][1], probe.chat) for fact in facts],
    )


def _exact_rows(probe: Probe, backend: Backend, sets: Sets, first: int, facts: Sequence[Fact]) -> Iterator[Row]:
    """Chances under all sets, asked together."""
    e = probe.estimator
    prompts, fresh = _prompts(probe, sets, facts)
    asked = [probe.exact_request(prompt, fact) for i, fact in enumerate(facts) for prompt in (*prompts[i], *fresh[i])]
    answers = iter(backend.exact(asked))
    for i, fact in enumerate(facts):
        found = [[next(answers) for _ in group] for group in (prompts[i], fresh[i])]
        knowledge = exact_knowledge(fact, *found, n_samples=e.n_samples, tolerance=backend.tie)
        requests = [(prompt, e.exact_kwargs()) for prompt in (*prompts[i], *fresh[i])]
        said = [[answer.as_json()] for group in found for answer in group]
        yield _row(probe, first + i, knowledge, requests, said)


def _sampled_row(
    probe: Probe,
    doc_id: int,
    fact: Fact,
    prompts: tuple[Sequence[str], Sequence[str]],
    greedy: Sequence[str],
    sampled: Sequence[Sequence[str]],
    before: Sequence[str],
) -> Row:
    e = probe.estimator
    knowledge = count_right(fact, greedy, sampled, before, matching=probe.matching)
    requests: list[Request] = [(p, e.greedy_kwargs()) for p in prompts[0]]
    answers: list[Sequence[str]] = [[a] for a in greedy]
    if sampled:
        requests += [(p, e.sampled_kwargs()) for p in prompts[0]]
        answers += sampled
    requests += [(p, e.greedy_kwargs()) for p in prompts[1]]
    answers += [[a] for a in before]
    return _row(probe, doc_id, knowledge, requests, answers)


def _row(
    probe: Probe, doc_id: int, knowledge: Knowledge, requests: Sequence[Request], answers: Sequence[Sequence[str]]
) -> Row:
    fact = knowledge.fact
    metrics = fact_metrics(knowledge, probe.priors.get(fact.relation), probe.matching)
    row = sample_row(doc_id, fact, requests, answers, metrics)
    row["counts"] = knowledge.record()
    row["category"] = str(knowledge.category)
    return row


def _finish(probe: Probe, backend: Backend, writer: RunWriter, seconds: float) -> Run:
    knowledge: list[Knowledge] = []
    prompts: list[str] = []
    everything, per_relation = Means(), {relation: Means() for relation in by_relation(probe.facts)}
    for fact, row in zip(probe.facts, writer.rows(), strict=True):
        knowledge.append(Knowledge.of_record(fact, row["counts"]))
        metrics = {name: row[name] for name in row["metrics"]}
        everything.add(metrics)
        per_relation[fact.relation].add(metrics)
        prompts.append(row["prompt_hash"])
    provenance = {
        "schema": 1,
        "kind": "probe",
        "versions": library_versions(),
        "model": dict(backend.model),
        "backend": backend.provenance(),
        "facts": {"source": probe.source, "digest": facts_digest(probe.facts), "n": len(probe.facts)},
        "prompts": digest_of(prompts),
        "priors": dict(probe.priors),
    }
    return writer.finish(
        {**everything.summary(), **probe_metrics(knowledge)},
        provenance=provenance,
        knowledge=knowledge,
        per_relation={r: m.summary() for r, m in per_relation.items()} if len(per_relation) > 1 else None,
        seconds=seconds,
    )
