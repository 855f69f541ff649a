"""Two processes on one machine train as one does, resume as one does, and fail with one voice."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_sft.formats import TrainingSet
from slick_sft.train import LoRA, Tuning, tune

# What a process of the run does. The second one may be killed at a step.
PROCESS = """
import os, pickle, signal, sys
from pathlib import Path
from transformers import TrainerCallback
from slick_sft.train import tune

class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if str(state.global_step) == os.environ.get("KILL_AT") and args.process_index == 1:
            os.kill(os.getpid(), signal.SIGKILL)

record = tune(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), callbacks=[Kill()])
print("told", record["processes"], record["steps"])
"""

# accelerate shards on GPUs only. What it does there is done here by hand, on two CPU processes.
SHARDED = """
import json, pickle, sys
from pathlib import Path
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from slick_sft.checkpoints import check_weights
from slick_sft.trainer import build_trainer

tuning = pickle.loads(Path(sys.argv[1]).read_bytes())
trainer, _ = build_trainer(
    tuning.model, tuning.data, dict(tuning.arguments), checkpoints=Path(sys.argv[2]), cpu=True
)
mesh = init_device_mesh("cpu", (2,))
for block in trainer.model.model.layers:
    fully_shard(block, mesh=mesh)
fully_shard(trainer.model, mesh=mesh)
trainer.accelerator.prepare = lambda *prepared, **_: prepared if len(prepared) > 1 else prepared[0]
trainer.train()
check_weights(trainer.model, 1)
assert type(trainer.model.lm_head.weight).__name__ == "DTensor"
if trainer.args.process_index == 0:
    print(json.dumps([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]))
"""


def in_two(script: Sequence[str | Path], **variables: str) -> subprocess.CompletedProcess[str]:
    """Two processes of a script or module, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables}
    return subprocess.run([sys.executable, *launch, *script], capture_output=True, text=True, env=environment)


@pytest.fixture
def uneven(data: TrainingSet) -> TrainingSet:
    """30 rows of several weights, in two stages whose last steps are short."""
    return replace(
        data,
        rows=data.rows[:30],
        weights=tuple((1.0, 0.25, 0.0, 2.0)[i % 4] for i in range(30)),
        stages=tuple(int(i >= 17) for i in range(30)),
        sidecar=tuple({"category": "Unknown" if i % 2 else "HighlyKnown"} for i in range(30)),
    )


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A run in two processes."""

    def start(tuning: Tuning, out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "process.py").write_text(PROCESS)
        (tmp_path / "tuning").write_bytes(pickle.dumps(tuning))
        return in_two([tmp_path / "process.py", tmp_path / "tuning", out], **variables)

    return start


def device_rows(tuning: Tuning, rows: int) -> Tuning:
    return replace(tuning, arguments={**tuning.arguments, "per_device_train_batch_size": rows})


@pytest.mark.parametrize(
    "more", [{}, {"lora": LoRA(r=4, lora_alpha=8), "distill": 1.0}], ids=["full", "lora, distilled"]
)
def test_two_processes_train_as_one_with_twice_the_rows(
    tuning: Callable[..., Tuning],
    uneven: TrainingSet,
    started: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    weights: Callable[[Path], Mapping[str, Any]],
    more: Mapping[str, Any],
) -> None:
    """The same losses and weights, to rounding: gradients are of the whole step's weighted mean. It is one arm."""
    flags = {"max_steps": None, "num_train_epochs": 2, "per_device_train_batch_size": 4}
    both = tuning("logging_steps=1", "gradient_accumulation_steps=2", flags=flags, data=uneven, watch=None, **more)
    done = started(both, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "told 2 6", "told 2 6"]
    assert done.stderr.count("Tuning own: 100%") >= 1
    alone = tune(device_rows(both, 8), tmp_path / "one")
    record = json.loads((tmp_path / "two" / "training.json").read_text())
    assert (record["processes"], record["batch_size"]) == (2, 16)
    assert (alone["processes"], alone["batch_size"]) == (1, 16)
    assert record["arm_key"] == alone["arm_key"]
    losses = [[entry["loss"] for entry in of["loss"]] for of in (record, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    ours, theirs = weights(tmp_path / "two" / "model"), weights(tmp_path / "one" / "model")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].allclose(theirs[name], atol=1e-4) for name in ours)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["model", "training.json"]


def test_a_killed_process_ends_the_run_which_is_then_resumed(
    tuning: Callable[..., Tuning],
    uneven: TrainingSet,
    started: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    """With dropout, one of two processes killed: two go on behind the last checkpoint and end with the same bytes.

    Another number of processes is refused: each has random numbers of its own.
    """
    settings = ("save_steps=2", "logging_steps=1", "model_init_kwargs={attention_dropout: 0.1}")
    flags = {"max_steps": 6, "per_device_train_batch_size": 4}
    this = tuning(*settings, flags=flags, data=uneven, watch=None)
    assert started(this, tmp_path / "whole").returncode == 0
    killed = started(this, tmp_path / "broken", KILL_AT="3")
    assert killed.returncode != 0
    assert (tmp_path / "broken" / "checkpoints" / "checkpoint-2" / "complete").exists()
    assert not (tmp_path / "broken" / "training.json").exists()
    with pytest.raises(InputError, match="processes: there 2, now 1"):
        tune(this, tmp_path / "broken")
    resumed = started(this, tmp_path / "broken")
    assert resumed.returncode == 0, resumed.stderr
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "broken"))
    assert one.read_bytes() == other.read_bytes()


def test_accelerate_launches_the_command(tiny_model: Path, data: TrainingSet, tmp_path: Path) -> None:
    """`accelerate launch -m slick tune` trains in two processes, prints once, and returns a finished run at once."""
    command = [*("--model", tiny_model, "--data", data.source, "--out", tmp_path / "run", "--device", "cpu")]
    command += ["--max-steps", "2", "--batch-size", "4", "--learning-rate", "1e-3"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    for _ in range(2):
        done = subprocess.run([*launch, "-m", "slick", "tune", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        first, last = done.stdout.splitlines()
        assert first.startswith("own: 32 rows, 2 steps")
        assert last == str(tmp_path / "run" / "model")
    assert json.loads((tmp_path / "run" / "training.json").read_text())["batch_size"] == 8


def test_an_error_is_printed_once(tiny_model: Path, tmp_path: Path) -> None:
    """Both processes find the same mistake; one of them says so, and nothing is written."""
    command = ["--model", tiny_model, "--data", tmp_path / "absent.jsonl", "--out", tmp_path / "run"]
    done = in_two(["-m", "slick", "tune", *command])
    assert done.stderr.count("slick: error:") == 1
    assert "absent.jsonl: no such file or directory" in done.stderr
    assert not (tmp_path / "run").exists()


def test_sharded_weights_train_as_whole_ones(
    tuning: Callable[..., Tuning], uneven: TrainingSet, tmp_path: Path
) -> None:
    """With every weight spread over two processes (FSDP 2) the losses are those of one process with twice the rows."""
    flags = {"max_steps": 4, "per_device_train_batch_size": 4}
    this = tuning("logging_steps=1", "save_strategy=no", flags=flags, data=uneven, watch=None)
    (tmp_path / "process.py").write_text(SHARDED)
    (tmp_path / "tuning").write_bytes(pickle.dumps(this))
    done = in_two([tmp_path / "process.py", tmp_path / "tuning", tmp_path / "none"])
    assert done.returncode == 0, done.stderr
    alone = tune(device_rows(this, 8), tmp_path / "one")
    assert json.loads(done.stdout) == pytest.approx([entry["loss"] for entry in alone["loss"]], rel=1e-4)


def test_sharding_needs_gpus(tuning: Callable[..., Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate passes over an FSDP configuration on a CPU without a word; we say it."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="FSDP: needs GPUs, and the device is cpu"):
        tune(tuning(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_shipped_configuration_is_one_of_accelerates(capsys: pytest.CaptureFixture[str]) -> None:
    """`slick fsdp-config` prints the path of a file that accelerate reads as FSDP 2, all its names known."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin

    from slick_sft.cli import fsdp_config

    fsdp_config()
    path = Path(capsys.readouterr().out.strip())
    config: Any = load_config_from_file(str(path))
    assert str(config.distributed_type) == "DistributedType.FSDP"
    options = {name.removeprefix("fsdp_"): value for name, value in config.fsdp_config.items()}
    assert options.pop("version") == 2
    offload = options.pop("offload_params")
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_offload=offload, **options)
    assert str(plugin.state_dict_type) == "StateDictType.FULL_STATE_DICT"
    assert plugin.reshard_after_forward is True


def test_a_run_that_another_command_is_writing_is_refused(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    """A second command finds the first one's lock and says whose it is; the first one goes on."""
    from transformers import TrainerCallback

    # A lock does not hold against its own process.
    code = "import sys; from pathlib import Path; from slick.locks import Lock; Lock.take(Path(sys.argv[1]))"
    refused = []

    class Second(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            lock = tmp_path / "run" / "progress.lock"
            refused.append(subprocess.run([sys.executable, "-c", code, lock], capture_output=True, text=True))

    tune(tuning(flags={"max_steps": 1}), tmp_path / "run", callbacks=[Second()])
    assert f"another process (pid {os.getpid()}" in refused[0].stderr
    assert not (tmp_path / "run" / "progress.lock").exists()
