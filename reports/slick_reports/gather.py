"""What the user asked for becomes what can be compared: paths checked, runs read, arms formed, mismatches found."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slick.errors import InputError
from slick.knowledge import Category
from slick.knowledge_file import KnowledgeFile, read_knowledge
from slick_reports.arms import Arm, find_control, group_arms
from slick_reports.beside import Probed, Trained, read_after, read_training_sets
from slick_reports.comparable import check_comparable, check_knowledge
from slick_reports.inputs import Scored, read_scored
from slick_reports.numbers import Mismatch
from slick_reports.places import place

TITLE = "What fine-tuning kept, gained and lost"


@dataclass(frozen=True, slots=True)
class Request:
    """What a report is made of; see `slick_reports.report.build_report`."""

    runs: Sequence[Path]
    before: Path | None = None
    knowledge: Path | None = None
    control: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    title: str = TITLE
    allow_mismatch: bool = False
    after: Sequence[Path] = ()
    training: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    margin: float | None = None

    def command(self) -> str:
        """The command that makes this report again, but for its --out and for where other directories lie."""
        words = ["slick", "report", *map(place, self.runs)]
        for name, path in (("--before", self.before), ("--knowledge", self.knowledge)):
            words += [name, place(path)] if path is not None else []
        words += ["--control", self.control] if self.control is not None else []
        for run, label in self.labels.items():
            words += ["--label", f"{place(run)}={label}"]
        for after in self.after:
            words += ["--after", place(after)]
        for label, paths in self.training.items():
            words += [word for path in paths for word in ("--training-set", f"{label}={place(path)}")]
        words += ["--margin", f"{100 * self.margin:g}"] if self.margin is not None else []
        words += ["--title", self.title] if self.title != TITLE else []
        words += ["--allow-mismatch"] if self.allow_mismatch else []
        return shlex.join(words)

    def split(self) -> tuple[Path, list[Path]]:
        """(before, the other runs). Raises InputError for too few runs, one given twice, or a label of none."""
        for i, path in enumerate(self.runs):
            if any(_same(path, other) for other in self.runs[:i]):
                raise InputError(f"{path}: given twice; give each run once")
        base = self.before or (self.runs[0] if self.runs else None)
        others = [path for path in self.runs if base is None or not _same(path, base)]
        if base is None or not others:
            raise InputError(
                f"found {len(self.runs)} run{'s' * (len(self.runs) != 1)}, expected the score of the base model and of "
                "at least one tuned model: slick report BASE TUNED --out FILE.html"
            )
        known = {str(path) for path in (*self.runs, base)}
        if strangers := [path for path in self.labels if path not in known]:
            raise InputError(f"--label: {', '.join(strangers)}: none of the runs; expected RUN=LABEL with RUN as given")
        return base, others


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


@dataclass(frozen=True, slots=True)
class Gathered:
    """The runs of a report, read and found comparable. control_note: how the control was found, or why not.

    after: an arm's label → the probe of its model. training: an arm's label → for each of its runs the answers that it
    was trained on, None where they were not given.
    """

    before: Scored
    before_label: str
    arms: Sequence[Arm]
    control: Arm | None
    control_note: str
    knowledge: KnowledgeFile | None
    mismatches: Sequence[Mismatch]
    after: Mapping[str, Probed] = field(default_factory=dict)
    training: Mapping[str, Trained] = field(default_factory=dict)

    def runs(self) -> Iterator[Scored]:
        """Every score run, "before" first."""
        yield self.before
        for arm in self.arms:
            yield from arm.runs

    def categories(self) -> dict[str, Category]:
        """See `categories_of`."""
        return categories_of(self.runs(), self.knowledge)


def categories_of(runs: Iterable[Scored], knowledge: KnowledgeFile | None) -> dict[str, Category]:
    """Fact id → category: the probe's; without a probe, the first that any of the runs recorded."""
    if knowledge:
        return {k.fact.id: k.category for k in knowledge.knowledge}
    found: dict[str, Category] = {}
    for run in runs:
        for id, row in run.rows.items():
            if row.category is not None:
                found.setdefault(id, row.category)
    return found


def gather(request: Request) -> Gathered:
    """Reads everything that `request` names. Raises InputError when something cannot be read or compared."""
    base, paths = request.split()
    knowledge = read_knowledge(request.knowledge) if request.knowledge else None
    before = read_scored(base)
    others = [read_scored(path) for path in paths]
    mismatches = check_comparable(before, others, allow_mismatch=request.allow_mismatch)
    if knowledge:
        mismatches += check_knowledge(
            knowledge.provenance, str(request.knowledge), before, allow_mismatch=request.allow_mismatch
        )
    arms = group_arms(others, request.labels)
    control, note = find_control(arms, request.control)
    label = request.labels.get(str(base), before.run.name)
    after = read_after(request.after, arms, knowledge, allow_mismatch=request.allow_mismatch)
    mismatches += [mismatch for probed in after.values() for mismatch in probed.mismatches]
    training = read_training_sets(request.training, arms)
    return Gathered(before, label, arms, control, note, knowledge, mismatches, after, training)
