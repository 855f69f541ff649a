"""What an accuracy is to be seen beside: that of always giving the commonest answer, and how many answers abstain."""

from __future__ import annotations

from collections.abc import Iterable

from slick_sft.study_report.asked import ALL
from slick_sft.study_report.blocks import share_said
from slick_sft.study_report.data import STAGE_NAMES, STAGES, TEST, Study, Variant
from slick_sft.study_report.measures import prior, share


def beside(study: Study, variants: Iterable[Variant], split: str, group: str) -> str:
    """Two sentences on a group of a split's facts; the variants' answers at both stages."""
    facts = ("all" if group == ALL else group) + (" test facts" if split == TEST else " facts of other relations")
    return (
        f"Of {facts}, always giving a relation's commonest answer has {share_said(prior(study, split, group))} right. "
        f"Answers that abstain: {_abstained(study, variants, split, group)}."
    )


def _abstained(study: Study, variants: Iterable[Variant], split: str, group: str) -> str:
    mask, asked = study.group(split, group)
    base = share(study.base(split).abstained[:, mask], asked)
    tuned = [
        (found.value, f"{share_said(found)} of a tuned one's ({variant.name}, {STAGE_NAMES[stage]})")
        for variant in variants
        for stage in STAGES
        if (found := share(study.answers(variant, stage, split).abstained[:, mask], asked)) is not None
    ]
    most = f", at most {max(tuned, key=lambda each: each[0])[1]}" if tuned else ""
    return f"{share_said(base)} of the base model's{most}"
