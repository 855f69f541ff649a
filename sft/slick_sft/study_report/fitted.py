"""How much of each set is fitted at CONVERGENCE, which is only the last epoch; and how many rows are measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from slick.dynamics import DEV, TRAIN
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick_reports import wording
from slick_sft.study_report.blocks import listed
from slick_sft.study_report.data import OOD, TEST, Study, Variant

# Of the rows of a plain mix; with fewer fitted in its last epoch, training has not come to its end.
FITTED = 0.95
KINDS: Mapping[str, Sequence[Category]] = {"Known": KNOWN, "Unknown": (Category.UNKNOWN,)}


def at_end(study: Study, variant: Variant, categories: Sequence[Category] = CATEGORIES) -> list[float]:
    """The share of a variant's rows of these categories that its last epoch has fitted, by seed; empty for no rows."""
    runs = [measured[-1] for arm in variant.arms if (measured := study.dynamics(arm))]
    return [share for last in runs if (share := last.share(TRAIN, categories)) is not None]


def mean_and_range(shares: Sequence[float]) -> str:
    """ "98.8 [98.2, 100.0]": in percent the mean over seeds, with the lowest and the highest where they differ."""
    if not shares:
        return wording.NONE
    mean, low, high = (wording.percent(x) for x in (sum(shares) / len(shares), min(shares), max(shares)))
    return mean if low == high else f"{mean} [{low}, {high}]"


def known_and_unknown(study: Study, variant: Variant) -> str:
    """ "100.0 / 98.8 [98.2, 100.0]": of the Known rows and of the Unknown ones."""
    return " / ".join(mean_and_range(at_end(study, variant, kind)) for kind in KINDS.values())


def plain_mixes(study: Study) -> list[Variant]:
    """Those of every way of training, in the grid's order."""
    versions = dict.fromkeys(variant.version for variant in study.variants.values())
    return [variant for version in versions for variant in study.mixes(version).values()]


def unfinished(study: Study) -> dict[str, list[float]]:
    """Plain mixes with less than 95 % of their rows fitted in the last epoch (mean over seeds) → shares by seed."""
    shares = {variant.name: at_end(study, variant) for variant in plain_mixes(study)}
    return {name: of for name, of in shares.items() if of and sum(of) / len(of) < FITTED}


def note(study: Study) -> str:
    """What CONVERGENCE is not, where a plain mix is not fitted by then; else empty."""
    if not (short := unfinished(study)):
        return ""
    told = ", ".join(f"{name} ({mean_and_range(shares)} %)" for name, shares in short.items())
    return (
        f"CONVERGENCE is the last epoch, and not all is fitted by then: under {100 * FITTED:g} % of the rows of {told} "
        "(mean over seeds, lowest and highest in brackets). What is said of these sets at CONVERGENCE is of training "
        "that has not come to its end, where less is learned and, it may be, less is forgotten."
    )


def converged(study: Study) -> str:
    """What CONVERGENCE is, with the plain mix of which the least is fitted."""
    means = {v.name: sum(of) / len(of) for v in plain_mixes(study) if (of := at_end(study, v))}
    if not means:
        return "the last epoch; how much is fitted by then was not measured"
    least = min(means, key=lambda name: means[name])
    return (
        f"the last epoch, whatever is fitted by then: of a plain mix's rows at least {wording.percent(means[least])} % "
        f"({least}, mean over seeds)"
    )


def watched(study: Study, split: str) -> str:
    """How many rows or facts of a split each measurement asked: "288", or "22 to 220" where it depends on the arm."""
    counts = {
        measured[-1].counts(split)[1]
        for variant in study.variants.values()
        for arm in variant.arms
        if (measured := study.dynamics(arm))
    }
    return _range(counts)


def all_watched(study: Study) -> str:
    """Of every split that was watched: "train 22 to 220; dev 288"."""
    told = {split: watched(study, split) for split in (TRAIN, DEV, TEST, OOD)}
    return listed(f"{split} {n}" for split, n in told.items() if n != "0") or "not recorded"


def _range(counts: Iterable[int]) -> str:
    counts = list(counts)
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
