"""The verbs mix, tune and lab as a user types them: what they write, print and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slick.cli import build_app, run
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.knowledge_file import write_knowledge
from slick.provenance import fingerprint
from slick.runs import read_run

NUMBERS = ((10, 0), (4, 0), (0, 3), (0, 0))


@pytest.fixture(scope="module")
def probe(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe's directory: in P17 four train facts of each category, in P36 none that is MaybeKnown, two test facts."""
    found = []
    for relation in ("P17", "P36"):
        for number, (greedy, sampled) in enumerate(NUMBERS):
            for i in range(4):
                if (relation, number) != ("P36", 1):
                    question = f"Where is {relation}{number}{i}?"
                    fact = Fact.create(question, [f"land {i}"], relation=relation, split="train")
                    found.append(Knowledge(fact, greedy, 10, sampled, 0 if greedy else 160))
    for i in range(2):
        fact = Fact.create(f"Where is test {i}?", ["land"], relation="P17", split="test")
        found.append(Knowledge(fact, 10, 10, 0, 0))
    path = tmp_path_factory.mktemp("probe")
    provenance = {"model": fingerprint(str(tiny_model)), "priors": {"P17": "land 0"}}
    write_knowledge(path / "knowledge.parquet", found, provenance)
    return path


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    found = capsys.readouterr()
    return found.out, found.err


@pytest.mark.parametrize("verb", ["mix", "tune", "demo", "lab build"])
def test_help_shows_an_example(verb: str) -> None:
    """The help of each verb holds an example that begins with the command itself, and names --seed."""
    result = CliRunner().invoke(build_app(), [*verb.split(), "--help"])
    assert result.exit_code == 0
    assert f"slick {verb} --" in result.output
    assert "--seed" in result.output


def test_mix_writes_a_set_and_counts_it(probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """slick mix prints rows by relation and category, says which relation gives none, and ends with the path."""
    arguments = [
        "mix",
        "--knowledge",
        str(probe),
        "--split",
        "train",
        "--unknown",
        "0.5",
        "--out",
        str(tmp_path / "set"),
    ]
    assert run(arguments) == 0
    out, err = said(capsys)
    assert "unknown-50: 4 rows" in out
    assert "note: P36 gives no rows, since none of its facts is MaybeKnown" in out
    assert out.splitlines()[-1] == str(tmp_path / "set")
    assert err == ""
    recipe = json.loads((tmp_path / "set" / "recipe.json").read_text())
    assert recipe["counts"]["P17"]["Unknown"] == 2


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (["--unknown", "0"], "known-only"),
        (["--unknown", "1"], "unknown-100"),
        (["--category", "MaybeKnown"], "only-MaybeKnown"),
        (["--natural"], "natural"),
    ],
)
def test_every_recipe_has_a_flag(probe: Path, tmp_path: Path, recipe: list[str], name: str) -> None:
    """Known only, all Unknown, one category and the natural shares are one flag each, all of the same size."""
    common = ["mix", "--knowledge", str(probe), "--split", "train", "--out", str(tmp_path / "set")]
    assert run([*common, *recipe]) == 0
    found = json.loads((tmp_path / "set" / "recipe.json").read_text())
    assert (found["recipe"], found["size"]) == (name, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which recipe? give one of --unknown SHARE, --category NAME, --natural"),
        (["--unknown", "0.5", "--natural"], "give one of unknown, category, shares, natural"),
        (["--unknown", "50"], "expected a share from 0 to 1"),
        (["--unknown", "0.5"], "2 facts of split 'test'"),
        (["--unknown", "0.5", "--split", "dev"], "split 'dev': found 'test' (2), 'train' (28)"),
        (["--unknown", "1", "--split", "train", "--size", "99"], "lower --size to 4 or less"),
        (["--natural", "--split", "train", "--form", "x"], "expected {question} exactly once"),
    ],
)
def test_mix_refuses_what_cannot_be(
    probe: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong mix exits with 2, one message, no traceback, and writes nothing."""
    assert run(["mix", "--knowledge", str(probe), "--out", str(tmp_path / "set"), *arguments]) == 2
    out, err = said(capsys)
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "set").exists()


def test_mix_takes_a_form_with_line_breaks(probe: Path, tmp_path: Path) -> None:
    """In --form \\n is a line break, as a shell passes it."""
    form = ["--form", "Q: {question}\\nA:"]
    out = tmp_path / "set"
    assert run(["mix", "--knowledge", str(probe), "--split", "train", "--natural", "--out", str(out), *form]) == 0
    first = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    assert first["prompt"].startswith("Q: Where is")
    assert first["prompt"].endswith("?\nA:")
    assert first["completion"].startswith(" land")


def test_mix_then_tune_then_score(
    probe: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mixed set is tuned on, and the score of the tuned model records arm, seed and form by itself."""
    mixed, tuned, scored = tmp_path / "set", tmp_path / "run", tmp_path / "score"
    form = "Say.\n{question}\n"
    assert (
        run(["mix", "--knowledge", str(probe), "--split", "train", "--natural", "--out", str(mixed), "--form", form])
        == 0
    )
    capsys.readouterr()
    flags = ["--max-steps", "2", "--batch-size", "4", "--learning-rate", "1e-3", "--seed", "3", "--device", "cpu"]
    assert run(["tune", "--model", str(tiny_model), "--data", str(mixed), "--out", str(tuned), *flags]) == 0
    out, _ = said(capsys)
    assert out.splitlines()[-1] == str(tuned / "model")
    assert out.startswith("natural: 4 rows, 2 steps (2.0 epochs) at learning rate 0.001")
    assert run(["score", "--model", str(tuned / "model"), "--knowledge", str(probe), "--out", str(scored)]) == 0
    provenance = read_run(scored).provenance
    assert provenance["settings"]["form"] == form
    assert (provenance["training"]["arm"], provenance["training"]["seed"]) == ("natural", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "prefix"], "--method prefix: expected full, lora or qlora"),
        (["--method", "qlora", "--device", "cpu"], "--method qlora: needs a GPU, and the device is cpu"),
        (["--distill", "-1"], "--distill -1.0: expected 0 (no distillation) or more"),
        (["--distill", "1"], "does not say which of its rows the base model knows"),
        (["--epochs", "1", "--max-steps", "1"], "--epochs and --max-steps: give one of them"),
        (["--learning-rate", "0"], "a rate of 0 trains nothing"),
        (["--set", "learnin_rate=1"], "did you mean learning_rate?"),
        (["--method", "lora", "--lora-r", "0"], "r = 0: expected at least 1"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
        (["--model", "/nowhere/at/all"], "no such model directory"),
    ],
)
def test_tune_refuses_what_cannot_be(
    tiny_model: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong tuning command exits with 2, one message, no traceback, and writes nothing."""
    data = tmp_path / "own.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n')
    common = ["tune", "--model", str(tiny_model), "--data", str(data), "--out", str(tmp_path / "run")]
    assert run([*common, *arguments]) == 2
    out, err = said(capsys)
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_tune_shows_its_notes(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What TRL has to say about the data stands below the result as a note."""
    data = tmp_path / "own.jsonl"
    data.write_text('{"prompt": "Which c", "completion": "ountry"}\n' * 4)
    common = ["tune", "--model", str(tiny_model), "--data", str(data), "--out", str(tmp_path / "run")]
    assert run([*common, "--max-steps", "1", "--device", "cpu"]) == 0
    out, err = said(capsys)
    assert "note: The tokenized prompt is not a prefix" in out
    assert "Tuning own: 100%" in err


def test_tune_watches_a_mix(probe: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training rows of a mix are asked by themselves, dev decides EARLY_STOP, and both are printed."""
    mixed, tuned = tmp_path / "set", tmp_path / "run"
    common = ["mix", "--knowledge", str(probe), "--split", "train", "--unknown", "0.5", "--out", str(mixed)]
    assert run(common) == 0
    capsys.readouterr()
    flags = ["--max-steps", "4", "--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu"]
    flags += ["--watch", f"dev={probe}", "--watch-rows", "0", "--stop", "best-dev", "--patience", "1"]
    assert run(["tune", "--model", str(tiny_model), "--data", str(mixed), "--out", str(tuned), *flags]) == 0
    out, _ = said(capsys)
    assert "fitted at the end: 0% of Known and 0% of Unknown training rows, of " in out
    assert "EARLY_STOP: the base model, before any step, with 0 of 30 dev facts right" in out
    assert "stopped by best-dev: dev accuracy was best at epoch 0 (0.0%), an epoch before epoch 1" in out
    assert out.splitlines()[-1] == str(tuned / "model")
    assert not (tuned / "early_stop").exists()
    assert len((tuned / "dynamics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--watch", "dev"], "--watch dev: expected NAME=KNOWLEDGE"),
        (["--stop", "best-dev"], "--stop best-dev: needs the facts that decide"),
        (["--no-dynamics", "--watch-steps", "2"], "--no-dynamics measures nothing"),
        (["--no-dynamics", "--watch", "dev=none"], "none: no such file"),
    ],
)
def test_tune_refuses_to_watch_what_it_cannot(
    tiny_model: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong watch exits with 2 and writes nothing."""
    data = tmp_path / "own.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n')
    common = ["tune", "--model", str(tiny_model), "--data", str(data), "--out", str(tmp_path / "run")]
    assert run([*common, *arguments]) == 2
    assert message in said(capsys)[1]
    assert not (tmp_path / "run").exists()


def test_lab_build_grows_an_organism_on_given_facts(
    tiny_facts: list[Fact], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """slick lab build takes a facts file, a split and sizes, and writes a model that every verb can load."""
    from slick.provenance import check_model

    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))
    sizes = ["--vocabulary", "300", "--width", "16", "--layers", "1", "--passes", "1"]
    common = ["lab", "build", "--facts", str(facts), "--out", str(tmp_path / "lab"), "--device", "cpu"]
    assert run([*common, "--split", "test", "--limit", "10", *sizes]) == 0
    out, _ = said(capsys)
    assert out.splitlines()[-1] == str(tmp_path / "lab" / "organism")
    assert "facts: 10 test" in out
    check_model(str(tmp_path / "lab" / "organism"))
    config = json.loads((tmp_path / "lab" / "organism" / "config.json").read_text())
    assert (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]) == (16, 48, 1)


def test_lab_build_has_no_split_of_the_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A split of the fictional world would be ignored, so it is refused."""
    assert run(["lab", "build", "--split", "test", "--out", str(tmp_path / "lab")]) == 2
    assert "give --facts too" in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()
