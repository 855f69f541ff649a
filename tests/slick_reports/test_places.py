"""Paths that a report shows, and that no report on file shows a machine's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick_reports.places import place, placed
from slick_reports.report import build_report, write_report

if TYPE_CHECKING:
    from conftest import Lab

ROOT = Path(__file__).parents[2]
MACHINE = re.compile(rb"(?<![\w.~/-])/(?:work|home|root|tmp|Users)/|(?<!\w)[A-Z]:\\(?=\w)")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("runs/base", "runs/base"),
        ("../runs/base", "../runs/base"),
        ("org/model", "org/model"),
        ("/data/a/runs/base", "runs/base"),
        ("/base", "base"),
        ("/", "/"),
        ("C:\\Users\\x\\runs\\base", "runs/base"),
    ],
)
def test_a_path_is_shown_without_its_machine(given: str, shown: str) -> None:
    """Relative ones as given, of absolute ones what tells them from their neighbours."""
    assert place(given) == place(Path(given)) == shown


def test_a_path_inside_the_current_directory_is_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a command can be repeated where it was given."""
    monkeypatch.chdir(tmp_path)
    assert place(tmp_path / "a" / "b" / "c") == "a/b/c"


def test_paths_within_text_are_cut_and_other_slashes_are_left() -> None:
    """As in the arguments of a backend."""
    assert placed("{'pretrained': '/data/x/y/model', 'peft': 'org/adapter'}") == (
        "{'pretrained': 'y/model', 'peft': 'org/adapter'}"
    )
    assert placed("pretrained=/data/x/y,dtype=a/b; 1/2 and https://example.org/x/y/z") == (
        "pretrained=x/y,dtype=a/b; 1/2 and https://example.org/x/y/z"
    )


def test_no_format_holds_a_path_of_the_machine(lab: Lab) -> None:
    """Neither in the command, nor of runs, probes, models, adapters and sets, nor in notes and banners."""
    elsewhere = {**lab.model("a"), "name": str(lab.root / "models" / "a"), "adapter": str(lab.root / "models" / "b")}
    probe = lab.probe(skill={fact.id: 0.5 for fact in lab.facts})
    curves = {"training": {"dynamics": {"measurements": 2}}, "model": elsewhere}
    runs = [lab.score("base", facts=lab.facts[:30]), lab.arm("a", 0, **curves), lab.score("b", max_gen_toks=8)]
    runs.append(lab.score("c/b", model=lab.model("base")))
    report = build_report(
        runs, knowledge=probe, before=runs[0], labels={str(runs[1]): "mine"}, margin=0.1, allow_mismatch=True
    )
    for file in write_report(report, lab.root / "report.html", junit=lab.root / "report.xml"):
        assert str(lab.root) not in file.read_text(encoding="utf-8"), file
    assert report.command.startswith("slick report ")
    assert str(runs[0].relative_to(lab.root.parent)) in report.command


def test_no_report_on_file_holds_a_path_of_a_machine() -> None:
    """They are read by strangers."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("what is on file is known to git only")
    names = subprocess.run([git, "ls-files", "-z", "reports"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in names.decode().split("\0") if name]
    assert files
    found = {str(file.relative_to(ROOT)) for file in files if file.is_file() and MACHINE.search(file.read_bytes())}
    assert not found
