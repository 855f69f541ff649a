"""Where a command may write: never over what it reads, and never two things to one place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from slick.errors import Mistakes

# What a run's directory holds; see `slick.run_writer`.
_OF_A_RUN = re.compile(r"results_|samples_|progress\.|knowledge\.|\.")


def check_outputs(
    outputs: Mapping[str, Path | None],
    inputs: Mapping[str, Sequence[Path] | Sequence[str]],
    *,
    what: str,
    directory: str = "--out",
) -> None:
    """InputError with every output that would take the place of an input, or of another output.

    outputs: option → where it writes; that of `directory` is a directory, which holds a run. inputs: what it is, in
    words → the files and directories of it; names that are no paths do no harm. what: what the outputs say, in words.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    read = {Path(path).resolve(): name for name, paths in inputs.items() for path in paths if path}
    taken: dict[Path, str] = {}
    with Mistakes("nothing was done, since an output would replace what is needed:") as mistakes:
        for option, path in given.items():
            place = path.resolve()
            mend = f"give {what} another {'directory' if option == directory else 'file'}"
            for there, name in read.items():
                if place == there or _one_file(path, there):
                    mistakes.add(f"{path}: is {name} itself; {mend} ({option})")
                elif there.is_dir() and place.is_relative_to(there):
                    mistakes.add(f"{path}: lies inside of {name}, {there.name}; {mend} ({option})")
            if (other := taken.setdefault(place, option)) != option:
                mistakes.add(f"{path}: is named by {other} and by {option}; give each a place of its own")
        run = given.get(directory)
        for option, path in given.items():
            inside = run is not None and option != directory and path.resolve().parent == run.resolve()
            if inside and _OF_A_RUN.match(path.name):
                of = f"of the run that {directory} keeps"
                mistakes.add(f"{path}: is a file {of}; give {what} another name ({option})")


def _one_file(one: Path, other: Path) -> bool:
    """Whether two names, each of which may be missing, are of one file, as hard links are."""
    return one.is_file() and other.is_file() and one.samefile(other)
