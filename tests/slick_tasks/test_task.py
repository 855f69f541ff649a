"""The task classes under lm-eval's own evaluator, with a model that answers by rote."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.group import Group
from lm_eval.evaluator import evaluate, simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from lm_eval.utils import warning_once

from slick.backend import Backend
from slick.errors import InputError, RunError
from slick.exemplars import exemplar_pools
from slick.facts import Fact, of_split
from slick.knowledge import CATEGORIES, Category
from slick.knowledge_file import read_knowledge
from slick.matching import is_right
from slick.options import answer_priors
from slick.probe import Probe, run_probe
from slick.prompts import Chat, form_prompt
from slick.runs import read_run, read_samples
from slick.sampled import PAPER, Sampled
from slick.score import Score, run_score
from slick_tasks.cli import yaml_directory
from slick_tasks.task import FactsTask, _unannounced, duration

METRICS = [*(c.metric for c in CATEGORIES), "p_correct_greedy", "p_correct_sampled", "answer_prior"]
TASKS = ["slick_lab_p17", "slick_lab_p36"]
CLOSED = ["lab_closed_book_p17", "lab_closed_book_p36"]
Rote = Callable[..., Any]


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    """Each test sees lm-eval's once-only warnings, and no tasks that another one left waiting."""
    warning_once.cache_clear()
    _unannounced.clear()


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
def warnings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    caplog.set_level(logging.INFO, logger="lm_eval")
    return caplog


def save(results: dict[str, Any], out: Path) -> Path:
    """Writes results and samples as the lm_eval command does."""
    tracker = EvaluationTracker(output_path=str(out))
    tracker.general_config_tracker.log_experiment_args("rote", {"pretrained": "rote"}, None, None, None)
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])
    return out


def the_probe(facts: list[Fact], backend: Backend, **settings: Any) -> Probe:
    """What `slick probe --all-samples` makes of the same facts."""
    targets = of_split(facts, settings.pop("split", "test"))
    pools = exemplar_pools(facts, targets, seed=settings.get("seed", 0))
    return Probe(targets, pools, answer_priors(facts, pools), all_samples=True, **settings)


def probe_rows(facts: list[Fact], backend: Backend, out: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    run = run_probe(the_probe(facts, backend, **settings), backend, out)
    (file,) = run.samples.values()
    return {row["doc"]["id"]: row for row in read_samples(file)}


def test_a_fact_costs_twenty_requests_and_170_answers(load: Callable[..., Any], rote: Rote) -> None:
    """Ten greedy requests are asked once, ten sampled ones sixteen times, and every answer is logged."""
    model = rote()
    row = evaluate(model, load(TASKS[:1]), limit=1)["samples"][TASKS[0]][0]
    assert [len(answers) for answers in row["resps"]] == [1] * 10 + [16] * 10
    assert row["filtered_resps"] == row["resps"]
    assert row["filter"] == "none"
    assert len(model.asked) == 170
    assert [dict(kwargs) for _, kwargs in row["arguments"]] == [PAPER.greedy_kwargs()] * 10 + [
        PAPER.sampled_kwargs()
    ] * 10
    assert row["target"] == row["doc"]["answers"][0]


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
def test_prompts_are_those_of_slick_probe(
    load: Callable[..., Any],
    rote: Rote,
    backend_of: Callable[..., Backend],
    tiny_facts: list[Fact],
    tmp_path: Path,
    knobs: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Prompt by prompt, and setting by setting, the task asks what `slick probe` asks."""
    settings = {"estimator": Sampled(n_before=0), **settings}
    expected = probe_rows(tiny_facts, backend_of(rote()), tmp_path / "run", **settings)
    samples = evaluate(rote(), load(TASKS, **knobs))["samples"]
    rows = {row["doc"]["id"]: row for name in TASKS for row in samples[name]}
    assert rows.keys() == expected.keys()
    for id, row in rows.items():
        asked = [{"arg_0": prompt, "arg_1": dict(kwargs)} for prompt, kwargs in row["arguments"]]
        assert asked == list(expected[id]["arguments"].values())
        assert row["doc"] == expected[id]["doc"]


@pytest.mark.parametrize("multiturn", [False, True])
def test_chat_options_shape_prompts_as_slick_probe_does(
    load: Callable[..., Any],
    rote: Rote,
    backend_of: Callable[..., Backend],
    tiny_facts: list[Fact],
    tmp_path: Path,
    multiturn: bool,
) -> None:
    """Chat template, multi-turn exemplars and system instruction lead to the prompts of `slick probe`."""
    model = rote()
    chat = Chat(model.apply_chat_template, multiturn, "Be brief.")
    estimator = Sampled(n_exemplar_sets=2, n_samples=1, n_before=0)
    expected = probe_rows(tiny_facts, backend_of(model), tmp_path / "run", chat=chat, estimator=estimator)
    samples = evaluate(
        rote(),
        load(TASKS, n_exemplar_sets=2, n_samples=1),
        apply_chat_template=True,
        fewshot_as_multiturn=multiturn,
        system_instruction="Be brief.",
    )["samples"]
    for row in (row for name in TASKS for row in samples[name]):
        wanted = [request["arg_0"] for request in expected[row["doc"]["id"]]["arguments"].values()]
        assert [prompt for prompt, _ in row["arguments"]] == wanted
        assert wanted[0].startswith("<system>Be brief.\n<user>")
        assert wanted[0].count("<user>") == (5 if multiturn else 1)


def test_metrics_are_shares_with_standard_errors(load: Callable[..., Any], rote: Rote) -> None:
    """Each relation reports every metric with its error; the category shares add up to one."""
    results = evaluate(rote(), load(TASKS))["results"]
    for name in TASKS:
        assert {key for key in results[name] if key.endswith(",none")} == {
            f"{metric}{suffix},none" for metric in METRICS for suffix in ("", "_stderr")
        }
        assert sum(results[name][f"{c.metric},none"] for c in CATEGORIES) == pytest.approx(1)
        assert results[name]["sample_len"] == 6
        assert all(isinstance(results[name][f"{metric}_stderr,none"], float) for metric in METRICS)


def test_metrics_are_those_of_the_answers(load: Callable[..., Any], rote: Rote) -> None:
    """P_Correct and categories follow from the logged answers alone."""
    samples = evaluate(rote(), load(TASKS))["samples"]
    seen = set()
    for row in (row for name in TASKS for row in samples[name]):
        right = [[is_right(answer, row["doc"]["answers"]) for answer in answers] for answers in row["resps"]]
        greedy, sampled = sum(map(sum, right[:10])), sum(map(sum, right[10:]))
        assert row["p_correct_greedy"] == greedy / 10
        assert row["p_correct_sampled"] == sampled / 160
        (category,) = [c for c in CATEGORIES if row[c.metric]]
        assert (category is Category.MAYBE_KNOWN) == (0 < greedy < 10)
        seen.add(category)
    assert Category.MAYBE_KNOWN in seen


@pytest.mark.parametrize(
    ("chance", "category"),
    [(1.0, Category.HIGHLY_KNOWN), (0.2, Category.WEAKLY_KNOWN), (0.0, Category.UNKNOWN)],
)
def test_categories_come_out(load: Callable[..., Any], rote: Rote, chance: float, category: Category) -> None:
    """A model that always, rarely or never answers rightly has all facts in the category that says so."""
    results = evaluate(rote(lambda prompt: chance), load(TASKS))["results"]
    assert all(results[name][f"{category.metric},none"] == 1 for name in TASKS)


def test_a_group_weighs_relations_by_their_facts(load: Callable[..., Any], rote: Rote) -> None:
    """The group's mean is the mean over all its facts."""
    loaded = load(TASKS, per_relation=4)
    group = Group.from_config(
        {
            "group": "both",
            "task": TASKS,
            "aggregate_metric_list": [{"metric": m, "weight_by_size": True} for m in METRICS],
        }
    )
    for task in loaded["tasks"].values():
        group.add(task)
    results = evaluate(rote(), {**loaded, "groups": {"both": group}})
    rows = [row for name in TASKS for row in results["samples"][name]]
    assert len(rows) == 8
    for metric in METRICS:
        mean = sum(row[metric] for row in rows) / len(rows)
        assert results["groups"]["both"][f"{metric},none"] == pytest.approx(mean)
        assert float(results["groups"]["both"][f"{metric}_stderr,none"]) >= 0


def test_the_answer_prior_is_the_commonest_train_answer(load: Callable[..., Any], rote: Rote) -> None:
    """Two of three tiny test facts share the commonest train answer of their relation."""
    results = evaluate(rote(), load(TASKS[:1]))["results"]
    assert results[TASKS[0]]["answer_prior,none"] == pytest.approx(4 / 6)


def test_per_relation_draws_the_same_facts_each_time(load: Callable[..., Any]) -> None:
    """A seeded subset, in the facts' order; another seed draws another one."""

    def drawn(**knobs: Any) -> list[str]:
        (task,) = load(TASKS[:1], per_relation=3, **knobs)["tasks"].values()
        return [fact.question for fact in task.facts]

    assert drawn() == drawn() == sorted(drawn())
    assert len({tuple(drawn(exemplar_seed=seed)) for seed in range(5)}) > 1


def test_num_fewshot_is_the_number_of_exemplars_in_a_set(load: Callable[..., Any], rote: Rote) -> None:
    """lm-eval's own word for it works: --num_fewshot 2 shows two exemplars."""
    loaded = load(TASKS[:1], n_exemplar_sets=1, n_samples=1)
    results = simple_evaluate(
        rote(), tasks=list(loaded["tasks"].values()), task_manager=TaskManager(include_defaults=False), num_fewshot=2
    )
    (prompt, _), *_ = results["samples"][TASKS[0]][0]["arguments"]
    assert prompt.count("Q: ") == 3
    assert results["configs"][TASKS[0]]["metadata"]["slick"]["settings"]["n_exemplars"] == 2


def test_too_few_dev_facts_name_the_relation(load: Callable[..., Any], rote: Rote) -> None:
    """A pool that cannot give k exemplars to every fact is refused before anything is asked."""
    loaded = load(TASKS[:1])
    for task in loaded["tasks"].values():
        task.set_config("num_fewshot", 9)
    model = rote()
    with pytest.raises(InputError, match="relation P17: found 8 usable"):
        evaluate(model, loaded)
    assert model.asked == []


def test_knowledge_is_read_back_from_an_lm_eval_run(
    load: Callable[..., Any], rote: Rote, tiny_facts: list[Fact], tmp_path: Path
) -> None:
    """The output directory of lm_eval gives facts, counts, categories, settings and priors to the other verbs."""
    results = evaluate(rote(), load(TASKS, pretrained="rote"))
    rows = {row["doc"]["id"]: row for name in TASKS for row in results["samples"][name]}
    found = read_knowledge(save(results, tmp_path / "out"))
    assert {k.fact.id for k in found.knowledge} == rows.keys()
    for k in found.knowledge:
        row = rows[k.fact.id]
        assert row[k.category.metric] == 1
        assert (k.p_greedy, k.p_sampled) == (row["p_correct_greedy"], row["p_correct_sampled"])
        assert (k.greedy_total, k.sampled_total, k.before_total) == (10, 160, 0)
        assert k.fact in tiny_facts
    assert found.provenance["priors"] == {"P17": "P17land 0", "P36": "P36land 0"}
    assert found.provenance["settings"]["n_samples"] == 16
    assert found.provenance["model"]["name"] == "rote"


def test_knowledge_is_judged_as_the_run_judged_it(load: Callable[..., Any], rote: Rote, tmp_path: Path) -> None:
    """Under normalized matching an answer in other letters is right, in the run and when it is read back."""
    model = rote(lambda prompt: 1.0)
    model.answers = {question: answer.upper() for question, answer in model.answers.items()}
    strict = evaluate(model, load(TASKS[:1]))["results"]
    loose = evaluate(model, load(TASKS[:1], matching="normalized"))
    assert strict[TASKS[0]]["unknown,none"] == 1
    assert loose["results"][TASKS[0]]["highly_known,none"] == 1
    knowledge = read_knowledge(save(loose, tmp_path / "out")).knowledge
    assert {k.category for k in knowledge} == {Category.HIGHLY_KNOWN}


def test_results_stay_plain_json(load: Callable[..., Any], rote: Rote, tmp_path: Path) -> None:
    """The saved results hold numbers under metric names and our record under metadata, nothing else of ours."""
    run = read_run(save(evaluate(rote(), load(TASKS)), tmp_path / "out"))
    values = {key: value for key, value in run.results["results"][TASKS[0]].items() if key.endswith(",none")}
    assert all(isinstance(value, (int, float)) for value in values.values())
    record = run.results["configs"][TASKS[0]]["metadata"]["slick"]
    assert set(record) == {"schema", "settings", "facts", "prompts", "model", "versions", "priors"}
    assert record["facts"]["n"] == 6
    assert json.loads(json.dumps(record)) == record


def test_the_prompt_record_covers_every_prompt(load: Callable[..., Any], rote: Rote) -> None:
    """Another exemplar set changes it, though lm-eval's own hash, of the first prompt, is the same."""

    def run(**knobs: Any) -> tuple[str, str]:
        results = evaluate(rote(), load(TASKS[:1], n_samples=1, **knobs), limit=1)
        record = results["configs"][TASKS[0]]["metadata"]["slick"]
        return results["samples"][TASKS[0]][0]["prompt_hash"], record["prompts"]

    few, many = run(n_exemplar_sets=2), run(n_exemplar_sets=3)
    assert few[0] == many[0]
    assert few[1] != many[1]


def test_a_full_run_is_announced_once_before_any_prompt_is_built(
    load: Callable[..., Any], rote: Rote, warnings: pytest.LogCaptureFixture
) -> None:
    """Without --limit one line says how many answers are asked of all tasks together, and what is faster."""
    evaluate(rote(), load(TASKS))
    (line,) = [r.getMessage() for r in warnings.records if "slick probe" in r.getMessage()]
    assert "2 slick tasks: 12 facts need 2,040 answers (41 s at 50 a second, 2 s at 1,000)" in line
    assert "--model slick-hf answers faster, and with it slick_lab_exact needs no samples" in line
    order = [r.getMessage() for r in warnings.records]
    assert order.index(line) < next(i for i, text in enumerate(order) if text.startswith("Building contexts"))


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h")])
def test_durations_are_short(seconds: float, text: str) -> None:
    """Expected times are told in seconds, minutes or hours, and never as nothing."""
    assert duration(seconds) == text


@pytest.mark.parametrize(("limit", "knobs"), [(1, {}), (None, {"per_relation": 1})])
def test_a_limited_run_is_not_announced(
    load: Callable[..., Any], rote: Rote, warnings: pytest.LogCaptureFixture, limit: int | None, knobs: dict[str, int]
) -> None:
    """Who asks for a few facts needs no warning about many."""
    evaluate(rote(), load(TASKS, **knobs), limit=limit)
    assert not [r for r in warnings.records if "slick probe" in r.getMessage()]


def test_settings_that_are_not_used_are_said(
    load: Callable[..., Any], rote: Rote, warnings: pytest.LogCaptureFixture
) -> None:
    """--gen_kwargs and --cache_requests change nothing, and a misspelt knob is named."""
    loaded = load(TASKS, n_sample=3)
    results = simple_evaluate(
        rote(),
        tasks=list(loaded["tasks"].values()),
        task_manager=TaskManager(include_defaults=False),
        gen_kwargs={"temperature": 1.5, "max_gen_toks": 5},
        cache_requests=True,
        limit=1,
    )
    said = [record.getMessage() for record in warnings.records]
    assert sum(text.startswith("--gen_kwargs: ignored") for text in said) == 1
    assert sum(text.startswith("--cache_requests: ignored") for text in said) == 1
    assert "--metadata n_sample: is no setting of the slick tasks; was n_samples meant?" in said
    assert dict(results["samples"][TASKS[0]][0]["arguments"][10][1]) == PAPER.sampled_kwargs()
    assert results["configs"][TASKS[0]]["generation_kwargs"] == PAPER.greedy_kwargs()


def test_samples_that_are_copies_are_noticed(
    load: Callable[..., Any], rote: Rote, warnings: pytest.LogCaptureFixture
) -> None:
    """A server that honours one seed for all requests gives 16 equal samples; the run says so."""
    evaluate(rote(lambda prompt: 0.0), load(TASKS[:1], n_exemplar_sets=20))
    assert [r for r in warnings.records if "all samples of each prompt are the same" in r.getMessage()]
    warnings.clear()
    evaluate(rote(), load(TASKS[:1], n_exemplar_sets=20))
    assert not [r for r in warnings.records if "all samples of each prompt are the same" in r.getMessage()]


def test_padding_of_a_data_parallel_run_is_cut_off(load: Callable[..., Any]) -> None:
    """lm-eval pads ranks by asking the last request again; its extra answers do not count."""
    (task,) = load(TASKS[:1])["tasks"].values()
    task.build_all_requests(limit=1)
    for request in task.instances:
        request.resps = ["x"] * request.repeats
    task.instances[-1].resps += ["y"] * 32
    task.apply_filters()
    assert task.instances[-1].filtered_resps["none"] == task.instances[-1].resps == ["x"] * 16


def test_an_answer_that_never_came_is_an_error(load: Callable[..., Any]) -> None:
    """A failed request is neither right nor wrong."""
    (task,) = load(TASKS[:1])["tasks"].values()
    task.build_all_requests(limit=1)
    for request in task.instances:
        request.resps = [None] * request.repeats
    with pytest.raises(RunError, match="had no answer"):
        task.apply_filters()


def test_a_relation_or_split_that_is_not_there_is_refused(load: Callable[..., Any]) -> None:
    """The error says which ones there are."""
    with pytest.raises(InputError, match=r"slick_lab_p19: no facts of relation P19; found P17, P36"):
        load(["slick_lab_p19"])
    with pytest.raises(InputError, match=r"no facts of split 'ood'; found dev, test, train"):
        load(TASKS, split="ood")


def test_closed_book_is_what_slick_score_finds(
    load: Callable[..., Any],
    rote: Rote,
    backend_of: Callable[..., Backend],
    tiny_facts: list[Fact],
    tmp_path: Path,
) -> None:
    """Same prompts in the training form, same decoding, same metrics, same settings on record."""
    facts = of_split(tiny_facts, "test")
    backend = backend_of(rote())
    run = run_score(Score(facts, {}, answer_priors(tiny_facts)), backend, tmp_path / "run")
    (file,) = run.samples.values()
    expected = {row["doc"]["id"]: row for row in read_samples(file)}
    results = evaluate(rote(), load(CLOSED))
    for row in (row for name in CLOSED for row in results["samples"][name]):
        wanted = expected[row["doc"]["id"]]
        ((prompt, kwargs),) = row["arguments"]
        assert {"arg_0": prompt, "arg_1": kwargs} == wanted["arguments"]["gen_args_0"]
        assert {m: row[m] for m in row["metrics"]} == {m: wanted[m] for m in wanted["metrics"]}
    recorded = read_run(save(results, tmp_path / "out")).provenance["settings"]
    assert recorded == {name: run.provenance["settings"][name] for name in recorded}
    assert set(recorded) == {"form", "matching", "max_gen_toks", "chat"}


def test_the_training_form_can_be_chosen(load: Callable[..., Any], rote: Rote) -> None:
    """--metadata form=… changes the closed-book prompt, and few-shot options do not."""
    results = evaluate(rote(), load(CLOSED, form=r"Q: {question}\nA:"))
    row = results["samples"][CLOSED[0]][0]
    assert row["arguments"][0][0] == form_prompt("Q: {question}\nA:", row["doc"]["question"])
    assert results["n-shot"][CLOSED[0]] == 0


def test_predict_only_keeps_the_answers(load: Callable[..., Any], rote: Rote) -> None:
    """lm-eval's --predict_only works."""
    loaded = load(TASKS[:1])
    results = simple_evaluate(
        rote(),
        tasks=list(loaded["tasks"].values()),
        task_manager=TaskManager(include_defaults=False),
        limit=1,
        predict_only=True,
    )
    assert len(results["samples"][TASKS[0]][0]["resps"]) == 20


def test_the_classes_leave_asking_to_the_subclass() -> None:
    """FactsTask alone has no prompts."""
    task = object.__new__(FactsTask)
    with pytest.raises(NotImplementedError):
        task.prompts(Fact.create("q", ["a"]), Chat())
