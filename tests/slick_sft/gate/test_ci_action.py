"""The composite action's scripts, run by bash with a `slick` and a `gh` that note what they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from slick_sft.gate.outputs import MARK

CI = Path(__file__).resolve().parents[3] / "docs" / "ci"
STEPS = yaml.safe_load((CI / "slick-gate" / "action.yml").read_text())["runs"]["steps"]
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a step's script as GitHub does. slick, gh: scripts in place of these."""

    def done(step: int, *, slick: str = "", gh: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        tools = tmp_path / "bin"
        tools.mkdir(exist_ok=True)
        for name, script in (("slick", slick), ("gh", gh)):
            (tools / name).write_text(f"#!{BASH}\n{script}\n")
            (tools / name).chmod(0o755)
        (tools / "python").unlink(missing_ok=True)
        (tools / "python").symlink_to(sys.executable)
        file = tmp_path / "script.sh"
        file.write_text(STEPS[step]["run"])
        assert BASH
        return subprocess.run(
            [BASH, "--noprofile", "--norc", "-eo", "pipefail", str(file)],
            cwd=tmp_path,
            env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "GITHUB_OUTPUT": str(tmp_path / "output"), **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return done


@pytest.mark.parametrize("arguments", ["a.jsonl --model ./m", "a.jsonl\n--model ./m\n", "\n  a.jsonl\n  --model\t./m"])
@pytest.mark.parametrize("inconclusive", ["", "fail"])
def test_arguments_may_stand_on_several_lines(run: Run, tmp_path: Path, arguments: str, inconclusive: str) -> None:
    """Every word reaches the gate; its exit code and verdict are the step's."""
    gate = """printf '%s\\n' "$@" > asked; mkdir -p out; echo '{"verdict": "FAIL"}' > out/gate.json; exit 1"""
    done = run(0, slick=gate, ARGUMENTS=arguments, POLICY="p.yaml", OUT="out", INCONCLUSIVE=inconclusive)
    more = ["--inconclusive", inconclusive] if inconclusive else []
    asked = (tmp_path / "asked").read_text().split("\n")[:-1]
    assert asked == ["gate", "a.jsonl", "--model", "./m", "--policy", "p.yaml", "--out", "out", *more]
    assert (done.returncode, (tmp_path / "output").read_text()) == (1, "verdict=FAIL\n")


GH = """echo "$*" >> asked
case "$*" in
  *PATCH*) {write}
    for word in "$@"; do case "$word" in body=@*) cp "${{word#body=@}}" body;; esac; done;;
  "pr comment"*) {write}; cp "${{@: -1}}" body;;
  *) echo -n "{there}";;
esac"""


def comment(run: Run, *, there: str = "", write: str = "true") -> subprocess.CompletedProcess[str]:
    gh = GH.format(there=there, write=write)
    return run(1, gh=gh, REPOSITORY="me/it", NUMBER="7", SHA="abc123", FILE="gate.md")


@pytest.mark.parametrize(("there", "how"), [("", "pr comment 7"), ("41\n42", "PATCH repos/me/it/issues/comments/41")])
def test_a_verdict_becomes_the_one_comment(run: Run, tmp_path: Path, there: str, how: str) -> None:
    """A new one, or in place of the first that there is."""
    (tmp_path / "gate.md").write_text("PASS")
    assert comment(run, there=there).returncode == 0
    assert (tmp_path / "body").read_text() == "PASS"
    assert how in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("there", ["", "41"])
def test_a_comment_that_may_not_be_written_is_a_warning(run: Run, tmp_path: Path, there: str) -> None:
    """As in a fork's pull request; a PASS stays green."""
    (tmp_path / "gate.md").write_text("PASS")
    done = comment(run, there=there, write="exit 1")
    assert done.returncode == 0
    assert done.stdout.startswith("::warning title=slick gate::The comment could not be written")
    (tmp_path / "asked").unlink()
    assert run(1, gh="exit 1", REPOSITORY="me/it", NUMBER="7", SHA="a", FILE="gate.md").stdout.startswith("::warning")


def test_no_verdict_replaces_the_comment_of_an_earlier_push(run: Run, tmp_path: Path) -> None:
    """It would be taken for this one's; where there is none, none is written."""
    assert comment(run, there="41").returncode == 0
    assert (tmp_path / "body").read_text().startswith(f"{MARK}\n## slick gate: no verdict for abc123\n")
    (tmp_path / "body").unlink()
    assert comment(run).returncode == 0
    assert not (tmp_path / "body").exists()


def test_what_was_trained_is_kept_for_a_job_that_runs_again() -> None:
    """Under the commit, since a gate of other settings takes no directory over; saved whatever the gate ended in."""
    steps = yaml.safe_load((CI / "github.yml").read_text())["jobs"]["gate"]["steps"]
    kept = [step for step in steps if step.get("with", {}).get("path") == "slick-gate-out"]
    assert [step["uses"].split("@")[0] for step in kept] == ["actions/cache/restore", "actions/cache/save"]
    restore, save = kept
    assert save["if"] == "always()"
    assert restore["with"]["key"] == save["with"]["key"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert "github.sha" in restore["with"]["restore-keys"]
    caches = yaml.safe_load((CI / "gitlab.yml").read_text())["slick-gate"]["cache"]
    assert [cache["paths"] for cache in caches if "CI_COMMIT_SHA" in cache["key"]] == [["slick-gate-out"]]
