"""slick.locks: one process at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.locks import Lock

HOLD = """
import sys
from pathlib import Path
from slick.locks import Lock
lock = Lock.take(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has taken the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    """By process number and machine; death releases it, and the file that stays behind is no lock."""
    path = tmp_path / "lock"
    with holder(path) as process:
        for _ in range(2):  # being refused must not take the lock away from its holder
            message = rf"another process \(pid {process.pid} on .+\) is writing there; wait until it ends, or choose"
            with pytest.raises(InputError, match=message):
                Lock.take(path)
    assert path.exists()
    Lock.take(path).release()
    assert not path.exists()


def test_a_released_lock_leaves_nothing(tmp_path: Path) -> None:
    """Releasing twice is as good as once, also when another process has the lock by then."""
    path = tmp_path / "lock"
    lock = Lock.take(path)
    assert path.read_text().startswith(f"pid {os.getpid()} on ")
    lock.release()
    assert not path.exists()
    with holder(path):
        lock.release()
        assert path.exists()


def test_a_file_that_its_holder_removed_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened before the last holder removed it is given up, and the lock taken on the file that is there."""
    path, taken = tmp_path / "lock", []

    def lockf(file: Any, _: int) -> None:
        taken.append(file)
        if len(taken) < 3:
            path.unlink()
        if len(taken) == 2:
            path.touch()

    monkeypatch.setattr(fcntl, "lockf", lockf)
    lock = Lock.take(path)
    assert len(taken) == 3
    assert path.read_text().startswith("pid ")
    lock.release()


@pytest.mark.parametrize("missing", ["locks", "module"])
def test_without_locks_everyone_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A file system or a system that knows none keeps nobody from working."""

    def lockf(*_: object) -> None:
        raise OSError(37, "No locks available")

    if missing == "locks":
        monkeypatch.setattr(fcntl, "lockf", lockf)
    else:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    Lock.take(tmp_path / "lock").release()
    assert list(tmp_path.iterdir()) == []
