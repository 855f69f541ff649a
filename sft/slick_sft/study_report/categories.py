"""Fine-tuning sets of a single category, and the natural mix: accuracy by test category, with significance."""

from __future__ import annotations

from slick.statistics import Estimate
from slick.verdict import holm
from slick_reports import wording
from slick_sft.study.jobs import CONVERGENCE, EARLY_STOP
from slick_sft.study_report import paper
from slick_sft.study_report.asked import ALL, GROUPS
from slick_sft.study_report.baselines import beside
from slick_sft.study_report.blocks import (
    Cell,
    Claim,
    Finding,
    Section,
    Table,
    found,
    missing,
    points,
    row,
    said,
    share_said,
)
from slick_sft.study_report.data import STAGE_NAMES, STAGES, TEST, Study, Variant
from slick_sft.study_report.measures import accuracy, base_accuracy, clipped, compared

ID, TITLE = "categories", "Sets of a single category"
NAMES = ("only-HighlyKnown", "only-MaybeKnown", "only-WeaklyKnown", "only-Unknown", "natural")
BEST = "only-MaybeKnown"
_COLUMNS = tuple(group for group in GROUPS if group != "Known")
ALPHA = 0.05


def section(study: Study) -> Section:
    variants = {name: v for name in NAMES if (v := study.named(name)) is not None}
    if len(variants) < 2 or set(variants) <= {"only-Unknown", "natural"}:
        return missing(ID, TITLE, ["two of the sets of a single category"])
    values: Accuracies = {
        stage: {
            name: {group: accuracy(study, v, stage, TEST, group) for group in _COLUMNS} for name, v in variants.items()
        }
        for stage in STAGES
    }
    tables = [_accuracies(variants, values[stage], stage) for stage in STAGES]
    data: dict[str, object] = {"accuracy": values}
    borne: list[Claim] = []
    text = ["Each set has the same number of rows of every relation; the paper's figure stands beneath each of ours."]
    text.append(beside(study, variants.values(), TEST, ALL))
    if BEST in variants:
        against = {stage: _against(study, variants, stage) for stage in STAGES}
        tables += [_differences(against[stage], stage) for stage in STAGES]
        borne = claims(against, values, base_accuracy(study, TEST, "HighlyKnown"))
        data["against_maybe_known"] = against
        text.append(
            "Each set is compared with that of MaybeKnown facts, paired over facts and seeds. A star marks a "
            "difference that stands Holm's correction over the comparisons of its column at 5 %."
        )
    else:
        text.append(f"No set of MaybeKnown facts ({BEST}) was trained, so the sets are not compared with it.")
    return Section(ID, TITLE, tuple(text), tuple(tables), tuple(borne), data)


# Stage → name → group.
Accuracies = dict[str, dict[str, dict[str, Estimate | None]]]
Compared = dict[str, dict[str, tuple[Estimate | None, float | None, bool]]]


def _against(study: Study, variants: dict[str, Variant], stage: str) -> Compared:
    """Name → group → (minus MaybeKnown, its two-sided p-value, whether it stands Holm's correction)."""
    others = {name: v for name, v in variants.items() if name != BEST}
    result: Compared = {name: {} for name in others}
    for group in _COLUMNS:
        pairs = {n: compared(study, (v, stage), (variants[BEST], stage), TEST, group) for n, v in others.items()}
        chances = {name: pair.p_different() if pair else None for name, pair in pairs.items()}
        stands = holm(chances, ALPHA)
        for name, pair in pairs.items():
            estimate = clipped(pair.estimate(), -1.0) if pair else None
            result[name][group] = (estimate, chances[name], name in stands)
    return result


def _accuracies(variants: dict[str, Variant], values: dict[str, dict[str, Estimate | None]], stage: str) -> Table:
    rows = []
    for name in variants:
        published = paper.SINGLE[stage][name]
        cells = []
        for group, theirs in zip(_COLUMNS, published, strict=True):
            estimate = values[name][group]
            told = f"{wording.estimate_percent(estimate)}" if estimate else wording.NONE
            cells.append(Cell(told, f"paper {wording.percent(theirs)}"))
        rows.append(row(name, *cells))
    return Table(f"{STAGE_NAMES[stage]}: accuracy in percent by test category", ("set", *_COLUMNS), tuple(rows))


def _differences(against: Compared, stage: str) -> Table:
    rows = []
    for name, groups in against.items():
        cells = []
        for group in _COLUMNS:
            estimate, _, stands = groups[group]
            cell = points(estimate)
            cells.append(Cell(f"{cell.text}{' *' if stands else ''}", cell.under, cell.way))
        rows.append(row(name, *cells))
    caption = f"{STAGE_NAMES[stage]}: difference to {BEST} in points"
    return Table(caption, ("set", *_COLUMNS), tuple(rows))


def claims(against: dict[str, Compared], values: Accuracies, base: Estimate | None) -> list[Claim]:
    """values: of `section`. base: the untuned model's accuracy on HighlyKnown facts."""
    claims = []
    rivals = [name for name in ("only-HighlyKnown", "only-WeaklyKnown", "only-Unknown") if name in against[EARLY_STOP]]
    told = {name: against[EARLY_STOP][name][ALL] for name in rivals}
    if told:
        claims.append(
            Claim(
                "The set of MaybeKnown facts gives the best accuracy of the single categories at EARLY_STOP.",
                "43.6 % against 40.5, 39.2 and 37.5",
                "; ".join(f"{name} {said(estimate)}" for name, (estimate, _, _) in told.items()) + ", each less it",
                _best([estimate for estimate, _, _ in told.values()], [stands for _, _, stands in told.values()]),
            )
        )
    for name in ("only-Unknown", "only-WeaklyKnown"):
        if name in against[CONVERGENCE]:
            estimate, _, stands = against[CONVERGENCE][name]["HighlyKnown"]
            theirs = paper.SINGLE[CONVERGENCE]
            claims.append(
                Claim(
                    f"{name} loses more HighlyKnown facts at CONVERGENCE than {BEST}.",
                    f"{wording.percent(theirs[name][1])} % against {wording.percent(theirs[BEST][1])} %",
                    f"{said(estimate)}, which {'stands' if stands else 'does not stand'} Holm's correction; "
                    f"{_kept(values, name)} and {_kept(values, BEST)} of {share_said(base)} before tuning",
                    found(estimate, "fell") if stands else Finding.OPEN,
                )
            )
    return claims


def _kept(values: Accuracies, name: str) -> str:
    return f"{name} {share_said(values[CONVERGENCE][name]['HighlyKnown'])}"


def _best(differences: list[Estimate | None], stands: list[bool]) -> Finding:
    """Whether all rivals lie below, after Holm's correction."""
    below = [bool(e and e.value < 0 and ok) for e, ok in zip(differences, stands, strict=True)]
    above = [bool(e and e.value > 0 and ok) for e, ok in zip(differences, stands, strict=True)]
    return Finding.AGREES if all(below) else Finding.DIFFERS if any(above) else Finding.OPEN
