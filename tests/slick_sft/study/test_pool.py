"""Worker processes: what they tell, where they print, and how they and their jobs end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slick.errors import RunError
from slick_sft.study.jobs import Job
from slick_sft.study.pool import ProcessPool, log_of, worker_environment
from slick_sft.study.schedule import DIED, INPUT, RUN, Event, run_jobs

# A worker whose jobs need no model.
WORKER = """
import os, signal, time
from slick.errors import InputError, RunError
from slick_sft.study.worker import serve

def do(work, out):
    what = work["what"]
    print(f"printed by {what}", flush=True)
    os.system("echo from below")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "input":
        raise InputError("a file is wrong")
    if what == "run":
        raise RunError("the loss is nan")
    if what == "unforeseen":
        raise KeyError("oops")
    if what == "bar":
        from tqdm import tqdm
        for _ in tqdm(range(3), mininterval=0, miniters=1):
            pass
    if what == "sleep":
        (out / "asleep").open("w").write(str(os.getpid()))
        time.sleep(600)
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return {"pid": os.getpid(), **{name: os.environ.get(name) for name in names}}

serve(do)
"""


@pytest.fixture
def command(tmp_path: Path) -> Sequence[str]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    return (str(script),)


@pytest.fixture
def pool(tmp_path: Path, command: Sequence[str]) -> Iterator[ProcessPool]:
    with ProcessPool(tmp_path, 1, threads=3, command=command) as opened:
        yield opened


def job(name: str, what: str) -> Job:
    return Job(f"test/{name}", {"what": what}, (), (), {}, 0)


def events(pool: ProcessPool, *jobs: Job) -> list[Event]:
    seen: list[Event] = []
    run_jobs(jobs, set(), pool, seen.append)
    return seen


def last(seen: Sequence[Event]) -> dict[str, Event]:
    return {event.job.removeprefix("test/"): event for event in seen if event.kind != "progress"}


def test_one_process_does_many_jobs(pool: ProcessPool) -> None:
    """With the threads that it was given; each job's record comes back."""
    seen = last(events(pool, job("a", "a"), job("b", "b")))
    assert [event.kind for event in seen.values()] == ["done", "done"]
    assert seen["a"].record["pid"] == seen["b"].record["pid"] != os.getpid()
    assert seen["a"].record["OMP_NUM_THREADS"] == "3"


def test_what_is_printed_goes_into_the_jobs_log(pool: ProcessPool, tmp_path: Path, capfd: Any) -> None:
    """Also what processes below it print; nothing of it reaches the terminal."""
    events(pool, job("a", "a"), job("b", "b"))
    assert log_of(tmp_path, "test/a").read_text() == "printed by a\nfrom below\n"
    assert log_of(tmp_path, "test/b").read_text() == "printed by b\nfrom below\n"
    assert capfd.readouterr() == ("", "")


def test_a_jobs_errors_come_back_by_their_kind(pool: ProcessPool, tmp_path: Path) -> None:
    """Wrong input, a failed run, and what was not foreseen, with its traceback in the log."""
    for what, kind, message in (
        ("run", RUN, "the loss is nan"),
        ("unforeseen", RUN, "KeyError: 'oops'"),
        ("input", INPUT, "a file is wrong"),
    ):
        event = last(events(pool, job(what, what)))[what]
        assert (event.kind, event.message) == (kind, message)
    assert "Traceback" in log_of(tmp_path, "test/unforeseen").read_text()


def test_bars_are_told_as_progress(pool: ProcessPool) -> None:
    """What a verb's bar would draw arrives as numbers."""
    seen = events(pool, job("bar", "bar"))
    assert ("progress", 3.0, 3.0) in [(event.kind, event.n, event.total) for event in seen]


def test_a_worker_that_dies_takes_its_job_alone(pool: ProcessPool) -> None:
    """The job is reported with how its process ended; a new worker does the others."""
    seen = last(events(pool, job("a", "a"), job("x", "die"), job("b", "b")))
    assert seen["x"].kind == DIED
    assert "SIGKILL, as the system does when memory runs out" in seen["x"].message
    assert seen["a"].kind == seen["b"].kind == "done"
    assert seen["a"].record["pid"] != seen["b"].record["pid"]


def test_a_worker_that_cannot_begin_fails_the_study(tmp_path: Path) -> None:
    """It would die again and again; the error shows what it printed."""
    with (
        ProcessPool(tmp_path, 1, command=("-c", "import sys; sys.exit('no such library')")) as opened,
        pytest.raises(
            RunError, match=r"(?s)ended before it did anything .exit code 1.; see .*no such library"
        ) as caught,
    ):
        events(opened, job("a", "a"))
    assert "worker-0.log" in str(caught.value)


def test_gpus_are_dealt_out_in_turn(tmp_path: Path, command: Sequence[str]) -> None:
    """Each worker sees one; with more workers than GPUs they are shared."""
    with ProcessPool(tmp_path, 3, gpus=("4", "7"), command=command) as opened:
        seen = last(events(opened, *(job(str(i), "bar") for i in range(3))))
    assert sorted(str(event.record["CUDA_VISIBLE_DEVICES"]) for event in seen.values()) == ["4", "4", "7"]


def test_leaving_the_pool_ends_a_worker_at_work(tmp_path: Path, command: Sequence[str]) -> None:
    """Also one that would sleep for long."""
    os.mkfifo(tmp_path / "asleep")
    with ProcessPool(tmp_path, 1, command=command) as opened:
        opened.start(job("x", "sleep"))
        sleeper = os.pidfd_open(int((tmp_path / "asleep").read_text()))
        assert not ended(sleeper, seconds=0)
    assert ended(sleeper, seconds=0)


def test_no_worker_outlives_a_command_that_was_killed(tmp_path: Path, command: Sequence[str]) -> None:
    """SIGKILL leaves no time to say goodbye: the workers find out by themselves."""
    os.mkfifo(tmp_path / "asleep")
    owner = f"""
from pathlib import Path
from slick_sft.study.jobs import Job
from slick_sft.study.pool import ProcessPool
pool = ProcessPool(Path({str(tmp_path)!r}), 1, command={tuple(command)!r}).__enter__()
pool.start(Job("test/x", {{"what": "sleep"}}, (), (), {{}}, 0))
pool.wait(); pool.wait()
"""
    process = subprocess.Popen([sys.executable, "-c", owner])
    sleeper = os.pidfd_open(int((tmp_path / "asleep").read_text()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ended(sleeper, seconds=60)


def test_the_environment_says_how_many_threads() -> None:
    """To every numerical library, and to waiting threads to sleep."""
    found = worker_environment(5)
    assert {found[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"5"}
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["PATH"] == os.environ["PATH"]


def test_a_job_is_json(pool: ProcessPool) -> None:
    """A job's work survives the way to its worker."""
    work = {"what": "a", "nested": {"umlaut": "ü", "none": None, "list": [1, 2.5]}}
    assert json.loads(json.dumps(work)) == work
    seen: list[Event] = []
    run_jobs([Job("test/j", work, (), (), {}, 0)], set(), pool, seen.append)
    assert seen[-1].kind == "done"


def ended(process: int, *, seconds: float) -> bool:
    """Whether the process of that descriptor ends within so many seconds."""
    return bool(select.select([process], [], [], seconds)[0])
