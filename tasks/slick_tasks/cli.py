"""The verb `tasks-path`, and where this package's task files lie."""

from __future__ import annotations

from pathlib import Path


def yaml_directory() -> Path:
    """The directory of our lm-eval tasks, declared under the entry-point group "slick.tasks"."""
    return Path(__file__).parent / "yaml"


def tasks_path() -> None:
    """Print the directory of the lm-eval tasks, for an lm-eval that does not find them by itself.

    \b
    Example:
      lm_eval run --include_path "$(slick tasks-path)" --model hf --model_args pretrained=DIR --tasks slick_lab
    """
    print(yaml_directory())
