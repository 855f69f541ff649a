"""What arms were tuned on: recorded of each, and alike within a study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.provenance import library_versions
from slick_sft.study import conditions
from slick_sft.study.conditions import Conditions, check_alike, conditions_now
from slick_sft.study.grid import parse_grid
from slick_sft.study.jobs import Setup

GRID = "{variants: [known-only], versions: {lora: {method: lora, settings: {bf16: false}, variants: [natural]}}}"
SPLITS = {"train": "a", "dev": "b", "test": "c"}


@pytest.fixture(autouse=True)
def modern(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs that compute in bf16, whether there are any or not."""
    monkeypatch.setattr(conditions, "gpu_has_bf16", lambda: True)


def setup(out: Path, device: str, grid: str = "{variants: [known-only, unknown-50]}") -> Setup:
    base = {"name": "m", "weights": "w"}
    return Setup("m", "lab", parse_grid(grid, "grid"), 2, out, base, SPLITS, dict.fromkeys(SPLITS, 1), device=device)


def arm(out: Path, name: str, **record: Any) -> None:
    """A tuned arm, as its `training.json` tells of it."""
    place = out / "tuned" / name
    place.mkdir(parents=True)
    usual = {"device": "cpu", "bf16": False, "versions": library_versions(), "settings": {"arguments": {}}}
    (place / "training.json").write_text(json.dumps(usual | record))


def begun(out: Path, name: str) -> None:
    place = out / "tuned" / name
    place.mkdir(parents=True)
    (place / "progress.json").write_text("{}")


def found(asked: Setup, recorded: Mapping[str, Any] | None = None) -> list[str]:
    return check_alike(asked, recorded or {}, conditions_now(asked))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"device": "cpu", "bf16": False}, "on cpu in fp32"),
        ({"device": "cuda", "bf16": True}, "on cuda in bf16"),
        ({"device": "cuda", "bf16": False, "settings": {"arguments": {"fp16": True}}}, "on cuda in fp16"),
    ],
)
def test_a_run_tells_its_conditions(record: Mapping[str, Any], expected: str) -> None:
    """Its device, and what its forward pass was computed in."""
    assert str(Conditions.of_record(record)) == expected


@pytest.mark.parametrize(
    ("device", "settings", "expected"),
    [
        ("cpu", {}, "fp32"),
        ("cuda", {}, "bf16"),
        ("cuda", {"bf16": False}, "fp32"),
        ("cpu", {"bf16": True}, "bf16"),
        ("cuda", {"fp16": True}, "fp16"),
    ],
)
def test_the_precision_is_the_settings_or_the_devices(device: str, settings: dict[str, Any], expected: str) -> None:
    """As the trainer chooses it: half of it on GPUs, unless the grid says otherwise."""
    assert Conditions.now(device, settings).precision == expected


def test_gpus_without_bf16_train_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that is another precision than arms of newer GPUs have."""
    monkeypatch.setattr(conditions, "gpu_has_bf16", lambda: False)
    assert Conditions.now("cuda", {}).precision == "fp32"


def test_arms_of_another_device_are_not_gone_on_with(tmp_path: Path) -> None:
    """How many, which, on what; and the option that goes on where they were."""
    arm(tmp_path, "known-only-seed0")
    arm(tmp_path, "unknown-50-seed0")
    assert found(setup(tmp_path, "cpu")) == []
    said = (
        r"arms that stand there were tuned on cpu in fp32 \(known-only-seed0, …; 2 of 2\), and what is left would be "
        "done on cuda in bf16: .*; go on with --device cpu, or choose another --out"
    )
    with pytest.raises(InputError, match=said):
        found(setup(tmp_path, "cuda"))


def test_arms_of_another_precision_are_not_gone_on_with(tmp_path: Path) -> None:
    """Another device would not mend it."""
    arm(tmp_path, "known-only-seed1", device="cuda", bf16=False)
    said = r"on cuda in fp32 \(known-only-seed1; 1 of 1\), .* on cuda in bf16: .* their rows; choose another --out$"
    with pytest.raises(InputError, match=said):
        found(setup(tmp_path, "cuda"))


def test_arms_of_two_devices_cannot_be_gone_on_with(tmp_path: Path) -> None:
    """Whichever device is chosen, those of the other are counted."""
    arm(tmp_path, "known-only-seed0")
    arm(tmp_path, "unknown-50-seed0", device="cuda", bf16=True)
    for device, other in (("cpu", "on cuda in bf16"), ("cuda", "on cpu in fp32")):
        with pytest.raises(InputError, match=f"were tuned {other} .*; 1 of 2.* their rows; choose another --out$"):
            found(setup(tmp_path, device))


def test_each_version_has_its_own_precision(tmp_path: Path) -> None:
    """One that the grid trains in fp32 on a GPU stands beside those in bf16."""
    arm(tmp_path, "known-only-seed0", device="cuda", bf16=True)
    arm(tmp_path, "lora-natural-seed0", device="cuda", bf16=False)
    assert found(setup(tmp_path, "cuda", GRID)) == []


def test_an_arm_that_is_only_begun_counts_by_the_studys_record(tmp_path: Path) -> None:
    """Its checkpoints are of the device that the study was last on; of an older study nothing is known."""
    begun(tmp_path, "known-only-seed0")
    assert found(setup(tmp_path, "cuda")) == []
    with pytest.raises(InputError, match=r"on cpu in fp32 .known-only-seed0; 1 of 1.*--device cpu"):
        found(setup(tmp_path, "cuda"), {"": Conditions("cpu", "fp32", {}).as_dict()})


def test_other_libraries_are_told_and_no_reason_to_stop(tmp_path: Path) -> None:
    """By name, with how many arms; those that training does not rest on are left out."""
    arm(tmp_path, "known-only-seed0", versions={**library_versions(), "trl": "0.9", "lm_eval": "0.1"})
    arm(tmp_path, "unknown-50-seed0")
    now = library_versions()["trl"]
    assert found(setup(tmp_path, "cpu")) == [
        f"{tmp_path}: arms that stand there (1 of 2) were tuned with trl 0.9, and what is left would be with {now}; "
        "study.json records it of each"
    ]


def test_a_new_study_has_nothing_to_be_alike_to(tmp_path: Path) -> None:
    """Nothing is refused of it."""
    assert found(setup(tmp_path, "cuda")) == []
