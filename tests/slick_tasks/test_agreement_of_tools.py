"""`lm_eval --tasks slick_lab` and `slick probe` find the same, on a model that knows something."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from slick.backend import Backend, load_backend
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
