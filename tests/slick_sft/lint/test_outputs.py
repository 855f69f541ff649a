"""The report as JSON, as SARIF, as GitHub annotations and as a table: the same findings, and nothing that runs away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick_sft.lint.annotations import annotate, command
from slick_sft.lint.findings import RULES
from slick_sft.lint.report import Report
from slick_sft.lint.sarif import as_sarif
from slick_sft.lint.table import print_report

Write, Linted = Callable[..., Path], Callable[..., Report]

EVIL = "Where was %0A::error file=x::Bo\n](http://evil) [bold]\x1b[31m\u202e<script> born?"


def born(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


@pytest.fixture
def report(write: Write, linted: Linted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Report:
    """Six known facts, one of them answered in two ways, two unknown ones, an essay; linted from its own directory."""
    monkeypatch.chdir(tmp_path)
    essay = {"question": "Why?", "answer": "Because " * 30}
    rows = [*range(8), {"question": born(0), "answer": "Elsewhere"}, essay]
    (tmp_path / "a b,c:d").mkdir()
    return linted(write(rows, "a b,c:d/dätа.jsonl"), known={born(i): 1.0 for i in range(6)})


def test_the_json_document(report: Report) -> None:
    """Every row with its place, category, chances and findings; the summary; numbers that JSON can hold."""
    document = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert (document["kind"], document["schema"]) == ("slick lint", 2)
    path = "a b,c:d/dätа.jsonl"
    assert document["datasets"] == [
        {"path": path, "format": "JSON Lines", "rows": 10, "sha256": report.sources[0].digest}
    ]
    summary = document["summary"]
    assert (summary["rows"], summary["probed"], summary["facts"]) == (10, 9, 9)
    assert summary["not_probed"] == {"free": 1}
    assert summary["categories"] == {"HighlyKnown": 7, "MaybeKnown": 0, "WeaklyKnown": 0, "Unknown": 2}
    assert sum(summary["expected_shares"].values()) == pytest.approx(1)
    assert summary["findings"] == {"error": 2, "warning": 2, "note": 0}
    assert document["rows"][7] == {
        "path": path,
        "line": 8,
        "row": 8,
        "form": "question/answer",
        "not_probed": None,
        "relation": "Where was [X] born?",
        "subject": "bo7 ka7",
        "question": born(7),
        "answers": ["Town7"],
        "category": "Unknown",
        "p_greedy": 0.0,
        "p_sampled": 0.0,
        "u": 1.0,
        "flagged": False,
        "findings": ["unknown-fact"],
    }
    assert document["rows"][9]["not_probed"] == "free"
    assert document["rows"][9]["category"] is None
    assert document["relations"] == [{"relation": "Where was [X] born?", "facts": 9, "expected_unknown": 2.0}]
    conflict = document["findings"][0]
    assert (conflict["rule"], conflict["level"], conflict["line"]) == ("conflicting-answers", "error", 1)
    assert conflict["related"] == [{"path": path, "line": 9, "row": 9}]
    assert document["prediction"] == {
        "changes": [],
        "reason": "no study of this model, form and hyperparameters was given",
    }


# What the published schema of SARIF 2.1.0 requires of the objects that are written here, and what it allows them.
OBJECTS: dict[str, tuple[set[str], set[str]]] = {
    "log": ({"version", "runs"}, {"$schema"}),
    "run": ({"tool"}, {"artifacts", "columnKind", "invocations", "originalUriBaseIds", "results"}),
    "tool": ({"driver"}, set()),
    "driver": ({"name"}, {"version", "rules"}),
    "rule": ({"id"}, {"shortDescription", "fullDescription", "help", "defaultConfiguration"}),
    "result": (
        {"message"},
        {"ruleId", "ruleIndex", "level", "locations", "partialFingerprints", "properties", "relatedLocations"},
    ),
    "location": (set(), {"id", "message", "physicalLocation"}),
    "physicalLocation": (set(), {"artifactLocation", "region"}),
    "artifactLocation": (set(), {"uri", "uriBaseId"}),
    "invocation": ({"executionSuccessful"}, {"toolExecutionNotifications"}),
}
LEVELS = {"none", "note", "warning", "error"}


def check(kind: str, value: dict[str, Any]) -> None:
    required, optional = OBJECTS[kind]
    assert required <= set(value) <= required | optional, kind


def check_location(value: dict[str, Any]) -> None:
    check("location", value)
    physical = value["physicalLocation"]
    check("physicalLocation", physical)
    check("artifactLocation", physical["artifactLocation"])
    # A URI reference: nothing that would have to be escaped, and no way out.
    assert re.fullmatch(r"[A-Za-z0-9._~%/\-]+", physical["artifactLocation"]["uri"])
    assert not physical["artifactLocation"]["uri"].startswith("/")
    if "region" in physical:
        assert set(physical["region"]) == {"startLine"}
        assert physical["region"]["startLine"] >= 1
    if "id" in value:
        assert value["id"] >= 0
        assert value["message"]["text"]


def check_sarif(log: dict[str, Any]) -> None:
    """By hand, against the essentials of the published schema."""
    json.dumps(log, allow_nan=False)
    check("log", log)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    check("run", run)
    check("tool", run["tool"])
    check("driver", run["tool"]["driver"])
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        check("rule", rule)
        assert rule["defaultConfiguration"]["level"] in LEVELS
        assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
    for artifact in run["artifacts"]:
        check("artifactLocation", artifact["location"])
    for invocation in run["invocations"]:
        check("invocation", invocation)
        for said in invocation["toolExecutionNotifications"]:
            assert said["level"] in LEVELS
            assert said["message"]["text"]
    marks = [json.dumps(result["partialFingerprints"]) for result in run["results"]]
    assert len(set(marks)) == len(marks)
    for result in run["results"]:
        check("result", result)
        assert result["level"] in LEVELS
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert set(result["message"]) == {"text"}
        assert all(isinstance(mark, str) for mark in result["partialFingerprints"].values())
        for location in [*result["locations"], *result.get("relatedLocations", [])]:
            check_location(location)


def test_sarif_holds_to_its_schema(report: Report) -> None:
    """Required and allowed properties, levels, rule indices, relative URIs, unlike fingerprints."""
    log = as_sarif(report)
    check_sarif(log)
    (run,) = log["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["conflicting-answers"] * 2 + ["unknown-fact"] * 2
    place = run["results"][2]["locations"][0]["physicalLocation"]
    assert unquote(place["artifactLocation"]["uri"]) == "a b,c:d/dätа.jsonl"
    assert place["artifactLocation"]["uri"].startswith("a%20b%2Cc%3Ad/d%C3%A4t")
    assert place["region"] == {"startLine": 7}
    assert run["results"][0]["relatedLocations"][0]["physicalLocation"]["region"] == {"startLine": 9}
    said = run["invocations"][0]["toolExecutionNotifications"]
    assert said[0]["message"]["text"] == "1 rows were not probed: a long or free-form answer"


def test_a_fingerprint_does_not_move_with_its_row(write: Write, linted: Linted) -> None:
    """A line put in above changes no fingerprint; a row that stands twice has two."""

    def marks(rows: list[Any]) -> list[str]:
        log = as_sarif(linted(write(rows), known={born(i): 1.0 for i in range(6)}))
        results = log["runs"][0]["results"]
        return [r["partialFingerprints"]["slickLint/v1"] for r in results if r["ruleId"] == "unknown-fact"]

    assert marks([*range(8)]) == marks([{"question": "Why?", "answer": "so " * 30}, *range(8)])
    twice = marks([*range(8), 7])
    assert [mark.rsplit(":", 1)[1] for mark in twice] == ["1", "1", "2"]


def test_a_dataset_elsewhere_is_named_by_its_file(
    write: Write, linted: Linted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SARIF never holds an absolute path; inside a repository paths begin at its root."""
    file = write(range(8))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    log = as_sarif(linted(file))
    check_sarif(log)
    assert log["runs"][0]["artifacts"][0]["location"]["uri"] == "data.jsonl"
    assert str(tmp_path) not in json.dumps(log)
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    inner = write(range(8), "deep/data.jsonl")
    assert as_sarif(linted(inner))["runs"][0]["artifacts"][0]["location"]["uri"] == "deep/data.jsonl"


def test_rows_without_lines_have_no_region(linted: Linted, tmp_path: Path) -> None:
    """A Parquet file has rows only; the row's number stands in the message of an annotation."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": [born(i) for i in range(8)], "answer": ["x"] * 8}), tmp_path / "a.parquet")
    report = linted(tmp_path / "a.parquet")
    log = as_sarif(report)
    check_sarif(log)
    assert "region" not in log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert log["runs"][0]["results"][3]["properties"]["row"] == 3
    assert re.match(r"::warning file=[^,]+a\.parquet,title=[^,:]+::row 1: ", next(iter(annotate(report))))


def test_annotations_stand_at_the_row_s_file_and_line(report: Report) -> None:
    """The worst first; what is no finding is said in notices."""
    found = list(annotate(report))
    assert found[0].startswith(
        "::error file=a b%2Cc%3Ad/dätа.jsonl,line=1,title=The same question has different answers::“Where was Bo0 Ka0"
    )
    assert found[2].startswith("::warning file=a b%2Cc%3Ad/dätа.jsonl,line=7,title=The base model does not know")
    assert found[4] == "::notice title=slick lint::1 of 10 rows were not probed: a long or free-form answer"
    short = list(annotate(report, limit=1))
    assert short[1] == "::notice title=slick lint::3 more findings are not shown here"


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_text_ends_a_command(message: str, file: str, title: str) -> None:
    """Whatever it holds, a command is one line, and its properties are those that were given."""
    found = command("warning", message, file=f"f{file}", line=3, title=f"t{title}")
    # What GitHub's runner splits lines at.
    assert not re.search(r"[\r\n]", found)
    properties, text = found.removeprefix("::warning ").split("::", 1)
    names = [pair.split("=", 1)[0] for pair in properties.split(",")]
    assert names == ["file", "line", "title"]
    unescaped = properties.split(",")[0].removeprefix("file=")
    for escape, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        unescaped = unescaped.replace(escape, sign)
    assert unescaped == f"f{file}"
    assert "%" not in text.replace("%25", "").replace("%0A", "").replace("%0D", "")


def test_text_from_the_dataset_is_harmless_everywhere(
    write: Write, linted: Linted, capsys: pytest.CaptureFixture[str]
) -> None:
    """No control characters, no colours, no links, no workflow commands; the JSON file alone keeps the text whole."""
    question = EVIL.replace("\n", " ")
    rows = [*range(8), {"question": question, "answer": "a\x1b[31m](http://evil)"}]
    report = linted(write(rows))
    found = report.as_dict()["rows"][8]
    assert found["question"] == question
    assert found["category"] == "Unknown"
    log = as_sarif(report)
    check_sarif(log)
    texts = [result["message"]["text"] for result in log["runs"][0]["results"]]
    assert not any("](" in text for text in texts)
    print_report(report, 100)
    for line in annotate(report):
        print(line)
    shown = capsys.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", "".join(texts) + shown)
    assert "[bold]" in shown
    assert not any(line.lstrip().startswith("::error") for line in shown.splitlines())


def test_the_table(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    """Categories, what was not probed and why, relations, the worst findings as compilers write them."""
    print_report(report, 3)
    out = capsys.readouterr().out
    assert "9 of 10 rows state a short fact and were probed\n" in out
    assert re.search(r"Unknown\s+2\.0\s+22\.2\s+\[", out)
    assert re.search(r"a long or free-form answer\s+1\s*\n", out)
    assert "1 rows were not probed; nothing is said of what the model knows of them\n" in out
    assert re.search(r"Where was \[X\] born\?\s+9\s+2\.0\s+22\.2", out)
    assert "Findings: 2 errors, 2 warnings, 0 notes" in out
    assert "  a b,c:d/dätа.jsonl:7: warning: Unknown to the model: “Where was Bo6 Ka6 born?”" in out
    assert "[unknown-fact]" in out
    assert "1 more findings; --rows N shows more of them, --json FILE has all." in out
    assert "No prediction: no study of this model, form and hyperparameters was given." in out


def test_a_finding_in_a_conversation_names_its_turn(
    write: Write, linted: Linted, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every output; a row of several turns is one row, and each of its turns is counted."""
    texts = [born(0), "Town0", born(7), "Town7", born(1), "Town1"]
    talk = {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]}
    one = [
        {"messages": [{"role": "user", "content": born(i)}, {"role": "assistant", "content": f"Town{i}"}]}
        for i in range(5)
    ]
    report = linted(write([*one, talk]), known={born(i): 1.0 for i in range(6)})
    document = report.as_dict()
    assert (document["summary"]["rows"], document["summary"]["exchanges"], document["summary"]["probed"]) == (6, 8, 8)
    assert [row.get("turn") for row in document["rows"]] == [None] * 5 + [1, 2, 3]
    (found,) = (f for f in document["findings"] if f["rule"] == "unknown-fact")
    assert (found["row"], found["turn"]) == (6, 2)
    log = as_sarif(report)
    check_sarif(log)
    assert {"row": 6, "turn": 2} in [
        {k: v for k, v in result["properties"].items() if k in ("row", "turn")} for result in log["runs"][0]["results"]
    ]
    assert any("line=6" in line and "::turn 2: Unknown" in line for line in annotate(report))
    print_report(report, 9)
    out = capsys.readouterr().out
    assert "8 of 8 turns in 6 rows state a short fact and were probed\n" in out
    assert "data.jsonl:6 turn 2: warning: Unknown to the model: “Where was Bo7 Ka7 born?”" in out


def test_every_rule_can_be_told(report: Report) -> None:
    """The rules of the SARIF log are those of the code, in their order."""
    rules = as_sarif(report)["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
