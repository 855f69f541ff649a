"""Reading `dynamics.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slick.dynamics import DYNAMICS, Measurement, read_dynamics
from slick.errors import InputError
from slick.knowledge import CATEGORIES, KNOWN, Category

HIGHLY, _, WEAKLY, UNKNOWN = CATEGORIES


def measurement(step: int) -> Measurement:
    sets = {"train": {HIGHLY: (3, 4), WEAKLY: (1, 2), UNKNOWN: (0, 6)}, "dev": {UNKNOWN: (1, 8)}}
    return Measurement(step, step / 4, sets, 0.25, "1f" if step else "")


def written(path: Path, *steps: int) -> Path:
    file = path / DYNAMICS
    file.write_text("".join(json.dumps(measurement(step).as_dict()) + "\n" for step in steps))
    return file


def test_it_is_read_from_the_runs_directory_or_the_file(tmp_path: Path) -> None:
    """In order; a last line that a kill cut off is left out."""
    file = written(tmp_path, 0, 4, 8)
    assert read_dynamics(tmp_path) == read_dynamics(file) == [*map(measurement, (0, 4, 8))]
    file.write_bytes(file.read_bytes()[:-5])
    assert read_dynamics(file) == [*map(measurement, (0, 4))]


def test_shares_are_over_the_categories_asked_for(tmp_path: Path) -> None:
    """Counts add up over categories; where nothing was asked there is no share."""
    found = measurement(0)
    assert found.counts("train", KNOWN) == (4, 6)
    assert found.share("train") == pytest.approx(4 / 12)
    assert found.share("train", [UNKNOWN]) == 0.0
    assert found.share("train", [Category.MAYBE_KNOWN]) is None
    assert found.share("test") is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "2: not a measurement"),
        ('{"step": 4}', "2: not a measurement"),
        ("[]", "2: not a measurement"),
        ('{"step": 4, "epoch": 1, "sets": {"dev": {"Unknown": [2, 1]}}, "seconds": 0}', "2 right of 1 cannot be"),
        ('{"step": 4, "epoch": 1, "sets": {"dev": {"Unbekannt": [1, 1]}}, "seconds": 0}', "Unbekannt"),
        ('{"step": 4, "epoch": NaN, "sets": {}, "seconds": 0}', "epoch nan cannot be"),
        ('{"step": 4, "epoch": 1, "sets": {"dev": {"Unknown": [0, Infinity]}}, "seconds": 0}', "OverflowError"),
        ('{"step": 0, "epoch": 1, "sets": {}, "seconds": 0}', "2: step 0 stands behind step 0"),
    ],
)
def test_damage_elsewhere_is_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    """Only a cut-off last line is a kill's doing; anything else is said, with file and line."""
    file = written(tmp_path, 0)
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"dynamics\.jsonl:") as error:
        read_dynamics(tmp_path)
    assert message in str(error.value)


def test_a_directory_without_dynamics_is_wrong_input(tmp_path: Path) -> None:
    """The message says what was expected."""
    with pytest.raises(InputError, match=r"dynamics\.jsonl: cannot be read .*slick tune"):
        read_dynamics(tmp_path)
