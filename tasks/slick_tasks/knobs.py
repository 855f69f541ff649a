"""What `lm_eval --metadata` may set for our tasks.

lm-eval merges all model arguments into the same mapping, so a name that is no knob cannot be an error, and
no knob may bear the name of a model argument: hence `exemplar_seed`, since vllm and the API models take `seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from slick.errors import InputError, Mistakes
from slick.matching import Matching
from slick.prompts import DEFAULT_FORM, check_form

# Read where the facts are looked for (sources.py).
_SOURCES = ("entityquestions", "lab")
_COUNTS = ("per_relation", "n_samples", "n_exemplar_sets")


@dataclass(frozen=True, slots=True)
class Knobs:
    """The values, checked. split: "" for the task's own. per_relation: None for all facts."""

    split: str = ""
    per_relation: int | None = None
    n_samples: int = 16
    n_exemplar_sets: int = 10
    exemplar_seed: int = 0
    matching: Matching = Matching.STRICT
    form: str = DEFAULT_FORM

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any]) -> Knobs:
        """The knobs among `metadata`; InputError lists every one whose value cannot be."""
        given: dict[str, Any] = {}
        with Mistakes("--metadata:") as mistakes:
            for name in (*_COUNTS, "exemplar_seed"):
                if (value := metadata.get(name)) is None:
                    continue
                low = 0 if name == "exemplar_seed" else 1
                if isinstance(value, bool) or not isinstance(value, int) or value < low:
                    mistakes.add(f"{name}={value}: expected a whole number, at least {low}")
                given[name] = value
            if "matching" in metadata:
                try:
                    given["matching"] = Matching(str(metadata["matching"]))
                except ValueError:
                    mistakes.add(f"matching={metadata['matching']}: expected one of {', '.join(Matching)}")
            if "form" in metadata:
                try:
                    # A shell hands a line break over as two characters.
                    given["form"] = check_form(str(metadata["form"]).replace("\\n", "\n"))
                except InputError as error:
                    mistakes.add(str(error))
        return cls(split=str(metadata.get("split", "")), **given)


def misspelt(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Names in `metadata` that look like a knob and are none → the knob that they look like."""
    names = [*Knobs.__dataclass_fields__, *_SOURCES]
    found = {key: get_close_matches(key, names, n=1, cutoff=0.85) for key in metadata if key not in names}
    return {key: close[0] for key, close in found.items() if close}
