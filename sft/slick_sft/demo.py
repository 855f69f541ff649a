"""`slick demo`: the whole main job on the embedded lab, by the same verbs that a user types.

The directory holds the report, the runs that it was made from (`runs-1`, …) and `demo.json`, which says which
runs are the present ones. A new demo writes beside the old one and takes its place when its report stands.
"""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from slick import options as o
from slick.errors import InputError
from slick.files import make_directory, read_json, write_json
from slick.provenance import fingerprint, library_versions

SCHEMA = 1
MARK = "demo.json"
REPORT = "report.html"
# Half of the test facts: enough that the arms' difference on Known facts stands out of its interval.
HELD_OUT = 720
_RUNS = re.compile(r"runs-(\d+)")


@dataclass(frozen=True, slots=True)
class Lab:
    """What the demo works on. facts: a source with a test split; knowledge: the probe of its training facts."""

    model: Path
    facts: str
    knowledge: Path


@dataclass(frozen=True, slots=True)
class Arm:
    """One tuning run. unknown: share of Unknown rows in its training set."""

    name: str
    unknown: float
    seed: int = 0

    @property
    def run(self) -> str:
        return f"{self.name}-seed{self.seed}"


# The second seed of the control gives the report its A/A line: what differs between runs that should not.
ARMS = (
    Arm("known-only", 0),
    Arm("unknown-50", 0.5),
    Arm("unknown-100", 1),
    Arm("known-only", 0, seed=1),
)


@dataclass(frozen=True, slots=True)
class Tune:
    """How each arm is tuned: until it has fitted its rows, far above the paper's rate, since a demo is short."""

    steps: int = 120
    batch_size: int = 32
    learning_rate: float = 2e-4


def shipped_lab() -> Lab:
    """The lab that `slick_tasks` ships."""
    from slick_tasks.lab import data_path, organism_path

    return Lab(organism_path(), "lab", data_path() / "knowledge_train.parquet")


def run_demo(
    out: Path, *, seed: int = 0, limit: int = HELD_OUT, lab: Lab | None = None, how: Tune | None = None
) -> Path:
    """Probes, mixes, tunes, scores and reports into `out`; returns the report's path.

    limit: held-out facts. An interrupted demo goes on where it stopped when it is repeated with the same settings;
    a finished one is done anew, and its report and runs are replaced when the new ones are complete. Raises
    InputError where `out` holds anything else.
    """
    start = time.monotonic()
    lab, how = lab or shipped_lab(), how or Tune()
    settings = {
        "seed": seed,
        "limit": limit,
        "tune": asdict(how),
        "arms": [asdict(arm) for arm in ARMS],
        "lab": {"model": fingerprint(str(lab.model)), "facts": lab.facts},
        "versions": library_versions(),
    }
    runs = claim(out, settings)
    _print_plan(out, limit, how)
    _probe(lab, runs, seed, limit)
    _mix(lab, runs, seed)
    _score(runs, "base", lab.model)
    for arm in ARMS:
        _tune(runs, arm, lab, how, seed)
        _score(runs, arm.run, runs / "tuned" / arm.run / "model")
    _report(runs, out / REPORT)
    settle(out, settings, runs)
    print(f"\nOpen {out / REPORT} in a browser. Done in {time.monotonic() - start:.0f} s.")
    return out / REPORT


def claim(out: Path, settings: Mapping[str, Any]) -> Path:
    """The directory of runs to write to: an interrupted demo's with the same settings, else a new one."""
    mark = out / MARK
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the demo; choose another --out")
    if mark.exists():
        found = read_json(mark)
        if not isinstance(found, dict) or not _RUNS.fullmatch(str(found.get("runs"))):
            raise InputError(f"{mark}: was not written by slick demo; choose another --out, or remove it")
        if not found.get("finished") and found.get("settings") == settings:
            return out / str(found["runs"])
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no demo; choose another --out")
    make_directory(out)
    number = 1 + max((int(m[1]) for p in out.iterdir() if (m := _RUNS.fullmatch(p.name))), default=0)
    runs = out / f"runs-{number}"
    write_json(mark, {"schema": SCHEMA, "runs": runs.name, "finished": False, "settings": settings})
    return runs


def settle(out: Path, settings: Mapping[str, Any], runs: Path) -> None:
    """Marks the demo as finished, then removes the runs of earlier ones."""
    write_json(out / MARK, {"schema": SCHEMA, "runs": runs.name, "finished": True, "settings": settings})
    for path in out.iterdir():
        if _RUNS.fullmatch(path.name) and path != runs:
            shutil.rmtree(path)


def _print_plan(out: Path, limit: int, how: Tune) -> None:
    print(
        f"The main job on the embedded lab, about two minutes on two cores:\n"
        f"  1. probe {limit} held-out facts, exactly: what does the organism know?\n"
        f"  2. mix three fine-tuning sets of equal size: Known only, half Unknown, all Unknown\n"
        f"  3. tune the organism on each, {how.steps} steps (Known only with two seeds)\n"
        f"  4. score it closed-book on the held-out facts, before and after each\n"
        f"  5. write {out / REPORT}\n",
        flush=True,
    )


def _probe(lab: Lab, runs: Path, seed: int, limit: int) -> None:
    from slick.commands import probe
    from slick.knowledge import Estimator

    with _held_back():
        probe(
            model=str(lab.model),
            facts=lab.facts,
            out=runs / "probe",
            split="test",
            limit=limit,
            estimator=Estimator.EXACT,
            no_store=True,
            seed=seed,
        )


def _mix(lab: Lab, runs: Path, seed: int) -> None:
    from slick_sft.cli import mix

    for arm in ARMS:
        # A set is written whole or not at all, so one that is there is done.
        if not (runs / "sets" / arm.name).exists():
            with _held_back():
                mix(knowledge=str(lab.knowledge), out=runs / "sets" / arm.name, unknown=arm.unknown, seed=seed)


def _tune(runs: Path, arm: Arm, lab: Lab, how: Tune, seed: int) -> None:
    from slick_sft.cli import tune

    with _held_back():
        tune(
            model=str(lab.model),
            data=runs / "sets" / arm.name,
            out=runs / "tuned" / arm.run,
            learning_rate=how.learning_rate,
            max_steps=how.steps,
            batch_size=how.batch_size,
            seed=seed + arm.seed,
            # Two minutes need no resuming within an arm; a checkpoint takes as long as a step.
            set_=["save_strategy=no"],
            device="cpu",
        )


def _score(runs: Path, name: str, model: Path) -> None:
    from slick.commands import score

    with _held_back():
        score(model=str(model), out=runs / "scores" / name, knowledge=str(runs / "probe"), no_store=True)


def _report(runs: Path, path: Path) -> None:
    from slick_reports.cli import report

    scores = [runs / "scores" / name for name in ("base", *(arm.run for arm in ARMS))]
    print()
    report(runs=scores, out=path, knowledge=runs / "probe", title="Demo: what tuning on unknown facts does")


@contextmanager
def _held_back() -> Iterator[None]:
    """A verb's own table is kept back: the report shows all of them side by side. Bars are on stderr and stay."""
    with redirect_stdout(io.StringIO()):
        yield


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the demo; an earlier demo in it is replaced.")] = Path(
        "reports/demo"
    ),
    limit: Annotated[int, typer.Option(help="Held-out facts to probe and score.", min=1)] = HELD_OUT,
    seed: o.Seed = 0,
) -> None:
    """Run the whole main job on the embedded lab: probe, mix, tune, score, report. Under 3 minutes on 2 cores.

    \b
    Example:
      slick demo --out reports/demo
    """
    run_demo(out, seed=seed, limit=limit)
