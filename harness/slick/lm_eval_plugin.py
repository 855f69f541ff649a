"""What slick_lm_eval_hook calls once a module of lm-eval has been imported.

The one place that reaches into lm-eval where it offers no way in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from slick.errors import RunError

# Entry points of functions that return a directory of lm-eval YAML files; any package may declare one.
TASKS_GROUP = "slick.tasks"
# Our model's name for --model, and where lm-eval imports it from when it is asked for.
MODEL, MODEL_CLASS = "slick-hf", "slick.slick_hf:SlickHF"


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


def add_models(_: ModuleType) -> None:
    """Makes `--model slick-hf` known, unless the name is taken or lm-eval reads the entry point "lm_eval.models".

    Called when `lm_eval.models` has run: earlier, lm-eval would take the registry for filled and know no `hf`.
    """
    from lm_eval.api import registry

    if not hasattr(registry, "import_plugins") and MODEL not in registry.model_registry:
        registry.model_registry.register(MODEL, target=MODEL_CLASS)


def evaluated_model() -> Any:
    """The model that the `lm_eval.evaluator.evaluate` around the caller asks; None where there is none.

    lm-eval does not tell a task which model it is for, and a task that only some models can answer must say so
    before others have been answered for hours.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "evaluate" and frame.f_globals.get("__name__") == "lm_eval.evaluator":
            return frame.f_locals.get("lm")
        frame = frame.f_back
    return None
