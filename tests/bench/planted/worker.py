"""A worker process that grows the bank: fine-tunes the organism once, and asks it the held-out facts.

Run by its path, and so without the modules beside it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slick_sft.study.worker import serve


def do(work: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    """One tuning, or with no "arguments" the organism itself. Which facts it answers rightly, in the facts' order."""
    started = time.process_time()
    with TemporaryDirectory(dir=out) as place:
        model = work["model"] if work["arguments"] is None else _tuned(work, Path(place) / "tuned")
        right = _right(work, model, Path(place) / "score")
    return {"right": right, "processor_s": time.process_time() - started}


def _tuned(work: Mapping[str, Any], out: Path) -> str:
    from slick_sft.arguments import sft_arguments
    from slick_sft.formats import read_training_set
    from slick_sft.train import MODEL, Tuning, tune

    arguments = sft_arguments(work["arguments"], settings=["save_strategy=no"])
    tune(Tuning(work["model"], read_training_set(work["data"]), arguments, device="cpu", watch=None), out)
    return str(out / MODEL)


def _right(work: Mapping[str, Any], model: str, out: Path) -> str:
    import numpy as np

    from slick.backend import load_backend
    from slick.reader import read_facts
    from slick.runs import read_samples
    from slick.score import Score, run_score

    facts = read_facts(work["facts"], split=work["split"])
    backend = load_backend("slick-hf", model, batch_size=work["batch_size"], device="cpu")
    run = run_score(Score(facts, {}, {}, form=work["form"], training={}), backend, out)
    rows = {row["doc"]["id"]: row["exact_match"] for row in read_samples(next(iter(run.samples.values())))}
    return np.packbits([bool(rows[fact.id]) for fact in facts]).tobytes().hex()


if __name__ == "__main__":
    serve(do)
