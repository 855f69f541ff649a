"""A linted dataset as the arms of a gate: what each is trained on, how its facts are asked, and what lint said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES
from slick.prompts import DEFAULT_FORM
from slick_sft.lint.examine import Examined
from slick_sft.lint.findings import is_unknown
from slick_sft.lint.leaks import HeldOut
from slick_sft.lint.report import Report
from slick_sft.lint.short_facts import Reason
from slick_sft.lint.training import form_of, learns, training_rows

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """candidate, control: the rows of the arms, equal but for the weights of those that the model does not know.

    form: how facts are asked; form_found: whether the dataset's prompts say so. leaked: ids of the held-out facts that
    it asks itself. unknown: how many of its rows, or turns, are silenced in the control.
    """

    candidate: Rows
    control: Rows
    form: str
    form_found: bool
    conversational: bool
    leaked: frozenset[str]
    unknown: int
    report: Report

    @property
    def sentence(self) -> str:
        """What lint found, in one sentence."""
        counts = self.report.categories
        probed = sum(counts.values())
        shares = ", ".join(f"{counts[c]:,} {c}" for c in CATEGORIES)
        left = len(self.report.rows) - probed
        unit = self.report.unit
        turns = f" with {len(self.report.rows):,} turns" if unit != "rows" else ""
        told = f"The dataset has {self.report.n_rows:,} rows{turns}; {probed:,} state facts that were probed: {shares}."
        return told + (f" {left:,} {unit} could not be probed, and count neither as known nor as new." if left else "")

    @property
    def notes(self) -> list[str]:
        """What is to be known of how conversations are trained on."""
        several = Counter((id(row.source), row.row.number) for row in self.report.rows if row.turn and learns(row))
        several = Counter({row: n for row, n in several.items() if n > 1})
        unasked = sum(row.exchange.prompt == [] and bool(row.exchange.answer) for row in self.report.rows)
        found = []
        if several:
            found.append(
                f"{len(several):,} rows hold several answers: each of these {several.total():,} answers is trained on "
                "as a row of its own, behind all that was said before it. Training on whole conversations learns the "
                "same answers in fewer steps."
            )
        if unasked:
            found.append(f"{unasked:,} answers that nothing was said before are not trained on.")
        return found

    def as_dict(self) -> dict[str, Any]:
        rules = Counter(finding.rule.id for finding in self.report.findings)
        return {
            "sentence": self.sentence,
            "paths": [self.report.path(source) for source in self.report.sources],
            "sha256": [source.digest for source in self.report.sources],
            "rows": self.report.n_rows,
            "exchanges": len(self.report.rows),
            "categories": {str(c): self.report.categories[c] for c in CATEGORIES},
            "not_probed": {str(reason): n for reason, n in self.report.not_probed.items()},
            "findings": dict(rules),
            "silenced_in_control": self.unknown,
            "form": self.form,
        }


def dataset_of(report: Report, held_out: Sequence[Fact], form: str = "") -> Dataset:
    """The arms of a linted dataset. form: how facts are asked, where the policy says so."""
    silenced = {i for i, row in enumerate(report.rows) if is_unknown(row, report.knowledge)}
    mined = form_of(report.rows)
    candidate = training_rows(report.rows)
    if not candidate or not any(row["weight"] for row in candidate):
        raise InputError("the dataset has no row to learn from: every one is empty or weighs 0")
    return Dataset(
        candidate,
        training_rows(report.rows, silenced=silenced),
        form or mined or DEFAULT_FORM,
        bool(form or mined),
        any(isinstance(row["prompt"], list) for row in candidate),
        leaked(report.rows, held_out),
        len(silenced),
        report,
    )


def leaked(rows: Sequence[Examined], held_out: Sequence[Fact]) -> frozenset[str]:
    """The held-out facts whose question a row that is trained on asks, alone or within more."""
    questions = HeldOut(held_out)
    trained = (row for row in rows if row.reason is not Reason.SILENT)
    return frozenset(fact.id for row in trained for fact in questions.asked_in(row.said))


def lines(rows: Rows) -> str:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
