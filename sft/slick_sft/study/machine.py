"""How many workers this machine carries, and with how many threads each."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

# What a worker's libraries hold, and how often its model's weights while it trains: weights, gradients, two moments,
# and as much again for what passes through.
_LIBRARIES_BYTES = 1_000_000_000
_WEIGHTS_TIMES = 6


@dataclass(frozen=True, slots=True)
class Machine:
    """workers: processes. threads: of each. gpus: what each sees of CUDA_VISIBLE_DEVICES, in turn."""

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()


def choose(jobs: int, *, device: str, arms: int, model: str) -> Machine:
    """The workers for so many arms: `jobs`, or one a GPU, or as many as cores and memory carry.

    With more workers than GPUs these are shared. Threads: the cores shared out, but OMP_NUM_THREADS where it is set.
    """
    gpus = () if device == "cpu" else visible_gpus()
    cores = _cores()
    workers = jobs or len(gpus) or max(1, min(cores, arms, _fitting(model)))
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdecimal() and int(given) else max(1, cores // workers)
    return Machine(workers, threads, gpus)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that torch would see, by their names for CUDA_VISIBLE_DEVICES; torch is not asked without need."""
    if "CUDA_VISIBLE_DEVICES" not in os.environ and not shutil.which("nvidia-smi"):
        return ()
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return tuple(named[:count]) if named else tuple(map(str, range(count)))


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _fitting(model: str) -> int:
    """How many workers the free memory holds; no limit where that is not known."""
    free = free_memory()
    if free is None:
        return 1_000
    path = Path(model)
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors")) if path.is_dir() else 0
    return max(1, int(free // (_LIBRARIES_BYTES + _WEIGHTS_TIMES * weights)))


def free_memory() -> int | None:
    """Bytes of memory that can still be taken; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
