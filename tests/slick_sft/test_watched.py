"""What is watched: the training rows and sets of facts, as they are asked, and how many rows of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.dynamics import DEV, TRAIN
from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.knowledge_file import write_knowledge
from slick.prompts import DEFAULT_FORM
from slick.provenance import fingerprint
from slick.vocabulary import Vocabulary, read_vocabulary
from slick_sft.early_stop import Stop
from slick_sft.fitted import Question
from slick_sft.formats import TrainingSet, read_training_set, write_mix
from slick_sft.recipe import Recipe
from slick_sft.recipes import MixRow
from slick_sft.watched import (
    BUDGETS,
    LEAST,
    PASSES,
    TRAINING_ROWS,
    KnownFacts,
    Watch,
    WatchedSet,
    affordable,
    read_watch,
    watched_sets,
)

COUNTS = {
    Category.HIGHLY_KNOWN: (10, 0, 0),
    Category.MAYBE_KNOWN: (4, 0, 0),
    Category.WEAKLY_KNOWN: (0, 3, 160),
    Category.UNKNOWN: (0, 0, 160),
}


def knowledge(facts: list[Fact]) -> list[Knowledge]:
    """The categories take turns."""
    found = []
    for i, fact in enumerate(facts):
        greedy, sampled, total = COUNTS[CATEGORIES[i % 4]]
        found.append(Knowledge(fact, greedy, 10, sampled, total))
    return found


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, tiny_facts: list[Fact], tiny_model: Path) -> Path:
    """The dev facts, as a probe of the tiny model has them."""
    path = tmp_path_factory.mktemp("probe") / "knowledge.parquet"
    dev = [fact for fact in tiny_facts if fact.split == "dev"]
    write_knowledge(path, knowledge(dev), {"model": fingerprint(str(tiny_model))})
    return path


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Any) -> Vocabulary:
    return read_vocabulary(tokenizer, {tokenizer.eos_token_id})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, tiny_facts: list[Fact]) -> Callable[..., TrainingSet]:
    """The train facts as `slick mix` writes them."""

    def make(form: str = DEFAULT_FORM, answer: str = "", **more: Any) -> TrainingSet:
        train = [fact for fact in tiny_facts if fact.split == "train"]
        rows = [MixRow(k, answer or k.fact.answers[0]) for k in knowledge(train)]
        path = tmp_path_factory.mktemp("mix") / "set"
        return read_training_set(write_mix(path, rows, Recipe.share(0.5), 0, form=form, **more))

    return make


def test_sets_are_read_with_their_names(probe: Path) -> None:
    """NAME=KNOWLEDGE gives the facts and whose knowledge it is; numbers and rule are kept."""
    watch = read_watch([f"dev={probe}", f"ood={probe.parent}"], rows=5, steps=3, stop="best-dev", patience=2)
    assert [(facts.name, len(facts.knowledge)) for facts in watch.sets] == [("dev", 16), ("ood", 16)]
    assert watch.sets[0].model["weights"]
    assert (watch.rows, watch.steps, watch.stop) == (5, 3, Stop("best-dev", 2))


def test_all_mistakes_are_named_at_once(probe: Path, tmp_path: Path) -> None:
    """Every unusable set and number is listed."""
    items = ["dev", f"train={probe}", f"d v={probe}", f"a={probe}", f"a={probe}", f"b={tmp_path}/none"]
    with pytest.raises(InputError) as error:
        read_watch(items, rows=-1, steps=-2, stop="best-dev")
    for message in (
        "--watch dev: expected NAME=KNOWLEDGE",
        "'train' are the training rows",
        "--watch d v=",
        "a is given twice",
        "none: no such file",
        "--watch-rows -1: expected 0 or more",
        "--watch-steps -2: expected 0 or more",
        "--stop best-dev: needs the facts that decide; give them with --watch dev=KNOWLEDGE",
    ):
        assert message in str(error.value)


def test_patience_belongs_to_its_rule(probe: Path) -> None:
    """Patience without a rule, or with the other one, is refused."""
    with pytest.raises(InputError, match="--patience 3: is for --stop best-dev"):
        read_watch([f"dev={probe}"], patience=3)
    with pytest.raises(InputError, match="knows no patience"):
        read_watch([f"dev={probe}"], patience=3, stop="known-falls")
    with pytest.raises(InputError, match="--stop soon: expected best-dev or known-falls"):
        read_watch([f"dev={probe}"], stop="soon")


def test_what_an_interrupted_run_may_ask_depends_on_its_method() -> None:
    """A step with an adapter costs less, so that a tenth of it buys fewer rows; rows that were given are given."""
    assert "budget" not in Watch().settings("full")
    assert Watch().settings("lora")["budget"] == Watch().settings("qlora")["budget"] == BUDGETS["lora"]
    assert "budget" not in Watch(rows=0).settings("lora")
    assert {method: round(BUDGETS[method] / PASSES[method], 2) for method in BUDGETS} == dict.fromkeys(PASSES, 0.07)


def test_the_knowledge_of_another_model_is_refused(probe: Path, tiny_model: Path, tmp_path: Path) -> None:
    """By its fingerprint, unless it is allowed, which leaves a note; knowledge of nobody known leaves one too."""
    watch = read_watch([f"dev={probe}"])
    assert watch.check(str(tiny_model)) == []
    other = Watch((KnownFacts("dev", "there", watch.sets[0].knowledge, {"name": "other", "weights": "ab"}),))
    with pytest.raises(InputError, match=r"--watch dev=there: holds the knowledge of other"):
        other.check(str(tiny_model))
    (note,) = other.check(str(tiny_model), allow_mismatch=True)
    assert "holds the knowledge of other" in note
    (note,) = Watch((KnownFacts("dev", "there", watch.sets[0].knowledge, {}),)).check(str(tiny_model))
    assert "does not say which model's knowledge" in note


def test_questions_are_asked_in_the_training_form(
    mixed: Callable[..., TrainingSet], probe: Path, tokenizer: Any, vocabulary: Vocabulary
) -> None:
    """Training rows with the answer that was trained, watched facts with all they accept, each behind its prompt."""
    data = mixed(form="Q: {question}\nA:", answer="I don't know")
    sets, notes = watched_sets(read_watch([f"dev={probe}"]), data, tokenizer, vocabulary, 2048)
    assert notes == []
    train, dev = sets
    assert (train.name, dev.name, train.of, dev.of) == (TRAIN, DEV, 8, 16)
    assert {q.answers for q in train.questions} == {("I don't know",)}
    assert {tokenizer.decode(q.usual) for q in train.questions} == {" I don't know"}
    prompts = {tokenizer.decode(q.prompt) for q in train.questions}
    assert prompts == {row["prompt"] for row in data.rows}
    for question in dev.questions:
        assert tokenizer.decode(question.prompt).startswith("Q: ")
        assert tokenizer.decode(question.prompt + question.usual).endswith(f"\nA: {question.answers[0]}")


def test_categories_belong_to_their_rows(
    mixed: Callable[..., TrainingSet], tokenizer: Any, vocabulary: Vocabulary
) -> None:
    """The sidecar's category stands beside the row's own question."""
    data = mixed()
    (train,), _ = watched_sets(TRAINING_ROWS, data, tokenizer, vocabulary, None)
    expected = {row["prompt"]: data.sidecar[i]["category"] for i, row in enumerate(data.rows)}
    found = {tokenizer.decode(q.prompt): str(c) for q, c in zip(train.questions, train.categories, strict=True)}
    assert found == expected


def test_messages_go_through_the_chat_template(
    mixed: Callable[..., TrainingSet], probe: Path, tokenizer: Any, vocabulary: Vocabulary
) -> None:
    """In conversational sets both kinds of question are the user's turn, and the assistant's has begun."""
    data = mixed(conversational=True)
    for of in watched_sets(read_watch([f"dev={probe}"]), data, tokenizer, vocabulary, None)[0]:
        for question in of.questions:
            text = tokenizer.decode(question.prompt)
            assert text.startswith("<user>Answer the following question.\n")
            assert text.endswith("?\n<assistant>")
            assert tokenizer.decode(question.usual) == question.answers[0]


def test_a_users_own_rows_are_not_watched(tmp_path: Path, probe: Path, tokenizer: Any, vocabulary: Vocabulary) -> None:
    """Nobody knows their categories; facts that are watched beside them are asked in the default form: a note."""
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "completion": "A"}) + "\n")
    data = read_training_set(path)
    assert watched_sets(TRAINING_ROWS, data, tokenizer, vocabulary, None) == ([], [])
    (dev,), (note,) = watched_sets(read_watch([f"dev={probe}"]), data, tokenizer, vocabulary, None)
    assert tokenizer.decode(dev.questions[0].prompt).startswith("Answer the following question.\n")
    assert "the form of the training rows is not recorded" in note


def test_questions_that_do_not_fit_the_context(
    mixed: Callable[..., TrainingSet], probe: Path, tokenizer: Any, vocabulary: Vocabulary
) -> None:
    """A watched fact that is too long is wrong input; a training row is left out, and it says so."""
    with pytest.raises(InputError, match=r"--watch dev=.*do not fit the model's context of 40"):
        watched_sets(read_watch([f"dev={probe}"]), mixed(), tokenizer, vocabulary, 40)
    assert watched_sets(TRAINING_ROWS, mixed(), tokenizer, vocabulary, 40) == (
        [],
        ["8 training rows are too long to be asked and are not watched"],
    )


def test_a_set_never_ends_the_run_for_an_answer_without_tokens(
    mixed: Callable[..., TrainingSet], tokenizer: Any, tmp_path: Path
) -> None:
    """A guess that cannot be made is left empty."""
    fact = Fact.create("Which?", ["☃"], relation="P17", subject="x", split="dev")
    watch = Watch((KnownFacts("dev", "there", (Knowledge(fact, 10, 10),), {}),))
    nothing = Vocabulary((b"",) * len(tokenizer), frozenset({1}))
    sets, _ = watched_sets(watch, mixed(), tokenizer, nothing, None)
    assert sets[1].questions[0].usual == ()


def made_up(name: str, rows: int, cost: int) -> WatchedSet:
    questions = tuple(Question((0,) * cost, ("a",), ()) for _ in range(rows))
    return WatchedSet(name, questions, tuple(CATEGORIES[i % 4] for i in range(rows)), rows)


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5), tokens=st.floats(0, 1e6), cost=st.integers(1, 40))
def test_what_is_asked_stays_within_the_tokens(sizes: list[int], tokens: float, cost: int) -> None:
    """The sets' beginnings together cost no more, but for the least that a set must have; none is made longer."""
    sets = [made_up(f"s{i}", rows, cost) for i, rows in enumerate(sizes)]
    cut = affordable(sets, tokens)
    assert all(len(a.questions) >= min(LEAST, b.of) for a, b in zip(cut, sets, strict=True))
    assert sum(len(of.questions) for of in cut) * cost <= tokens + sum(min(LEAST, of.of) for of in sets) * cost
    if sum(sizes) * cost <= tokens:
        assert cut == sets


def test_dev_gets_twice_the_rows_and_small_sets_leave_theirs() -> None:
    """Shares are equal but for dev's; what a small set does not need goes to the others."""
    sets = [made_up(TRAIN, 1000, 10), made_up(DEV, 1000, 10), made_up("test", 40, 10)]
    train, dev, test = affordable(sets, 4000.0)
    assert [len(of.questions) for of in (train, dev, test)] == [120, 240, 40]


@given(counts=st.lists(st.integers(0, 60), min_size=4, max_size=4), part=st.integers(1, 200))
def test_every_beginning_is_a_fair_sample(counts: list[int], part: int) -> None:
    """A beginning has each category in its share, to the nearest row or two; and it is the same one every time."""
    facts = [
        Knowledge(Fact.create(f"{c} {i}?", ["a"], relation="r", split="dev"), *_counts(c))
        for c, n in zip(CATEGORIES, counts, strict=True)
        for i in range(n)
    ]
    if not facts:
        return
    one, other = (_ordered(facts), _ordered(facts[::-1]))
    assert one == other
    taken = Counter(category for category, _ in one[:part])
    share = min(1.0, part / len(facts))
    for category, n in zip(CATEGORIES, counts, strict=True):
        assert abs(taken[category] - share * n) <= 2


def _counts(category: Category) -> tuple[int, int, int, int]:
    greedy, sampled, total = COUNTS[category]
    return greedy, 10, sampled, total


def _ordered(facts: list[Knowledge]) -> list[tuple[Category, str]]:
    class Words:
        """A tokenizer of as many tokens as the text has letters."""

        bos_token = None

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[ord(c) for c in text] for text in texts]}

    data = TrainingSet([{"prompt": "a", "completion": "b"}], "", "")
    watch = Watch((KnownFacts("dev", "", tuple(facts), {}),))
    (dev,), _ = watched_sets(watch, data, Words(), Vocabulary((), frozenset()), None)
    return [(c, "".join(map(chr, q.prompt))) for q, c in zip(dev.questions, dev.categories, strict=True)]
