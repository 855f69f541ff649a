"""The scores of a ledger as versions of a model: which are seeds of a version, and which merely repeat one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slick_reports.inputs import mapping
from slick_reports.ledger_entries import ABSTAINED, RIGHT
from slick_reports.ledger_rows import Columns, Held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slick.statistics import Scores

    Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Asked:
    """A version's seeds on the ledger's facts. right, abstained: seeds × facts, NaN where a fact was not asked.

    runs: of every seed its latest score. at, sources: of all scores, the date of the first. repeats: how many scores
    ask weights again what an earlier one asked them; they are no seeds. prior: by fact, 1 where its relation's
    commonest answer is right, else 0; NaN where that is not recorded.
    """

    name: str
    at: str
    runs: tuple[Held, ...]
    sources: tuple[str, ...]
    right: Scores
    abstained: Scores
    prior: NDArray[np.float64]
    repeats: int = 0

    @property
    def asked(self) -> Mask:
        """Facts that every seed of the version was asked."""
        return np.asarray(~np.isnan(self.right).any(axis=0), dtype=bool)

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The training seed of every run; None where none is recorded."""
        return tuple(run.seed for run in self.runs)

    @property
    def fixed(self) -> bool:
        """Whether it is one model without a training seed, such as a base model: its one run is all there is."""
        return self.seeds == (None,)


def versions_of(runs: Sequence[Held], columns: Mapping[int, Columns], places: Mapping[int, int]) -> list[Asked]:
    """Versions in the order of their first score. runs: scores of one series, by date; places: fact number → place."""
    found: dict[str, list[Held]] = {}
    for run in runs:
        found.setdefault(run.version, []).append(run)
    return [_asked(group, columns, places) for group in found.values()]


def _asked(runs: Sequence[Held], columns: Mapping[int, Columns], places: Mapping[int, int]) -> Asked:
    seeds: dict[object, list[Held]] = {}
    for run in runs:
        seeds.setdefault(_seed_of(run), []).append(run)
    right = np.full((len(seeds), len(places)), np.nan)
    abstained = right.copy()
    prior = np.full(len(places), np.nan)
    repeats = 0
    for row, scores in enumerate(seeds.values()):
        for run in scores:
            of = columns[run.id]
            at = np.array([places[int(number)] for number in of.facts], dtype=np.int64)
            repeats += bool((~np.isnan(right[row, at])).any())
            # Of a fact that was asked again the latest answer counts.
            right[row, at] = of.outcome == RIGHT
            abstained[row, at] = of.outcome == ABSTAINED
            if of.prior is not None:
                told = of.prior >= 0
                prior[at[told]] = of.prior[told]
    latest = tuple(scores[-1] for scores in seeds.values())
    sources = tuple(str(run.record.get("source", "")) for run in runs)
    return Asked(runs[0].version, runs[0].at, latest, sources, right, abstained, prior, repeats)


def _seed_of(run: Held) -> object:
    """Equal for scores of the same weights. Where those are not known, a name and a seed must do."""
    model = mapping(run.record.get("model"))
    if model.get("weights"):
        return "weights", str(model["weights"]), str(model.get("adapter"))
    return "name", str(model.get("name")), str(run.record.get("seed"))
