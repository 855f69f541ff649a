"""The demo: one command from probe to report, which an interruption does not spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.knowledge_file import write_knowledge
from slick.provenance import fingerprint
from slick.runs import read_run
from slick_sft.demo import ARMS, Lab, Tune, claim, run_demo, settle
from slick_sft.trainer import CheckedTrainer

SETTINGS = {"seed": 0, "limit": 4}


@pytest.fixture
def lab(tiny_model: Path, tiny_facts: list[Fact], tmp_path: Path) -> Lab:
    """The tiny model, its facts, and made-up knowledge of eight train facts a relation, two of each category."""
    facts, knowledge = tmp_path / "facts.jsonl", tmp_path / "knowledge_train.parquet"
    facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))
    found = []
    for relation in ("P17", "P36"):
        for number, (greedy, sampled) in enumerate(((10, 0), (4, 0), (0, 3), (0, 0)) * 2):
            fact = Fact.create(f"{relation} {number}?", ["land"], relation=relation, split="train")
            found.append(Knowledge(fact, greedy, 10, sampled, 0 if greedy else 160))
    write_knowledge(knowledge, found, {"model": fingerprint(str(tiny_model))})
    return Lab(tiny_model, str(facts), knowledge)


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_the_demo_runs_from_probe_to_report_and_survives_a_kill(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A demo killed in its second arm goes on there, and ends with one report over the base and every arm."""
    out, how = tmp_path / "demo", Tune(steps=3, batch_size=4)
    real = CheckedTrainer.training_step
    trained: list[str] = []

    class Killed(BaseException):
        pass

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        trained.append(Path(self.args.output_dir).parent.name)
        if monkeypatch_on and "unknown-50" in trained[-1]:
            raise Killed
        return real(self, *args, **kwargs)

    monkeypatch.setattr(CheckedTrainer, "training_step", training_step)
    monkeypatch_on = True
    with pytest.raises(Killed):
        run_demo(out, limit=4, lab=lab, how=how)
    assert names(out) == ["demo.json", "runs-1"]
    capfd.readouterr()
    monkeypatch_on = False
    trained.clear()
    assert run_demo(out, limit=4, lab=lab, how=how) == out / "report.html"
    assert "known-only-seed0" not in trained
    assert trained.count("known-only-seed1") == 3
    assert names(out) == ["demo.json", "report.html", "report.json", "report.md", "runs-1"]
    printed, bars = capfd.readouterr()
    assert printed.startswith("The main job on the embedded lab")
    assert str(out / "report.html") in printed
    assert "unknown-100" in printed
    for line in bars.replace("\r", "\n").splitlines():
        assert line.split(" ")[0].rstrip(":") in ("", "Probing", "Tuning", "Scoring")
    scores = out / "runs-1" / "scores"
    assert names(scores) == sorted(["base", *(arm.run for arm in ARMS)])
    recorded = [read_run(scores / arm.run).provenance["training"] for arm in ARMS]
    assert {record["recipe"]["size"] for record in recorded} == {4}
    assert [record["recipe"]["unknown"] for record in recorded] == [0, 0.5, 1, 0]
    assert recorded[0]["arm_key"] == recorded[3]["arm_key"]


def test_a_new_demo_leaves_the_old_one_until_it_is_done(tmp_path: Path) -> None:
    """A second demo writes beside the first; only when it is finished the first one's runs go."""
    out = tmp_path / "demo"
    first = claim(out, SETTINGS)
    (first / "x").mkdir(parents=True)
    settle(out, SETTINGS, first)
    second = claim(out, SETTINGS)
    second.mkdir()
    assert names(out) == ["demo.json", "runs-1", "runs-2"]
    settle(out, SETTINGS, second)
    assert names(out) == ["demo.json", "runs-2"]


def test_an_interrupted_demo_is_gone_on_with(tmp_path: Path) -> None:
    """The same settings go on in the same runs; other settings begin new ones."""
    out = tmp_path / "demo"
    first = claim(out, SETTINGS)
    first.mkdir()
    assert claim(out, SETTINGS) == first
    assert claim(out, {**SETTINGS, "seed": 1}) == out / "runs-2"


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    """A directory with files that are not a demo's, a foreign demo.json and a file are left alone."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no demo"):
        claim(tmp_path, SETTINGS)
    with pytest.raises(InputError, match="is a file, expected a directory"):
        claim(tmp_path / "mine", SETTINGS)
    (tmp_path / "demo.json").write_text('{"runs": "../../etc"}')
    with pytest.raises(InputError, match="was not written by slick demo"):
        claim(tmp_path, SETTINGS)
    assert names(tmp_path) == ["demo.json", "mine"]
