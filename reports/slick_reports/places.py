"""Paths as a report may show them: it is handed on, and how a machine's directories are called is not its subject."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

# Where an absolute path begins within other text: after a space, a quote, an equals sign or a bracket.
_PATH = re.compile(r"(?<![^\s,;='\"“\[({])(?:/|[A-Za-z]:[\\/])[^\s,;'\"”\])}]+")


def place(path: Path | str) -> str:
    """A relative path as given; an absolute one relative to the current directory, of one outside the last two names.

    What is no path, such as a model's name on the hub, stays as it is.
    """
    text = str(path)
    windows = PureWindowsPath(text)
    pure = PurePosixPath(text) if text.startswith("/") or not windows.is_absolute() else windows
    if not pure.is_absolute():
        return text
    here = Path.cwd()
    if pure.is_relative_to(here):
        return str(pure.relative_to(here))
    names = pure.parts[1:]
    return "/".join(names[-2:]) if names else text


def placed(text: str) -> str:
    """`text` with every absolute path in it as `place` has it."""
    return _PATH.sub(lambda found: place(found.group()), text)
