"""Which runs are one arm, what it is called, and which arm is the control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slick.errors import InputError
from slick_reports.arms import find_control, group_arms, unknown_share
from slick_reports.inputs import read_scored
from slick_reports.places import place

if TYPE_CHECKING:
    from conftest import Lab


def test_seeds_of_one_recipe_are_one_arm_in_the_order_of_their_seeds(lab: Lab) -> None:
    """Equal arm keys and different seeds; the order in which arms were first given stays."""
    runs = [lab.arm("b", 2), lab.arm("a", 0), lab.arm("b", 0), lab.arm("b", 1)]
    arms = group_arms([read_scored(run) for run in runs], {})
    assert [(arm.label, arm.seeds) for arm in arms] == [("b", (0, 1, 2)), ("a", (0,))]


def test_runs_without_a_tuning_record_stand_alone_under_their_directory_names(lab: Lab) -> None:
    """A model that slick did not tune has no seeds to group by."""
    arms = group_arms([read_scored(lab.score("v1")), read_scored(lab.score("v2"))], {})
    assert [(arm.label, arm.seeds) for arm in arms] == [("v1", (None,)), ("v2", (None,))]


def test_the_same_seed_twice_in_one_arm_is_refused(lab: Lab) -> None:
    """Two scores of one model are no two seeds: their difference would be 0 by construction."""
    twice = {"model": lab.model("m")}
    first, second = lab.arm("a", 0, **twice), lab.score("again", training=lab.training("a", 0), **twice)
    with pytest.raises(InputError, match=r"are the same model \(seed 0\)"):
        group_arms([read_scored(first), read_scored(second)], {})


def test_two_models_of_one_recipe_and_seed_are_refused_as_such(lab: Lab) -> None:
    """Other weights under the same record: the record is not telling the whole truth."""
    first, second = lab.arm("a", 0), lab.score("other", training=lab.training("a", 0))
    with pytest.raises(InputError, match="two models of one recipe and one seed"):
        group_arms([read_scored(first), read_scored(second)], {})


def test_checkpoints_of_one_tuning_run_are_arms_of_their_own(lab: Lab) -> None:
    """They share the run's record, and only their directory's name tells them apart."""
    early = lab.arm("a", 0, model=lab.model("tuned/checkpoint-10"))
    late = lab.score("late", training=lab.training("a", 0), model=lab.model("tuned/model"))
    labels = [arm.label for arm in group_arms([read_scored(early), read_scored(late)], {})]
    assert labels == [f"a ({place(early)})", f"a ({place(late)})"]


def test_the_users_label_goes_before_the_recorded_one(lab: Lab) -> None:
    """One of an arm's seeds is enough to name it."""
    runs = [lab.arm("a", 0), lab.arm("a", 1)]
    (arm,) = group_arms([read_scored(run) for run in runs], {str(runs[1]): "mine"})
    assert arm.label == "mine"


def test_two_labels_for_one_arm_are_refused(lab: Lab) -> None:
    """Its seeds are one arm, so it has one name."""
    runs = [lab.arm("a", 0), lab.arm("a", 1)]
    with pytest.raises(InputError, match="'x', 'y' name one arm"):
        group_arms([read_scored(run) for run in runs], {str(runs[0]): "x", str(runs[1]): "y"})


def test_arms_of_equal_names_are_told_apart_by_their_directories(lab: Lab) -> None:
    """Two recipes may bear one name."""
    runs = [lab.arm("a", 0), lab.score("b", training={**lab.training("a", 0), "arm_key": "another"})]
    labels = [arm.label for arm in group_arms([read_scored(run) for run in runs], {})]
    assert labels == [f"a ({place(runs[0])})", f"a ({place(runs[1])})"]


@pytest.mark.parametrize(
    ("training", "share"),
    [
        ({}, None),
        ({"recipe": {"unknown": 0}}, 0.0),
        ({"recipe": {"unknown": 0.5}}, 0.5),
        ({"recipe": {"unknown": None}}, None),
        ({"recipe": {"unknown": False}}, None),
        ({"recipe": "known-only"}, None),
    ],
)
def test_the_share_of_unknown_rows_is_the_recipes(training: dict[str, object], share: float | None) -> None:
    """What was not recorded is None, which is not 0."""
    assert unknown_share(training) == share


def test_the_control_is_the_arm_without_unknown_rows(lab: Lab) -> None:
    """It is found by its recipe, not by its name."""
    runs = [
        lab.arm("half", 0, training={"recipe": {"unknown": 0.5}}),
        lab.arm("clean", 0, training={"recipe": {"unknown": 0}}),
    ]
    control, note = find_control(group_arms([read_scored(run) for run in runs], {}), None)
    assert control is not None
    assert (control.label, note) == ("clean", "The control is “clean”, the arm trained without Unknown facts.")


def test_the_mix_of_all_known_facts_goes_before_those_of_one_category(lab: Lab) -> None:
    """A set of HighlyKnown facts only holds no Unknown rows either, but it is another question."""
    runs = [
        lab.arm("only", 0, training={"recipe": {"name": "only-HighlyKnown", "unknown": 0}}),
        lab.arm("known", 0, training={"recipe": {"name": "known-only", "unknown": 0}}),
    ]
    control, _ = find_control(group_arms([read_scored(run) for run in runs], {}), None)
    assert control is not None
    assert control.label == "known"


def test_of_several_possible_controls_none_is_guessed(lab: Lab) -> None:
    """The note names them and the option."""
    runs = [lab.arm(name, 0, training={"recipe": {"unknown": 0}}) for name in ("a", "b")]
    control, note = find_control(group_arms([read_scored(run) for run in runs], {}), None)
    assert control is None
    assert note == "No control: “a”, “b” were all trained without Unknown facts; choose one with --control LABEL."


def test_without_a_candidate_the_note_says_how_to_choose(lab: Lab) -> None:
    """A missing control is said, not passed over."""
    control, note = find_control(group_arms([read_scored(lab.arm("a", 0))], {}), None)
    assert control is None
    assert "choose one with --control LABEL" in note


def test_a_control_is_chosen_by_label(lab: Lab) -> None:
    """And a label that no arm bears is refused with those that there are."""
    arms = group_arms([read_scored(lab.arm("a", 0)), read_scored(lab.arm("b", 0))], {})
    assert find_control(arms, "b") == (arms[1], "The control is “b”, as chosen.")
    with pytest.raises(InputError, match="--control 'c': no such arm; the arms are 'a', 'b'"):
        find_control(arms, "c")
