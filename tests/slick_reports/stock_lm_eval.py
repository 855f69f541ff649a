"""Makes runs of stock lm_eval: its own nq_open and triviaqa over made-up data, its own evaluator and its own tracker.

Run as `python stock_lm_eval.py OUT WRONG`: the facts at the places WRONG ("0,3") are answered wrongly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

BUILT_IN = {"nq_open": "nq_open/nq_open.yaml", "triviaqa": "triviaqa/default.yaml"}
N = 12


class Answers(LM):  # type: ignore[misc]  # lm_eval is untyped
    """Knows the number in the question, but for some."""

    def __init__(self, wrong: set[int]) -> None:
        super().__init__()
        self.wrong = wrong

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        numbers = [int(request.args[0].rpartition("number ")[2].partition("?")[0]) for request in requests]
        return [f" {'Wrong' if number in self.wrong else 'Answer'} {number}" for number in numbers]


def main(out: Path, wrong: set[int]) -> None:
    out.mkdir(parents=True)
    docs: dict[str, list[dict[str, Any]]] = {
        "nq_open": [
            {"question": f"what is number {i}", "answer": [f"Answer {i}", f"The answer {i}!"]} for i in range(N)
        ],
        "triviaqa": [
            {"question": f"name number {i}", "answer": {"value": f"Answer {i}", "aliases": [f"Answer {i}", f"A. {i}"]}}
            for i in range(N)
        ],
    }
    tasks = out / "tasks"
    tasks.mkdir()
    for name, yaml in BUILT_IN.items():
        data = tasks / f"{name}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in docs[name]), encoding="utf-8")
        built_in = Path(lm_eval.__file__).parent / "tasks" / yaml
        (tasks / f"{name}.yaml").write_text(
            f"include: {built_in}\ntask: {name}\ndataset_path: json\ndataset_name: null\ntraining_split: validation\n"
            f"dataset_kwargs:\n  data_files:\n    validation: {data}\n",
            encoding="utf-8",
        )
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    results = simple_evaluate(Answers(wrong), tasks=list(BUILT_IN), task_manager=manager, bootstrap_iters=0)
    samples = results.pop("samples")
    tracker = EvaluationTracker(output_path=str(out))
    tracker.save_results_aggregated(results=results, samples=samples)
    for name, of in samples.items():
        tracker.save_results_samples(task_name=name, samples=of)


if __name__ == "__main__":
    main(Path(sys.argv[1]), {int(place) for place in sys.argv[2].split(",") if place})
