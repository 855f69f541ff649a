"""A fine-tuning set on disk, in TRL's prompt/completion form, with a sidecar that knows each row's fact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import read_json, replacing_directory, write_json
from slick.knowledge import Category
from slick.prompts import Message, check_form, completion, form_prompt
from slick.provenance import library_versions
from slick_sft.recipes import MixRow, Recipe, category_table

SCHEMA = 1
TRAIN = "train.jsonl"
SIDECAR = "sidecar.jsonl"
RECIPE = "recipe.json"
DATASET = "dataset"

# {"prompt": …, "completion": …}, both texts or both lists of messages.
TrainRow = dict[str, str | list[Message]]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows to train on. recipe: what `slick mix` recorded of them; empty for a user's own rows."""

    rows: Sequence[TrainRow]
    digest: str
    source: str
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conversational(self) -> bool:
        return isinstance(self.rows[0]["prompt"], list)

    @property
    def form(self) -> str | None:
        """The training form; None where it is not known."""
        form = self.recipe.get("form")
        return form if isinstance(form, str) else None


def train_row(row: MixRow, form: str, *, conversational: bool) -> TrainRow:
    """A row in TRL's form. Conversational prompts are the user turn that `form_prompt` puts through a template."""
    prompt = form_prompt(form, row.knowledge.fact.question)
    if conversational:
        return {
            "prompt": [{"role": "user", "content": prompt.rstrip("\n")}],
            "completion": [{"role": "assistant", "content": row.answer}],
        }
    return {"prompt": prompt, "completion": completion(form, row.answer)}


def sidecar_row(number: int, row: MixRow) -> dict[str, Any]:
    """What is known of the training row of that number (from 0)."""
    k = row.knowledge
    return {
        "row": number,
        "id": k.fact.id,
        "relation": k.fact.relation,
        "category": str(k.category),
        "p_greedy": k.p_greedy,
        "p_sampled": k.p_sampled,
        "question": k.fact.question,
        "answer": row.answer,
    }


def write_mix(
    out: Path,
    rows: Sequence[MixRow],
    recipe: Recipe,
    seed: int,
    *,
    form: str,
    conversational: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the whole set to `out`, which must not exist yet or be empty: all of it or nothing.

    provenance: that of the knowledge it was mixed by. Raises InputError where `out` is taken or cannot be written.
    """
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from datasets.utils import are_progress_bars_disabled

    check_form(form)
    training = [train_row(row, form, conversational=conversational) for row in rows]
    text = _lines(training)
    digest = hashlib.sha256(text).hexdigest()
    with replacing_directory(out) as part:
        (part / TRAIN).write_bytes(text)
        (part / SIDECAR).write_bytes(_lines(sidecar_row(i, row) for i, row in enumerate(rows)))
        write_json(part / RECIPE, _recipe_document(rows, recipe, seed, form, conversational, digest, provenance or {}))
        bars = not are_progress_bars_disabled()
        disable_progress_bars()
        try:
            Dataset.from_list(training).save_to_disk(str(part / DATASET))
        finally:
            if bars:
                enable_progress_bars()
    return out


def _recipe_document(
    rows: Sequence[MixRow],
    recipe: Recipe,
    seed: int,
    form: str,
    conversational: bool,
    digest: str,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    counts = category_table(rows)
    unknown = sum(of[Category.UNKNOWN] for of in counts.values())
    return {
        "schema": SCHEMA,
        "kind": "mix",
        "recipe": recipe.name,
        "seed": seed,
        "size": len(rows),
        "unknown": unknown / len(rows),
        "counts": counts,
        "form": form,
        "conversational": conversational,
        "train_sha256": digest,
        "knowledge": {name: provenance.get(name) for name in ("model", "facts", "settings", "prompts")},
        "versions": library_versions(),
    }


def read_training_set(path: Path | str) -> TrainingSet:
    """The directory that `slick mix` wrote, or a JSON Lines file of prompt/completion rows.

    Raises InputError for a file that is missing or cut off, rows that are not prompt/completion (all of them named
    by line), an empty file, and training rows that are not those that the recipe was recorded for.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory; expected the --out of `slick mix` or a .jsonl file")
    if path.is_dir():
        return read_mix(path)
    rows, digest = _read_rows(path)
    return TrainingSet(rows, digest, str(path))


def read_mix(path: Path) -> TrainingSet:
    """The set that `slick mix` wrote to the directory `path`; its rows must have the recorded digest."""
    missing = [name for name in (TRAIN, SIDECAR, RECIPE) if not (path / name).is_file()]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; expected the --out directory of `slick mix`; mix again")
    recipe = read_json(path / RECIPE)
    if not isinstance(recipe, dict) or not isinstance(recipe.get("train_sha256"), str):
        raise InputError(f'{path / RECIPE}: has no "train_sha256"; it was not written by `slick mix`')
    schema = recipe.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{path / RECIPE}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    rows, digest = _read_rows(path / TRAIN)
    if digest != recipe["train_sha256"]:
        raise InputError(
            f"{path / TRAIN}: was changed after it was mixed (SHA-256 {digest[:12]}…, {RECIPE} says "
            f"{recipe['train_sha256'][:12]}…); mix again, or give the file itself as --data"
        )
    return TrainingSet(rows, digest, str(path), recipe)


def _read_rows(path: Path) -> tuple[list[TrainRow], str]:
    """The rows of a JSON Lines file and the SHA-256 of its bytes. Empty lines are skipped."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    rows: list[TrainRow] = []
    kinds: dict[bool, int] = {}
    with Mistakes(f"{path}: rows that cannot be trained on:") as mistakes:
        for number, line in enumerate(content.split(b"\n"), 1):
            if not line.strip():
                continue
            row: Any = None
            with suppress(ValueError):
                row = json.loads(line)
            if problem := _problem(row):
                mistakes.add(f"line {number}: {problem}")
                continue
            rows.append({"prompt": row["prompt"], "completion": row["completion"]})
            kinds.setdefault(isinstance(row["prompt"], list), number)
        if len(kinds) == 2:
            mistakes.add(f"line {kinds[True]} holds messages and line {kinds[False]} plain text; expected one kind")
        if not rows and not mistakes.messages:
            mistakes.add("none at all: the file is empty")
    return rows, hashlib.sha256(content).hexdigest()


def _problem(row: Any) -> str:
    """What keeps a row from being trained on; empty if nothing does."""
    if not isinstance(row, dict):
        return "not a JSON object; the file may be half-written"
    if missing := [name for name in ("prompt", "completion") if name not in row]:
        return f"lacks {' and '.join(map(repr, missing))}; found {sorted(map(str, row))[:8]}"
    prompt, answer = row["prompt"], row["completion"]
    if isinstance(prompt, str) and isinstance(answer, str):
        return "" if answer.strip() else "'completion' is empty, so there is nothing to learn"
    if isinstance(prompt, list) and isinstance(answer, list):
        good = prompt and answer and all(_is_message(m) for m in [*prompt, *answer])
        return "" if good else "expected messages with the texts 'role' and 'content'"
    return "'prompt' and 'completion' must both be texts, or both lists of messages"


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return text.encode("utf-8", "backslashreplace")
