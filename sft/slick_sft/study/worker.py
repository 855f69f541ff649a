"""A worker process: does the jobs that it is told, and tells how far it is (see `pool`)."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from slick.errors import EXIT_INPUT, SlickError
from slick.files import make_directory
from slick_sft.study.schedule import INPUT, RUN

Progress = Callable[[float, float], None]
# Does a job's work in a study's directory; returns what it found out.
Do = Callable[[Mapping[str, Any], Path], Mapping[str, Any]]

_ORPHANED = 4


def serve(do: Do) -> None:
    """Does jobs until there are no more."""
    orders: SimpleQueue[Any] = SimpleQueue()
    # What is printed on the way must not mix with what is told.
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)
        threading.Thread(target=_hear, args=(orders,), daemon=True).start()
        tell = _teller(out)
        while True:
            order = orders.get()
            tell(perform(do, order, partial(_tell_progress, tell, order["job"])))


def perform(do: Do, order: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Does one job; returns the event that says how it ended.

    What it prints goes to its log, and what the verbs' bars would draw to `progress`.
    """
    progress(0, 0)
    with _logged(Path(order["log"])):
        return _performed(do, order, progress)


def _performed(do: Do, order: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    name = order["job"]
    try:
        with _bars_told(progress):
            record = do(order["work"], Path(order["out"]))
        return {"kind": "done", "job": name, "record": dict(record)}
    except SlickError as error:
        print(f"slick: error: {error}", file=sys.stderr)
        return {"kind": INPUT if error.exit_code == EXIT_INPUT else RUN, "job": name, "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"kind": RUN, "job": name, "message": f"{type(error).__name__}: {error}"}


def _tell_progress(tell: Callable[[Mapping[str, Any]], None], job: str, n: float, total: float) -> None:
    tell({"kind": "progress", "job": job, "n": n, "total": total})


def _hear(orders: SimpleQueue[Any]) -> None:
    """Passes orders on; when the command that gave them is gone, so is this process."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(_ORPHANED)


def _teller(out: IO[str]) -> Callable[[Mapping[str, Any]], None]:
    lock = threading.Lock()

    def tell(event: Mapping[str, Any]) -> None:
        with lock, suppress(BrokenPipeError):
            out.write(json.dumps(event, default=str) + "\n")
            out.flush()

    return tell


@contextmanager
def _logged(log: Path) -> Iterator[None]:
    """What is printed inside, also below Python, is appended to `log`."""
    make_directory(log.parent)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(before[0], 1)
            os.dup2(before[1], 2)
            for number in before:
                os.close(number)


@contextmanager
def _bars_told(progress: Progress) -> Iterator[None]:
    """A worker has no terminal: where a bar would be drawn, its numbers are told instead."""
    from tqdm import tqdm

    def told(bar: Any, *_: object, **__: object) -> bool:
        progress(float(bar.n), float(bar.total or 0))
        return True

    bars: Any = tqdm
    drawn, bars.display = bars.display, told
    try:
        yield
    finally:
        bars.display = drawn


if __name__ == "__main__":
    from slick_sft.study.work import do_work

    serve(do_work)
