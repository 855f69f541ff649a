"""A fine-tuning set on disk, in TRL's prompt/completion form, with a sidecar that knows each row's fact."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import mapping_of, read_json, replacing_directory, write_json
from slick.knowledge import Category
from slick.prompts import Message, check_form, completion, form_prompt
from slick.provenance import library_versions, same_model
from slick.rows import nearest, shown
from slick_sft.held_out import HeldOut
from slick_sft.recipe import Recipe
from slick_sft.recipes import MixRow, category_table, stage_sizes

# 2: rows may have a weight and a stage, which a reader of 1 would not honour.
SCHEMA = 2
TRAIN = "train.jsonl"
SIDECAR = "sidecar.jsonl"
RECIPE = "recipe.json"
DATASET = "dataset"
# Of a row, beside prompt and completion.
_COLUMNS = ("weight", "stage")

# {"prompt": …, "completion": …}, both texts or both lists of messages.
TrainRow = dict[str, str | list[Message]]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows to train on.

    recipe: what `slick mix` recorded of them; sidecar: what it knows of each row. Both empty for a user's own rows.
    weights, stages: one a row, the stages never falling; None where no row has any (weight 1, stage 0). notes: what is
    to be told of a user's own rows.
    """

    rows: Sequence[TrainRow]
    digest: str
    source: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[float, ...] | None = None
    stages: tuple[int, ...] | None = None
    sidecar: Sequence[Mapping[str, Any]] = ()
    notes: tuple[str, ...] = ()

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
        "subject": k.fact.subject,
        "category": str(k.category),
        "p_greedy": k.p_greedy,
        "p_sampled": k.p_sampled,
        "question": k.fact.question,
        "answer": row.answer,
        "role": str(row.role),
        "weight": row.weight,
        "stage": row.stage,
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
    held_out: HeldOut | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Writes the whole set to `out`, which must not exist yet or be empty: all of it or nothing.

    provenance: that of the knowledge it was mixed by. held_out: which subjects were kept out; notes: what else is to
    be known of the set. Raises InputError where `out` is taken or cannot be written.
    """
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from datasets.utils import are_progress_bars_disabled

    check_form(form)
    training = _training_rows(rows, form, conversational)
    text, sidecar = _lines(training), _lines(sidecar_row(i, row) for i, row in enumerate(rows))
    document = {
        "schema": SCHEMA,
        "kind": "mix",
        "recipe": recipe.name,
        "description": recipe.as_dict(),
        "seed": seed,
        **_numbers(rows),
        "form": form,
        "conversational": conversational,
        "train_sha256": hashlib.sha256(text).hexdigest(),
        "sidecar_sha256": hashlib.sha256(sidecar).hexdigest(),
        "knowledge": {name: (provenance or {}).get(name) for name in ("model", "facts", "settings", "prompts")},
        "held_out": (held_out or HeldOut()).as_dict(),
        "notes": list(notes),
        "versions": library_versions(),
    }
    with replacing_directory(out) as part:
        (part / TRAIN).write_bytes(text)
        (part / SIDECAR).write_bytes(sidecar)
        write_json(part / RECIPE, document)
        bars = not are_progress_bars_disabled()
        disable_progress_bars()
        try:
            Dataset.from_list(training).save_to_disk(str(part / DATASET))
        finally:
            if bars:
                enable_progress_bars()
    return out


def _training_rows(rows: Sequence[MixRow], form: str, conversational: bool) -> list[dict[str, Any]]:
    """The rows of train.jsonl. A column of weights or stages stands there where it says anything."""
    weighted, staged = any(row.weight != 1 for row in rows), any(row.stage for row in rows)
    return [
        {
            **train_row(row, form, conversational=conversational),
            **({"weight": float(row.weight)} if weighted else {}),
            **({"stage": row.stage} if staged else {}),
        }
        for row in rows
    ]


def _numbers(rows: Sequence[MixRow]) -> dict[str, Any]:
    counts = category_table(rows)
    return {
        "size": len(rows),
        "unknown": sum(of[Category.UNKNOWN] for of in counts.values()) / len(rows),
        "counts": counts,
        "roles": {str(role): n for role, n in sorted(Counter(row.role for row in rows).items())},
        "stages": stage_sizes(rows),
        "weights": {
            "mean": math.fsum(row.weight for row in rows) / len(rows),
            "zero": sum(row.weight == 0 for row in rows),
        },
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
    return _read_rows(path)


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
    found = _read_rows(path / TRAIN)
    if found.digest != recipe["train_sha256"]:
        raise InputError(
            f"{path / TRAIN}: was changed after it was mixed (SHA-256 {found.digest[:12]}…, {RECIPE} says "
            f"{recipe['train_sha256'][:12]}…); mix again, or give the file itself as --data"
        )
    sidecar = _read_sidecar(path / SIDECAR, recipe.get("sidecar_sha256"), len(found.rows))
    return replace(found, source=str(path), recipe=recipe, sidecar=sidecar)


def check_base(training_set: TrainingSet, base: Mapping[str, Any], *, allow_mismatch: bool = False) -> str:
    """Raises InputError where the set was mixed by the knowledge of another model than the one to be tuned.

    base: the model's `slick.provenance.fingerprint`. Returns what is to be noted of the run: the mismatch that was
    allowed, or that the set does not tell; "" where it is that model's, or the rows are a user's own.
    """
    if not training_set.recipe:
        return ""
    recorded = mapping_of(mapping_of(training_set.recipe.get("knowledge")).get("model"))
    return check_knowledge_model(training_set.source, recorded, base, allow_mismatch=allow_mismatch)


def check_knowledge_model(
    source: str, recorded: Mapping[str, Any], model: Mapping[str, Any], *, allow_mismatch: bool = False
) -> str:
    """Raises InputError unless `recorded`, the fingerprint of the model whose knowledge `source` holds, is `model`'s.

    Returns the note that an allowed mismatch, or an unknown model, leaves; "" where they are the same.
    """
    if not recorded.get("name") and not recorded.get("weights"):
        return f"{source}: does not say which model's knowledge it holds, so that this was not checked"
    if same_model(recorded, model):
        return ""
    found = f"{source}: holds the knowledge of {_called(recorded)}, not of {_called(model)}"
    if allow_mismatch:
        return f"{found}; its categories say nothing for certain of what this model knows"
    raise InputError(
        f"{found}: what one model knows says little of another; probe this model and mix again, "
        "or go on at your own risk with --allow-mismatch"
    )


def _called(model: Mapping[str, Any]) -> str:
    weights, adapter = model.get("weights"), model.get("adapter")
    marks = [f"weights {str(weights)[:12]}…"] if weights else ["known by its name alone"]
    marks += [f"adapter {str(adapter)[:12]}…"] if adapter else []
    return f"{model.get('name') or 'a model'} ({', '.join(marks)})"


def _read_sidecar(path: Path, digest: object, rows: int) -> list[Mapping[str, Any]]:
    """One JSON object a training row."""
    content = _bytes_of(path)
    # Sets of schema 1 do not have it.
    if isinstance(digest, str) and (found := hashlib.sha256(content).hexdigest()) != digest:
        raise InputError(
            f"{path}: was changed after it was mixed (SHA-256 {found[:12]}…, {RECIPE} says {digest[:12]}…); mix again"
        )
    sidecar: list[Mapping[str, Any]] = []
    with Mistakes(f"{path}: does not belong to {TRAIN} (mix again):") as mistakes:
        for number, line in enumerate(content.split(b"\n"), 1):
            row: Any = None
            with suppress(ValueError):
                row = json.loads(line)
            if isinstance(row, dict):
                sidecar.append(row)
            elif line.strip():
                mistakes.add(f"line {number}: not a JSON object; the file may be half-written")
        if len(sidecar) != rows and not mistakes.messages:
            mistakes.add(f"{len(sidecar)} rows, expected {rows}")
    return sidecar


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_rows(path: Path) -> TrainingSet:
    """The rows of a JSON Lines file and the SHA-256 of its bytes. Empty lines are skipped."""
    content = _bytes_of(path)
    rows: list[TrainRow] = []
    weights: list[float] = []
    stages: list[int] = []
    # Each column, and the first line that has it.
    columns: dict[str, int] = {}
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
            stage = row.get("stage", 0)
            if stages and stage < stages[-1]:
                mistakes.add(f"line {number}: stage {stage} after stage {stages[-1]}; sort the rows by their stages")
                continue
            rows.append({"prompt": row["prompt"], "completion": row["completion"]})
            weights.append(float(row.get("weight", 1)))
            stages.append(stage)
            for name in row.keys() - columns.keys():
                columns[name] = number
            kinds.setdefault(isinstance(row["prompt"], list), number)
        if len(kinds) == 2:
            mistakes.add(f"line {kinds[True]} holds messages and line {kinds[False]} plain text; expected one kind")
        if not rows and not mistakes.messages:
            mistakes.add("none at all: the file is empty")
        if rows and not any(weights):
            mistakes.add("all of them weigh 0, so that nothing would be trained")
    return TrainingSet(
        rows,
        hashlib.sha256(content).hexdigest(),
        str(path),
        weights=tuple(weights) if "weight" in columns else None,
        stages=tuple(stages) if "stage" in columns else None,
        notes=_misspelt(path, columns),
    )


def _misspelt(path: Path, columns: Mapping[str, int]) -> tuple[str, ...]:
    """Of the columns that no row is trained by, those that may be meant to be one."""
    free = [name for name in _COLUMNS if name not in columns]
    others = sorted((line, name) for name, line in columns.items() if name not in ("prompt", "completion", *_COLUMNS))
    return tuple(
        f"{path}: line {line}: {shown(name)} is not read, and changes nothing of the training{meant}"
        for line, name in others
        if (meant := nearest(name, free))
    )


def _problem(row: Any) -> str:
    """What keeps a row from being trained on; empty if nothing does."""
    if not isinstance(row, dict):
        return "not a JSON object; the file may be half-written"
    if missing := [name for name in ("prompt", "completion") if name not in row]:
        return f"lacks {' and '.join(map(repr, missing))}; found {sorted(map(str, row))[:8]}"
    if problem := _column_problem(row):
        return problem
    prompt, answer = row["prompt"], row["completion"]
    if isinstance(prompt, str) and isinstance(answer, str):
        return "" if answer.strip() else "'completion' is empty, so there is nothing to learn"
    if isinstance(prompt, list) and isinstance(answer, list):
        good = prompt and answer and all(_is_message(m) for m in [*prompt, *answer])
        return "" if good else "expected messages with the texts 'role' and 'content'"
    return "'prompt' and 'completion' must both be texts, or both lists of messages"


def _column_problem(row: Mapping[str, Any]) -> str:
    weight, stage = row.get("weight", 1), row.get("stage", 0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= sys.float_info.max:
        return f"'weight' is {shown(weight)}, expected a number of at least 0"
    if isinstance(stage, bool) or not isinstance(stage, int) or stage < 0:
        return f"'stage' is {shown(stage)}, expected a whole number of at least 0"
    return ""


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return text.encode("utf-8", "backslashreplace")
