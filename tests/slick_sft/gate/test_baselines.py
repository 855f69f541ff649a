"""Tests of named baselines: blessed, aged, never moving by themselves, refused when changed."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_sft.gate.baselines import bless, read_baseline

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_blessed_runs_are_found_again(runs: Any, tmp_path: Path) -> None:
    """Date, provenance and runs are recorded, paths from the file's own directory so that a checkout can move."""
    paths = runs.arm("approved", [0.9, 0.9])
    file = tmp_path / ".slick" / "baselines.json"
    bless(paths, "release", file, now=NOW)
    found = read_baseline("release", file)
    assert [path for path, _ in found.runs] == paths
    assert found.training["steps"] == 100
    entry = json.loads(file.read_text())["baselines"]["release"]
    assert entry["date"] == "2026-03-01T12:00:00+00:00"
    assert entry["runs"][0]["path"] == "../runs/approved-0"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(tmp_path / "runs", moved / "runs")
    shutil.move(tmp_path / ".slick", moved / ".slick")
    assert read_baseline("release", moved / ".slick" / "baselines.json").runs[0][0] == moved / "runs" / "approved-0"


def test_a_baseline_moves_only_when_told(runs: Any, tmp_path: Path) -> None:
    """Blessing again is refused without --move; with it the former one is remembered."""
    file = tmp_path / "b.json"
    bless([runs.score("one")], "main", file, now=NOW)
    with pytest.raises(InputError, match="moves only with --move"):
        bless([runs.score("two")], "main", file)
    bless([runs.score("two")], "main", file, move=True, now=NOW + timedelta(days=1))
    entry = json.loads(file.read_text())["baselines"]["main"]
    assert entry["date"].startswith("2026-03-02")
    assert entry["moved_from"][0]["date"].startswith("2026-03-01")


def test_its_age_and_when_it_is_stale(runs: Any, tmp_path: Path) -> None:
    """The age is always said; past the policy's days it is called stale, with the way to a newer one."""
    found = bless([runs.score("one")], "main", tmp_path / "b.json", now=NOW)
    assert found.notes(90, NOW + timedelta(days=1)) == ["The baseline 'main' was blessed on 2026-03-01, 1 day ago."]
    (stale,) = found.notes(90, NOW + timedelta(days=91))
    assert stale.startswith("Stale: ")
    assert "slick bless" in stale


def test_a_date_without_a_time_zone_is_utc(runs: Any, tmp_path: Path) -> None:
    """A date that was written by hand has an age too; what is no date is damaged."""
    file = tmp_path / "b.json"
    bless([runs.score("one")], "main", file, now=NOW)
    for date, days in (("2026-03-01T12:00:00", 2), ("2026-03-01", 2), ("2026-03-02T12:00:00+02:00", 1)):
        file.write_text(re.sub(r'"date": "[^"]*"', f'"date": "{date}"', file.read_text()))
        assert read_baseline("main", file).days(NOW + timedelta(days=2)) == days
    file.write_text(re.sub(r'"date": "[^"]*"', '"date": "today"', file.read_text()))
    with pytest.raises(InputError, match="damaged"):
        read_baseline("main", file)


def test_changed_and_lost_runs_are_refused(runs: Any, tmp_path: Path) -> None:
    """A verdict against answers that are not those that were blessed would be another verdict."""
    file, path = tmp_path / "b.json", runs.score("one")
    bless([path], "main", file)
    samples = next(path.glob("samples_*.jsonl"))
    samples.write_text(samples.read_text().replace('"wrong"', '"wrung"'))
    with pytest.raises(InputError, match="answers were changed since"):
        read_baseline("main", file)
    shutil.rmtree(path)
    with pytest.raises(InputError, match="is gone"):
        read_baseline("main", file)


def test_names_and_files(runs: Any, tmp_path: Path) -> None:
    """The nearest name is offered; files of others, of newer versions and damaged entries are refused."""
    file = tmp_path / "b.json"
    with pytest.raises(InputError, match="slick bless RUN NAME"):
        read_baseline("main", file)
    bless([runs.score("one")], "release", file)
    with pytest.raises(InputError, match="did you mean 'release'"):
        read_baseline("relaese", file)
    with pytest.raises(InputError, match="a name on one line"):
        bless([runs.score("one")], " \n", file)
    document = json.loads(file.read_text())
    for broken, said in (
        ({**document, "schema": 9}, "upgrade slick"),
        ({**document, "kind": "other"}, "not written by slick bless"),
        ({**document, "baselines": {"release": []}}, "no JSON object"),
        ({**document, "baselines": {"release": {"date": "x", "runs": []}}}, "damaged"),
    ):
        file.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=said):
            read_baseline("release", file)


def test_a_baseline_is_of_one_recipe(runs: Any, tmp_path: Path) -> None:
    """Runs of two recipes are no seeds of one arm."""
    with pytest.raises(InputError, match="trained by 2 recipes"):
        bless([runs.score("a", seed=0, arm="x"), runs.score("b", seed=1, arm="y")], "n", tmp_path / "b.json")
