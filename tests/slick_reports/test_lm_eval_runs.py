"""Runs that stock lm_eval wrote for built-in closed-book tasks, with and without samples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_reports.inputs import Scored, read_scored
from slick_reports.ledger_entries import entry_of
from slick_reports.output import write_report
from slick_reports.report import build_report

N = 24  # facts of both tasks


def stock(out: Path, wrong: str) -> Path:
    script = Path(__file__).with_name("stock_lm_eval.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(out.parent / "cache")}
    done = subprocess.run(
        [sys.executable, str(script), str(out), wrong], env=environment, capture_output=True, text=True, cwd=out.parent
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """ "Before" wrong on number 0, "after" on 1, 2 and 3, in both tasks."""
    root = tmp_path_factory.mktemp("stock")
    return stock(root / "before", "0"), stock(root / "after", "1,2,3")


def changed(run: Path, into: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a run with its results changed."""
    shutil.copytree(run, into)
    (file,) = into.rglob("results_*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")
    return into


def without_samples(run: Path, into: Path) -> Path:
    shutil.copytree(run, into)
    for file in into.rglob("samples_*"):
        file.unlink()
    return into


def test_every_answer_of_a_built_in_task_is_read(runs: tuple[Path, Path]) -> None:
    """As lm_eval judged it: the task is the relation, aliases are accepted answers."""
    scored = read_scored(runs[0])
    assert len(scored.rows) == N
    facts = {row.fact.question: row for row in scored.rows.values()}
    first, second = facts["what is number 0"], facts["name number 1"]
    assert (first.fact.relation, first.fact.answers) == ("nq_open", ("Answer 0", "The answer 0!"))
    assert (second.fact.relation, second.fact.answers) == ("triviaqa", ("Answer 1", "A. 1"))
    assert (first.answer, first.right, first.prior) == ("Wrong 0", False, None)
    assert (second.answer, second.right, second.abstained) == ("Answer 1", True, False)


def test_accuracies_are_lm_evals_own(runs: tuple[Path, Path]) -> None:
    """By task, from the samples, what its results say."""
    for run in runs:
        (file,) = run.rglob("results_*.json")
        results = json.loads(file.read_text(encoding="utf-8"))["results"]
        rows = read_scored(run).rows.values()
        for task in ("nq_open", "triviaqa"):
            right = [row.right for row in rows if row.fact.relation == task]
            assert sum(right) / len(right) == pytest.approx(results[task]["exact_match,remove_whitespace"])


def test_two_of_them_make_a_report(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Paired fact by fact; what they do not record is said."""
    report = build_report(list(runs), margin=0.2)
    (arm,) = report.arms
    assert report.n == N
    assert arm.groups[0].change.estimate is not None
    assert arm.groups[0].change.estimate.interval is not None
    assert [row.relation for row in report.relations] == ["nq_open", "triviaqa"]
    assert report.settings.form == "as lm_eval asks nq_open 4.0, triviaqa 3.0"
    assert any("no fingerprint" in told for told in report.runs[0].lacks)
    page, text, *_ = (path.read_text(encoding="utf-8") for path in write_report(report, tmp_path / "r.html"))
    for written in (page, text):
        assert "no fingerprint of the model’s weights" in written
        assert "An answer is right as lm_eval’s task, by its own filters and metric, says." in written.replace(
            "\\_", "_"
        )
        assert "No fact names a subject, so each stands alone." in written
        assert "stripped, matches" not in written
        assert "not recorded tokens" not in written


def test_a_ledger_takes_them(runs: tuple[Path, Path]) -> None:
    """With the date that lm_eval wrote as a number."""
    entry = entry_of(runs[0], version="v1")
    assert len(entry.results) == N
    assert entry.at.startswith("20")
    assert entry.series == entry_of(runs[1]).series


@pytest.mark.parametrize("which", ["both", "one"])
def test_without_samples_nothing_is_paired_and_that_is_said(
    runs: tuple[Path, Path], tmp_path: Path, which: str
) -> None:
    """Accuracies with their intervals, differences without; in every format."""
    before = without_samples(runs[0], tmp_path / "b") if which == "both" else runs[0]
    report = build_report([before, without_samples(runs[1], tmp_path / "a")])
    paired = build_report(list(runs))
    (row,), (other,) = report.arms[0].groups, paired.arms[0].groups
    assert (row.n, row.before.accuracy, row.after.accuracy) == (other.n, other.before.accuracy, other.after.accuracy)
    assert row.change.estimate is not None
    assert other.change.estimate is not None
    assert row.change.estimate.value == pytest.approx(other.change.estimate.value)
    assert row.change.estimate.interval is None
    assert (row.change.lost, row.change.gained) == (None, None)
    assert [r.relation for r in report.relations] == ["nq_open", "triviaqa"]
    assert "nothing is ruled out" in report.headline
    assert any("--log_samples" in told for told in report.runs[-1].lacks)
    made = write_report(report, tmp_path / "r.html", junit=tmp_path / "r.xml")
    page, text, document, junit = (path.read_text(encoding="utf-8") for path in made)
    for written in (page, text, junit):
        assert "undefined" in written
    arm = json.loads(document)["arms"][0]
    assert arm["groups"][0]["change"]["lost"] is None
    assert (arm["lost"], arm["gained"], arm["still_wrong"]) == (None, None, None)
    for written in (page, text):
        assert "Lost and gained facts: not measured: no answers were logged." in written
        assert "No facts" not in written
        assert "0 facts" not in written
        assert "Learning and forgetting" not in written
    assert 'id="facts"' not in page
    assert "no difference has an interval" in report.noise


@pytest.mark.parametrize(
    ("options", "told"),
    [({"margin": 0.1}, "--margin"), ({"knowledge": Path("probe")}, "--knowledge"), ({"after": [Path("p")]}, "--after")],
)
def test_what_needs_answers_is_refused_without_them(
    runs: tuple[Path, Path], tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    """With the run that lacks them."""
    bare = without_samples(runs[1], tmp_path / "a")
    with pytest.raises(InputError, match=rf"{told}: needs the answers, which .*a did not log; .*--log_samples"):
        build_report([runs[0], bare], **options)


def test_tasks_of_other_sizes_are_left_out_or_all_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Where nothing tells which facts were asked, equally many is the least to ask for."""

    def smaller(*tasks: str) -> Callable[[Any], None]:
        def change(document: Any) -> None:
            for task in tasks:
                document["n-samples"][task]["effective"] = 5

        return change

    before = without_samples(runs[0], tmp_path / "b")
    one = changed(before, tmp_path / "one", smaller("nq_open"))
    report = build_report([before, one])
    assert report.n == N // 2
    assert any("“nq_open” are not in every run with equally many facts" in note for note in report.notes)
    both = changed(before, tmp_path / "both", smaller("nq_open", "triviaqa"))
    with pytest.raises(InputError, match=r"(?s)share no task with equally many facts.*nq_open \(12 facts\).*5 facts"):
        build_report([before, both])


@pytest.mark.parametrize("version", ["0.4.9", "0.4.10", "0.4.11", "0.4.12", "0.4.13"])
def test_what_older_versions_wrote_is_read_alike(runs: tuple[Path, Path], tmp_path: Path, version: str) -> None:
    """Before 0.4.12 results had neither name nor sample_len; --model_args stood there as it was typed."""

    def older(document: Any) -> None:
        document["lm_eval_version"] = version
        if version < "0.4.12":
            for values in document["results"].values():
                del values["name"], values["sample_len"]
        document["config"]["model_args"] = "pretrained=some/model,peft=some/adapter"

    run = changed(runs[0], tmp_path / "old", older)
    scored = read_scored(run)
    assert scored.rows == read_scored(runs[0]).rows
    assert scored.provenance["model"]["name"] == "some/model"
    assert scored.provenance["model"]["adapter"] == "some/adapter"
    assert scored.provenance["versions"]["lm_eval"] == version
    bare = without_samples(run, tmp_path / "bare")
    assert build_report([bare, run]).n == N


def test_other_prompts_are_a_mismatch(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Equal tasks, but asked in other words."""
    run = tmp_path / "other"
    shutil.copytree(runs[1], run)
    for file in run.rglob("samples_*"):
        text = file.read_text(encoding="utf-8").replace("Q: what", "Question: what")
        file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"prompts: .*has 12 of 24 facts asked in other words"):
        build_report([runs[0], run])


def test_a_cut_off_results_file_is_named_with_its_line(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Never taken for an empty one."""
    run = tmp_path / "cut"
    shutil.copytree(runs[0], run)
    (file,) = run.rglob("results_*.json")
    file.write_text(file.read_text(encoding="utf-8")[:500], encoding="utf-8")
    with pytest.raises(InputError, match=r"results_.*\.json:\d+:\d+: not JSON .*half-written"):
        build_report([run, runs[1]])


def test_runs_over_different_facts_share_some_or_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Compared on the shared ones with the counts said."""
    some = changed(runs[1], tmp_path / "some", lambda document: document["n-samples"].clear())
    for values in some.rglob("results_*"):
        document = json.loads(values.read_text(encoding="utf-8"))
        for of in document["results"].values():
            of.pop("sample_len")
        values.write_text(json.dumps(document), encoding="utf-8")
    for file in some.rglob("samples_nq_open*"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(lines[:4]), encoding="utf-8")
    report = build_report([runs[0], some])
    assert report.n == 16
    assert any(note.startswith("Compared on the 16 facts that all runs share; the runs hold") for note in report.notes)
    for file in some.rglob("samples_*"):
        file.write_text(file.read_text(encoding="utf-8").replace("number", "figure"), encoding="utf-8")
    with pytest.raises(InputError, match="has no fact in common"):
        build_report([runs[0], some])


def test_rows_of_multiple_choice_are_named(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """They hold no answer's text."""
    run = tmp_path / "choice"
    shutil.copytree(runs[0], run)
    for file in run.rglob("samples_nq*"):
        file.write_text(file.read_text(encoding="utf-8").replace("exact_match", "acc"), encoding="utf-8")
    with pytest.raises(InputError, match=r"samples_nq_open.*:1: lacks the field 'exact_match or em'"):
        read_scored(run)
    assert isinstance(read_scored(runs[0]), Scored)
