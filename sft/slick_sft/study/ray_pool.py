"""Workers on a Ray cluster (an optional extra): actors in place of processes, the same jobs, the same files.

The study's directory, the model and the facts must lie on a file system that all machines share, at the same places.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slick.errors import InputError
from slick.files import make_directory
from slick_sft.study.jobs import Job
from slick_sft.study.pool import LOGS, log_of, worker_environment
from slick_sft.study.schedule import DIED, Event

LOCAL = "local"
# How often a running job is asked how far it is.
_POLL_S = 1.0
_KNOCK_S = 10.0


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


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _has_gpus(ray: Any) -> bool:
    """Whether the cluster has GPUs; the machine that the command was given on may have none."""
    return bool(ray.cluster_resources().get("GPU", 0))


class RayPool:
    """`size` actors. address: of a cluster, or LOCAL for one that is started for this study on this machine. gpu:
    whether each is to have a GPU for itself, where there are any.

    Used as a context manager: leaving it ends the actors, and the cluster if it was started here.
    """

    def __init__(self, out: Path, size: int, *, address: str, threads: int = 1, gpu: bool = False) -> None:
        self.out = out.absolute()
        self._size = size
        self._address = address
        self._threads = threads
        self._gpu_wanted = gpu
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Job]] = {}
        self._polls: dict[Any, Job] = {}
        self._ray: Any = None
        self._class: Any = None

    def __enter__(self) -> Self:
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray: Ray is not installed; pip install 'slick-eval[ray]'") from error
        make_directory(self.out / LOGS)
        self._ray = ray
        variables = {
            name: value for name, value in worker_environment(self._threads).items() if name.endswith("_THREADS")
        }
        variables |= {name: worker_environment(1)[name] for name in ("OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")}
        options: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "log_to_driver": False}
        if self._address == LOCAL:
            options |= {"num_cpus": self._size * self._threads, "include_dashboard": False}
        try:
            _knock(self._address)
            ray.init(address=self._address, **options)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise InputError(
                f"--ray {self._address}: no cluster can be reached there ({' '.join(str(error).split())[:300]}); "
                "expected local, auto, or an address such as HOST:6379"
            ) from error
        self._class = ray.remote(Actor).options(
            num_cpus=self._threads, num_gpus=1 if self._gpu_wanted and _has_gpus(ray) else 0, max_concurrency=2
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in [*self._idle, *(actor for actor, _ in self._running.values())]:
            self._ray.kill(actor)
        self._ray.shutdown()

    @property
    def free(self) -> int:
        return self._size - len(self._running)

    def start(self, job: Job) -> None:
        actor = self._idle.pop() if self._idle else self._class.remote(str(Path.cwd()))
        log = log_of(self.out, job.name)
        order = {"job": job.name, "work": dict(job.work), "out": str(self.out), "log": str(log)}
        self._running[actor.perform.remote(order)] = (actor, job)

    def wait(self) -> Event:
        while True:
            ended, _ = self._ray.wait([*self._running, *self._polls], num_returns=1, timeout=_POLL_S)
            if not ended:
                known = {job.name for job in self._polls.values()}
                for actor, job in self._running.values():
                    if job.name not in known:
                        self._polls[actor.told.remote()] = job
                continue
            (reference,) = ended
            event = self._progress(reference) if reference in self._polls else self._ended(reference)
            if event is not None:
                return event

    def _progress(self, reference: Any) -> Event | None:
        job = self._polls.pop(reference)
        try:
            n, total = self._ray.get(reference)
        except self._ray.exceptions.RayError:  # its job's end says so
            return None
        running = job.name in {other.name for _, other in self._running.values()}
        return Event("progress", job.name, n, total) if running else None

    def _ended(self, reference: Any) -> Event:
        actor, job = self._running.pop(reference)
        try:
            event = Event(**self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            return Event(DIED, job.name, message=f"its Ray worker ended: {' '.join(str(error).split())[:500]}")
        self._idle.append(actor)
        return event
