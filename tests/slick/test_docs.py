"""What the README names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from slick.cli import build_app

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def readme() -> str:
    if not README.is_file() or not README.stat().st_size:
        pytest.skip("there is no README beside the tests")
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def verbs() -> dict[str, Any]:
    return dict(getattr(typer.main.get_command(build_app()), "commands", {}))


def commands(readme: str) -> list[str]:
    """The command lines of the README: those of its shell blocks, and inline code."""
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", readme, flags=re.DOTALL))
    return [line for line in (*lines, *inline) if re.search(r"\bslick [a-z]", line)]


def test_every_verb_in_the_readme_exists(readme: str, verbs: dict[str, Any]) -> None:
    """A reader can type what is written there."""
    named = {verb for line in commands(readme) for verb in re.findall(r"\bslick ([a-z][a-z-]+)", line)}
    assert len(named) > 3
    assert named <= set(verbs)


def test_every_option_in_the_readme_exists(readme: str, verbs: dict[str, Any]) -> None:
    """Each option that stands in a command line is one of that verb's."""
    for line in commands(readme):
        name, rest = re.findall(r"\bslick ([a-z][a-z-]+)(.*)", line)[0]
        verb = verbs[name]
        inner = [verb, *getattr(verb, "commands", {}).values()]
        known = {"--help", *(name for command in inner for parameter in command.params for name in parameter.opts)}
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known, line
