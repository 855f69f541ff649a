"""Tests of files that several processes change: held by one at a time, waited for, given up in the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slick.errors import InputError
from slick_sft.gate.locked import locked


def test_another_process_waits_and_then_gives_up(tmp_path: Path) -> None:
    """What is held is not taken; what was let go leaves nothing, and is free."""
    file = tmp_path / "deep" / "looks.json"
    with locked(file, tmp_path / "other.json"):
        child = os.fork()
        if child == 0:
            try:
                with locked(file, patience=0.05):
                    os._exit(1)
            except InputError as error:
                os._exit(0 if "is being written for more than 0.05 s; try again" in str(error) else 2)
        assert os.waitpid(child, 0)[1] == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with locked(file):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With the options that name another."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .* choose another \(--baselines, --out\)"):  # noqa: SIM117
        with locked(tmp_path / "file" / "looks.json"):
            pass
