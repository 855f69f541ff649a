"""The pytest plugin: a fixture that asserts that a model keeps what it knew. Nothing heavy is imported at start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The policy and the baselines that `keeps_knowledge` uses where a test names none."""
    group = parser.getgroup("slick")
    group.addoption("--slick-policy", default=None, help="policy of slick gate that keeps_knowledge judges by")
    group.addoption("--slick-baselines", default=None, help="file of baselines that keeps_knowledge reads")
    parser.addini("slick_policy", "policy of slick gate that keeps_knowledge judges by", default="slick-gate.yaml")
    parser.addini("slick_baselines", "file of baselines", default=".slick/baselines.json")


@pytest.fixture
def keeps_knowledge(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`slick_sft.gate.asserting.assert_keeps_knowledge`, with this project's policy and baselines."""
    from slick_sft.gate.asserting import assert_keeps_knowledge

    config = request.config

    def place(name: str) -> Path:
        given = config.getoption(f"--{name.replace('_', '-')}")
        return Path(given) if given else config.rootpath / str(config.getini(name))

    return partial(assert_keeps_knowledge, policy=place("slick_policy"), baselines=place("slick_baselines"))
