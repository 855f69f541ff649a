"""`lm_eval --tasks slick_entityq` and `slick probe` agree on an organism grown from EntityQuestions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slick.backend import load_backend
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.knowledge import category_counts
from slick.knowledge_file import read_knowledge
from slick.probe import Probe, run_probe
from slick.reader import read_facts
from slick.runs import read_run, read_samples
from slick_tasks.agreement import compare_rows, smallest_gap

pytestmark = pytest.mark.bench

GROWN_ON = 1000
PER_RELATION = 8
# Logits nearer than this are a tie that another batch may break the other way (float32 on a CPU).
NUMERIC_TIE = 1e-3


def test_the_task_and_the_probe_agree(
    slick: Callable[..., None], work: Path, shared: Path, write_result: Callable[..., None]
) -> None:
    """Greedy answers are equal but for listed near-ties; P_Correct(T>0) differs within binomial noise."""
    data, out = shared / "data/entityquestions", work / "entityq-agreement"
    if not (out / "lab").is_dir():
        slick(
            "lab", "build", "--facts", data, "--split", "test", "--limit", GROWN_ON, "--seed", 0, "--out", out / "lab"
        )
    model = out / "lab" / "organism"
    if not (out / "lm_eval").is_dir():
        _lm_eval(model, data, out / "lm_eval")
    task = read_run(out / "lm_eval")
    rows = [row for file in task.samples.values() for row in read_samples(file)]
    facts = [Fact.from_dict(row["doc"]) for row in rows]
    pools = exemplar_pools(read_facts(data), facts, seed=0)
    backend = load_backend("hf", str(model), batch_size=64)
    probe = run_probe(Probe(facts, pools, {}, all_samples=True), backend, out / "probe")
    probed = [row for file in probe.samples.values() for row in read_samples(file)]
    agreement = compare_rows(rows, probed)
    gaps = [smallest_gap(backend.lm, d.prompt, d) for d in agreement.different]
    here, there = (read_knowledge(path).knowledge for path in (out / "probe", out / "lm_eval"))
    p_greedy = {k.fact.id: k.p_greedy for k in there}
    write_result(
        "entityq_agreement",
        {
            "grown_on_facts": GROWN_ON,
            "facts": agreement.facts,
            "greedy_answers": agreement.greedy,
            "greedy_answers_that_differ": len(agreement.different),
            "largest_gap_of_those_in_logits": max(gaps, default=None),
            "facts_whose_p_greedy_differs": sum(k.p_greedy != p_greedy[k.fact.id] for k in here),
            "sampled_prompts_that_can_tell": agreement.sampled,
            "sampling_bias_in_standard_errors": round(agreement.bias, 2),
            "sampling_dispersion_in_standard_errors": round(agreement.dispersion, 2),
            "categories": {str(c): n for c, n in category_counts(here).items()},
        },
    )
    assert all(gap < NUMERIC_TIE for gap in gaps)
    assert agreement.sampling_agrees()


def _lm_eval(model: Path, data: Path, out: Path) -> None:
    """The command word for word, with a subset of each relation and the samples logged."""
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("lm_eval")), "--model", "hf", "--model_args", f"pretrained={model}"),
            *("--tasks", "slick_entityq", "--metadata", f"per_relation={PER_RELATION}", "--batch_size", "64"),
            *("--log_samples", "--output_path", str(out)),
        ],
        env={**os.environ, "SLICK_ENTITYQUESTIONS": str(data)},
        check=True,
    )
