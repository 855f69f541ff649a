"""From a ledger to the numbers of a history: accuracy by version, tested changes, facts that flipped and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN
from slick.statistics import LEVEL, Estimate, arm_share
from slick_reports import numbers
from slick_reports.headline import quoted
from slick_reports.history_categories import Categories
from slick_reports.history_numbers import BEFORE, Flipped, GroupLine, History, Step, Version
from slick_reports.history_steps import ALPHA, adjusted, headline, noise_told, step_of
from slick_reports.history_versions import Asked, versions_of
from slick_reports.inputs import mapping
from slick_reports.ledger import Ledger
from slick_reports.ledger_rows import Columns, Held
from slick_reports.noise import known_shares
from slick_reports.numbers import Shares, Side
from slick_reports.text import visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

TITLE = "What each version knows"
STALE_DAYS = 90.0


def build_history(
    ledger: Ledger, *, series: str = "", title: str = TITLE, stale_days: float = STALE_DAYS, command: str = ""
) -> History:
    """The history of one series of scores in a ledger, with the categories of its probes.

    series: which, where the ledger holds several. stale_days: a version older than that, against the newest, is marked.
    Raises InputError for an empty ledger, an unknown series, and several where none is named.
    """
    runs = ledger.runs()
    chosen = _series(ledger, runs, series)
    facts = ledger.facts()
    places = {number: place for place, number in enumerate(facts)}
    held = [run for run in runs if run.series == chosen]
    columns = {run.id: ledger.columns(run.id) for run in runs if run.series == chosen or run.kind == "probe"}
    versions = versions_of(held, columns, places)
    return _History(list(facts.values()), versions, runs, columns, places, stale_days).build(chosen, title, command)


def _series(ledger: Ledger, runs: Sequence[Held], wanted: str) -> str:
    found = {run.series: None for run in runs if run.kind == "score"}
    if not found:
        raise InputError(f"{ledger.path}: holds no scores; add some with `slick history add RUN`")
    if wanted:
        if wanted not in found:
            raise InputError(f"--series {wanted}: not in the ledger; it has {', '.join(found)}")
        return wanted
    if len(found) > 1:
        told = "\n".join(f"  {name}: {_settings_told(runs, name)}" for name in found)
        raise InputError(
            f"{ledger.path}: holds scores made in {len(found)} ways, which cannot be set against each other:\n{told}\n"
            "choose one with --series"
        )
    return next(iter(found))


def _settings_told(runs: Sequence[Held], series: str) -> str:
    settings = _settings(next(run for run in runs if run.series == series))
    names = dict.fromkeys(run.version for run in runs if run.series == series)
    return f"{', '.join(f'{k} {v}' for k, v in settings.items())} ({len(names)} versions)"


def _settings(run: Held) -> dict[str, str]:
    return {str(k): visible(str(v), 200) for k, v in mapping(run.record.get("settings")).items()}


class _History:
    """The facts of a series, and its versions in order."""

    def __init__(
        self,
        facts: Sequence[Fact],
        versions: Sequence[Asked],
        runs: Sequence[Held],
        columns: Mapping[int, Columns],
        places: Mapping[int, int],
        stale_days: float,
    ) -> None:
        self.facts, self.versions, self.runs = facts, versions, runs
        self.columns, self.places, self.stale_days = columns, places, stale_days
        marked = [i for i, version in enumerate(versions) if any(run.baseline for run in version.runs)]
        self.baseline = marked[0] if marked else 0
        self.marked = bool(marked)
        self.sources = Categories(runs, columns, places, versions, self.baseline)
        self.categories = self.sources.of
        self._clusters = [("subject", f.subject) if f.subject else ("fact", f.id) for f in facts]
        self._strata = [fact.relation for fact in facts]

    def groups(self) -> dict[str, Mask]:
        found = {numbers.ALL: np.ones(len(self.facts), dtype=bool)}
        if (self.categories >= 0).any():
            found[numbers.KNOWN] = (self.categories >= 0) & (self.categories < len(KNOWN))
            found |= {str(category): self.categories == place for place, category in enumerate(CATEGORIES)}
        return found

    def build(self, series: str, title: str, command: str) -> History:
        steps = adjusted(list(self._steps()))
        flipped = tuple(self._flipped())
        asked = np.logical_or.reduce([version.asked for version in self.versions])
        states: dict[str, int] = {}
        for flip in flipped:
            states[flip.state] = states.get(flip.state, 0) + 1
        return History(
            title=title,
            headline=headline(self.versions[self.baseline].name, self.versions[-1].name, steps),
            noise=noise_told(steps),
            warnings=tuple(filter(None, [self.sources.warning()])),
            series=series,
            settings=_settings(self.versions[0].runs[0]),
            baseline=self.versions[self.baseline].name,
            n=int(asked.sum()),
            versions=tuple(self._version(i) for i in range(len(self.versions))),
            steps=steps,
            alpha=ALPHA,
            level=LEVEL,
            flipped=flipped,
            states=states,
            notes=tuple(self._notes(asked, len(steps))),
            command=command,
        )

    def _version(self, place: int) -> Version:
        version = self.versions[place]
        record = version.runs[0].record
        groups = tuple(_line(name, version, mask & version.asked) for name, mask in self.groups().items())
        return Version(
            version.name,
            version.at,
            version.seeds,
            int(version.asked.sum()),
            groups,
            self._shares(version.name),
            place == self.baseline,
            tuple(self._stale(place)),
            str(mapping(record.get("model")).get("name") or ""),
            version.sources,
            version.repeats,
        )

    def _shares(self, version: str) -> Shares | None:
        """By the newest probe of the version."""
        probes = [run for run in self.runs if run.kind == "probe" and run.version == version]
        if not probes:
            return None
        of = self.columns[probes[-1].id]
        relations = [self.facts[self.places[int(number)]].relation for number in of.facts]
        return known_shares(relations, of.category.tolist(), of.unknown.tolist())

    def _stale(self, place: int) -> Iterator[str]:
        version, newest = self.versions[place], self.versions[-1]
        missing = int((newest.asked & ~version.asked).sum())
        if missing:
            yield f"was not asked {missing:,} of the {int(newest.asked.sum()):,} facts of {quoted(newest.name)}"
        days = _days(version.at, newest.at)
        if days is not None and days > self.stale_days:
            yield f"is {days:,.0f} days older than {quoted(newest.name)}"
        there, here = (mapping(v.runs[0].record.get("libraries")) for v in (version, newest))
        differing = sorted(str(k) for k in {*there, *here} if there.get(k) != here.get(k))
        if differing and there and here:
            yield f"was made with other versions of {', '.join(differing)} than {quoted(newest.name)}"

    def _steps(self) -> Iterator[Step]:
        """Every version against the one before it, and against the baseline; on all and on Known facts."""
        groups = {name: mask for name, mask in self.groups().items() if name in (numbers.ALL, numbers.KNOWN)}
        pairs = [("previous", i - 1, i) for i in range(1, len(self.versions))]
        # The version after the baseline is set against it already.
        pairs += [("baseline", self.baseline, i) for i in range(self.baseline + 2, len(self.versions))]
        for against, i, j in pairs:
            for name, mask in groups.items():
                yield step_of(against, self.versions[i], self.versions[j], name, mask, self._clusters, self._strata)

    def _flipped(self) -> Iterator[Flipped]:
        """Facts whose answer changed sides between any two versions, in the ledger's order."""
        signs = np.full((len(self.versions), len(self.facts)), ord("-"), dtype=np.uint8)
        for row, version in enumerate(self.versions):
            right = version.right.mean(axis=0)
            signs[row, version.asked] = np.where(right[version.asked] > 0.5, ord("1"), ord("0"))
        moved = (signs == ord("1")).any(axis=0) & (signs == ord("0")).any(axis=0)
        names = [version.name for version in self.versions]
        for place in np.flatnonzero(moved).tolist():
            path = signs[:, place].tobytes().decode()
            state, bad = fate(path, self.baseline)
            category = int(self.categories[place])
            yield Flipped(
                self.facts[place],
                str(CATEGORIES[category]) if category >= 0 else None,
                path,
                flips_of(path),
                state,
                None if bad is None else names[bad],
            )

    def _notes(self, asked: Mask, steps: int) -> Iterator[str]:
        if not self.marked:
            yield (
                f"No version is marked as the baseline, so it is the first, {quoted(self.versions[0].name)}; mark one "
                "with slick history add RUN --baseline."
            )
        if any(int(version.asked.sum()) != int(asked.sum()) for version in self.versions):
            yield "Not every version was asked the same facts: each step is on the facts that both were asked."
        if any(len(version.runs) > 1 for version in self.versions) and any(len(v.runs) == 1 for v in self.versions):
            yield (
                "A single trained run says nothing of its seeds, so it meets one run of a version with several: that "
                "of the same seed if there is one. A run that records no training seed is taken for a model that was "
                "not trained; it is fixed, and meets all of them."
            )
        if again := [f"{quoted(v.name)} {v.repeats}" for v in self.versions if v.repeats]:
            yield (
                "Scores of the same weights are one seed, and of a fact that was asked again the latest answer counts; "
                f"repeats: {', '.join(again)}."
            )
        yield self.sources.note()
        yield (
            "The answer prior is the accuracy of always giving a relation's commonest answer; of a run that a ledger "
            "holds without it, add the run again."
        )
        yield (
            "A step is tested two-sided, paired fact by fact, facts of one subject as a cluster, relations as strata; "
            f"p-values are adjusted by Holm over all {steps} steps, so that together they err in {100 * ALPHA:g} % of "
            "histories where nothing changed, the seed included. Where a step holds the noise of facts alone, a mere "
            "retraining with another seed may be marked."
        )


def _side(version: Asked, mask: Mask) -> Side:
    if not mask.any():
        return Side(None, None)
    right = version.right[:, mask]
    estimate = arm_share(right) or Estimate(float(right.mean()), None, right.shape[1], "undefined for one fact")
    return Side(estimate, float(version.abstained[:, mask].mean()))


def _line(name: str, version: Asked, mask: Mask) -> GroupLine:
    return GroupLine(name, int(mask.sum()), _side(version, mask), _prior(version, mask))


def _prior(version: Asked, mask: Mask) -> float | None:
    told = version.prior[mask & ~np.isnan(version.prior)]
    return float(told.mean()) if told.size else None


def _days(earlier: str, later: str) -> float | None:
    """Days between two dates; None where one is not recorded."""
    if not earlier or not later:
        return None
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() / 86_400


def flips_of(path: str) -> int:
    """Changes between right and wrong along a path, over versions that were asked."""
    asked = path.replace("-", "")
    return sum(a != b for a, b in pairwise(asked))


def fate(path: str, baseline: int) -> tuple[str, int | None]:
    """What became of a fact since the baseline, and the place of the first bad version where it is lost.

    Lost: right at the baseline (or at the first later version that was asked) and wrong in the newest. A fact that the
    newest was not asked has no end, and one that was always right or always wrong since the baseline moved before it.
    """
    asked = path[baseline:].replace("-", "")
    if asked and len(set(asked)) == 1:
        return BEFORE, None
    if not asked or path[-1] == "-":
        return "moved, end not asked", None
    if asked[0] == asked[-1]:
        return ("came back" if asked[0] == "1" else "fell back"), None
    if asked[0] == "0":
        return "gained", None
    last_right = path.rindex("1")
    return "lost", path.index("0", last_right)
