"""What lm_eval's own results say of our tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.exact import ExactAnswer
from slick.facts import Fact
from slick.knowledge import Category, Chances
from slick.knowledge_file import read_knowledge
from slick.lm_eval_results import knowledge_of_answers, provenance_of_tasks
from slick.runs import read_run

FACT = Fact.create("Where?", ["There"], relation="P1", subject="s", split="test")


def row(greedy: list[str], sampled: list[list[str]]) -> dict[str, Any]:
    """A `slick_` task's row as lm_eval logs it."""
    asked = [(False, [answer]) for answer in greedy] + [(True, answers) for answers in sampled]
    return {
        "doc": FACT.as_dict(),
        "arguments": {f"gen_args_{i}": {"arg_0": "p", "arg_1": {"do_sample": s}} for i, (s, _) in enumerate(asked)},
        "resps": [answers for _, answers in asked],
        "p_correct_greedy": 0.5,
    }


def exact_row(*answers: ExactAnswer) -> dict[str, Any]:
    """A `slick_…_exact` task's row as lm_eval logs it."""
    settings = {"do_sample": True, "exact": True, "answers": list(FACT.answers)}
    return {
        "doc": FACT.as_dict(),
        "arguments": {f"gen_args_{i}": {"arg_0": "p", "arg_1": settings} for i in range(len(answers))},
        "resps": [[answer.as_json()] for answer in answers],
        "p_correct_greedy": 0.5,
    }


RIGHT, WRONG = ExactAnswer(True, 0.75, 1e-7, 2.0), ExactAnswer(False, 0.125, 3e-7, 0.5)
EXACT = {"settings": {"n_samples": 4, "tie": 0.1}}


def configs(**records: Any) -> dict[str, Any]:
    return {"configs": {name: {"metadata": {"slick": record}} for name, record in records.items()}}


def write_run(directory: Path, results: dict[str, Any], rows: list[Any]) -> Path:
    directory.mkdir()
    (directory / "results_2026.json").write_text(json.dumps({"results": {}, **results}))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "samples_slick_lab_p17_2026.jsonl").write_text(text)
    return directory


@pytest.mark.parametrize(
    ("greedy", "sampled", "category"),
    [
        ([" There", " There\nQ:"], [["x"], ["x"]], Category.HIGHLY_KNOWN),
        ([" There", "x"], [["x"], ["x"]], Category.MAYBE_KNOWN),
        (["x", "x"], [["x", "x"], ["x", " There"]], Category.WEAKLY_KNOWN),
        (["x", "x"], [["x", "x"], ["x", "there"]], Category.UNKNOWN),
    ],
)
def test_answers_are_judged_anew(greedy: list[str], sampled: list[list[str]], category: Category) -> None:
    """Greedy and sampled answers are told apart by their settings, and counted as the probe counts them."""
    knowledge = knowledge_of_answers(row(greedy, sampled), {})
    assert knowledge.category is category
    assert (knowledge.fact, knowledge.greedy_total, knowledge.sampled_total) == (FACT, 2, sum(map(len, sampled)))


def test_exact_answers_are_read_back_number_by_number() -> None:
    """An exact task's row gives the chance under each set, the largest pruned mass and the samples meant."""
    knowledge = knowledge_of_answers(exact_row(RIGHT, WRONG), EXACT)
    assert (knowledge.fact, knowledge.category) == (FACT, Category.MAYBE_KNOWN)
    assert (knowledge.greedy_right, knowledge.greedy_total, knowledge.sampled_total) == (1, 2, 0)
    assert knowledge.chances == Chances((0.75, 0.125), 4, 3e-7, False)


@pytest.mark.parametrize(("n_samples", "category"), [(4, Category.WEAKLY_KNOWN), (1, Category.UNKNOWN)])
def test_the_recorded_number_of_samples_decides(n_samples: int, category: Category) -> None:
    """Without a right greedy answer the category is what that many samples would more likely find."""
    settings = {"settings": {"n_samples": n_samples, "tie": 0.1}}
    assert knowledge_of_answers(exact_row(WRONG, WRONG), settings).category is category


@pytest.mark.parametrize(("tie", "uncertain"), [(0.4, False), (0.6, True)])
def test_the_recorded_tie_makes_a_verdict_uncertain(tie: float, uncertain: bool) -> None:
    """A greedy verdict is judged by what the run's own model counts as a tie."""
    chances = knowledge_of_answers(exact_row(RIGHT, WRONG), {"settings": {"n_samples": 4, "tie": tie}}).chances
    assert chances is not None
    assert chances.uncertain is uncertain


def test_the_recorded_matching_holds() -> None:
    """A run under normalized matching is read back under it."""
    loose = {"settings": {"matching": "normalized"}}
    assert knowledge_of_answers(row(["there!"], [["x"]]), loose).category is Category.HIGHLY_KNOWN


def test_the_records_of_all_relations_are_put_together() -> None:
    """Settings, model and versions are the run's; priors are each relation's."""
    record = {"schema": 1, "model": {"name": "m"}, "versions": {"slick": "1"}, "settings": {"seed": 0}}
    merged = provenance_of_tasks(
        configs(a={**record, "priors": {"P1": "x"}}, b={**record, "priors": {"P2": "y"}, "facts": {"n": 3}})
    )
    assert merged == {**record, "priors": {"P1": "x", "P2": "y"}}


@pytest.mark.parametrize(
    "results",
    [{}, {"configs": None}, {"configs": {"arc": {"metadata": None}}}, {"configs": {"arc": 3}}, configs(a=[1])],
)
def test_other_tasks_leave_no_provenance(results: dict[str, Any]) -> None:
    """Results of other tasks, whatever they look like, yield nothing."""
    assert provenance_of_tasks(results) == {}


def test_a_run_of_lm_eval_has_the_tasks_provenance(tmp_path: Path) -> None:
    """A run that lm_eval wrote says of which model it is, and is still told apart from ours."""
    run = read_run(write_run(tmp_path / "run", configs(a={"model": {"name": "m"}}), []))
    assert run.provenance["model"] == {"name": "m"}
    assert run.kind == "lm_eval"


def test_rows_of_other_tasks_are_passed_over(tmp_path: Path) -> None:
    """Knowledge comes from the rows that hold P_Correct; others may stand beside them."""
    other = {"doc": {}, "exact_match": 1.0}
    path = write_run(tmp_path / "run", {}, [other, row(["x"], [[" There"]])])
    (knowledge,) = read_knowledge(path).knowledge
    assert knowledge.category is Category.WEAKLY_KNOWN


def test_a_run_without_probed_facts_is_refused(tmp_path: Path) -> None:
    """The error says what would have been read."""
    path = write_run(tmp_path / "run", {}, [{"doc": {}, "exact_match": 1.0}])
    with pytest.raises(InputError, match="holds no knowledge; expected a `slick probe` run, or an lm_eval run"):
        read_knowledge(path)


@pytest.mark.parametrize(
    "change",
    [
        {"resps": []},
        {"resps": [["x"], []]},
        {"resps": [[], ["x"]]},
        {"resps": [["x"], [None]]},
        {"arguments": {"gen_args_0": "p"}},
        {"arguments": None},
        {"doc": {"question": "Where?"}},
    ],
    ids=["no answers", "no samples", "no greedy answer", "no text", "no settings", "no arguments", "no fact"],
)
def test_a_broken_row_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    """File and line of a row that cannot be judged, and no traceback."""
    path = write_run(tmp_path / "run", {}, [row(["x"], [["x"]]), {**row(["x"], [["x"]]), **change}])
    with pytest.raises(InputError, match=r"samples_slick_lab_p17_2026\.jsonl:2: not a probed fact"):
        read_knowledge(path)


@pytest.mark.parametrize(
    ("change", "provenance"),
    [
        ({"resps": []}, EXACT),
        ({"resps": [[" There"]]}, EXACT),
        ({"resps": [["{}"]]}, EXACT),
        ({"resps": [["3"]]}, EXACT),
        ({"resps": [['{"greedy": true, "p": 1.5, "pruned": 0, "gap": 1}']]}, EXACT),
        ({"resps": [[RIGHT.as_json(), RIGHT.as_json()]]}, EXACT),
        ({}, {}),
    ],
    ids=["no answers", "a text", "an empty object", "a number", "no probability", "two answers", "no settings"],
)
def test_a_broken_exact_row_is_named(tmp_path: Path, change: dict[str, Any], provenance: dict[str, Any]) -> None:
    """File and line of an exact row that cannot be read."""
    results = configs(a=provenance) if provenance else {}
    path = write_run(tmp_path / "run", results, [{**exact_row(RIGHT), **change}])
    with pytest.raises(InputError, match=r"samples_slick_lab_p17_2026\.jsonl:1: not a probed fact"):
        read_knowledge(path)


def test_rows_of_both_estimators_are_refused(tmp_path: Path) -> None:
    """A run of sampled and exact tasks holds two knowledges, and the error says how to get one."""
    path = write_run(tmp_path / "run", configs(a=EXACT), [row(["x", "x"], [["x"], ["x"]]), exact_row(RIGHT, WRONG)])
    with pytest.raises(InputError, match=r"by both estimators.*an --output_path each"):
        read_knowledge(path)
