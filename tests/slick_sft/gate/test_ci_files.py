"""Tests of the files for CI: they are YAML, name options that there are, and let no input become a script."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from slick_sft.gate.cli import gate
from slick_sft.gate.outputs import MARK

CI = Path(__file__).resolve().parents[3] / "docs" / "ci"


def options() -> set[str]:
    """The options of slick gate."""
    found: set[str] = set()
    for name, hint in typing.get_type_hints(gate, include_extras=True).items():
        declared = [d for meta in getattr(hint, "__metadata__", ()) for d in getattr(meta, "param_decls", None) or ()]
        found |= set(declared) or {f"--{name.replace('_', '-')}"}
    assert len(found) >= len(inspect.signature(gate).parameters)
    return found


def scripts(document: Any) -> list[str]:
    """Every script in it."""
    if isinstance(document, dict):
        own = [s for key in ("run", "script") for s in _listed(document.get(key))]
        return own + [s for value in document.values() for s in scripts(value)]
    return [s for value in document for s in scripts(value)] if isinstance(document, list) else []


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [v for v in value or [] if isinstance(v, str)]


@pytest.mark.parametrize("name", ["slick-gate/action.yml", "github.yml", "gitlab.yml"])
def test_files_are_yaml_and_name_options_that_there_are(name: str) -> None:
    """What is copied from here works with this version of slick."""
    text = (CI / name).read_text()
    found = scripts(yaml.safe_load(text))
    assert found
    for script in found:
        for line in script.splitlines():
            if line.strip().startswith("slick gate"):
                assert set(re.findall(r"(?<=\s)--[a-z-]+", line.replace("+--", " --"))) <= options(), line


def test_no_input_is_text_of_a_script() -> None:
    """`${{ … }}` within a script would let the title of a pull request run commands."""
    for script in scripts(yaml.safe_load((CI / "slick-gate/action.yml").read_text())):
        assert "${{" not in script


def test_the_comment_is_found_by_the_marker_that_is_written() -> None:
    """The action looks for the line that the gate's Markdown begins with."""
    assert f'startswith("{MARK}")' in (CI / "slick-gate/action.yml").read_text()


def test_only_the_bots_own_comment_is_replaced() -> None:
    """Anyone can begin a comment with the marker; only the workflow's bot's is written over."""
    script = next(s for s in scripts(yaml.safe_load((CI / "slick-gate/action.yml").read_text())) if "PATCH" in s)
    (query,) = re.findall(r"--jq '([^']*)'", script)
    assert query.startswith('.[] | select(.user.login == "github-actions[bot]" and (.body | startswith(')
    assert query.endswith(")) | .id")
