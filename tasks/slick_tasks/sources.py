"""Where a task's facts come from: the `custom_dataset` of our YAML, called with the task's metadata.

Each returns relation → its facts of all splits, and reads them once a process, for all of its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.facts import Fact, by_relation

Facts = Mapping[str, Sequence[Fact]]

LAB_FACTS = "facts.jsonl"


def entityq(**metadata: Any) -> Facts:
    """EntityQuestions: `entityquestions=DIR`, else as `slick.entityquestions.locate` finds it.

    Raises InputError for a directory without a true copy, RunError when the download fails.
    """
    from slick.entityquestions import locate

    given = metadata.get("entityquestions")
    return _entityq(locate(str(given) if given else None))


def lab(**metadata: Any) -> Facts:
    """The shipped lab's facts, or with `lab=DIR` those of a directory that `slick lab build` wrote."""
    given = metadata.get("lab")
    return _lab(Path(str(given)) if given else None)


@lru_cache(maxsize=1)
def _entityq(directory: Path) -> Facts:
    from slick.entityquestions import read_directory

    return by_relation(read_directory(directory))


@lru_cache(maxsize=2)
def _lab(directory: Path | None) -> Facts:
    if directory is None:
        from slick_tasks.lab import load_facts

        return by_relation(load_facts())
    from slick.reader import read_facts

    file = directory / LAB_FACTS if directory.is_dir() else directory
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected lab=DIR to name what `slick lab build --out DIR` wrote")
    return by_relation(read_facts(file))
