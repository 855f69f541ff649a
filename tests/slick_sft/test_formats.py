"""A fine-tuning set on disk: what stands in it, and what is refused when it is read."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Category, Knowledge
from slick.matching import is_abstention
from slick.prompts import DEFAULT_FORM, Chat, form_prompt
from slick_sft.formats import TrainingSet, check_base, check_knowledge_model, read_mix, read_training_set, write_mix
from slick_sft.held_out import HeldOut
from slick_sft.recipe import IDK, ZERO_WEIGHT, Extra, LinearWeights, Recipe
from slick_sft.recipe_file import recipe_of
from slick_sft.recipes import MixRow, mix

PROVENANCE = {"model": {"name": "base", "weights": "ab"}, "facts": {"digest": "cd"}, "backend": {"name": "hf"}}


def world() -> list[Knowledge]:
    """Two facts of each category in each of two relations."""
    found = []
    for relation in ("P17", "P36"):
        for name, greedy, sampled in (("H", 10, 0), ("M", 4, 0), ("W", 0, 3), ("U", 0, 0)):
            for i in range(2):
                fact = Fact.create(
                    f"{relation} {name}{i}?", [f"É {name}{i}", "other"], relation=relation, split="train"
                )
                found.append(Knowledge(fact, greedy, 10, sampled, 0 if greedy else 160))
    return found


@pytest.fixture
def rows() -> list[MixRow]:
    return mix(world(), Recipe.share(0.5), 0)


def written(path: Path, rows: list[MixRow], **more: Any) -> Path:
    return write_mix(path, rows, Recipe.share(0.5), 0, **{"form": DEFAULT_FORM, "provenance": PROVENANCE, **more})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_are_prompt_and_completion(tmp_path: Path, rows: list[MixRow]) -> None:
    """train.jsonl holds the training form and the first accepted answer, in the order of the mix."""
    found = lines(written(tmp_path / "set", rows) / "train.jsonl")
    assert found == [
        {
            "prompt": f"Answer the following question.\n{row.knowledge.fact.question}\n",
            "completion": row.knowledge.fact.answers[0],
        }
        for row in rows
    ]


def test_a_form_that_stays_on_its_line_gets_a_space_in_the_completion(tmp_path: Path, rows: list[MixRow]) -> None:
    """Where the prompt ends in a colon, the answer's space belongs to the completion, as in pre-training text."""
    found = lines(written(tmp_path / "set", rows, form="Q: {question}\nA:") / "train.jsonl")
    assert found[0]["completion"] == " " + rows[0].answer


def test_the_dataset_directory_holds_the_same_rows(tmp_path: Path, rows: list[MixRow]) -> None:
    """`datasets` opens the directory and finds the rows of train.jsonl."""
    from datasets import load_from_disk

    path = written(tmp_path / "set", rows)
    assert load_from_disk(str(path / "dataset")).to_list() == lines(path / "train.jsonl")


def test_the_sidecar_knows_each_row(tmp_path: Path, rows: list[MixRow]) -> None:
    """Line i of the sidecar says of training row i its fact, relation, category and both P_Correct values."""
    path = written(tmp_path / "set", rows)
    sidecar = lines(path / "sidecar.jsonl")
    assert [row["row"] for row in sidecar] == list(range(len(rows)))
    for side, row, trained in zip(sidecar, rows, lines(path / "train.jsonl"), strict=True):
        k = row.knowledge
        assert (side["id"], side["relation"], side["category"]) == (k.fact.id, k.fact.relation, k.category)
        assert side["subject"] == k.fact.subject
        assert (side["p_greedy"], side["p_sampled"]) == (k.p_greedy, k.p_sampled)
        assert side["question"] in str(trained["prompt"])
        assert side["answer"] == trained["completion"]


def test_the_recipe_is_recorded(tmp_path: Path, rows: list[MixRow]) -> None:
    """recipe.json records recipe, seed, counts by relation and category, form, and where the knowledge is from."""
    recipe = json.loads((written(tmp_path / "set", rows) / "recipe.json").read_text())
    assert (recipe["recipe"], recipe["seed"], recipe["size"], recipe["unknown"]) == ("unknown-50", 0, 4, 0.5)
    assert {r: of["Unknown"] for r, of in recipe["counts"].items()} == {"P17": 1, "P36": 1}
    assert recipe["form"] == DEFAULT_FORM
    assert recipe["knowledge"]["model"] == PROVENANCE["model"]


def test_messages_are_what_a_chat_template_gets_at_scoring_time(tmp_path: Path, rows: list[MixRow]) -> None:
    """A conversational row's user turn is the very message that `form_prompt` puts through the template."""
    found = lines(written(tmp_path / "set", rows, conversational=True) / "train.jsonl")
    seen: list[Any] = []
    form_prompt(DEFAULT_FORM, rows[0].knowledge.fact.question, Chat(lambda turns: seen.append(turns) or ""))
    assert found[0]["prompt"] == seen[0]
    assert found[0]["completion"] == [{"role": "assistant", "content": rows[0].answer}]
    assert read_mix(tmp_path / "set").conversational


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Every file of a set is the same, byte by byte, for the same seed and another order of the knowledge."""
    one = written(tmp_path / "one", mix(world(), Recipe.share(0.5), 7))
    other = written(tmp_path / "other", mix(world()[::-1], Recipe.share(0.5), 7))
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert len(names) == 6
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_what_is_written_can_be_read(tmp_path: Path, rows: list[MixRow]) -> None:
    """read_mix gives back the rows, the recipe and the digest."""
    path = written(tmp_path / "set", rows)
    found = read_mix(path)
    assert list(found.rows) == lines(path / "train.jsonl")
    assert found.digest == found.recipe["train_sha256"]
    assert found.form == DEFAULT_FORM
    assert not found.conversational


RICH = Recipe(
    unknown=Fraction(1, 2),
    weights=ZERO_WEIGHT,
    stages=((Category.MAYBE_KNOWN, Category.WEAKLY_KNOWN),),
    replay=Extra(1, "HighlyKnown"),
    patch=Extra(1, "Known"),
)


def test_weights_and_stages_stand_in_every_row_and_are_read(tmp_path: Path) -> None:
    """A set with weights and stages has both columns, in train.jsonl, in `datasets` and in the sidecar, and is read
    with them."""
    from datasets import load_from_disk

    rows = mix(world(), RICH, 1)
    path = write_mix(tmp_path / "set", rows, RICH, 1, form=DEFAULT_FORM)
    train = lines(path / "train.jsonl")
    assert [(row["weight"], row["stage"]) for row in train] == [(row.weight, row.stage) for row in rows]
    assert len({row.stage for row in rows}) == 3
    assert load_from_disk(str(path / "dataset")).to_list() == train
    found = read_mix(path)
    assert found.weights == tuple(row.weight for row in rows)
    assert found.stages == tuple(row.stage for row in rows)
    assert list(found.sidecar) == lines(path / "sidecar.jsonl")
    assert [(side["role"], side["weight"], side["stage"], side["category"]) for side in found.sidecar] == [
        (row.role, row.weight, row.stage, row.knowledge.category) for row in rows
    ]
    assert [set(row) for row in found.rows] == [{"prompt", "completion"}] * len(rows)


def test_a_set_without_weights_and_stages_has_no_such_columns(tmp_path: Path, rows: list[MixRow]) -> None:
    """Where every row weighs 1 in one stage, the rows are those that TRL knows, and nothing is read of either."""
    path = written(tmp_path / "set", rows)
    assert all(set(row) == {"prompt", "completion"} for row in lines(path / "train.jsonl"))
    assert (read_mix(path).weights, read_mix(path).stages) == (None, None)


def test_the_recipe_is_recorded_whole(tmp_path: Path) -> None:
    """recipe.json has the recipe as a recipe file has it, the rows by role and stage, the weights, what was held out
    and the notes."""
    rows = mix(world(), RICH, 1)
    write_mix(
        tmp_path / "set",
        rows,
        RICH,
        1,
        form=DEFAULT_FORM,
        held_out=HeldOut(9, 8, {"P17": 2}),
        notes=["something"],
    )
    recipe = json.loads((tmp_path / "set" / "recipe.json").read_text())
    assert recipe_of(recipe["description"], "x") == RICH
    assert recipe["recipe"] == RICH.name
    assert recipe["roles"] == {"mix": 4, "patch": 1, "replay": 1}
    assert sum(recipe["stages"]) == recipe["size"] == 6
    assert recipe["weights"] == {"mean": 4 / 6, "zero": 2}
    assert recipe["held_out"] == {"facts": 9, "subjects": 8, "dropped": {"P17": 2}}
    assert recipe["notes"] == ["something"]


def test_relabelled_rows_answer_that_they_do_not_know(tmp_path: Path) -> None:
    """The Unknown rows of D_IDK are trained to say so, which scoring counts as abstaining."""
    recipe = Recipe(unknown=Fraction(1, 2), idk=IDK)
    path = write_mix(tmp_path / "set", mix(world(), recipe, 0), recipe, 0, form=DEFAULT_FORM)
    found = read_mix(path)
    said = {side["category"]: row["completion"] for row, side in zip(found.rows, found.sidecar, strict=True)}
    assert said.pop("Unknown") == "I don't know"
    assert is_abstention("I don't know")
    assert "I don't know" not in said.values()


@pytest.mark.parametrize(
    "recipe",
    [
        RICH,
        Recipe(weights=LinearWeights(Fraction(1), Fraction(-1, 3), "p_greedy")),
        Recipe(unknown=Fraction(1, 2), without=(Category.UNKNOWN,)),
        Recipe(unknown=Fraction(1, 2), idk=IDK),
    ],
)
def test_every_recipe_gives_the_same_bytes_for_the_same_seed(tmp_path: Path, recipe: Recipe) -> None:
    """Whatever the recipe does, its files depend on seed and knowledge alone; another seed is another set."""
    for name, knowledge, seed in (("one", world(), 7), ("other", world()[::-1], 7), ("more", world(), 8)):
        write_mix(tmp_path / name, mix(knowledge, recipe, seed), recipe, seed, form=DEFAULT_FORM)
    files = [p.relative_to(tmp_path / "one") for p in sorted((tmp_path / "one").rglob("*")) if p.is_file()]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "other" / f).read_bytes() for f in files)
    train = [(tmp_path / name / "train.jsonl").read_bytes() for name in ("one", "more")]
    assert train[0] != train[1]


def test_a_changed_sidecar_is_refused(tmp_path: Path, rows: list[MixRow]) -> None:
    """A sidecar that is not the one of the recipe would put training rows into wrong categories."""
    path = written(tmp_path / "set", rows)
    text = (path / "sidecar.jsonl").read_text()
    (path / "sidecar.jsonl").write_text(text.replace("Unknown", "HighlyKnown"))
    with pytest.raises(InputError, match=r"sidecar\.jsonl: was changed after it was mixed"):
        read_mix(path)


def test_a_sidecar_of_before_needs_the_right_length(tmp_path: Path, rows: list[MixRow]) -> None:
    """Sets of schema 1 name no digest of the sidecar: it must be whole JSON, one line a training row."""
    path = written(tmp_path / "set", rows)
    recipe = json.loads((path / "recipe.json").read_text())
    del recipe["sidecar_sha256"]
    (path / "recipe.json").write_text(json.dumps({**recipe, "schema": 1}))
    text = (path / "sidecar.jsonl").read_text()
    assert len(read_mix(path).sidecar) == 4
    (path / "sidecar.jsonl").write_text("".join(text.splitlines(keepends=True)[:3]))
    with pytest.raises(InputError, match=r"does not belong to train\.jsonl.*\n  3 rows, expected 4"):
        read_mix(path)
    (path / "sidecar.jsonl").write_text(text[:-20])
    with pytest.raises(InputError, match="line 4: not a JSON object; the file may be half-written"):
        read_mix(path)


MINE = {"name": "mine", "weights": "ab" * 32, "adapter": None}


def test_a_set_is_tuned_on_the_model_it_was_mixed_for(tmp_path: Path, rows: list[MixRow]) -> None:
    """The weights decide, not the name; a set for another model is refused, or noted where that is allowed."""
    path = written(tmp_path / "set", rows, provenance={"model": MINE})
    found = read_mix(path)
    assert check_base(found, {**MINE, "name": "elsewhere"}) == ""
    other = {**MINE, "weights": "cd" * 32}
    with pytest.raises(InputError) as raised:
        check_base(found, other)
    assert str(raised.value) == (
        f"{path}: holds the knowledge of mine (weights abababababab…), not of mine (weights cdcdcdcdcdcd…): what one "
        "model knows says little of another; probe this model and mix again, or go on at your own risk with "
        "--allow-mismatch"
    )
    note = check_base(found, other, allow_mismatch=True)
    assert "holds the knowledge of mine (weights abababababab…), not of mine (weights cdcdcdcdcdcd…)" in note


def test_an_adapter_is_another_model(tmp_path: Path, rows: list[MixRow]) -> None:
    """The same weights under an adapter know other things."""
    with pytest.raises(InputError, match=r"not of mine \(weights abababababab…, adapter efef…\)"):
        check_knowledge_model("x", MINE, {**MINE, "adapter": "efef"})


def test_models_without_weights_are_told_by_name() -> None:
    """A model that is known by its name alone is compared by it."""
    hub = {"name": "org/model", "weights": None}
    assert check_knowledge_model("x", hub, hub) == ""
    with pytest.raises(InputError, match=r"of org/model \(known by its name alone\), not of mine \(weights"):
        check_knowledge_model("x", hub, MINE)


def test_a_set_that_does_not_tell_its_model_is_noted(tmp_path: Path, rows: list[MixRow]) -> None:
    """Without a recorded model nothing can be compared, and that is said; a user's own rows were mixed by none."""
    path = written(tmp_path / "set", rows, provenance=None)
    assert "does not say which model's knowledge it holds" in check_base(read_mix(path), MINE)
    assert check_base(read_training_set(path / "train.jsonl"), MINE) == ""


def test_an_existing_directory_is_not_touched(tmp_path: Path, rows: list[MixRow]) -> None:
    """A directory that holds something is refused and stays as it was."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("x")
    with pytest.raises(InputError, match="exists already; choose another --out"):
        written(tmp_path / "set", rows)
    assert [p.name for p in tmp_path.rglob("*")] == ["set", "mine"]


def test_a_bad_form_writes_nothing(tmp_path: Path, rows: list[MixRow]) -> None:
    """A form without {question} is refused before anything is written."""
    with pytest.raises(InputError, match=r"expected \{question\} exactly once"):
        written(tmp_path / "set", rows, form="Question")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["train.jsonl", "sidecar.jsonl", "recipe.json"])
def test_a_missing_file_is_named(tmp_path: Path, rows: list[MixRow], name: str) -> None:
    """A set without one of its files is refused, the file named."""
    path = written(tmp_path / "set", rows)
    (path / name).unlink()
    with pytest.raises(InputError, match=f"lacks {name}"):
        read_training_set(path)


def test_changed_rows_are_refused(tmp_path: Path, rows: list[MixRow]) -> None:
    """Rows that are not those of the recipe would be trained on under a wrong name."""
    path = written(tmp_path / "set", rows)
    with (path / "train.jsonl").open("a") as file:
        file.write('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(InputError, match="was changed after it was mixed"):
        read_training_set(path)
    assert read_training_set(path / "train.jsonl").recipe == {}


def test_a_newer_schema_is_refused(tmp_path: Path, rows: list[MixRow]) -> None:
    """A set of a later version says so."""
    path = written(tmp_path / "set", rows)
    recipe = json.loads((path / "recipe.json").read_text())
    (path / "recipe.json").write_text(json.dumps({**recipe, "schema": 99}))
    with pytest.raises(InputError, match="schema version 99"):
        read_training_set(path)


def test_a_recipe_of_another_kind_is_refused(tmp_path: Path, rows: list[MixRow]) -> None:
    """A recipe.json without a digest was not written by slick mix."""
    path = written(tmp_path / "set", rows)
    (path / "recipe.json").write_text("[]")
    with pytest.raises(InputError, match='has no "train_sha256"'):
        read_training_set(path)


def own(path: Path, *rows: object) -> TrainingSet:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return read_training_set(path)


def test_a_users_own_rows_are_read(tmp_path: Path) -> None:
    """A JSON Lines file of prompt and completion needs no recipe; further columns and empty lines are left out."""
    found = own(
        tmp_path / "own.jsonl", {"prompt": "a", "completion": "b", "x": 1}, "", {"prompt": "", "completion": "d"}
    )
    assert found.rows == [{"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "d"}]
    assert (found.recipe, found.form) == ({}, None)


def test_a_users_own_rows_may_have_weights_and_stages(tmp_path: Path) -> None:
    """A row without a weight weighs 1, one without a stage is of stage 0; a column that no row has is None."""
    row = {"prompt": "a", "completion": "b"}
    found = own(tmp_path / "own.jsonl", row, {**row, "weight": 0}, {**row, "stage": 2, "weight": 0.5})
    assert (found.weights, found.stages) == ((1.0, 0.0, 0.5), (0, 0, 2))
    found = own(tmp_path / "own.jsonl", row, {**row, "weight": 2})
    assert (found.weights, found.stages, list(found.sidecar)) == ((1.0, 2.0), None, [])


def test_weights_and_stages_that_are_none_are_named(tmp_path: Path) -> None:
    """Every weight and stage that cannot be is named by its line, as is a stage that falls."""
    row = {"prompt": "a", "completion": "b"}
    with pytest.raises(InputError) as raised:
        own(
            tmp_path / "own.jsonl",
            {**row, "weight": -1},
            {**row, "weight": "1"},
            {**row, "weight": True},
            {**row, "weight": float("nan")},
            {**row, "weight": float("inf")},
            {**row, "weight": 10**400},
            {**row, "stage": 1.5},
            {**row, "stage": -1},
            {**row, "stage": 1},
            row,
            {**row, "weight": None, "stage": 1},
        )
    assert [line[:60] for line in str(raised.value).splitlines()[1:]] == [
        "  line 1: 'weight' is -1, expected a number of at least 0",
        "  line 2: 'weight' is '1', expected a number of at least 0",
        "  line 3: 'weight' is True, expected a number of at least 0",
        "  line 4: 'weight' is nan, expected a number of at least 0",
        "  line 5: 'weight' is inf, expected a number of at least 0",
        "  line 6: 'weight' is 100000000000000000...00000000000000000, expected a number of at least 0"[:60],
        "  line 7: 'stage' is 1.5, expected a whole number of at least "[:60],
        "  line 8: 'stage' is -1, expected a whole number of at least 0"[:60],
        "  line 10: stage 0 after stage 1; sort the rows by their stages"[:60],
        "  line 11: 'weight' is None, expected a number of at least 0",
    ]


def test_a_column_that_may_be_meant_is_noted(tmp_path: Path) -> None:
    """Once, at the first line that has it, with the name that training reads; other columns are a user's own."""
    row = {"prompt": "a", "completion": "b"}
    path = tmp_path / "own.jsonl"
    found = own(path, row, {**row, "wieght": 0, "id": 1}, {**row, "wieght": 2, "Stage": 1, "source": "x"})
    assert found.weights is None
    assert found.notes == (
        f"{path}: line 2: 'wieght' is not read, and changes nothing of the training; did you mean 'weight'?",
        f"{path}: line 3: 'Stage' is not read, and changes nothing of the training; did you mean 'stage'?",
    )
    assert own(path, {**row, "weight": 1, "weights": "equal"}).notes == ()


def test_rows_that_all_weigh_nothing_are_refused(tmp_path: Path) -> None:
    """A file whose rows all weigh 0 would train nothing."""
    row = {"prompt": "a", "completion": "b", "weight": 0}
    with pytest.raises(InputError, match="all of them weigh 0, so that nothing would be trained"):
        own(tmp_path / "own.jsonl", row, row)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    """Each bad row is named by its line with what is wrong with it."""
    good = {"prompt": "a", "completion": "b"}
    messages = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant"}]}
    with pytest.raises(InputError) as raised:
        own(
            tmp_path / "own.jsonl",
            good,
            {"question": "a", "completion": "b"},
            {"prompt": 1, "completion": "b"},
            {"prompt": "a", "completion": " "},
            messages,
            '{"prompt": "a", "comp',
        )
    assert str(raised.value).splitlines()[1:] == [
        "  line 2: lacks 'prompt'; found ['completion', 'question']",
        "  line 3: 'prompt' and 'completion' must both be texts, or both lists of messages",
        "  line 4: 'completion' is empty, so there is nothing to learn",
        "  line 5: expected messages with the texts 'role' and 'content'",
        "  line 6: not a JSON object; the file may be half-written",
    ]


def test_messages_and_plain_text_do_not_mix(tmp_path: Path) -> None:
    """A file is of one kind; the first line of each kind is named."""
    user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    with pytest.raises(InputError, match="line 2 holds messages and line 1 plain text"):
        own(tmp_path / "own.jsonl", {"prompt": "a", "completion": "b"}, {"prompt": [user], "completion": [assistant]})


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """An empty file is no training set."""
    with pytest.raises(InputError, match="the file is empty"):
        own(tmp_path / "own.jsonl")


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    """A path that is not there is named, with what was expected."""
    with pytest.raises(InputError, match="no such file or directory; expected the --out of `slick mix`"):
        read_training_set(tmp_path / "none")
