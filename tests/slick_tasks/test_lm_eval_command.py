"""The `lm_eval` command itself, as a user types it. It indexes 14,000 files first, so each test asks much."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from slick.backend import Backend, load_backend
from slick.entityquestions import DIRECTORY_VARIABLE
from slick.exemplars import exemplar_pools
from slick.knowledge import CATEGORIES
from slick.knowledge_file import read_knowledge
from slick.options import answer_priors
from slick.probe import Probe, run_probe
from slick.runs import Run, read_run, read_samples
from slick.sampled import Sampled
from slick_tasks import lab
from slick_tasks.cli import tasks_path, yaml_directory

LAB = ("slick_lab", "slick_lab_ood", "lab_closed_book", "lab_ood_closed_book")
EXACT = ("slick_lab_exact", "slick_lab_ood_exact")
EXACT_ENTITYQ = ("slick_entityq_exact", "slick_entityq_ood_exact")
ENTITYQ = ("slick_entityq", "slick_entityq_ood", "entityq_closed_book", "entityq_ood_closed_book")


def lm_eval(model: str, pretrained: Path, tasks: tuple[str, ...], out: Path, shared: Path | None, *more: str) -> str:
    """Runs the command as a user types it, with samples logged into `out`; returns what it said."""
    env = {name: value for name, value in os.environ.items() if name != "SLICK_NO_LM_EVAL_HOOK"}
    if shared:
        env[DIRECTORY_VARIABLE] = str(shared / "data" / "entityquestions")
    command = [str(Path(sys.executable).with_name("lm_eval")), "--model", model]
    command += ["--model_args", f"pretrained={pretrained}", "--tasks", ",".join(tasks)]
    command += ["--batch_size", "64", "--device", "cpu", "--output_path", str(out), "--log_samples", *more]
    done = subprocess.run(command, env=env, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.fixture
def shared_data(request: pytest.FixtureRequest) -> Path | None:
    """EntityQuestions' place, where there is one; the other tasks are tested all the same."""
    try:
        found: Path = request.getfixturevalue("shared")
    except pytest.skip.Exception:
        return None
    return found


def test_lm_eval_runs_our_groups_by_name(tiny_model: Path, tmp_path: Path, shared_data: Path | None) -> None:
    """`lm_eval --model hf --model_args pretrained=DIR --tasks slick_entityq` works word for word, as do the others."""
    groups = LAB + (ENTITYQ if shared_data else ())
    # What a user leaves out: one fact a relation, one answer of each kind.
    small = ("--limit", "1", "--metadata", "n_samples=1,n_exemplar_sets=1")
    said = lm_eval("hf", tiny_model, groups, tmp_path, shared_data, *small)
    assert not [text for text in ("Traceback", "overrides", "Duplicate", "slick:") if text in said]

    run = read_run(tmp_path)
    assert set(run.results["groups"]) == set(groups)
    for group in groups:
        found = run.results["groups"][group]
        if group.startswith("slick_"):
            assert sum(found[f"{c.metric},none"] for c in CATEGORIES) == pytest.approx(1)
        else:
            assert {"exact_match,none", "abstained,none", "answer_prior,none"} <= set(found)
    probed = sum(len(run.results["group_subtasks"][group]) for group in groups if group.startswith("slick_"))
    assert len(read_knowledge(tmp_path).knowledge) == probed == (35 if shared_data else 16)
    assert run.provenance["model"]["weights"]


def test_slick_hf_answers_as_slick_probe_does(tmp_path: Path, shared_data: Path | None) -> None:
    """`lm_eval --model slick-hf --tasks slick_lab,slick_lab_exact` works word for word, and both find the probe's."""
    exact = EXACT + (EXACT_ENTITYQ if shared_data else ())
    small = ("--limit", "2", "--seed", "0", "--metadata", "n_samples=4,n_exemplar_sets=5")
    said = lm_eval("slick-hf", lab.organism_path(), ("slick_lab", *exact), tmp_path, shared_data, *small)
    assert not [text for text in ("Traceback", "overrides", "Duplicate", "slick:") if text in said]

    run = read_run(tmp_path)
    assert set(run.results["groups"]) == {"slick_lab", *exact}
    for group in exact:
        found = run.results["groups"][group]
        assert sum(found[f"{c.metric},none"] for c in CATEGORIES) == pytest.approx(1)
        assert {"flagged,none", "uncertain,none"} <= set(found)
    backend = load_backend("slick-hf", str(lab.organism_path()), batch_size=64, device="cpu")
    by_exact, by_samples = rows(run, "slick_lab_exact_p"), rows(run, "slick_lab_p")
    assert by_exact.keys() == by_samples.keys()
    assert len(by_exact) == 24
    for found, settings in ((by_exact, {"exact": True}), (by_samples, {"all_samples": True})):
        expected = probe(backend, found.keys(), tmp_path / f"probe-{'-'.join(settings)}", **settings)
        # One near-tie that another batch turned would be no fault.
        assert sum(metrics(row) != pytest.approx(metrics(expected[id]), abs=1e-4) for id, row in found.items()) <= 1


def metrics(row: dict[str, Any]) -> dict[str, float]:
    return {name: row[name] for name in row["metrics"]}


def rows(run: Run, prefix: str) -> dict[str, dict[str, Any]]:
    files = [file for task, file in run.samples.items() if task.startswith(prefix)]
    return {row["doc"]["id"]: row for file in files for row in read_samples(file)}


def probe(backend: Backend, ids: Collection[str], out: Path, **settings: bool) -> dict[str, dict[str, Any]]:
    """The rows of `slick probe` on the facts of these ids."""
    source = lab.load_facts()
    facts = [fact for fact in source if fact.id in ids]
    pools = exemplar_pools(source, facts, seed=0)
    estimator = Sampled(n_exemplar_sets=5, n_samples=4, n_before=0)
    run = run_probe(Probe(facts, pools, answer_priors(source, pools), estimator, **settings), backend, out)
    return rows(run, "")


def test_tasks_path_prints_the_directory(capsys: pytest.CaptureFixture[str]) -> None:
    """`slick tasks-path` prints where the task files are, and nothing else."""
    tasks_path()
    assert capsys.readouterr().out == f"{yaml_directory()}\n"
    assert (yaml_directory() / "slick_lab" / "slick_lab.yaml").is_file()
