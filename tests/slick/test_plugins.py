"""slick.plugins: the names that installed packages give to facts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints, PackageNotFoundError, distribution

import pytest

from slick import entityquestions, plugins
from slick.errors import RunError
from slick.plugins import facts_names, facts_source

Install = Callable[..., None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes the given {name: "module:function"} the only entry points there are."""

    def install(**points: str) -> None:
        found = EntryPoints(EntryPoint(name, value, plugins.FACTS_GROUP) for name, value in points.items())
        monkeypatch.setattr(plugins, "entry_points", found.select)

    return install


def test_names_are_sorted(installed: Install) -> None:
    """All declared names, in one order on every machine."""
    installed(lab="a:b", entityq="c:d", other="e:f")
    assert facts_names() == ["entityq", "lab", "other"]


def test_a_declared_name_gives_its_function(installed: Install) -> None:
    """The function that the entry point names is loaded and returned, not called."""
    installed(entityq="slick.entityquestions:load")
    assert facts_source("entityq") is entityquestions.load


def test_an_undeclared_name_gives_nothing(installed: Install) -> None:
    """Whatever is no name may still be a path."""
    installed(lab="a:b")
    assert facts_source("facts.jsonl") is None


@pytest.mark.parametrize("value", ["no_such_module_anywhere:load", "slick.entityquestions:no_such_function"])
def test_a_source_that_cannot_be_imported_is_a_run_error(installed: Install, value: str) -> None:
    """The name, what it points to and what to do stand in the message."""
    installed(lab=value)
    with pytest.raises(RunError, match=f"facts source 'lab': .* declares {value}, which cannot be loaded .*reinstall"):
        facts_source("lab")


def test_a_source_that_is_no_function_is_a_run_error(installed: Install) -> None:
    """A constant under the name of a source is the package's mistake."""
    installed(lab="slick.entityquestions:URL")
    with pytest.raises(RunError, match=r"'lab': slick\.entityquestions:URL is no function that returns facts"):
        facts_source("lab")


def test_the_installed_project_declares_its_two_sources() -> None:
    """`entityq` and `lab` are names as soon as the project is installed."""
    try:
        distribution("slick-eval")
    except PackageNotFoundError:
        pytest.skip("the project is not installed, only on the path")
    assert {"entityq", "lab"} <= set(facts_names())
    assert facts_source("entityq") is entityquestions.load
