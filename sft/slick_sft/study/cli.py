"""The verb `slick study`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slick import options as o

if TYPE_CHECKING:
    from slick_sft.study.run import OpenPool, Wish
    from slick_sft.study.schedule import Workers
    from slick_sft.study.state import State


def study(
    model: o.Model,
    out: Annotated[Path, typer.Option(help="Directory for the study; repeat the command to go on with it.")],
    facts: Annotated[
        str,
        typer.Option(help="Facts with the splits train, dev and test, and ood if there is one; as `slick probe`'s."),
    ],
    grid: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="paper, small, or a YAML file: what is trained, and how.")
    ] = "small",
    seeds: Annotated[int, typer.Option(help="Seeds of every variant.")] = 3,
    knowledge: Annotated[
        list[str],
        typer.Option(metavar="SPLIT=PROBE", help="A probe of this model that was made before; repeatable."),
    ] = [],  # noqa: B006  typer copies it
    jobs: Annotated[int, typer.Option(help="Worker processes; one a GPU, or one a core, if not given.", min=0)] = 0,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS|local", help="Work on a Ray cluster, or on one that is started here.")
    ] = "",
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print jobs, steps, time and disk, after some seconds.")
    ] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep the tuned weights, which are else removed once scored.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Sequences a batch of probes and scores; recorded.", min=1)] = 128,
    device: Annotated[str, typer.Option(help="cpu or cuda; GPUs where there are any if not given.")] = "",
    store: o.StoreFile = "",
    no_store: o.NoStore = False,
) -> None:
    """Repeat the paper's study on a model: probe, mix, tune, score, all variants and seeds, and report.

    Killed or interrupted at any moment, the same command goes on where it stopped, and what is done is never done
    again; a grid that has grown keeps what is there.

    \b
    Example:
      slick study --model ./model --facts lab --grid small --seeds 3 --out studies/lab
    """
    from slick_sft.study.grid import read_grid
    from slick_sft.study.run import Wish, plan_study, run_study

    wish = Wish(
        model=model,
        facts=facts,
        grid=read_grid(grid),
        seeds=seeds,
        out=out,
        known=_known(knowledge),
        device=device,
        batch_size=batch_size,
        store=store,
        no_store=no_store,
        keep_models=keep_models,
    )
    open_pool, workers, threads = _machine(wish, jobs, ray)
    if plan:
        plan_study(wish, open_pool, workers, threads)
        return
    state = run_study(wish, open_pool, workers, threads)
    if not keep_models:
        print("The tuned weights were removed once they were scored; --keep-models keeps them.")
    _report(state)


def _known(given: Sequence[str]) -> dict[str, str]:
    from slick.errors import Mistakes

    found: dict[str, str] = {}
    with Mistakes("probes that were made before:") as mistakes:
        for item in given:
            split, equals, path = item.partition("=")
            if not equals or not path:
                mistakes.add(f"--knowledge {item}: expected SPLIT=PROBE, such as train=runs/train")
            elif split in found:
                mistakes.add(f"--knowledge {item}: {split} is given twice")
            found[split] = path
    return found


def _machine(wish: Wish, jobs: int, ray: str) -> tuple[OpenPool, int, int]:
    """How workers are opened, how many, and the threads of each."""
    from slick_sft.study.machine import choose
    from slick_sft.study.ray_pool import LOCAL, RayPool

    arms = len(wish.grid.variants) * wish.seeds
    chosen = choose(jobs, device=wish.device, arms=arms, model=wish.model)

    def here(out: Path, size: int, threads: int) -> AbstractContextManager[Workers]:
        from slick_sft.study.pool import ProcessPool

        return ProcessPool(out, size, threads=threads, gpus=chosen.gpus)

    def on_cluster(out: Path, size: int, threads: int) -> AbstractContextManager[Workers]:
        return RayPool(out, size, address=ray, threads=threads, gpu=wish.device != "cpu", named=bool(jobs))

    if ray in ("", LOCAL):
        return on_cluster if ray else here, chosen.workers, chosen.threads
    # What this machine carries says nothing of a cluster, which takes as many as it has room for.
    return on_cluster, jobs or arms, chosen.threads


def _report(state: State) -> None:
    """Writes the study's report, and prints what it says first."""
    from slick.files import read_json
    from slick_sft.study_report.report import write

    html, markdown, document, *_ = write(state.out)
    said = read_json(document)
    for line in (said["headline"], *said["findings"]):
        print(line)
    for path in (markdown, document, html):
        print(path)
