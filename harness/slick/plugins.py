"""The one place that reads entry points: which names `--facts` takes besides a path."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from slick.errors import RunError
from slick.facts import Fact

FACTS_GROUP = "slick.facts"

FactsSource = Callable[[], list[Fact]]


def facts_names() -> list[str]:
    """The names of all installed sources of facts, sorted."""
    return sorted({point.name for point in entry_points(group=FACTS_GROUP)})


def facts_source(name: str) -> FactsSource | None:
    """What loads the facts called `name`; None when no installed package declares that name.

    Raises RunError when a package declares the name and its code cannot be imported.
    """
    for point in entry_points(group=FACTS_GROUP, name=name):
        return _loaded(point)
    return None


def _loaded(point: EntryPoint) -> FactsSource:
    try:
        source = point.load()
    except Exception as error:  # a third party's module may raise anything while it is imported
        owner = point.dist.name if point.dist else "an installed package"
        raise RunError(
            f"facts source {point.name!r}: {owner} declares {point.value}, which cannot be loaded "
            f"({type(error).__name__}: {error}); reinstall {owner}"
        ) from error
    if not callable(source):
        raise RunError(f"facts source {point.name!r}: {point.value} is no function that returns facts")
    return source  # type: ignore[no-any-return]
