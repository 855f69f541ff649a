"""Workers on a Ray cluster (an optional extra): actors in place of processes, the same jobs, the same files.

The study's directory, the model and the facts must lie on a file system that all machines share, at the same places.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slick.errors import InputError, RunError
from slick.files import make_directory
from slick_sft.study.jobs import Job
from slick_sft.study.pool import LOGS, log_of, worker_environment
from slick_sft.study.schedule import DIED, RUN, Event

LOCAL = "local"
# How often a running job is asked how far it is.
_POLL_S = 1.0
_KNOCK_S = 10.0
# A machine that has room starts an actor within seconds; one whose Python must be read from a slow file system takes
# longer.
_PLACED_S = 120.0
# A job that has ended so many actors ends the next one too.
_DEATHS = 2
# Ray tells of the end of an actor at length: so much of it is shown in passing, and more where it fails a job.
_NOTE, _MESSAGE = 160, 500


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self, directory: str) -> None:
        self._told: tuple[float, float] = (0.0, 0.0)
        os.chdir(directory)

    def perform(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        from slick_sft.study.work import do_work
        from slick_sft.study.worker import perform

        def progress(n: float, total: float) -> None:
            self._told = (n, total)

        return perform(do_work, order, progress)

    def told(self) -> tuple[float, float]:
        """How far the present job is."""
        return self._told


def room(nodes: Iterable[Mapping[str, Any]], threads: int, *, gpu: bool) -> int:
    """How many actors of so many threads, each with a GPU of its own if `gpu`, fit on the machines that are up; none
    spans two of them. nodes: as ray.nodes() has them."""
    total = 0
    for has in _resources(nodes):
        by_cpu = int(has.get("CPU", 0) // threads)
        total += min(by_cpu, int(has.get("GPU", 0))) if gpu else by_cpu
    return total


def _resources(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    return [node.get("Resources") or {} for node in nodes if node.get("Alive")]


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


class RayPool:
    """`size` actors, or as many as the cluster has room for. address: of a cluster, or LOCAL for one that is started
    for this study on this machine. gpu: whether each is to have a GPU for itself, where there are any. named: whether
    the user asked for so many. placed_s: how long to wait for actors that have not come.

    An actor that ends is replaced, and its job done by another; the second actor that a job ends ends the job. Used as
    a context manager: leaving it ends the actors, and the cluster if it was started here.
    """

    def __init__(
        self,
        out: Path,
        size: int,
        *,
        address: str,
        threads: int = 1,
        gpu: bool = False,
        named: bool = True,
        placed_s: float = _PLACED_S,
    ) -> None:
        self.out = out.absolute()
        self.size = size
        self._asked = size
        self._address = address
        self._threads = threads
        self._gpu = gpu
        self._named = named
        self._placed_s = placed_s
        self._idle: list[Any] = []
        # What an actor will say once it stands → the actor, and until when that is waited for.
        self._coming: dict[Any, tuple[Any, float]] = {}
        self._running: dict[Any, tuple[Any, Job]] = {}
        self._polls: dict[Any, Job] = {}
        self._waiting: deque[Job] = deque()
        self._deaths: Counter[str] = Counter()
        self._ray: Any = None
        self._class: Any = None

    def __enter__(self) -> Self:
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray: Ray is not installed; pip install 'slick-eval[ray]'") from error
        self._ray = ray
        self._connect()
        try:
            self._populate()
            make_directory(self.out / LOGS)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def device(self) -> str:
        """What a job that names no device is done on."""
        return "cuda" if self._gpu else "cpu"

    @property
    def free(self) -> int:
        return max(0, len(self._idle) + len(self._coming) - len(self._waiting))

    def start(self, job: Job) -> None:
        self._waiting.append(job)
        self._hand_out()

    def wait(self) -> Event:
        while True:
            self._hand_out()
            if not (self._running or self._coming):
                raise RunError(
                    f"--ray {self._address}: no worker is left, and none could be placed within {self._placed_s:g} s; "
                    "what is done stays: see to the cluster (ray status), and repeat the command"
                )
            watched = [*self._running, *self._coming, *self._polls]
            ended, _ = self._ray.wait(watched, num_returns=1, timeout=_POLL_S)
            if not ended:
                self._drop_late()
                self._poll()
                continue
            (reference,) = ended
            if reference in self._coming:
                self._welcome(reference)
                continue
            event = self._progress(reference) if reference in self._polls else self._ended(reference)
            if event is not None:
                return event

    def _connect(self) -> None:
        variables = {
            name: value for name, value in worker_environment(self._threads).items() if name.endswith("_THREADS")
        }
        variables |= {name: worker_environment(1)[name] for name in ("OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")}
        options: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "log_to_driver": False}
        if self._address == LOCAL:
            # As with processes, the user says how many work here.
            options |= {"num_cpus": self._asked * self._threads, "include_dashboard": False}
        try:
            _knock(self._address)
            self._ray.init(address=self._address, **options)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise InputError(
                f"--ray {self._address}: no cluster can be reached there ({' '.join(str(error).split())[:300]}); "
                "expected local, auto, or an address such as HOST:6379, and the token of a cluster that has one "
                "(RAY_AUTH_TOKEN)"
            ) from error

    def _populate(self) -> None:
        """Asks for the actors, and waits until they stand, or have had their time. RunError where none came."""
        nodes = self._ray.nodes()
        self._gpu = self._gpu and any(has.get("GPU", 0) for has in _resources(nodes))
        self.size = min(self._asked, room(nodes, self._threads, gpu=self._gpu))
        there = self._there()
        if not self.size:
            raise RunError(
                f"--ray {self._address}: asked for {self._wanted()}, and no machine of the cluster has room for one "
                f"({there}); lower OMP_NUM_THREADS in a new --out, or add larger machines"
            )
        self._class = self._ray.remote(Actor).options(
            num_cpus=self._threads, num_gpus=int(self._gpu), max_concurrency=2
        )
        for _ in range(self.size):
            self._ask_for_actor()
        stand, _ = self._ray.wait(list(self._coming), num_returns=self.size, timeout=self._placed_s)
        failed = [error for reference in stand if (error := self._welcome(reference))]
        for reference in list(self._coming):
            self._drop(reference)
        self.size = len(self._idle)
        if not self.size:
            why = f": {failed[0]}" if failed else f" within {self._placed_s:g} s"
            raise RunError(
                f"--ray {self._address}: asked for {self._wanted()}, placed none{why} ({there}); see who has "
                "the cluster (ray status), and that its machines see this directory; or lower --jobs, or "
                "OMP_NUM_THREADS in a new --out"
            )
        if self._named and self.size < self._asked:
            _say(
                f"--ray {self._address}: asked for {self._wanted()}, placed {self.size} ({there}); "
                f"goes on with {self.size}"
            )

    def _wanted(self) -> str:
        threads = f"{self._threads} thread{'s' * (self._threads > 1)}"
        of = f"{threads}{' and a GPU' if self._gpu else ''}"
        return f"{self._asked} workers of {of} each" if self._asked > 1 else f"a worker of {of}"

    def _there(self) -> str:
        """What the cluster has, and what of it is not taken."""
        has, free = self._ray.cluster_resources(), self._ray.available_resources()
        return ", ".join(
            f"{has.get(name, 0):g} {name}s of which {free.get(name, 0):g} are free"
            for name in ("CPU", *(["GPU"] if self._gpu else []))
        )

    def _ask_for_actor(self) -> None:
        actor = self._class.remote(str(Path.cwd()))
        self._coming[actor.told.remote()] = (actor, time.monotonic() + self._placed_s)

    def _welcome(self, reference: Any) -> str:
        """Takes in an actor that stands; what kept it from standing, if anything did."""
        actor, _ = self._coming.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return _short(error)
        self._idle.append(actor)
        return ""

    def _drop_late(self) -> None:
        now = time.monotonic()
        for reference in [reference for reference, (_, until) in self._coming.items() if until <= now]:
            self._drop(reference)
            _say(f"--ray {self._address}: a worker that ended could not be replaced within {self._placed_s:g} s")

    def _drop(self, reference: Any) -> None:
        """No longer waits for an actor; one that comes yet would only sit on its CPUs."""
        actor, _ = self._coming.pop(reference)
        self._ray.kill(actor)

    def _hand_out(self) -> None:
        """Gives the jobs that wait to the actors that do."""
        while self._idle and self._waiting:
            actor, job = self._idle.pop(), self._waiting.popleft()
            log = log_of(self.out, job.name)
            order = {"job": job.name, "work": dict(job.work), "out": str(self.out), "log": str(log)}
            self._running[actor.perform.remote(order)] = (actor, job)

    def _poll(self) -> None:
        """Asks of every running job how far it is, unless it has been asked."""
        asked = {job.name for job in self._polls.values()}
        for actor, job in self._running.values():
            if job.name not in asked:
                self._polls[actor.told.remote()] = job

    def _progress(self, reference: Any) -> Event | None:
        job = self._polls.pop(reference)
        try:
            n, total = self._ray.get(reference)
        except self._ray.exceptions.RayError:  # its job's end says so
            return None
        running = job.name in {other.name for _, other in self._running.values()}
        return Event("progress", job.name, n, total) if running else None

    def _ended(self, reference: Any) -> Event | None:
        actor, job = self._running.pop(reference)
        exceptions = self._ray.exceptions
        try:
            event = Event(**self._ray.get(reference))
        except exceptions.RayTaskError as error:  # raised in an actor that lives
            event = Event(RUN, job.name, message=_short(error))
        except exceptions.RayError as error:
            return self._lost(actor, job, _short(error))
        self._idle.append(actor)
        return event

    def _lost(self, actor: Any, job: Job, why: str) -> Event | None:
        """What the end of an actor means for its job: another does it, if it is the first that the job ended."""
        # One that only cannot be heard must not write beside the one that takes over.
        self._ray.kill(actor)
        self._ask_for_actor()
        self._deaths[job.name] += 1
        if self._deaths[job.name] < _DEATHS:
            _say(f"{job.name}: its Ray worker ended ({why[:_NOTE]}); another goes on with it")
            self._waiting.appendleft(job)
            return None
        return Event(DIED, job.name, message=f"{_DEATHS} Ray workers ended at it, the last: {why}")

    def _close(self) -> None:
        running = (actor for actor, _ in self._running.values())
        for actor in [*self._idle, *running, *(actor for actor, _ in self._coming.values())]:
            self._ray.kill(actor)
        self._ray.shutdown()


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MESSAGE]


def _say(text: str) -> None:
    from tqdm import tqdm

    # Above the study's bar, where there is one.
    tqdm.write(text, file=sys.stderr)
