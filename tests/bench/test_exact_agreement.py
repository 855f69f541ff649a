"""The exact estimator against the sampled protocol: on the lab, and on an organism grown from EntityQuestions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick_tasks.lab import organism_path

pytestmark = pytest.mark.bench

FACTS = 500
GROWN_ON = 1000


def test_samples_fit_the_exact_chances(
    slick: Callable[..., None], work: Path, shared: Path, write_result: Callable[..., None]
) -> None:
    """Greedy verdicts agree but for the numerically uncertain; samples differ within binomial noise.

    Categories differ where the estimator had flagged the fact, and elsewhere no oftener than by its own chances.
    """
    data, grown = shared / "data/entityquestions", work / "entityq-agreement" / "lab"
    if not grown.is_dir():
        slick("lab", "build", "--facts", data, "--split", "test", "--limit", GROWN_ON, "--seed", 0, "--out", grown)
    found = {
        "lab": _verified(slick, work / "exact-lab", organism_path(), "lab", FACTS),
        # The same draw of the same facts as the organism was grown on.
        "entityquestions": _verified(slick, work / "exact-entityq", grown / "organism", data, GROWN_ON),
    }
    write_result("exact_agreement", found)
    for result in found.values():
        assert result["agrees"]
        # Poisson: so many more than expected come once in a thousand times.
        assert result["unflagged"] <= result["unflagged_expected"] + 3 * max(result["unflagged_expected"], 1) ** 0.5


def _verified(slick: Callable[..., None], out: Path, model: Path, facts: object, limit: int) -> dict[str, Any]:
    slick(
        *("probe", "--model", model, "--facts", facts, "--split", "test", "--limit", limit, "--estimator", "exact"),
        *("--verify", FACTS, "--n-before", 0, "--no-store", "--out", out),
    )
    found: dict[str, Any] = json.loads((out / "verification.json").read_text(encoding="utf-8"))
    return found
