"""What a reader should know of the comparison besides its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.knowledge import Category
from slick_reports.compare import Comparison
from slick_reports.gather import Request, gather
from slick_reports.notes import notes

if TYPE_CHECKING:
    from conftest import Lab


def told(*runs: Path) -> list[str]:
    gathered = gather(Request(list(runs)))
    return notes(gathered, Comparison(gathered.before, gathered.arms, gathered.categories()))


@pytest.fixture
def probed(lab: Lab) -> Lab:
    """The lab with every fact in a category."""
    lab.categories = {fact.id: Category.UNKNOWN for fact in lab.facts}
    return lab


def test_a_plain_comparison_needs_no_note_but_on_its_control(probed: Lab) -> None:
    """Silence means that nothing was odd."""
    (only,) = told(probed.score("base"), probed.arm("a", 0))
    assert only.startswith("No control:")


def test_different_facts_are_counted(probed: Lab) -> None:
    """How many are shared, and how many each run holds."""
    found = told(probed.score("base"), probed.arm("a", 0, facts=probed.facts[:30]))
    assert found[0].startswith("Compared on the 30 facts that all runs share; the runs hold ")
    assert found[0].endswith("a-0” 30.")


def test_repeated_facts_are_counted(probed: Lab) -> None:
    """Identical rows are one fact."""
    twice = [*probed.facts, *probed.facts[:3]]
    found = told(probed.score("base", facts=twice), probed.arm("a", 0, facts=twice))
    assert "3 rows repeat another row's fact; each fact is counted once." in found


def test_facts_without_a_category_are_counted(lab: Lab) -> None:
    """They count under all only."""
    lab.categories = {lab.facts[0].id: Category.UNKNOWN}
    assert "39 of 40 facts have no category and count under “all” only." in told(lab.score("base"), lab.arm("a", 0))


def test_no_categories_at_all_says_how_to_get_them(lab: Lab) -> None:
    """By the probe."""
    found = told(lab.score("base"), lab.arm("a", 0))
    assert "No fact has a category: give the probe of the base model with --knowledge PROBE_RUN." in found


def test_a_before_that_is_tuned_is_said(probed: Lab) -> None:
    """It is no base model, so the report is about two tuned ones."""
    assert "“Before” is itself a tuned model (arm “a”), not a base model." in told(
        probed.arm("a", 0), probed.arm("b", 0)
    )


def test_an_arm_of_the_very_weights_of_before_is_said(probed: Lab) -> None:
    """Its difference is 0 by construction and proves nothing."""
    same = probed.model("base")
    found = told(probed.score("base", model=same), probed.score("arm", model=same))
    assert any("scores the very weights of “before”" in note for note in found)


def test_other_library_versions_are_said(probed: Lab) -> None:
    """They are no mismatch, and may still decide near-ties."""
    run = probed.arm("a", 0)
    (file,) = run.glob("results_*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    document["slick"]["versions"]["lm_eval"] = "0.4.12"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert any("different library versions" in note for note in told(probed.score("base"), run))


def test_the_seeds_that_met_are_named_where_one_arm_has_a_single_run(probed: Lab) -> None:
    """The control's other seeds took no part in that difference."""
    clean = {"recipe": {"unknown": 0}}
    known = [probed.arm("known", seed, training=clean) for seed in range(2)]
    found = told(probed.score("base"), *known, probed.arm("half", 1))
    assert found[-1] == (
        "“half” against the control: only seed 1 against seed 1, since one of the two has a single run."
    )
