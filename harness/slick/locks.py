"""A lock that one process holds on a directory, and that its death releases."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO

from slick.errors import InputError


class Lock:
    """Held from `take` until `release`, or until this process ends, however it ends."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path = path
        self._file = file

    @classmethod
    def take(cls, path: Path) -> Lock:
        """Takes the lock that the file `path` stands for. InputError names the process that holds it.

        Where the system or its file system has no locks, the lock is given to everyone.
        """
        while True:
            file = path.open("a+", encoding="utf-8")
            if not _locked(file):
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise InputError(
                    f"{path.parent}: another process ({holder}) is writing there; "
                    "wait until it ends, or choose another --out"
                )
            # Its last holder may have removed the file between our opening and our locking of it.
            if _is(path, file):
                break
            file.close()
        file.seek(0)
        file.truncate()
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        return cls(path, file)

    def release(self) -> None:
        """Removes the file, then lets go of it; does nothing the second time."""
        if not self._file.closed:
            with suppress(OSError):
                self._path.unlink()
            self._file.close()


def _is(path: Path, file: IO[str]) -> bool:
    """Whether `file` is what stands at `path` now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _locked(file: IO[str]) -> bool:
    """Whether the lock is ours now.

    A POSIX lock: not inherited by what this process forks (a server that outlives it would hold it on), and
    known to network file systems.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
