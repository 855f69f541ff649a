"""The comparison: before against each arm, and each arm against the control, on the facts that all runs share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.paired import Noise, Paired, paired
from slick.statistics import LEVEL, Estimate, Interval, arm_share
from slick_reports import numbers
from slick_reports.arms import Arm, plain_training
from slick_reports.inputs import Answered, Scored
from slick_reports.numbers import (
    ArmNumbers,
    Difference,
    Flip,
    GroupNumbers,
    RelationNumbers,
    Side,
    Turned,
    WrongAnswers,
)
from slick_reports.wrong import KINDS, Entities, Kind, matching_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slick.statistics import Scores

    Mask = NDArray[np.bool_]
    Places = NDArray[np.int8]
    Keys = frozenset[str]

_ECHO = KINDS.index(Kind.ECHO)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One side's answers. right, abstained: runs × facts, 0 or 1; answers: one list of facts' answers a run.

    kinds: runs × facts, places in `KINDS`, -1 for a right answer; where training sets are known, of the runs with one
    only, since without it an echo passes for another kind. echoes: whether any is known.
    """

    right: Scores
    abstained: Scores
    answers: tuple[tuple[str, ...], ...]
    kinds: Places
    echoes: bool

    @classmethod
    def of(
        cls, runs: Sequence[Scored], ids: Sequence[str], entities: Entities, training: Sequence[Keys | None] = ()
    ) -> Sheet:
        """training: keys of the answers that each run was trained on, None where they are not known; () for none."""
        rows = [[run.rows[id] for id in ids] for run in runs]
        known = [(run, keys) for run, keys in zip(rows, training, strict=True) if keys is not None] if training else []
        split = known or [(run, frozenset()) for run in rows]
        return cls(
            np.array([[row.right for row in run] for run in rows], dtype=float),
            np.array([[row.abstained for row in run] for run in rows], dtype=float),
            tuple(tuple(row.answer for row in run) for run in rows),
            np.array([[_kind(row, entities, keys) for row in run] for run, keys in split], dtype=np.int8),
            bool(known),
        )

    def wrong(self, mask: Mask, echoed_before: Mask | None = None) -> WrongAnswers:
        """The wrong answers on the facts of `mask`, by kind, a seed. echoed_before: sets × facts, see `Comparison`."""
        kinds = self.kinds[:, mask]
        runs = kinds.shape[0]
        counts = {kind: float((kinds == place).sum()) / runs for place, kind in enumerate(KINDS)}
        return WrongAnswers(
            float((kinds >= 0).sum()) / runs,
            counts[Kind.ABSTAINED],
            counts[Kind.ENTITY],
            counts[Kind.OTHER],
            counts[Kind.ECHO] if self.echoes else None,
            None if echoed_before is None else float(echoed_before[:, mask].sum()) / len(echoed_before),
        )

    def side(self, mask: Mask) -> Side:
        """Accuracy and abstention on the facts of `mask`."""
        if not mask.any():
            return Side(None, None)
        return Side(_share(self.right[:, mask]), float(self.abstained[:, mask].mean()))


class Comparison:
    """The shared facts in the order of the "before" run, and every side's answers to them.

    categories: fact id → category; a fact that is not in it counts under "all" only. training: an arm's label → for
    each of its runs the answers that it was trained on, None where they are not known. after: an arm's label → fact
    id → category by its own probe.
    """

    def __init__(
        self,
        before: Scored,
        arms: Sequence[Arm],
        categories: Mapping[str, Category],
        *,
        training: Mapping[str, Sequence[Iterable[str] | None]] | None = None,
        after: Mapping[str, Mapping[str, Category]] | None = None,
    ) -> None:
        runs = [run for arm in arms for run in arm.runs]
        ids = [id for id in before.rows if all(id in run.rows for run in runs)]
        if not ids:
            raise InputError("no fact stands in all of the runs; score all models on the same facts")
        shown = [before.rows[id] for id in ids]
        self.facts: tuple[Fact, ...] = tuple(row.fact for row in shown)
        self.categories = tuple(categories.get(id) for id in ids)
        entities = Entities(self.facts, matching_of(before.settings))
        trained = {
            label: [None if answers is None else entities.keys(answers) for answers in sets]
            for label, sets in (training or {}).items()
        }
        self.before = Sheet.of([before], ids, entities)
        self.arms = {arm.label: (arm, Sheet.of(arm.runs, ids, entities, trained.get(arm.label, ()))) for arm in arms}
        # What chance gives: the model "before", never trained on a set, gives some of its answers as well.
        self._echoed_before = {
            label: np.array([[_kind(before.rows[id], entities, keys) == _ECHO for id in ids] for keys in known])
            for label, sets in trained.items()
            if (known := [keys for keys in sets if keys is not None])
        }
        self._after = after or {}
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
                self.before.wrong(mask),
                sheet.wrong(mask, self._echoed_before.get(label)),
                self._turned(sheet, mask),
            )
            for name, mask in self.groups().items()
        )
        return ArmNumbers(
            label,
            label == control,
            arm.seeds,
            plain_training(arm.training),
            rows,
            self._flips(sheet, label, 1, 0),
            self._flips(sheet, label, 0, 1),
            self._flips(sheet, label, 0, 0),
        )

    def _turned(self, sheet: Sheet, mask: Mask) -> Turned:
        was_right = mask & (self.before.right[0] == 1)
        was_wrong = mask & (self.before.right[0] == 0)
        return Turned(
            int(was_right.sum()),
            _share(1 - sheet.right[:, was_right]),
            int(was_wrong.sum()),
            _share(sheet.right[:, was_wrong]),
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
        """after minus before with its interval, as a verdict has it; None for no facts."""
        found = self._paired(after, before, mask, fixed_control=before.shape[0] == 1)
        if found is None:
            return None
        estimate = found.estimate(LEVEL)
        method = f"facts and {found.seeds} seeds" if found.noise is Noise.SEEDS else estimate.method
        if estimate.interval is None:
            method = "undefined for one fact or one subject"
        return _clipped(replace(estimate, method=method), -1.0)

    def _paired(self, after: Scores, before: Scores, mask: Mask, *, fixed_control: bool) -> Paired | None:
        """Facts of one subject are clusters, relations are strata."""
        inside = np.flatnonzero(mask)
        return paired(
            after[:, mask],
            before[:, mask],
            clusters=[self._clusters[i] for i in inside],
            strata=[self.facts[i].relation for i in inside],
            fixed_control=fixed_control,
        )

    def paired(self, label: str, control: str | None, mask: Mask) -> Paired | None:
        """What a verdict on an arm rests on, against the control or, for None, "before"; None for no facts.

        One run meets one run of the other side.
        """
        treated, untreated = self._sides(label, control)
        return self._paired(treated, untreated, mask, fixed_control=control is None)

    def _sides(self, label: str, control: str | None) -> tuple[Scores, Scores]:
        treated = self.arms[label][1].right
        if control is None:
            return treated, self.before.right
        untreated, pair = self.arms[control][1].right, self.matched_seeds(label, control)
        return (treated, untreated) if pair is None else (treated[[pair[0]]], untreated[[pair[1]]])

    def _against(self, label: str, control: str | None, mask: Mask) -> Estimate | None:
        if control is None or label == control:
            return None
        return self.difference(*self._sides(label, control), mask)

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

    def seeds_met(self, control: str | None) -> dict[str, tuple[int | None, int | None]]:
        """An arm's label → the one seed of it, and of the control, that met; only where either had more to choose from.

        What is said of such an arm against the control is about two checkpoints.
        """
        found = {}
        for label, (arm, _) in self.arms.items():
            pair = self.matched_seeds(label, control) if control is not None and label != control else None
            if control is not None and pair is not None:
                other = self.arms[control][0]
                if max(len(arm.runs), len(other.runs)) > 1:
                    found[label] = arm.seeds[pair[0]], other.seeds[pair[1]]
        return found

    def _flips(self, sheet: Sheet, label: str, right_before: int, right_after: int) -> tuple[Flip, ...]:
        """Facts that were right (1) or wrong (0) before and are right or wrong in a seed after; best known first."""
        seeds = (sheet.right == right_after).sum(axis=0)
        wrong = self.before if right_after else sheet
        after = self._after.get(label, {})
        found = [
            Flip(
                self.facts[i],
                str(category) if (category := self.categories[i]) else None,
                self.before.answers[0][i],
                tuple(answers[i] for answers in sheet.answers),
                int(seeds[i]),
                _commonest(wrong.kinds[:, i]),
                str(now) if (now := after.get(self.facts[i].id)) else None,
            )
            for i in np.flatnonzero((seeds > 0) & (self.before.right[0] == right_before))
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
            sheets = [sheet for _, sheet in self.arms.values()]
            rows.append(
                RelationNumbers(
                    relation,
                    int(mask.sum()),
                    self.prior(mask),
                    self.before.side(mask),
                    tuple(sheet.side(mask) for sheet in sheets),
                    tuple(self._change(sheet, mask) for sheet in sheets),
                )
            )
        return tuple(rows)


def _kind(row: Answered, entities: Entities, training: Keys) -> int:
    if row.right:
        return -1
    return KINDS.index(entities.kind(row.fact, row.answer, abstained=row.abstained, training=training))


def _commonest(kinds: Places) -> str:
    """The kind that most of a fact's wrong answers are of; ties go to the first of `KINDS`."""
    if len(kinds) == 1:
        return str(KINDS[kinds[0]]) if kinds[0] >= 0 else ""
    counts = np.bincount(kinds[kinds >= 0], minlength=len(KINDS))
    return str(KINDS[int(counts.argmax())]) if counts.any() else ""


def _share(outcomes: Scores) -> Estimate | None:
    """The share of ones, runs × facts; None for no facts."""
    if not outcomes.shape[1]:
        return None
    return _clipped(arm_share(outcomes) or _undefined(float(outcomes.mean()), outcomes.shape[1]), 0.0)


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
