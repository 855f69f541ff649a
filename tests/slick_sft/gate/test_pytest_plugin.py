"""Tests of the pytest plugin: what a test of a model says when it fails, and what it costs one that does not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_sft.gate.asserting import assert_keeps_knowledge
from slick_sft.gate.baselines import bless

RULE = {"margins": {"Known": 8}, "seeds": 1}


def test_a_kept_model_passes_and_a_lost_one_fails_with_the_table(runs: Any) -> None:
    """The message is the gate's: the sentence, then a line a group."""
    control = runs.arm("control", [0.9, 0.9, 0.9])
    assert assert_keeps_knowledge(runs.arm("same", [0.9, 0.9, 0.9]), control, policy=RULE).exit_code == 0
    with pytest.raises(
        AssertionError, match=r"^FAIL: Known: (.|\n)*\nfacts +n +prior +base, few-shot +control(.|\n)*\nKnown +300"
    ):
        assert_keeps_knowledge(runs.arm("bad", [0.5, 0.5, 0.5]), control, policy=RULE)


def test_an_open_verdict_fails_passes_or_skips(runs: Any) -> None:
    """By default it fails: a test that shows nothing is not green."""
    pair = runs.score("a", 0.9, arm="a"), runs.score("b", 0.9, arm="b")
    rule = {"margins": {"Known": 1}, "seeds": 1}
    with pytest.raises(AssertionError, match="INCONCLUSIVE"):
        assert_keeps_knowledge(*pair, policy=rule)
    assert assert_keeps_knowledge(*pair, policy=rule, inconclusive="pass").exit_code == 0
    with pytest.raises(pytest.skip.Exception, match="INCONCLUSIVE"):
        assert_keeps_knowledge(*pair, policy=rule, inconclusive="report")
    with pytest.raises(InputError, match="expected one of"):
        assert_keeps_knowledge(*pair, policy=rule, inconclusive="maybe")


def test_the_control_may_be_a_baseline(runs: Any, tmp_path: Path) -> None:
    """Its age is among what is said."""
    bless(runs.arm("control", [0.9, 0.9, 0.9]), "main", tmp_path / "b.json")
    report = assert_keeps_knowledge(
        runs.arm("same", [0.9, 0.9, 0.9]), policy=RULE, baseline="main", baselines=tmp_path / "b.json"
    )
    assert any("was blessed on" in note for note in report.notes)


def test_what_it_is_compared_with_is_said_once(runs: Any, tmp_path: Path) -> None:
    """Control and baseline together are refused, and so are fewer runs than the policy has seeds."""
    old, new = runs.score("old", arm="old"), runs.score("new", arm="new")
    bless([old], "main", tmp_path / "b.json")
    with pytest.raises(InputError, match=r"control and baseline: .* give one of them"):
        assert_keeps_knowledge(new, old, policy=RULE, baseline="main", baselines=tmp_path / "b.json")
    with pytest.raises(InputError, match="set seeds: 1 in the policy"):
        assert_keeps_knowledge(new, old, policy={"margins": {"Known": 8}})


def test_the_fixture_takes_the_projects_policy(runs: Any, tmp_path: Path) -> None:
    """In a project with a policy a test names its runs alone; a FAIL is a failed test."""
    control, bad = runs.score("control", 0.9, arm="c"), runs.score("bad", 0.4, arm="b")
    project = tmp_path / "project"
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\nslick_policy = gate.yaml\n")
    (project / "gate.yaml").write_text("margins: {Known: 5}\nseeds: 1\n")
    (project / "test_it.py").write_text(
        f"def test_it(keeps_knowledge):\n    keeps_knowledge({str(bad)!r}, {str(control)!r})\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    if "slick" not in _plugins():
        command += ["-p", "slick_sft.gate.pytest_plugin"]
    found = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "FAIL: Known" in found.stdout


def test_starting_pytest_costs_nothing_heavy() -> None:
    """The plugin's module brings neither torch nor numpy, nor any other part of slick."""
    code = (
        "import sys, slick_sft.gate.pytest_plugin; "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'trl', 'lm_eval', 'slick', 'yaml')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def _plugins() -> set[str]:
    from importlib.metadata import entry_points

    return {point.name for point in entry_points(group="pytest11")}
