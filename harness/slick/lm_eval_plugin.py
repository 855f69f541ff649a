"""What slick_lm_eval_hook calls once a module of lm-eval has been imported. The one place that patches lm-eval."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from slick.errors import RunError

# Entry points of functions that return a directory of lm-eval YAML files; any package may declare one.
TASKS_GROUP = "slick.tasks"


def task_directories() -> list[Path]:
    """The directories of lm-eval tasks that installed packages declare."""
    found: list[Callable[[], Path]] = [point.load() for point in entry_points(group=TASKS_GROUP)]
    return [Path(directory()) for directory in found]


def add_tasks(manager: ModuleType) -> None:
    """Adds our tasks to every index that holds lm-eval's own, unless the name is taken.

    manager: the module `lm_eval.tasks.manager`. A name that lm-eval itself, a plugin or the user's
    --include_path has brought stays theirs. Raises RunError for an lm-eval that indexes tasks in another way.
    """
    original: Any = getattr(manager, "TaskIndex", None)
    if original is None or "TaskIndex" not in manager.TaskManager.__init__.__code__.co_names:
        raise RunError("this version of lm_eval indexes its tasks in another way")
    directories = task_directories()

    class TaskIndex(original):  # type: ignore[misc]  # known at run time only
        @staticmethod
        def build(paths: Iterable[Path], **options: Any) -> dict[str, Any]:
            roots = [Path(path) for path in paths]
            index: dict[str, Any] = original.build(roots, **options)
            # Without its defaults, a TaskManager is meant to hold what the user named and nothing else.
            if Path(str(manager.__file__)).parent in roots:
                for name, entry in original.build(directories, **options).items():
                    index.setdefault(name, entry)
            return index

    manager.TaskIndex = TaskIndex  # type: ignore[attr-defined]
