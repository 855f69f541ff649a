"""The two arms of a gate, read from their score runs, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import digest_of, mapping_of
from slick.knowledge import Category
from slick.knowledge_file import KnowledgeFile, read_knowledge
from slick.paired import LEDGER_RUNS
from slick.provenance import same_model
from slick.runs import differences
from slick_reports.comparable import check_comparable
from slick_reports.gather import categories_of
from slick_reports.inputs import Scored, read_scored
from slick_reports.numbers import Mismatch
from slick_reports.text import visible
from slick_sft.arguments import decisive

# Of a tuning record, what must be equal for a difference to come from the rows alone.
_TRAINING = (
    "method",
    "learning_rate",
    "lr_scheduler_type",
    "batch_size",
    "steps",
    "epochs",
    "distill",
    "bf16",
    "form",
    "conversational",
)


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs that differ in nothing but their seed, in the order of their seeds."""

    name: str
    runs: tuple[Scored, ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        return tuple(run.seed for run in self.runs)

    @property
    def untrained(self) -> bool:
        """Whether it is a base model: scored by `slick score`, and no tuning run made it."""
        return all(not run.training and run.told is None for run in self.runs)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms that were found comparable. mismatches: what differs and was allowed to.

    ledger: where each arm is one run, recorded runs of the control's recipe, itself among them, which tell how far
    seeds lie apart; none where there are fewer than `slick.paired.LEDGER_RUNS`.
    """

    candidate: Arm
    control: Arm
    knowledge: KnowledgeFile | None = None
    mismatches: tuple[Mismatch, ...] = ()
    ledger: tuple[Scored, ...] = ()

    def runs(self) -> Iterator[Scored]:
        yield from self.candidate.runs
        yield from self.control.runs

    def categories(self) -> dict[str, Category]:
        """See `categories_of`."""
        return categories_of(self.runs(), self.knowledge)


def read_arm(paths: Sequence[Path], name: str) -> Arm:
    """The arm of these runs. Raises InputError for none, a run, a seed or a checkpoint that is given twice."""
    if not paths:
        raise InputError(f"{name}: no run given; expected at least one that slick score or lm_eval wrote")
    runs = [read_scored(path) for path in paths]
    with Mistakes(f"{name}: not runs of one arm:") as mistakes:
        where: dict[Any, Scored] = {}
        for place, run in enumerate(runs):
            for key, what in ((run.path.resolve(), "the run"), (("seed", run.seed), f"seed {run.seed}")):
                if key == ("seed", None):
                    continue
                if (other := where.setdefault(key, run)) is not run:
                    mistakes.add(f"{run.path}: {what} stands there already, as {other.path}; give it once")
                    break
            else:
                mistakes.extend(_repeats(run, runs[:place]))
    return Arm(name, tuple(sorted(runs, key=lambda run: (run.seed is None, run.seed or 0))))


def read_pair(
    candidate: Sequence[Path],
    control: Sequence[Path],
    knowledge: Path | None = None,
    *,
    allow_mismatch: bool = False,
    seeds: int | None = None,
    recorded: Sequence[Path] = (),
) -> Pair:
    """Both arms. Raises InputError where they cannot be compared, naming all that differs, unless it is allowed.

    seeds: how many the policy judges by. With 1, a candidate of one run meets the control's run of its seed, or its
    first, and all of the control's runs with those `recorded` besides are the ledger of how far seeds lie apart.
    """
    ours, theirs = read_arm(candidate, "candidate"), read_arm(control, "control")
    ledger: tuple[Scored, ...] = ()
    if seeds == 1 and len(ours.runs) == 1 and not theirs.untrained:
        known = {path.resolve() for path in control}
        more = [path for path in recorded if path.resolve() not in known]
        if len(control) + len(more) >= LEDGER_RUNS:
            whole = read_arm([*control, *more], "ledger of the control") if more else theirs
            check_arm(whole)
            ledger, theirs = whole.runs, Arm(theirs.name, (_of_seed(theirs, ours.runs[0].seed),))
    pair = pair_of(ours, theirs, read_knowledge(knowledge) if knowledge else None, allow_mismatch=allow_mismatch)
    return replace(pair, ledger=ledger)


def _of_seed(arm: Arm, seed: int | None) -> Scored:
    return next((run for run in arm.runs if run.seed is not None and run.seed == seed), arm.runs[0])


def pair_of(
    candidate: Arm, control: Arm, knowledge: KnowledgeFile | None = None, *, allow_mismatch: bool = False
) -> Pair:
    """As `read_pair`, of arms that were read."""
    _not_the_same(candidate, control)
    first, *others = [*control.runs, *candidate.runs]
    found = [
        *check_comparable(first, others, allow_mismatch=True),
        *_within(candidate),
        *_within(control),
        *(
            other_bases(candidate, control)
            if control.untrained
            else training_mismatches(candidate.runs[0], control.runs[0])
        ),
        *_of_the_probe(knowledge, (*candidate.runs, *control.runs)),
    ]
    if found and not allow_mismatch:
        with Mistakes("these runs cannot be compared:") as mistakes:
            mistakes.extend(map(told, found))
            mistakes.messages[-1] += (
                "\n  make them again with equal settings, or give --allow-mismatch (the verdict then says so)"
            )
    return Pair(candidate, control, knowledge, tuple(found))


def check_arm(arm: Arm, knowledge: KnowledgeFile | None = None) -> None:
    """InputError where runs of one arm were not asked or trained alike, or not from the model that was probed, naming
    all that differs."""
    first, *others = arm.runs
    found = [
        *check_comparable(first, others, allow_mismatch=True),
        *_within(arm),
        *(mismatch for run in others for mismatch in training_mismatches(run, first)),
        *_of_the_probe(knowledge, arm.runs),
    ]
    with Mistakes(f"{arm.name}: these runs are not of one arm, which differs in nothing but seeds:") as mistakes:
        mistakes.extend(dict.fromkeys(map(told, found)))


def bases_known(arm: Arm) -> bool:
    """Whether every run says which model it was tuned from."""
    return all(_identified(mapping_of(run.training.get("base"))) for run in arm.runs)


def other_bases(candidate: Arm, control: Arm) -> list[Mismatch]:
    """Candidates that were tuned from another model than the untuned control is; those that do not say are passed
    over."""
    found = []
    for run in candidate.runs:
        base = mapping_of(run.training.get("base"))
        for model in (mapping_of(of.provenance.get("model")) for of in control.runs):
            if _identified(base) and not same_model(base, model):
                found.append(Mismatch("base model", str(run.path), _model(model), _model(base)))
    return found


def told(mismatch: Mismatch) -> str:
    """What differs, in one sentence."""
    other = f", where the control has {mismatch.before}" if mismatch.before else ""
    return f"{mismatch.setting}: {mismatch.run} has {mismatch.here}{other}"


def training_mismatches(candidate: Scored, control: Scored) -> list[Mismatch]:
    """What two runs were trained differently by, besides their rows; what either does not record is passed over."""
    return [
        Mismatch(name, str(candidate.path), visible(repr(old), 200), visible(repr(new), 200))
        for name, old, new in training_differences(candidate.training, control.training)
    ]


def training_differences(candidate: Mapping[str, Any], control: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, the control's, the candidate's) of what decides a training besides rows and seed."""
    found = [
        (name, control[name], candidate[name])
        for name in _TRAINING
        if None not in (candidate.get(name), control.get(name)) and candidate[name] != control[name]
    ]
    ours, theirs = mapping_of(candidate.get("base")), mapping_of(control.get("base"))
    if ours and theirs and not same_model(ours, theirs):
        found.append(("base model", _model(theirs), _model(ours)))
    here, there = (mapping_of(of.get("settings")) for of in (candidate, control))
    arguments = [mapping_of(of.get("arguments")) for of in (there, here)]
    if all(arguments):
        named = {name for name, _, _ in found} | {"num_train_epochs", "max_steps", "learning_rate"}
        found += [item for item in differences(*map(decisive, arguments)) if item[0] not in named]
    if here and there:
        found += [(f"lora.{n}", a, b) for n, a, b in differences(_lora(there), _lora(here))]
    return found


def _lora(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping_of(settings.get("lora"))


def _within(arm: Arm) -> list[Mismatch]:
    """Runs of one arm that were made by different recipes."""
    keys = [run.training.get("arm_key") for run in arm.runs]
    return [
        Mismatch(f"recipe of the {arm.name}", str(run.path), "", "another recipe than the arm's first run")
        for run, key in zip(arm.runs, keys, strict=True)
        if isinstance(key, str) and isinstance(keys[0], str) and key != keys[0]
    ]


def _of_the_probe(knowledge: KnowledgeFile | None, runs: Iterable[Scored]) -> list[Mismatch]:
    """Runs whose base is not the model that was probed."""
    probed = mapping_of(knowledge.provenance.get("model")) if knowledge else {}
    found = []
    for run in runs:
        base = mapping_of(run.training.get("base")) if run.training else mapping_of(run.provenance.get("model"))
        if probed.get("weights") and base.get("weights") and not same_model(probed, base):
            found.append(
                Mismatch("base model", str(run.path), "", f"{_model(base)}, where {_model(probed)} was probed")
            )
    return found


def _not_the_same(candidate: Arm, control: Arm) -> None:
    """A model set against itself shows no change, whatever was done to it."""
    for ours in candidate.runs:
        for theirs in control.runs:
            if ours.path.resolve() == theirs.path.resolve() or _one_model(ours, theirs):
                raise InputError(
                    f"{ours.path} and {theirs.path}: score the very same weights (by their digest or, where that is "
                    "unknown, by the model's name), as candidate and as control, and could show no change; give runs "
                    "of two models"
                )


def _one_model(ours: Scored, theirs: Scored) -> bool:
    a, b = (mapping_of(run.provenance.get("model")) for run in (ours, theirs))
    if not (a.get("weights") and b.get("weights")):
        # lm_eval calls a model that was handed to it by its class: the backend's name, and no model's.
        backends = [mapping_of(run.provenance.get("backend")).get("name") for run in (ours, theirs)]
        if not (a.get("name") and b.get("name")) or a["name"] == backends[0] or b["name"] == backends[1]:
            return False
    # An adapter is known apart from its base, also where both go by the base's name.
    return same_model(a, b) and a.get("adapter") == b.get("adapter")


def _repeats(run: Scored, before: Sequence[Scored]) -> list[str]:
    """One checkpoint that is scored several times says nothing of seeds."""
    for other in before:
        a, b = (mapping_of(of.provenance.get("model")) for of in (run, other))
        known = bool(a.get("weights") and b.get("weights"))
        if same_model(a, b) if known else _answers(run) == _answers(other):
            what = "weights" if known else "answers"
            return [
                f"{run.path}: has the very same {what} as {other.path}; one checkpoint that is scored several times "
                "is not several seeds; give it once, or runs in which the seed made a difference"
            ]
    return []


def answers_digest(run: Scored) -> str:
    """SHA-256 of what a run answered, wherever and whenever that was written: a training that is repeated on another
    checkout and ends in the same answers shows nothing new."""
    return digest_of(_answers(run))


def _answers(run: Scored) -> dict[str, str]:
    return {id: row.answer for id, row in run.rows.items()}


def _identified(model: Mapping[str, Any]) -> bool:
    return bool(model.get("weights") or model.get("name"))


def _model(model: Mapping[str, Any]) -> str:
    return visible(f"{model.get('name', 'not recorded')} ({str(model.get('weights') or 'weights unknown')[:12]})", 200)
