"""`slick history` on the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.cli import run
from slick.errors import EXIT_INPUT, EXIT_PASS

if TYPE_CHECKING:
    from conftest import Lab


@pytest.fixture
def filled(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    """A ledger of a probe and three versions, the last of which lost 28 of 40 facts."""
    monkeypatch.chdir(lab.root)
    probe = lab.probe(skill={f.id: 0.97 for f in lab.facts})
    for day, (name, missed) in enumerate([("v1", 1), ("v2", 2), ("v3", 30)], 1):
        score = lab.score(name, lab.wrong_on(*range(missed)))
        others = [str(probe), "--baseline"] if day == 1 else []
        assert run(["history", "add", str(score), *others, "--version", name, "--date", f"2025-01-0{day}"]) == EXIT_PASS
    printed = capsys.readouterr()
    assert "v3: 40 facts as v3 in score-" in printed.out
    return lab


def test_list_names_every_run(filled: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """On lines of their own, the baseline marked."""
    assert run(["history", "list"]) == EXIT_PASS
    out = capsys.readouterr().out
    assert out.count("40 facts") == 4
    assert out.count("(baseline)") == 2
    assert "slick-history.sqlite: 4 runs" in out


def test_show_prints_a_table_and_writes_the_page(filled: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """With the command that makes it again."""
    assert run(["history", "show", "--out", "h.html", "--title", "Mine"]) == EXIT_PASS
    out = " ".join(capsys.readouterr().out.split())
    assert "CHANGED" in out
    assert "Every step sets one checkpoint against another" in out
    assert "…" not in out
    assert "it fell by 70.0 points" in out
    for suffix in (".html", ".md", ".json"):
        assert f"h{suffix}" in out
        assert Path("h.html").with_suffix(suffix).exists()
    document = json.loads(Path("h.json").read_text(encoding="utf-8"))
    assert document["title"] == "Mine"
    assert document["command"] == ("slick history show --ledger slick-history.sqlite --title Mine --out h.html")
    assert document["versions"][0]["shares"] is not None


def test_a_change_on_known_facts_alone_is_marked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the group that it is about; a ledger that recorded no answer priors says so."""
    from slick_reports.ledger import Entry, Ledger, Result

    monkeypatch.chdir(lab.root)
    monkeypatch.setenv("COLUMNS", "120")
    with Ledger("slick-history.sqlite") as ledger:
        for version, known, unknown in (("a", range(20), range(0)), ("b", range(0), range(20, 40))):
            right = {*known, *unknown}
            results = [Result(f, int(i in right), 0 if i < 20 else 3) for i, f in enumerate(lab.facts)]
            ledger.add([Entry(version, "2025-01-01", "score", "score-1", {"model": {"name": version}}, results)])
    assert run(["history", "show"]) == EXIT_PASS
    out = capsys.readouterr().out
    assert re.search(r"0\.0 +1\.000 +CHANGED *\n.*\[.*, .*\] +Known *\n", out)
    assert re.search(r" not .*\n.* recorded ", out)


def test_names_of_files_are_harmless_on_the_terminal(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's directory, the ledger, and what is written may be called anything."""
    monkeypatch.chdir(lab.root)
    odd = "od\x1b[31md\n"
    score = lab.score(odd)
    assert run(["history", "add", str(score), "--ledger", f"{odd}.sqlite"]) == EXIT_PASS
    assert run(["history", "list", "--ledger", f"{odd}.sqlite"]) == EXIT_PASS
    for verb, name in (("show", "a.html"), ("export", "b.json"), ("export", "c.parquet")):
        assert run(["history", verb, "--ledger", f"{odd}.sqlite", "--out", odd + name]) == EXIT_PASS
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("od\\x1b[31md\\n") >= 7


def test_export_writes_a_trend_or_parquet(filled: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """By the name's ending."""
    assert run(["history", "export", "--out", "t.json", "--smaller"]) == EXIT_PASS
    names = [row["name"] for row in json.loads(Path("t.json").read_text(encoding="utf-8"))]
    assert "facts lost since v1" in names
    assert run(["history", "export", "--out", "x.parquet"]) == EXIT_PASS
    assert "x.parquet: 160 rows" in capsys.readouterr().out


def test_a_run_that_is_there_already_is_said_to_be(filled: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """And changes nothing."""
    assert run(["history", "add", "v1"]) == EXIT_PASS
    assert "v1: is there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "--ledger", "none.sqlite"], "no such ledger"),
        (["list", "--ledger", "v1"], "is a directory"),
        (["add", "nowhere"], "nowhere: no such run directory"),
        (["add", "v1", "--date", "soon"], "expected ISO 8601"),
        (["show", "--out", "h.txt"], "expected a name that ends in .html"),
        (["show", "--series", "x"], "--series x: not in the ledger"),
        (["export", "--out", "x.csv"], "expected a name that ends in .parquet or .json"),
        (["export", "--out", "x.parquet", "--smaller"], "are for a .json"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    filled: Lab, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    """No traceback."""
    assert run(["history", *arguments]) == EXIT_INPUT
    printed = capsys.readouterr()
    assert told in " ".join(printed.err.split())
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("verb", ["add", "list", "show", "export"])
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each verb."""
    assert run(["history", verb, "--help"]) == EXIT_PASS
    assert f"slick history {verb}" in capsys.readouterr().out


def test_the_verbs_module_is_light() -> None:
    """`slick --help` imports it, so it imports nothing heavy."""
    code = (
        "import sys, slick_reports.history_cli; print([m for m in ('numpy', 'jinja2', 'sqlite3') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
