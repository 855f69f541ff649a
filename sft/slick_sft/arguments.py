"""What a training run is told: every field of TRL's SFTConfig, from our defaults, a file, flags and --set."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from slick.errors import InputError, Mistakes

Arguments = dict[str, Any]

# The paper's: fixed rate, batch size. Its 50 epochs are CONVERGENCE; 10 is the last of its EARLY_STOP range.
LEARNING_RATE = 1e-5
# An adapter starts at nothing and has few weights: ten times the rate, as TRL's own guide advises.
LEARNING_RATE_LORA = 1e-4
BATCH_SIZE = 128
EPOCHS = 10.0

# What this project decides otherwise than TRL's defaults do, and why.
_DEFAULTS: Arguments = {
    "seed": 0,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": BATCH_SIZE,
    "num_train_epochs": EPOCHS,
    # TRL checkpoints activations by default: a fifth slower, and short rows do not need it.
    "gradient_checkpointing": False,
    "completion_only_loss": True,
    # Ten checkpoints a run, whatever its length; they serve resuming only and go when it is done.
    "save_strategy": "steps",
    "save_steps": 0.1,
    # Two, since the newest may be the one that a kill left half-written.
    "save_total_limit": 2,
    "report_to": "none",
    # The trainer averages a NaN away before it is logged; we stop at it.
    "logging_nan_inf_filter": False,
}

# Fields that `slick tune` sets itself, and the option to use instead.
_OURS = {
    "output_dir": "--out",
    "resume_from_checkpoint": "nothing: a repeated command resumes",
    "use_cpu": "--device cpu",
    "disable_tqdm": "nothing: the bar is ours",
    "remove_unused_columns": "nothing",
}

# Never written to disk with a run.
_SECRET = ("hub_token",)
# Without influence on the trained weights.
_OBSERVING = ("logging_", "save_", "report_to", "run_name", "project", "push_to_hub", "hub_")
_SEEDS = ("seed", "data_seed")
# How a step is shared out; what decides is the rows of all of it.
_SHARES = ("per_device_train_batch_size", "gradient_accumulation_steps")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's reading of scalars: `no` is a text (save_strategy: no) and 1e-4 a number."""


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+"), list("-+.0123456789"))


def sft_arguments(
    flags: Mapping[str, Any], *, settings: Sequence[str] = (), config: Path | None = None, lora: bool = False
) -> Arguments:
    """SFTConfig fields, each checked against its type: our defaults, then `config`, then `flags`, then `settings`.

    flags: field → value, None where the flag was not given. settings: NAME=VALUE, the value in YAML. config: a
    YAML file with a mapping of fields. Raises InputError that lists every unknown field (with the nearest name)
    and every value that does not fit.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    with Mistakes("settings of the training run:") as mistakes:
        in_file = {} if config is None else _read_config(config)
        set_now = _parse_settings(settings, mistakes)
        for name in sorted(given.keys() & set_now.keys()):
            mistakes.add(f"{name}: given as a flag and with --set; give it once")
        rate = LEARNING_RATE_LORA if lora else LEARNING_RATE
        merged = {"learning_rate": rate, **_DEFAULTS, **in_file, **given, **set_now}
        checked = _checked(merged, mistakes)
        mistakes.extend(_out_of_range(checked))
    return checked


def public(arguments: Mapping[str, Any]) -> Arguments:
    """The arguments without secrets, as a run records them."""
    return {name: value for name, value in arguments.items() if name not in _SECRET}


def decisive(arguments: Mapping[str, Any]) -> Arguments:
    """The arguments that decide the trained weights, besides the seed and the rows of a step (`rows_a_step`)."""
    return {
        name: value
        for name, value in public(arguments).items()
        if name not in (*_SEEDS, *_SHARES) and not name.startswith(_OBSERVING)
    }


def rows_a_step(arguments: Mapping[str, Any], processes: int) -> int:
    """Rows of an optimiser step: those of a device, of every micro-batch that it gathers, of every process."""
    device = int(arguments.get("per_device_train_batch_size", BATCH_SIZE))
    return device * int(arguments.get("gradient_accumulation_steps", 1)) * processes


def keeps_checkpoints(arguments: Mapping[str, Any]) -> bool:
    """Whether the user asked for checkpoints in some way; ours are there for resuming alone."""
    return any(arguments.get(name) != _DEFAULTS[name] for name in ("save_strategy", "save_steps", "save_total_limit"))


def _read_config(path: Path) -> Arguments:
    try:
        found = _load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a mapping of SFTConfig fields, such as 'learning_rate: 1.0e-5'")
    return {str(name): value for name, value in found.items()}


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader with fewer surprises


def _parse_settings(settings: Sequence[str], mistakes: Mistakes) -> Arguments:
    found: Arguments = {}
    for item in settings:
        name, equals, text = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            mistakes.add(f"--set {item}: expected NAME=VALUE")
        elif name in found:
            mistakes.add(f"--set {name}: given twice")
        else:
            try:
                found[name] = _load(text)
            except yaml.YAMLError:
                found[name] = text
    return found


def _checked(arguments: Arguments, mistakes: Mistakes) -> Arguments:
    """The arguments in their fields' types; "1e-4" becomes a number, which YAML reads as a text."""
    from pydantic import TypeAdapter, ValidationError
    from trl import SFTConfig  # pyright: ignore[reportPrivateImportUsage]  # TRL exports it lazily

    hints = typing.get_type_hints(SFTConfig)
    names = [field.name for field in dataclasses.fields(SFTConfig) if field.init]
    checked: Arguments = {}
    for name, value in arguments.items():
        if name in _OURS:
            mistakes.add(f"{name}: is set by slick tune; use {_OURS[name]}")
        elif name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            mistakes.add(f"{name}: no field of TRL's SFTConfig" + (f"; did you mean {near[0]}?" if near else ""))
        else:
            try:
                checked[name] = TypeAdapter(hints[name]).validate_python(value)
            except ValidationError as error:
                mistakes.add(f"{name} = {value!r}: {error.errors()[0]['msg']}")
    return checked


def _out_of_range(arguments: Arguments) -> list[str]:
    found = []
    rate = arguments.get("learning_rate", LEARNING_RATE)
    if not (math.isfinite(rate) and rate > 0):
        found.append(f"learning_rate = {rate}: expected above 0; a rate of 0 trains nothing")
    batch = arguments.get("per_device_train_batch_size", BATCH_SIZE)
    if batch < 1:
        found.append(f"per_device_train_batch_size = {batch}: expected at least 1")
    epochs, steps = arguments.get("num_train_epochs", EPOCHS), arguments.get("max_steps", -1)
    if not (math.isfinite(epochs) and epochs > 0) and steps <= 0:
        found.append(f"num_train_epochs = {epochs}: expected above 0")
    if steps == 0 or steps < -1:
        found.append(f"max_steps = {steps}: expected at least 1")
    return found
