"""slick.memory: what a probe is expected to need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.backend import load_backend
from slick.memory import Memory, memory_used


def test_a_backend_that_computes_elsewhere_tells_nothing(scripted: Any) -> None:
    """Neither what is used nor what will be."""
    backend = scripted(lambda prompt, j: "")
    assert memory_used(backend) is None
    memory = Memory(None, backend, 100, 20, 6, 3)
    assert (memory.exact, memory.sampled, memory.stock) == (None, None, None)


def test_peaks_are_what_is_used_and_the_rows_of_a_batch(tiny_model: Path) -> None:
    """Every row adds the same; longer prompts and longer answers add more."""
    few = load_backend("slick-hf", str(tiny_model), batch_size=2)
    used = memory_used(few)
    assert used is not None
    assert used > 10**7
    small = Memory(used, few, 100, 20, 6, 3)
    found = [small.exact, small.sampled, small.stock]
    longer, roomier = replace(small, longest=200, own=120), replace(small, room=60, answer=30)
    for other in (longer, roomier):
        for one, more in zip(found, [other.exact, other.sampled, other.stock], strict=True):
            assert one is not None
            assert more is not None
            assert used < one < more
    large = replace(small, backend=few.resized(6))
    for one, many in zip(found, [large.exact, large.sampled, large.stock], strict=True):
        assert one is not None
        assert many is not None
        assert many - used == pytest.approx(3 * (one - used))
