"""SliCK against P(True): whose Unknown facts does tuning leave wrong?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slick.errors import InputError
from slick.knowledge import Category
from slick.statistics import Estimate
from slick_reports import wording
from slick_sft.study.jobs import PTRUE
from slick_sft.study.ptrue import ROWS
from slick_sft.study_report import paper
from slick_sft.study_report.blocks import (
    Claim,
    Finding,
    Picture,
    Section,
    Table,
    found,
    missing,
    percent,
    plain_percent,
    points,
    row,
    said,
    share_said,
)
from slick_sft.study_report.data import STAGE_NAMES, STAGES, TEST, Study, Variant
from slick_sft.study_report.measures import auroc, clipped, combined, ratio
from slick_sft.study_report.pictures import Dot, Line, lines_chart

ID, TITLE = "ptrue", "SliCK against P(True)"


def section(study: Study) -> Section:
    variant = study.named("natural") or study.named("known-only") or next(iter(study.variants.values()))
    chances = read_ptrue(study)
    if chances is None:
        return missing(ID, TITLE, ["P(True) (ptrue: false)"])
    asked = study.asked(TEST)
    absent = [fact.id for fact in asked.facts if fact.id not in chances]
    if absent:
        raise InputError(
            f"{study.path / PTRUE / ROWS}: lacks {len(absent)} of the {len(asked.facts)} test facts; remove its "
            "directory and repeat the study's command"
        )
    unknown = asked.mask(str(Category.UNKNOWN))
    if not unknown.any() or unknown.all():
        return Section(ID, TITLE, missing="Left out: none, or all, of the test facts are Unknown by SliCK.")
    p_true = np.array([chances[fact.id].chance for fact in asked.facts])
    told_apart = {
        "right": auroc(p_true, study.base(TEST).right[0] > 0, asked),
        "known": auroc(p_true, ~unknown, asked),
    }
    masses = [mass for fact in asked.facts if (mass := chances[fact.id].mass) is not None]
    # Ties by the fact's place, so that exactly as many facts are called Unknown by both.
    order = np.argsort(p_true, kind="stable")
    lowest = np.zeros(len(order), dtype=bool)
    lowest[order[: int(unknown.sum())]] = True
    share = float(unknown.mean())
    figures = {stage: _figures(study, variant, stage, unknown, lowest) for stage in STAGES}
    text = (
        f"SliCK calls {wording.percent(share)} % of the test facts Unknown; as many facts have the lowest P(True) of "
        f"the base model. Accuracy on each after tuning on {variant.name}"
        + ("." if variant.name == "natural" else ", since no natural mix was trained (the paper's).")
        + (" At EARLY_STOP epoch 0 won in all its runs: that is the untuned base model." if variant.untuned else ""),
        f"The two share {int((unknown & lowest).sum()):,} of {int(unknown.sum()):,} facts; a P(True) that says nothing "
        f"would share about {share * int(unknown.sum()):,.0f}. "
        "Lower is better: facts that are truly unknown stay wrong.",
        "What P(True) says of this model: facts that it answers rightly before tuning are told from others with an "
        f"AUROC of {share_said(told_apart['right'])}, and Known facts from Unknown ones with "
        f"{share_said(told_apart['known'])}, where 50 % is chance. {_mass_said(masses)}",
    )
    rows = [
        row(
            STAGE_NAMES[stage],
            percent(figures[stage]["slick"]),
            plain_percent(paper.TRUTH[stage]),
            percent(figures[stage]["p_true"]),
            points(figures[stage]["difference"]),
        )
        for stage in STAGES
    ]
    header = ("stage", "SliCK's Unknown", "paper", "lowest P(True)", "difference")
    table = Table("Accuracy in percent on the facts called Unknown", header, tuple(rows))
    blocks: tuple[Table | Picture, ...] = (table, _picture(study, variant, order, share, figures))
    nothing = silent(told_apart)
    claims = tuple(
        Claim(
            f"At {STAGE_NAMES[stage]}, SliCK's Unknown facts have the lower accuracy.",
            f"{wording.percent(paper.TRUTH[stage])} % on {wording.percent(paper.TRUTH['share'])} % of the facts",
            said(figures[stage]["difference"]) + (nothing and f"; {nothing}"),
            Finding.OPEN if nothing else found(figures[stage]["difference"], "fell"),
        )
        for stage in STAGES
    )
    data = {"variant": variant.name, "share": share, "auroc": told_apart, "mass": _quantiles(masses), **figures}
    return Section(ID, TITLE, text, blocks, claims, data)


_OF = {"right": "right answers", "known": "Known facts"}


def silent(told_apart: Mapping[str, Estimate | None]) -> str:
    """Why P(True) tells nothing of this model; empty where it does.

    Where it tells nothing, any measure that tells something does better, which is no merit of SliCK's. A model that
    answers nothing rightly before tuning has no AUROC of right answers.
    """
    failed = [_OF[name] for name, found in told_apart.items() if found is not None and not clears_chance(found)]
    if not failed:
        return ""
    return (
        f"P(True) tells nothing, or next to nothing, of this model: its AUROC for {' and for '.join(failed)} does not "
        "lie above 50 %, beyond its interval"
    )


def clears_chance(found: Estimate | None) -> bool:
    """Whether an AUROC lies above one half, beyond its interval."""
    return found is not None and found.interval is not None and found.interval.low > 0.5


def _quantiles(masses: Sequence[float]) -> list[float] | None:
    """The median, and what 5 and 95 % of the facts lie below; None where nothing is recorded."""
    return [float(x) for x in np.quantile(masses, (0.5, 0.05, 0.95))] if masses else None


def _mass_said(masses: Sequence[float]) -> str:
    if (found := _quantiles(masses)) is None:
        return "The probability of the two answers themselves is not recorded."
    middle, low, high = (f"{x:.2g}" for x in found)
    return (
        f"The model gives the two answers, (A) and (B), a probability of {middle} together (median of "
        f"{len(masses):,} facts; {low} to {high} for the middle 90 %): the nearer to 0, the less it takes this for a "
        "choice between them."
    )


@dataclass(frozen=True, slots=True)
class Told:
    """chance: P(True). mass: the probability of both answers together; None where it is not recorded."""

    chance: float
    mass: float | None


def read_ptrue(study: Study) -> dict[str, Told] | None:
    """Fact id → what was asked of it; None where the study did not measure it. InputError names a row that is none."""
    path = study.path / PTRUE / ROWS
    if not path.is_file():
        return None
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            chance = float(row["p_true"])
            if not 0 <= chance <= 1 or math.isnan(chance):
                raise ValueError(f"{chance} is no probability")
            logs = [row.get(name) for name in ("log_true", "log_false")]
            mass = None if None in logs else sum(math.exp(min(0.0, float(log))) for log in logs)
            found[str(row["id"])] = Told(chance, mass)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: not a P(True) ({type(error).__name__}: {error})") from error
    return found


def _figures(study: Study, variant: Variant, stage: str, unknown: Cells, lowest: Cells) -> dict[str, Estimate | None]:
    right = study.answers(variant, stage, TEST).right
    asked, runs = study.asked(TEST), np.ones((right.shape[0], 1))
    parts = []
    values: dict[str, Estimate | None] = {}
    for name, sign, chosen in (("slick", 1.0, unknown), ("p_true", -1.0, lowest)):
        inside = runs * chosen.astype(float)
        values[name] = ratio(right * inside, inside, asked)
        share = float(right[:, chosen].mean())
        # Linearised: which facts are called so is one draw too.
        parts.append((sign, share + (right - share) * inside / float(chosen.mean())))
    difference = combined(parts, asked)
    values["difference"] = clipped(difference, -1.0) if difference else None
    return values


Cells = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def _picture(
    study: Study,
    variant: Variant,
    order: np.ndarray[tuple[int, ...], np.dtype[np.intp]],
    share: float,
    figures: dict[str, dict[str, Estimate | None]],
) -> Picture:
    lines = []
    n = len(order)
    places = sorted({max(1, round(n * k / 20)) for k in range(1, 21)})
    for place, stage in enumerate(STAGES):
        right = study.answers(variant, stage, TEST).right.mean(axis=0)[order]
        dots = tuple(Dot(100 * k / n, float(right[:k].mean())) for k in places)
        lines.append(Line(f"P(True), {STAGE_NAMES[stage]}", dots, place))
    for place, stage in enumerate(STAGES, 2):
        estimate = figures[stage]["slick"]
        if estimate:
            dot = Dot(100 * share, estimate.value, estimate.interval)
            lines.append(Line(f"SliCK's Unknown, {STAGE_NAMES[stage]}", (dot,), place))
    caption = "Accuracy on the facts called Unknown, %, by how many are"
    svg = lines_chart(ID, caption, lines, x_name="facts called Unknown", x_unit=" %", y_low=0.0)
    return Picture(caption, svg, tuple(line.key for line in lines))
