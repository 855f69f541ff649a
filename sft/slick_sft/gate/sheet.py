"""The answers of two arms to the facts that all their runs share, as numbers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Category, Knowledge
from slick.matching import Matching, is_right
from slick.paired import LEDGER_RUNS, Ledger, Paired, paired
from slick_reports.inputs import Answered
from slick_sft.gate.arms import Pair
from slick_sft.gate.policy import Policy, knows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slick.statistics import Scores

    Mask = NDArray[np.bool_]
    Arms = tuple[Scores, Scores, Scores]

MADE_UP = "not made up"


@dataclass(frozen=True)
class Sheet:
    """Answers to the facts that all runs share, in one order. right, abstained: runs × facts, 0 or 1, of candidate,
    control and ledger (no runs where there is none). base: the share of the untuned model's greedy answers that its
    probe found right. nan in priors and base: not known."""

    facts: tuple[Fact, ...]
    categories: tuple[Category | None, ...]
    priors: Scores
    base: Scores
    right: Arms
    abstained: Arms
    answers: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]

    @classmethod
    def of(cls, pair: Pair, policy: Policy, excluded: Collection[str] = ()) -> Sheet:
        """excluded: ids of facts that are not judged. InputError where no fact is left."""
        runs = [*pair.runs(), *pair.ledger]
        first = pair.control.runs[0].rows
        ids = [id for id in first if id not in excluded and all(id in run.rows for run in runs)]
        if not ids:
            raise InputError(
                "no fact is left to be judged: none stands in all of the runs"
                + (f", but for {len(excluded)} that stand in the dataset" if excluded else "")
            )
        known = pair.categories()
        arms = (pair.candidate.runs, pair.control.runs, pair.ledger)
        rows = [[[run.rows[id] for id in ids] for run in arm] for arm in arms]
        right = [[[_right(row, policy.matching) for row in run] for run in arm] for arm in rows]
        abstained = [[[policy.abstains(row.answer) for row in run] for run in arm] for arm in rows]
        answers = [tuple(tuple(row.answer for row in run) for run in arm) for arm in rows]
        return cls(
            tuple(first[id].fact for id in ids),
            tuple(known.get(id) for id in ids),
            np.array([np.nan if first[id].prior is None else float(bool(first[id].prior)) for id in ids]),
            _base(pair, ids),
            _arms(right, len(ids)),
            _arms(abstained, len(ids)),
            (answers[0], answers[1]),
        )

    def mask(self, group: str) -> Mask:
        """Which facts belong to a group."""
        wanted = knows(group)
        return np.array([not wanted or (c is not None and str(c) in wanted) for c in self.categories], dtype=bool)

    def kept(self) -> Arms:
        """Per arm, whether an answer is right or abstains."""
        first, second, third = (np.maximum(*of) for of in zip(self.right, self.abstained, strict=True))
        return first, second, third

    def paired(self, scores: Arms, mask: Mask, clusters: Sequence[str], *, fixed_control: bool) -> Paired | None:
        """Candidate minus control on the facts of a mask; InputError where one run meets several."""
        inside = [self.facts[i] for i in np.flatnonzero(mask)]
        recorded = scores[2][:, mask]
        try:
            return paired(
                scores[0][:, mask],
                scores[1][:, mask],
                clusters=clusters_of(inside, clusters),
                # A relation that is a cluster is a draw from many, and then not fixed by design.
                strata=None if "relation" in clusters else [fact.relation for fact in inside],
                fixed_control=fixed_control,
                ledger=Ledger.of(recorded.mean(axis=1).tolist()) if recorded.size else None,
            )
        except ValueError as error:
            raise InputError(
                f"{error}. Name every run of the control: --control RUN --control RUN …; one candidate run against "
                f"{LEDGER_RUNS} or more of the control: seeds: 1 in the policy; a base model as control: control: base"
            ) from error


def _arms(runs: Sequence[Sequence[Sequence[bool]]], facts: int) -> Arms:
    first, second, third = (np.array(arm, dtype=float).reshape(len(arm), facts) for arm in runs)
    return first, second, third


def _base(pair: Pair, ids: Sequence[str]) -> Scores:
    probed = {k.fact.id: k for k in pair.knowledge.knowledge} if pair.knowledge else {}
    return np.array([_share(k) if (k := probed.get(id)) else np.nan for id in ids], dtype=float)


def _share(known: Knowledge) -> float:
    """Fresh exemplar sets did not choose the category, so that their share is the fairer one."""
    if known.before_total:
        return known.before_right / known.before_total
    return known.greedy_right / known.greedy_total


def clusters_of(facts: Sequence[Fact], fields: Sequence[str]) -> list[Hashable] | None:
    """What each fact belongs to; one whose source leaves a field empty stands alone. None without clusters."""
    if not fields:
        return None
    keys = [tuple(getattr(fact, name) for name in fields) for fact in facts]
    return [key if all(key) else ("fact", fact.id) for key, fact in zip(keys, facts, strict=True)]


def _right(row: Answered, matching: Matching | None) -> bool:
    return row.right if matching is None else is_right(row.answer, row.fact.answers, matching)
