"""A fine-tuning set on disk: what stands in it, and what is refused when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.prompts import DEFAULT_FORM, Chat, form_prompt
from slick_sft.formats import TrainingSet, read_mix, read_training_set, write_mix
from slick_sft.recipe import Recipe
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
