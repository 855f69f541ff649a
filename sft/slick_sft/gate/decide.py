"""The verdict of a gate on two arms, from their stored answers. No model is needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slick.errors import InputError
from slick.knowledge import CATEGORIES
from slick.matching import first_line, normalize
from slick.paired import Paired
from slick.verdict import Verdict, judge_all
from slick_reports.inputs import Scored
from slick_sft.gate.arms import Pair, bases_known, other_bases, told
from slick_sft.gate.floor import fallen, nothing_to_lose, opened
from slick_sft.gate.policy import ALL, BASE, GROUPS, Policy, gated_groups
from slick_sft.gate.report import GateReport, Group, LostFact, Side, run_record
from slick_sft.gate.sheet import MADE_UP, Sheet

if TYPE_CHECKING:
    from slick.statistics import Scores
    from slick_sft.gate.baselines import Baseline
    from slick_sft.gate.sheet import Arms


def decide(
    pair: Pair,
    policy: Policy,
    *,
    excluded: Collection[str] = (),
    control: str = "",
    notes: Sequence[str] = (),
    dataset: Mapping[str, object] | None = None,
    baseline: Baseline | None = None,
    look: int = 1,
) -> GateReport:
    """The verdict. control: what the control is called. notes: what else is to be known of the runs. baseline: the one
    that is the control, for its age. look: which of the policy's looks this is.

    Raises InputError where nothing can be judged: no common fact, a gated group without facts, one run against many, a
    tuned model where the policy wants the base.
    """
    if policy.control.kind == BASE:
        _check_base(pair)
    sheet = Sheet.of(pair, policy, excluded)
    fixed = len(pair.control.runs) == 1 and (pair.control.untrained or policy.control.kind == BASE)
    _check_groups(sheet, policy)
    measures = {ALL: sheet.right, MADE_UP: sheet.kept()}
    gated = {
        **{group: (group, ALL, margin) for group, margin in policy.margins.items()},
        **{f"{group} ({MADE_UP})": (group, MADE_UP, margin) for group, margin in policy.hallucination.items()},
    }
    found = {
        name: (
            sheet.paired(measures[measure], sheet.mask(group), policy.clusters, fixed_control=fixed),
            margin,
        )
        for name, (group, measure, margin) in gated.items()
    }
    judgement = judge_all(found, level=policy.level, looks=policy.looks)
    reasons = {
        name: nothing_to_lose(
            sheet,
            measures[measure][1],
            sheet.mask(group),
            policy.clusters,
            margin=margin,
            level=judgement.interval_level,
            made_up=measure == MADE_UP,
        )
        for name, (group, measure, margin) in gated.items()
        if (of := found[name][0]) is not None and of.defined
    }
    judgement = opened(judgement, reasons)
    verdicts = {verdict.name: verdict for verdict in judgement.verdicts}
    others = [group for group in GROUPS if group not in policy.margins and sheet.mask(group).any()]
    groups = [
        replace(
            _group(sheet, name, group, measures[measure], found[name][0], verdicts[name], known=measure == ALL),
            nothing_to_lose=reasons.get(name, ""),
        )
        for name, (group, measure, _) in gated.items()
    ] + [
        _group(
            sheet,
            group,
            group,
            sheet.right,
            sheet.paired(sheet.right, sheet.mask(group), policy.clusters, fixed_control=fixed),
            None,
        )
        for group in (others if any(sheet.categories) else [g for g in others if g == ALL])
    ]
    return GateReport(
        judgement=judgement,
        groups=tuple(groups),
        policy=policy,
        control=control or str(policy.control),
        candidates=tuple(map(run_record, pair.candidate.runs)),
        controls=tuple(map(run_record, pair.control.runs)),
        ledger=tuple(map(run_record, pair.ledger)),
        facts=len(sheet.facts),
        lost=tuple(_lost(sheet, policy)),
        mismatches=tuple(map(told, pair.mismatches)),
        notes=tuple(
            dict.fromkeys(
                [
                    *notes,
                    *(baseline.notes(policy.baseline_days) if baseline else []),
                    *_notes(pair, sheet, excluded, fixed=fixed),
                    *([] if pair.control.untrained else fallen(groups)),
                ]
            )
        ),
        dataset=dict(dataset) if dataset else None,
        excluded=tuple(sorted(excluded)),
        kept=tuple(notes),
        baseline={"name": baseline.name, "date": baseline.date} if baseline else None,
        look=look,
    )


def _check_base(pair: Pair) -> None:
    """A control that was tuned is no base model, and one run of it no fixed one."""
    tuned = [str(run.path) for run in pair.control.runs if run.training]
    if tuned:
        raise InputError(
            f"{', '.join(tuned)}: records a training, and the policy says control: {BASE}; give the untuned model's "
            "score as --control, or another control in the policy"
        )


def _check_groups(sheet: Sheet, policy: Policy) -> None:
    """A gated group without facts could never be judged, and so never pass."""
    empty = [group for group in gated_groups(policy) if not sheet.mask(group).any()]
    if not empty:
        return
    if not any(sheet.categories):
        raise InputError(
            f"the policy gates {', '.join(empty)}, but no fact has a category: give the probe of the base model with "
            "--knowledge PROBE, or gate all"
        )
    counts = ", ".join(f"{sum(c is category for c in sheet.categories)} {category}" for category in CATEGORIES)
    raise InputError(
        f"the policy gates {', '.join(empty)}, and none of the {len(sheet.facts)} facts is in it ({counts}): nothing "
        "could be judged; take it out of the policy, or ask facts that have some"
    )


def _group(
    sheet: Sheet,
    name: str,
    group: str,
    scores: Arms,
    found: Paired | None,
    verdict: Verdict | None,
    *,
    known: bool = True,
) -> Group:
    """known: whether the group is judged by what the untuned model's probe counts too."""
    mask = sheet.mask(group)
    assert found is not None
    return Group(
        name=name,
        group=group,
        n=int(mask.sum()),
        candidate=Side(float(scores[0][:, mask].mean()), float(sheet.abstained[0][:, mask].mean())),
        control=Side(float(scores[1][:, mask].mean()), float(sheet.abstained[1][:, mask].mean())),
        prior=_mean(sheet.priors[mask]),
        base=_mean(sheet.base[mask]) if known else None,
        paired=found,
        verdict=verdict,
    )


def _mean(values: Scores) -> float | None:
    """Of what is known; None for nothing."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else None


def _lost(sheet: Sheet, policy: Policy) -> list[LostFact]:
    """Facts of the gated groups that more of the control's runs than of the candidate's answer rightly, the surest
    first."""
    inside = np.zeros(len(sheet.facts), dtype=bool)
    for group in gated_groups(policy):
        inside |= sheet.mask(group)
    shares = [right.mean(axis=0) for right in sheet.right[:2]]
    drop = shares[1] - shares[0]
    places = sorted(np.flatnonzero(inside & (drop > 0)), key=lambda i: (-drop[i], i))
    return [
        LostFact(
            sheet.facts[i],
            str(sheet.categories[i]) if sheet.categories[i] else None,
            float(shares[1][i]),
            float(shares[0][i]),
            tuple(dict.fromkeys(run[i] for run in sheet.answers[1])),
            tuple(dict.fromkeys(run[i] for run in sheet.answers[0])),
        )
        for i in places
    ]


def _notes(pair: Pair, sheet: Sheet, excluded: Collection[str], *, fixed: bool) -> list[str]:
    found = []
    runs = list(pair.runs())
    if any(len(run.rows) - len(excluded) > len(sheet.facts) for run in runs):
        counts = ", ".join(f"{len(run.rows):,}" for run in runs)
        found.append(f"Judged on the {len(sheet.facts):,} facts that all runs share; the runs hold {counts}.")
    if excluded:
        found.append(f"{len(excluded):,} held-out facts are asked in the dataset itself, and were not judged.")
    without = sum(category is None for category in sheet.categories)
    if 0 < without < len(sheet.facts):
        found.append(f"{without:,} of {len(sheet.facts):,} facts have no category and count under “all” only.")
    if fixed:
        found.append("The control is the untuned base model: the verdict is about tuning itself, rows and all.")
    if (fixed or pair.control.untrained) and not _base_verified(pair):
        found.append(
            "That the control is the model which the candidate was tuned from could not be verified: the runs do not "
            "record it."
        )
    if pair.ledger:
        seeds = _listed([run.seed for run in pair.ledger])
        found.append(
            f"One run an arm; how far seeds lie apart is known from {len(pair.ledger)} recorded runs of the control "
            f"(seeds {seeds}), and the candidate's are taken to lie as far apart."
        )
    ours, theirs = pair.candidate.seeds, pair.control.seeds
    if not fixed and None not in (*ours, *theirs) and ours != theirs:
        found.append(
            f"The arms have other seeds (candidate {_listed(ours)}, control {_listed(theirs)}), so no run has its pair."
        )
    if not fixed and any(not run.training for run in runs):
        found.append("Not every run says how it was trained, so that was not compared.")
    abstaining = sheet.abstained[0].sum()
    silent = sum(not normalize(first_line(answer)) for run in sheet.answers[0] for answer in run)
    if silent > abstaining / 2:
        found.append(
            f"{silent:,} of the candidate's {abstaining:,.0f} answers that count as abstaining hold no word: it says "
            "nothing, which is not the same as saying that it does not know."
        )
    found += _lacking(runs)
    return found


def _base_verified(pair: Pair) -> bool:
    """An untrained control of another base was refused with the pair; lm_eval's digest of a model may be another."""
    known = bases_known(pair.candidate)
    return known and (pair.control.untrained or not other_bases(pair.candidate, pair.control))


def _lacking(runs: Sequence[Scored]) -> list[str]:
    lacks = dict.fromkeys(lack for run in runs for lack in run.lacks)
    return [f"A run that lm_eval wrote records {lack}." for lack in lacks]


def _listed(seeds: Sequence[int | None]) -> str:
    return ", ".join(map(str, seeds))
