"""What a worker does of a study, apart from what the verbs do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slick_sft.study.work import _mend, _name_device


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("hot", "lower learning_rate of version hot in the grid and remove what stands of it"),
        ("", "lower training.learning_rate in the grid and choose another --out, or leave variant natural out"),
    ],
)
def test_what_cannot_be_trained_is_mended_in_the_grid(version: str, said: str) -> None:
    """By the version whose rate it is, or by the grid's own."""
    assert said in _mend({"version": version, "arm": "natural"})


@pytest.mark.parametrize(("begun", "after"), [("", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_an_arm_that_was_begun_without_a_device_gets_the_studys(tmp_path: Path, begun: str, after: str) -> None:
    """So that one that was interrupted before studies named their device is gone on with; one that names it stays."""
    progress = {"kind": "tune", "settings": {"device": begun, "arm": "x"}}
    (tmp_path / "progress.json").write_text(json.dumps(progress))
    _name_device(tmp_path, "cpu")
    assert json.loads((tmp_path / "progress.json").read_text()) == {
        "kind": "tune",
        "settings": {"device": after, "arm": "x"},
    }


def test_an_arm_that_is_new_has_nothing_to_name(tmp_path: Path) -> None:
    """Nothing is written."""
    _name_device(tmp_path / "new", "cpu")
    assert not (tmp_path / "new").exists()
