"""`slick mix` with whole recipes: files, names, options, held-out subjects, and knowledge of another model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.knowledge_file import write_knowledge
from slick.provenance import fingerprint

NUMBERS = ((10, 0), (4, 0), (0, 3), (0, 0))


def facts_known(subject: str, split: str, per_category: int, categories: int = 4) -> list[Knowledge]:
    """So many facts of each category in each of two relations, best category first; subjects begin with `subject`."""
    found = []
    for relation in ("P17", "P36"):
        for number, (greedy, sampled) in enumerate(NUMBERS[:categories]):
            for i in range(per_category):
                name = f"{subject}{relation}{number}{i}"
                fact = Fact.create(f"Where is {name}?", [f"land {i}"], relation=relation, subject=name, split=split)
                found.append(Knowledge(fact, greedy, 10, sampled, 0 if greedy else 160))
    return found


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of twelve train facts of each category in two relations."""
    path = tmp_path_factory.mktemp("probe")
    write_knowledge(path / "knowledge.parquet", facts_known("a", "train", 12), {"model": {"name": "base"}})
    return path


def mixed(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The recipe.json of a set, and its sidecar."""
    recipe = json.loads((out / "recipe.json").read_text())
    return recipe, [json.loads(line) for line in (out / "sidecar.jsonl").read_text().splitlines()]


def test_a_recipe_file_is_mixed(probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A YAML file with shares, weights, stages, replay and patch gives such a set, and its numbers are printed."""
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nshares: {MaybeKnown: 0.5, Unknown: 0.5}\nweights: {Unknown: 0.25}\n"
        "stages: [MaybeKnown]\nreplay: 4\npatch: {rows: 2, of: WeaklyKnown}\nsize: 12\n"
    )
    out = tmp_path / "set"
    assert run(["mix", "--knowledge", str(probe), "--recipe", str(tmp_path / "mine.yaml"), "--out", str(out)]) == 0
    recipe, sidecar = mixed(out)
    assert recipe["recipe"] == "mine"
    assert recipe["roles"] == {"mix": 12, "patch": 2, "replay": 4}
    assert recipe["stages"] == [6, 10, 2]
    assert [row["weight"] for row in sidecar if row["category"] == "Unknown"] == [0.25] * 6
    printed = capsys.readouterr().out
    assert "mine: 18 rows" in printed
    assert "rows by role: 12 mix, 4 replay, 2 patch" in printed
    assert "rows by stage, in order: 6, 10, 2" in printed
    assert "weights: from 0.25 to 1, mean 0.75" in printed
    assert printed.splitlines()[-1] == str(out)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--unknown", "0.5", "--without", "Unknown"], "unknown-50-without-unknown"),
        (["--unknown", "0.5", "--zero-weight"], "unknown-50-zero-weight"),
        (["--unknown", "0.5", "--idk"], "unknown-50-idk"),
        (["--natural", "--cap", "0.25", "--replay", "4", "--patch", "2"], "natural-capped-25-replay-4-patch-2"),
    ],
)
def test_options_and_names_give_the_same_set(probe: Path, tmp_path: Path, options: list[str], name: str) -> None:
    """What options say, the name that is printed says as well: both give the same bytes."""
    for out, recipe in (("one", options), ("other", ["--recipe", name])):
        assert run(["mix", "--knowledge", str(probe), "--out", str(tmp_path / out), "--size", "12", *recipe]) == 0
    for file in ("train.jsonl", "sidecar.jsonl", "recipe.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert mixed(tmp_path / "one")[0]["recipe"] == name


def test_every_option_is_read(probe: Path, tmp_path: Path) -> None:
    """Shares, weights, stages and a name of one's own are options too."""
    options = [
        "--shares",
        "Known=0.75,Unknown=0.25",
        "--weights",
        "1-p_greedy",
        "--stages",
        "Unknown",
        "--name",
        "mine",
    ]
    assert run(["mix", "--knowledge", str(probe), "--out", str(tmp_path / "set"), *options]) == 0
    recipe, sidecar = mixed(tmp_path / "set")
    assert recipe["description"] == {
        "name": "mine",
        "shares": {"Unknown": 0.25, "Known": 0.75},
        "weights": "1-p_greedy",
        "stages": [["Unknown"]],
    }
    assert [row["stage"] for row in sidecar] == [0] * 6 + [1] * 18
    assert all(row["weight"] == pytest.approx(1 - row["p_greedy"]) for row in sidecar)


def test_subjects_of_other_splits_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train facts whose subjects are those of the same probe's test facts, or of facts named by --held-out, are
    dropped: counted in recipe.json, said in a note, and the size is that of what is left."""
    train = facts_known("a", "train", 12)
    leaking = [
        Knowledge(Fact.create(f"Who is {s}?", ["x"], relation="P40", subject=s, split="test"), 10, 10)
        for s in ("aP1730", "aP1731", "aP3600")
    ]
    write_knowledge(tmp_path / "probe" / "knowledge.parquet", [*train, *leaking], {})
    (tmp_path / "dev.jsonl").write_text(
        json.dumps({"question": "Who is he?", "answer": "x", "subject": "aP1732", "split": "dev"})
    )
    arguments = ["mix", "--knowledge", str(tmp_path / "probe"), "--split", "train", "--unknown", "1"]
    assert run([*arguments, "--held-out", str(tmp_path / "dev.jsonl"), "--out", str(tmp_path / "set")]) == 0
    recipe, sidecar = mixed(tmp_path / "set")
    assert recipe["held_out"] == {"facts": 4, "subjects": 4, "dropped": {"P17": 3, "P36": 1}}
    assert recipe["size"] == 9 + 11
    assert not [row for row in sidecar if re.search(r"aP173[012]\?", row["question"])]
    assert "note: 4 facts were left out, since their subjects are held out (P17 3, P36 1)" in capsys.readouterr().out


def test_a_split_that_is_allowed_is_not_held_out(tmp_path: Path) -> None:
    """--allow-split trains on a split, and so holds none of its subjects out."""
    write_knowledge(tmp_path / "probe" / "knowledge.parquet", facts_known("a", "dev", 3), {})
    arguments = ["mix", "--knowledge", str(tmp_path / "probe"), "--natural", "--allow-split", "dev"]
    assert run([*arguments, "--out", str(tmp_path / "set")]) == 0
    assert mixed(tmp_path / "set")[0]["held_out"] == {"facts": 0, "subjects": 0, "dropped": {}}


def test_knowledge_of_another_model_is_refused(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --model the knowledge must be that model's, by its weights; what is allowed nevertheless leaves a note."""
    for name, model in (("own", fingerprint(str(tiny_model))), ("other", {"name": "other", "weights": "ab" * 32})):
        write_knowledge(tmp_path / name / "knowledge.parquet", facts_known("a", "train", 3), {"model": model})
    arguments = ["mix", "--natural", "--model", str(tiny_model)]
    assert run([*arguments, "--knowledge", str(tmp_path / "own"), "--out", str(tmp_path / "a")]) == 0
    assert mixed(tmp_path / "a")[0]["notes"] == []
    assert run([*arguments, "--knowledge", str(tmp_path / "other"), "--out", str(tmp_path / "b")]) == 2
    assert "holds the knowledge of other (weights abababababab…), not of" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    allowed = [*arguments, "--allow-mismatch", "--knowledge", str(tmp_path / "other"), "--out", str(tmp_path / "b")]
    assert run(allowed) == 0
    (note,) = mixed(tmp_path / "b")[0]["notes"]
    assert f"note: {note}" in capsys.readouterr().out


def test_a_model_that_knows_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any Unknown fact, |D| and every recipe that needs one say so; what can be mixed is, with a note."""
    write_knowledge(tmp_path / "probe" / "knowledge.parquet", facts_known("a", "train", 6, categories=3), {})
    arguments = ["mix", "--knowledge", str(tmp_path / "probe"), "--out", str(tmp_path / "set")]
    for options in (["--unknown", "0.5"], ["--natural"], ["--category", "Unknown", "--size", "6"], ["--unknown", "1"]):
        assert run([*arguments, *options]) == 2
        assert "\n  no fact at all is Unknown\n" in capsys.readouterr().err
    assert run([*arguments, "--natural", "--size", "6", "--idk"]) == 0
    printed = capsys.readouterr().out
    assert "note: none of the facts is Unknown: the base model knows them all" in printed
    assert "note: no row is Unknown, so none is relabelled" in printed
    assert mixed(tmp_path / "set")[0]["unknown"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "unknown-50", "--idk"], "--recipe unknown-50 says all of the recipe: leave out --idk"),
        (["--recipe", "unknwon-50"], "no such file, and no recipe of that name; did you mean 'unknown-50'"),
        (["--idk"], "which recipe? give one of --unknown SHARE"),
        (["--shares", "Known=0.5,Unknown=0.4"], "shares: add up to 0.9, expected 1; 0.1 is missing"),
        (["--shares", "Knwon=1"], "did you mean 'Known'"),
        (["--natural", "--stages", "MaybeKnown,MaybeKnown"], "stages: MaybeKnown is named 2 times"),
        (["--natural", "--weights", "p"], "weights: expected a function such as 1-p_greedy"),
        (["--natural", "--weights", "p_sampled"], "rows have no P_Correct(T>0)"),
        (["--natural", "--replay", "x"], "replay: expected a number of rows"),
        (["--category", "HighlyKnown", "--replay", "3"], "P17: 2 HighlyKnown wanted for the replay, 0 left beside"),
        (["--natural", "--held-out", "nowhere.jsonl"], "nowhere.jsonl: no such file or directory"),
        (["--natural", "--model", "/nowhere/at/all"], "no such model directory"),
        (["--unknown", "0.5", "--cap", "0.4"], "cap 0.4: below the share of Unknown rows"),
    ],
)
def test_a_wrong_recipe_writes_nothing(
    probe: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong recipe exits with 2, one message, no traceback, and writes nothing."""
    assert run(["mix", "--knowledge", str(probe), "--out", str(tmp_path / "set"), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "set").exists()
