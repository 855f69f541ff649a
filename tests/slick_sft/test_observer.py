"""The callback that measures a model in training: it is right, disturbs nothing, survives kills, and keeps the best."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slick.dynamics import DEV, DYNAMICS, TRAIN, Measurement, read_dynamics
from slick.errors import InputError, RunError
from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge
from slick.knowledge_file import write_knowledge
from slick.matching import is_right
from slick.prompts import DEFAULT_FORM, form_prompt
from slick_sft.arguments import sft_arguments
from slick_sft.formats import TrainingSet, read_training_set, write_mix
from slick_sft.observer import BestTokens, Observer, metrics_of, undisturbed
from slick_sft.recipe import Recipe
from slick_sft.recipes import MixRow
from slick_sft.train import LoRA, Tuning, tune
from slick_sft.trainer import CheckedTrainer
from slick_sft.watched import TRAINING_ROWS, Watch, read_watch

RIGHT = {Category.HIGHLY_KNOWN: 10, Category.MAYBE_KNOWN: 4, Category.WEAKLY_KNOWN: 0, Category.UNKNOWN: 0}


def of_category(fact: Fact, category: Category) -> Knowledge:
    sampled = 3 if category is Category.WEAKLY_KNOWN else 0
    return Knowledge(fact, RIGHT[category], 10, sampled, 0 if RIGHT[category] else 160)


def facts(split: str, n: int) -> list[Fact]:
    return [
        Fact.create(f"Where is {split} {i}?", [f"land {i % 5}"], relation="P17", subject=f"{split} {i}", split=split)
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def restless(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with dropout, so that training draws random numbers at every step."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tmp_path_factory.mktemp("restless") / "model"
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attention_dropout=0.2)
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(path)
    assert json.loads((path / "config.json").read_text())["attention_dropout"] == 0.2
    return path


@pytest.fixture(scope="module")
def mixes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainingSet]:
    def make(**more: Any) -> TrainingSet:
        rows = [
            MixRow(of_category(fact, CATEGORIES[i % 4]), fact.answers[0]) for i, fact in enumerate(facts("train", 24))
        ]
        path = tmp_path_factory.mktemp("mix") / "set"
        return read_training_set(write_mix(path, rows, Recipe.share(0.5), 0, form=DEFAULT_FORM, **more))

    return make


@pytest.fixture(scope="module")
def data(mixes: Callable[..., TrainingSet]) -> TrainingSet:
    return mixes()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty dev facts whose answers the training rows teach, as a probe would have them."""
    path = tmp_path_factory.mktemp("probe") / "knowledge.parquet"
    write_knowledge(path, [of_category(f, CATEGORIES[i % 4]) for i, f in enumerate(facts("dev", 20))], {})
    return path


@pytest.fixture
def tuning(restless: Path, data: TrainingSet, dev: Path) -> Callable[..., Tuning]:
    """Four epochs of 3 steps of 8 rows, all of dev and of the training rows watched."""

    def make(*settings: str, flags: Mapping[str, Any] | None = None, **more: Any) -> Tuning:
        given = {"learning_rate": 1e-2, "per_device_train_batch_size": 8, "num_train_epochs": 4, **(flags or {})}
        arguments = sft_arguments(given, settings=["logging_steps=1", *settings])
        watch = read_watch([f"dev={dev}"], rows=0)
        default = {"model": str(restless), "data": data, "arguments": arguments, "device": "cpu", "watch": watch}
        return Tuning(**{**default, **more})

    return make


def files(run: Path, name: str = "model") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / name).glob("*.safetensors"))}


def measured(run: Path) -> list[tuple[int, float, Mapping[str, Any], str]]:
    """Everything but the seconds."""
    return [(m.step, m.epoch, m.sets, m.known) for m in read_dynamics(run)]


METHODS = {
    "full": {},
    "lora": {"lora": LoRA(r=4, lora_alpha=8, lora_dropout=0.2)},
}


@pytest.mark.parametrize("method", METHODS)
def test_training_is_the_same_bit_for_bit(
    method: str, tuning: Callable[..., Tuning], dev: Path, tmp_path: Path
) -> None:
    """Measured at every step or not at all: equal weights and equal losses, with dropout and accumulation."""
    setting = "gradient_accumulation_steps=2"
    watch = read_watch([f"dev={dev}", f"test={dev}"], rows=0, steps=1)
    without = tune(tuning(setting, watch=None, **METHODS[method]), tmp_path / "without")
    watched = tune(tuning(setting, watch=watch, **METHODS[method]), tmp_path / "with")
    assert files(tmp_path / "with") == files(tmp_path / "without")
    assert watched["loss"] == without["loss"]
    assert len({entry["loss"] for entry in watched["loss"]}) > 4
    assert [m.step for m in read_dynamics(tmp_path / "with")] == list(range(watched["steps"] + 1))
    assert not (tmp_path / "without" / DYNAMICS).exists()
    assert "dynamics" not in without


def test_dropout_is_at_work(tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path) -> None:
    """The test above would be empty if training drew no random numbers: without dropout the weights are others."""
    tune(tuning(watch=None), tmp_path / "with")
    tune(tuning(watch=None, model=str(tiny_model)), tmp_path / "without")
    assert files(tmp_path / "with") != files(tmp_path / "without")


def test_nothing_is_left_behind_by_a_measurement(restless: Path) -> None:
    """Random states, each module's own mode, and whether gradients are taken are as before; also where it fails."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(restless).train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    def measure() -> None:
        with undisturbed(model):
            assert not torch.is_grad_enabled()
            assert not any(module.training for module in model.modules())
            random.random(), np.random.random(), torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        measure()
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def generated(model: Any, tokenizer: Any, prompt: str) -> str:
    """What transformers generates greedily behind a prompt, as `slick score` would have it."""
    inputs = tokenizer(prompt, return_tensors="pt")
    written = model.generate(**inputs, do_sample=False, max_new_tokens=32)
    return str(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("method", METHODS)
def test_the_counts_are_those_of_generated_answers(
    method: str,
    conversational: bool,
    tuning: Callable[..., Tuning],
    mixes: Callable[..., TrainingSet],
    tmp_path: Path,
) -> None:
    """The last measurement counts, by category, what the saved model answers when it generates."""
    from transformers import AutoTokenizer

    more = {"max_steps": 36, "learning_rate": 3e-2 if method == "lora" else 1e-2}
    this = tuning(flags=more, data=mixes(conversational=conversational), **METHODS[method])
    tune(this, tmp_path / "run")
    if method == "lora":
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run/model")
    else:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(tmp_path / "run/model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/model")
    last = read_dynamics(tmp_path / "run")[-1]
    assert last.step == 36
    for name, n in ((TRAIN, 24), (DEV, 20)):
        right = dict.fromkeys(CATEGORIES, 0)
        for i, fact in enumerate(facts(name, n)):
            prompt = form_prompt(DEFAULT_FORM, fact.question)
            if conversational:
                turn = [{"role": "user", "content": prompt.rstrip("\n")}]
                prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            right[CATEGORIES[i % 4]] += is_right(generated(model, tokenizer, prompt), fact.answers)
        assert last.sets[name] == {category: (right[category], n // 4) for category in CATEGORIES}
    if not conversational:
        assert last.counts(TRAIN)[0] > 0
        assert last.counts(TRAIN)[0] > read_dynamics(tmp_path / "run")[0].counts(TRAIN)[0]


def test_it_measures_before_the_first_step_and_after_every_epoch(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """One line each, sets and categories in it, also where an epoch's last step is short."""
    record = tune(tuning(flags={"per_device_train_batch_size": 7}), tmp_path / "run")
    assert [(m.step, m.epoch) for m in read_dynamics(tmp_path / "run")] == [(4 * i, float(i)) for i in range(5)]
    for m in read_dynamics(tmp_path / "run"):
        assert {name: sum(n for _, n in of.values()) for name, of in m.sets.items()} == {TRAIN: 24, DEV: 20}
    assert record["dynamics"]["measurements"] == 5
    assert record["dynamics"]["sets"]["dev"] == {"rows": 20, "measured": 20}


def test_chosen_steps_are_measured_too(tuning: Callable[..., Tuning], dev: Path, tmp_path: Path) -> None:
    """Every second step, and every epoch of three; a step that is both once."""
    tune(tuning(flags={"num_train_epochs": 2}, watch=read_watch([f"dev={dev}"], steps=2)), tmp_path / "run")
    assert [m.step for m in read_dynamics(tmp_path / "run")] == [0, 2, 3, 4, 6]


def test_it_logs_through_the_trainer(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Whatever listens to the trainer's logs hears the shares; the trainer's own lines stay as they were."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.heard: list[tuple[int, dict[str, float]]] = []

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            self.heard.append((state.global_step, dict(logs)))

    watched, plain = Listener(), Listener()
    tune(tuning(), tmp_path / "run", callbacks=[watched])
    tune(tuning(watch=None), tmp_path / "plain", callbacks=[plain])
    ours = [(step, logs) for step, logs in watched.heard if "slick/dev_accuracy" in logs]
    assert [step for step, _ in ours] == [0, 3, 6, 9, 12]
    last = read_dynamics(tmp_path / "run")[-1]
    assert ours[-1][1]["slick/train_unknown_fitted"] == last.share(TRAIN, [Category.UNKNOWN])
    assert ours[-1][1]["slick/train_known_fitted"] == last.share(TRAIN, KNOWN)
    assert ours[-1][1]["slick/dev_accuracy_HighlyKnown"] == last.share(DEV, [Category.HIGHLY_KNOWN])

    def theirs(heard: list[tuple[int, dict[str, float]]]) -> list[tuple[int, dict[str, float]]]:
        timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
        return [
            (step, {name: value for name, value in logs.items() if name not in timed})
            for step, logs in heard
            if not any(name.startswith("slick/") for name in logs)
        ]

    assert theirs(watched.heard) == theirs(plain.heard)
    assert "mean_token_accuracy" in theirs(plain.heard)[0][1]


def test_metrics_leave_out_what_was_not_asked() -> None:
    """No share of nothing: a set without Unknown rows has no such metric."""
    found = metrics_of(Measurement(0, 0.0, {TRAIN: {Category.HIGHLY_KNOWN: (1, 2)}}))
    assert found == {"slick/train_fitted": 0.5, "slick/train_known_fitted": 0.5, "slick/train_fitted_HighlyKnown": 0.5}


def test_no_unknown_rows_divide_nothing_by_zero(tuning: Callable[..., Tuning], restless: Path, tmp_path: Path) -> None:
    """A set of Known rows alone is measured as it is."""
    rows = [MixRow(of_category(f, Category.HIGHLY_KNOWN), f.answers[0]) for f in facts("train", 8)]
    path = write_mix(tmp_path / "known", rows, Recipe.share(0.0), 0, form=DEFAULT_FORM)
    tune(tuning(data=read_training_set(path), watch=TRAINING_ROWS, flags={"num_train_epochs": 1}), tmp_path / "run")
    assert [list(m.sets[TRAIN]) for m in read_dynamics(tmp_path / "run")] == [[Category.HIGHLY_KNOWN]] * 2


class Killed(BaseException):
    """What a kill looks like from inside: nothing may catch it."""


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    real = CheckedTrainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise Killed
        return real(self, *args, **kwargs)

    patch.setattr(CheckedTrainer, "training_step", training_step)


def kill_in_measurement(patch: pytest.MonkeyPatch, step: int, moment: str) -> None:
    """The run dies where that step is measured: before its line is written, or after."""
    import slick_sft.observer as observer

    real = observer.append_dynamics

    def append(file: Path, m: Measurement) -> None:
        if m.step == step and moment == "before":
            raise Killed
        real(file, m)
        if m.step == step:
            with file.open("a") as handle:
                handle.write('{"step": 99, "epo')
            raise Killed

    patch.setattr(observer, "append_dynamics", append)


@pytest.fixture(scope="module")
def accuracies() -> Callable[[pytest.MonkeyPatch, Mapping[int, int]], None]:
    """Makes dev's right answers what a test says, whatever the model: step → how many of the first are right."""

    def script(patch: pytest.MonkeyPatch, right: Mapping[int, int]) -> None:
        real = Observer._measure

        def measure(self: Any, state: Any, control: Any) -> None:
            import slick_sft.observer as observer

            names = [of.name for of in self.sets for _ in of.questions]
            places = {name: iter(range(10**6)) for name in names}
            wanted = right[state.global_step]
            verdicts = [next(places[name]) < wanted if name == DEV else False for name in names]
            patch.setattr(observer, "greedy_right", lambda *_: verdicts)
            real(self, state, control)

        patch.setattr(Observer, "_measure", measure)

    return script


RISING = {0: 1, 3: 5, 6: 9, 9: 7, 12: 9}
# Where it dies, and how far its checkpoints lie apart.
BROKEN = [
    ("step", 2, "", 5),
    ("step", 7, "", 2),
    ("step", 7, "", 5),
    ("step", 10, "", 3),
    ("measure", 0, "after", 3),
    ("measure", 6, "before", 3),
    ("measure", 6, "after", 2),
    ("measure", 6, "after", 5),
    ("measure", 12, "after", 5),
]


@pytest.mark.parametrize(("what", "step", "moment", "every"), BROKEN)
def test_a_killed_run_measures_what_an_unbroken_one_does(
    what: str,
    step: int,
    moment: str,
    every: int,
    tuning: Callable[..., Tuning],
    accuracies: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it dies and its checkpoints lie: the same lines, the same EARLY_STOP, the same record and weights."""
    accuracies(monkeypatch, RISING)
    this = tuning(f"save_steps={every}")
    whole = tune(this, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at(patch, step) if what == "step" else kill_in_measurement(patch, step, moment)
        with pytest.raises(Killed):
            tune(this, tmp_path / "broken")
    broken = tune(this, tmp_path / "broken")
    assert measured(tmp_path / "broken") == measured(tmp_path / "whole")
    assert [m.step for m in read_dynamics(tmp_path / "broken")] == [0, 3, 6, 9, 12]
    assert files(tmp_path / "broken", "early_stop") == files(tmp_path / "whole", "early_stop") != {}
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert broken["early_stop"] == whole["early_stop"] == {"epoch": 2.0, "step": 6, "dev_accuracy": 9 / 20}
    left = {path.name for path in (tmp_path / "broken").iterdir()}
    assert left == {"model", "early_stop", "checkpoints", DYNAMICS, "training.json"}
    assert not list((tmp_path / "broken" / "checkpoints").glob("early-stop-*"))


def test_a_run_killed_while_it_was_finished(
    tuning: Callable[..., Tuning], accuracies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EARLY_STOP was published and no record written: the repeated command finishes, with the same EARLY_STOP."""
    import slick_sft.train as train

    accuracies(monkeypatch, RISING)
    this = tuning("save_steps=5")
    whole = tune(this, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(train, "_record", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            tune(this, tmp_path / "broken")
    assert (tmp_path / "broken" / "early_stop").is_dir()
    assert tune(this, tmp_path / "broken")["early_stop"] == whole["early_stop"]
    assert files(tmp_path / "broken", "early_stop") == files(tmp_path / "whole", "early_stop")
    assert measured(tmp_path / "broken") == measured(tmp_path / "whole")


@pytest.mark.parametrize("method", METHODS)
def test_early_stop_is_the_model_of_its_step(
    method: str, tuning: Callable[..., Tuning], accuracies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of a run that ends there; it is a whole model directory, ready to generate."""
    accuracies(monkeypatch, {0: 1, 3: 2, 6: 5, 9: 3, 12: 4})
    tune(tuning(**METHODS[method]), tmp_path / "run")
    tune(tuning(flags={"max_steps": 6}, **METHODS[method]), tmp_path / "short")
    early = files(tmp_path / "run", "early_stop")
    assert early == files(tmp_path / "short") != files(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run" / "early_stop").iterdir()}
    assert names == {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert "tokenizer.json" in names
    if method == "lora":
        assert "adapter_config.json" in names
    else:
        assert json.loads((tmp_path / "run/early_stop/config.json").read_text())["use_cache"] is True


def test_the_base_model_may_be_the_best(
    tuning: Callable[..., Tuning], accuracies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no epoch beats epoch 0, a tie included, the record says so and nothing is kept."""
    accuracies(monkeypatch, {0: 5, 3: 5, 6: 2, 9: 5, 12: 4})
    record = tune(tuning(), tmp_path / "run")
    assert record["early_stop"] == {"epoch": 0.0, "step": 0, "dev_accuracy": 5 / 20}
    assert not (tmp_path / "run" / "early_stop").exists()


def test_without_dev_nothing_is_kept(tuning: Callable[..., Tuning], dev: Path, tmp_path: Path) -> None:
    """Other sets are watched and decide nothing."""
    record = tune(tuning(watch=read_watch([f"test={dev}"])), tmp_path / "run")
    assert record["early_stop"] is None
    assert set(read_dynamics(tmp_path / "run")[0].sets) == {TRAIN, "test"}
    assert not (tmp_path / "run" / "early_stop").exists()


def test_best_dev_ends_training(
    tuning: Callable[..., Tuning], dev: Path, accuracies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs without a better one; the record says where and why, and a killed run stops at the same step."""
    accuracies(monkeypatch, {0: 1, 3: 5, 6: 4, 9: 5, 12: 9})
    watch = read_watch([f"dev={dev}"], rows=0, stop="best-dev", patience=2)
    record = tune(tuning(watch=watch), tmp_path / "run")
    assert (record["steps"], record["early_stop"]["step"]) == (9, 3)
    assert record["dynamics"]["stopped"]["rule"] == "best-dev"
    assert "best at epoch 1" in record["dynamics"]["stopped"]["why"]
    import slick_sft.train as train

    with monkeypatch.context() as patch:
        patch.setattr(train, "_save_model", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            tune(tuning(watch=watch), tmp_path / "broken")
    with monkeypatch.context() as patch:
        # It must not train another step.
        kill_at(patch, 9)
        again = tune(tuning(watch=watch), tmp_path / "broken")
    assert (again["steps"], again["epochs"]) == (record["steps"], record["epochs"])
    assert again["dynamics"]["stopped"] == record["dynamics"]["stopped"]
    assert files(tmp_path / "broken") == files(tmp_path / "run")
    assert measured(tmp_path / "broken") == measured(tmp_path / "run")


def test_known_falls_ends_training(
    tuning: Callable[..., Tuning], dev: Path, accuracies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of dev's Known facts right, then none twice in a row; the bits stand in the lines."""
    accuracies(monkeypatch, {0: 20, 3: 0, 6: 0, 9: 0, 12: 0})
    record = tune(tuning(watch=read_watch([f"dev={dev}"], rows=0, stop="known-falls")), tmp_path / "run")
    assert record["steps"] == 6
    assert record["dynamics"]["stopped"]["why"].startswith("since epoch 0 the model lost 15 Known facts of dev")
    assert [m.known for m in read_dynamics(tmp_path / "run")] == ["ffff", "8000", "8000"]


def test_a_stop_rule_is_part_of_the_arm(tuning: Callable[..., Tuning], dev: Path) -> None:
    """Watching changes nothing of what is trained, and so not the arm; a rule does."""
    plain, watched = tuning(watch=None).arm_key(), tuning().arm_key()
    assert plain == watched
    assert tuning(watch=read_watch([f"dev={dev}"], stop="best-dev")).arm_key() != plain


def test_other_sets_are_another_run(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """A finished run is not taken for one that was watched otherwise."""
    tune(tuning(flags={"max_steps": 1}), tmp_path / "run")
    with pytest.raises(InputError, match=r"holds a run with other settings:\n.*watch"):
        tune(tuning(flags={"max_steps": 1}, watch=TRAINING_ROWS), tmp_path / "run")


def test_a_question_that_cannot_be_asked_leaves_nothing_behind(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """It is refused before anything is written."""
    path = tmp_path / "long.parquet"
    fact = Fact.create("Where " * 3000, ["a"], relation="P17", subject="x", split="dev")
    write_knowledge(path, [of_category(fact, Category.UNKNOWN)], {})
    with pytest.raises(InputError, match="do not fit the model's context of 2048"):
        tune(tuning(watch=read_watch([f"dev={path}"])), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_logits_that_are_not_numbers_stop_the_run(
    tuning: Callable[..., Tuning], restless: Path, tmp_path: Path
) -> None:
    """The message says when, and what to change."""
    from safetensors.torch import load_file, save_file

    path = tmp_path / "broken"
    path.mkdir()
    for file in restless.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    held = load_file(path / "model.safetensors")
    save_file(
        {k: v * math.nan if "norm" in k else v for k, v in held.items()}, path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(
        RunError, match=r"logits are not numbers .* after step 0, .*\(train, dev\); lower --learning-rate"
    ):
        tune(tuning(model=str(path)), tmp_path / "run")


@pytest.mark.parametrize(("lora", "budget"), [(None, 0.2), (LoRA(r=2), 0.13)])
def test_by_default_it_asks_what_a_tenth_of_the_time_buys(
    tuning: Callable[..., Tuning], tmp_path: Path, lora: LoRA | None, budget: float
) -> None:
    """The passes of all measurements read their share of the tokens of all steps, less with an adapter, which the
    record tells."""
    rows = [MixRow(of_category(f, CATEGORIES[i % 4]), f.answers[0]) for i, f in enumerate(facts("train", 400))]
    many = read_training_set(write_mix(tmp_path / "many", rows, Recipe.share(0.5), 0, form=DEFAULT_FORM))
    asked: list[int] = []
    real = BestTokens.__call__

    def count(self: Any, given: Any, keep: Any) -> Any:
        asked.append(sum(map(len, given)))
        return real(self, given, keep)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BestTokens, "__call__", count)
        flags = {"per_device_train_batch_size": 100, "num_train_epochs": 2}
        record = tune(tuning(data=many, watch=TRAINING_ROWS, lora=lora, flags=flags), tmp_path / "run")
    assert budget * 200 < record["dynamics"]["sets"][TRAIN]["measured"] < budget * 500
    assert record["dynamics"]["budget"] == budget
    trained = 2 * sum(len(str(row["prompt"])) for row in many.rows)
    assert sum(asked) < 1.3 * budget * trained


def test_rows_are_as_many_as_asked_for(tuning: Callable[..., Tuning], dev: Path, tmp_path: Path) -> None:
    """A number of rows is that of each set."""
    record = tune(tuning(watch=read_watch([f"dev={dev}"], rows=7), flags={"max_steps": 1}), tmp_path / "run")
    assert {name: of["measured"] for name, of in record["dynamics"]["sets"].items()} == {TRAIN: 7, DEV: 7}


def test_watching_is_off_for_none(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """No file, no record."""
    assert isinstance(TRAINING_ROWS, Watch)
    record = tune(tuning(watch=None, flags={"max_steps": 1}), tmp_path / "run")
    assert "early_stop" not in record
    assert not (tmp_path / "run" / DYNAMICS).exists()
