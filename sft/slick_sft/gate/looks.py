"""How often a pair of arms was judged: every look at new answers spends of the error that the policy allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import digest_of, mapping_of, read_json, write_json
from slick_sft.gate.arms import Arm, Pair
from slick_sft.gate.baselines import digest_of_answers

LOOKS = "looks.json"
SCHEMA = 2
KIND = "slick gate looks"


def look(pair: Pair, out: Path, planned: int) -> int:
    """Counts a look at this pair in `out`, and returns its number. The same answers seen again are the same look.

    How many were planned is kept from the first look on, and cannot grow. Raises InputError for more looks than were
    planned, or planned at first, before anything is seen.
    """
    file = out / LOOKS
    document: dict[str, Any] = {"schema": SCHEMA, "kind": KIND, "pairs": {}}
    if file.exists():
        found = mapping_of(read_json(file))
        if found.get("kind") != KIND or found.get("schema") != SCHEMA or not isinstance(found.get("pairs"), dict):
            raise InputError(f"{file}: was not written by slick gate of this version; choose another --out")
        document = dict(found)
    key = digest_of([_key(pair.candidate), _key(pair.control)])
    entry = document["pairs"].get(key, {"planned": planned, "answers": []})
    try:
        first, seen = int(entry["planned"]), list(entry["answers"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: is damaged ({error!r}); choose another --out") from error
    answers = digest_of([sorted(map(digest_of_answers, arm.runs)) for arm in (pair.candidate, pair.control)])
    number = seen.index(answers) + 1 if answers in seen else len(seen) + 1
    if planned > first or max(number, len(seen)) > planned:
        times = "once" if len(seen) == 1 else f"{len(seen)} times"
        raise InputError(
            f"{file}: this pair was judged {times} already, with looks: {first} planned when it was first judged, and "
            f"the policy now says looks: {planned}. Looking until it passes, or planning more looks once one was seen, "
            "makes misses likelier than the level says; judge a new pair, in an --out of its own, "
            "with looks planned from the beginning"
        )
    # A smaller plan holds from now on: what was given up cannot be taken back.
    document["pairs"][key] = {
        "planned": planned,
        "answers": seen if answers in seen else [*seen, answers],
    }
    write_json(file, document)
    return number


def _key(arm: Arm) -> Any:
    """What an arm is whatever its seeds; without a record of its training, which models they are."""
    key = arm.runs[0].training.get("arm_key")
    if isinstance(key, str) and key:
        return key
    return sorted(str(mapping_of(run.provenance.get("model")).get("weights") or run.path) for run in arm.runs)
