"""The classes behind our lm-eval tasks: one relation each, a SliCK probe or a closed-book score.

What is asked and how it is judged is the core's; here it is put into lm-eval's terms. Every fact is a "doc",
its answers are the doc's "resps", and metrics are means over facts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any
from weakref import WeakSet

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.utils import warning_once

from slick.errors import InputError, RunError
from slick.exact import ExactAnswer, ExactRequest, exact_knowledge
from slick.exemplars import ExemplarSets, check_pools, draw_exemplar_sets, exemplar_pools
from slick.facts import Fact, of_split, sample_facts
from slick.lm_eval_plugin import evaluated_model
from slick.metrics import fact_metrics
from slick.options import answer_priors
from slick.prompts import Chat, form_prompt
from slick.sampled import PAPER, Sampled, count_right, greedy_kwargs, probe_prompts
from slick.score import answer_metrics
from slick_tasks.knobs import Knobs, misspelt
from slick_tasks.record import task_record

Doc = dict[str, Any]

# The method of a model, and hence the type of lm-eval's requests, that gives exact answers.
EXACT: Any = "slick_exact"

# Below lm-eval's own logger, so that its handlers and LMEVAL_LOG_LEVEL hold for us too.
_log = logging.getLogger("lm_eval.slick")

# From so many sampled requests on, no two different answers in any of them mean that the samples are copies.
_ENOUGH_TO_TELL = 100


class FactsTask(ConfigurableTask):  # type: ignore[misc]  # lm_eval is untyped
    """One relation's facts of one split. The YAML names the relation in `dataset_name`.

    facts: what is asked, in order; a doc is a fact's JSON form. prior: the relation's commonest answer.
    """

    facts: list[Fact]
    prior: str

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.knobs = Knobs.of_metadata(config.get("metadata") or {})
        own = {
            # Any value keeps lm-eval from looking our metrics' names up on the hub.
            "process_results": "process_results",
            "generation_kwargs": greedy_kwargs(PAPER.max_gen_toks),
        }
        # TaskConfig takes no "class".
        super().__init__(config={name: value for name, value in config.items() if name != "class"} | own)
        self._decoding = deepcopy(self.config.generation_kwargs)

    def download(self, *_: Any, **__: Any) -> None:
        """Reads the facts; InputError says which relations or splits there are when ours is none of them."""
        from datasets import Dataset

        metadata = dict(self.config.metadata or {})
        for name, meant in misspelt(metadata).items():
            warning_once(_log, f"--metadata {name}: is no setting of the slick tasks; was {meant} meant?")
        source = self.config.custom_dataset(**metadata)
        relation, split = self.config.dataset_name, self.knobs.split or self.config.test_split
        group = source.get(relation, ())
        if not group:
            raise InputError(f"{self.config.task}: no facts of relation {relation}; found {', '.join(sorted(source))}")
        facts = of_split(group, split)
        if not facts:
            found = ", ".join(sorted({fact.split for fact in group}))
            raise InputError(f"{self.config.task}: no facts of split {split!r}; found {found}")
        if self.knobs.per_relation:
            facts = sample_facts(facts, self.knobs.per_relation, self.knobs.exemplar_seed)
        self.facts = facts
        self.pools = exemplar_pools(group, facts, seed=self.knobs.exemplar_seed)
        self.prior = answer_priors(group, self.pools)[relation]
        self.config.test_split = split
        self.dataset = {split: Dataset.from_list([fact.as_dict() for fact in facts])}

    def fewshot_docs(self) -> None:
        """None: lm-eval's own few-shot sampler is not used."""

    def doc_to_text(self, doc: Doc, *_: Any) -> str:
        return str(doc["question"])

    def doc_to_target(self, doc: Doc, *_: Any) -> str:
        return str(doc["answers"][0])

    def prompts(self, fact: Fact, chat: Chat) -> list[str]:
        """Every prompt under which `fact` is asked."""
        raise NotImplementedError

    def fewshot_context(
        self,
        doc: Doc,
        *_: Any,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[..., str] | None = None,
        **__: Any,
    ) -> list[str]:
        """The doc's prompts, under lm-eval's chat options."""
        template = chat_template if apply_chat_template else None
        chat = Chat(template, fewshot_as_multiturn, system_instruction or "")
        return self.prompts(Fact.from_dict(doc), chat)

    def build_all_requests(self, *, cache_requests: bool = False, **options: Any) -> None:
        """Also says which of the given options are not used, and records what the answers depend on."""
        if self.config.generation_kwargs != self._decoding:
            warning_once(_log, "--gen_kwargs: ignored by the slick tasks, since their protocol fixes the decoding")
            self.config.generation_kwargs = deepcopy(self._decoding)
        if cache_requests:
            # Its key covers neither facts, exemplars nor form, so that another run's prompts would be taken.
            warning_once(_log, "--cache_requests: ignored by the slick tasks, whose requests are built in seconds")
        super().build_all_requests(**options)
        asked = {request.doc_id: Fact.from_dict(request.doc) for request in self.instances}
        prompts = [request.args[0] for request in self.instances]
        record = task_record([*asked.values()], prompts, self.settings(options), self.config.metadata)
        self.config.metadata["slick"] = {**record, "priors": {self.config.dataset_name: self.prior}}

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What the answers and their judgement depend on, besides facts and model; named as `slick` names it.

        options: lm-eval's chat options.
        """
        template, system = bool(options.get("apply_chat_template")), options.get("system_instruction") or ""
        chat = {"template": template, "system": system}
        return {"matching": str(self.knobs.matching), "max_gen_toks": PAPER.max_gen_toks, "chat": chat}

    def apply_filters(self) -> None:
        """Keeps every answer, under the filter name "none"."""
        for request in self.instances:
            # Data-parallel runs are padded with repetitions of the last request.
            del request.resps[request.repeats :]
            if None in request.resps:
                raise RunError(f"{self.config.task}: a request had no answer; see the model's messages above")
            request.filtered_resps["none"] = list(request.resps)


class ProbeTask(FactsTask):
    """A probe by either estimator: every fact under the relation's exemplar sets.

    method: the estimator's name, as a run records it. lm-eval's num_fewshot is the number of exemplars in a set.
    """

    method: str

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._sets: ExemplarSets | None = None

    @property
    def estimator(self) -> Sampled:
        return Sampled(
            n_exemplar_sets=self.knobs.n_exemplar_sets,
            n_exemplars=self.config.num_fewshot,
            n_samples=self.knobs.n_samples,
            n_before=0,
        ).check()

    def exemplar_sets(self) -> ExemplarSets:
        """The sets that `slick probe` of the same seed draws; InputError where the pool is too small for them."""
        e = self.estimator
        if self._sets is None or self._sets.k != e.n_exemplars:
            check_pools(self.pools, self.facts, k=e.n_exemplars)
            (pool,) = self.pools.values()
            self._sets = draw_exemplar_sets(
                pool, n_sets=e.n_exemplar_sets, k=e.n_exemplars, seed=self.knobs.exemplar_seed
            )
        return self._sets

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        common = super().settings(options)
        chat = {**common["chat"], "multiturn": bool(options.get("fewshot_as_multiturn"))}
        own = {"estimator": self.method, "seed": self.knobs.exemplar_seed, "chat": chat}
        return {**common, **self.estimator.as_dict(), **own}

    def prompts(self, fact: Fact, chat: Chat) -> list[str]:
        return probe_prompts(fact, self.exemplar_sets(), chat)


class SlickTask(ProbeTask):
    """The sampled estimator in full: per exemplar set one greedy and N_sample sampled answers, for every fact."""

    method = "sampled"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        _unannounced.add(self)

    def build_all_requests(
        self, *, limit: int | None = None, samples: Sequence[int] | None = None, rank: int = 0, **options: Any
    ) -> None:
        if limit is None and samples is None and self.knobs.per_relation is None and rank == 0:
            _announce()
        super().build_all_requests(limit=limit, samples=samples, rank=rank, **options)

    def construct_requests(self, doc: Doc, ctx: Sequence[str], **options: Any) -> list[Instance]:
        """20 requests a fact rather than 170: a sampled one is asked N_sample times."""
        task, doc_id, _ = options["metadata"]
        e = self.estimator
        kinds = ((e.greedy_kwargs(), 1), (e.sampled_kwargs(), e.n_samples))
        asked = [(prompt, kwargs, times) for kwargs, times in kinds for prompt in ctx]
        return [
            Instance("generate_until", doc, (prompt, dict(kwargs)), i, (task, doc_id, times))
            for i, (prompt, kwargs, times) in enumerate(asked)
        ]

    def apply_filters(self) -> None:
        super().apply_filters()
        sampled = [request for request in self.instances if (request.repeats or 1) > 1]
        if len(sampled) >= _ENOUGH_TO_TELL and all(len(set(request.resps)) == 1 for request in sampled):
            _log.warning(
                "%s: all samples of each prompt are the same, as if the server were sent one seed with every "
                "request; try --model_args seed=-1, or `slick probe`, which gives every sample its own",
                self.config.task,
            )

    def process_results(self, doc: Doc, results: Sequence[Sequence[str]]) -> dict[str, float]:
        sets = self.knobs.n_exemplar_sets
        greedy = [answers[0] for answers in results[:sets]]
        knowledge = count_right(Fact.from_dict(doc), greedy, results[sets:], matching=self.knobs.matching)
        return fact_metrics(knowledge, self.prior, self.knobs.matching)


class ExactTask(ProbeTask):
    """The exact estimator: per exemplar set one request, whose answer is the JSON of an `ExactAnswer`.

    Only a model that has the method EXACT, as `slick-hf`, can be asked.
    """

    method = "exact"
    tie = 0.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        # lm-eval knows the type from the requests; by this one it pads data-parallel runs.
        self.OUTPUT_TYPE = EXACT

    def build_all_requests(self, **options: Any) -> None:
        """Raises InputError, before anything is asked, where the model shows no probabilities."""
        lm = evaluated_model()
        if lm is not None and not hasattr(lm, EXACT):
            raise InputError(
                f"{self.config.task} needs --model slick-hf, since others show the exact estimator no probabilities; "
                f"of this model the sampled task can be asked: {self.config.task.replace('_exact', '')}"
            )
        self.tie = float(getattr(lm, "tie", 0.0))
        super().build_all_requests(**options)

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().settings(options), "tie": self.tie}

    def construct_requests(self, doc: Doc, ctx: Sequence[str], **options: Any) -> list[Instance]:
        """10 requests a fact. The accepted answers are among their settings, since the model judges."""
        task, doc_id, _ = options["metadata"]
        e = self.estimator
        answers = Fact.from_dict(doc).answers
        asked = [ExactRequest(p, answers, e.temperature, e.top_k, e.max_gen_toks, self.knobs.matching) for p in ctx]
        return [
            Instance(EXACT, doc, (request.prompt, {**e.exact_kwargs(), **request.settings()}), i, (task, doc_id, 1))
            for i, request in enumerate(asked)
        ]

    def process_results(self, doc: Doc, results: Sequence[Sequence[str]]) -> dict[str, float]:
        answers = [ExactAnswer.of_json(text) for (text,) in results]
        n_samples = self.estimator.n_samples
        knowledge = exact_knowledge(Fact.from_dict(doc), answers, [], n_samples=n_samples, tolerance=self.tie)
        return fact_metrics(knowledge, self.prior, self.knobs.matching)


class ClosedBookTask(FactsTask):
    """Zero-shot in the training form (`--metadata form=…`), one greedy answer a fact."""

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().settings(options), "form": self.knobs.form}

    def prompts(self, fact: Fact, chat: Chat) -> list[str]:
        return [form_prompt(self.knobs.form, fact.question, chat)]

    def construct_requests(self, doc: Doc, ctx: Sequence[str], **options: Any) -> Instance:
        return Instance("generate_until", doc, (ctx[0], greedy_kwargs(PAPER.max_gen_toks)), 0, options["metadata"])

    def process_results(self, doc: Doc, results: Sequence[Sequence[str]]) -> dict[str, float]:
        return answer_metrics(results[0][0], Fact.from_dict(doc), self.prior, self.knobs.matching)


# lm-eval loads every task before the first one builds its requests, so one line can speak for all of them.
_unannounced: WeakSet[SlickTask] = WeakSet()


def _announce() -> None:
    """Says once, for all tasks about to run, how much they ask and what is faster."""
    tasks = list(_unannounced)
    _unannounced.clear()
    facts = sum(len(task.facts) for task in tasks)
    answers = sum(len(task.facts) * task.knobs.n_exemplar_sets * (1 + task.knobs.n_samples) for task in tasks)
    if facts:
        _log.warning(
            "%s: %s facts need %s answers (%s at 50 a second, %s at 1,000), all kept in memory until the "
            "end. `slick probe` finds the same categories from a fraction of them, and can be interrupted; "
            "--model slick-hf answers faster, and with it %s needs no samples; "
            "--metadata per_relation=N takes a seeded draw of the facts.",
            min(task.config.task for task in tasks) if len(tasks) == 1 else f"{len(tasks)} slick tasks",
            f"{facts:,}",
            f"{answers:,}",
            duration(answers / 50),
            duration(answers / 1000),
            " or ".join(sorted({_exact_group(task.config.task) for task in tasks})),
        )


def _exact_group(task: str) -> str:
    """The group of exact tasks that a sampled task has its counterpart in."""
    return f"{task.rpartition('_')[0]}_exact"


def duration(seconds: float) -> str:
    """A rough time: "40 s", "12 min", "9.9 h"."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
