"""The directory of a tuning run: one command has it, and the processes of that command agree on what stands in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import make_directory, read_json, write_json
from slick.locks import Lock
from slick.processes import Meeting, Processes
from slick.runs import PROGRESS, differences
from slick.training import TRAINING

_LOCK = "progress.lock"
_YES, _NO = "yes", "no"


class TuningRun:
    """The directory `out`. The first process claims, writes and finishes; the others wait for it where they must."""

    def __init__(self, out: Path, settings: Mapping[str, Any], processes: Processes) -> None:
        self.out = out
        self.settings = settings
        self.processes = processes
        self._meeting: Meeting = processes.meet()
        self._lock: Lock | None = None
        self._fresh = self._made = False

    def finished(self) -> Mapping[str, Any] | None:
        """The record of this very run if it is finished; InputError where `out` holds anything else."""
        if not self.processes.first:
            return self._read() if self._meeting.hear("finished") == _YES else None
        record = _finished(self.out, self.settings)
        self._meeting.tell("finished", _NO if record is None else _YES)
        return record

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Holds `out`. InputError where another command has it."""
        if not self.processes.first:
            self._meeting.hear("claimed")
            yield
            return
        self._made = not self.out.exists()
        make_directory(self.out)
        self._lock = Lock.take(self.out / _LOCK)
        try:
            self._fresh = not (self.out / PROGRESS).exists()
            if self._fresh:
                write_json(self.out / PROGRESS, {"kind": "tune", "settings": self.settings})
            self._meeting.tell("claimed", _YES)
            yield
        finally:
            self._lock.release()

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Where setting up a new run fails, nothing of it is left behind."""
        try:
            yield
        except BaseException:
            if self._fresh:
                for path in self.out.iterdir():
                    if path.name != _LOCK:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                if self._lock is not None:
                    self._lock.release()
                if self._made:
                    self.out.rmdir()
            raise

    def agree(self, key: str, choose: Any) -> str:
        """What the first process chooses, as all of them get to know it."""
        if not self.processes.first:
            return self._meeting.hear(key)
        chosen = str(choose())
        self._meeting.tell(key, chosen)
        return chosen

    def finish(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Writes the record, with which the run is finished; returns it."""
        if self.processes.first:
            write_json(self.out / TRAINING, record)
            (self.out / PROGRESS).unlink(missing_ok=True)
            self._meeting.tell("done", _YES)
        else:
            self._meeting.hear("done")
            record = self._read()
        self._meeting.part()
        return record

    def _read(self) -> Mapping[str, Any]:
        record = read_json(self.out / TRAINING)
        assert isinstance(record, dict)
        return record


def _finished(out: Path, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the run; choose another --out")
    if (out / TRAINING).exists():
        record = read_json(out / TRAINING)
        _same_settings(record if isinstance(record, dict) else {}, settings, out / TRAINING)
        assert isinstance(record, dict)
        return record
    if (out / PROGRESS).exists():
        progress = read_json(out / PROGRESS)
        _same_settings(progress if isinstance(progress, dict) else {}, settings, out / PROGRESS)
    elif out.is_dir() and any(path.name != _LOCK for path in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no tuning run; choose another --out")
    return None


def _same_settings(found: Mapping[str, Any], settings: Mapping[str, Any], where: Path) -> None:
    there = found.get("settings")
    differing = differences(there if isinstance(there, Mapping) else {}, settings)
    if differing:
        shown = "\n".join(f"  {name}: there {old!r}, now {new!r}" for name, old, new in differing[:10])
        raise InputError(
            f"{where}: this directory holds a run with other settings:\n{shown}\nchoose another --out, or remove it"
        )
