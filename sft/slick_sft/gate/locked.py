"""A file that several processes may change: read and written again by one of them at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from slick.errors import InputError
from slick.files import make_directory
from slick.locks import Lock

# Whoever holds it writes a few lines.
PATIENCE = 30.0
_PAUSE = 0.02


@contextmanager
def locked(*files: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Holds these files against other processes that ask for them. patience: seconds to wait for each.

    Raises InputError where one cannot be written, or is held for longer.
    """
    places = sorted({file.parent.resolve() / file.name for file in files})
    with ExitStack() as held:
        # Always in one order, so that two never wait for each other.
        for place in places:
            held.callback(_taken(place, patience).release)
        yield


def _taken(file: Path, patience: float) -> Lock:
    try:
        make_directory(file.parent)
    except InputError as error:
        raise InputError(str(error).replace("choose another --out", "choose another (--baselines, --out)")) from error
    until = time.monotonic() + patience
    while True:
        try:
            return Lock.take(file.with_name(f".{file.name}.lock"))
        except InputError as error:
            if time.monotonic() >= until:
                raise InputError(
                    f"{file}: is being written for more than {patience:g} s; try again ({error})"
                ) from error
        time.sleep(_PAUSE)
