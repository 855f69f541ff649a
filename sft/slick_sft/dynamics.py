"""Writing `dynamics.jsonl` while a model is trained; `slick.dynamics` has its form and reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from slick.dynamics import Measurement, read_dynamics
from slick.errors import InputError
from slick.files import replacing


def resume_dynamics(file: Path, step: int) -> list[Measurement]:
    """The measurements up to `step`, where an interrupted run goes on; all others leave the file.

    What came later is measured again. Raises InputError where a run that goes on has lost its first ones.
    """
    found = [measured for measured in read_dynamics(file) if measured.step <= step] if file.exists() else []
    if step and (not found or found[0].step):
        raise InputError(f"{file}: lacks what was measured before step {step}; choose another --out to train anew")
    text = "".join(_line(measured) for measured in found)
    if file.exists() and file.read_bytes() != text.encode():
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return found


def append_dynamics(file: Path, measured: Measurement) -> None:
    """Adds a line, on disk when this returns."""
    with file.open("a", encoding="utf-8") as handle:
        handle.write(_line(measured))
        handle.flush()
        os.fsync(handle.fileno())


def _line(measured: Measurement) -> str:
    return json.dumps(measured.as_dict(), ensure_ascii=False) + "\n"
