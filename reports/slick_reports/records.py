"""Provenance as the report shows it: where each run comes from and how its facts were asked."""

from __future__ import annotations

from typing import Any

from slick_reports.gather import Gathered
from slick_reports.inputs import Scored, mapping
from slick_reports.numbers import Mismatch, RunRecord, Settings
from slick_reports.places import place, placed


def settings_of(run: Scored) -> Settings:
    chat = mapping(run.settings.get("chat"))
    told = "the model's chat template" if chat.get("template") else "plain text"
    if chat.get("system"):
        told += f", system instruction {str(chat['system'])!r}"
    tokens = run.settings.get("max_gen_toks")
    return Settings(
        str(run.settings.get("form", "")),
        str(run.settings.get("matching", "")),
        tokens if isinstance(tokens, int) else None,
        told,
    )


def records(gathered: Gathered) -> tuple[RunRecord, ...]:
    """One record a run, "before" first."""
    found = [_record("before", gathered.before_label, gathered.before)]
    for arm in gathered.arms:
        role = "control" if arm is gathered.control else "arm"
        found += [_record(role, arm.label, run) for run in arm.runs]
    return tuple(found)


def shown_mismatch(found: Mismatch) -> Mismatch:
    """As a report shows it; the error that refuses it names paths as the user gave them."""
    return Mismatch(found.setting, place(found.run), placed(found.before), placed(found.here))


def versions_of(run: Scored) -> dict[str, str]:
    """Library → version, by name."""
    return {str(k): str(v) for k, v in sorted(mapping(run.provenance.get("versions")).items())}


def _record(role: str, label: str, run: Scored) -> RunRecord:
    model, backend, facts = (mapping(run.provenance.get(name)) for name in ("model", "backend", "facts"))
    return RunRecord(
        role=role,
        path=place(run.path),
        label=label,
        seed=run.seed,
        date=run.run.date,
        # Of a model or an adapter that is a directory, the place.
        model={name: _place(model.get(name)) for name in ("name", "weights", "adapter", "tokenizer", "chat_template")},
        backend={name: _placed(backend.get(name)) for name in ("name", "batch_size", "args")},
        facts=_text(facts.get("digest")),
        prompts=_text(run.provenance.get("prompts")),
        training_set=_text(mapping(run.training.get("data")).get("digest")),
        n_facts=len(run.rows),
        n_rows=run.n_rows,
        versions=versions_of(run),
        lacks=run.lacks,
    )


def _placed(value: Any) -> str | None:
    """A backend's arguments may name directories as well."""
    return None if value is None else placed(str(value))


def _place(value: Any) -> str | None:
    return None if value is None else place(str(value))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
