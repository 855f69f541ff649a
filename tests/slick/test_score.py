"""slick.score: closed-book accuracy, by category, with abstentions and the answer prior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import slick.score
from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Category
from slick.matching import Matching
from slick.prompts import Chat
from slick.runs import read_samples
from slick.score import Score, answer_metrics, run_score

FACTS = [
    Fact.create(f"Where is {i}?", [f"place {i}"], relation="r" if i < 6 else "s", split="test", id=f"f{i}")
    for i in range(10)
]
CATEGORIES = {
    **{f"f{i}": Category.HIGHLY_KNOWN for i in range(4)},
    **{f"f{i}": Category.UNKNOWN for i in range(4, 9)},
}
SCORE = Score(FACTS, CATEGORIES, {"r": "place 0"}, form="{question}\n", source="facts.jsonl")


def script(prompt: str, sample: int | None) -> str:
    """Right for even facts, an abstention for 1 and 5, wrong for 3, 7 and 9."""
    i = int(prompt.split("Where is ")[1].split("?")[0])
    if i in (1, 5):
        return "I don't know.\n"
    return f"place {i}\nmore" if i % 2 == 0 else "place 99"


@pytest.mark.parametrize(
    ("answer", "prior", "matching", "metrics"),
    [
        (" Rome\n", "Rome", Matching.STRICT, {"exact_match": 1.0, "abstained": 0.0, "answer_prior": 1.0}),
        (" rome", "rome", Matching.STRICT, {"exact_match": 0.0, "abstained": 0.0, "answer_prior": 0.0}),
        (" rome", "rome", Matching.NORMALIZED, {"exact_match": 1.0, "abstained": 0.0, "answer_prior": 1.0}),
        (" I don't know", None, Matching.STRICT, {"exact_match": 0.0, "abstained": 1.0}),
        ("\nRome", None, Matching.STRICT, {"exact_match": 0.0, "abstained": 1.0}),
    ],
)
def test_the_metrics_of_one_answer(
    answer: str, prior: str | None, matching: Matching, metrics: dict[str, float]
) -> None:
    """Exact match, abstention, and what the relation's commonest answer would have scored."""
    assert answer_metrics(answer, Fact.create("?", ["Rome"]), prior, matching) == metrics


def test_a_score_has_accuracy_by_category_and_relation(tmp_path: Path, scripted: Any) -> None:
    """Shares of all facts, of each category with its n, and of each relation."""
    run = run_score(SCORE, scripted(script), tmp_path / "run")
    found = run.results["results"]
    whole = found["closed_book"]
    assert whole["sample_len"] == 10
    assert whole["exact_match,none"] == 0.5
    assert whole["abstained,none"] == 0.2
    assert (whole["exact_match_highly_known,none"], whole["highly_known_n,none"]) == (0.5, 4)
    assert (whole["exact_match_unknown,none"], whole["unknown_n,none"]) == (pytest.approx(0.6), 5)
    assert "exact_match_maybe_known,none" not in whole
    assert found["closed_book_r"]["exact_match,none"] == 0.5
    assert found["closed_book_r"]["sample_len"] == 6
    assert found["closed_book_s"]["exact_match,none"] == 0.5


def test_the_answer_prior_is_averaged_where_there_is_one(tmp_path: Path, scripted: Any) -> None:
    """A relation without a known commonest answer has no baseline, and the number of facts says so."""
    found = run_score(SCORE, scripted(script), tmp_path / "run").results["results"]
    assert found["closed_book"]["answer_prior,none"] == pytest.approx(1 / 6)
    assert found["closed_book"]["answer_prior_n,none"] == 6
    assert "answer_prior,none" not in found["closed_book_s"]


def test_one_relation_has_no_subtasks(tmp_path: Path, scripted: Any) -> None:
    """It would be the whole again."""
    run = run_score(replace(SCORE, facts=FACTS[:6]), scripted(script), tmp_path / "run")
    assert list(run.results["results"]) == ["closed_book"]


def test_every_fact_is_asked_once_greedily_in_the_training_form(tmp_path: Path, scripted: Any) -> None:
    """One zero-shot request a fact, in order, recorded in its row with the answer as given."""
    backend = scripted(script)
    run = run_score(SCORE, backend, tmp_path / "run")
    kwargs = {"until": ["\n"], "max_gen_toks": 32, "do_sample": False, "temperature": 0.0}
    assert backend.asked == [(f"Where is {i}?\n", kwargs) for i in range(10)]
    rows = list(read_samples(run.samples["closed_book"]))
    assert [Fact.from_dict(row["doc"]) for row in rows] == FACTS
    assert rows[0]["arguments"] == {"gen_args_0": {"arg_0": "Where is 0?\n", "arg_1": kwargs}}
    assert rows[0]["resps"] == [["place 0\nmore"]]
    assert [row["category"] for row in rows] == [*["HighlyKnown"] * 4, *["Unknown"] * 5, None]


def test_a_score_records_where_it_comes_from(tmp_path: Path, scripted: Any) -> None:
    """Model, facts, form, tuning run and the model that the categories are of."""
    training = {"arm": "known", "seed": 1}
    score = replace(SCORE, training=training, knowledge_model={"weights": "base"})
    provenance = run_score(score, scripted(script), tmp_path / "run").provenance
    assert provenance["kind"] == "score"
    assert provenance["model"] == {"name": "scripted", "weights": "w"}
    assert provenance["training"] == training
    assert provenance["knowledge_model"] == {"weights": "base"}
    assert provenance["facts"]["source"] == "facts.jsonl"
    assert provenance["settings"]["form"] == "{question}\n"
    assert provenance["settings"]["matching"] == "strict"


def test_a_chat_template_reaches_the_prompt_and_the_settings(tmp_path: Path, scripted: Any) -> None:
    """The form's text is the user turn."""
    backend = scripted(script)
    chat = Chat(lambda turns: "".join(f"<{t['role']}>{t['content']}" for t in turns), system="Be brief.")
    run = run_score(replace(SCORE, chat=chat), backend, tmp_path / "run")
    assert backend.asked[0][0] == "<system>Be brief.<user>Where is 0?"
    assert run.provenance["settings"]["chat"] == {"template": True, "system": "Be brief."}


@pytest.mark.parametrize("lives", [0, 1, 2])
def test_a_killed_score_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripted: Any, killed: Any, lives: int
) -> None:
    """Facts whose chunk was committed are not asked again."""
    monkeypatch.setattr(slick.score, "CHUNK", 4)
    whole = run_score(SCORE, scripted(script), tmp_path / "whole")
    with pytest.raises(killed, match="killed"):
        run_score(SCORE, scripted(script, lives=lives), tmp_path / "killed")
    backend = scripted(script)
    resumed = run_score(SCORE, backend, tmp_path / "killed")
    assert len(backend.asked) == 10 - 4 * lives
    assert resumed.samples["closed_book"].read_bytes() == whole.samples["closed_book"].read_bytes()
    assert resumed.results["results"] == whole.results["results"]


def test_a_finished_score_is_not_repeated(tmp_path: Path, scripted: Any) -> None:
    """The same command again returns the run and asks nothing."""
    first = run_score(SCORE, scripted(script), tmp_path / "run")
    assert run_score(SCORE, scripted(script, lives=0), tmp_path / "run") == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"form": "Q: {question}\nA:"}, "form"),
        ({"matching": Matching.NORMALIZED}, "matching"),
        ({"facts": FACTS[1:]}, "facts"),
        ({"categories": {}}, "categories"),
        ({"max_gen_toks": 8}, "max_gen_toks"),
        ({"chat": Chat(system="x")}, "chat.system"),
    ],
)
def test_another_score_is_not_mixed_into_a_run(
    tmp_path: Path, scripted: Any, change: dict[str, Any], named: str
) -> None:
    """Whatever the answers depend on must be the same; the difference is named."""
    run_score(SCORE, scripted(script), tmp_path / "run")
    with pytest.raises(InputError, match=rf"holds a run with other settings:\n  {named}: there"):
        run_score(replace(SCORE, **change), scripted(script), tmp_path / "run")
