"""Fine-tuning with TRL on a tiny model: what is trained, what is written, what resumes, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick_sft.formats import TrainingSet, read_training_set
from slick_sft.train import LoRA, Tuning, tune
from slick_sft.watched import KnownFacts, Watch

FORM = "Answer the following question.\n{}\n"


def test_every_weight_changes(
    tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path, weights: Callable[[Path], dict[str, Any]]
) -> None:
    """Full fine-tuning changes every weight of the base model and leaves the base model alone."""
    before = weights(tiny_model)
    tune(tuning(), tmp_path / "run")
    after = weights(tmp_path / "run" / "model")
    assert before.keys() == after.keys()
    assert not [name for name in before if before[name].equal(after[name])]
    assert all(before[name].equal(weight) for name, weight in weights(tiny_model).items())


def test_loss_falls_on_the_trained_rows(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """The logged loss at the end is below that at the start."""
    record = tune(tuning("logging_steps=1", flags={"max_steps": 20}), tmp_path / "run")
    assert [entry["step"] for entry in record["loss"]] == list(range(1, 21))
    assert record["loss"][-1]["loss"] < record["loss"][0]["loss"] - 0.5
    assert record["final_loss"] == record["loss"][-1]["loss"]


def test_only_the_answer_and_its_end_are_trained(
    tuning: Callable[..., Tuning], tmp_path: Path, trainer_of: Callable[..., Any]
) -> None:
    """Every label outside answer and end-of-sequence is masked, and the end is among the labels."""
    trainer, notes = trainer_of(tuning(), tmp_path)
    tokenizer = trainer.processing_class
    rows = trainer.train_dataset
    assert len(rows) == 32
    assert notes == []
    for row, given in zip(rows, tuning().data.rows, strict=True):
        trained = [token for token in row["labels"] if token != -100]
        assert tokenizer.decode(trained) == f"{given['completion']}</s>"
        assert tokenizer.decode(row["input_ids"]).endswith(f"{given['prompt']}{given['completion']}</s>")
        assert trained[-1] == tokenizer.eos_token_id
        assert row["labels"][: -len(trained)] == [-100] * (len(row["labels"]) - len(trained))


def test_messages_go_through_the_chat_template(
    tuning: Callable[..., Tuning], tiny_facts: list[Fact], tmp_path: Path, trainer_of: Callable[..., Any]
) -> None:
    """Conversational rows are rendered by the model's template; only the assistant's turn is trained."""
    path = tmp_path / "chat.jsonl"
    f = tiny_facts[0]
    row = {
        "prompt": [{"role": "user", "content": f.question}],
        "completion": [{"role": "assistant", "content": f"{f.answers[0]}</s>"}],
    }
    path.write_text((json.dumps(row) + "\n") * 8)
    trainer, notes = trainer_of(tuning(data=read_training_set(path)), tmp_path)
    first = trainer.train_dataset[0]
    decode = trainer.processing_class.decode
    assert decode(first["input_ids"]) == f"<user>{f.question}\n<assistant>{f.answers[0]}</s>\n"
    assert decode([token for token in first["labels"] if token != -100]) == f"{f.answers[0]}</s>\n"
    assert notes == []


def test_a_template_that_never_ends_an_answer_is_noted(
    tuning: Callable[..., Tuning], tiny_facts: list[Fact], tmp_path: Path
) -> None:
    """TRL adds no end to messages; where the template adds none, the run says that the model will not stop."""
    path = tmp_path / "chat.jsonl"
    user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    path.write_text((json.dumps({"prompt": [user], "completion": [assistant]}) + "\n") * 8)
    record = tune(tuning(data=read_training_set(path), flags={"max_steps": 1}), tmp_path / "run")
    assert record["conversational"] is True
    assert "no answer ends in the end-of-sequence token '</s>'" in record["notes"][0]


def test_what_trl_warns_of_is_a_note(tuning: Callable[..., Tuning], tmp_path: Path, capfd: Any) -> None:
    """A prompt whose last token merges with the answer is TRL's warning and our note, not a log line; it stands behind
    what there is to note of the rows."""
    path = tmp_path / "own.jsonl"
    path.write_text((json.dumps({"prompt": "Which c", "completion": "ountry is P17land"}) + "\n") * 8)
    data = replace(read_training_set(path), notes=("a note of the rows",))
    record = tune(tuning(data=data, flags={"max_steps": 1}), tmp_path / "run")
    assert record["notes"][0] == "a note of the rows"
    assert "prompt is not a prefix" in record["notes"][1]
    assert "prefix" not in capfd.readouterr().err


def test_the_same_seed_gives_the_same_bytes(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Two runs of one seed end with equal files; another seed does not."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tune(tuning(flags={"seed": seed}), tmp_path / name)
    files = {name: (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "abc"}
    assert files["a"] == files["b"]
    assert files["a"] != files["c"]


def test_other_settings_are_refused_with_the_differences(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """A directory that holds another run is refused, each difference named, and stays as it was."""
    tune(tuning(), tmp_path / "run")
    before = (tmp_path / "run" / "training.json").read_bytes()
    with pytest.raises(
        InputError, match=r"(?s)arguments.learning_rate: there 0.001, now 0.01.*arm: there 'own', now 'x'"
    ):
        tune(tuning(flags={"learning_rate": 1e-2}, arm="x"), tmp_path / "run")
    assert (tmp_path / "run" / "training.json").read_bytes() == before


def test_a_directory_of_something_else_is_refused(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """A directory that holds no tuning run, and a file, are refused."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no tuning run"):
        tune(tuning(), tmp_path)
    with pytest.raises(InputError, match="is a file, expected a directory"):
        tune(tuning(), tmp_path / "mine")


def test_lora_writes_an_adapter_that_finds_its_base(
    tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter names its base by an absolute path, and lm-eval's backend answers with it, unlike the base."""
    from slick.backend import load_backend
    from slick.sampled import greedy_kwargs

    monkeypatch.chdir(tiny_model.parent)
    record = tune(
        tuning(model="model", lora=LoRA(r=8), flags={"learning_rate": 0.05, "max_steps": 20}), tmp_path / "run"
    )
    monkeypatch.chdir(tmp_path)
    config = json.loads((tmp_path / "run/model/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert (config["r"], record["method"]) == (8, "lora")
    assert not list((tmp_path / "run/model").glob("model*.safetensors"))
    prompt = FORM.format("Which country is P17trainton 0 located in?")
    answers = [
        load_backend("hf", str(path), device="cpu").generate([(prompt, greedy_kwargs(8))])
        for path in (tiny_model, tmp_path / "run" / "model")
    ]
    assert answers[0] != answers[1]


def test_the_tuned_model_can_be_loaded_scored_and_tuned_again(
    tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path
) -> None:
    """The written model has its tokenizer, uses its cache, and holds safetensors only."""
    from slick.provenance import check_model
    from slick.training import read_training

    tune(tuning(), tmp_path / "run")
    model = tmp_path / "run" / "model"
    check_model(str(model))
    assert json.loads((model / "config.json").read_text())["use_cache"] is True
    assert json.loads((model / "generation_config.json").read_text()).get("use_cache", True) is True
    assert not [p for p in model.iterdir() if p.suffix in (".bin", ".pt", ".pth")]
    assert read_training(str(model))["arm"] == "own"
    tune(tuning(model=str(model)), tmp_path / "again")


def test_any_field_reaches_the_trainer(
    tuning: Callable[..., Tuning], tmp_path: Path, trainer_of: Callable[..., Any]
) -> None:
    """What --set gives stands in the trainer's SFTConfig, schedules and model settings included."""
    trainer, _ = trainer_of(
        tuning(
            "warmup_steps=3",
            "lr_scheduler_type=cosine",
            "weight_decay=0.1",
            "max_length=77",
            "model_init_kwargs={attention_dropout: 0.05}",
        ),
        tmp_path,
    )
    assert (trainer.args.warmup_steps, trainer.args.weight_decay, trainer.args.max_length) == (3, 0.1, 77)
    assert trainer.args.lr_scheduler_type == "cosine"
    assert trainer.model.config.attention_dropout == 0.05


def test_a_scheduled_rate_is_recorded(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """The loss log has the rate of each step; it is fixed by default, and falls where a schedule says so."""
    fixed = tune(tuning("logging_steps=2"), tmp_path / "fixed")
    falling = tune(tuning("logging_steps=2", "lr_scheduler_type=linear"), tmp_path / "falling")
    assert {entry["lr"] for entry in fixed["loss"]} == {1e-3}
    rates = [entry["lr"] for entry in falling["loss"]]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 4


def test_rows_that_do_not_fit_are_refused(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """Rows that max_length cuts are counted and refused, nothing written; on demand the rest is trained on."""
    fits, long_answer, long_prompt = (
        {"prompt": p * "a\n", "completion": c * " b"} for p, c in ((1, 1), (1, 40), (40, 1))
    )
    data = TrainingSet([fits] * 5 + [long_answer] * 2 + [long_prompt], "digest", "own.jsonl")
    with pytest.raises(
        InputError, match=r"3 of 8 rows .* max_length = 20 tokens: 1 would lose their whole answer .* 2 its"
    ):
        tune(tuning("max_length=20", data=data), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    record = tune(tuning("max_length=20", data=data, allow_truncated=True), tmp_path / "run")
    assert record["rows_trained"] == 7
    with pytest.raises(InputError, match="8 would lose their whole answer"):
        tune(tuning("max_length=1", data=data, allow_truncated=True), tmp_path / "none")


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_path_that_cannot_be_written_is_refused(tuning: Callable[..., Tuning], tmp_path: Path, place: str) -> None:
    """An --out that cannot be a directory is refused before any training."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="choose another --out"):
        tune(tuning(), tmp_path / place)
    assert (tmp_path / "file").read_text() == "x"


def test_a_model_without_a_chat_template_takes_no_messages(
    tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path
) -> None:
    """Messages need a template; its lack is said with the two ways out, and nothing is written."""
    plain = tmp_path / "plain"
    shutil.copytree(tiny_model, plain)
    (plain / "chat_template.jinja").unlink()
    messages = [{"role": "user", "content": "a"}]
    chat = TrainingSet([{"prompt": messages, "completion": messages}], "digest", "chat.jsonl")
    with pytest.raises(InputError, match=r"chat\.jsonl: holds messages, and .* has no chat template"):
        tune(tuning(model=str(plain), data=chat), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_without_an_end_token_is_refused(
    tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path
) -> None:
    """TRL fails obscurely on a tokenizer without an end token; we say what is missing before anything is written."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    config = json.loads((broken / "tokenizer_config.json").read_text())
    (broken / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": None}))
    with pytest.raises(InputError, match="names no end-of-sequence token"):
        tune(tuning(model=str(broken)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_adapter_cannot_be_tuned(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """A LoRA adapter must be merged first, and the message says how."""
    tune(tuning(lora=LoRA(r=2), flags={"max_steps": 1}), tmp_path / "run")
    with pytest.raises(InputError, match="merge it into its base first"):
        tune(tuning(model=str(tmp_path / "run" / "model")), tmp_path / "again")


def test_settings_that_trl_refuses_are_an_input_error(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """What only TRL can judge is refused in its words, and an existing empty directory stays empty."""
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="TRL cannot set up this training run"):
        tune(tuning("eval_strategy=steps"), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:1", "CUDA_VISIBLE_DEVICES=1"), ("tpu", "expected cpu or cuda")],
)
def test_a_device_that_cannot_be_is_refused(
    tuning: Callable[..., Tuning], tmp_path: Path, device: str, message: str
) -> None:
    """Devices are cpu and cuda; a numbered one is chosen by hiding the others."""
    with pytest.raises(InputError, match=message):
        tune(tuning(device=device), tmp_path / "run")


@pytest.mark.parametrize(
    ("lora", "message"),
    [(LoRA(r=0), "r = 0: expected at least 1"), (LoRA(lora_dropout=1.0), "expected from 0 to below 1")],
)
def test_adapter_settings_out_of_range_are_refused(lora: LoRA, message: str) -> None:
    """An adapter's rank, scale and dropout are checked."""
    with pytest.raises(InputError, match=message):
        lora.check()


def test_asked_for_checkpoints_stay(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """With save_strategy=epoch and no limit every epoch's checkpoint is kept, each a model that can be scored."""
    from slick.provenance import check_model

    this = tuning("save_strategy=epoch", "save_total_limit=null")
    tune(this, tmp_path / "run")
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    assert kept == ["checkpoint-4", "checkpoint-8"]
    check_model(str(tmp_path / "run" / "checkpoints" / "checkpoint-4"))


def test_a_set_mixed_for_another_model_is_refused(
    tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path, data: TrainingSet
) -> None:
    """What another model knows says nothing of this one; on demand it is trained on, and the record says so."""
    from slick.provenance import fingerprint

    base = fingerprint(str(tiny_model))

    def mixed_for(model: Mapping[str, Any]) -> Tuning:
        return tuning(data=replace(data, recipe={"knowledge": {"model": model}}), flags={"max_steps": 1})

    other = mixed_for({**base, "name": "other", "weights": "0" * 64})
    with pytest.raises(InputError, match=r"holds the knowledge of other .*--allow-mismatch"):
        tune(other, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    record = tune(replace(other, allow_mismatch=True), tmp_path / "run")
    assert "holds the knowledge of other" in record["notes"][0]
    assert tune(mixed_for(base), tmp_path / "own")["notes"] == []


def test_watching_what_another_model_knows_is_refused(
    tuning: Callable[..., Tuning], tmp_path: Path, tiny_facts: list[Fact]
) -> None:
    """As training on it is: on demand it is watched, and the record says so."""
    known = tuple(Knowledge(fact, 10, 10) for fact in tiny_facts[:8])
    other = KnownFacts("dev", "there", known, {"name": "other", "weights": "0" * 64})
    watching = tuning(watch=Watch((other,)), flags={"max_steps": 1})
    with pytest.raises(InputError, match=r"--watch dev=there: holds the knowledge of other .*--allow-mismatch"):
        tune(watching, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    record = tune(replace(watching, allow_mismatch=True), tmp_path / "run")
    assert "--watch dev=there: holds the knowledge of other" in record["dynamics"]["notes"][-1]


def test_steps_of_as_many_rows_are_one_arm(tuning: Callable[..., Tuning]) -> None:
    """How a step is shared out over micro-batches does not decide the arm; how many rows it has does."""
    keys = [
        tuning(f"gradient_accumulation_steps={n}", flags={"per_device_train_batch_size": rows}).arm_key()
        for n, rows in ((1, 8), (2, 4), (2, 8))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_seeds_of_one_recipe_are_one_arm(tuning: Callable[..., Tuning], tmp_path: Path, data: TrainingSet) -> None:
    """Runs that differ in the seeds of mix and training have one arm key; another recipe or rate has another."""
    recipe = {
        "recipe": "unknown-50",
        "seed": 0,
        "size": 32,
        "unknown": 0.5,
        "counts": {},
        "form": FORM,
        "conversational": False,
    }

    def key(seed: int, rows: str = "digest", flags: Mapping[str, Any] | None = None, **changes: Any) -> str:
        mixed = TrainingSet(data.rows, rows, "set", {**recipe, "seed": seed, **changes})
        return tuning(flags={"seed": seed, **(flags or {})}, data=mixed).arm_key()

    counts = {"HighlyKnown": 6, "MaybeKnown": 2, "WeaklyKnown": 0, "Unknown": 8}
    assert key(0) == key(1, rows="other")
    # Which Known facts are drawn is the seed's chance; how many rows are Unknown is the recipe's choice.
    drawn = [key(0, counts={"P17": {**counts, **changed}}) for changed in ({}, {"HighlyKnown": 5, "MaybeKnown": 3})]
    assert drawn[0] == drawn[1] != key(0, counts={"P17": {**counts, "HighlyKnown": 5, "Unknown": 9}})
    described = [key(0, description=of) for of in ({"unknown": 0.5}, {"unknown": 0.5, "weights": {"Unknown": 0}})]
    assert described[0] != described[1]
    others = {key(0, recipe="natural"), key(0, flags={"learning_rate": 1e-4}), key(0), tuning().arm_key()}
    assert len(others) == 4
    assert tuning(lora=LoRA()).arm_key() != tuning().arm_key()


def test_an_arm_is_known_by_its_models_weights(tuning: Callable[..., Tuning], tiny_model: Path, tmp_path: Path) -> None:
    """A copy of the base model at another path makes the same arm."""
    shutil.copytree(tiny_model, tmp_path / "copy")
    assert tuning(model=str(tmp_path / "copy")).arm_key() == tuning().arm_key()


def test_the_record_names_arm_and_recipe(tuning: Callable[..., Tuning], tmp_path: Path, data: TrainingSet) -> None:
    """The arm is the recipe's name unless given; the record has what `slick score` and reports read."""
    recipe = {
        "recipe": "unknown-50",
        "seed": 3,
        "size": 32,
        "unknown": 0.5,
        "counts": {},
        "form": FORM,
        "conversational": False,
    }
    mixed = TrainingSet(data.rows, data.digest, "set", recipe)
    record = tune(tuning(data=mixed, flags={"seed": 4, "max_steps": 1}), tmp_path / "run")
    assert (record["arm"], record["seed"], record["form"]) == ("unknown-50", 4, FORM)
    assert record["recipe"]["unknown"] == 0.5
    assert record["base"]["weights"]
    assert (record["steps"], record["batch_size"], record["method"]) == (1, 8, "full")
    assert tuning(data=mixed, arm="mine").label == "mine"


def test_callbacks_watch_the_run_and_add_to_its_record(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """A TRL callback sees every step, is done with a checkpoint before it is marked, and its record is kept."""
    from transformers import TrainerCallback

    seen: list[tuple[str, int, bool]] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(("step", state.global_step, kwargs["model"].training))

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            marked = Path(args.output_dir) / f"checkpoint-{state.global_step}" / "complete"
            seen.append(("save", state.global_step, marked.exists()))

        def record(self) -> dict[str, Any]:
            return {"watched": len(seen)}

    record = tune(tuning("save_steps=2", flags={"max_steps": 2}), tmp_path / "run", callbacks=[Watch()])
    assert seen == [("step", 1, True), ("step", 2, True), ("save", 2, False)]
    assert record["watched"] == 3
    assert json.loads((tmp_path / "run" / "training.json").read_text())["watched"] == 3


def test_output_is_one_bar(tuning: Callable[..., Tuning], tmp_path: Path, capfd: Any) -> None:
    """A run prints one progress bar on stderr and nothing else: no logs, no warnings."""
    tune(tuning("logging_steps=1", arm="mine"), tmp_path / "run")
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.replace("\r", "\n").splitlines() if line and not line.startswith("Tuning mine:")] == []
