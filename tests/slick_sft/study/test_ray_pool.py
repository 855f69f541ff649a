"""Workers on a Ray cluster: how many there are, and what becomes of jobs whose worker ends. Ray itself is faked."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from slick.errors import InputError, RunError
from slick_sft.study import ray_pool
from slick_sft.study.jobs import Job
from slick_sft.study.ray_pool import RayPool, room
from slick_sft.study.schedule import DIED, RUN, Event, run_jobs


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class Killed(BaseException):
    """What the fake's actors raise to end their process."""


@dataclass(eq=False)
class Reference:
    """What a call will give: a value or an error, or neither yet."""

    value: Any = None
    error: RayError | None = None
    pending: bool = False


class Later:
    """What a fake job returns that ends only once nothing else is left to hear of."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Handle:
    def __init__(self, ray: Ray, made: Callable[[], Any]) -> None:
        self.ray = ray
        self.dead = ""
        self.worker: Any = None
        self.stands = ray.placed < ray.capacity
        ray.placed += self.stands
        if self.stands:
            try:
                self.worker = made()
            except OSError as error:
                self.end(f"its constructor failed: {error}")

    def end(self, why: str) -> None:
        if not self.dead:
            self.ray.placed -= self.stands
        self.dead = why

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *args: self._call(name, args))

    def _call(self, name: str, args: Sequence[Any]) -> Reference:
        if self.dead:
            return Reference(error=RayError(self.dead))
        if not self.stands:
            return Reference(pending=True)
        try:
            value = getattr(self.worker, name)(*args)
        except Killed:
            self.end("the actor died")
            return Reference(error=RayError("the actor died"))
        except Exception as error:
            return Reference(error=RayTaskError(f"{type(error).__name__}: {error}"))
        if not isinstance(value, Later):
            return Reference(value)
        self.ray.later.append(Reference(value.value, pending=True))
        return self.ray.later[-1]


@dataclass
class Ray:
    """As much of the module `ray` as the pool uses. capacity: actors that stand at a time; others never do.

    replaces: whether the place of an actor that ended can be taken again.
    """

    machines: Sequence[Mapping[str, float]] = ({"CPU": 4.0},)
    capacity: int = 99
    replaces: bool = True
    placed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    handles: list[Handle] = field(default_factory=list)
    later: list[Reference] = field(default_factory=list)
    waits: int = 0
    up: bool = False
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError))

    def init(self, address: str, **options: Any) -> None:
        self.up = True

    def shutdown(self) -> None:
        self.up = False

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": dict(has)} for has in self.machines]

    def cluster_resources(self) -> dict[str, float]:
        return {name: sum(has.get(name, 0) for has in self.machines) for name in ("CPU", "GPU")}

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.0}

    def remote(self, actor: Callable[..., Any]) -> Any:
        def options(**given: Any) -> Any:
            self.options = given
            return SimpleNamespace(remote=make)

        def make(*args: Any) -> Handle:
            self.handles.append(Handle(self, lambda: actor(*args)))
            return self.handles[-1]

        return SimpleNamespace(options=options)

    def wait(self, references: list[Reference], num_returns: int, timeout: float) -> tuple[list[Reference], Any]:
        assert references
        assert len({*map(id, references)}) == len(references)
        ready = [reference for reference in references if not reference.pending]
        if not ready:
            # The first time nobody has anything to say yet; then a job ends.
            self.waits += 1
            if self.waits % 2 == 0 and self.later:
                self.later.pop(0).pending = False
        return ready[:num_returns], []

    def get(self, reference: Reference) -> Any:
        if reference.error:
            raise reference.error
        return reference.value

    def kill(self, handle: Handle) -> None:
        handle.end("killed")
        if not self.replaces:
            self.capacity = self.placed


class Worker:
    """An actor whose jobs need no model: what a job is, its work says."""

    def __init__(self, directory: str) -> None:
        assert Path(directory) == Path.cwd()
        self.done: list[str] = []

    def told(self) -> tuple[float, float]:
        return (3.0, 4.0)

    def perform(self, order: Mapping[str, Any]) -> Any:
        what, out = order["work"]["what"], Path(order["out"])
        if what == "die" or (what == "die once" and not (out / "died").exists()):
            (out / "died").touch()
            raise Killed
        if what == "raise":
            raise KeyError("oops")
        self.done.append(order["job"])
        ended = {"kind": "done", "job": order["job"], "record": {"by": self.done}}
        return Later(ended) if what == "slow" else ended


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    fake = Ray()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_pool, "Actor", Worker)
    return fake


def job(name: str, what: str = "work") -> Job:
    return Job(f"test/{name}", {"what": what}, (), (), {}, 0)


def pool(out: Path, size: int, **other: Any) -> RayPool:
    return RayPool(out, size, **{"address": "auto", "placed_s": 0.0} | other)


def ends(opened: RayPool, *jobs: Job) -> dict[str, Event]:
    seen: list[Event] = []
    run_jobs(jobs, set(), opened, seen.append)
    return {event.job.removeprefix("test/"): event for event in seen if event.kind != "progress"}


@pytest.mark.parametrize(
    ("machines", "threads", "gpu", "actors"),
    [
        ([{"CPU": 8.0}], 1, False, 8),
        ([{"CPU": 8.0}], 3, False, 2),
        ([{"CPU": 3.0}, {"CPU": 3.0}], 2, False, 2),  # none spans two machines
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], 1, True, 2),
        ([{"CPU": 1.0, "GPU": 4.0}], 2, True, 0),
        ([{"memory": 1.0}, {}], 1, False, 0),
    ],
)
def test_actors_need_cpus_and_gpus_of_one_machine(
    machines: list[dict[str, float]], threads: int, gpu: bool, actors: int
) -> None:
    """Machines that are down have none."""
    nodes = [{"Alive": True, "Resources": has} for has in machines]
    assert room([*nodes, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}], threads, gpu=gpu) == actors


def test_a_pool_is_no_larger_than_its_cluster(ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and does all jobs on what there is."""
    with pool(tmp_path, 6, threads=2) as opened:
        assert (opened.size, opened.free, opened.device, len(ray.handles)) == (2, 2, "cpu", 2)
        assert {event.kind for event in ends(opened, *(job(str(i)) for i in range(5))).values()} == {"done"}
    said = "--ray auto: asked for 6 workers of 2 threads each, placed 2 (4 CPUs of which 0 are free); goes on with 2"
    assert said in capsys.readouterr().err


def test_a_size_that_nobody_named_is_no_news(ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker for each arm would be asked for, and the cluster decides."""
    with pool(tmp_path, 33, named=False) as opened:
        assert opened.size == 4
    assert capsys.readouterr().err == ""


def test_a_pool_that_is_whole_says_nothing(ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And leaving it ends its actors and the connection."""
    with pool(tmp_path, 4) as opened:
        assert opened.size == 4
        assert ray.up
    assert capsys.readouterr().err == ""
    assert all(handle.dead == "killed" for handle in ray.handles)
    assert not ray.up


def test_gpus_bound_the_pool(ray: Ray, tmp_path: Path) -> None:
    """One for each actor where the cluster has any, though the machine of the command has none."""
    ray.machines = [{"CPU": 16.0, "GPU": 2.0}]
    with pool(tmp_path, 4, gpu=True) as opened:
        assert (opened.size, opened.device, ray.options["num_gpus"]) == (2, "cuda", 1)
    ray.machines = [{"CPU": 16.0}]
    with pool(tmp_path, 4, gpu=True) as opened:
        assert (opened.size, opened.device, ray.options["num_gpus"]) == (4, "cpu", 0)


def test_a_cluster_without_room_is_refused(ray: Ray, tmp_path: Path) -> None:
    """At once, with what was asked and what there is; nothing is left connected."""
    said = "asked for 3 workers of 8 threads each, and no machine of the cluster has room for one .4 CPUs .*lower OMP_"
    with pytest.raises(RunError, match=said):
        pool(tmp_path, 3, threads=8).__enter__()
    assert not ray.up
    assert ray.handles == []


def test_actors_that_do_not_come_are_not_waited_for(
    ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others have taken the cluster's CPUs: the study goes on with the actors that came, and lets go of the rest."""
    ray.capacity = 1
    with pool(tmp_path, 3) as opened:
        assert opened.size == opened.free == 1
        assert [handle.dead for handle in ray.handles] == ["", "killed", "killed"]
        assert {event.kind for event in ends(opened, job("a"), job("b")).values()} == {"done"}
    assert "asked for 3 workers of 1 thread each, placed 1" in capsys.readouterr().err


def test_no_actor_at_all_fails_the_study(ray: Ray, tmp_path: Path) -> None:
    """With what was asked, what was placed, and what can be done."""
    ray.capacity = 0
    said = (
        r"asked for 2 workers of 1 thread each, placed none within 0 s .4 CPUs of which 0 are free.*ray status.*--jobs"
    )
    with pytest.raises(RunError, match=said):
        pool(tmp_path, 2).__enter__()
    assert not ray.up
    assert not (tmp_path / "logs").exists()


def test_actors_that_cannot_begin_say_why(ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that does not see the directory of the command."""

    def nowhere(directory: str) -> Worker:
        raise FileNotFoundError(f"no such directory: {directory}")

    monkeypatch.setattr(ray_pool, "Actor", nowhere)
    with pytest.raises(RunError, match="asked for a worker of 1 thread, placed none: its constructor failed: no such"):
        pool(tmp_path, 1).__enter__()


def test_a_job_outlives_its_actor(ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another actor does it, a new one where there is no other, and there are as many as before."""
    with pool(tmp_path, 1) as opened:
        seen = ends(opened, job("x", "die once"), job("a"))
        assert {name: event.kind for name, event in seen.items()} == {"x": "done", "a": "done"}
        assert opened.free == 1
    assert len(ray.handles) == 2
    assert "test/x: its Ray worker ended (the actor died); another goes on with it" in capsys.readouterr().err


def test_a_job_that_ends_two_actors_is_the_culprit(ray: Ray, tmp_path: Path) -> None:
    """It is reported as one that died, and the others are done."""
    with pool(tmp_path, 2) as opened:
        seen = ends(opened, job("x", "die"), job("a"), job("b"))
        assert opened.free == 2
    assert {name: event.kind for name, event in seen.items()} == {"x": DIED, "a": "done", "b": "done"}
    assert seen["x"].message == "2 Ray workers ended at it, the last: the actor died"


def test_an_error_leaves_its_actor_alive(ray: Ray, tmp_path: Path) -> None:
    """What an actor raises is its job's failure, not the actor's end."""
    with pool(tmp_path, 1) as opened:
        seen = ends(opened, job("x", "raise"), job("a"))
    assert (seen["x"].kind, seen["x"].message) == (RUN, "KeyError: 'oops'")
    assert seen["a"].kind == "done"
    assert len(ray.handles) == 1


def test_others_do_the_work_of_an_actor_that_is_not_replaced(
    ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cluster has shrunk, and the study goes on more slowly."""
    ray.replaces = False
    with pool(tmp_path, 2) as opened:
        seen = ends(opened, job("x", "die once"), *(job(str(i), "slow") for i in range(4)))
        assert opened.free == 1
    assert {event.kind for event in seen.values()} == {"done"}
    assert "a worker that ended could not be replaced within 0 s" in capsys.readouterr().err


def test_a_cluster_that_is_lost_ends_the_study(ray: Ray, tmp_path: Path) -> None:
    """Where no actor is left and none comes, nothing is waited for."""
    ray.replaces = False
    said = "no worker is left, and none could be placed within 0 s; what is done stays"
    with pytest.raises(RunError, match=said), pool(tmp_path, 1) as opened:
        ends(opened, job("x", "die once"), job("a"))
    assert not ray.up


def test_a_running_job_tells_how_far_it_is(ray: Ray, tmp_path: Path) -> None:
    """It is asked where nothing else is heard."""
    seen: list[Event] = []
    with pool(tmp_path, 1) as opened:
        run_jobs([job("a", "slow")], set(), opened, seen.append)
    assert [(event.kind, event.n, event.total) for event in seen] == [("progress", 3.0, 4.0), ("done", 0, 0)]


def test_a_cluster_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with what was expected; whether Ray is installed or not."""
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(InputError, match=f"--ray {address}: no cluster can be reached there.*expected local, auto"):
            RayPool(tmp_path, 1, address=address).__enter__()


def test_ray_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--ray: Ray is not installed; pip install 'slick-eval\[ray\]'"):
        RayPool(tmp_path, 1, address="local").__enter__()
