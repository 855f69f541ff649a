"""The wheel: what it holds, and that a plain install of it is found by lm_eval."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"slick": "harness", "slick_tasks": "tasks", "slick_sft": "sft", "slick_reports": "reports"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling")
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_holds_all_files_of_the_packages_and_no_others(names: set[str]) -> None:
    """Code, task files, pages, data and weights: whatever lies in a package, and only that."""
    expected = {
        path.relative_to(ROOT / folder).as_posix()
        for package, folder in SOURCES.items()
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    hook = {"slick_lm_eval_hook.py", "slick_lm_eval_hook.pth"}
    assert {name for name in names if ".dist-info/" not in name} == expected | hook


def test_it_holds_what_would_be_missed_late(names: set[str]) -> None:
    """The lab with its weights and tokenizer, the tasks, the checksums, and the marks of typed packages."""
    assert {f"{package}/py.typed" for package in SOURCES} <= names
    assert {"slick_tasks/lab_data/facts.jsonl", "slick_tasks/lab_data/organism/config.json"} <= names
    assert {"slick_tasks/lab_data/organism/model.safetensors", "slick_tasks/lab_data/organism/tokenizer.json"} <= names
    assert len([name for name in names if name.startswith("slick_tasks/yaml/") and name.endswith(".yaml")]) == 117
    assert "slick/data/entityquestions.sha256.json" in names
    assert "slick_sft/configs/fsdp.yaml" in names
    assert {"slick_sft/gate/policy.yaml", "slick_sft/gate/policy.schema.json"} <= names


def test_it_holds_neither_tests_nor_caches(names: set[str]) -> None:
    """Nothing of the test suite, no byte code, no hidden file."""
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"tests", "conftest.py", "__pycache__"}
    assert not [part for part in parts if part.startswith(".") or part.endswith(".pyc")]


def test_its_entry_points_can_be_loaded(wheel: Path) -> None:
    """Every declared verb, source of facts, directory of tasks, model and plugin of pytest exists."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        lines = archive.read(name).decode().splitlines()
    groups = {line.strip("[]") for line in lines if line.startswith("[")}
    assert groups == {
        *("console_scripts", "pytest11", "slick.commands", "slick.facts", "slick.tasks", "lm_eval.models"),
    }
    group = ""
    for line in lines:
        key, found, value = line.partition(" = ")
        group = line if line.startswith("[") else group
        if found:
            loaded = EntryPoint(key, value, "").load()
            # A plugin of pytest is a module.
            assert callable(loaded) or (group == "[pytest11]" and hasattr(loaded, "keeps_knowledge")), line


def test_installed_it_is_found_by_lm_eval_and_leaves_without_a_trace(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment the hook adds the wheel's own tasks and model, and uninstalling removes every file."""
    pytest.importorskip("pip", reason="installing the wheel needs pip")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "-q"]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SLICK_NO_LM_EVAL_HOOK")}
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True, env=env)

    # The dependencies are this environment's. Its own .pth files are not processed from here, so that the
    # checkout is not on the path.
    borrowed = site / "borrowed.pth"
    borrowed.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    # Indexing lm-eval's own 14,000 files takes 10 s; an empty directory stands for them.
    (tmp_path / "defaults").mkdir()
    code = (
        "import lm_eval.tasks.manager as m, slick_tasks; m.__file__ = 'defaults/manager.py'; "
        "found = m.TaskManager(); task = found.load(['slick_lab_p17'])['tasks']['slick_lab_p17']; "
        "import inspect, pathlib, lm_eval.api.registry as r; file = inspect.getfile(r.get_model('slick-hf')); "
        "print(slick_tasks.__file__, len(found.all_tasks), len(task.facts) > 10, pathlib.Path(file).name)"
    )
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(site / "slick_tasks" / "__init__.py"), "117", "True", "slick_hf.py"]

    borrowed.unlink()
    subprocess.run([*pip, "uninstall", "-y", "slick-eval"], check=True, env=env)
    assert [path for path in site.rglob("*slick*") if path.is_file()] == []
