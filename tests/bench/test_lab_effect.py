"""What tuning does to what the organism knew, on all lab test facts: at first, and after Known or Unknown rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slick.knowledge import CATEGORIES, Category
from slick.statistics import Estimate
from slick_reports.numbers import KNOWN
from slick_reports.report import build_report
from slick_sft.demo import Tune
from slick_tasks.lab import data_path

pytestmark = pytest.mark.bench

SEEDS = (0, 1, 2)
ARMS = {"known-only": 0.0, "unknown-50": 0.5, "unknown-100": 1.0}
TUNE = Tune(steps=300, learning_rate=1e-4)
# A stop this early is what EARLY_STOP chooses: after one or two epochs at a gentle rate.
EARLY = (8, 16)
EARLY_RATE = 5e-5


def as_dict(estimate: Estimate | None) -> dict[str, object] | None:
    if estimate is None or estimate.interval is None:
        return None
    interval = [round(estimate.interval.low, 4), round(estimate.interval.high, 4)]
    return {"value": round(estimate.value, 4), "interval_90": interval, "n": estimate.n, "method": estimate.method}


BASE = Path("lab-effect")
MODEL = Path("lab/organism")


def _before(slick: Callable[..., None]) -> None:
    """The lab under a relative path, so that the committed report names no place on this machine; its base runs."""
    shutil.copytree(data_path(), MODEL.parent, dirs_exist_ok=True)
    slick("probe", "--model", MODEL, "--facts", "lab", "--split", "test", "--batch-size", 256, "--out", BASE / "test")
    slick("score", "--model", MODEL, "--knowledge", BASE / "test", "--out", BASE / "before")


def _tuned(slick: Callable[..., None], name: str, unknown: float, seed: int, steps: int, rate: float) -> Path:
    """The score of the organism after so many steps on a mix of the seed."""
    data, run = BASE / f"{name}-{seed}-data", BASE / f"{name}-{seed}-{steps}-{rate:g}"
    if not data.is_dir():
        knowledge = MODEL.parent / "knowledge_train.parquet"
        slick("mix", "--knowledge", knowledge, "--unknown", unknown, "--seed", seed, "--out", data)
    slick(
        *("tune", "--model", MODEL, "--data", data, "--out", f"{run}-tuned", "--seed", seed),
        *("--learning-rate", rate, "--batch-size", TUNE.batch_size, "--max-steps", steps),
    )
    slick("score", "--model", f"{run}-tuned/model", "--knowledge", BASE / "test", "--out", f"{run}-score")
    return Path(f"{run}-score")


def test_unknown_rows_cost_known_facts(
    slick: Callable[..., None],
    work: Path,
    write_result: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The share of HighlyKnown test facts still answered falls from Known-only to all-Unknown, intervals apart."""
    monkeypatch.chdir(work)
    _before(slick)
    runs = [BASE / "before"]
    for name, unknown in ARMS.items():
        for seed in SEEDS:
            runs.append(_tuned(slick, name, unknown, seed, TUNE.steps, TUNE.learning_rate))
    report = build_report(runs, knowledge=BASE / "test")
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


def test_known_rows_cost_nothing_at_first(
    slick: Callable[..., None], work: Path, write_result: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps on Known rows gain accuracy on Known test facts, so that stopping early is worth it."""
    monkeypatch.chdir(work)
    _before(slick)
    found = {}
    for steps in EARLY:
        scores = [_tuned(slick, "known-only", 0.0, seed, steps, EARLY_RATE) for seed in SEEDS]
        (arm,) = build_report([BASE / "before", *scores], knowledge=BASE / "test").arms
        groups = {name: arm.group(name) for name in (KNOWN, *map(str, CATEGORIES))}
        found[steps] = {
            name: {"after": as_dict(g.after.accuracy), "change": as_dict(g.change.estimate)}
            for name, g in groups.items()
        }
    write_result(
        "lab_early",
        {
            "what": "lab test facts answered after the first steps on Known rows, zero-shot in the training form",
            "seeds": len(SEEDS),
            "learning_rate": EARLY_RATE,
            "steps": found,
        },
    )
    assert any(of[KNOWN]["change"]["interval_90"][0] > 0 for of in found.values())
