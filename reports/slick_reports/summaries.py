"""Reports on lm_eval runs that logged no samples: accuracies by task, and differences whose interval is undefined.

Without answers nothing can be paired fact by fact, so that no difference has an interval here, no fact is lost or
gained, and no verdict can be given. The report says so; it guesses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import mapping_of
from slick.statistics import LEVEL, Estimate, wilson
from slick_reports import headline
from slick_reports.arms import Arm, find_control, group_arms
from slick_reports.comparable import check_settings
from slick_reports.gather import Gathered, Request
from slick_reports.headline import quoted
from slick_reports.inputs import Scored, read_finished
from slick_reports.lm_eval_scores import METRICS, counted, lacks_of, told_of
from slick_reports.numbers import ALL, ArmNumbers, Difference, GroupNumbers, RelationNumbers, Report, Side
from slick_reports.records import records, settings_of, shown_mismatch

_UNDEFINED = "undefined without logged answers"
_NO_SAMPLES = "no answers (samples_*.jsonl; lm_eval writes them with --log_samples)"


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One task of one run. right: the share of its n docs that are right; None for what it does not record."""

    n: int
    right: float
    prior: float | None
    abstained: float | None


def lacks_samples(path: Path) -> bool:
    """Whether lm_eval wrote this run, and no samples with it."""
    run = read_finished(path)
    return run.kind == "lm_eval" and not run.samples


def read_tasks(path: Path) -> tuple[Scored, dict[str, TaskScore]]:
    """The run, without rows, and its closed-book tasks. InputError where it has none, or does not count its docs."""
    run = read_finished(path)
    found: dict[str, TaskScore] = {}
    configs = mapping_of(run.results.get("configs"))
    for task, values in mapping_of(run.results.get("results")).items():
        right = _metric(mapping_of(values), METRICS)
        # A group's line repeats those of its tasks.
        if right is None or task not in configs:
            continue
        n = counted(run.results, task)
        if not n:
            raise InputError(f"{path}: does not say how many facts of {task!r:.80} it asked (n-samples); run it again")
        prior, abstained = (_metric(mapping_of(values), (name,)) for name in ("answer_prior", "abstained"))
        found[str(task)] = TaskScore(n, right, prior, abstained)
    if not found:
        raise InputError(f"{path}: holds no task that is scored by {' or '.join(METRICS)}, expected a closed-book task")
    told = told_of(run.results, run.provenance)
    lacks = lacks_of(run.results, told, ours=bool(run.provenance))
    lacks = lacks if run.samples else (_NO_SAMPLES, *lacks)
    return Scored(run, {}, sum(task.n for task in found.values()), told, lacks), found


def _metric(values: Mapping[str, Any], names: Sequence[str]) -> float | None:
    """The mean of the first metric of these names that is a share, under its first filter."""
    for wanted in names:
        for key, value in values.items():
            name, _, _ = str(key).partition(",")
            if name == wanted and isinstance(value, (int, float)) and 0 <= value <= 1:
                return float(value)
    return None


def summary_report(request: Request) -> Report:
    """The report of runs of which at least one logged no samples.

    Compared are the tasks that all runs share with equally many facts. Raises InputError where there is none, and for
    what needs answers: a verdict, categories, migration, training sets.
    """
    _refuse_what_needs_answers(request)
    base, paths = request.split()
    before, tasks = read_tasks(base)
    read = [read_tasks(path) for path in paths]
    mismatches = check_settings(before, [scored for scored, _ in read], allow_mismatch=request.allow_mismatch)
    by_run = {str(scored.path): found for scored, found in ((before, tasks), *read)}
    arms = group_arms([scored for scored, _ in read], request.labels)
    control, note = find_control(arms, request.control)
    label = request.labels.get(str(base), before.run.name)
    gathered = Gathered(before, label, arms, control, note, None, mismatches)
    shared = _shared(by_run)
    found = _Summary(before, by_run, shared)
    name = control.label if control else None
    numbers = tuple(found.arm(arm, control) for arm in arms)
    group = headline.headline_group(numbers)
    settings = settings_of(before)
    return Report(
        title=request.title,
        headline=headline.headline(numbers, name),
        noise="Without logged answers no difference has an interval: what is noise and what is not cannot be told.",
        findings=tuple(headline.finding(arm, group, name) for arm in numbers),
        caveats=(
            "Not every run logged its answers, so nothing is paired: differences have no interval, and no fact is "
            "known to be lost or gained.",
            *headline.caveats(numbers, name),
        ),
        mismatches=tuple(map(shown_mismatch, mismatches)),
        notes=(*_left_out(by_run, shared), note),
        level=LEVEL,
        n=sum(tasks[task].n for task in shared),
        before=label,
        control=name,
        arms=numbers,
        relations=found.relations(arms),
        selection=(),
        selection_note="Not measured: no probe can be set beside runs without answers.",
        seeds=(),
        seeds_note="Not measured: seeds are compared fact by fact.",
        shares=None,
        settings=settings,
        runs=records(gathered),
        command=request.command(),
    )


def _refuse_what_needs_answers(request: Request) -> None:
    given = {
        "--margin": request.margin is not None,
        "--knowledge": request.knowledge is not None,
        "--after": bool(request.after),
        "--training-set": bool(request.training),
    }
    if wanted := [option for option, is_given in given.items() if is_given]:
        paths = [str(path) for path in request.runs if lacks_samples(path)]
        raise InputError(
            f"{' and '.join(wanted)}: needs the answers, which {', '.join(paths)} did not log; "
            "run lm_eval again with --log_samples"
        )


def _shared(by_run: Mapping[str, Mapping[str, TaskScore]]) -> list[str]:
    first, *others = by_run.values()
    shared = [
        task for task, score in first.items() if all(task in other and other[task].n == score.n for other in others)
    ]
    if not shared:
        told = "\n".join(
            f"  {path}: {', '.join(f'{task} ({score.n:,} facts)' for task, score in found.items())}"
            for path, found in by_run.items()
        )
        raise InputError(f"these runs share no task with equally many facts, so they cannot be compared:\n{told}")
    return shared


def _left_out(by_run: Mapping[str, Mapping[str, TaskScore]], shared: Sequence[str]) -> list[str]:
    rest = {task for found in by_run.values() for task in found} - set(shared)
    if not rest:
        return []
    return [
        f"Compared on {len(shared)} tasks; {', '.join(map(quoted, sorted(rest)))} are not in every run with "
        "equally many facts and are left out."
    ]


class _Summary:
    """Tasks take the place of relations."""

    def __init__(self, before: Scored, by_run: Mapping[str, Mapping[str, TaskScore]], shared: Sequence[str]) -> None:
        self.before, self.by_run, self.shared = before, by_run, shared

    def _scores(self, run: Scored, tasks: Sequence[str]) -> list[TaskScore]:
        return [self.by_run[str(run.path)][task] for task in tasks]

    def side(self, runs: Sequence[Scored], tasks: Sequence[str]) -> Side:
        """Over several runs the mean, whose interval is undefined: their noise is not in the results."""
        scores = [self._scores(run, tasks) for run in runs]
        n = sum(score.n for score in scores[0])
        means = [math.fsum(score.right * score.n for score in of) / n for of in scores]
        estimate = Estimate(math.fsum(means) / len(means), None, n, _UNDEFINED)
        if len(runs) == 1:
            estimate = wilson(round(means[0] * n), n) or estimate
        return Side(estimate, _mean([(s.n, s.abstained) for of in scores for s in of]))

    def prior(self, tasks: Sequence[str]) -> float | None:
        return _mean([(score.n, score.prior) for score in self._scores(self.before, tasks)])

    def change(self, arm: Sequence[Scored], other: Sequence[Scored], tasks: Sequence[str]) -> Estimate:
        after, before = self.side(arm, tasks).accuracy, self.side(other, tasks).accuracy
        assert after is not None
        assert before is not None
        return Estimate(after.value - before.value, None, after.n, _UNDEFINED)

    def arm(self, arm: Arm, control: Arm | None) -> ArmNumbers:
        before, after = self.side([self.before], self.shared), self.side(arm.runs, self.shared)
        against = None if control is None or arm is control else self.change(arm.runs, control.runs, self.shared)
        row = GroupNumbers(
            ALL,
            before.accuracy.n if before.accuracy else 0,
            self.prior(self.shared),
            before,
            after,
            Difference(self.change(arm.runs, [self.before], self.shared), None, None),
            against,
        )
        return ArmNumbers(arm.label, arm is control, arm.seeds, {}, (row,), None, None, None)

    def relations(self, arms: Sequence[Arm]) -> tuple[RelationNumbers, ...]:
        return tuple(
            RelationNumbers(
                task,
                self._scores(self.before, [task])[0].n,
                self.prior([task]),
                self.side([self.before], [task]),
                tuple(self.side(arm.runs, [task]) for arm in arms),
                tuple(Difference(self.change(arm.runs, [self.before], [task]), None, None) for arm in arms),
            )
            for task in self.shared
        )


def _mean(values: Sequence[tuple[int, float | None]]) -> float | None:
    """Weighted by n; None where one is missing."""
    known = [(n, value) for n, value in values if value is not None]
    if len(known) < len(values):
        return None
    return math.fsum(n * value for n, value in known) / sum(n for n, _ in known)
