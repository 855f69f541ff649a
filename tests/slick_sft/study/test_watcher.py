"""What a terminal shows of a study at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick_sft.study.forecast import Forecast
from slick_sft.study.grid import read_grid
from slick_sft.study.jobs import Job, Setup
from slick_sft.study.schedule import INPUT, Event
from slick_sft.study.state import State
from slick_sft.study.watcher import Watcher


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("the loss is nan", "the loss is nan\n"),
        (
            "these sets cannot be mixed:\n  a: short\n  b: short",
            "these sets cannot be mixed:\n  a: short\n  b: short\n",
        ),
        ("many:" + "\n  x" * 20, "many:" + "\n  x" * 7 + "\n  …\n"),
    ],
)
def test_a_failed_job_says_why_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], message: str, shown: str
) -> None:
    """Not only the line which announces that mistakes follow; of very many the first."""
    setup = Setup("m", "lab", read_grid("small"), 1, tmp_path, {}, {}, {})
    job = Job("mix/sets", {}, (), (), {}, rank=0)
    expected = Forecast({job.name: 1.0}, 1.0, 0, 0)
    with Watcher(setup, State.read(tmp_path / "new"), "Probing", [job], expected, (), keep=False) as watcher:
        watcher(Event(INPUT, job.name, message=message))
    assert f"failed: mix/sets: {shown}" in capsys.readouterr().err
