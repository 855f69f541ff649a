"""`lm_eval --tasks slick_lab` and `slick probe` find the same, on a model that knows something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from slick.backend import Backend, load_backend
from slick.errors import InputError
from slick.exact import ExactAnswer
from slick.exemplars import exemplar_pools
from slick.knowledge import CATEGORIES
from slick.options import answer_priors
from slick.probe import Probe, run_probe
from slick.runs import read_samples
from slick.sampled import Sampled
from slick_tasks import lab
from slick_tasks.agreement import compare_rows, smallest_gap
from slick_tasks.cli import yaml_directory

# Ten facts of each, under half the exemplar sets and samples: 1,350 answers a tool rather than 5,100.
TASKS = ["slick_lab_p17", "slick_lab_p495", "slick_lab_p136"]
PER_RELATION = 10
SIZES = {"n_exemplar_sets": 5, "n_samples": 8}
# Two sums of 32-bit products in another order differ by about this much, in logits.
TIE = 1e-3

Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def organism() -> Backend:
    return load_backend("hf", str(lab.organism_path()), batch_size=64, device="cpu")


@pytest.fixture(scope="module")
def by_lm_eval(organism: Backend) -> Rows:
    """The task's rows, as lm_eval logs them."""
    metadata = {"per_relation": PER_RELATION, **SIZES}
    manager = TaskManager(include_path=yaml_directory(), include_defaults=False, metadata=metadata)
    torch.manual_seed(1234)
    samples = evaluate(organism.lm, manager.load(TASKS))["samples"]
    rows = {}
    for row in (row for name in TASKS for row in samples[name]):
        arguments = {f"gen_args_{i}": {"arg_0": p, "arg_1": kwargs} for i, (p, kwargs) in enumerate(row["arguments"])}
        rows[row["doc"]["id"]] = {**row, "arguments": arguments}
    return rows


@pytest.fixture(scope="module")
def by_probe(organism: Backend, by_lm_eval: Rows, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of `slick probe --all-samples` on the same facts."""
    source = lab.load_facts()
    facts = [fact for fact in source if fact.id in by_lm_eval]
    pools = exemplar_pools(source, facts, seed=0)
    probe = Probe(facts, pools, answer_priors(source, pools), Sampled(**SIZES, n_before=0), all_samples=True)
    run = run_probe(probe, organism, tmp_path_factory.mktemp("probe") / "run")
    return {row["doc"]["id"]: row for file in run.samples.values() for row in read_samples(file)}


def test_greedy_answers_are_equal_but_for_numeric_ties(
    organism: Backend, by_lm_eval: Rows, by_probe: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompt by prompt both tools get one greedy answer; where not, two tokens were as good as tied."""
    agreement = compare_rows(by_lm_eval.values(), by_probe.values())
    assert agreement.facts == len(TASKS) * PER_RELATION
    assert agreement.greedy == agreement.facts * SIZES["n_exemplar_sets"]
    with capsys.disabled():
        for difference in agreement.different:
            gap = smallest_gap(organism.lm, difference.prompt, difference)
            print(f"tie of {gap:.1e}: {difference.first!r} and {difference.second!r}")
            assert gap < TIE
    assert len(agreement.different) <= 0.02 * agreement.greedy
    tied = {difference.fact for difference in agreement.different}
    for id, row in by_lm_eval.items():
        assert id in tied or row["p_correct_greedy"] == by_probe[id]["p_correct_greedy"]


def test_samples_differ_by_chance_alone(by_lm_eval: Rows, by_probe: Rows) -> None:
    """P_Correct(T>0) agrees as a distribution: no bias, and as much spread as two draws have."""
    agreement = compare_rows(by_lm_eval.values(), by_probe.values())
    assert agreement.sampled >= 30
    assert agreement.sampling_agrees(limit=4), agreement


def test_there_was_something_to_agree_on(by_lm_eval: Rows) -> None:
    """The organism knows some of these facts and not others: a model that always fails would pass the above."""
    found = {c for c in CATEGORIES for row in by_lm_eval.values() if row[c.metric]}
    assert len(found) >= 3
    assert len({answer for row in by_lm_eval.values() for (answer,) in row["resps"][:5]}) >= 5


@pytest.fixture(scope="module")
def ours() -> Backend:
    return load_backend("slick-hf", str(lab.organism_path()), batch_size=64, device="cpu")


def rows_of_tasks(lm: Any, names: list[str], seed: int) -> Rows:
    """The tasks' rows, as lm_eval logs them under --seed."""
    metadata = {"per_relation": PER_RELATION, "exemplar_seed": seed, **SIZES}
    manager = TaskManager(include_path=yaml_directory(), include_defaults=False, metadata=metadata)
    torch.manual_seed(seed)
    samples = evaluate(lm, manager.load(names))["samples"]
    return {row["doc"]["id"]: row for name in names for row in samples[name]}


def rows_of_probe(backend: Backend, ids: Rows, out: Path, **settings: Any) -> Rows:
    """The rows of `slick probe` on the same facts."""
    source = lab.load_facts()
    facts = [fact for fact in source if fact.id in ids]
    pools = exemplar_pools(source, facts, seed=settings["seed"])
    probe = Probe(facts, pools, answer_priors(source, pools), Sampled(**SIZES, n_before=0), **settings)
    run = run_probe(probe, backend, out)
    return {row["doc"]["id"]: row for file in run.samples.values() for row in read_samples(file)}


def test_on_slick_hf_both_tools_draw_the_same_samples(ours: Backend, tmp_path: Path) -> None:
    """With lm_eval's --seed and exemplar_seed that of `slick probe`, every answer is the same; samples differ."""
    ours_by_task = rows_of_tasks(ours.lm, TASKS, seed=5)
    by_probe = rows_of_probe(ours, ours_by_task, tmp_path / "run", seed=5, all_samples=True)
    assert ours_by_task.keys() == by_probe.keys()
    answers = [
        pair for id, row in ours_by_task.items() for pair in zip(row["resps"], by_probe[id]["resps"], strict=True)
    ]
    # Other batches round otherwise, which a draw at the border of two tokens may feel.
    assert sum(a != b for a, b in answers) <= 0.01 * len(answers)
    drawn = [a for a, _ in answers if len(a) > 1]
    assert {len(a) for a in drawn} == {SIZES["n_samples"]}
    assert sum(len(set(a)) > 1 for a in drawn) > 0.3 * len(drawn)


def test_another_seed_of_lm_eval_draws_other_samples(ours: Backend) -> None:
    """--seed is lm_eval's own word for the samples' seed, and is obeyed."""
    names = TASKS[:1]
    metadata = {"per_relation": 4, **SIZES}

    def drawn(seed: int) -> list[Any]:
        manager = TaskManager(include_path=yaml_directory(), include_defaults=False, metadata=metadata)
        torch.manual_seed(seed)
        return [row["resps"] for row in evaluate(ours.lm, manager.load(names))["samples"][names[0]]]

    sets = SIZES["n_exemplar_sets"]
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert [resps[:sets] for resps in first] == [resps[:sets] for resps in other]
    assert [resps[sets:] for resps in first] != [resps[sets:] for resps in other]


def test_exact_tasks_and_exact_probe_agree(ours: Backend, tmp_path: Path) -> None:
    """Category and greedy verdicts are equal, chances to the rounding of another batch."""
    names = [name.replace("lab", "lab_exact") for name in TASKS]
    by_task = rows_of_tasks(ours.lm, names, seed=0)
    by_probe = rows_of_probe(ours, by_task, tmp_path / "run", seed=0, exact=True)
    assert by_task.keys() == by_probe.keys()
    for id, row in by_task.items():
        assert {m: row[m] for m in row["metrics"]} == pytest.approx(
            {m: by_probe[id][m] for m in row["metrics"]}, abs=1e-4
        )
        for (a,), (b,) in zip(row["resps"], by_probe[id]["resps"], strict=True):
            found, wanted = ExactAnswer.of_json(a), ExactAnswer.of_json(b)
            assert found.greedy == wanted.greedy or min(found.gap, wanted.gap) < TIE
            assert found.p == pytest.approx(wanted.p, abs=1e-4)
    assert len({row["p_correct_sampled"] for row in by_task.values()}) > 10


def test_the_exact_tasks_are_not_for_lm_evals_own_model(organism: Backend) -> None:
    """`--model hf` is told at once which model it takes."""
    manager = TaskManager(include_path=yaml_directory(), include_defaults=False)
    with pytest.raises(InputError, match="slick_lab_exact_p17 needs --model slick-hf"):
        evaluate(organism.lm, manager.load(["slick_lab_exact_p17"]))
