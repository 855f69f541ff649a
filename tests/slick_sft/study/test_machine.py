"""How many workers there are, with how many threads, on which GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick_sft.study import machine
from slick_sft.study.machine import choose

GB = 1_000_000_000


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_cores", lambda: 8)
    monkeypatch.setattr(machine, "visible_gpus", lambda: ())
    monkeypatch.setattr(machine, "free_memory", lambda: 100 * GB)


@pytest.mark.parametrize(
    ("jobs", "arms", "workers", "threads"), [(0, 33, 8, 1), (0, 2, 2, 4), (3, 33, 3, 2), (16, 33, 16, 1)]
)
def test_the_cores_are_shared_out(jobs: int, arms: int, workers: int, threads: int) -> None:
    """One worker a core, no more than arms; as many threads as are left for each."""
    found = choose(jobs, device="cpu", arms=arms, model="hub/name")
    assert (found.workers, found.threads, found.gpus) == (workers, threads, ())


def test_the_users_threads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_NUM_THREADS says how many each has."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose(4, device="", arms=9, model="m").threads == 2


def test_memory_bounds_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each holds its libraries, and its model several times over."""
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1_000_000)
    monkeypatch.setattr(machine, "free_memory", lambda: int(3.1 * GB))
    assert choose(0, device="", arms=33, model=str(tmp_path)).workers == 3
    monkeypatch.setattr(machine, "free_memory", lambda: GB // 2)
    assert choose(0, device="", arms=33, model=str(tmp_path)).workers == 1
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    assert choose(0, device="", arms=33, model=str(tmp_path)).workers == 8


def test_gpus_have_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """More workers than GPUs share them; --device cpu leaves them alone."""
    monkeypatch.setattr(machine, "visible_gpus", lambda: ("0", "1"))
    assert choose(0, device="", arms=33, model="m") == machine.Machine(2, 4, ("0", "1"))
    assert choose(6, device="cuda", arms=33, model="m") == machine.Machine(6, 1, ("0", "1"))
    assert choose(0, device="cpu", arms=33, model="m").gpus == ()
