"""What a gate found, as numbers and words; every kind of output is made from this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slick.errors import EXIT_PASS, EXIT_QUALITY
from slick.facts import Fact
from slick.files import mapping_of
from slick.paired import Paired
from slick.provenance import library_versions
from slick.verdict import Judgement, Outcome, Verdict
from slick_reports import wording
from slick_reports.inputs import Scored
from slick_reports.text import visible, without_surrogates
from slick_sft.gate.arms import answers_digest
from slick_sft.gate.policy import Policy

SCHEMA = 1
KIND = "slick gate"


@dataclass(frozen=True, slots=True)
class Side:
    """One arm on a group of facts. share: what the group is judged by, mostly the accuracy."""

    share: float
    abstained: float

    def as_dict(self) -> dict[str, Any]:
        return {"share": self.share, "abstained": self.abstained}


@dataclass(frozen=True, slots=True)
class Group:
    """A group of facts. verdict: None where it is not gated. prior: accuracy of each relation's commonest answer.

    base: the untuned model's accuracy by its probe, where that is known. nothing_to_lose: why a loss of the control's
    could not be seen, where that is so; the group is then never passed.
    """

    name: str
    group: str
    n: int
    candidate: Side
    control: Side
    prior: float | None
    paired: Paired
    verdict: Verdict | None = None
    base: float | None = None
    nothing_to_lose: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "group": self.group,
            "facts": self.n,
            "gated": self.verdict is not None,
            "candidate": self.candidate.as_dict(),
            "control": self.control.as_dict(),
            "answer_prior": self.prior,
            "base": self.base,
            "nothing_to_lose": self.nothing_to_lose or None,
            "paired": self.paired.as_dict(),
            "verdict": self.verdict.as_dict() if self.verdict else None,
        }


@dataclass(frozen=True, slots=True)
class LostFact:
    """control, candidate: the share of each arm's runs that answer it rightly; what they answer stands beside."""

    fact: Fact
    category: str | None
    control: float
    candidate: float
    control_answers: tuple[str, ...]
    candidate_answers: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "fact": self.fact.as_dict(),
            "category": self.category,
            "control": self.control,
            "candidate": self.candidate,
            "control_answers": list(self.control_answers),
            "candidate_answers": list(self.candidate_answers),
        }


@dataclass(frozen=True, slots=True)
class GateReport:
    """dataset: what lint found, where the gate trained the arms itself. mismatches: differences that were allowed.

    ledger: the runs that tell how far seeds lie apart, where each arm is one run. kept: those of the notes that no
    later judgement of the same runs could find out again. baseline: name and date of the one that is the control.
    look: which of the policy's looks it is. directory: what the paths of runs and knowledge start from, where they are
    relative; None: the working directory.
    """

    judgement: Judgement
    groups: tuple[Group, ...]
    policy: Policy
    control: str
    candidates: tuple[Mapping[str, Any], ...]
    controls: tuple[Mapping[str, Any], ...]
    facts: int
    ledger: tuple[Mapping[str, Any], ...] = ()
    lost: tuple[LostFact, ...] = ()
    mismatches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dataset: Mapping[str, Any] | None = None
    knowledge: str | None = None
    excluded: tuple[str, ...] = field(default=(), repr=False)
    kept: tuple[str, ...] = ()
    baseline: Mapping[str, Any] | None = None
    look: int = 1
    directory: Path | None = None

    @property
    def outcome(self) -> Outcome:
        return self.judgement.outcome

    @property
    def gated(self) -> list[Group]:
        return [group for group in self.groups if group.verdict]

    @property
    def exit_code(self) -> int:
        code = exit_code(self.judgement, self.policy.inconclusive)
        # Where the control knows nothing, nothing was measured, whatever the policy makes of open verdicts.
        blind = code == EXIT_PASS and any(group.nothing_to_lose for group in self.gated)
        return Outcome.INCONCLUSIVE.exit_code if blind else code

    @property
    def sentence(self) -> str:
        """The verdict, and what becomes of it where it is open."""
        told = visible(self.judgement.sentence) + self._looks_left
        if self.outcome is not Outcome.INCONCLUSIVE or self.policy.inconclusive == "report":
            return told
        if self.policy.inconclusive == "fail":
            return f"{told} The policy takes an open verdict for a failure."
        if self.exit_code == EXIT_PASS:
            return f"{told} The policy lets an open verdict pass; that shows nothing."
        why = "the control knows nothing" if any(g.nothing_to_lose for g in self.gated) else "an interval is undefined"
        return f"{told} The policy would let an open verdict pass, but {why}: nothing was judged."

    @property
    def _looks_left(self) -> str:
        """What more facts or seeds take, where these would settle an open verdict."""
        looks = self.judgement.looks
        if self.outcome is not Outcome.INCONCLUSIVE or not any(verdict.need for verdict in self.judgement.verdicts):
            return ""
        if self.look < looks:
            return f" With these it is another look, and {looks - self.look} of {looks} planned are left."
        return (
            f" With these it is another look, and none is left to this pair: plan it (looks: {looks + 1}) before the "
            "first look at another one, of other rows or another training."
        )

    def based(self, directory: Path) -> GateReport:
        """The same report, its paths from this directory where they lie below it, else absolute: a directory may be
        moved whole, and a document that is alone finds its own runs or none."""

        def path(given: object) -> str:
            whole = ((self.directory or Path()) / str(given)).resolve()
            below = directory.resolve()
            return whole.relative_to(below).as_posix() if whole.is_relative_to(below) else str(whole)

        def runs(records: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
            return tuple({**record, "path": path(record["path"])} for record in records)

        return replace(
            self,
            candidates=runs(self.candidates),
            controls=runs(self.controls),
            ledger=runs(self.ledger),
            knowledge=path(self.knowledge) if self.knowledge else None,
            directory=directory,
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON document. Fractions stay fractions; what is undefined is null."""
        document = {
            "schema": SCHEMA,
            "kind": KIND,
            **self.judgement.as_dict(),
            "inconclusive": self.policy.inconclusive,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "facts": self.facts,
            "groups": [group.as_dict() for group in self.groups],
            "control": self.control,
            "runs": {
                "candidate": list(self.candidates),
                "control": list(self.controls),
                **({"ledger": list(self.ledger)} if self.ledger else {}),
            },
            "knowledge": self.knowledge,
            "excluded": list(self.excluded),
            "dataset": self.dataset,
            "policy": self.policy.as_dict(),
            "mismatches": list(self.mismatches),
            "notes": list(self.notes),
            "look": self.look,
            "kept_notes": list(self.kept),
            "baseline": dict(self.baseline) if self.baseline else None,
            "lost": [fact.as_dict() for fact in self.lost],
            "versions": library_versions(),
        }
        plain: dict[str, Any] = _plain(document)
        return plain


def exit_code(judgement: Judgement, inconclusive: str) -> int:
    """0, 1 or 3. An open verdict lets pass only what was at least measured: with an undefined interval nothing was."""
    outcome = judgement.outcome
    if outcome is not Outcome.INCONCLUSIVE or inconclusive == "report":
        return outcome.exit_code
    if inconclusive == "fail":
        return EXIT_QUALITY
    measured = all(v.estimate is not None and v.estimate.interval is not None for v in judgement.verdicts)
    return EXIT_PASS if measured else outcome.exit_code


def run_record(run: Scored) -> dict[str, Any]:
    """Where a run stands and what it is of."""
    model = mapping_of(run.provenance.get("model"))
    return {
        "path": str(run.path),
        "seed": run.seed,
        "arm": run.training.get("arm"),
        "steps": run.training.get("steps"),
        "model": model.get("name"),
        "weights": model.get("weights"),
        "adapter": model.get("adapter"),
        "facts": len(run.rows),
        "answers": answers_digest(run),
    }


HEADER = (
    "facts",
    "n",
    "prior",
    "base, few-shot",
    "control",
    "candidate",
    "difference",
    "margin",
    "abstained",
    "lost",
    "gained",
    "verdict",
)


def cells(group: Group, level: float) -> tuple[str, ...]:
    """A group's row under `HEADER`. level: of the interval where the group is not gated."""
    verdict, found = group.verdict, group.paired
    estimate = verdict.estimate if verdict and verdict.estimate else found.estimate(level)
    runs = 1 if found.lost == round(found.lost) and found.gained == round(found.gained) else 2
    return (
        group.name,
        f"{group.n:,}",
        wording.percent(group.prior),
        wording.percent(group.base),
        wording.percent(group.control.share),
        wording.percent(group.candidate.share),
        wording.estimate_points(estimate),
        wording.size(verdict.margin) if verdict else wording.NONE,
        f"{wording.percent(group.control.abstained)} → {wording.percent(group.candidate.abstained)}",
        wording.count(found.lost, runs),
        wording.count(found.gained, runs),
        str(verdict.outcome) if verdict else "not gated",
    )


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it. Twelve digits: what lies beyond them depends on the machine."""
    if isinstance(value, str):
        return without_surrogates(str(value))
    if isinstance(value, float):
        return float(f"{value:.12g}") if abs(value) != float("inf") and value == value else None
    if isinstance(value, Mapping):
        return {without_surrogates(str(k)): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
