"""Several processes of one command: which this one is, and how they meet.

`accelerate launch` and `torchrun` start one process a device and say in the environment which is which. Ours meet
in the key-value store that the launcher offers; it carries counters and short texts, never tensors. No process
group is made, and a model is loaded with those variables hidden, so that no library splits or gathers behind our
back: every process holds a whole model of its own and answers whole chunks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

from slick.errors import InputError, RunError

# How long all processes may be silent before the waiting ones give up; a chunk of a slow model takes its time.
# A launcher ends the others of a process that died at once: this is for processes that nothing looks after.
SILENCE_S = 12 * 3600.0
_POLL_S = 0.1
_MEETING_S = 600
_LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LAUNCHER_PREFIXES = ("GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_")


class Store(Protocol):
    """What is used of `torch.distributed.Store`."""

    def add(self, key: str, amount: int, /) -> int: ...
    def set(self, key: str, value: str, /) -> None: ...
    def get(self, key: str, /) -> bytes: ...
    def check(self, keys: list[str], /) -> bool: ...


class _Memory:
    """The store of a process that is alone."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def add(self, key: str, amount: int, /) -> int:
        found = int(self._values.get(key, 0)) + amount
        self._values[key] = str(found)
        return found

    def set(self, key: str, value: str, /) -> None:
        self._values[key] = value

    def get(self, key: str, /) -> bytes:
        return self._values[key].encode()

    def check(self, keys: list[str], /) -> bool:
        return all(key in self._values for key in keys)


class Processes:
    """This process among `size`. rank: its number; local: its number on this machine, and that of its GPU."""

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0, store: Store | None = None) -> None:
        self.rank = rank
        self.size = size
        self.local = local
        self._store = store
        self._meetings = 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that claims, merges, finishes and prints."""
        return self.rank == 0

    def meet(self) -> Meeting:
        """A place for one piece of work. All processes must meet equally often, in the same order."""
        self._meetings += 1
        return Meeting(self, self._store or _Memory(), f"slick/{self._meetings}/")

    def first_to_fail(self) -> bool:
        """Records that this process failed. True for the first one, whose message is the one to print."""
        if self._store is None:
            return True
        try:
            return int(self._store.add("slick/failed", 1)) == 1
        except RuntimeError:  # the store is lost: nobody can tell who was first
            return True

    def failed(self) -> bool:
        """Whether any process has failed."""
        return self._store is not None and self._store.add("slick/failed", 0) > 0

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Hides that several processes run: what is loaded inside belongs to this process alone."""
        if self.alone:
            yield
            return
        names = [n for n in os.environ if n in _LAUNCHER_VARIABLES or n.startswith(_LAUNCHER_PREFIXES)]
        hidden = {name: os.environ.pop(name) for name in names}
        try:
            yield
        finally:
            os.environ.update(hidden)


class Meeting:
    """Counters and texts that the processes of one piece of work share. RunError when another one has failed."""

    def __init__(self, processes: Processes, store: Store, prefix: str) -> None:
        self.processes = processes
        self._store = store
        self._prefix = prefix

    def add(self, key: str, amount: int = 1) -> int:
        """Adds to a counter, in one step; returns its new value."""
        with _contact():
            return int(self._store.add(self._prefix + key, amount))

    def tell(self, key: str, text: str) -> None:
        with _contact():
            self._store.set(self._prefix + key, text)

    def hear(self, key: str) -> str:
        """Waits for what another process tells under `key`."""
        name = self._prefix + key
        self.wait(lambda: self._store.check([name]))
        with _contact():
            return self._store.get(name).decode()

    def check(self) -> None:
        """Stops this process where another one has failed."""
        with _contact():
            failed = self.processes.failed()
        if failed:
            raise RunError("another process of this run failed; its message says why")

    def alive(self) -> None:
        """Says that this process gets on: those who wait go on waiting."""
        self.add("alive")

    def wait(self, met: Callable[[], bool]) -> None:
        """Until `met`; RunError when another process fails, or when all have been silent for SILENCE_S."""
        seen, since = -1, time.monotonic()
        while True:
            with _contact():
                if met():
                    return
            self.check()
            now = self.add("alive", 0)
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > SILENCE_S:
                raise RunError(
                    f"the other processes have been silent for {SILENCE_S / 3600:g} hours; "
                    "end them, and repeat the command to go on where it stopped"
                )
            time.sleep(_POLL_S)

    def part(self) -> None:
        """Waits until all are here; the first process leaves last, since it may host the store."""
        self.add("parting")
        if self.processes.first:
            self.wait(lambda: self.add("parting", 0) == self.processes.size)


ALONE = Processes()


@contextmanager
def _contact() -> Iterator[None]:
    try:
        yield
    except RunError:
        raise
    except RuntimeError as error:  # what torch's store raises when its host is gone
        raise RunError(
            f"lost contact with the other processes ({error}); repeat the command to go on where it stopped"
        ) from error


@cache
def joined() -> Processes:
    """This process among those that the launcher started, once all are there; alone where none did."""
    size = _number("WORLD_SIZE", 1)
    if size < 2:
        return ALONE
    rank = _number("RANK", None)
    local = _number("LOCAL_RANK", rank)
    if not rank < size:
        raise InputError(f"RANK is {rank} and WORLD_SIZE is {size}; expected a rank from 0 to {size - 1}")
    from datetime import timedelta

    from torch.distributed.rendezvous import rendezvous

    try:
        store: Any = next(rendezvous("env://", timeout=timedelta(seconds=_MEETING_S)))[0]
    except (RuntimeError, ValueError) as error:
        raise RunError(f"process {rank} of {size} does not find the others: {error}") from error
    return Processes(rank, size, local, store)


def speaks(*, usage: bool = False) -> bool:
    """Whether this process is to print an error: the first that failed of those that work together.

    A usage error is found by all processes alike, before they meet: number 0 prints it.
    """
    if joined.cache_info().currsize:
        return joined().first_to_fail()
    return not usage or os.environ.get("RANK", "0") == "0"


def _number(name: str, default: int | None) -> int:
    text = os.environ.get(name, "").strip()
    if not text and default is not None:
        return default
    if not text.isdecimal():
        found = repr(text) if text else "not set"
        raise InputError(
            f"the environment's {name} is {found} (WORLD_SIZE: {os.environ.get('WORLD_SIZE')}), expected a number; "
            "start with `accelerate launch` or `torchrun`, or unset WORLD_SIZE"
        )
    return int(text)
