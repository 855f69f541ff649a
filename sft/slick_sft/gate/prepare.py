"""What a gate is asked to do, looked at before a model is loaded: the dataset, the held-out facts, the training."""

from __future__ import annotations

import json
from typing import Any

from slick.errors import InputError
from slick.facts import facts_digest
from slick.files import mapping_of, read_json
from slick.provenance import check_model, fingerprint
from slick.runs import differences
from slick_sft.arguments import public, sft_arguments
from slick_sft.gate.against import check_baseline
from slick_sft.gate.policy import BASE
from slick_sft.gate.wish import Prepared, Wish

STATE, LOCK = "gate-state.json", "gate.lock"


def prepare(wish: Wish) -> Prepared:
    """Looks at all input, without a model being loaded. InputError for anything wrong with it."""
    from slick.reader import read_facts
    from slick_sft.lint.run import Wish as LintWish
    from slick_sft.lint.run import prepare as prepare_lint

    policy = wish.policy
    if not policy.held_out.facts:
        raise InputError("held_out.facts: missing in the policy; a gate that trains needs facts to ask, such as lab")
    check_model(wish.model)
    base = fingerprint(wish.model)
    held_out = read_facts(
        policy.held_out.facts,
        split=policy.held_out.split or None,
        relations=policy.held_out.relations,
        limit=policy.held_out.limit or None,
    )
    tuning = policy.tuning
    arguments = sft_arguments(
        {
            "learning_rate": tuning.learning_rate,
            "num_train_epochs": tuning.epochs,
            "per_device_train_batch_size": tuning.batch_size,
        },
        settings=[f"{name}={_yaml(value)}" for name, value in tuning.settings.items()],
        lora=tuning.method != "full",
    )
    lint = prepare_lint(LintWish(wish.datasets, wish.relation_column, held_out=held_out))
    ready = Prepared(wish, lint, held_out, arguments, base)
    _check_template(ready)
    if wish.baseline:
        check_baseline(ready, wish.baseline)
    check_state(ready)
    return ready


def settings(ready: Prepared) -> dict[str, Any]:
    """What must be equal for what stands in a gate's directory to be of this gate. Seeds and margins may change."""
    policy, base = ready.wish.policy, ready.base
    return {
        "model": {n: v for n, v in base.items() if n != "name"} if base.get("weights") else dict(base),
        "datasets": [source.digest for source in ready.lint.sources],
        "relation_column": ready.wish.relation_column,
        "held_out": facts_digest(ready.held_out),
        "form": policy.form,
        "tuning": {
            **policy.tuning.as_dict(),
            "arguments": {n: v for n, v in public(ready.arguments).items() if n != "seed"},
        },
        "batch_size": ready.wish.batch_size,
        "device": ready.wish.device,
    }


def check_state(ready: Prepared) -> None:
    """InputError where the directory holds something else, or a gate of other settings."""
    out = ready.wish.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the gate; choose another --out")
    if not (out / STATE).exists():
        if out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
            raise InputError(f"{out}: is not empty and holds no gate; choose another --out")
        return
    there = mapping_of(mapping_of(read_json(out / STATE)).get("settings"))
    found = differences(there, settings(ready))
    if found:
        shown = "; ".join(f"{name}: there {str(old)[:80]}, now {str(new)[:80]}" for name, old, new in found[:4])
        raise InputError(f"{out}: holds a gate of other settings ({shown}); choose another --out")


def _yaml(value: Any) -> str:
    return json.dumps(value)


def _check_template(ready: Prepared) -> None:
    """Conversations need a chat template: to be trained on, and for the base model to be asked alike."""
    bare = bool(ready.base.get("weights")) and ready.base.get("chat_template") is None
    if not bare or not ready.lint.conversational:
        return
    if not ready.arguments.get("chat_template_path"):
        raise InputError(
            f"the dataset holds conversations, and {ready.wish.model} has no chat template: give one in the policy, "
            "tuning: {settings: {chat_template_path: FILE.jinja}}"
        )
    if ready.wish.policy.control.kind == BASE:
        raise InputError(
            f"control: base: {ready.wish.model} has no chat template, so it cannot be asked as the tuned models are; "
            "take control: zero-weight"
        )
