"""YAML as people write it for this project: recipes, grids, policies."""

from __future__ import annotations

from typing import Any

import yaml

from slick.errors import InputError


def load_yaml(text: str | bytes, where: str) -> Any:
    """What stands in a YAML text; InputError where it is none, or a key stands twice. `where` is what it is called."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return yaml.load(decoded, Loader=_Loader)  # noqa: S506  a SafeLoader
    # ValueError: a date such as 2024-99-99, or bytes that are no UTF-8; RecursionError: brackets without end.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not YAML ({' '.join(str(error).split())[:300]})") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)
