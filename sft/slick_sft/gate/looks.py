"""How often a pair of arms was judged: every look at new answers spends of the error that the policy allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import digest_of, mapping_of, read_json, write_json
from slick_sft.gate.arms import Arm, Pair
from slick_sft.gate.baselines import digest_of_answers

LOOKS = "looks.json"
SCHEMA = 1
KIND = "slick gate looks"


def look(pair: Pair, out: Path, planned: int) -> int:
    """Counts a look at this pair in `out`, and returns its number. The same answers seen again are the same look.

    Raises InputError for more looks than were planned, before anything is seen.
    """
    file = out / LOOKS
    document: dict[str, Any] = {"schema": SCHEMA, "kind": KIND, "pairs": {}}
    if file.exists():
        found = mapping_of(read_json(file))
        if found.get("kind") != KIND or not isinstance(found.get("pairs"), dict):
            raise InputError(f"{file}: was not written by slick gate; choose another --out")
        document = dict(found)
    seen = document["pairs"].setdefault(digest_of([_key(pair.candidate), _key(pair.control)]), [])
    answers = digest_of([sorted(map(digest_of_answers, arm.runs)) for arm in (pair.candidate, pair.control)])
    if answers in seen:
        return int(seen.index(answers)) + 1
    if len(seen) >= planned:
        times = "once" if len(seen) == 1 else f"{len(seen)} times"
        raise InputError(
            f"{file}: this pair was judged {times} already, with other answers, and the policy plans looks: {planned}. "
            "Looking until it passes makes misses likelier than the level says; plan for it from the beginning, with "
            f"looks: {len(seen) + 1} in the policy, so that each look has its share"
        )
    seen.append(answers)
    write_json(file, document)
    return len(seen)


def _key(arm: Arm) -> Any:
    """What an arm is whatever its seeds; without a record of its training, which models they are."""
    key = arm.runs[0].training.get("arm_key")
    if isinstance(key, str) and key:
        return key
    return sorted(str(mapping_of(run.provenance.get("model")).get("weights") or run.path) for run in arm.runs)
