"""The `slick` command: finds the verbs, and is the one place that prints errors and chooses exit codes.

A verb is an entry point of the group "slick.commands": a function that typer understands, or a typer app
for a verb with verbs of its own. Their modules import heavy libraries inside the functions.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import typer

from slick import __version__
from slick.errors import EXIT_INPUT, EXIT_RUN, SlickError
from slick.processes import speaks

# The order in which a user meets the verbs; others follow by name.
_ORDER = (
    *("demo", "probe", "lint", "gate", "bless", "mix", "tune", "score", "report", "history", "study"),
    *("learning-rate", "store", "lab", "fsdp-config", "tasks-path"),
)

# The base of all usage errors: typer's own copy of click where it brings one, else click itself.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
# What typer turns Ctrl-C into.
_INTERRUPTED = 130

EPILOG = "Exit codes: 0 pass, 1 quality failed, 2 usage or input error, 3 inconclusive, 4 run error."


def build_app() -> typer.Typer:
    """The app with every verb that is installed; the first found wins where two bear one name."""
    app = typer.Typer(
        name="slick",
        help="Know what your model knows before you fine-tune it, and prove that the tuning did not break it.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            typer.echo(f"slick {__version__}")
            raise typer.Exit

    for point in _verbs():
        try:
            verb = point.load()
        except Exception as error:
            # One broken package must not take the other verbs along.
            _complain(f"the verb {point.name!r} of {point.value} cannot be loaded: {error}")
            continue
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=point.name)
        else:
            app.command(point.name)(verb)
    return app


def _verbs() -> list[EntryPoint]:
    found = {point.name: point for point in reversed(list(entry_points(group="slick.commands")))}

    def place(name: str) -> tuple[int, str]:
        return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)

    return [found[name] for name in sorted(found, key=place)]


def run(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; everything a user should see of an error is printed here."""
    try:
        code = build_app()(args=arguments, standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except SlickError as error:
        _complain(str(error))
        return error.exit_code
    except _UsageError as error:
        if speaks(usage=True):
            cast(Any, error).show()
        return EXIT_INPUT
    except (typer.Abort, KeyboardInterrupt):
        _complain("interrupted; repeat the command to go on where it stopped")
        return EXIT_RUN
    except SystemExit:
        # typer's answer to a pipe that was closed; its code 1 would be a verdict.
        return EXIT_RUN
    except Exception as error:
        if os.environ.get("SLICK_TRACEBACK"):
            traceback.print_exc()
        _complain(
            f"{type(error).__name__}: {error}\n"
            "(unforeseen; set SLICK_TRACEBACK=1 for the traceback, and please report it)"
        )
        return EXIT_RUN


def _complain(message: str) -> None:
    if not speaks():
        return
    # A lone surrogate in a message must not turn an error into a traceback.
    safe = message.encode("utf-8", "backslashreplace").decode()
    print(f"slick: error: {safe}", file=sys.stderr)


def main() -> None:
    """The console script."""
    # Must stand before torch is imported. OpenMP threads spin while they wait by default: with another busy
    # process on two cores a training step took 11 s, and takes 0.26 s if they sleep (0.09 against 0.08 s alone).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run())
