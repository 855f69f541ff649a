"""The verb `slick store`: lists, prunes and verifies what models have answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slick.store import Holding

store = typer.Typer(
    help="The response store: what models have answered, so that nothing is asked twice.", no_args_is_help=True
)

StoreFile = Annotated[
    str, typer.Option("--store", help="The store's file; SLICK_STORE or the user's cache if not given.")
]
# Of the hexadecimal digits of a digest: enough to tell a user's models apart.
_SHOWN = 12


@store.command("list")
def list_(store: StoreFile = "") -> None:
    """List what the store holds, model by model, the last used first: weights and adapter, how much, when used.

    A model that "serves resuming" has a name that others may change the weights behind (a hub or served name);
    its responses go when its run is finished.

    \b
    Example:
      slick store list
    """
    from slick.store import Store

    path = _path(store)
    with Store(path, create=False) as opened:
        holdings = opened.holdings()
    total = sum(h.responses for h in holdings)
    print(f"{path}: {total:,} responses of {len(holdings)} models, {_file_size(path):,} bytes on disk")
    # Plain lines, the name last: a table would cut off names and digits, which prune takes.
    rows = [_cells(h) for h in holdings]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@store.command()
def prune(
    store: StoreFile = "",
    model: Annotated[str, typer.Option(help="This model: its name, or the weights' digits that are listed.")] = "",
    older_than: Annotated[
        float | None, typer.Option("--older-than", help="Models that have not been used for so many days.", min=0)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
) -> None:
    """Remove responses, and give their space back. --model and --older-than together: what both are true of.

    \b
    Example:
      slick store prune --older-than 90
    """
    from slick.errors import InputError
    from slick.store import Store, days_ago

    if everything == bool(model or older_than is not None):
        raise InputError("slick store prune: give --all, or --model, or --older-than, or the last two together")
    before = days_ago(older_than) if older_than is not None else None
    path = _path(store)
    with Store(path, create=False) as opened:
        holdings = opened.holdings()
        named = [h for h in holdings if not model or _is_called(h, model)]
        if model and not named:
            names = sorted({h.model.name for h in holdings})
            raise InputError(f"--model {model}: {path} holds nothing of it; found {', '.join(names) or 'no model'}")
        gone = [h for h in named if before is None or h.last_used < before]
        removed = opened.forget(h.model for h in gone)
        opened.shrink()
    print(f"removed {removed:,} responses of {len(gone)} models{_names(gone)}; {_file_size(path):,} bytes remain")


@store.command()
def verify(store: StoreFile = "") -> None:
    """Read the whole store, and say whether every response in it is sound. Exit code 2 where one is not.

    \b
    Example:
      slick store verify
    """
    from slick.store import Store

    path = _path(store)
    with Store(path, create=False) as opened:
        count = opened.verify()
    print(f"{path}: all {count:,} responses are sound")


def _path(named: str) -> Path:
    from pathlib import Path

    from slick.store import default_path

    return Path(named) if named else default_path()


def _is_called(holding: Holding, name: str) -> bool:
    return holding.model.name == name or (len(name) >= _SHOWN and (holding.model.weights or "").startswith(name))


def _names(holdings: Sequence[Holding]) -> str:
    names = sorted({h.model.name for h in holdings})
    return f" ({', '.join(names)})" if names else ""


def _cells(holding: Holding) -> tuple[str, ...]:
    model = holding.model
    weights = "serves resuming" if model.resuming else (model.weights or "by name")[:_SHOWN]
    return (
        weights + (f" + {model.adapter[:_SHOWN]}" if model.adapter else ""),
        f"{holding.responses:,} responses",
        f"{holding.size:,} bytes",
        f"{_day(holding.first_used)} to {_day(holding.last_used)}",
        model.backend,
        model.name,
    )


def _day(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d")


def _file_size(path: Path) -> int:
    return path.expanduser().stat().st_size
