"""slick_sft.study_report.protocol: what was done where the paper leaves it open, and on which machines."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slick.files import read_json, write_json
from slick_sft.study_report import protocol, render
from slick_sft.study_report.data import Study
from slick_sft.study_report.protocol import UNRECORDED, Machine
from slick_sft.study_report.report import build

VERSIONS = {"torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2", "slick": "0.1.0"}
RECORD: Mapping[str, Any] = {
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "batch_size": 8,
    "epochs": 4.0,
    "bf16": False,
    "device": "cpu",
    "versions": VERSIONS,
    "settings": {"arguments": {"learning_rate": 1e-4, "seed": 0, "weight_decay": 0.01, "save_steps": 0.1}},
}


@pytest.fixture
def recorded(small: Path, tmp_path: Path) -> Path:
    """A small study whose arms recorded how they were trained."""
    path = shutil.copytree(small, tmp_path / "study")
    for file in (path / "tuned").glob("*/training.json"):
        write_json(file, {**read_json(file), **RECORD})
    return path


def here(path: Path) -> dict[str, str]:
    table = protocol.section(Study(path)).tables[0]
    return {row[0].text: row[2].text for row in table.rows}


def change(path: Path, arm: str, **fields: Any) -> None:
    file = path / "tuned" / arm / "training.json"
    write_json(file, {**read_json(file), **fields})


def test_what_was_done_stands_beside_the_paper(recorded: Path) -> None:
    """From the arms' own records, the sets and the probe."""
    found = here(recorded)
    assert found["learning rate"] == "0.0001"
    assert found["its schedule"] == "constant"
    assert found["optimiser"] == "TRL's default, AdamW"
    assert found["other settings of the trainer"] == "weight_decay 0.01"
    assert found["rows of a step"] == "8"
    assert found["dropout"] == "as the base model's configuration has it (not recorded)"
    assert found["rows |D|"] == "40"
    assert found["seeds"].startswith("1, each of")
    assert found["the probe"] == "10 exemplar sets, sampled estimator"
    assert found["mix inside Known"].startswith("drawn alike from all Known facts of a relation: ")
    assert "% HighlyKnown" in found["mix inside Known"]


def test_a_record_that_says_nothing_is_said_not_to(small: Path) -> None:
    """No guess in its place, neither of the training nor of the machine."""
    found = here(small)
    for name in ("learning rate", "its schedule", "optimiser", "other settings of the trainer", "rows of a step"):
        assert found[name] == UNRECORDED
    assert [cell.text for cell in protocol.section(Study(small)).tables[1].rows[0]] == [UNRECORDED] * 6 + ["2"]


def test_versions_that_differ_are_each_named(recorded: Path) -> None:
    """What a further way of training sets otherwise stands beside the grid's own."""
    document = read_json(recorded / "study.json")
    document["arms"][1]["version"] = "gentle"
    write_json(recorded / "study.json", document)
    change(
        recorded,
        "unknown-100-seed0",
        learning_rate=1e-6,
        settings={"lora": {"lora_dropout": 0.05}, "arguments": {"optim": "sgd"}},
    )
    found = here(recorded)
    assert found["learning rate"] == "0.0001; 1e-06 (gentle)"
    assert found["optimiser"] == "TRL's default, AdamW; sgd (gentle)"
    assert found["rows of a step"] == "8"
    assert found["dropout"].endswith("(not recorded); in front of adapters 0.05")


def test_dropout_is_read_where_the_weights_were_kept(recorded: Path) -> None:
    """From the configuration of the tuned model, under whatever name the architecture has it."""
    for file in (recorded / "tuned").glob("*/training.json"):
        write_json(
            file.parent / "model" / "config.json", {"attention_dropout": 0.0, "resid_pdrop": 0.1, "hidden_size": 8}
        )
    assert here(recorded)["dropout"] == "attention_dropout 0, resid_pdrop 0.1"


def test_arms_of_one_machine_have_no_banner(recorded: Path) -> None:
    """One line in the table, and no warning, though libraries of another version have a line of their own."""
    study = Study(recorded)
    assert protocol.banners(study) == ()
    (row,) = protocol.section(study).tables[1].rows
    assert [cell.text for cell in row] == ["cpu", "fp32", "2.13.0", "5.23.0", "1.16.0", "0.21.2", "2"]
    change(recorded, "unknown-100-seed0", versions={**VERSIONS, "torch": "2.14.0"})
    assert protocol.banners(Study(recorded)) == ()
    assert len(protocol.section(Study(recorded)).tables[1].rows) == 2


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"device": "cuda"}, "cuda, fp32: 1 arm (unknown-100-seed0)"),
        ({"bf16": True}, "cpu, bf16: 1 arm (unknown-100-seed0)"),
        ({"machine": {"device": "cuda", "precision": "bf16", "versions": VERSIONS}}, "cuda, bf16: 1 arm"),
    ],
)
def test_arms_of_different_machines_have_a_banner(recorded: Path, fields: dict[str, Any], told: str) -> None:
    """Above everything, in every format."""
    change(recorded, "unknown-100-seed0", **fields)
    report = build(recorded)
    (banner,) = report.banners
    assert "cpu, fp32: 1 arm (known-only-seed0)" in banner
    assert told in banner
    page = render.html(report)
    assert '<aside class="banner" aria-label="Warning">' in page
    assert page.index("different devices") < page.index('class="lead"')
    assert "> **Warning:** The arms were trained on different devices" in render.markdown(report)
    assert '"banners": [' in render.json_text(report)


def test_a_machine_is_read_from_either_record() -> None:
    """`machine` where it is there, else what every tuning run has said of itself; half precision by its argument."""
    assert Machine.of({}) == Machine(UNRECORDED, UNRECORDED, (UNRECORDED,) * 4)
    assert Machine.of(RECORD).precision == "fp32"
    half = {**RECORD, "settings": {"arguments": {"fp16": True}}}
    assert Machine.of(half).precision == "fp16"
    assert Machine.of({**half, "machine": {"precision": "bf16"}}).precision == "bf16"
