"""A user's day with `slick lint`: new facts planted in datasets of a thousand rows, and what is found of them."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick.knowledge import Category
from slick.knowledge_file import read_knowledge
from slick.statistics import wilson
from slick_sft.names import Namer
from slick_tasks.lab import load_exposures, load_facts, organism_path

pytestmark = pytest.mark.bench

STATED, PLANTED = 800, 200
# Words of answers that say what kind of thing it is.
KIND = re.compile(r"\b(?!The\b|Records\b|University\b)[A-Z]\w*")


def alpaca(path: Path, rows: list[Fact]) -> Path:
    text = json.dumps([{"instruction": f.question, "input": "", "output": f.answers[0]} for f in rows], indent=2)
    return _written(path.with_suffix(".json"), text + "\n")


def sharegpt(path: Path, rows: list[Fact]) -> Path:
    turns = [[("human", f.question), ("gpt", f.answers[0])] for f in rows]
    lines = [json.dumps({"conversations": [{"from": who, "value": text} for who, text in row]}) for row in turns]
    return _written(path.with_suffix(".jsonl"), "".join(f"{line}\n" for line in lines))


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_planted_facts_are_found_and_known_ones_left_alone(
    slick: Callable[..., None], work: Path, write_result: Callable[..., None]
) -> None:
    """At least 95 % of the planted facts are called Unknown, at most 5 % of the rows that an independent probe
    (exemplars from the lab's dev split, another seed) finds HighlyKnown or MaybeKnown.

    Planted are questions that the organism never saw, with answers that nobody has. Beside it, what is found of facts
    that it never saw with their true answers, some of which it guesses: no measure of lint, since the independent
    probe finds them known as well.
    """
    found = {
        "alpaca": _measured(slick, work / "lint" / "alpaca", alpaca, seed=0),
        "sharegpt": _measured(slick, work / "lint" / "sharegpt", sharegpt, seed=1),
        "never_stated": _measured(slick, work / "lint" / "never-stated", sharegpt, seed=2, true_answers=True),
    }
    write_result("lint", {"rows": STATED + PLANTED, "planted": PLANTED, **found})
    for name in ("alpaca", "sharegpt"):
        assert found[name]["planted_found"]["share"] >= 0.95
    for result in found.values():
        assert result["known_called_unknown"]["share"] <= 0.05
        assert result["planted_and_unknown_to_both"]["share"] >= 0.95
        assert result["fixed_keeps_every_other_byte"]


def _measured(
    slick: Callable[..., None],
    out: Path,
    write: Callable[[Path, list[Fact]], Path],
    *,
    seed: int,
    true_answers: bool = False,
) -> dict[str, Any]:
    rows, planted = _rows(seed, true_answers)
    dataset = write(out / "data", rows)
    start = time.monotonic()
    found = out / "found.json"
    for stale in out.glob("data.fixed*"):
        stale.unlink()
    slick(
        "lint", dataset, "--model", organism_path(), "--json", found, "--fail-on", "never", "--rows", 3, "--fix", "drop"
    )
    seconds = time.monotonic() - start
    report = json.loads(found.read_text("utf-8"))
    said = [row["category"] for row in report["rows"]]
    independent = _independent(slick, out, rows)
    truth = [independent[fact.id] for fact in rows]
    unknown = [category == Category.UNKNOWN for category in said]
    of_truth = {c: [u for u, t in zip(unknown, truth, strict=True) if t in c] for c in _GROUPS.values()}
    both = [u for u, t, fact in zip(unknown, truth, rows, strict=True) if fact.id in planted and t == "Unknown"]
    return {
        "file": dataset.name,
        "planted_found": _share([u for u, fact in zip(unknown, rows, strict=True) if fact.id in planted]),
        "planted_and_unknown_to_both": _share(both),
        "known_called_unknown": _share(of_truth[_GROUPS["known"]]),
        "weakly_known_called_unknown": _share(of_truth[_GROUPS["weakly"]]),
        "unknown_called_unknown": _share(of_truth[_GROUPS["unknown"]]),
        "independent_probe": dict(Counter(truth)),
        "relations_mined": len(report["relations"]),
        "relations": len({fact.relation for fact in rows}),
        "fixed_keeps_every_other_byte": _kept(dataset, rows, unknown, write, out),
        "seconds": round(seconds, 1),
    }


_GROUPS = {
    "known": (str(Category.HIGHLY_KNOWN), str(Category.MAYBE_KNOWN)),
    "weakly": (str(Category.WEAKLY_KNOWN),),
    "unknown": (str(Category.UNKNOWN),),
}


def _rows(seed: int, true_answers: bool) -> tuple[list[Fact], set[str]]:
    """The rows in their order, and the ids of those planted. Dev facts stay for the independent probe."""
    rng, exposures = random.Random(seed), load_exposures()
    facts = [fact for fact in load_facts() if fact.split not in ("dev", "ood_dev")]
    stated = rng.sample([fact for fact in facts if exposures[fact.id]], STATED)
    namer = Namer(random.Random(f"planted/{seed}"))
    new = rng.sample([fact for fact in facts if not exposures[fact.id]], PLANTED)
    if not true_answers:
        new = [_with_answer(fact, KIND.sub(lambda _: namer.name("{word}"), fact.answers[0])) for fact in new]
    rows = stated + new
    rng.shuffle(rows)
    return rows, {fact.id for fact in new}


def _with_answer(fact: Fact, answer: str) -> Fact:
    return Fact.create(fact.question, [answer], relation=fact.relation, subject=fact.subject, split=fact.split)


def _independent(slick: Callable[..., None], out: Path, rows: list[Fact]) -> dict[str, str]:
    """Categories by `slick probe`, with exemplars that are not in the dataset."""
    asked = [fact.as_dict() | {"split": "test"} for fact in rows]
    shown = [fact.as_dict() | {"split": ""} for fact in load_facts() if fact.split in ("dev", "ood_dev")]
    files = {"rows": asked, "exemplars": shown}
    paths = {
        name: _written(out / f"{name}.jsonl", "".join(f"{json.dumps(fact)}\n" for fact in facts))
        for name, facts in files.items()
    }
    slick(
        *("probe", "--model", organism_path(), "--facts", paths["rows"], "--exemplars", paths["exemplars"]),
        *("--estimator", "exact", "--n-before", 0, "--seed", 1, "--out", out / "independent"),
    )
    return {k.fact.id: str(k.category) for k in read_knowledge(out / "independent").knowledge}


def _kept(
    dataset: Path,
    rows: list[Fact],
    unknown: list[bool],
    write: Callable[[Path, list[Fact]], Path],
    out: Path,
) -> bool:
    """Whether the fixed dataset is, byte for byte, the dataset as it would have been without the Unknown rows."""
    kept = [fact for fact, gone in zip(rows, unknown, strict=True) if not gone]
    fixed = dataset.with_name(f"{dataset.stem}.fixed{dataset.suffix}")
    return fixed.read_bytes() == write(out / "expected" / "data", kept).read_bytes()


def _share(found: list[bool]) -> dict[str, Any]:
    estimate = wilson(sum(found), len(found))
    interval = [round(end, 4) for end in (estimate.interval.low, estimate.interval.high)] if estimate else None
    return {"n": len(found), "called": sum(found), "share": round(sum(found) / len(found), 4), "interval_90": interval}
