"""The memory that a probe is expected to need: what is used already, and what a full batch adds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.batch_size import row_cost

if TYPE_CHECKING:
    from slick.backend import Backend


@dataclass(frozen=True, slots=True)
class Memory:
    """Expected peaks: what is used before, and a full batch of the longest rows; None where that is not known.

    longest, own: tokens of the longest prompt, whole and without what it shares. room, answer: tokens kept free for
    what is written behind a prompt, and of an answer that is read there.
    """

    used: float | None
    backend: Backend
    longest: int
    own: int
    room: int
    answer: int

    def _with(self, width: int, behind: int, keep: int) -> float | None:
        if self.used is None:
            return None
        row = row_cost(self.backend.lm.model, width=width, slots=self.longest + behind, keep=keep)
        return self.used + self.backend.batch_size * row.bytes

    @property
    def exact(self) -> float | None:
        return self._with(self.own + self.answer, self.answer, self.answer)

    @property
    def sampled(self) -> float | None:
        return self._with(self.own, self.room, 1)

    @property
    def stock(self) -> float | None:
        return self._with(self.longest, self.room, 1)


def memory_used(backend: Backend) -> float | None:
    """What this process, or its GPU, holds before anything is asked; None for a backend that computes elsewhere."""
    lm: Any = getattr(backend, "lm", None)
    device: Any = getattr(lm, "device", None)
    if not hasattr(lm, "model") or not hasattr(device, "type"):
        return None
    if device.type == "cuda":
        import torch

        return float(torch.cuda.memory_allocated(device))
    return float(_resident())


def _resident() -> int:
    """Bytes of memory that this process occupies; at its peak, where the system does not say the present."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
