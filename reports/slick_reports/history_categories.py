"""Which run gave the facts of a history their categories, and whether these are what the baseline knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from slick_reports.headline import quoted
from slick_reports.history_versions import Asked
from slick_reports.inputs import mapping
from slick_reports.ledger_rows import Columns, Held

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Runs that are named one by one; of the rest, a history says how many there are.
_NAMED = 3


class Categories:
    """Per fact, its first category: the baseline's, else one of the baseline's weights, else the earliest run's.

    of: fact's place → category's place, -1 for none. sources: (run, how many facts have theirs from it).
    """

    def __init__(
        self,
        runs: Sequence[Held],
        columns: Mapping[int, Columns],
        places: Mapping[int, int],
        versions: Sequence[Asked],
        baseline: int,
    ) -> None:
        self._base, self._names = versions[baseline], [version.name for version in versions]
        self._weights = {found for run in self._base.runs if (found := _weights(run.record.get("model")))}
        self.of: NDArray[np.int8] = np.full(len(places), -1, dtype=np.int8)
        self.sources: list[tuple[Held, int]] = []
        for run in sorted((run for run in runs if run.id in columns), key=self._rank):
            of = columns[run.id]
            at = np.array([places[int(number)] for number in of.facts], dtype=np.int64)
            at, category = at[of.category >= 0], of.category[of.category >= 0]
            free = self.of[at] < 0
            self.of[at[free]] = category[free]
            if free.any():
                self.sources.append((run, int(free.sum())))

    def _rank(self, run: Held) -> int:
        """Equal ones stay in the order of their dates."""
        return 0 if run.version == self._base.name else 1 if self._of_baseline(run) else 2

    def _of_baseline(self, run: Held) -> bool:
        """Whether the run's categories are of the baseline's weights, whatever it is called."""
        return _weights(_probed(run)) in self._weights

    def _late(self, run: Held) -> bool:
        if run.version == self._base.name or self._of_baseline(run):
            return False
        if run.version in self._names:
            return self._names.index(run.version) > self._names.index(self._base.name)
        return run.at > self._base.at != ""

    def note(self) -> str:
        """Where the categories are from, for the reader."""
        if not self.sources:
            return "No fact has a category: add a probe of the first version, or score with slick score --knowledge."
        return (
            "Facts keep the category that they had first, so that a group holds the same facts in every version: "
            f"{_listed(self.sources)}."
        )

    def warning(self) -> str:
        """Where facts are called Known by what a later version knew; "" where none is."""
        late = [(run, n) for run, n in self.sources if self._late(run)]
        if not late:
            return ""
        base = quoted(self._base.name)
        return (
            f"“Known” is not what the baseline {base} knew: {_listed(late)}, which is later. What was forgotten before "
            f"counts as Unknown there; add a probe of {base}."
        )


def _listed(sources: Sequence[tuple[Held, int]]) -> str:
    told = [f"{n:,} fact{'s' if n > 1 else ''} by {_source(run)}" for run, n in sources[:_NAMED]]
    rest = sources[_NAMED:]
    told += [f"{sum(n for _, n in rest):,} facts by {len(rest)} other runs"] if rest else []
    return ", ".join(told)


def _source(run: Held) -> str:
    if run.kind == "probe":
        return f"the probe of {quoted(run.version)}"
    name = mapping(_probed(run)).get("name")
    probed = f"a probe of {quoted(str(name))}" if name else "a probe that is not recorded"
    return f"the score of {quoted(run.version)} ({probed})"


def _probed(run: Held) -> Any:
    """The model whose knowledge the run's categories are; none where a score did not record it."""
    return run.record.get("model" if run.kind == "probe" else "knowledge")


def _weights(model: Any) -> tuple[str, str] | None:
    found = mapping(model)
    return (str(found["weights"]), str(found.get("adapter"))) if found.get("weights") else None
