"""Logs that older versions of lm_eval really wrote (see lm_eval_logs/README.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from slick_reports.inputs import read_scored
from slick_reports.ledger_entries import entry_of
from slick_reports.report import build_report
from slick_reports.summaries import read_tasks

LOGS = Path(__file__).parent / "lm_eval_logs"
VERSIONS = sorted(path.name for path in LOGS.iterdir() if path.is_dir() and path.name[0].isdigit())
N = 8  # facts of both tasks

every_version = pytest.mark.parametrize("version", VERSIONS)


def test_the_versions_that_are_promised_are_there() -> None:
    """0.4.13, the newest, is installed and makes its logs in another test."""
    assert {"0.4.9", "0.4.10", "0.4.11", "0.4.12"} <= set(VERSIONS)


@every_version
def test_answers_and_counts_are_lm_evals_own(version: str) -> None:
    """Every row is read; by task the share of right answers is what the results say."""
    for name, wrong in (("before", {0}), ("after", {1, 2})):
        scored = read_scored(LOGS / version / name)
        assert (len(scored.rows), scored.n_rows) == (N, N)
        (file,) = (LOGS / version / name).rglob("results_*.json")
        results = json.loads(file.read_text(encoding="utf-8"))["results"]
        for task in ("nq_open", "triviaqa"):
            rows = [row for row in scored.rows.values() if row.fact.relation == task]
            right = [row.right for row in rows]
            assert sum(right) / len(right) == results[task]["exact_match,remove_whitespace"]
            assert {row.answer for row in rows if not row.right} == {f"Wrong {place}" for place in wrong}
        assert {row.fact.answers for row in scored.rows.values()} >= {
            ("Answer 0", "The answer 0!"),
            ("Answer 0", "A. 0"),
        }


@every_version
def test_provenance_is_read_and_what_is_missing_is_said(version: str) -> None:
    """Version, model and task versions are there; a fingerprint, relations and a prior are not."""
    scored = read_scored(LOGS / version / "before")
    assert scored.provenance["versions"]["lm_eval"] == version
    assert scored.provenance["model"]["name"] == "before"
    assert scored.settings["form"] == "as lm_eval asks nq_open 4.0, triviaqa 3.0"
    assert [told.partition(" (")[0] for told in scored.lacks] == [
        "no fingerprint of the model’s weights",
        "no relations",
    ]
    assert entry_of(LOGS / version / "before").at.startswith("2026-")


@every_version
def test_two_runs_make_a_report_and_so_does_one_without_samples(version: str) -> None:
    """Paired where answers were logged; where they were not, accuracies are the same and no difference has a limit."""
    before, after, bare = (LOGS / version / name for name in ("before", "after", "after-bare"))
    paired, unpaired = build_report([before, after]), build_report([before, bare])
    for report in (paired, unpaired):
        assert report.n == N
        (row,) = report.arms[0].groups
        assert row.before.accuracy is not None
        assert row.after.accuracy is not None
        assert (row.before.accuracy.value, row.after.accuracy.value) == (0.75, 0.5)
    (with_answers,), (without,) = paired.arms[0].groups, unpaired.arms[0].groups
    assert (with_answers.change.lost, with_answers.change.gained) == (4.0, 2.0)
    assert (without.change.lost, without.change.gained) == (None, None)
    assert without.change.estimate is not None
    assert without.change.estimate.interval is None
    _, tasks = read_tasks(bare)
    assert {name: (task.n, task.right) for name, task in tasks.items()} == {"nq_open": (4, 0.5), "triviaqa": (4, 0.5)}
    assert any("--log_samples" in told for told in unpaired.runs[-1].lacks)


@every_version
def test_versions_compare_with_each_other(version: str) -> None:
    """Prompts are hashed alike, and that the library differs is said."""
    report = build_report([LOGS / version / "before", LOGS / "0.4.12" / "after"])
    assert report.n == N
    differ = any("different library versions" in note for note in report.notes)
    assert differ == (version != "0.4.12")


def test_the_logs_name_no_place_of_a_machine() -> None:
    """They are to be read by everyone."""
    for file in LOGS.rglob("*.json*"):
        assert not re.search(r'"/|site-packages', file.read_text(encoding="utf-8")), file
