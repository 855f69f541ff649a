"""Which runs may be subtracted from one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Category
from slick.matching import Matching
from slick.prompts import Chat
from slick_reports.comparable import check_comparable, check_knowledge
from slick_reports.inputs import read_scored

if TYPE_CHECKING:
    from conftest import Lab


def compared(before: Path, other: Path, *, allow_mismatch: bool = False) -> list[str]:
    """The names of the settings that differ."""
    found = check_comparable(read_scored(before), [read_scored(other)], allow_mismatch=allow_mismatch)
    return [mismatch.setting for mismatch in found]


def test_runs_of_equal_settings_have_no_mismatch(lab: Lab) -> None:
    """Another model is what they are compared for."""
    assert compared(lab.score("base"), lab.score("other")) == []


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"form": "Q: {question}\nA:"}, ["form"]),
        ({"matching": Matching.NORMALIZED}, ["matching"]),
        ({"max_gen_toks": 8}, ["max_gen_toks"]),
        ({"chat": Chat(system="Be brief.")}, ["chat.system"]),
        ({"chat": Chat(lambda turns: turns[-1]["content"] + "\n")}, ["chat.template"]),
    ],
)
def test_settings_that_matter_are_refused_with_both_values(
    lab: Lab, settings: dict[str, Any], names: list[str]
) -> None:
    """The message names every difference; with --allow-mismatch it is recorded instead."""
    base, other = lab.score("base"), lab.score("other", **settings)
    with pytest.raises(
        InputError, match=rf"cannot be compared:\n  {names[0]}: .*other has .*, before has .*\n.*--allow"
    ):
        compared(base, other)
    assert compared(base, other, allow_mismatch=True) == names


def test_every_difference_of_every_run_is_named_at_once(lab: Lab) -> None:
    """One message, not one a try."""
    before = read_scored(lab.score("base"))
    others = [read_scored(lab.score("a", max_gen_toks=8)), read_scored(lab.score("b", matching=Matching.NORMALIZED))]
    with pytest.raises(InputError, match=r"(?s)max_gen_toks: .*a has 8.*matching: .*b has 'normalized'"):
        check_comparable(before, others, allow_mismatch=False)


def test_equal_settings_and_other_prompts_are_a_mismatch(lab: Lab) -> None:
    """A chat template that tuning changed shows in the prompts only."""
    base = lab.score("base", chat=Chat(lambda turns: f"<user>{turns[-1]['content']}\n"))
    other = lab.score("other", chat=Chat(lambda turns: f"[USER]{turns[-1]['content']}\n"))
    with pytest.raises(InputError, match=r"prompts: .*other has 40 of 40 facts asked in other words"):
        compared(base, other)


def test_categories_that_contradict_each_other_are_a_mismatch(lab: Lab) -> None:
    """They come from two different probes; a run without categories contradicts none."""
    lab.categories = {fact.id: Category.UNKNOWN for fact in lab.facts}
    base = lab.score("base")
    plain = lab.score("plain", categories={})
    other = lab.score("other", categories={lab.facts[0].id: Category.HIGHLY_KNOWN})
    assert compared(base, plain) == []
    with pytest.raises(InputError, match=r"categories: .*other has 1 of 40 facts in another category"):
        compared(base, other)


def test_different_facts_are_compared_on_those_they_share(lab: Lab) -> None:
    """That is no mismatch: the report says the counts."""
    assert compared(lab.score("base"), lab.score("other", facts=lab.facts[:10])) == []


def test_runs_without_a_common_fact_are_refused_always(lab: Lab) -> None:
    """There is nothing to subtract."""
    base, other = lab.score("base", facts=lab.facts[:20]), lab.score("other", facts=lab.facts[20:])
    with pytest.raises(InputError, match=r"has no fact in common with .*base \(20 and 20 facts\)"):
        compared(base, other, allow_mismatch=True)


def test_one_id_for_two_questions_is_refused_always(lab: Lab) -> None:
    """Ids may come from the source; pairing by them must not pair different questions."""
    fact = lab.facts[0]
    base = lab.score("base", facts=[Fact.create("Who?", ["x"], id=fact.id)])
    with pytest.raises(InputError, match=rf"fact {fact.id} is another question"):
        compared(base, lab.score("other", facts=[fact]), allow_mismatch=True)


def test_few_shot_against_zero_shot_is_refused_always(lab: Lab) -> None:
    """The same untouched model scores 4 points apart in the two forms."""
    base, other = lab.score("base"), lab.score("other")
    (file,) = other.glob("results_*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    document["n-shot"] = {"closed_book": 4}
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"shows 4 solved examples .* shows 0; a few-shot and a zero-shot score can never"
    ):
        compared(base, other, allow_mismatch=True)


def test_the_probe_must_be_of_the_model_before_tuning(lab: Lab) -> None:
    """Categories of another model say nothing of what this one knew."""
    before = read_scored(lab.score("base"))
    probe = {"model": lab.model("stranger"), "settings": {"matching": "strict"}}
    with pytest.raises(InputError, match="model of the probe: probe has stranger"):
        check_knowledge(probe, "probe", before, allow_mismatch=False)
    (found,) = check_knowledge(probe, "probe", before, allow_mismatch=True)
    assert found.setting == "model of the probe"


def test_the_probe_must_match_as_the_score_does(lab: Lab) -> None:
    """Otherwise a fact is Known by one rule and wrong by another."""
    before = read_scored(lab.score("base"))
    probe = {"model": lab.model("base"), "settings": {"matching": "normalized"}}
    with pytest.raises(InputError, match="matching: probe has 'normalized', before has 'strict'"):
        check_knowledge(probe, "probe", before, allow_mismatch=False)


def test_a_fitting_probe_passes(lab: Lab) -> None:
    """As does one whose provenance is not known."""
    before = read_scored(lab.score("base"))
    fitting = {"model": lab.model("base"), "settings": {"matching": "strict"}}
    assert check_knowledge(fitting, "probe", before, allow_mismatch=False) == []
    assert check_knowledge({}, "probe", before, allow_mismatch=False) == []
