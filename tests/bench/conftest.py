"""What the benchmarks share: the command line as a user has it, and where results go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def slick() -> Callable[..., None]:
    """Runs one `slick` command in this process; anything but exit code 0 fails the benchmark."""

    def command(*arguments: object) -> None:
        code = run([str(a) for a in arguments])
        assert code == 0, f"slick {' '.join(map(str, arguments))} exited with {code}"

    return command


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs go; SLICK_BENCH_DIR keeps them, so that a benchmark goes on where it stopped."""
    given = os.environ.get("SLICK_BENCH_DIR")
    return Path(given) if given else tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and models beside the checkout (or SLICK_SHARED)."""
    found = Path(os.environ.get("SLICK_SHARED", ROOT.parent / "shared"))
    if not found.is_dir():
        pytest.skip("the shared data is not beside this checkout; set SLICK_SHARED")
    return found


@pytest.fixture(scope="session")
def reports() -> Path:
    """Where committed results go."""
    return ROOT / "reports"


@pytest.fixture(scope="session")
def write_result(reports: Path) -> Callable[[str, dict[str, Any]], None]:
    """Writes `reports/benchmarks/<name>.json` and shows it."""

    def write(name: str, result: dict[str, Any]) -> None:
        target = reports / "benchmarks" / f"{name}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"\n{json.dumps(result, indent=2)}")

    return write
