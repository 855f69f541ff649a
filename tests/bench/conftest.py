"""What the benchmarks share: the command line as a user has it, and where results go."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
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


@pytest.fixture(scope="session")
def bars() -> Callable[..., str]:
    """Draws rates on a logarithmic axis: an SVG file that a README can show, light and dark."""
    return draw_bars


_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.small{font-size:11px;fill:#666}.grid{stroke:#ddd}"
    ".bar0{fill:#9aa5b1}.bar1{fill:#4f8ad1}.bar2{fill:#0b4a8f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.small{fill:#a0a0a0}.grid{stroke:#444}"
    ".bar0{fill:#6b7681}.bar1{fill:#6ea4e6}.bar2{fill:#b9d6ff}}"
)
_LEFT, _RIGHT, _ROW, _TOP = 190, 640, 24, 44


def draw_bars(title: str, unit: str, groups: Mapping[str, Sequence[tuple[str, float, str]]]) -> str:
    """An SVG file. groups: name → (label, value above 0, what is written behind the bar), three at most."""
    values = [value for rows in groups.values() for _, value, _ in rows]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def at(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_RIGHT - _LEFT)

    height = _TOP + sum(_ROW * (len(rows) + 1) for rows in groups.values()) + 10
    parts = []
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - 10}"/>')
        parts.append(f'<text class="small" x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle">{10.0**power:g}</text>')
    y = float(_TOP)
    said = []
    for name, rows in groups.items():
        parts.append(f'<text x="8" y="{y + 14}" font-weight="600">{escape(name)}</text>')
        y += _ROW
        for i, (label, value, behind) in enumerate(rows):
            parts.append(f'<text class="small" x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
            parts.append(
                f'<rect class="bar{i}" x="{_LEFT}" y="{y}" width="{at(value) - _LEFT:.1f}" height="17" rx="2"/>'
            )
            parts.append(f'<text x="{at(value) + 6:.1f}" y="{y + 13}">{escape(behind)}</text>')
            said.append(f"{name}, {label}: {behind}")
            y += _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {height}" role="img" aria-labelledby="t d">'
        f'<title id="t">{escape(title)}</title><desc id="d">{escape("; ".join(said))}</desc>'
        f"<style>{_STYLE}</style>"
        f'<text x="8" y="18">{escape(title)} <tspan class="small">({escape(unit)})</tspan></text>'
        f"{''.join(parts)}</svg>\n"
    )
