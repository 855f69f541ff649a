"""`slick report` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.cli import run
from slick.errors import EXIT_INCONCLUSIVE, EXIT_INPUT, EXIT_PASS, EXIT_QUALITY
from slick.facts import Fact
from slick_reports.ledger import Ledger

if TYPE_CHECKING:
    from conftest import Lab, Study


def test_it_writes_the_report_and_prints_headline_table_and_paths(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0, nothing on stderr."""
    out = tmp_path / "report.html"
    arguments = ["report", *map(str, study.runs), "--knowledge", str(study.probe), "--out", str(out)]
    assert run(arguments) == EXIT_PASS
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "HighlyKnown" in printed.out
    assert "Known facts: accuracy fell" in printed.out
    for suffix in (".html", ".md", ".json"):
        assert str(out.with_suffix(suffix)) in printed.out
        assert out.with_suffix(suffix).exists()


def test_the_names_of_what_is_written_are_harmless_on_the_terminal(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever they hold."""
    monkeypatch.chdir(lab.root)
    assert run(["report", str(lab.score("base")), str(lab.arm("a", 0)), "--out", "od\x1b[31md.html"]) == EXIT_PASS
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "od\\x1b[31md.html" in printed


def test_options_reach_the_report(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before, control, label, title and allowed mismatches."""
    base, a, b = lab.score("base"), lab.arm("a", 0), lab.arm("b", 0, max_gen_toks=8)
    out = tmp_path / "report.html"
    arguments = ["report", str(a), str(b), "--before", str(base), "--label", f"{a}=mine", "--control", "mine"]
    assert run([*arguments, "--title", "A title", "--allow-mismatch", "--out", str(out)]) == EXIT_PASS
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "# A title" in text
    assert "## mine (control)" in text
    assert "max\\_gen\\_toks" in text


def make(lab: Lab, name: str) -> None:
    """The run of that name, whole or spoiled; nothing for a word that names none."""
    if name == "a-0":
        lab.arm("a", 0)
    elif name == "long":
        lab.score(name, max_gen_toks=99)
    elif name == "probe":
        lab.probe(skill=dict.fromkeys((fact.id for fact in lab.facts), 1.0))
    elif name == "others":
        lab.score(name, facts=[Fact.create(f"Other {i}?", ["A"], relation="P17") for i in range(4)])
    elif name == "words.txt":
        (lab.root / name).write_text("words", encoding="utf-8")
    elif name in ("base", "future", "cut", "samples", "short"):
        made = lab.score(name)
        (results,), (samples,) = made.glob("results_*"), made.glob("samples_*")
        text = results.read_text(encoding="utf-8")
        if name == "future":
            results.write_text(text.replace('"schema": 1', '"schema": 2'), encoding="utf-8")
        elif name == "cut":
            results.write_text(text[: len(text) // 2], encoding="utf-8")
        elif name == "samples":
            results.unlink()
        elif name == "short":
            lines = samples.read_text(encoding="utf-8").splitlines(keepends=True)
            samples.write_text("".join(lines[:30]), encoding="utf-8")


def test_a_results_file_serves_as_its_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a report and in a ledger, under its directory's name; what is compared is the same."""
    monkeypatch.chdir(lab.root)
    lab.score("base")
    lab.score("tuned", lab.wrong_on(1, 2))
    files = [str(next(Path(name).glob("results_*"))) for name in ("base", "tuned")]
    assert run(["report", *files, "--out", "files.html"]) == EXIT_PASS
    assert run(["report", "base", "tuned", "--out", "runs.html"]) == EXIT_PASS
    of_files, of_runs = (json.loads(Path(f"{name}.json").read_text(encoding="utf-8")) for name in ("files", "runs"))
    for name in ("before", "headline", "arms", "relations"):
        assert of_files[name] == of_runs[name]
    assert run(["history", "add", *files]) == EXIT_PASS
    with Ledger(Path("slick-history.sqlite"), create=False) as ledger:
        assert [held.version for held in ledger.runs()] == ["base", "tuned"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["base"], "found 1 run, expected"),
        (["base", "nowhere"], "nowhere: no such run directory"),
        (["base", "probe"], "is a probe"),
        (["base", "long"], "cannot be compared"),
        (["base", "a-0", "--control", "x"], "--control 'x': no such arm"),
        (["base", "a-0", "--label", "mine"], "--label: expected RUN=LABEL, found 'mine'"),
        (["base", "a-0", "--knowledge", "base"], "holds no knowledge"),
        (["base", "a-0", "--out", "report.pdf"], "expected a name that ends in .html"),
        (["base", "a-0", "--margin", "0"], "--margin: found 0 points"),
        (["base", "a-0", "--exit-code"], "--exit-code: needs a verdict to go by"),
        (["base", "a-0", "--training-set", "a"], "--training-set: expected ARM=PATH, found 'a'"),
        (["base", "a-0", "--after", "probe"], "needs the probe of the base model as well"),
        (["base", "future"], "schema version 2, this slick reads up to 1; upgrade slick"),
        (["base", "cut"], "the file may be half-written; copy it again from where it was made, or repeat the run"),
        (["base", "samples"], ".jsonl) but no results_*.json; copy it from where they were made, or run again"),
        (
            ["base", "short"],
            "holds 30 of the 40 answers that the results count; copy it again from where it was made, or score the",
        ),
        (["base", "others"], "others: has no fact in common with base (4 and 40 facts); score both models on"),
        (["base", "words.txt"], "words.txt: expected a run's directory, or its results_*.json"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    """No traceback, nothing written."""
    monkeypatch.chdir(lab.root)
    for name in arguments:
        make(lab, name)
    capsys.readouterr()
    out = [] if "--out" in arguments else ["--out", "report.html"]
    assert run(["report", *arguments, *out]) == EXIT_INPUT
    printed = capsys.readouterr()
    assert told in " ".join(printed.err.split())
    assert "Traceback" not in printed.err
    assert not list(lab.root.glob("report.*"))


@pytest.mark.parametrize(("missed", "code"), [(0, EXIT_PASS), (20, EXIT_QUALITY), (3, EXIT_INCONCLUSIVE)])
def test_the_exit_code_is_the_verdicts_where_asked_for(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], missed: int, code: int
) -> None:
    """The verdict comes first; without --exit-code a report that could be made is a success."""
    runs = [str(lab.score("base")), str(lab.score("tuned", lab.wrong_on(*range(missed))))]
    arguments = [
        "report",
        *runs,
        "--out",
        str(tmp_path / "r.html"),
        "--margin",
        "9",
        "--junit",
        str(tmp_path / "r.xml"),
    ]
    assert run([*arguments, "--exit-code"]) == code
    printed = " ".join(capsys.readouterr().out.split())
    assert "all facts, against before:" in printed
    assert str(tmp_path / "r.xml") in printed
    assert run(arguments) == EXIT_PASS


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """With the runs, the probe and the page."""
    assert run(["report", "--help"]) == EXIT_PASS
    assert "slick report runs/base-score runs/known-score runs/half-score --knowledge runs/probe" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_verbs_module_is_light() -> None:
    """`slick --help` imports it, so it imports nothing heavy."""
    code = (
        "import sys, slick_reports.cli; print([m for m in ('numpy', 'jinja2', 'scipy', 'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_model_library_is_needed_for_a_report() -> None:
    """Reports are made where models are not: torch and lm_eval stay unimported."""
    code = (
        "import sys, slick_reports.report; print([m for m in ('torch', 'lm_eval', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
