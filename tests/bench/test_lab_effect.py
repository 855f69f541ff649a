"""Fine-tuning on Unknown facts costs what the organism knew: three arms, three seeds, all lab test facts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slick.knowledge import Category
from slick.statistics import Estimate
from slick_reports.report import build_report
from slick_sft.demo import Tune
from slick_tasks.lab import data_path

pytestmark = pytest.mark.bench

SEEDS = (0, 1, 2)
ARMS = {"known-only": 0.0, "unknown-50": 0.5, "unknown-100": 1.0}
TUNE = Tune(steps=300, learning_rate=1e-4)


def as_dict(estimate: Estimate | None) -> dict[str, object] | None:
    if estimate is None or estimate.interval is None:
        return None
    interval = [round(estimate.interval.low, 4), round(estimate.interval.high, 4)]
    return {"value": round(estimate.value, 4), "interval_90": interval, "n": estimate.n, "method": estimate.method}


def test_unknown_rows_cost_known_facts(
    slick: Callable[..., None],
    work: Path,
    reports: Path,
    write_result: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The share of HighlyKnown test facts still answered falls from Known-only to all-Unknown, intervals apart."""
    base = Path("lab-effect")
    # A copy under a relative path, so that the committed report names no place on this machine.
    monkeypatch.chdir(work)
    model = Path("lab/organism")
    shutil.copytree(data_path(), "lab", dirs_exist_ok=True)
    slick("probe", "--model", model, "--facts", "lab", "--split", "test", "--batch-size", 256, "--out", base / "test")
    slick("score", "--model", model, "--knowledge", base / "test", "--out", base / "before")
    runs = [base / "before"]
    for name, unknown in ARMS.items():
        for seed in SEEDS:
            run = base / f"{name}-{seed}"
            knowledge = model.parent / "knowledge_train.parquet"
            if not Path(f"{run}-data").is_dir():
                slick("mix", "--knowledge", knowledge, "--unknown", unknown, "--seed", seed, "--out", f"{run}-data")
            slick(
                *("tune", "--model", model, "--data", f"{run}-data", "--out", f"{run}-tuned", "--seed", seed),
                *("--learning-rate", TUNE.learning_rate, "--batch-size", TUNE.batch_size, "--max-steps", TUNE.steps),
            )
            slick("score", "--model", f"{run}-tuned/model", "--knowledge", base / "test", "--out", f"{run}-score")
            runs.append(Path(f"{run}-score"))
    slick("report", *runs, "--knowledge", base / "test", "--out", "lab.html")
    for name in ("lab.html", "lab.md"):
        shutil.copyfile(name, reports / "examples" / name)
    report = build_report(runs, knowledge=base / "test")
    arms = {arm.label: arm for arm in report.arms}
    groups = {name: arms[name].group(str(Category.HIGHLY_KNOWN)) for name in ARMS}
    write_result(
        "lab_effect",
        {
            "what": "share of HighlyKnown lab test facts still answered, zero-shot in the training form",
            "seeds": len(SEEDS),
            "steps": TUNE.steps,
            "learning_rate": TUNE.learning_rate,
            "arms": {
                n: {"after": as_dict(g.after.accuracy), "change": as_dict(g.change.estimate)} for n, g in groups.items()
            },
        },
    )
    known, unknown = (groups[name].after.accuracy for name in ("known-only", "unknown-100"))
    assert unknown.interval.high < known.interval.low
