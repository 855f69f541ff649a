"""What arms were tuned on, besides their settings: device, precision and library versions.

Arms are compared with each other, so that one study has one device and one precision: sums in another order, and in
fewer digits, end in other weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import mapping_of, read_json
from slick.provenance import library_versions
from slick.runs import PROGRESS, differences
from slick.training import TRAINING
from slick_sft.study.jobs import TUNED, Arm, Setup, arms_of

CPU = "cpu"
# What a tuning's weights rest on.
_LIBRARIES = ("torch", "transformers", "trl", "peft", "slick")


@dataclass(frozen=True, slots=True)
class Conditions:
    """device: "cpu" or "cuda". precision: what the forward pass is computed in, "fp32", "bf16" or "fp16"."""

    device: str
    precision: str
    versions: Mapping[str, str]

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Conditions:
        """Those of a tuning run, by its `training.json`."""
        arguments = mapping_of(mapping_of(record.get("settings")).get("arguments"))
        precision = "bf16" if record.get("bf16") else "fp16" if arguments.get("fp16") else "fp32"
        return cls(str(record.get("device", CPU)), precision, mapping_of(record.get("versions")))

    @classmethod
    def now(cls, device: str, settings: Mapping[str, Any]) -> Conditions:
        """Those of a tuning that is begun now. settings: fields of TRL's SFTConfig that the grid gives."""
        if settings.get("fp16"):
            precision = "fp16"
        else:
            precision = "bf16" if settings.get("bf16", device != CPU and gpu_has_bf16()) else "fp32"
        return cls(device, precision, library_versions())

    def alike(self, other: Conditions) -> bool:
        """Whether arms of both may be compared, whatever their libraries."""
        return (self.device, self.precision) == (other.device, other.precision)

    def as_dict(self) -> dict[str, Any]:
        return {"device": self.device, "precision": self.precision, "versions": dict(self.versions)}

    def __str__(self) -> str:
        return f"on {self.device} in {self.precision}"


def gpu_has_bf16() -> bool:
    """Whether the GPUs compute in bf16, as `slick tune` decides it; taken to be so where this machine has none."""
    import torch

    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported()


def conditions_now(setup: Setup) -> dict[str, Conditions]:
    """Version → the conditions of an arm of it that is tuned now, on the setup's device."""
    return {
        version: Conditions.now(setup.device, training.settings) for version, training in setup.grid.trainings.items()
    }


def check_alike(setup: Setup, recorded: Mapping[str, Any], now: Mapping[str, Conditions]) -> list[str]:
    """What is to be warned of: arms that stand there and were tuned with other libraries than the rest will be.

    recorded: version → the conditions that the study has recorded, which are those of arms that are only begun. now:
    version → those of what is left. InputError where arms stand there of another device or another precision.
    """
    there = {
        arm: of
        for arm in arms_of(setup)
        if (of := _there(setup.out / TUNED / arm.name, mapping_of(recorded.get(arm.variant.version))))
    }
    other = {arm: of for arm, of in there.items() if not of.alike(now[arm.variant.version])}
    if other:
        raise InputError(_mixed(setup.out, list(there.values()), other, now))
    counted = Counter(
        (name, old, new)
        for arm, of in there.items()
        for name, old, new in differences(of.versions, now[arm.variant.version].versions)
        if name in _LIBRARIES
    )
    return [
        f"{setup.out}: arms that stand there ({n} of {len(there)}) were tuned with {name} {old or '(none)'}, and what "
        f"is left would be with {new or '(none)'}; study.json records it of each"
        for (name, old, new), n in counted.items()
    ]


def _there(tuned: Path, recorded: Mapping[str, Any]) -> Conditions | None:
    """Of the run in a directory, finished or begun; None where there is neither."""
    if (tuned / TRAINING).exists():
        return Conditions.of_record(mapping_of(read_json(tuned / TRAINING)))
    if (tuned / PROGRESS).exists() and recorded:
        return Conditions(recorded["device"], recorded["precision"], mapping_of(recorded.get("versions")))
    return None


def _mixed(
    out: Path, there: Sequence[Conditions], other: Mapping[Arm, Conditions], now: Mapping[str, Conditions]
) -> str:
    arm, of = next(iter(other.items()))
    new = now[arm.variant.version]
    (device, *more) = {of.device for of in there}
    mend = "" if more or device == new.device else f"go on with --device {device}, or "
    shown = f"{arm.name}{', …' if len(other) > 1 else ''}; {len(other)} of {len(there)}"
    return (
        f"{out}: arms that stand there were tuned {of} ({shown}), and what is left would be done {new}: arms would "
        f"then differ in more than their rows; {mend}choose another --out"
    )
