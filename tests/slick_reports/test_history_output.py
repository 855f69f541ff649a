"""A history in every format."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick_reports import history_export, history_output, wording
from slick_reports.history import build_history
from slick_reports.history_numbers import SCHEMA, Flipped, History
from slick_reports.ledger import Entry, Ledger, Result
from slick_reports.wording import percent, percent_interval, points, points_interval

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b `c` [d](javascript:e) @all",
    "right\u202eleft\x00\ud800",
    "x" * 100_000,
    "{{ 7 * 7 }}",
)


def fill(ledger: Ledger, texts: tuple[str, ...] = ("plain",), versions: int = 4) -> History:
    facts = [
        Fact.create(
            f"{texts[i % len(texts)]} {i}?", [f"A{i}", texts[i % len(texts)]], relation=texts[-1][:50] + str(i % 3)
        )
        for i in range(90)
    ]
    for v in range(versions):
        wrong = 5 if v < 2 else 40
        results = [
            Result(f, int(i >= wrong), min(3, i % 5) if i % 5 < 4 else -1, answer="y", prior=i % 3 // 2)
            for i, f in enumerate(facts)
        ]
        record = {"model": {"name": texts[0]}, "seed": None, "settings": {"form": texts[0]}, "source": texts[0]}
        ledger.add([Entry(f"v{v}", f"2025-01-0{v + 1}T00:00:00", "score", "score-1", record, results)])
    probe = [Result(f, 3, i % 4, 0.5 if i % 4 == 3 else float("nan")) for i, f in enumerate(facts)]
    ledger.add([Entry("v0", "2025-01-01T00:00:00", "probe", "probe-1", {}, probe)])
    return build_history(ledger, command="slick history show")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "l.sqlite")


@pytest.fixture
def history(ledger: Ledger) -> History:
    return fill(ledger)


def cells(text: str, region: str) -> list[list[str]]:
    """The texts of a table's body cells."""
    body = re.search(rf'aria-label="{region}">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body.group(1), re.DOTALL)
    return [
        [
            unescape(re.sub(r"<[^>]+>", "", cell.replace('<span class="under">', " ")))
            for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        ]
        for row in rows
    ]


def test_a_page_stays_below_two_megabytes(history: History) -> None:
    """20,000 facts that flipped over 20 versions, of the most expensive texts; what is left out is counted."""
    worst = ("<&" * 100, "\u202e" * 200, '"' * 200, "\U000e0041" * 200)

    def flipped(i: int) -> Flipped:
        text = worst[i % 4]
        fact = Fact(f"{i}{text}", "", f"{i}{text}", (text,) * 5, "", f"id {i}")
        return Flipped(fact, "Unknown", "10" * 10, 19, "lost", "v1")

    versions = tuple(replace(history.versions[0], name=f"v{i}", model=worst[i % 4]) for i in range(20))
    crowded = replace(history, versions=versions, flipped=tuple(map(flipped, range(20_000))))
    text = history_output.render_html(crowded)
    assert len(text.encode("utf-8", "backslashreplace")) < 2_000_000
    rows, left_out = history_output.embed_flipped(crowded)
    shown = json.loads(rows)["rows"]
    assert len(shown) > 0
    assert len(shown) + left_out == 20_000
    assert f"{left_out:,}" in text


def test_every_number_of_the_page_is_the_jsons(history: History) -> None:
    """Versions, steps and shares, read back from the page."""
    document = json.loads(history_output.render_json(history))
    text = history_output.render_html(history)

    def told(found: Any, value: Any, limits: Any) -> str:
        interval = type("I", (), found["interval"]) if found["interval"] else None
        return f"{value(found['value'])} {limits(interval)}"

    groups = ["all", "Known", "HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]
    assert cells(text, "Table of versions") == [
        [
            v["name"] + (" (baseline)" if v["baseline"] else "") + " " + v["at"][:10],
            f"{v['n']:,} 1 run",
            *(
                told(row["side"]["accuracy"], percent, percent_interval)
                for name in groups
                for row in v["groups"]
                if row["group"] == name
            ),
            percent(v["groups"][0]["side"]["abstained"]),
            f"{percent(v['groups'][0]['prior'])} Known {percent(v['groups'][1]['prior'])}",
        ]
        for v in document["versions"]
    ]
    for row, step in zip(cells(text, "Table of steps"), document["steps"], strict=True):
        assert row[:5] == [step["earlier"], step["later"], step["against"], step["group"], f"{step['n']:,}"]
        assert row[5] == told(step["estimate"], points, points_interval)
        assert row[6:9] == [*(wording.decimal(step[k]) for k in ("lost", "gained")), wording.chance(step["adjusted"])]
        assert bool(row[9]) is step["changed"]
        assert row[10] == step["noise"] == "facts"
    (row,) = cells(text, "Table of categories by version")
    shares = document["versions"][0]["shares"]["categories"]
    assert row[2:] == [told(s["share"], percent, percent_interval) for s in shares]
    data = json.loads(re.search(r'id="flipped-data"[^>]*>(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert len(data["rows"]) == len(document["flipped"]) == 35
    for (relation, question, accepted, path, flips, state, bad), flip in zip(
        data["rows"], document["flipped"], strict=True
    ):
        assert (data["relations"][relation], question) == (flip["fact"]["relation"], flip["fact"]["question"])
        assert accepted == "; ".join(flip["fact"]["answers"])
        assert (path, flips, data["states"][state]) == (flip["path"], flip["flips"], flip["state"])
        assert data["versions"][bad] == flip["first_bad"] == "v2"


def test_kind_and_schema_come_first(history: History) -> None:
    """A program knows at once what it reads."""
    text = history_output.render_json(history)
    assert history_output.JSON_MARK in text[:60]
    assert json.loads(text)["schema"] == SCHEMA


def test_the_page_marks_changes_baseline_and_flips_without_a_script(history: History) -> None:
    """And its policy allows its own style and script alone."""
    text = history_output.render_html(history)
    assert text.count("fell ▼") == sum(step.changed for step in history.steps) > 0
    assert "●●○○" in text
    assert history.noise in text
    assert "an even tie counts as wrong" in text
    assert "at equal distances, whatever their dates" in text
    assert "baseline: v0" in text
    assert "default-src 'none'; style-src 'sha256-" in text
    assert len(re.findall(r"<(?:script|style)>", text)) == 2


def test_the_markdown_says_the_same(history: History) -> None:
    """Versions, steps, categories, flipped facts."""
    text = history_output.render_markdown(history)
    for version in history.versions:
        accuracy = version.groups[0].side.accuracy
        assert f"| {version.name} | 2025-01-0" in text
        assert wording.estimate_percent(accuracy) in text
        assert f"| {' '.join(history_output.prior_told(version))} |" in text
    assert text.count("▼") == sum(step.changed for step in history.steps)
    assert history.noise in text
    assert "| facts |" in text
    assert "an even tie counts as wrong" in text
    assert "35 facts: 35 lost." in text
    assert "The first 30 are shown; 5 more stand in history.json." in text


def test_hostile_text_is_text_in_every_format(ledger: Ledger, tmp_path: Path) -> None:
    """Questions, answers, relations, model names and paths."""
    history = fill(ledger, HOSTILE)
    made = history_output.write_history(history, tmp_path / "h.html")
    html, markdown, plain = (path.read_text(encoding="utf-8") for path in made)
    assert html.lower().count("<script") == 2
    assert "<img" not in html
    assert "<script" not in markdown
    assert "y" * 300 not in html
    assert len(html) < 400_000
    assert not re.search("[\x00\u202e\ud800]", html + markdown)
    assert "49" not in re.findall(r"<td>([^<]*)\?</td>", html)
    document = json.loads(plain)
    assert any(flip["fact"]["question"].startswith(HOSTILE[0]) for flip in document["flipped"])
    trend = json.loads(history_export.trend(history))
    assert trend


def test_a_page_has_room_for_so_many_facts(history: History) -> None:
    """Lost ones first; the rest is counted."""
    text, left_out = history_output.embed_flipped(history, budget=500)
    assert len(json.loads(text)["rows"]) + left_out == 35
    assert left_out > 0


def test_a_warning_stands_on_top_of_page_and_markdown(history: History) -> None:
    """Beneath the headline, as text."""
    warned = replace(history, warnings=("“Known” is <b>odd</b>.",))
    page, markdown = history_output.render_html(warned), history_output.render_markdown(warned)
    assert "“Known” is &lt;b&gt;odd&lt;/b&gt;." in page[: page.index('id="time"')]
    assert "> **Warning:** “Known” is " in markdown[: markdown.index("## Versions")]
    assert "Warning" not in history_output.render_html(history)


def test_the_trend_is_what_the_actions_read(history: History) -> None:
    """A list of name, unit, value and range of the newest version; larger is better."""
    rows = json.loads(history_export.trend(history))
    first = history.versions[-1].groups[0].side.accuracy
    assert first is not None
    assert first.interval is not None
    assert rows[0] == {
        "name": "accuracy, all",
        "unit": "%",
        "value": pytest.approx(100 * first.value),
        "range": f"{100 * first.interval.low:.2f} to {100 * first.interval.high:.2f}",
        "extra": "v3, n = 90, series score-1",
    }
    assert [row["name"] for row in rows][1:] == [
        f"accuracy, {name}" for name in ("Known", "HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")
    ]


def test_the_trend_of_what_should_be_small(history: History) -> None:
    """Wrong answers, abstentions, facts lost since the baseline."""
    rows = {row["name"]: row for row in json.loads(history_export.trend(history, smaller=True))}
    assert rows["wrong answers, all"]["value"] == pytest.approx(100 * 40 / 90)
    low, high = map(float, rows["wrong answers, all"]["range"].split(" to "))
    assert low < 100 * 40 / 90 < high
    assert rows["abstained, all"]["value"] == 0
    assert (rows["facts lost since v0"]["value"], rows["facts lost since v0"]["unit"]) == (35, "facts")


def test_parquet_holds_every_result(ledger: Ledger, history: History, tmp_path: Path) -> None:
    """A row a run and fact; what was not asked is null."""
    assert history_export.write_parquet(ledger, tmp_path / "x.parquet") == 450
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert len(rows) == 450
    first = next(row for row in rows if row["kind"] == "score")
    assert (first["version"], first["question"], first["right"], first["answer"]) == ("v0", "plain 0?", False, "y")
    assert first["answers"] == ["A0", "plain"]
    assert [row["answer_prior"] for row in rows[:3]] == [False, False, True]
    probed = [row for row in rows if row["kind"] == "probe"]
    assert {row["right"] for row in probed} == {row["answer_prior"] for row in probed} == {None}
    assert {row["unknown"] for row in probed} == {None, 0.5}


def test_a_strangers_file_is_not_replaced(history: History, tmp_path: Path) -> None:
    """Nothing is written then."""
    (tmp_path / "h.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is no report of slick"):
        history_output.write_history(history, tmp_path / "h.html")
    assert not (tmp_path / "h.html").exists()
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        history_output.write_history(history, tmp_path / "h.md")
    (tmp_path / "d.html").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        history_output.write_history(history, tmp_path / "d.html")
