"""Writing `dynamics.jsonl`: what stands in it, and what a kill may have left of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slick.dynamics import DYNAMICS, Measurement, read_dynamics
from slick.errors import InputError
from slick.knowledge import CATEGORIES
from slick_sft.dynamics import append_dynamics, resume_dynamics

HIGHLY, _, WEAKLY, UNKNOWN = CATEGORIES


def measurement(step: int, right: int = 1) -> Measurement:
    sets = {"train": {HIGHLY: (3, 4), WEAKLY: (1, 2), UNKNOWN: (0, 6)}, "dev": {UNKNOWN: (right, 8)}}
    return Measurement(step, step / 4, sets, 0.25)


def written(path: Path, *steps: int) -> Path:
    for step in steps:
        append_dynamics(path / DYNAMICS, measurement(step))
    return path / DYNAMICS


def test_a_line_is_what_was_agreed(tmp_path: Path) -> None:
    """One JSON object a line: step, epoch, of each set the right and the asked by category, and the seconds."""
    (line,) = written(tmp_path, 8).read_text().splitlines()
    assert json.loads(line) == {
        "step": 8,
        "epoch": 2.0,
        "sets": {
            "train": {"HighlyKnown": [3, 4], "WeaklyKnown": [1, 2], "Unknown": [0, 6]},
            "dev": {"Unknown": [1, 8]},
        },
        "seconds": 0.25,
    }


def test_it_is_read_back(tmp_path: Path) -> None:
    """From the run's directory or the file itself, in order, with the bits of dev where a rule left them."""
    file = written(tmp_path, 0, 4, 8)
    marked = Measurement(12, 3.0, {"dev": {UNKNOWN: (0, 1)}}, 0.1, "1f")
    append_dynamics(file, marked)
    assert read_dynamics(tmp_path) == read_dynamics(file) == [*map(measurement, (0, 4, 8)), marked]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 400), step=st.sampled_from([0, 4, 8, 12]))
def test_whatever_a_kill_left_is_repaired(tmp_path: Path, cut: int, step: int) -> None:
    """Cut off anywhere behind its first line, it is read up to there; a resumed run's file ends with its step."""
    (tmp_path / DYNAMICS).unlink(missing_ok=True)
    file = written(tmp_path, 0, 4, 8, 12)
    content = file.read_bytes()
    first = content.index(b"\n") + 1
    file.write_bytes(content[: max(first, len(content) - cut)])
    left = [m.step for m in read_dynamics(file)]
    assert left == [0, 4, 8, 12][: len(left)]
    kept = resume_dynamics(file, step)
    assert [m.step for m in kept] == [s for s in left if s <= step]
    assert read_dynamics(file) == kept
    assert file.read_bytes() == content[: file.stat().st_size]
    append_dynamics(file, measurement(16))
    assert read_dynamics(file)[-1] == measurement(16)


def test_resuming_an_intact_file_leaves_it_alone(tmp_path: Path) -> None:
    """Nothing is written where nothing is wrong."""
    file = written(tmp_path, 0, 4)
    before = file.stat().st_ino
    assert len(resume_dynamics(file, 4)) == 2
    assert file.stat().st_ino == before


def test_a_run_without_a_file_starts_one(tmp_path: Path) -> None:
    """A fresh run has measured nothing yet; one that goes on and has lost its measurements is refused."""
    assert resume_dynamics(tmp_path / DYNAMICS, 0) == []
    with pytest.raises(InputError, match=r"dynamics.jsonl: lacks what was measured before step 4"):
        resume_dynamics(tmp_path / DYNAMICS, 4)
