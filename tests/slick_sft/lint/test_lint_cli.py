"""`slick lint` as a user has it: a small random model that knows nothing, exit codes, bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run

Write = Callable[..., Path]
QUICK = ["--n-exemplar-sets", "2", "--n-exemplars", "2", "--max-gen-toks", "8"]


def born(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


@pytest.fixture
def lint(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command with the tiny model; exit code, what it printed, and what it said besides."""

    def command(*arguments: Any, model: Path = tiny_model) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["lint", *map(str, arguments), "--model", str(model), *QUICK])
        out, err = capfd.readouterr()
        return code, out, err

    return command


Lint = Callable[..., tuple[int, str, str]]


def test_a_dataset_of_new_facts(lint: Lint, write: Write, tmp_path: Path) -> None:
    """Every row is found Unknown; the files say so; warnings fail nothing unless asked to."""
    file = write(range(8))
    code, out, _ = lint(file, "--json", tmp_path / "o.json", "--sarif", tmp_path / "o.sarif")
    assert code == 0
    assert "8 of 8 rows state a short fact and were probed" in out
    assert "Findings: 0 errors, 9 warnings, 0 notes" in out
    document = json.loads((tmp_path / "o.json").read_text("utf-8"))
    assert [row["category"] for row in document["rows"]] == ["Unknown"] * 8
    assert document["model"]["weights"]
    assert document["settings"]["estimator"] == "exact"
    assert len(json.loads((tmp_path / "o.sarif").read_text("utf-8"))["runs"][0]["results"]) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "o.json", "o.sarif"]


def test_exit_codes(lint: Lint, write: Write) -> None:
    """1 only where something of the level was found; by default that of errors, so that Unknown rows fail nothing."""
    file = write(range(6))
    assert lint(file, "--fail-on", "warning")[0] == 1
    conflicting = write([*range(6), {"question": born(0), "answer": "X"}])
    assert lint(conflicting)[0] == 1
    assert lint(conflicting, "--fail-on", "never")[0] == 0


def test_a_run_that_is_kept_is_not_done_again(lint: Lint, write: Write, tmp_path: Path) -> None:
    """The same command finds the same; another dataset is refused there."""
    file = write(range(8))
    first = lint(file, "--out", tmp_path / "run", "--json", tmp_path / "a.json")
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = lint(file, "--out", tmp_path / "run", "--json", tmp_path / "b.json")
    assert first[:2] == again[:2]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files
    code, _, err = lint(write(range(1, 9)), "--out", tmp_path / "run")
    assert code == 2
    assert "this directory holds a run with other settings" in err


def test_a_second_lint_is_answered_from_the_store(lint: Lint, write: Write, tmp_path: Path) -> None:
    """As `slick probe` has it: nothing is computed twice."""
    file = write(range(8))
    lint(file, "--store", tmp_path / "answers")
    assert "16 of 16 responses were in the store" in lint(file, "--store", tmp_path / "answers")[2]


def test_limit_and_seed(lint: Lint, write: Write, tmp_path: Path) -> None:
    """A draw is probed, the rest counted."""
    code, out, _ = lint(write(range(8)), "--limit", 3, "--seed", 1)
    assert code == 0
    assert "3 of 8 rows state a short fact and were probed" in out
    assert "left out by --limit" in out


def test_held_out_facts(lint: Lint, write: Write, tmp_path: Path) -> None:
    """A question of theirs in the training data is an error; `lab` and the like are sources too."""
    held = write([{"question": born(3), "answers": ["x"], "subject": "Bo3 Ka3"}], "held.jsonl")
    code, out, _ = lint(write(range(8)), "--held-out", held, "--held-out", "lab")
    assert code == 1
    assert "data.jsonl:4: error: asks the held-out question “Where was Bo3 Ka3 born?” [held-out-question]" in out


def test_fix_writes_beside_the_dataset(lint: Lint, write: Write, tmp_path: Path) -> None:
    """And says where; a second time it refuses before anything is probed."""
    file = write(range(8))
    before = file.read_bytes()
    code, out, _ = lint(file, "--fix", "relabel")
    assert code == 0
    assert f"{tmp_path / 'data.fixed.jsonl'}: 8 rows changed" in out
    fixed = [json.loads(line) for line in (tmp_path / "data.fixed.jsonl").read_text().splitlines()]
    assert {row["answer"] for row in fixed} == {"I don't know"}
    assert file.read_bytes() == before
    code, out, err = lint(file, "--fix", "relabel")
    assert (code, out) == (2, "")
    assert "data.fixed.jsonl: exists already" in err
    # What was relabelled has nothing left to probe.
    code, _, err = lint(tmp_path / "data.fixed.jsonl")
    assert code == 2
    assert "8 rows: an answer that says nothing" in err


def test_in_a_github_workflow(lint: Lint, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations come by themselves, and nothing in the table is taken for a command."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    file = write(range(8))
    out = lint(file)[1].splitlines()
    assert out[0].startswith("::stop-commands::")
    word = out[0].removeprefix("::stop-commands::")
    assert len(word) == 32
    end = out.index(f"::{word}::")
    assert all(line.startswith("::") for line in out[end + 1 :])
    assert any(line.startswith("::warning file=") for line in out[end + 1 :])
    assert not any("::warning" in line for line in lint(file, "--no-annotations")[1].splitlines())
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert any(line.startswith("::warning file=") for line in lint(file, "--annotations")[1].splitlines())


def test_conversations_and_a_chat_template(lint: Lint, write: Write) -> None:
    """A note says that facts are asked as plain text; the template is used when it is asked for."""
    turns = [[("user", born(i)), ("assistant", f"Town{i}")] for i in range(6)]
    rows = [{"messages": [{"role": role, "content": text} for role, text in row]} for row in turns]
    file = write(rows)
    assert "--apply-chat-template asks them in its form" in lint(file)[2]
    code, _, err = lint(file, "--apply-chat-template")
    assert code == 0
    assert "asks them in its form" not in err


@pytest.fixture
def refused(lint: Lint, tmp_path: Path) -> Callable[..., str]:
    """The message of a command that is refused: exit code 2, nothing printed, no file written."""

    def check(*arguments: Any, **how: Any) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = lint(*arguments, **how)
        assert (code, out) == (2, ""), err
        assert "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return check


def test_bad_rows_of_all_kinds(refused: Callable[..., str], write: Write) -> None:
    """File and line of each, all at once."""
    file = write([1, "x", {"text": 3}, 2])
    file.write_bytes(file.read_bytes() + b'{"question": "cut off')
    err = refused(file)
    assert f"{file}:2: found 'x', expected a JSON object" in err
    assert f"{file}:3: text: found 3" in err
    assert f"{file}:5:" in err
    assert "half-written" in err


def test_other_bad_input(refused: Callable[..., str], write: Write, tmp_path: Path) -> None:
    """Mixed forms, nothing at all, nothing to probe, a file that is not there."""
    assert "rows of several forms" in refused(write([1, {"text": "Q: a?\nA: b"}]))
    assert "no rows; expected at least one" in refused(write([]))
    assert "no row of 1 states a short fact that could be probed" in refused(write([{"question": "a", "answer": "b"}]))
    assert "no such file or directory" in refused(tmp_path / "none.jsonl")
    assert "no such model directory" in refused(write(range(8)), model=Path("/no/such/model"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fix", "drop", "--limit", "2"], "--fix with --limit would leave rows that were not probed"),
        (["--fix-out", "x.jsonl"], "--fix-out: nothing is written without --fix"),
        (["--fix", "weight", "--fix-weight", "inf"], "--fix-weight inf: expected a finite number of at least 0"),
        (["--fix", "weight", "--fix-weight", "nan"], "--fix-weight nan: expected a finite number of at least 0"),
        (["--fix", "weight", "--fix-weight", "-1"], "--fix-weight -1.0: expected a finite number of at least 0"),
        (["--fix", "drop", "--out", "clean.jsonl"], "the fixed dataset goes to --fix-out clean.jsonl"),
        (["--json", "x.json", "--sarif", "./x.json"], "x.json: is named by --json and by --sarif"),
        (["--fix", "mend"], "Invalid value for '--fix'"),
        (["--fail-on", "all"], "Invalid value for '--fail-on'"),
        (["--relation-column", "rel"], "--relation-column rel: no row has it; found 'question', 'answer'"),
        (["--held-out", "no-such-facts"], "no-such-facts: no such file or directory"),
        (["--exemplars", "no-such-facts"], "no-such-facts: no such file or directory"),
        (["--n-samples", "0"], "n_samples = 0: expected at least 1"),
    ],
)
def test_options_that_are_wrong(refused: Callable[..., str], write: Write, options: list[str], message: str) -> None:
    """The message says what was expected."""
    assert message in refused(write(range(8)), *options)


def test_findings_never_take_the_dataset_s_place(refused: Callable[..., str], write: Write) -> None:
    """Neither as JSON nor as SARIF."""
    file = write(range(8))
    for option in ("--json", "--sarif"):
        assert "is the dataset itself; give the findings another file" in refused(file, option, file)


def test_findings_never_take_the_place_of_what_fix_writes(refused: Callable[..., str], write: Write) -> None:
    """Nor does one output take another's; facts that are held out stay as well."""
    file = write(range(8))
    fixed = file.with_name("data.fixed.jsonl")
    for option, path in (("--json", fixed), ("--sarif", f"{fixed}.changes.json")):
        assert "give each a place of its own" in refused(file, "--fix", "drop", option, path)
    held = write([{"question": born(3), "answer": "x"}], "held.jsonl")
    assert "is a source of held-out facts itself" in refused(file, "--held-out", held, "--json", held)


def test_the_hook_for_pre_commit() -> None:
    """Runs the command on the files that are committed, with what the user gives it."""
    import yaml

    (hook,) = yaml.safe_load((Path(__file__).resolve().parents[3] / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["entry"], hook["language"]) == ("slick-lint", "slick lint", "python")
    assert hook["pass_filenames"] is True


def test_the_hook_lints_no_record_of_changes() -> None:
    """What --fix wrote of its changes stands beside the dataset, and is none."""
    import yaml

    (hook,) = yaml.safe_load((Path(__file__).resolve().parents[3] / ".pre-commit-hooks.yaml").read_text())
    taken = [
        name
        for name in ("data/a.jsonl", "data/a.jsonl.changes.json", "data/a.fixed.csv.changes.json", "data/changes.json")
        if re.search(hook["files"], name) and not re.search(hook["exclude"], name)
    ]
    assert taken == ["data/a.jsonl", "data/changes.json"]
