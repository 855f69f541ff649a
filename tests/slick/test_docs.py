"""What the README names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from slick.cli import build_app

README = Path(__file__).resolve().parents[2] / "README.md"


def test_every_verb_in_the_readme_exists() -> None:
    """And every verb is in the README."""
    if not README.is_file() or not README.stat().st_size:
        pytest.skip("there is no README beside the tests")
    code = re.findall(r"```.*?```|`[^`]+`", README.read_text(encoding="utf-8"), re.DOTALL)
    named = {verb for text in code for verb in re.findall(r"\bslick ([a-z][a-z-]+)", text)}
    verbs = set(getattr(typer.main.get_command(build_app()), "commands", {}))
    assert named <= verbs
    assert verbs <= named
