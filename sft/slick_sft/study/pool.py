"""Worker processes: started once, each importing the heavy libraries once and doing many jobs.

A worker hears of its jobs on its standard input and tells of them on its standard output, a JSON object a line;
all that its libraries print goes into a job's log. When its input ends it ends at once, whatever it is at: no worker
outlives the command that started it, however that ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from slick.errors import RunError
from slick.files import make_directory
from slick_sft.study.jobs import Job
from slick_sft.study.schedule import DIED, Event

LOGS = "logs"
WORKER = ("-m", "slick_sft.study.worker")
# Of the message of a job that failed, so much of its log's end.
_TAIL = 12
_END_S = 10


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    number: int
    job: Job | None = None
    # Whether it has been heard of: one that dies before would die again.
    spoken: bool = False


class ProcessPool:
    """`size` worker processes on this machine.

    threads: of each. gpus: each worker sees one of these only, in turn; none where empty. command: what a worker
    is, behind the interpreter. Used as a context manager: leaving it ends all workers.
    """

    def __init__(
        self,
        out: Path,
        size: int,
        *,
        threads: int = 1,
        gpus: Sequence[str] = (),
        command: Sequence[str] = WORKER,
    ) -> None:
        self.out = out
        self.size = size
        self._threads = threads
        self._gpus = gpus
        self._command = [sys.executable, *command]
        self._workers: dict[int, _Worker] = {}
        self._heard: SimpleQueue[tuple[_Worker, Mapping[str, Any] | None]] = SimpleQueue()

    def __enter__(self) -> Self:
        make_directory(self.out / LOGS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device(self) -> str:
        """What a job that names no device is done on."""
        return "cuda" if self._gpus else "cpu"

    @property
    def free(self) -> int:
        return self.size - sum(worker.job is not None for worker in self._workers.values())

    def start(self, job: Job) -> None:
        worker = self._idle()
        worker.job = job
        order = {"job": job.name, "work": dict(job.work), "out": str(self.out), "log": str(self.log(job.name))}
        assert worker.process.stdin is not None
        # One that has just died is heard of by `wait`.
        with suppress(OSError):
            worker.process.stdin.write(json.dumps(order).encode() + b"\n")
            worker.process.stdin.flush()

    def wait(self) -> Event:
        while True:
            worker, told = self._heard.get()
            if told is None:
                if (event := self._buried(worker)) is not None:
                    return event
                continue
            worker.spoken = True
            if worker.job is None:
                continue
            if told["kind"] != "progress":
                worker.job = None
            return Event(**told)

    def log(self, job: str) -> Path:
        """Where a job's log stands."""
        return log_of(self.out, job)

    def close(self) -> None:
        """Ends all workers, and waits until they have ended."""
        for worker in self._workers.values():
            with suppress(OSError):
                worker.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        for worker in self._workers.values():
            try:
                worker.process.wait(_END_S)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()

    def _idle(self) -> _Worker:
        """A worker that waits; a new one where there is none."""
        for worker in self._workers.values():
            if worker.job is None:
                return worker
        number = next(n for n in range(self.size) if n not in self._workers)
        self._workers[number] = worker = self._spawn(number)
        return worker

    def _spawn(self, number: int) -> _Worker:
        log = self.out / LOGS / f"worker-{number}.log"
        with log.open("ab") as errors:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment(number),
                # A Ctrl-C in the terminal is this command's, which ends its workers itself.
                start_new_session=True,
            )
        worker = _Worker(process, number)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _environment(self, number: int) -> dict[str, str]:
        return worker_environment(self._threads) | (
            {"CUDA_VISIBLE_DEVICES": self._gpus[number % len(self._gpus)]} if self._gpus else {}
        )

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            with suppress(ValueError):
                self._heard.put((worker, json.loads(line)))
        worker.process.wait()
        self._heard.put((worker, None))

    def _buried(self, worker: _Worker) -> Event | None:
        """What the end of a worker means for its job, if it had one. RunError where workers cannot even begin."""
        if self._workers.get(worker.number) is worker:
            del self._workers[worker.number]
        job, worker.job = worker.job, None
        if not worker.spoken:
            log = self.out / LOGS / f"worker-{worker.number}.log"
            raise RunError(f"a worker ended before it did anything ({_how(worker.process)}); see {log}{tail(log)}")
        if job is None:
            return None
        return Event(DIED, job.name, message=f"its process ended ({_how(worker.process)})")


def log_of(out: Path, job: str) -> Path:
    """A job's log in a study's directory."""
    return out / LOGS / f"{job.replace('/', '-')}.log"


def tail(log: Path) -> str:
    """The last lines of a log, set off for a message; empty where there is nothing."""
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_TAIL:]
        return "".join(f"\n    {line}" for line in lines)
    return ""


def worker_environment(threads: int) -> dict[str, str]:
    """This process's environment with so many threads for numerical libraries, and progress told now and then."""
    numeric = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # Rust's tokenizers start threads of their own, for prompts of a dozen words.
    return {**os.environ, **numeric, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def _how(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    if code is None or code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}, as the system does when memory runs out" if name == "SIGKILL" else name
    return f"signal {-code}"
