"""Provenance as the report shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slick.prompts import DEFAULT_FORM, Chat
from slick_reports.gather import Request, gather
from slick_reports.inputs import read_scored
from slick_reports.records import records, settings_of

if TYPE_CHECKING:
    from conftest import Lab


def test_every_run_has_a_record_before_first(lab: Lab) -> None:
    """Role, label, seed, model, data and versions."""
    clean = {"recipe": {"unknown": 0}, "data": {"digest": "d" * 64}}
    runs = [lab.score("base"), lab.arm("half", 0), lab.arm("known", 1, training=clean)]
    base, half, known = records(gather(Request(runs)))
    assert [(r.role, r.label, r.seed) for r in (base, half, known)] == [
        ("before", "base", None),
        ("arm", "half", 0),
        ("control", "known", 1),
    ]
    assert known.training_set == "d" * 64
    assert base.training_set is None
    assert base.model["weights"] == lab.model("base")["weights"]
    assert (base.n_facts, base.n_rows, base.date) == (40, 40, "2025-01-02T03:04:05")
    assert base.versions == {"lm_eval": "0.4.13", "slick": "0.1.0"}
    assert base.facts == half.facts == known.facts


def test_settings_say_how_facts_were_asked(lab: Lab) -> None:
    """Form, matching, length and chat options."""
    plain = settings_of(read_scored(lab.score("base")))
    assert (plain.form, plain.matching, plain.max_gen_toks, plain.chat) == (DEFAULT_FORM, "strict", 32, "plain text")
    chat = Chat(lambda turns: turns[-1]["content"] + "\n", system="Be brief.")
    assert settings_of(read_scored(lab.score("chat", chat=chat))).chat == (
        "the model's chat template, system instruction 'Be brief.'"
    )
