"""How fast a page of 20,000 facts answers, in the browser; make bench writes reports/benchmarks/browser.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick_reports.report import build_report, write_report

from .pages import TESTS, neighbour
from .watched import Watched

pytestmark = pytest.mark.bench

Open = Callable[..., Watched]

FACTS = 20_000
# Script and layout of one act, in milliseconds; the first of each is left out, for it compiles.
_MEASURE = """
() => {
  const find = (text) => [...document.querySelectorAll("table.app thead button")].find((b) => b.textContent === text);
  const search = document.querySelector("input[type=search]");
  const type = (text) => { search.value = text; search.dispatchEvent(new Event("input")); };
  const choose = (id, value) => {
    const select = document.getElementById(`facts-data-${id}`);
    select.value = value; select.dispatchEvent(new Event("change"));
  };
  const next = [...document.querySelectorAll("button")].find((b) => b.textContent === "Next");
  const acts = {
    "search for a word": (i) => type(`number ${i}`),
    "search for nothing": () => type(""),
    "sort by question": () => find("question").click(),
    "sort by category": () => find("category").click(),
    "filter by category": (i) => choose("category", i % 4),
    "all categories": () => choose("category", ""),
    "next page": () => next.click(),
  };
  const found = {};
  for (const [name, act] of Object.entries(acts)) {
    const times = [];
    for (let i = 0; i < 8; i += 1) {
      const start = performance.now();
      act(i);
      document.body.getBoundingClientRect();
      times.push(performance.now() - start);
    }
    times.shift();
    times.sort((a, b) => a - b);
    found[name] = { median: times[3], least: times[0], most: times[6] };
  }
  const { loadEventEnd } = performance.getEntriesByType("navigation")[0];
  return { milliseconds: found, load: loadEventEnd };
}
"""


def test_search_sort_and_filter_of_20000_facts(opened: Open, tmp_path: Path) -> None:
    """Every act is done, and what it took is written down; nothing is asserted of the time."""
    runs = neighbour("bench/test_report_scale.py").write_runs(tmp_path / "runs", FACTS, 2)
    path = write_report(build_report(sorted(runs.iterdir())), tmp_path / "report.html")[0]
    watched = opened(path)
    measured: dict[str, Any] = watched.page.evaluate(_MEASURE)
    rows = int(watched.page.get_by_role("status").inner_text().split(" of ")[1].split()[0].replace(",", ""))
    assert rows > FACTS / 4
    result = {
        "facts": FACTS,
        "runs": 2,
        "rows": rows,
        "html_bytes": path.stat().st_size,
        "load_milliseconds": round(measured["load"]),
        "milliseconds": {
            name: {key: round(value, 1) for key, value in times.items()}
            for name, times in measured["milliseconds"].items()
        },
    }
    target = TESTS.parent / "reports" / "benchmarks" / "browser.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\n{json.dumps(result, indent=2)}")
