"""The `lm_eval` command itself, as a user types it. It indexes 14,000 files first, so one test asks everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slick.entityquestions import DIRECTORY_VARIABLE
from slick.knowledge import CATEGORIES
from slick.runs import read_knowledge, read_run
from slick_tasks.cli import tasks_path, yaml_directory

LAB = ("slick_lab", "slick_lab_ood", "lab_closed_book", "lab_ood_closed_book")
ENTITYQ = ("slick_entityq", "slick_entityq_ood", "entityq_closed_book", "entityq_ood_closed_book")


def test_lm_eval_runs_our_groups_by_name(tiny_model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`lm_eval --model hf --model_args pretrained=DIR --tasks slick_entityq` works word for word, as do the others."""
    groups = LAB
    env = {name: value for name, value in os.environ.items() if name != "SLICK_NO_LM_EVAL_HOOK"}
    try:
        env[DIRECTORY_VARIABLE] = str(request.getfixturevalue("shared") / "data" / "entityquestions")
        groups += ENTITYQ
    except pytest.skip.Exception:
        pass
    command = [str(Path(sys.executable).with_name("lm_eval")), "--model", "hf"]
    command += ["--model_args", f"pretrained={tiny_model}", "--tasks", ",".join(groups)]
    # What a user leaves out: one fact a relation, one answer of each kind.
    command += ["--limit", "1", "--metadata", "n_samples=1,n_exemplar_sets=1", "--batch_size", "64", "--device", "cpu"]
    command += ["--output_path", str(tmp_path), "--log_samples"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not [text for text in ("Traceback", "overrides", "Duplicate", "slick:") if text in done.stderr]

    run = read_run(tmp_path)
    assert set(run.results["groups"]) == set(groups)
    for group in groups:
        found = run.results["groups"][group]
        if group.startswith("slick_"):
            assert sum(found[f"{c.metric},none"] for c in CATEGORIES) == pytest.approx(1)
        else:
            assert {"exact_match,none", "abstained,none", "answer_prior,none"} <= set(found)
    probed = sum(len(run.results["group_subtasks"][group]) for group in groups if group.startswith("slick_"))
    assert len(read_knowledge(tmp_path).knowledge) == probed == (35 if len(groups) == 8 else 16)
    assert run.provenance["model"]["weights"]


def test_tasks_path_prints_the_directory(capsys: pytest.CaptureFixture[str]) -> None:
    """`slick tasks-path` prints where the task files are, and nothing else."""
    tasks_path()
    assert capsys.readouterr().out == f"{yaml_directory()}\n"
    assert (yaml_directory() / "slick_lab" / "slick_lab.yaml").is_file()
