"""How `lm_eval` comes to find our tasks and our model: the hook that waits, and what it calls."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lm_eval.api.registry import get_model

import slick_lm_eval_hook as hook
from slick import lm_eval_plugin
from slick.errors import RunError
from slick.lm_eval_plugin import add_models, add_tasks, evaluated_model, task_directories

OURS = 117


def python(code: str, *, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {}), **env}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


@pytest.fixture
def other_lm_eval(tmp_path: Path) -> Path:
    """A directory with an lm_eval that indexes its tasks, and lists its models, in a way we do not know."""
    for package in ("lm_eval", "lm_eval/tasks", "lm_eval/models", "lm_eval/api"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "lm_eval/tasks/manager.py").write_text("class TaskManager:\n    def __init__(self): pass\n")
    (tmp_path / "lm_eval/api/registry.py").touch()
    return tmp_path


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """lm-eval's task manager, its own tasks being those in `tmp_path`: indexing the true ones takes 10 s."""
    import lm_eval.tasks.manager as module

    monkeypatch.setattr(module, "__file__", str(tmp_path / "manager.py"))
    return module


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What lm-eval warned of."""
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="lm_eval")
    return lambda: [record.getMessage() for record in caplog.records]


def write_task(directory: Path, name: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.yaml"
    path.write_text(f"task: {name}\ndataset_path: theirs\n", encoding="utf-8")
    return path


def test_the_installed_hook_is_this_one() -> None:
    """An editable install holds a copy of the hook; `pip install -e .` again where it has grown old."""
    root = Path(__file__).resolve().parents[2]
    assert Path(hook.__file__).read_bytes() == (root / "harness" / "slick_lm_eval_hook.py").read_bytes()


def test_python_starts_with_the_finder_and_nothing_else_of_ours() -> None:
    """The start of Python imports the hook only, neither slick nor lm_eval."""
    code = "import sys; print([m for m in sys.modules if m.startswith(('slick', 'lm_eval'))], sys.meta_path[0])"
    assert python(code).stdout.startswith("['slick_lm_eval_hook'] <slick_lm_eval_hook.Finder")


@pytest.mark.parametrize(("value", "on"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_the_environment_turns_it_off(value: str, on: bool) -> None:
    """With SLICK_NO_LM_EVAL_HOOK=1 nothing is put into Python's import machinery."""
    code = "import sys; print(any(type(f).__name__ == 'Finder' for f in sys.meta_path))"
    assert python(code, SLICK_NO_LM_EVAL_HOOK=value).stdout == f"{on}\n"


def test_installing_twice_leaves_one_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two .pth files, as of an environment within another, do no harm."""
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if f is not hook.FINDER])
    hook.install()
    hook.install()
    assert sys.meta_path.count(hook.FINDER) == 1


def test_other_modules_are_none_of_its_business() -> None:
    """The finder finds nothing but what it waits for."""
    assert hook.FINDER.find_spec("json") is None
    assert hook.FINDER.find_spec("lm_eval.models.huggingface") is None


def test_an_unknown_lm_eval_works_and_the_failure_is_said(other_lm_eval: Path) -> None:
    """An lm_eval that indexes tasks in another way is imported all the same; one line says what to do."""
    found = python("import lm_eval.tasks.manager as m; print(m.TaskManager())", path=other_lm_eval)
    assert "TaskManager object" in found.stdout
    (line,) = found.stderr.splitlines()
    assert line.startswith("slick: lm_eval cannot find its tasks by itself (RunError: this version of lm_eval indexes")
    assert '--include_path "$(slick tasks-path)"' in line


def test_an_unknown_list_of_models_is_said(other_lm_eval: Path) -> None:
    """Likewise an lm_eval that keeps its models in another way; the line says which models there are."""
    found = python("import lm_eval.models; print('imported')", path=other_lm_eval)
    assert found.stdout == "imported\n"
    (line,) = found.stderr.splitlines()
    assert line.startswith("slick: lm_eval cannot find its models by itself (AttributeError: ")
    assert "use --model hf, or `slick probe`" in line


def test_turned_off_it_says_nothing(other_lm_eval: Path) -> None:
    """Where the hook is off, not even its failure is noticed."""
    found = python("import lm_eval.tasks.manager", path=other_lm_eval, SLICK_NO_LM_EVAL_HOOK="1")
    assert found.stderr == ""


def test_a_missing_lm_eval_is_missing_as_always() -> None:
    """The hook does not change how a module that is not there fails."""
    code = "import sys; sys.modules['lm_eval'] = type(sys)('lm_eval'); import lm_eval.tasks.manager"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        python(code)
    assert "ModuleNotFoundError: No module named 'lm_eval.tasks'" in caught.value.stderr


def test_tasks_stand_beside_lm_evals_own(manager: ModuleType, tmp_path: Path) -> None:
    """A TaskManager with its defaults holds its own tasks and ours."""
    write_task(tmp_path, "theirs")
    found = manager.TaskManager()
    assert len(found.all_tasks) == OURS + 1
    assert {"theirs", "slick_entityq_p17", "lab_closed_book_p17"} <= set(found.all_subtasks)
    assert "slick_entityq" in found.all_groups


def test_without_defaults_nothing_is_added(manager: ModuleType, tmp_path: Path) -> None:
    """include_defaults=False holds what the user named and nothing else."""
    write_task(tmp_path / "user", "mine")
    found = manager.TaskManager(include_defaults=False, include_path=str(tmp_path / "user"))
    assert found.all_tasks == ["mine"]


def test_a_built_in_name_is_left_alone(manager: ModuleType, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    """A task that lm-eval itself calls by our name stays lm-eval's."""
    theirs = write_task(tmp_path, "slick_lab_p17")
    found = manager.TaskManager()
    assert found.task_index["slick_lab_p17"].yaml_path == theirs
    assert len(found.all_tasks) == OURS
    assert said() == []


def test_a_users_task_wins_in_silence(manager: ModuleType, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    """A task from --include_path that bears our name is taken instead of ours."""
    mine = write_task(tmp_path / "user", "slick_lab_p17")
    manager.__file__ = str(tmp_path / "none" / "manager.py")
    found = manager.TaskManager(include_path=str(tmp_path / "user"))
    assert found.task_index["slick_lab_p17"].yaml_path == mine
    assert said() == []


def test_the_include_path_of_tasks_path_does_not_register_twice(
    manager: ModuleType, said: Callable[[], list[str]]
) -> None:
    """--include_path "$(slick tasks-path)" works beside the hook, without a warning."""
    (directory,) = task_directories()
    found = manager.TaskManager(include_path=str(directory))
    assert len(found.all_tasks) == OURS
    assert said() == []


@pytest.mark.parametrize("kind", ["no index", "unused index"])
def test_another_way_of_indexing_is_an_error(kind: str) -> None:
    """What we patch must be what the TaskManager uses."""

    class TaskManager:
        def __init__(self) -> None:
            self.tasks: dict[str, Any] = {}

    module = ModuleType("manager")
    module.TaskManager = TaskManager  # type: ignore[attr-defined]
    if kind == "unused index":
        module.TaskIndex = object  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="indexes its tasks in another way"):
        add_tasks(module)


def test_our_model_is_known_by_name_and_not_imported() -> None:
    """`--model slick-hf` is found as `--model hf` is, and costs nothing until it is asked for."""
    code = (
        "import sys; from lm_eval.api.registry import get_model, model_registry; "
        "import lm_eval.models; print('slick-hf' in model_registry, 'torch' in sys.modules); "
        "print(get_model('hf').__name__, get_model('slick-hf').__name__)"
    )
    assert python(code).stdout == "True False\nHFLM SlickHF\n"


def test_turned_off_our_model_is_unknown() -> None:
    """Without the hook, lm-eval lists its own models only."""
    code = "import lm_eval.models; from lm_eval.api.registry import model_registry; print('slick-hf' in model_registry)"
    assert python(code, SLICK_NO_LM_EVAL_HOOK="1").stdout == "False\n"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """lm-eval's registry with an empty list of models."""
    from lm_eval.api import registry as module

    monkeypatch.setattr(module, "model_registry", module.Registry("model"))
    return module


def test_a_taken_model_name_is_left_alone(registry: ModuleType) -> None:
    """A model of our name that stands there already stays."""
    registry.model_registry.register("slick-hf", target="theirs:Model")
    add_models(ModuleType("lm_eval.models"))
    assert dict(registry.model_registry.items()) == {"slick-hf": "theirs:Model"}


def test_an_lm_eval_with_plugins_is_left_alone(registry: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where lm-eval reads the entry point "lm_eval.models" itself, nothing is registered."""
    add_models(ModuleType("lm_eval.models"))
    assert [*registry.model_registry] == ["slick-hf"]
    registry.model_registry._clear()
    monkeypatch.setattr(registry, "import_plugins", print, raising=False)
    add_models(ModuleType("lm_eval.models"))
    assert len(registry.model_registry) == 0


def test_the_registered_path_is_the_entry_point_and_the_class() -> None:
    """What the hook registers, what the wheel declares to lm-eval, and what the class calls itself are one."""
    (point,) = entry_points(group="lm_eval.models", name=lm_eval_plugin.MODEL)
    assert point.value == lm_eval_plugin.MODEL_CLASS
    model = point.load()
    assert get_model(lm_eval_plugin.MODEL) is model


def test_outside_lm_evals_evaluator_no_model_is_evaluated() -> None:
    """A function of that name elsewhere is not taken for lm-eval's."""

    def evaluate(lm: str) -> Any:
        return evaluated_model()

    assert evaluate("mine") is None


def test_our_directory_is_declared() -> None:
    """The tasks of this installation are found through the entry-point group."""
    (directory,) = task_directories()
    assert (directory / "slick_entityq" / "slick_entityq.yaml").is_file()
