"""What `slick study` makes of its options: here, how many workers of what kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick_sft.study import machine
from slick_sft.study.cli import _machine
from slick_sft.study.grid import parse_grid
from slick_sft.study.pool import ProcessPool
from slick_sft.study.ray_pool import RayPool
from slick_sft.study.run import Wish


@pytest.mark.parametrize(
    ("jobs", "ray", "kind", "workers"),
    [
        (0, "", ProcessPool, 2),  # one a core
        (3, "", ProcessPool, 3),
        (0, "local", RayPool, 2),
        (0, "HOST:6379", RayPool, 6),  # one an arm: the cluster's room is its own affair
        (4, "auto", RayPool, 4),
    ],
)
def test_workers_are_of_this_machine_or_of_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, ray: str, kind: type, workers: int
) -> None:
    """As many as were asked for, or as there is use for."""
    monkeypatch.setattr(machine, "_cores", lambda: 2)
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    grid = parse_grid("{variants: [known-only, natural]}", "grid")
    wish = Wish(model="m", facts="f", grid=grid, seeds=3, out=tmp_path, known={}, device="cpu")
    open_pool, size, threads = _machine(wish, jobs, ray)
    opened = open_pool(tmp_path, size, threads)
    assert isinstance(opened, kind)
    assert (size, threads) == (workers, 1)
