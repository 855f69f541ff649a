"""The tasks of the exact estimator under lm-eval's own evaluator, with a model that tells its chances by rote."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.model import CachingLM
from lm_eval.evaluator import evaluate, simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from slick.backend import Backend
from slick.errors import InputError
from slick.exemplars import exemplar_pools
from slick.facts import Fact, of_split
from slick.knowledge import CATEGORIES, Category
from slick.knowledge_file import KnowledgeFile, read_knowledge
from slick.options import answer_priors
from slick.probe import Probe, run_probe
from slick.prompts import Chat
from slick.runs import Run, read_run, read_samples
from slick.sampled import PAPER, Sampled
from slick_tasks.cli import yaml_directory

TASKS = ["slick_lab_exact_p17", "slick_lab_exact_p36"]
SAMPLED = ["slick_lab_p17"]
METRICS = [*(c.metric for c in CATEGORIES), "p_correct_greedy", "p_correct_sampled", "flagged", "uncertain"]
NEVER_BEFORE = Sampled(n_before=0)
Model = Callable[..., Any]


@pytest.fixture
def load(tiny_lab: Path) -> Callable[..., dict[str, Any]]:
    """Loads tasks on the tiny facts: load([name, …], knob=value, …)."""

    def loaded(names: list[str], **metadata: Any) -> dict[str, Any]:
        metadata = {"lab": str(tiny_lab), **metadata}
        manager = TaskManager(include_path=yaml_directory(), include_defaults=False, metadata=metadata)
        found: dict[str, Any] = manager.load(names)
        return found

    return loaded


@pytest.fixture
def probed(tiny_facts: list[Fact], exact_rote: Model, backend_of: Callable[..., Backend], tmp_path: Path) -> Any:
    """What `slick probe --estimator exact` finds on the same facts: probed(seed=…, …)."""

    def run(split: str = "test", **settings: Any) -> Run:
        targets = of_split(tiny_facts, split)
        pools = exemplar_pools(tiny_facts, targets, seed=settings.get("seed", 0))
        settings = {"estimator": NEVER_BEFORE, **settings}
        probe = Probe(targets, pools, answer_priors(tiny_facts, pools), exact=True, **settings)
        return run_probe(probe, backend_of(exact_rote()), tmp_path / "probe")

    return run


def rows_of(run: Run) -> dict[str, dict[str, Any]]:
    return {row["doc"]["id"]: row for file in run.samples.values() for row in read_samples(file)}


def save(results: dict[str, Any], out: Path) -> Path:
    """Writes results and samples as the lm_eval command does."""
    tracker = EvaluationTracker(output_path=str(out))
    tracker.general_config_tracker.log_experiment_args("slick-hf", {"pretrained": "rote"}, None, None, None)
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])
    return out


def chances_by_id(found: KnowledgeFile) -> dict[str, Any]:
    return {k.fact.id: (k.category, k.greedy_right, k.chances) for k in found.knowledge}


def test_a_fact_costs_ten_requests(load: Callable[..., Any], exact_rote: Model) -> None:
    """One request an exemplar set, with the accepted answers and the settings of the sampling it stands for."""
    model = exact_rote()
    row = evaluate(model, load(TASKS[:1]), limit=1)["samples"][TASKS[0]][0]
    assert len(model.examined) == len(row["resps"]) == len({prompt for prompt, _ in row["arguments"]}) == 10
    assert model.asked == []
    for (prompt, settings), request in zip(row["arguments"], model.examined, strict=True):
        assert settings == {**PAPER.exact_kwargs(), "answers": row["doc"]["answers"], "matching": "strict"}
        assert request.prompt == prompt
        assert request.settings() == {name: settings[name] for name in request.settings()}


@pytest.mark.parametrize(
    ("knobs", "settings"),
    [
        ({}, {}),
        ({"exemplar_seed": 3}, {"seed": 3}),
        ({"split": "train"}, {"split": "train"}),
        ({"n_exemplar_sets": 4, "n_samples": 2}, {"estimator": Sampled(n_exemplar_sets=4, n_samples=2, n_before=0)}),
    ],
    ids=["default", "seed", "split", "sizes"],
)
def test_it_finds_what_slick_probe_finds(
    load: Callable[..., Any], exact_rote: Model, probed: Any, knobs: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Prompts, exact answers and metrics are those of `slick probe --estimator exact`."""
    expected = rows_of(probed(**settings))
    samples = evaluate(exact_rote(), load(TASKS, **knobs))["samples"]
    rows = {row["doc"]["id"]: row for name in TASKS for row in samples[name]}
    assert rows.keys() == expected.keys()
    for id, row in rows.items():
        wanted = expected[id]
        assert [prompt for prompt, _ in row["arguments"]] == [r["arg_0"] for r in wanted["arguments"].values()]
        assert row["resps"] == row["filtered_resps"] == wanted["resps"]
        assert {name: row[name] for name in row["metrics"]} == {name: wanted[name] for name in wanted["metrics"]}


@pytest.mark.parametrize("multiturn", [False, True])
def test_chat_options_shape_prompts(load: Callable[..., Any], exact_rote: Model, probed: Any, multiturn: bool) -> None:
    """Chat template, multi-turn exemplars and system instruction lead to the prompts of `slick probe`."""
    model = exact_rote()
    expected = rows_of(probed(chat=Chat(model.apply_chat_template, multiturn, "Be brief.")))
    options = {"fewshot_as_multiturn": multiturn, "system_instruction": "Be brief."}
    samples = evaluate(model, load(TASKS), apply_chat_template=True, **options)["samples"]
    for row in (row for name in TASKS for row in samples[name]):
        wanted = [request["arg_0"] for request in expected[row["doc"]["id"]]["arguments"].values()]
        assert [prompt for prompt, _ in row["arguments"]] == wanted
        assert wanted[0].count("<user>") == (5 if multiturn else 1)


def test_metrics_are_expected_shares(load: Callable[..., Any], exact_rote: Model) -> None:
    """Without a right greedy answer, a fact is Unknown by the chance that 160 samples are all wrong."""
    results = evaluate(exact_rote(lambda prompt: 0.005), load(TASKS))["results"]
    u = (1 - 0.005) ** 160
    for name in TASKS:
        found = {key.removesuffix(",none"): value for key, value in results[name].items() if key.endswith(",none")}
        assert {m for m in found if not m.endswith("_stderr")} == {*METRICS, "answer_prior"}
        assert found["unknown"] == pytest.approx(u)
        assert found["weakly_known"] == pytest.approx(1 - u)
        assert found["p_correct_sampled"] == pytest.approx(0.005)
        assert (found["p_correct_greedy"], found["flagged"], found["uncertain"]) == (0, 1, 0)
        assert isinstance(found["unknown_stderr"], float)


def test_a_verdict_within_the_models_tie_is_uncertain(load: Callable[..., Any], exact_rote: Model) -> None:
    """What is a tie is the model's to say, and goes on record."""
    results = evaluate(exact_rote(lambda prompt: 0.505), load(TASKS[:1]))
    assert results["results"][TASKS[0]]["uncertain,none"] == 1
    assert results["configs"][TASKS[0]]["metadata"]["slick"]["settings"]["tie"] == 0.01


@pytest.mark.parametrize("names", [TASKS, SAMPLED + TASKS], ids=["alone", "behind sampled tasks"])
def test_another_model_is_refused_before_it_is_asked_anything(
    load: Callable[..., Any], rote: Model, names: list[str]
) -> None:
    """A backend that shows no probabilities is named as such at once, whatever else it was to answer."""
    model = rote()
    with pytest.raises(InputError, match=r"slick_lab_exact_p17 needs --model slick-hf.* sampled .*: slick_lab_p17$"):
        evaluate(model, load(names))
    assert model.asked == []


def test_lm_evals_use_cache_is_no_other_model(load: Callable[..., Any], exact_rote: Model, tmp_path: Path) -> None:
    """--use_cache wraps the model; exact requests pass through."""
    model = exact_rote()
    evaluate(CachingLM(model, str(tmp_path / "cache.db")), load(TASKS[:1]), limit=2)
    assert len(model.examined) == 20


def test_settings_are_those_of_slick_probe(
    load: Callable[..., Any], exact_rote: Model, probed: Any, tmp_path: Path
) -> None:
    """The record names the estimator and all that `slick probe` names; what is a tie stands beside it."""
    wanted = probed().provenance["settings"]
    found = read_run(save(evaluate(exact_rote(), load(TASKS)), tmp_path / "out")).provenance["settings"]
    assert found["estimator"] == "exact"
    assert found == {**{name: wanted[name] for name in found if name != "tie"}, "tie": 0.01}


def test_knowledge_is_read_back(load: Callable[..., Any], exact_rote: Model, probed: Any, tmp_path: Path) -> None:
    """The output directory gives the other verbs the knowledge that `slick probe` writes, number by number."""
    results = evaluate(exact_rote(), load(TASKS))
    found = read_knowledge(save(results, tmp_path / "out"))
    assert chances_by_id(found) == chances_by_id(read_knowledge(probed().path))
    assert found.provenance["priors"].keys() == {"P17", "P36"}
    assert {k.category for k in found.knowledge} == {Category.MAYBE_KNOWN}


def test_the_two_estimators_in_one_run_are_not_mixed(
    load: Callable[..., Any], exact_rote: Model, tmp_path: Path
) -> None:
    """Sampled and exact tasks run side by side, but their output is no single knowledge."""
    out = save(evaluate(exact_rote(), load(SAMPLED + TASKS), limit=2), tmp_path / "out")
    with pytest.raises(InputError, match="holds knowledge by both estimators"):
        read_knowledge(out)


def test_the_matching_policy_reaches_model_and_record(load: Callable[..., Any], exact_rote: Model) -> None:
    """--metadata matching=normalized is what the model judges by."""
    model = exact_rote()
    results = evaluate(model, load(TASKS[:1], matching="normalized"), limit=1)
    assert {str(request.matching) for request in model.examined} == {"normalized"}
    assert results["configs"][TASKS[0]]["metadata"]["slick"]["settings"]["matching"] == "normalized"


def test_lm_evals_own_options_work(load: Callable[..., Any], exact_rote: Model) -> None:
    """--num_fewshot is the number of exemplars, --limit of facts; --gen_kwargs changes nothing."""
    model = exact_rote()
    results = simple_evaluate(
        model,
        tasks=list(load(TASKS[:1])["tasks"].values()),
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=2,
        limit=3,
        gen_kwargs={"temperature": 1.5},
    )
    assert len(results["samples"][TASKS[0]]) == 3
    assert {request.prompt.count("Q: ") for request in model.examined} == {3}
    assert {request.temperature for request in model.examined} == {PAPER.temperature}


def test_per_relation_draws_the_facts_of_the_sampled_task(load: Callable[..., Any]) -> None:
    """The same seeded subset, so that the two estimators can be compared on it."""

    def drawn(name: str) -> list[Fact]:
        (task,) = load([name], per_relation=3)["tasks"].values()
        facts: list[Fact] = task.facts
        return facts

    assert drawn("slick_lab_exact_p17") == drawn("slick_lab_p17")


def test_padding_of_a_data_parallel_run_is_counted_and_cut_off(load: Callable[..., Any], exact_rote: Model) -> None:
    """lm-eval pads by the task's type, which is that of its requests; a repeated answer does not count."""
    (task,) = load(TASKS[:1])["tasks"].values()
    task.build_all_requests(limit=1)
    assert {request.request_type for request in task.instances} == {task.OUTPUT_TYPE}
    for request, answer in zip(task.instances, exact_rote().slick_exact(task.instances), strict=True):
        request.resps = [answer]
    task.instances[-1].resps *= 3
    task.apply_filters()
    metrics = task.process_results(task.instances[0].doc, [r.filtered_resps["none"] for r in task.instances])
    assert set(metrics) == {*METRICS, "answer_prior"}


def test_the_shorter_rank_of_a_data_parallel_run(load: Callable[..., Any], exact_rote: Model) -> None:
    """Of 3 facts on two ranks the second has one: lm-eval pads its requests, and ten answers are logged."""
    model = exact_rote()
    gathered: list[Any] = []

    def gather(found: Any, dst: int) -> None:
        gathered.append(found)

    model._rank, model._world_size, model._device = 1, 2, torch.device("cpu")
    model.all_gather = lambda _: torch.tensor([20, 10])
    model.barrier, model.gather_object = lambda: None, gather
    assert evaluate(model, load(TASKS[:1], per_relation=3)) is None
    assert len(model.examined) == 20
    ((row,),) = gathered[0].values()
    assert [len(answers) for answers in row["resps"]] == [1] * 10


def test_it_is_not_announced(
    load: Callable[..., Any], exact_rote: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a run with 170 answers a fact needs a warning."""
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    caplog.set_level(logging.INFO, logger="lm_eval")
    evaluate(exact_rote(), load(TASKS))
    said = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("Building contexts") for text in said)
    assert not [text for text in said if "slick probe" in text]


def test_what_is_logged_is_json(load: Callable[..., Any], exact_rote: Model, tmp_path: Path) -> None:
    """Every logged answer is an object of the four numbers, and the settings hold the accepted answers."""
    run = read_run(save(evaluate(exact_rote(), load(TASKS[:1])), tmp_path / "out"))
    row = next(read_samples(run.samples[TASKS[0]]))
    assert [set(json.loads(text)) for (text,) in row["resps"]] == [{"greedy", "p", "pruned", "gap"}] * 10
    assert all(request["arg_1"]["answers"] == row["doc"]["answers"] for request in row["arguments"].values())
