"""20 versions of 20,000 facts: how long their history and their report take, how much memory, how large the page is.

Each in a process of its own, whose peak memory is the system's own count. Growth is measured by halves.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick.files import digest_of
from slick.knowledge import CATEGORIES
from slick.prompts import DEFAULT_FORM
from slick.runs import results_document, sample_row
from slick_reports.ledger import Entry, Ledger, Result

pytestmark = pytest.mark.bench

VERSIONS, FACTS = 20, 20_000
SECONDS, MEGABYTES, PAGE_BYTES = 20, 1_500, 2_000_000
# Twice the facts, or the versions, may cost so many times: linear, with something for a crowded machine.
GROWTH = 2.6

_MEASURE = """
import json, resource, sys, time
from pathlib import Path
start, used = time.perf_counter(), time.process_time()
if sys.argv[1] == "history":
    from slick_reports.history import build_history
    from slick_reports.history_output import write_history
    from slick_reports.ledger import Ledger
    with Ledger(sys.argv[2], create=False) as ledger:
        made = write_history(build_history(ledger), Path(sys.argv[3]))
else:
    from slick_reports.report import build_report, write_report
    made = write_report(build_report(sorted(Path(sys.argv[2]).iterdir())), Path(sys.argv[3]))
seconds, used = time.perf_counter() - start, time.process_time() - used
print(json.dumps({
    "seconds": round(seconds, 1),
    "processor_seconds": round(used, 1),
    "megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    "html_bytes": made[0].stat().st_size,
}))
"""


def measured(kind: str, source: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", _MEASURE, kind, str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def facts(n: int) -> list[Fact]:
    """Questions as long as EntityQuestions' are, of 24 relations, two of a subject."""
    return [
        Fact.create(
            f"In which country was the person called Subject Number {i} born?",
            [f"Country {i % 997}"],
            relation=f"P{i % 24}",
            subject=f"S{i // 2}",
            split="test",
        )
        for i in range(n)
    ]


def answers(facts: list[Fact], version: int) -> list[tuple[str, bool, int]]:
    """(answer, right, category's place): four facts in five as by their skill; half-way a tenth of them is lost."""
    rng = random.Random(version)
    found = []
    for i, fact in enumerate(facts):
        place = random.Random(i).randrange(4)
        chance = (0.97, 0.6, 0.2, 0.03)[place] - (0.06 if version >= 10 else 0.0)
        right = rng.random() < chance
        found.append((fact.answers[0] if right else f"Country {rng.randrange(997)} or so", right, place))
    return found


def fill_ledger(path: Path, n_facts: int, n_versions: int) -> Path:
    asked = facts(n_facts)
    with Ledger(path) as ledger:
        for version in range(n_versions):
            results = [
                Result(fact, int(right), place, answer=text)
                for fact, (text, right, place) in zip(asked, answers(asked, version), strict=True)
            ]
            at = f"2025-{1 + version // 20:02d}-{1 + version % 20:02d}T00:00:00"
            ledger.add([Entry(f"v{version}", at, "score", "score-1", {"model": {"name": f"m{version}"}}, results)])
    return path


def write_runs(root: Path, n_facts: int, n_versions: int) -> Path:
    """Score runs, the first of them the base model's, as `slick score` writes them."""
    asked = facts(n_facts)
    settings = {
        "form": DEFAULT_FORM,
        "matching": "strict",
        "max_gen_toks": 32,
        "chat": {"template": False, "system": ""},
    }
    for version in range(n_versions):
        run = root / f"v{version:02d}"
        run.mkdir(parents=True)
        rows = []
        for i, (fact, (text, right, place)) in enumerate(zip(asked, answers(asked, version), strict=True)):
            metrics = {"exact_match": float(right), "abstained": 0.0, "answer_prior": 0.0}
            row = sample_row(i, fact, [(fact.question, {})], [[text]], metrics)
            rows.append(json.dumps({**row, "category": str(CATEGORIES[place])}))
        name = f"v{version:02d}"
        model = {"name": name, "weights": digest_of(name), "adapter": None, "tokenizer": None, "chat_template": None}
        record = {"schema": 1, "kind": "score", "model": model, "settings": settings, "versions": {}, "backend": {}}
        document = results_document("closed_book", {"sample_len": n_facts}, {}, record, "2025-01-01T00:00:00", 0.0)
        (run / "results_2025.json").write_text(json.dumps(document), encoding="utf-8")
        (run / "samples_closed_book_2025.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def test_a_history_of_20_versions_of_20000_facts(
    tmp_path: Path, write_result: Callable[[str, dict[str, Any]], None]
) -> None:
    """And a report of as many runs: time, memory and page within their bars, growth linear in facts and in versions."""
    sizes = {
        "full": (FACTS, VERSIONS),
        "half the facts": (FACTS // 2, VERSIONS),
        "half the versions": (FACTS, VERSIONS // 2),
    }
    result: dict[str, Any] = {"versions": VERSIONS, "facts": FACTS}
    for kind, fill in (("history", fill_ledger), ("report", write_runs)):
        found = {}
        for i, (name, size) in enumerate(sizes.items()):
            found[name] = measured(kind, fill(tmp_path / f"{kind}-{i}", *size), tmp_path / f"{kind}-{i}.html")
        result[kind] = found
    write_result("report_scale", result)
    for kind in ("history", "report"):
        full = result[kind]["full"]
        assert full["html_bytes"] < PAGE_BYTES
        assert full["megabytes"] < MEGABYTES
        # One thread does it all: what others do on this machine is in the wall clock, and not in this.
        assert full["processor_seconds"] < SECONDS
        for name in ("half the facts", "half the versions"):
            assert full["processor_seconds"] < GROWTH * result[kind][name]["processor_seconds"]
