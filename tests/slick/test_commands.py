"""slick.commands: the verbs probe and score, as a user runs them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run
from slick.commands import _print_probe as print_probe
from slick.facts import Fact
from slick.knowledge import CATEGORIES, Chances, Knowledge
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick.matching import Matching
from slick.metrics import fact_metrics, probe_metrics, summarise
from slick.runs import Run, read_run, read_samples
from slick.terminal import percent

QUICK = ["--n-exemplar-sets", "2", "--n-exemplars", "2", "--n-samples", "2", "--n-before", "1", "--max-gen-toks", "4"]


def write_facts(path: Path, facts: list[Fact]) -> str:
    path.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in facts))
    return str(path)


@pytest.fixture
def facts_file(tmp_path: Path, tiny_facts: list[Fact]) -> str:
    return write_facts(tmp_path / "facts.jsonl", tiny_facts)


@pytest.fixture
def probe(tiny_model: Path, facts_file: str) -> Callable[..., int]:
    """Runs `slick probe` on the tiny model with few sets and samples."""

    def call(out: Path, *more: str, facts: str = facts_file) -> int:
        return run(["probe", "--model", str(tiny_model), "--facts", facts, "--out", str(out), *QUICK, *more])

    return call


@pytest.fixture
def score(tiny_model: Path) -> Callable[..., int]:
    def call(out: Path, *more: str) -> int:
        return run(["score", "--model", str(tiny_model), "--out", str(out), "--max-gen-toks", "4", *more])

    return call


def test_a_probe_prints_its_shares_and_writes_its_run(
    tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four categories and the answer prior with intervals, and the directory as the last line."""
    assert probe(tmp_path / "run", "--split", "test") == 0
    out = capsys.readouterr().out
    assert "12 facts probed" in out
    lines = [line.split() for line in out.splitlines() if "[" in line]
    assert [line[0] for line in lines] == ["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown", "answer"]
    assert sum(int(line[1]) for line in lines[:4]) == 12
    assert out.splitlines()[-1] == str(tmp_path / "run")
    knowledge = read_knowledge(tmp_path / "run").knowledge
    assert len(knowledge) == 12
    assert {(k.greedy_total, k.before_total) for k in knowledge} == {(2, 1)}


def test_an_exact_probe_prints_expected_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What samples decide is expected, with the flagged facts; how firm a category is stands beside it."""
    knowledge = [
        Knowledge(Fact.create(f"Q{i}?", ["a"]), i % 4, 3, chances=Chances((0.01 * (i % 7),) * 3)) for i in range(60)
    ]
    metrics = [fact_metrics(k, "b", Matching.STRICT) for k in knowledge]
    found = {**summarise(metrics), **probe_metrics(knowledge)}
    print_probe(Run(tmp_path, {"results": {"slick_probe": found}}))
    out = capsys.readouterr().out
    lines = {line.split("  ")[1].strip(): line.split() for line in out.splitlines() if "[" in line}
    assert list(lines) == [*CATEGORIES, "flagged", "numerically uncertain", "answer prior"]
    assert lines["HighlyKnown"][1] == "15"
    unknown = sum(k.u or 0 for k in knowledge)
    assert lines["Unknown"][1] == f"{unknown:.1f}"
    assert lines["WeaklyKnown"][1] == f"{15 - unknown:.1f}"
    assert lines["flagged"][1] == str(sum(bool(k.flagged) for k in knowledge))
    for category in CATEGORIES:
        assert lines[category][-1] == percent(found[f"keeps_{category.metric},none"])
    assert "WeaklyKnown and Unknown: expected facts" in out
    print_probe(Run(tmp_path, {"results": {"slick_probe": summarise(metrics[:4])}}))
    assert capsys.readouterr().out.count("undefined") == 4


def test_a_repeated_probe_prints_the_same_and_changes_nothing(
    tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished run is read, not made again."""
    assert probe(tmp_path / "run", "--limit", "2") == 0
    first, before = capsys.readouterr().out, {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    assert probe(tmp_path / "run", "--limit", "2") == 0
    assert capsys.readouterr().out == first
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_the_seed_decides_facts_exemplars_and_samples(tmp_path: Path, probe: Any) -> None:
    """Two runs of one seed are the same bytes; another seed is another run."""
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert probe(tmp_path / name, "--limit", "3", "--seed", seed, "--temperature", "5") == 0
    a, b, c = ((tmp_path / name / KNOWLEDGE).read_bytes() for name in "abc")
    samples = [next(iter(read_run(tmp_path / name).samples.values())).read_bytes() for name in "abc"]
    assert samples[0] == samples[1] != samples[2]
    assert a == b != c


def test_facts_without_splits_are_probed_too(tmp_path: Path, probe: Any) -> None:
    """Exemplars are a seeded hold-out; no fact is shown with itself, its question or its subject."""
    facts = [Fact.create(f"Where is {i}?", [f"p{i}"], subject=f"s{i}") for i in range(8)]
    plain = [{"question": f.question, "answer": f.answers[0], "subject": f.subject} for f in facts]
    file = tmp_path / "plain.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in plain))
    assert probe(tmp_path / "run", facts=str(file)) == 0
    (samples,) = read_run(tmp_path / "run").samples.values()
    for row in read_samples(samples):
        for request in row["arguments"].values():
            assert request["arg_0"].count(row["doc"]["question"]) == 1


def test_a_probes_knowledge_serves_as_facts(tmp_path: Path, probe: Any) -> None:
    """With splits and without, the facts of a run are the facts of another."""
    facts = [Fact.create(f"Where is {i}?", [f"p{i}"], relation="r") for i in range(5)]
    plain = write_facts(tmp_path / "plain.jsonl", facts)
    assert probe(tmp_path / "first", facts=plain) == 0
    assert probe(tmp_path / "second", facts=str(tmp_path / "first" / KNOWLEDGE)) == 0
    assert [k.fact for k in read_knowledge(tmp_path / "second").knowledge] == facts


def test_exemplars_may_come_from_a_file(tmp_path: Path, probe: Any, tiny_facts: list[Fact]) -> None:
    """Then from nothing else."""
    mine = [Fact.create(f"Whose is {i}?", ["mine"], relation="P17") for i in range(3)]
    file = write_facts(tmp_path / "mine.jsonl", mine)
    assert probe(tmp_path / "run", "--relations", "P17", "--limit", "1", "--exemplars", file) == 0
    (samples,) = read_run(tmp_path / "run").samples.values()
    (row,) = read_samples(samples)
    for request in row["arguments"].values():
        assert request["arg_0"].count("Whose is") == 2
        assert request["arg_0"].count("Q: ") == 3


def test_the_options_of_a_probe_reach_its_run(tmp_path: Path, probe: Any) -> None:
    """What was asked for is what is recorded."""
    options = ["--all-samples", "--matching", "normalized", "--top-k", "3", "--batch-size", "5", "--limit", "2"]
    chat = ["--apply-chat-template", "--fewshot-as-multiturn", "--system-instruction", "S"]
    assert probe(tmp_path / "run", *options, *chat, "--seed", "9", "--model-args", "dtype=float32") == 0
    settings = read_run(tmp_path / "run").provenance["settings"]
    expected = {"estimator": "sampled", "matching": "normalized", "top_k": 3, "seed": 9, "n_exemplar_sets": 2}
    assert {name: settings[name] for name in expected} == expected
    assert settings["chat"] == {"template": True, "multiturn": True, "system": "S"}
    assert settings["backend"] == {"name": "slick-hf", "args": {"dtype": "float32"}, "batch_size": 5}


def test_a_score_by_category_of_a_probe(
    tmp_path: Path, probe: Any, score: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The probe brings facts, categories and answer priors; the run says of which model they are."""
    assert probe(tmp_path / "probe", "--split", "test") == 0
    capsys.readouterr()
    assert score(tmp_path / "score", "--knowledge", str(tmp_path / "probe")) == 0
    out = capsys.readouterr().out
    assert "12 facts scored, exact match" in out
    assert [line.split()[0] for line in out.splitlines() if "[" in line] == ["all", "Unknown", "abstained", "answer"]
    scored, probed = read_run(tmp_path / "score"), read_run(tmp_path / "probe")
    assert scored.provenance["knowledge_model"] == probed.provenance["model"]
    assert scored.provenance["facts"]["digest"] == probed.provenance["facts"]["digest"]
    assert scored.results["results"]["closed_book"]["answer_prior,none"] > 0


def test_a_score_selects_among_the_facts_of_a_probe(tmp_path: Path, probe: Any, score: Any) -> None:
    """--limit, --relations and --split are obeyed without --facts too."""
    assert probe(tmp_path / "probe") == 0
    select = ["--split", "test", "--relations", "P36", "--limit", "2"]
    assert score(tmp_path / "score", "--knowledge", str(tmp_path / "probe"), *select) == 0
    (samples,) = read_run(tmp_path / "score").samples.values()
    docs = [row["doc"] for row in read_samples(samples)]
    assert [(doc["relation"], doc["split"]) for doc in docs] == [("P36", "test")] * 2


def test_a_score_without_a_probe_has_no_categories(tmp_path: Path, score: Any, facts_file: str) -> None:
    """Accuracy, abstentions and the answer prior of the facts themselves."""
    assert score(tmp_path / "score", "--facts", facts_file, "--split", "test") == 0
    found = read_run(tmp_path / "score").results["results"]["closed_book"]
    assert {"exact_match,none", "abstained,none", "answer_prior,none"} <= set(found)
    assert not [name for name in found if "known" in name]


def test_a_tuned_model_is_scored_in_its_training_form(tmp_path: Path, tiny_model: Path, facts_file: str) -> None:
    """The form that training.json names, unless another is given; the record goes into the run."""
    model = tmp_path / "tuned" / "model"
    model.parent.mkdir()
    model.symlink_to(tiny_model, target_is_directory=True)
    (model.parent / "training.json").write_text('{"form": "Tell me: {question}\\n", "arm": "known"}')
    base = ["score", "--model", str(model), "--facts", facts_file, "--limit", "2", "--max-gen-toks", "2"]
    assert run([*base, "--out", str(tmp_path / "own")]) == 0
    assert run([*base, "--out", str(tmp_path / "given"), "--form", "Q: {question}\\nA:"]) == 0
    forms = {}
    for name in ("own", "given"):
        found = read_run(tmp_path / name)
        assert found.provenance["training"]["arm"] == "known"
        (row, _) = read_samples(found.samples["closed_book"])
        forms[name] = row["arguments"]["gen_args_0"]["arg_0"].replace(row["doc"]["question"], "?")
    assert forms == {"own": "Tell me: ?\n", "given": "Q: ?\nA:"}


def test_a_model_tuned_on_conversations_is_scored_in_them(
    tmp_path: Path, tiny_model: Path, facts_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through its chat template, without being told, and saying so."""
    model = tmp_path / "tuned" / "model"
    model.parent.mkdir()
    model.symlink_to(tiny_model, target_is_directory=True)
    (model.parent / "training.json").write_text('{"conversational": true}')
    base = ["score", "--model", str(model), "--facts", facts_file, "--limit", "2", "--max-gen-toks", "2"]
    assert run([*base, "--out", str(tmp_path / "own")]) == 0
    assert "asked through its chat template; the base needs --apply-chat-template" in capsys.readouterr().err
    found = read_run(tmp_path / "own")
    (row, _) = read_samples(found.samples["closed_book"])
    assert row["arguments"]["gen_args_0"]["arg_0"].startswith("<user>")
    assert found.provenance["settings"]["chat"]["template"] is True


def test_an_exact_probe_may_be_verified(tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Chances in place of samples in the run, and beside it how drawn samples compare."""
    more = ("--split", "test", "--estimator", "exact", "--verify", "5")
    assert probe(tmp_path / "run", *more) == 0
    found = json.loads((tmp_path / "run" / "verification.json").read_text())
    assert (found["facts"], found["greedy"], found["samples"], found["agrees"]) == (5, 10, 20, True)
    assert "5 facts drawn by the sampled protocol" in capsys.readouterr().out
    knowledge = read_knowledge(tmp_path / "run").knowledge
    assert all(k.chances is not None and k.chances.n_samples == 2 for k in knowledge)
    assert {k.before_total for k in knowledge} == {1}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--estimator", "exact", "--all-samples"), "--all-samples: the exact estimator draws none"),
        (("--verify", "5"), "--verify: compares the exact estimator with samples"),
        (("--estimator", "exact", "--backend", "hf"), "--backend hf: shows no probabilities"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    """They are refused, and say what goes."""
    assert probe(tmp_path / "run", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_a_user_should_know_of_a_model_is_said(
    tmp_path: Path, tiny_model: Path, facts_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that asks for a repetition penalty, which the protocol does not have."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    settings = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps({**settings, "repetition_penalty": 1.5}))
    arguments = ["--model", str(model), "--facts", facts_file, "--split", "test", "--limit", "2"]
    assert run(["score", *arguments, "--out", str(tmp_path / "score")]) == 0
    assert "slick: note: generation_config.json asks for repetition_penalty=1.5" in capsys.readouterr().err
