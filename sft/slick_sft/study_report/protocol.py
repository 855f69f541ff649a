"""What the paper's protocol leaves open and what was done here; and the machines that the arms were trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slick.dynamics import DEV
from slick.files import mapping_of, read_json
from slick.knowledge import CATEGORIES, KNOWN, Estimator, Knowledge
from slick.training import TRAINING
from slick_reports import wording
from slick_sft.study_report import fitted
from slick_sft.study_report.blocks import Section, Table, listed, row
from slick_sft.study_report.data import TEST, Arm, Study

ID, TITLE = "protocol", "What the protocol leaves open"
UNRECORDED = "not recorded"
LIBRARIES = ("torch", "transformers", "trl", "peft")
# Names under which models' configurations have a dropout.
_DROPOUT = ("dropout", "pdrop")
# What a grid may set and a row of the table has already.
_SHOWN = ("learning_rate", "lr_scheduler_type", "optim", "num_train_epochs", "per_device_train_batch_size", "seed")
_OURS = (
    "gradient_checkpointing",
    "completion_only_loss",
    "logging_nan_inf_filter",
    *("save_strategy", "save_steps", "save_total_limit", "report_to", "use_cpu"),
)
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What an arm was trained on, as its tuning run recorded it. versions: of `LIBRARIES`, in their order."""

    device: str
    precision: str
    versions: tuple[str, ...]

    @classmethod
    def of(cls, record: Record) -> Machine:
        """From a `training.json`; its `machine`, where it has one, says it best."""
        machine = mapping_of(record.get("machine"))
        arguments = mapping_of(mapping_of(record.get("settings")).get("arguments"))
        told = "bf16" if record.get("bf16") else "fp16" if arguments.get("fp16") else "fp32"
        precision = machine.get("precision") or (told if "bf16" in record else UNRECORDED)
        versions = mapping_of(machine.get("versions")) or mapping_of(record.get("versions"))
        device = machine.get("device") or record.get("device") or UNRECORDED
        return cls(str(device), str(precision), tuple(str(versions.get(name, UNRECORDED)) for name in LIBRARIES))


def section(study: Study) -> Section:
    records = {arm.name: (v.version, arm, record_of(arm)) for v in study.variants.values() for arm in v.arms}
    text = (
        "The paper does not state its optimiser, loss mask, seeds, length limit or the mix inside Known, and a study "
        "may set otherwise what it does state. Here is what was done; a difference to the paper may come from any of "
        "it.",
    )
    used = machines({name: record for name, (_, _, record) in records.items()})
    tables = (_choices_table(study, list(records.values())), _machines_table(used))
    data = {"machines": [{"machine": machine, "arms": arms} for machine, arms in used.items()]}
    return Section(ID, TITLE, text, tables, (), data)


def record_of(arm: Arm) -> Record:
    """What the tuning run recorded of itself; empty where it cannot be read."""
    return mapping_of(read_json(arm.tuned / TRAINING)) if (arm.tuned / TRAINING).is_file() else {}


def machines(records: Mapping[str, Record]) -> dict[Machine, list[str]]:
    """Machine → the arms that were trained on such a one, in the order in which they first stand."""
    found: dict[Machine, list[str]] = {}
    for name, record in records.items():
        found.setdefault(Machine.of(record), []).append(name)
    return found


def banners(study: Study) -> tuple[str, ...]:
    """A warning where arms were trained on different devices or in different precisions."""
    records = {arm.name: record_of(arm) for v in study.variants.values() for arm in v.arms}
    kinds: dict[tuple[str, str], list[str]] = {}
    for machine, arms in machines(records).items():
        kinds.setdefault((machine.device, machine.precision), []).extend(arms)
    if len(kinds) < 2:
        return ()
    told = "; ".join(
        f"{device}, {precision}: {len(arms)} arm{'s' * (len(arms) != 1)} "
        f"({listed(arms[:4])}{', …' if len(arms) > 4 else ''})"
        for (device, precision), arms in kinds.items()
    )
    return (
        "The arms were trained on different devices or in different precisions, so that a difference between them may "
        f"be the machine's and not the variant's. {told}.",
    )


def _machines_table(used: Mapping[Machine, Sequence[str]]) -> Table:
    rows = [row(m.device, m.precision, *m.versions, f"{len(arms)}") for m, arms in used.items()]
    header = ("device", "precision", *LIBRARIES, "arms")
    return Table("What the arms were trained on", header, tuple(rows), labels=2 + len(LIBRARIES))


Read = tuple[str, Arm, Record]


def _choices_table(study: Study, records: Sequence[Read]) -> Table:
    def by_version(read: Callable[[Record], object]) -> str:
        """One value where all versions have it, else each with its version."""
        found: dict[str, str] = {}
        for version, _, record in records:
            value = read(record)
            told = UNRECORDED if value is None else f"{value:g}" if isinstance(value, float) else str(value)
            found[version] = _joined(found.get(version), told)
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        return "; ".join(f"{told}{f' ({version})' if version else ''}" for version, told in found.items())

    rows = [
        ("learning rate", "1e-5; 1e-4 and 1e-6 agree", by_version(lambda r: r.get("learning_rate"))),
        ("its schedule", "fixed", by_version(lambda r: r.get("lr_scheduler_type"))),
        ("optimiser", "not stated", by_version(_optimiser)),
        ("other settings of the trainer", "not stated", by_version(_others)),
        ("rows of a step", "128", by_version(lambda r: r.get("batch_size"))),
        ("epochs", "50", by_version(lambda r: r.get("epochs"))),
        ("CONVERGENCE", "epoch 50, all rows fitted", fitted.converged(study)),
        ("EARLY_STOP", "the epoch of the best dev accuracy", _early_stop(study)),
        ("rows measured after an epoch", "all of dev", fitted.all_watched(study)),
        ("dropout", "0.05", _dropout(records)),
        ("loss", "mask not stated", "the answer's tokens and the end alone, not the question's"),
        ("rows |D|", "6,142: over relations the smallest category", _size(study)),
        ("mix inside Known", "not stated", _mix(study)),
        ("seeds", "not stated", f"{study.seeds}, each of mixing, order and training"),
        ("a right answer", "exact match; normalisation and length limit not stated", _RIGHT),
        ("the probe", "10 exemplar sets, 1 greedy and 16 sampled answers each", _probe(study)),
    ]
    cells = tuple(row(*each) for each in rows)
    return Table("What was done, beside the paper", ("", "the paper", "here"), cells, labels=3)


_RIGHT = "exact match of the first line, stripped; at most 32 new tokens"


def _early_stop(study: Study) -> str:
    return f"the same, on n = {fitted.watched(study, DEV)} dev facts, with the untuned base model among the candidates"


def _joined(before: str | None, told: str) -> str:
    """What arms of one version have, each value once."""
    if before is None or told in before.split(" or "):
        return before or told
    return f"{before} or {told}"


def _joined_all(values: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(values))


def _arguments(record: Record) -> Record:
    return mapping_of(mapping_of(record.get("settings")).get("arguments"))


def _optimiser(record: Record) -> str | None:
    if not _arguments(record):
        return None
    return str(_arguments(record).get("optim") or "TRL's default, AdamW")


def _others(record: Record) -> str | None:
    """Settings beside those that have a row, and those that change nothing of what is trained."""
    arguments = _arguments(record)
    if not arguments:
        return None
    others = {name: value for name, value in arguments.items() if name not in (*_SHOWN, *_OURS)}
    return listed(f"{name} {value}" for name, value in sorted(others.items())) or "TRL's defaults"


def _dropout(records: Sequence[Read]) -> str:
    """What the models' configurations say, where weights were kept; of adapters their own as well."""
    found = _joined_all(_configured(arm) for _, arm, _ in records)
    adapters = [mapping_of(mapping_of(record.get("settings")).get("lora")) for _, _, record in records]
    own = _joined_all(f"{lora['lora_dropout']:g}" for lora in adapters if "lora_dropout" in lora)
    return f"{found}; in front of adapters {own}" if own else found


def _configured(arm: Arm) -> str:
    config = arm.tuned / "model" / "config.json"
    if not config.is_file():
        return "as the base model's configuration has it (not recorded)"
    values = mapping_of(read_json(config))
    named = {n: v for n, v in values.items() if n.endswith(_DROPOUT) and isinstance(v, int | float)}
    return listed(f"{name} {value:g}" for name, value in named.items()) or "none in the model's configuration"


def _size(study: Study) -> str:
    return UNRECORDED if study.size is None else f"{study.size:,}"


def _mix(study: Study) -> str:
    """How the Known rows of the mixes divide, over all seeds."""
    counts = dict.fromkeys(CATEGORIES, 0)
    for variant in study.mixes().values():
        for arm in variant.arms:
            for category, n in study.rows(arm).items():
                counts[category] += n
    known = sum(counts[c] for c in KNOWN)
    if not known:
        return "drawn alike from all Known facts of a relation"
    shares = [f"{wording.percent(counts[c] / known)} % {c}" for c in KNOWN]
    return f"drawn alike from all Known facts of a relation: {listed(shares)}"


def _probe(study: Study) -> str:
    knowledge = study.probed(TEST)
    if not knowledge:
        return UNRECORDED
    sets = _joined_all(str(k.greedy_total) for k in knowledge)
    return f"{sets} exemplar sets, {estimator(knowledge)} estimator"


def estimator(knowledge: Sequence[Knowledge]) -> Estimator:
    return Estimator.EXACT if all(k.chances is not None for k in knowledge) else Estimator.SAMPLED
