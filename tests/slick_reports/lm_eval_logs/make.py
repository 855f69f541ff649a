"""Makes one run of the lm_eval that stands first on PYTHONPATH; see README.md.

Run as `python make.py MODEL SAMPLES`: MODEL is "before" or "after", SAMPLES is 1 for --log_samples, else 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers.utils import import_utils

# lm_eval up to 0.4.9.1 asks transformers for a class that version 5 has no more; nothing here uses it.
_found = import_utils._LazyModule.__getattr__
import_utils._LazyModule.__getattr__ = lambda self, name: (  # type: ignore[method-assign]
    object if name == "AutoModelForVision2Seq" else _found(self, name)
)

import lm_eval  # noqa: E402
import lm_eval.models  # noqa: E402
from lm_eval.api.model import LM  # noqa: E402
from lm_eval.api.registry import register_model  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

WRONG = {"before": {0}, "after": {1, 2}}
N = 4
BUILT_IN = {"nq_open": "nq_open/nq_open.yaml", "triviaqa": "triviaqa/default.yaml"}


@register_model("answers")
class Answers(LM):  # type: ignore[misc]  # lm_eval is untyped
    """Knows the number in the question, but for some."""

    def __init__(self, pretrained: str = "", **_: object) -> None:
        super().__init__()
        self.wrong = WRONG[pretrained]

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Any = None) -> Answers:
        return cls(**dict(item.split("=") for item in arg_string.split(",")))

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, str], additional_config: Any = None) -> Answers:
        return cls(**arg_dict)

    def loglikelihood(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        numbers = [int(request.args[0].rpartition("number ")[2].partition("?")[0]) for request in requests]
        return [f" {'Wrong' if number in self.wrong else 'Answer'} {number}" for number in numbers]


def write_tasks() -> None:
    """The built-in tasks over data beside them; relative paths, so that none of the machine gets into a log."""
    docs: dict[str, list[dict[str, Any]]] = {
        "nq_open": [
            {"question": f"what is number {i}", "answer": [f"Answer {i}", f"The answer {i}!"]} for i in range(N)
        ],
        "triviaqa": [
            {"question": f"name number {i}", "answer": {"value": f"Answer {i}", "aliases": [f"Answer {i}", f"A. {i}"]}}
            for i in range(N)
        ],
    }
    Path("tasks").mkdir(exist_ok=True)
    for name, yaml in BUILT_IN.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs[name]), encoding="utf-8")
        Path(f"tasks/{name}.yaml").write_text(
            f"include: {Path(lm_eval.__file__).parent / 'tasks' / yaml}\ntask: {name}\ndataset_path: json\n"
            "dataset_name: null\ntraining_split: validation\n"
            f"dataset_kwargs:\n  data_files:\n    validation: {name}.jsonl\n",
            encoding="utf-8",
        )


def main(model: str, samples: str) -> None:
    write_tasks()
    whole = TaskManager.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        # Reading thousands of built-in tasks takes ten seconds and leaves no trace in a log.
        whole(self, *args, **{**kwargs, "include_defaults": False})

    TaskManager.__init__ = init
    sys.argv = ["lm_eval", "--model", "answers", "--model_args", f"pretrained={model}", "--tasks", ",".join(BUILT_IN)]
    sys.argv += ["--include_path", "tasks", "--output_path", f"out/{model}-{samples}"]
    sys.argv += ["--log_samples"] if samples == "1" else []
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main(*sys.argv[1:])
