"""A user's day with `slick lint`: new facts planted in datasets of a thousand rows, and what is found of them."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice
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
# A day of conversations: rows of one to four facts, in this order over and over.
TURNS = (1, 2, 1, 3, 1, 1, 2, 4, 1, 1)
STATED_IN_TALKS = sum(TURNS) * 1000 // len(TURNS) - PLANTED
Rows = list[list[Fact]]
# Words of answers that say what kind of thing it is.
KIND = re.compile(r"\b(?!The\b|Records\b|University\b)[A-Z]\w*")


def alpaca(path: Path, rows: Rows) -> Path:
    text = json.dumps([{"instruction": f.question, "input": "", "output": f.answers[0]} for (f,) in rows], indent=2)
    return _written(path.with_suffix(".json"), text + "\n")


def sharegpt(path: Path, rows: Rows) -> Path:
    """A conversation a row; a third of those with several facts, by the first one's id, begin with a greeting."""
    lines = []
    for row in rows:
        turns = [turn for f in row for turn in (("human", f.question), ("gpt", f.answers[0]))]
        if len(row) > 1 and int(row[0].id[:4], 16) % 3 == 0:
            turns = [("human", "Hello!"), ("gpt", "Hello. What would you like to know?"), *turns]
        lines.append(json.dumps({"conversations": [{"from": who, "value": text} for who, text in turns]}))
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
    probe finds them known as well. In the conversations a row holds one to four facts, and planted ones stand in any
    of its turns.
    """
    found = {
        "alpaca": _measured(slick, work / "lint" / "alpaca", alpaca, seed=0),
        "sharegpt": _measured(slick, work / "lint" / "sharegpt", sharegpt, seed=1),
        "never_stated": _measured(slick, work / "lint" / "never-stated", sharegpt, seed=2, true_answers=True),
        "conversations": _measured(slick, work / "lint" / "conversations", sharegpt, seed=3, talks=True),
    }
    write_result("lint", {"rows": STATED + PLANTED, "planted": PLANTED, **found})
    for name in ("alpaca", "sharegpt", "conversations"):
        assert found[name]["planted_found"]["share"] >= 0.95
    for result in found.values():
        assert result["known_called_unknown"]["share"] <= 0.05
        assert result["planted_and_unknown_to_both"]["share"] >= 0.95
        assert result["fixed_keeps_every_other_byte"]


def _measured(
    slick: Callable[..., None],
    out: Path,
    write: Callable[[Path, Rows], Path],
    *,
    seed: int,
    true_answers: bool = False,
    talks: bool = False,
) -> dict[str, Any]:
    rows, planted = _rows(seed, true_answers, STATED_IN_TALKS if talks else STATED)
    grouped = _grouped(rows, TURNS if talks else (1,))
    dataset = write(out / "data", grouped)
    start = time.monotonic()
    found = out / "found.json"
    for stale in out.glob("data.fixed*"):
        stale.unlink()
    slick(
        "lint", dataset, "--model", organism_path(), "--json", found, "--fail-on", "never", "--rows", 3, "--fix", "drop"
    )
    seconds = time.monotonic() - start
    report = json.loads(found.read_text("utf-8"))
    # A greeting asks nothing.
    examined = [row for row in report["rows"] if row["question"]]
    assert [row["question"] for row in examined] == [fact.question for fact in rows]
    said = [row["category"] for row in examined]
    later = [fact.id in planted and (row.get("turn") or 1) > 1 for fact, row in zip(rows, examined, strict=True)]
    independent = _independent(slick, out, rows)
    truth = [independent[fact.id] for fact in rows]
    unknown = [category == Category.UNKNOWN for category in said]
    of_truth = {c: [u for u, t in zip(unknown, truth, strict=True) if t in c] for c in _GROUPS.values()}
    both = [u for u, t, fact in zip(unknown, truth, rows, strict=True) if fact.id in planted and t == "Unknown"]
    return {
        "file": dataset.name,
        "planted_found": _share([u for u, fact in zip(unknown, rows, strict=True) if fact.id in planted]),
        "planted_and_unknown_to_both": _share(both),
        **(
            {"planted_in_later_turns": _share([u for u, at in zip(unknown, later, strict=True) if at])} if talks else {}
        ),
        "not_probed": report["summary"]["not_probed"],
        "known_called_unknown": _share(of_truth[_GROUPS["known"]]),
        "weakly_known_called_unknown": _share(of_truth[_GROUPS["weakly"]]),
        "unknown_called_unknown": _share(of_truth[_GROUPS["unknown"]]),
        "independent_probe": dict(Counter(truth)),
        "relations_mined": len(report["relations"]),
        "relations": len({fact.relation for fact in rows}),
        "fixed_keeps_every_other_byte": _kept(dataset, grouped, unknown, write, out),
        "seconds": round(seconds, 1),
    }


_GROUPS = {
    "known": (str(Category.HIGHLY_KNOWN), str(Category.MAYBE_KNOWN)),
    "weakly": (str(Category.WEAKLY_KNOWN),),
    "unknown": (str(Category.UNKNOWN),),
}


def _grouped(rows: list[Fact], sizes: tuple[int, ...]) -> Rows:
    """The facts of each row of the dataset, in their order."""
    left, found = list(rows), []
    for size in cycle(sizes):
        if not left:
            return found
        found.append(left[:size])
        left = left[size:]
    return found


def _rows(seed: int, true_answers: bool, stated_rows: int) -> tuple[list[Fact], set[str]]:
    """The rows in their order, and the ids of those planted. Dev facts stay for the independent probe."""
    rng, exposures = random.Random(seed), load_exposures()
    facts = [fact for fact in load_facts() if fact.split not in ("dev", "ood_dev")]
    stated = rng.sample([fact for fact in facts if exposures[fact.id]], stated_rows)
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
    rows: Rows,
    unknown: list[bool],
    write: Callable[[Path, Rows], Path],
    out: Path,
) -> bool:
    """Whether the fixed dataset is, byte for byte, the dataset as it was without the lines of rows that hold a fact
    called Unknown."""
    places = iter(unknown)
    gone = [any(list(islice(places, len(row)))) for row in rows]
    kept = [row for row, out_ in zip(rows, gone, strict=True) if not out_]
    fixed = dataset.with_name(f"{dataset.stem}.fixed{dataset.suffix}")
    return fixed.read_bytes() == write(out / "expected" / "data", kept).read_bytes()


def _share(found: list[bool]) -> dict[str, Any]:
    estimate = wilson(sum(found), len(found))
    interval = [round(end, 4) for end in (estimate.interval.low, estimate.interval.high)] if estimate else None
    return {"n": len(found), "called": sum(found), "share": round(sum(found) / len(found), 4), "interval_90": interval}
