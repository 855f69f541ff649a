"""The comparison: before against each arm, and each arm against the control, on the facts that all runs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.statistics import Estimate, Interval, arm_share, paired_difference
from slick_reports import numbers
from slick_reports.arms import Arm
from slick_reports.inputs import Answered, Scored, mapping
from slick_reports.numbers import ArmNumbers, Difference, Flip, GroupNumbers, RelationNumbers, Side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slick.statistics import Scores

    Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One side's answers. right, abstained: runs × facts, 0 or 1; answers: one list of facts' answers a run."""

    right: Scores
    abstained: Scores
    answers: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, runs: Sequence[Scored], ids: Sequence[str]) -> Sheet:
        rows = [[run.rows[id] for id in ids] for run in runs]
        return cls(
            np.array([[row.right for row in run] for run in rows], dtype=float),
            np.array([[row.abstained for row in run] for run in rows], dtype=float),
            tuple(tuple(row.answer for row in run) for run in rows),
        )

    def side(self, mask: Mask) -> Side:
        """Accuracy and abstention on the facts of `mask`."""
        if not mask.any():
            return Side(None, None)
        right = self.right[:, mask]
        estimate = arm_share(right) or _undefined(float(right.mean()), int(mask.sum()))
        return Side(_clipped(estimate, 0.0), float(self.abstained[:, mask].mean()))


class Comparison:
    """The shared facts in the order of the "before" run, and every side's answers to them.

    categories: fact id → category; a fact that is not in it counts under "all" only.
    """

    def __init__(self, before: Scored, arms: Sequence[Arm], categories: Mapping[str, Category]) -> None:
        runs = [run for arm in arms for run in arm.runs]
        ids = [id for id in before.rows if all(id in run.rows for run in runs)]
        if not ids:
            raise InputError("no fact stands in all of the runs; score all models on the same facts")
        shown = [before.rows[id] for id in ids]
        self.facts: tuple[Fact, ...] = tuple(row.fact for row in shown)
        self.categories = tuple(categories.get(id) for id in ids)
        self.before = Sheet.of([before], ids)
        self.arms = {arm.label: (arm, Sheet.of(arm.runs, ids)) for arm in arms}
        self._priors = np.array([_prior(row) for row in shown])
        # A subject's facts belong together; a fact whose source names no subject stands alone.
        self._clusters = [("subject", f.subject) if f.subject else ("fact", f.id) for f in self.facts]

    def groups(self) -> dict[str, Mask]:
        """Group name → which facts belong to it; "all" alone when no fact has a category."""
        found = {numbers.ALL: np.ones(len(self.facts), dtype=bool)}
        if any(self.categories):
            found[numbers.KNOWN] = self._where(KNOWN)
            found |= {str(category): self._where([category]) for category in CATEGORIES}
        return found

    def _where(self, wanted: Sequence[Category]) -> Mask:
        return np.array([category in wanted for category in self.categories], dtype=bool)

    def prior(self, mask: Mask) -> float | None:
        """Accuracy of the answer-prior baseline, over the facts whose relation's commonest answer is recorded."""
        values = self._priors[mask]
        values = values[~np.isnan(values)]
        return float(values.mean()) if values.size else None

    def arm(self, label: str, control: str | None) -> ArmNumbers:
        """One arm's numbers; `control` is the label of the control arm."""
        arm, sheet = self.arms[label]
        rows = tuple(
            GroupNumbers(
                name,
                int(mask.sum()),
                self.prior(mask),
                self.before.side(mask),
                sheet.side(mask),
                self._change(sheet, mask),
                self._against(label, control, mask),
            )
            for name, mask in self.groups().items()
        )
        return ArmNumbers(
            label, label == control, arm.seeds, _plain(arm.training), rows, self._flips(sheet, 1), self._flips(sheet, 0)
        )

    def _change(self, sheet: Sheet, mask: Mask) -> Difference:
        after, before = sheet.right[:, mask], self.before.right[:, mask]
        runs = after.shape[0]
        return Difference(
            self.difference(sheet.right, self.before.right, mask),
            lost=float((after < before).sum()) / runs,
            gained=float((after > before).sum()) / runs,
        )

    def difference(self, after: Scores, before: Scores, mask: Mask) -> Estimate | None:
        """after minus before with its interval, facts of one subject clustered; None for no facts."""
        if not mask.any():
            return None
        a, b = after[:, mask], before[:, mask]
        clusters = [cluster for cluster, inside in zip(self._clusters, mask, strict=True) if inside]
        estimate = paired_difference(a, b, clusters)
        return _clipped(estimate or _undefined(float(a.mean() - b.mean()), int(mask.sum())), -1.0)

    def _against(self, label: str, control: str | None, mask: Mask) -> Estimate | None:
        if control is None or label == control:
            return None
        treated, untreated = (self.arms[name][1].right for name in (label, control))
        pair = self.matched_seeds(label, control)
        if pair is not None:
            treated, untreated = treated[[pair[0]]], untreated[[pair[1]]]
        return self.difference(treated, untreated, mask)

    def matched_seeds(self, label: str, control: str) -> tuple[int, int] | None:
        """Which run of the arm is set against which of the control when one of them has a single run.

        A single trained checkpoint says nothing of its seeds, so it meets one checkpoint of the other arm: that of
        the same seed if there is one. None when both have several runs, which are then compared as seeds.
        """
        ours, theirs = self.arms[label][0].seeds, self.arms[control][0].seeds
        if min(len(ours), len(theirs)) > 1:
            return None
        pairs = [(i, j) for i in range(len(ours)) for j in range(len(theirs))]
        return min(pairs, key=lambda pair: (ours[pair[0]] != theirs[pair[1]], pair))

    def _flips(self, sheet: Sheet, right_before: int) -> tuple[Flip, ...]:
        """Facts that were right before and are wrong in a seed (1), or the reverse (0); best known first."""
        before = self.before.right[0]
        changed = (sheet.right != before).sum(axis=0)
        found = [
            Flip(
                self.facts[i],
                str(category) if (category := self.categories[i]) else None,
                self.before.answers[0][i],
                tuple(answers[i] for answers in sheet.answers),
                int(changed[i]),
            )
            for i in np.flatnonzero((changed > 0) & (before == right_before))
        ]
        order = {str(category): place for place, category in enumerate(CATEGORIES)}
        last = len(order)
        return tuple(
            sorted(found, key=lambda flip: (order.get(flip.category or "", last), flip.fact.relation, -flip.seeds))
        )

    def relations(self) -> tuple[RelationNumbers, ...]:
        """Every relation, by name."""
        names = np.array([fact.relation for fact in self.facts], dtype=object)
        rows = []
        for relation in sorted(set(names)):
            mask = np.asarray(names == relation, dtype=bool)
            after = tuple(sheet.side(mask) for _, sheet in self.arms.values())
            rows.append(RelationNumbers(relation, int(mask.sum()), self.prior(mask), self.before.side(mask), after))
        return tuple(rows)


def _prior(row: Answered) -> float:
    return float("nan") if row.prior is None else float(row.prior)


def _undefined(value: float, n: int) -> Estimate:
    return Estimate(value, None, n, "undefined for one fact")


def _clipped(estimate: Estimate, low: float) -> Estimate:
    """A t interval may reach past what a share or a difference can be."""
    if estimate.interval is None:
        return estimate
    interval = estimate.interval
    return replace(estimate, interval=Interval(max(interval.low, low), min(interval.high, 1.0), interval.level))


_TRAINING = ("method", "rows_trained", "steps", "epochs", "learning_rate", "batch_size")


def _plain(training: Mapping[str, object]) -> dict[str, str | float | int | bool]:
    """The part of a tuning record that tells arms apart; what it does not hold is left out."""
    recipe = mapping(training.get("recipe"))
    found = {"recipe": recipe.get("name"), "unknown_share": recipe.get("unknown")}
    found |= {name: training.get(name) for name in _TRAINING}
    return {name: value for name, value in found.items() if isinstance(value, (str, float, int, bool))}
