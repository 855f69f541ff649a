"""What --metadata may set."""

from __future__ import annotations

import pytest

from slick.errors import InputError
from slick.matching import Matching
from slick.prompts import DEFAULT_FORM
from slick_tasks.knobs import Knobs, misspelt


def test_without_metadata_the_papers_settings_hold() -> None:
    """No metadata means 10 exemplar sets, 16 samples, strict matching and the paper's training form."""
    knobs = Knobs.of_metadata({})
    assert (knobs.n_exemplar_sets, knobs.n_samples, knobs.exemplar_seed) == (10, 16, 0)
    assert (knobs.matching, knobs.form, knobs.split, knobs.per_relation) == (Matching.STRICT, DEFAULT_FORM, "", None)


def test_knobs_are_read_and_everything_else_is_left_alone() -> None:
    """Model arguments, which lm-eval merges in, change nothing, not even one called seed."""
    knobs = Knobs.of_metadata(
        {"pretrained": "m", "seed": 42, "per_relation": 5, "exemplar_seed": 7, "matching": "normalized", "split": "dev"}
    )
    assert (knobs.per_relation, knobs.exemplar_seed, knobs.split) == (5, 7, "dev")
    assert knobs.matching is Matching.NORMALIZED


def test_a_form_may_hold_its_line_break_as_two_characters() -> None:
    """A shell cannot easily write a line break, so backslash-n stands for one."""
    assert Knobs.of_metadata({"form": r"Q: {question}\nA:"}).form == "Q: {question}\nA:"


def test_every_wrong_value_is_named_at_once() -> None:
    """One error lists all knobs whose value cannot be."""
    wrong = {"per_relation": 0, "n_samples": 2.5, "n_exemplar_sets": True, "matching": "fuzzy", "form": "no question"}
    with pytest.raises(InputError, match="--metadata") as caught:
        Knobs.of_metadata(wrong)
    assert all(f"{name}=" in str(caught.value) for name in ("per_relation", "n_samples", "n_exemplar_sets", "matching"))
    assert "expected {question} exactly once" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("per_relations", "per_relation"), ("n_sample", "n_samples"), ("entityquestion", "entityquestions")],
)
def test_a_name_close_to_a_knob_is_taken_for_a_slip(name: str, meant: str) -> None:
    """A misspelt knob is found, though it cannot be refused."""
    assert misspelt({name: 1}) == {name: meant}


@pytest.mark.parametrize("name", ["pretrained", "dtype", "seed", "peft", "format", "model", "version", "lab", "form"])
def test_model_arguments_and_knobs_are_no_slips(name: str) -> None:
    """Neither a knob nor a usual model argument is taken for a misspelt knob."""
    assert misspelt({name: 1}) == {}
