"""Tests of the verbs: exit codes, files, and what contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of work with a policy: Known at 8 points."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "slick-gate.yaml").write_text("margins: {Known: 8}\nseeds: 1\n")
    return tmp_path


def control(paths: list[Path]) -> list[str]:
    return [word for path in paths for word in ("--control", str(path))]


def gate(*words: object) -> int:
    return run(["gate", *map(str, words)])


def test_exit_codes_are_the_verdicts(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """PASS 0, FAIL 1, INCONCLUSIVE 3 or as --inconclusive says, and the verdict stands in the last line."""
    old = runs.arm("old", [0.9] * 3)
    same, bad = runs.arm("same", [0.9] * 3), runs.arm("bad", [0.5] * 3)
    assert gate("--runs", *same, *control(old)) == 0
    assert capsys.readouterr().out.rstrip().split("\n")[-1].startswith("PASS: Known")
    assert gate("--runs", *bad, *control(old)) == 1
    (here / "slick-gate.yaml").write_text("margins: {Known: 0.5}\nseeds: 1\n")
    pair = runs.score("single", 0.9, arm="single"), old[0]
    assert gate("--runs", *pair) == 3
    assert [gate("--runs", *pair, "--inconclusive", how) for how in ("fail", "pass", "report")] == [1, 0, 3]


def test_wrong_input_is_2_and_never_a_verdict(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be judged exits with 2 and says why."""
    one, other = runs.score("one", arm="a"), runs.score("other", arm="b", training={"steps": 3})
    for words, said in (
        ([], "give a DATASET"),
        (["--runs", one], "found 1 candidate run and no control"),
        (["--runs", one, other], "steps: "),
        (["--control", one], "give --runs too"),
        (["--rescore", here, "--runs"], "leave out --runs"),
        (["--rescore", here], "gate.json"),
        (["--runs", one, "--baseline", "main"], "there is no baseline 'main'"),
        (["--runs", one, other, "--policy", "none.yaml"], "no such policy"),
        (["--self-check"], "give a DATASET to train controls on"),
        (["--self-check", "--runs", one, "--control", other], "--self-check: takes the runs of one control"),
        (["--self-check", "data.jsonl", "--control", other], "--self-check: takes the runs of one control"),
        (["--runs", one, other, "--plan"], "--plan: is for a gate that trains"),
        (["--self-check", "--control", one, "--plan"], "--plan: is for a gate that trains"),
        (["--self-check", "data.jsonl", "--junit", "x.xml"], "leave them out, or give --json"),
        (["--self-check", "--control", one, "--markdown", "x.md"], "leave them out, or give --json"),
        (["--self-check", "--control", one, "--knowledge", "none"], "none: no such file"),
        (["data.jsonl", "--model", "m", "--out", "o", "--knowledge", "none"], "--knowledge: is for runs that exist"),
    ):
        assert gate(*words) == 2, said
        assert said in capsys.readouterr().err


def test_a_mismatch_that_is_allowed_is_said(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The banner stands above the verdict."""
    one, other = runs.score("one", arm="a"), runs.score("other", arm="b", training={"steps": 3})
    assert gate("--runs", one, other, "--allow-mismatch") in (0, 1, 3)
    assert "WARNING: these runs differ where it matters" in capsys.readouterr().out


def test_files_and_rescoring(here: Path, runs: Any) -> None:
    """--out holds all three; the verdict is issued again by another margin, in place of nothing but itself."""
    old, new = runs.arm("old", [0.95] * 3), runs.arm("new", [0.8] * 3)
    assert gate("--runs", *new, *control(old), "--out", "first", "--json", "extra.json") == 1
    assert sorted(p.name for p in (here / "first").iterdir()) == [
        *("gate.json", "gate.md", "gate.xml", "looks.json"),
    ]
    first = json.loads((here / "extra.json").read_text())
    (here / "loose.yaml").write_text("margins: {Known: 40}\n")
    assert gate("--rescore", "extra.json", "--policy", "loose.yaml", "--json", "second.json") == 0
    second = json.loads((here / "second.json").read_text())
    assert (first["verdict"], second["verdict"]) == ("FAIL", "PASS")
    assert second["runs"] == first["runs"]
    assert second["groups"][0]["paired"] == first["groups"][0]["paired"]
    (here / "slick-gate.yaml").unlink()
    assert gate("--rescore", "second.json") == 0


def test_a_refusal_leaves_no_old_verdict(here: Path, runs: Any) -> None:
    """What stands in --out after a refusal cannot be taken for this judgement's."""
    old, new = runs.arm("old", [0.9] * 3), runs.arm("new", [0.9] * 3)
    assert gate("--runs", *new[:2], *control(old[:2]), "--out", "first") == 0
    assert gate("--runs", *new, *control(old), "--out", "first") == 2
    assert sorted(p.name for p in (here / "first").iterdir()) == [
        *("gate.json.before", "gate.md.before", "gate.xml.before", "looks.json"),
    ]
    assert gate("--runs", *new[:2], *control(old[:2]), "--out", "first") == 0
    assert not list((here / "first").glob("*.before"))


def test_files_of_an_old_verdict_are_set_aside_with_any_refusal(here: Path, runs: Any) -> None:
    """Also one before the runs are read, as for a bad policy or dataset; what is another's file is left alone, and a
    verdict that is issued again in its own place is not lost."""
    old, new = runs.arm("old", [0.9] * 3), runs.arm("new", [0.9] * 3)
    named = ["--json", "a.json", "--junit", "a.xml", "--markdown", "a.md"]
    files = [here / name for name in named[1::2]]
    (here / "bad.yaml").write_text("margins: {Knwon: 8}\n")
    for refused in (
        ["--runs", *new, *control(old), "--policy", "bad.yaml"],
        ["none.jsonl", "--model", "none", "--out", "gate"],
        ["--rescore", "none.json"],
    ):
        assert gate("--runs", *new, *control(old), *named) == 0
        assert gate(*refused, *named) == 2
        assert [path.exists() for path in files] == [False] * 3
        assert [path.with_name(f"{path.name}.before").exists() for path in files] == [True] * 3
    (here / "notes.json").write_text("{}")
    assert gate("--rescore", "none.json", "--json", "notes.json") == 2
    assert (here / "notes.json").read_text() == "{}"
    assert gate("--runs", *new, *control(old), "--out", "first") == 0
    assert gate("--rescore", "first", "--out", "first", "--policy", "bad.yaml") == 2
    assert gate("--rescore", "first", "--out", "first") == 0


def test_leaving_out_the_directory_hides_no_look(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Looks are counted beside the baselines, with --out and without."""
    old, new = runs.arm("old", [0.9] * 3), runs.arm("new", [0.9] * 3)
    assert gate("--runs", *new[:2], *control(old[:2])) == 0
    assert (here / ".slick" / "looks.json").is_file()
    for more in ([], ["--out", "fresh"]):
        assert gate("--runs", *new, *control(old), *more) == 2
        assert "this pair was judged once already" in capsys.readouterr().err
    assert gate("--runs", *new[:2], *control(old[:2]), "--out", "fresh") == 0


def test_a_verdict_takes_the_place_of_nothing_that_it_is_about(
    here: Path, runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither of a dataset, a run, the policy or the baselines, nor of another output."""
    (here / "data.jsonl").write_text("x")
    old, new = runs.score("old", arm="old"), runs.score("new", arm="new")
    pair = ["--runs", new, old]
    for words, said in (
        (["data.jsonl", "--model", "m", "--out", "o", "--json", "data.jsonl"], "is the dataset, or a run, itself"),
        ([*pair, "--junit", new / "gate.xml"], "lies inside of the dataset, or a run"),
        ([*pair, "--markdown", "slick-gate.yaml"], "is the policy itself"),
        ([*pair, "--json", ".slick/looks.json"], "is a file that the gate keeps itself"),
        ([*pair, "--json", "a", "--junit", "./a"], "is named by --json and by --junit"),
    ):
        assert gate(*words) == 2
        assert said in capsys.readouterr().err
    assert (here / "data.jsonl").read_text() == "x"


def test_one_seed_and_a_ledger_of_the_control(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With seeds: 1 a candidate of one run meets the control's run of its seed, and what the others say of seeds; the
    verdict can be issued again."""
    (here / "slick-gate.yaml").write_text("margins: {Known: 30}\nseeds: 1\n")
    old, new = runs.arm("old", [0.9, 0.85, 0.9, 0.8]), runs.score("new", 0.9, seed=2, arm="new")
    assert gate("--runs", new, *control(old), "--json", "gate.json") == 0
    found = json.loads((here / "gate.json").read_text())
    assert [run["seed"] for run in found["runs"]["control"]] == [2]
    assert [run["seed"] for run in found["runs"]["ledger"]] == [0, 1, 2, 3]
    assert found["categories"][0]["noise"] == "facts, and seeds by a ledger"
    assert any("4 recorded runs of the control (seeds 0, 1, 2, 3)" in note for note in found["notes"])
    assert gate("--rescore", "gate.json", "--json", "again.json") == 0
    again = json.loads((here / "again.json").read_text())
    assert (again["categories"], again["runs"]) == (found["categories"], found["runs"])
    capsys.readouterr()
    assert gate("--runs", runs.score("x", arm="x"), *control(old[:3])) == 2
    assert "one candidate run against 4 or more of the control: seeds: 1" in capsys.readouterr().err


def test_bless_and_judge_against_it(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline is made in .slick, used by name, and moves only with --move."""
    old = runs.arm("old", [0.9] * 3)
    assert run(["bless", *map(str, old), "release"]) == 0
    assert (here / ".slick" / "baselines.json").is_file()
    capsys.readouterr()
    assert gate("--runs", *runs.arm("new", [0.9] * 3), "--baseline", "release") == 0
    assert "was blessed on" in capsys.readouterr().out
    assert run(["bless", str(old[0]), "release"]) == 2
    assert run(["bless", str(old[0]), "release", "--move"]) == 0


def test_as_many_runs_as_the_policy_has_seeds(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer are refused with the policy that they would do for, and so are unequal numbers; a base model has no
    seeds. No look is spent on it."""
    (here / "slick-gate.yaml").write_text("margins: {Known: 30}\n")
    old, new = runs.arm("old", [0.9] * 4), runs.arm("new", [0.9] * 4)
    for words, said in (
        ([new[0], *control(old[:1])], "by 3 seeds an arm, and there are fewer runs (1 of the candidate and 1 of the"),
        (
            [*new[:3], *control(old[:2])],
            "(3 of the candidate and 2 of the control): give a run for each seed, or set se",
        ),
        ([*new[:3], *control(old)], "unequal numbers of runs (3 of the candidate and 4 of the control)"),
    ):
        assert gate("--runs", *words) == 2
        assert said in capsys.readouterr().err
    assert not (here / ".slick").exists()
    assert gate("--runs", *new, *control(old)) == 0
    assert gate("--runs", *new, *control([runs.score("base", 0.9, seed=None)])) == 0


def test_with_a_baseline_all_runs_are_one_candidate(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs under a policy with a baseline are a candidate and its control for one who forgot it: they are taken
    together only where they record one recipe."""
    assert run(["bless", *map(str, runs.arm("old", [0.9] * 2)), "release"]) == 0
    (here / "slick-gate.yaml").write_text("margins: {Known: 30}\nseeds: 2\ncontrol: baseline release\n")
    silent = {"arm_key": None}
    for n, more in enumerate(({"training": silent}, {}, {"arm": "other"})):
        pair = [runs.score(f"a{n}", 0.9, arm="arm", **{k: v for k, v in more.items() if k != "arm"})]
        pair.append(runs.score(f"b{n}", 0.9, seed=1, arm=more.get("arm", "arm"), training=more.get("training")))
        code = 0 if not more else 2
        assert gate("--runs", *pair, "--allow-mismatch") == code
        assert ("do not record that one recipe made them" in capsys.readouterr().err) == bool(code)


def test_init_writes_a_policy_once(here: Path) -> None:
    """The commented policy and its schema; a policy that is there stays."""
    assert gate("--init", "--policy", "new.yaml") == 0
    assert (here / "slick-gate.schema.json").is_file()
    assert gate("--init", "--policy", "new.yaml") == 2


def test_self_check_of_runs(here: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Of runs that exist: the smallest margin, and what to write into the policy."""
    assert gate("--self-check", *control(runs.arm("old", [0.9] * 4)), "--json", "check.json") == 0
    out = capsys.readouterr().out
    assert "300 facts can defend a margin of" in out
    assert "noise: {discordant:" in out
    assert json.loads((here / "check.json").read_text())["kind"] == "slick gate self-check"


def test_a_workflow_takes_nothing_for_a_command(
    here: Path, runs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In GitHub's runner answers stand between stop-commands and its word; the summary is written."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "summary.md"))
    evil = runs.score("evil", lambda i: "x\n::error::boo", arm="evil")
    assert gate("--runs", evil, runs.score("old", arm="old")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::stop-commands::")
    word = lines[0].removeprefix("::stop-commands::")
    assert f"::{word}::" in lines
    assert not [line for line in lines if line.startswith("::error")]
    assert (here / "summary.md").read_text().startswith("<!-- slick gate -->")
