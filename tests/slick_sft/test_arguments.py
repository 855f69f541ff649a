"""What a training run is told, from defaults, a file, flags and --set."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick.errors import InputError
from slick_sft.arguments import decisive, keeps_checkpoints, public, sft_arguments


def test_the_papers_settings_are_the_defaults() -> None:
    """Rate 1e-5, fixed, batch 128; the loss on the answer only; no activation checkpointing."""
    found = sft_arguments({})
    assert (found["learning_rate"], found["lr_scheduler_type"]) == (1e-5, "constant")
    assert (found["per_device_train_batch_size"], found["num_train_epochs"], found["seed"]) == (128, 10, 0)
    assert found["completion_only_loss"] is True
    assert found["gradient_checkpointing"] is False


def test_lora_learns_ten_times_as_fast() -> None:
    """An adapter's default rate is 1e-4; a given rate stays."""
    assert sft_arguments({}, lora=True)["learning_rate"] == 1e-4
    assert sft_arguments({"learning_rate": 3e-5}, lora=True)["learning_rate"] == 3e-5


def test_set_wins_over_flags_wins_over_the_file(tmp_path: Path) -> None:
    """The nearer a setting stands to the user's hand, the more it counts; a flag not given counts nothing."""
    config = tmp_path / "config.yaml"
    config.write_text("learning_rate: 1.0e-3\nmax_steps: 7\nwarmup_steps: 2\nseed: 5\n")
    flags = {"learning_rate": 1e-2, "max_steps": None, "seed": None}
    found = sft_arguments(flags, settings=["warmup_steps=3"], config=config)
    assert [found[n] for n in ("learning_rate", "max_steps", "warmup_steps", "seed")] == [1e-2, 7, 3, 5]


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("max-length=64", "max_length", 64),
        ("max_length=null", "max_length", None),
        ("gradient_checkpointing=yes", "gradient_checkpointing", True),
        ("model_init_kwargs={attention_dropout: 0.05}", "model_init_kwargs", {"attention_dropout": 0.05}),
        ("save_strategy=no", "save_strategy", "no"),
        ("model_init_kwargs={a: 5e-2, b: true, c: 1.5.2e}", "model_init_kwargs", {"a": 0.05, "b": True, "c": "1.5.2e"}),
        ("lr_scheduler_type=cosine", "lr_scheduler_type", "cosine"),
        ("report_to=[tensorboard]", "report_to", ["tensorboard"]),
        ("run_name=a: b: c", "run_name", "a: b: c"),
    ],
)
def test_values_are_read_as_yaml_in_the_fields_type(setting: str, name: str, value: object) -> None:
    """A --set value is YAML, turned into the type that SFTConfig declares; 1e-4 is a number."""
    found = sft_arguments({}, settings=[setting])[name]
    assert found == value
    assert type(found) is type(value)


def test_all_mistakes_are_shown_with_the_nearest_name(tmp_path: Path) -> None:
    """Unknown fields, misfits, doubles and our own fields are listed together."""
    config = tmp_path / "config.yaml"
    config.write_text("warmup_stepz: 3\n")
    settings = ["learning_rat=1", "seed=x", "output_dir=/", "nothing", "max_length=4", "max_length=5", "zzzz=1"]
    with pytest.raises(InputError) as raised:
        sft_arguments({"max_steps": 3}, settings=[*settings, "max_steps=4"], config=config)
    message = str(raised.value)
    for line in (
        "warmup_stepz: no field of TRL's SFTConfig; did you mean warmup_steps?",
        "learning_rat: no field of TRL's SFTConfig; did you mean learning_rate?",
        "zzzz: no field of TRL's SFTConfig\n",
        "seed = 'x': Input should be a valid integer",
        "output_dir: is set by slick tune; use --out",
        "--set nothing: expected NAME=VALUE",
        "--set max_length: given twice",
        "max_steps: given as a flag and with --set",
    ):
        assert line in message + "\n"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning_rate=0", "a rate of 0 trains nothing"),
        ("learning_rate=-1e-5", "learning_rate = -1e-05: expected above 0"),
        ("learning_rate=nan", "learning_rate = nan: expected above 0"),
        ("per_device_train_batch_size=0", "expected at least 1"),
        ("num_train_epochs=0", "num_train_epochs = 0.0: expected above 0"),
        ("max_steps=0", "max_steps = 0: expected at least 1"),
    ],
)
def test_settings_that_train_nothing_are_refused(setting: str, message: str) -> None:
    """A rate, batch, epoch or step number that cannot train is named with what was expected."""
    with pytest.raises(InputError, match=message):
        sft_arguments({}, settings=[setting])


@pytest.mark.parametrize(
    ("text", "message"), [("[1]", "expected a mapping"), ("a: [", "not YAML"), ("\x00", "not YAML")]
)
def test_a_config_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A file that is not a YAML mapping is named."""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    with pytest.raises(InputError, match=rf"config\.yaml: {message}"):
        sft_arguments({}, config=config)


def test_a_config_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such file"):
        sft_arguments({}, config=tmp_path / "none.yaml")


def test_a_token_never_reaches_the_disk() -> None:
    """A hub token reaches the trainer and is in nothing that a run records."""
    found = sft_arguments({}, settings=["hub_token=secret"])
    assert found["hub_token"] == "secret"
    assert "secret" not in str(public(found)) + str(decisive(found))


def test_seeds_and_watching_do_not_decide_the_arm() -> None:
    """What groups runs into an arm is free of seeds, logging and saving; everything else is in it."""
    one = sft_arguments({"seed": 1}, settings=["logging_steps=1", "save_steps=5", "data_seed=3"])
    assert decisive(one) == decisive(sft_arguments({"seed": 2}))
    assert decisive(one) != decisive(sft_arguments({}, settings=["warmup_steps=1"]))


def test_asking_for_checkpoints_keeps_them() -> None:
    """Our own checkpoints go when the run is done; a user who sets how to save keeps what was saved."""
    assert not keeps_checkpoints(sft_arguments({}))
    assert keeps_checkpoints(sft_arguments({}, settings=["save_strategy=epoch"]))
