"""Tests of verdicts issued again: on the very runs that were judged, with the looks and warnings that there were."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run
from slick.errors import InputError
from slick_sft.gate.arms import read_pair
from slick_sft.gate.baselines import bless, read_baseline
from slick_sft.gate.decide import decide
from slick_sft.gate.outputs import write_files
from slick_sft.gate.policy import Policy, policy_of
from slick_sft.gate.rescore import rescore


def policy(**more: Any) -> Policy:
    return policy_of({"margins": {"Known": 8}, "seeds": 1, **more}, "test")


def write(report: Any, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_files(report, json=path, markdown_file=None, junit_file=None)
    return path


@pytest.fixture
def gates(make_runs: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Two gates' directories whose runs have the same names: of the first the candidate fell, of the second not."""
    found = []
    for n, right in ((120, 0.3), (121, 0.9)):
        runs = make_runs(n)
        pair = read_pair([runs.score("new", right, arm="new")], [runs.score("old", 0.9, arm="old")])
        found.append(write(decide(pair, policy()), runs.root / "gate.json").parent)
    return found[0], found[1]


def test_a_copy_judges_its_own_runs_or_none(gates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """From any working directory, also one where other runs stand under the same names; a copy that was written
    elsewhere finds its runs again, and without them it is refused."""
    first, second = gates
    document = json.loads((first / "gate.json").read_text())
    assert [run["path"] for run in document["runs"]["candidate"]] == ["new"]
    copy = write(rescore(first), first.parent / "copies" / "again.json")
    monkeypatch.chdir(second)
    assert [str(of.outcome) for of in map(rescore, (first, copy, second))] == ["FAIL", "FAIL", "PASS"]
    assert json.loads(copy.read_text())["runs"]["candidate"][0]["path"] == str(first / "new")
    alone = first.parent / "alone.json"
    shutil.copy(first / "gate.json", alone)
    with pytest.raises(InputError, match=r"new: is gone, and the verdict in .* is about it"):
        rescore(alone)


def test_other_answers_are_not_what_was_judged(gates: tuple[Path, Path]) -> None:
    """Runs that were exchanged under their names are told by their answers."""
    first, second = gates
    shutil.rmtree(first / "new")
    shutil.copytree(second / "new", first / "new")
    with pytest.raises(InputError, match=r"new: its answers are others than those of the candidate"):
        rescore(first)


def test_looks_and_warnings_stay(gates: tuple[Path, Path]) -> None:
    """A policy of fewer looks does not narrow the interval again, one of more widens it, and notes are kept once."""
    first, _ = gates
    pair = read_pair([first / "new"], [first / "old"])
    write(decide(pair, policy(looks=3), notes=["Look 1 of 3 at this pair of arms."]), first / "gate.json")
    again = write(rescore(first, policy()), first / "again.json")
    found = rescore(again, policy(looks=5))
    assert [json.loads(again.read_text())["looks"], found.judgement.looks] == [3, 5]
    assert found.notes.count("Look 1 of 3 at this pair of arms.") == 1
    assert found.notes.count("Issued again from stored answers.") == 1


def test_a_baseline_ages(gates: tuple[Path, Path], tmp_path: Path) -> None:
    """Its age is today's, and stale by the policy that is given."""
    first, _ = gates
    bless([first / "old"], "main", tmp_path / "b.json", now=datetime(2020, 1, 1, tzinfo=UTC))
    baseline = read_baseline("main", tmp_path / "b.json")
    pair = read_pair([first / "new"], [first / "old"])
    write(decide(pair, policy(baseline_days=99999), baseline=baseline), first / "gate.json")
    document = json.loads((first / "gate.json").read_text())
    assert document["baseline"] == {"name": "main", "date": "2020-01-01T00:00:00+00:00"}
    aged = [note for note in rescore(first, policy()).notes if "blessed on 2020-01-01" in note]
    assert len(aged) == 1
    assert aged[0].startswith("Stale: ")
    (first / "gate.json").write_text(json.dumps({**document, "baseline": {"name": "main", "date": 3}}))
    with pytest.raises(InputError, match="its baseline is damaged"):
        rescore(first)


def test_what_an_open_verdict_exits_with_needs_no_policy(gates: tuple[Path, Path], tmp_path: Path) -> None:
    """--inconclusive holds where only the document has a policy; another control is refused."""
    _, second = gates
    pair = read_pair([second / "new"], [second / "old"])
    write(decide(pair, policy(margins={"Known": 0.1})), second / "gate.json")
    assert not (tmp_path / "slick-gate.yaml").exists()
    codes = [run(["gate", "--rescore", str(second), "--inconclusive", how]) for how in ("fail", "pass", "report")]
    assert codes == [1, 0, 3]
    assert run(["gate", "--rescore", str(second), "--baseline", "main"]) == 2
