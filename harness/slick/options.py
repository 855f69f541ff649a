"""Command-line options that several verbs share, and what they resolve to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from slick.errors import InputError
from slick.facts import Fact, commonest_answers, of_split
from slick.matching import Matching

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.batch_size import Longest

Model = Annotated[str, typer.Option("--model", help="A model directory, a LoRA adapter's directory, or a hub name.")]
Facts = Annotated[
    str,
    typer.Option(
        "--facts",
        help="`entityq`, `lab`, or a path: JSON Lines, JSON, Parquet, a `datasets` directory, "
        "or a copy of EntityQuestions.",
    ),
]
Split = Annotated[
    str,
    typer.Option("--split", help="Only facts of this split (train, dev, test, ood, …); all if not given."),
]
Relations = Annotated[str, typer.Option("--relations", help="Only these relations, separated by commas.")]
Limit = Annotated[
    int,
    typer.Option("--limit", help="A seeded draw of so many facts, spread over the relations; 0 for all.", min=0),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Out = Annotated[Path, typer.Option("--out", help="Directory for the run; repeat the command to resume it.")]
BackendName = Annotated[
    str, typer.Option("--backend", help="slick-hf, or an lm-eval model type: hf, vllm, local-completions, …")
]
ModelArgs = Annotated[list[str], typer.Option("--model-args", help="Arguments for the backend, KEY=VALUE; repeatable.")]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Sequences a batch; recorded, since it can decide near-ties. auto: what fits into memory, found once.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, …; the backend's choice if not given.")]
MatchingOption = Annotated[Matching, typer.Option("--matching", help="strict: exact match. normalized: as SQuAD does.")]
ApplyChat = Annotated[
    bool, typer.Option("--apply-chat-template", help="Put the prompt through the model's chat template.")
]
Multiturn = Annotated[bool, typer.Option("--fewshot-as-multiturn", help="With a chat template: one turn an exemplar.")]
System = Annotated[
    str, typer.Option("--system-instruction", help="System message (or first line without a chat template).")
]
MaxGenToks = Annotated[int, typer.Option("--max-gen-toks", help="Longest answer, in tokens.", min=1)]

StoreFile = Annotated[
    str,
    typer.Option("--store", help="File that remembers answers; SLICK_STORE or one in the user's cache if not given."),
]
NoStore = Annotated[bool, typer.Option("--no-store", help="Remember no answers, and use none that are remembered.")]


@dataclass(frozen=True, slots=True)
class Selection:
    """The facts a command works on, and the whole source that they were selected from."""

    facts: Sequence[Fact]
    source: Sequence[Fact]


def select(source: str, *, split: str, relations: str, limit: int, seed: int) -> Selection:
    """Reads `source` once and selects from it. Raises InputError for anything wrong, all mistakes at once."""
    from slick.reader import read_selection

    chosen, everything = read_selection(
        source, split=split or None, relations=_names(relations), limit=limit or None, seed=seed
    )
    return Selection(chosen, everything)


def select_known(known: Sequence[Fact], name: str, *, split: str, relations: str, limit: int, seed: int) -> Selection:
    """Selects from the facts of a probe as `select` does from a source; `name` is what errors call them."""
    from slick.reader import select_facts

    chosen = select_facts(known, name, split=split or None, relations=_names(relations), limit=limit or None, seed=seed)
    return Selection(chosen, known)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def answer_priors(source: Sequence[Fact], pools: Mapping[str, Sequence[Fact]] | None = None) -> dict[str, str]:
    """Each relation's commonest answer: of its train split, else of its exemplar pool, else of all its facts."""
    pooled = [fact for pool in (pools or {}).values() for fact in pool]
    return {
        **commonest_answers(source),
        **commonest_answers(pooled),
        **commonest_answers(of_split(source, "train")),
    }


@contextmanager
def remembering_backend(
    name: str,
    model: str,
    model_args: Sequence[str],
    batch_size: str,
    device: str,
    *,
    store: str,
    no_store: bool,
    out: Path,
) -> Iterator[Backend]:
    """The backend that the shared options describe, which answers from the response store what it can.

    The store is opened first: one that cannot serve is refused before a model is loaded.
    """
    from slick.processes import joined
    from slick.run_writer import run_started
    from slick.store import Store, default_path, switched_off
    from slick.stored import Stored

    if store and no_store:
        raise InputError("--store and --no-store: give one of them")
    if no_store or (not store and switched_off()):
        yield open_backend(name, model, model_args, batch_size, device)
        return
    with Store(store or default_path()) as opened:
        inner = open_backend(name, model, model_args, batch_size, device)
        # Who names the store's file vouches for the model's name.
        stored = Stored(inner, opened, lambda: run_started(out), vouched=bool(store))
        yield cast("Backend", stored)
        stored.finish()
        if stored.served and joined().first:
            total = stored.served + stored.asked
            print(f"{stored.served:,} of {total:,} responses were in the store {opened.path}", file=sys.stderr)


def open_backend(name: str, model: str, model_args: Sequence[str], batch_size: str, device: str) -> Backend:
    """Loads the backend that the shared options describe; `sized` finds a batch size that is left open."""
    from slick.backend import load_backend, parse_model_args
    from slick.batch_size import read_size
    from slick.processes import joined

    size, arguments = read_size(batch_size), parse_model_args(model_args)
    return load_backend(name, model, arguments, batch_size=size, device=device or None, processes=joined())


def sized(loaded: Backend, batch_size: str, out: Path, longest: Callable[[], Longest]) -> Backend:
    """`loaded` with the batch size that is recorded in `out`, or else fits, where the option is auto."""
    from slick.batch_size import read_size, settled
    from slick.processes import joined
    from slick.stored import Stored

    if read_size(batch_size) is not None:
        return loaded
    remembering: object = loaded
    if not isinstance(remembering, Stored):
        return settled(loaded, out, longest, joined())
    remembering.inner = settled(remembering.inner, out, longest, joined())
    return loaded
