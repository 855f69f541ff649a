"""slick.cli: verbs, exit codes, and one clear message for every bad input; and which module may import which."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import slick
import slick.cli
from slick.cli import run
from slick.errors import InputError, RunError
from slick.facts import Fact

ROOTS = {"slick": "harness", "slick_tasks": "tasks", "slick_sft": "sft", "slick_reports": "reports"}
QUICK = ["--n-exemplar-sets", "2", "--n-exemplars", "2", "--n-samples", "2", "--n-before", "1", "--max-gen-toks", "4"]


def in_subprocess(code: str) -> Any:
    """The JSON that `code` prints last, in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- help, versions, what is imported ---------------------------------------------------------------------------

HEAVY = ("torch", "lm_eval", "trl", "datasets", "transformers", "peft", "pandas", "pyarrow", "scipy", "numpy")


def test_every_verb_helps_with_an_example_and_imports_nothing_heavy() -> None:
    """`slick`, each verb and each verb's verb: exit code 0, an example, and an answer before any library loads."""
    code = f"""
import contextlib, io, json, sys
from slick.cli import build_app, run
import typer
def paths(command, path):
    yield path, hasattr(command, "commands")
    for name, inner in getattr(command, "commands", {{}}).items():
        yield from paths(inner, [*path, name])
found = {{}}
for path, group in paths(typer.main.get_command(build_app()), []):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run([*path, "--help"])
    found[" ".join(path)] = [code, group, out.getvalue()]
print(json.dumps([found, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    found, heavy = in_subprocess(code)
    assert heavy == []
    assert {"probe", "score"} <= set(found)
    for name, (exit_code, group, text) in found.items():
        assert exit_code == 0, name
        assert text.startswith("Usage: "), name
        if not group:
            assert f"slick {name}" in text.split("Example", 1)[1], f"slick {name} --help shows no example"


def test_the_pure_modules_import_no_library_that_runs_models() -> None:
    """They serve wherever Python does."""
    pure = ("facts", "matching", "knowledge", "redraw", "metrics", "exemplars", "statistics")
    pure += ("accepted", "vocabulary", "exact", "walk", "verify", "batches", "plan")
    pure += ("counted", "paired", "power", "verdict", "regression", "ratio")
    pure += ("errors", "prompts", "files", "terminal")
    code = (
        f"import importlib, json, sys\nfor name in {pure!r}: importlib.import_module('slick.' + name)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert in_subprocess(code) == []


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit codes are explained where the verbs are listed."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"slick {slick.__version__}\n"
    assert run(["--help"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "0 pass, 1 quality failed, 2 usage or input error, 3 inconclusive, 4 run error" in listed


# --- which module may import which ------------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Every module of the four packages by its dotted name; those that are not here are left out."""
    root = Path(__file__).resolve().parents[2]
    found = {}
    for package, folder in ROOTS.items():
        for path in sorted((root / folder / package).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of `known` that a file imports, anywhere in it, except for type checking only."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from slick import files` imports a module, `from slick.files import replacing` a name of one.
            names = {f"{node.module}.{alias.name}" for alias in node.names} & known
            yield from names or {str(node.module)}
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return {name for name in visit(ast.parse(path.read_text(encoding="utf-8"))) if name.split(".")[0] in ROOTS}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    found = modules()
    assert {name.split(".")[0] for name in found} == set(ROOTS)
    return {name: imports(path, set(found)) for name, path in found.items()}


def test_arrows_point_downwards(graph: dict[str, set[str]]) -> None:
    """slick imports none of the others; tasks and reports import slick only; sft may import everything."""
    allowed = {
        "slick": {"slick"},
        "slick_tasks": {"slick", "slick_tasks"},
        "slick_reports": {"slick", "slick_reports"},
        "slick_sft": set(ROOTS),
    }
    wrong = [
        f"{name} imports {used}"
        for name, all_used in graph.items()
        for used in sorted(all_used)
        if used.split(".")[0] not in allowed[name.split(".")[0]]
    ]
    assert wrong == []


def test_no_file_imports_in_a_circle(graph: dict[str, set[str]]) -> None:
    """Not even inside functions."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            for used in sorted(graph.get(name, set())):
                visit(used, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


# --- the boundary -----------------------------------------------------------------------------------------------


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Installs verbs: name → source of a module whose function `verb` is the verb."""

    def install(**sources: str) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        points = []
        for name, source in sources.items():
            module = f"a_verb_called_{name}"
            monkeypatch.delitem(sys.modules, module, raising=False)
            (tmp_path / f"{module}.py").write_text(source)
            points.append(EntryPoint(name, f"{module}:verb", "slick.commands"))
        monkeypatch.setattr(slick.cli, "_verbs", lambda: points)

    return install


def raising(error: str) -> str:
    return f"from slick.errors import *\ndef verb():\n    raise {error}\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("def verb():\n    pass\n", 0),
        ("def verb():\n    return 1\n", 1),
        ("def verb():\n    return 3\n", 3),
        ("def verb():\n    return 'text'\n", 0),
        ("import typer\ndef verb():\n    raise typer.Exit(3)\n", 3),
        (raising("InputError('wrong')"), 2),
        (raising("RunError('wrong')"), 4),
        (raising("ZeroDivisionError('wrong')"), 4),
        (raising("KeyboardInterrupt"), 4),
        (raising("BrokenPipeError(32, 'closed')"), 4),
        (raising("EOFError"), 4),
    ],
)
def test_exit_codes(verbs: Any, source: str, code: int) -> None:
    """A verb's own code, 2 for input, 4 for everything that went wrong; never 1 but from a verdict."""
    verbs(say=source, other="def verb():\n    pass\n")
    assert run(["say"]) == code


def test_an_unforeseen_error_is_short(
    verbs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Type and message, no traceback unless it is asked for."""
    verbs(say=raising("ZeroDivisionError('by 0')"), other="def verb():\n    pass\n")
    monkeypatch.delenv("SLICK_TRACEBACK", raising=False)
    assert run(["say"]) == 4
    err = capsys.readouterr().err
    assert err.startswith("slick: error: ZeroDivisionError: by 0\n(unforeseen; set SLICK_TRACEBACK=1")
    assert "Traceback" not in err
    monkeypatch.setenv("SLICK_TRACEBACK", "1")
    assert run(["say"]) == 4
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(verbs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that Ctrl-C stopped is resumed by its own command."""
    verbs(say=raising("KeyboardInterrupt"), other="def verb():\n    pass\n")
    run(["say"])
    err = capsys.readouterr().err
    assert err.strip() == "slick: error: interrupted; repeat the command to go on where it stopped"


def test_any_message_can_be_printed(verbs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a surrogate pair in a file's name does not turn an error into a traceback."""
    verbs(say=raising(r"InputError('a\ud800b')"), other="def verb():\n    pass\n")
    assert run(["say"]) == 2
    assert capsys.readouterr().err == "slick: error: a\\ud800b\n"


@pytest.mark.parametrize(
    "source", ["import no_such_module\n", "raise SystemError('x')\n", "verb: int\n", "def verb(:\n"], ids=range(4)
)
def test_a_broken_verb_takes_no_other_along(verbs: Any, capsys: pytest.CaptureFixture[str], source: str) -> None:
    """It is named on stderr; the others work, and it itself is then unknown."""
    verbs(broken=source, good="def verb():\n    print('well')\n", other="def verb():\n    pass\n")
    assert run(["good"]) == 0
    out, err = capsys.readouterr()
    assert out == "well\n"
    assert err.startswith("slick: error: the verb 'broken' of a_verb_called_broken:verb cannot be loaded")
    assert len(err.splitlines()) == 1
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert "good" in out
    assert "broken" not in out
    assert run(["broken"]) == 2


def test_the_first_verb_of_a_name_is_taken_and_all_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order in which a user meets them, then by name; a second of the same name does not replace one."""
    points = [EntryPoint(name, f"m{i}:f", "slick.commands") for i, name in enumerate(["zoo", "score", "ant", "probe"])]
    points.append(EntryPoint("probe", "late:f", "slick.commands"))
    monkeypatch.setattr(slick.cli, "entry_points", lambda group: points)
    found = slick.cli._verbs()
    assert [point.name for point in found] == ["probe", "score", "ant", "zoo"]
    assert found[0].value == "m3:f"


def test_python_m_slick_is_the_command() -> None:
    """With its exit code."""
    code = "import runpy, sys; sys.argv = ['slick', 'no-such-verb']; runpy.run_module('slick', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command 'no-such-verb'" in done.stderr
    assert done.stdout == ""


# --- bad input --------------------------------------------------------------------------------------------------


class Place:
    """A directory with a facts file, a model and a finished probe of it, in which a command is run."""

    def __init__(self, path: Path, model: Path, probed: Path, facts: list[Fact]) -> None:
        self.path = path
        self.facts = path / "facts.jsonl"
        self.facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in facts))
        self.model = Path(shutil.copytree(model, path / "model"))
        self.probed = Path(shutil.copytree(probed, path / "probed"))

    def listing(self) -> dict[str, bytes | None]:
        return {
            str(p.relative_to(self.path)): p.read_bytes() if p.is_file() else None for p in sorted(self.path.rglob("*"))
        }


@pytest.fixture(scope="module")
def probed(tiny_model: Path, tiny_facts: list[Fact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished probe of four facts."""
    path = tmp_path_factory.mktemp("probed")
    facts = path / "facts.jsonl"
    facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))
    arguments = ["--model", str(tiny_model), "--facts", str(facts), "--split", "test", "--limit", "4"]
    assert run(["probe", *arguments, "--out", str(path / "run"), *QUICK]) == 0
    return path / "run"


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, probed: Path, tiny_facts: list[Fact]) -> Place:
    return Place(tmp_path, tiny_model, probed, tiny_facts)


@pytest.fixture
def refused(place: Place, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command, and gives its message if it is refused as bad input has to be.

    Exit code 2, one message on stderr and nothing else, no traceback, every file as it was.
    """

    def check(*arguments: str) -> str:
        before = place.listing()
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        assert "Traceback" not in err
        if not err.startswith("Usage: "):
            assert err.startswith("slick: error: ")
            assert err.count("slick: error:") == 1
        assert place.listing() == before
        return err

    return check


def asks(place: Place, verb: str, **changed: object) -> list[str]:
    """A good command line of the verb, with options changed; None leaves one out."""
    options: dict[str, object] = {"model": place.model, "facts": place.facts, "out": place.path / "out"}
    options |= changed
    given = [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    return [verb, *(QUICK if verb == "probe" else []), *given]


VERBS = pytest.mark.parametrize("verb", ["probe", "score"])


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@VERBS
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], "facts.jsonl:36:138: not JSON"),
        (lambda text: text[: len(text) // 2] + "\x00" + text[len(text) // 2 :], "facts.jsonl:"),
        (lambda text: "", "no rows; expected at least one fact"),
        (lambda text: text.replace('"question"', '"questoin"'), "no column 'question'; found"),
        (lambda text: text.replace('"answers"', '"target"'), "no column 'answers'"),
        (lambda text: replaced(text, '["P17land 0"]', "17"), "facts.jsonl:1: answers: found int 17, expected a list"),
        (lambda text: "[]", "facts.jsonl"),
    ],
    ids=["cut off", "NUL", "empty", "wrong question", "wrong answers", "wrong type", "no rows"],
)
def test_facts_that_cannot_be_read(place: Place, refused: Any, verb: str, damage: Any, message: str) -> None:
    """Half-written, empty, without a column, or with a wrong value: file and line, and what was expected."""
    place.facts.write_text(damage(place.facts.read_text()))
    assert message in refused(*asks(place, verb))


@VERBS
def test_a_half_written_parquet_file(place: Place, refused: Any, verb: str) -> None:
    """Named, with what is wrong."""
    file = place.path / "facts.parquet"
    file.write_bytes((place.probed / "knowledge.parquet").read_bytes()[:-30])
    assert "facts.parquet" in refused(*asks(place, verb, facts=file))


@VERBS
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"facts": "no/such/facts.jsonl"}, "no/such/facts.jsonl: no such file or directory"),
        ({"facts": "entityqq"}, "did you mean 'entityq'?"),
        ({"split": "tset"}, "no facts of split 'tset'; found train (8), dev (16), test (12)"),
        ({"relations": "P17,P71"}, "unknown relation:\n  'P71': found P17, P36"),
        ({"limit": "-1"}, "Invalid value for '--limit'"),
        ({"limit": "many"}, "Invalid value for '--limit'"),
        ({"seed": "x"}, "Invalid value for '--seed'"),
        ({"matching": "fuzzy"}, "Invalid value for '--matching'"),
        ({"no-such-option": "1"}, "No such option"),
        ({"model": None}, "Missing option '--model'"),
        ({"out": None}, "Missing option '--out'"),
        ({"model": "/no/such/model"}, "/no/such/model: no such model directory"),
        ({"backend": "hff"}, "--backend hff: lm-eval knows no such model type"),
        ({"model-args": "nonsense"}, "--model-args: expected KEY=VALUE, found 'nonsense'"),
        ({"model-args": "pretrained=x"}, "give the model, or an adapter's directory, with --model"),
        ({"batch-size": "0"}, "--batch-size 0: expected at least 1"),
        ({"max-gen-toks": "0"}, "Invalid value for '--max-gen-toks'"),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_an_option_that_is_wrong(
    place: Place, refused: Any, verb: str, changed: dict[str, str | None], message: str
) -> None:
    """Unknown names, values out of range, and what is missing."""
    assert message in refused(*asks(place, verb, **changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n-exemplars": "0", "temperature": "0"}, "n_exemplars = 0: expected at least 1\n  temperature = 0.0"),
        ({"n-exemplars": "9"}, "relation P17: found 7 usable (of 8 in its exemplar split), expected at least 9"),
        ({"exemplars": "/no/such/file.jsonl"}, "/no/such/file.jsonl: no such file or directory"),
        ({"fewshot-as-multiturn": ""}, "--fewshot-as-multiturn needs --apply-chat-template"),
    ],
)
def test_an_option_of_probe_that_is_wrong(place: Place, refused: Any, changed: dict[str, str], message: str) -> None:
    """Settings out of range all at once, relations with too few dev facts all at once."""
    flags = [f"--{name}" for name, value in changed.items() if not value]
    values = [part for name, value in changed.items() if value for part in (f"--{name}", value)]
    assert message in refused(*asks(place, "probe"), *values, *flags)


def test_every_relation_with_too_few_dev_facts(place: Place, refused: Any) -> None:
    """Both are named, with the option that mends it."""
    rows = [json.loads(line) for line in place.facts.read_text().splitlines()]
    kept = [row for row in rows if row["split"] != "dev" or row["subject"].endswith("devton 0")]
    place.facts.write_text("".join(json.dumps(row) + "\n" for row in kept))
    err = refused(*asks(place, "probe", split="test"))
    assert "relation P17: found 1 usable (of 1 in its exemplar split), expected at least 2" in err
    assert "relation P36: found 1 usable (of 1 in its exemplar split), expected at least 2" in err
    assert "--exemplars FILE" in err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"facts": None}, "nothing to score: give --facts, or --knowledge"),
        ({"form": "no question"}, "training form 'no question': expected {question} exactly once, found 0"),
        ({"form": "{question} "}, "ends in a space"),
        ({"knowledge": "/no/such/run"}, "/no/such/run: no such file; expected the --out directory of `slick probe`"),
    ],
    ids=["nothing", "no question", "space", "no run"],
)
def test_an_option_of_score_that_is_wrong(
    place: Place, refused: Any, changed: dict[str, str | None], message: str
) -> None:
    """The message says what was expected."""
    assert message in refused(*asks(place, "score", **changed))


def test_a_probe_of_other_facts(place: Place, refused: Any) -> None:
    """Categories that no scored fact has are a mistake and not an empty table."""
    message = refused(*asks(place, "score", split="train", knowledge=place.probed))
    assert "probed none of the 8 facts of" in message


def test_a_damaged_probe(place: Place, refused: Any) -> None:
    """Its knowledge cut off, or its directory not finished."""
    knowledge = place.probed / "knowledge.parquet"
    knowledge.write_bytes(knowledge.read_bytes()[:-5])
    assert "knowledge.parquet: not a readable Parquet file" in refused(*asks(place, "score", knowledge=place.probed))
    knowledge.unlink()
    (results,) = place.probed.glob("results_*.json")
    results.rename(place.probed / "progress.json")
    assert "this run is not finished" in refused(*asks(place, "score", knowledge=place.probed))


def drop_end(model: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (model / name).exists():
            config = json.loads((model / name).read_text())
            config.pop("eos_token", None)
            (model / name).write_text(json.dumps(config))


@VERBS
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "tokenizer.json").unlink(), "model: has no tokenizer; expected one of tokenizer.json"),
        (drop_end, "model: its tokenizer names no end-of-sequence token"),
        (lambda m: (m / "model.safetensors").unlink(), "model: has no *.safetensors weights"),
        (lambda m: os.truncate(m / "model.safetensors", 9_000), "model.safetensors: not readable weights"),
        (lambda m: os.truncate(m / "tokenizer.json", 900), "model: backend slick-hf cannot load it"),
        (lambda m: os.truncate(m / "config.json", 90), "config.json:"),
        (lambda m: (m / "training.json").write_text("{"), "training.json:1:2: not JSON"),
    ],
    ids=["no tokenizer", "no end", "no weights", "half weights", "half tokenizer", "half config", "half record"],
)
def test_a_model_that_cannot_serve(place: Place, refused: Any, verb: str, damage: Any, message: str) -> None:
    """What is missing or half-written, and how to mend it where one can."""
    if verb == "probe" and "training" in message:
        verb = "score"  # a probe does not read it
    damage(place.model)
    assert message in refused(*asks(place, verb))


@VERBS
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("facts.jsonl", "facts.jsonl: is a file, expected a directory for the run"),
        ("facts.jsonl/run", "cannot be written"),
        ("model", "model: is not empty and holds no run; choose another --out"),
        ("probed", "this directory holds a run with other settings"),
    ],
    ids=["file", "below a file", "foreign", "another run"],
)
def test_a_directory_that_cannot_take_the_run(place: Place, refused: Any, verb: str, out: str, message: str) -> None:
    """A file, a path that cannot be made, something else's directory, another run's: all stay as they are."""
    assert message in refused(*asks(place, verb, out=place.path / out))


def test_another_run_is_named_by_what_differs(place: Place, refused: Any) -> None:
    """The settings with both values, so that one sees which --out was meant."""
    err = refused(*asks(place, "probe", out=place.probed, split="test", limit=4, seed=1))
    assert "  seed: there 0, now 1" in err


def test_errors_of_the_family_are_printed_as_they_are(verbs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """All lines of a message, once."""
    verbs(say=raising("InputError('one\\n  two')"), other="def verb():\n    pass\n")
    run(["say"])
    assert capsys.readouterr().err == "slick: error: one\n  two\n"
    assert issubclass(InputError, Exception)
    assert issubclass(RunError, Exception)
