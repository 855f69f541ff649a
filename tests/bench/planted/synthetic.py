"""A bank that was drawn and not tuned, so that what the benchmark finds in it can be checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .bank import Bank, Right, Tuned


def synthetic(
    shifts: Mapping[int, float],
    *,
    facts: int = 400,
    seeds: int = 8,
    rate: float = 1e-4,
    sd: float = 0.1,
    seed: int = 0,
) -> Bank:
    """Facts of unlike difficulty and some common subjects; a run right where skill and luck exceed it.

    shifts: percent Unknown → how much skill it costs, in logits; twice as many seeds at 0, the control. sd: how far
    seeds lie apart.
    """
    rng = np.random.default_rng(seed)
    ease = rng.normal(1.0, 2.0, facts)

    def run(shift: float) -> Right:
        luck = rng.logistic(0, 0.5, facts)
        return np.asarray(ease - shift + luck + rng.normal(0, sd) > 0)

    runs = {
        Tuned(rate, unknown, s): run(shift)
        for unknown, shift in shifts.items()
        for s in range(seeds if unknown else 2 * seeds)
    }
    return Bank(
        facts=[f"fact {i}" for i in range(facts)],
        subjects=[f"subject {i}" for i in rng.integers(facts, size=facts)],
        relations=[f"P{i % 5}" for i in range(facts)],
        categories=["HighlyKnown" if e > 0 else "Unknown" for e in ease],
        base=run(0.0),
        runs=runs,
        settings={"model": {"weights": "drawn"}, "processor_s": 0.0},
    )
