"""Tests of the gate on runs that stock lm_eval wrote, with nothing of slick in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slick.errors import InputError
from slick.verdict import Outcome
from slick_sft.gate.arms import read_pair
from slick_sft.gate.decide import decide
from slick_sft.gate.policy import policy_of

STOCK = Path(__file__).resolve().parents[2] / "slick_reports" / "stock_lm_eval.py"


def test_runs_of_lm_eval_alone_are_judged(tmp_path: Path) -> None:
    """Paired by their questions, as all facts; what such runs do not record is said, and a group is not made up."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    for name, wrong in (("old", ""), ("new", ",".join(map(str, range(11))))):
        subprocess.run(
            [sys.executable, str(STOCK), str(tmp_path / name), wrong], env=env, cwd=tmp_path, check=True, timeout=600
        )
    pair = read_pair([tmp_path / "new"], [tmp_path / "old"])
    report = decide(pair, policy_of({"margins": {"all": 5}}, "x"), control="old")
    assert report.outcome is Outcome.FAIL
    assert report.facts == 24
    assert any("no fingerprint" in note for note in report.notes)
    assert any("how it was trained" in note for note in report.notes)
    against_base = decide(pair, policy_of({"margins": {"all": 5}, "control": "base"}, "x"))
    assert any("could not be verified" in note for note in against_base.notes)
    with pytest.raises(InputError, match="--knowledge PROBE"):
        decide(pair, policy_of({"margins": {"Known": 5}}, "x"))
