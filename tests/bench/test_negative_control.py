"""stories260k, a public model trained on children's stories, must come out as knowing nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slick.knowledge import KNOWN, category_counts
from slick.knowledge_file import read_knowledge
from slick.runs import read_run

pytestmark = pytest.mark.bench

FACTS = 200


def test_a_story_teller_knows_no_facts(
    slick: Callable[..., None], work: Path, shared: Path, write_result: Callable[..., None]
) -> None:
    """Of 200 EntityQuestions facts hardly one beyond the answer prior is Known."""
    out = work / "stories260k"
    slick(
        *("probe", "--model", shared / "models/stories260k", "--facts", shared / "data/entityquestions"),
        *("--split", "test", "--limit", FACTS, "--n-before", 0, "--out", out),
    )
    counts = category_counts(read_knowledge(out).knowledge)
    prior = next(iter(read_run(out).results["results"].values()))["answer_prior,none"]
    known = sum(counts[c] for c in KNOWN)
    result = {"facts": FACTS, "counts": {str(c): n for c, n in counts.items()}, "known": known, "answer_prior": prior}
    write_result("negative_control", result)
    assert known / FACTS <= max(prior, 0.02)
