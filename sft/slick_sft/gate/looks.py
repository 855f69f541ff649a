"""How often a pair of arms was judged: every look at new answers spends of the error that the policy allows.

Counted in a file beside the baselines, whichever way a pair is judged, and in the directory of a gate that has one:
leaving out the one or the other hides no look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.files import digest_of, mapping_of, read_json, write_json
from slick_sft.gate.arms import Arm, Pair, answers_digest
from slick_sft.gate.locked import locked

LOOKS = "looks.json"
SCHEMA = 3
KIND = "slick gate looks"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file says of a pair. planned: None where it was never judged; answers: digests of those seen, in order.
    asked: of each look by which seeds and facts it was, where that is known."""

    planned: int | None
    answers: tuple[str, ...]
    asked: tuple[str | None, ...]
    entry: dict[str, Any]
    others: Sequence[Any]


def looks_beside(baselines: Path, out: Path | None = None) -> list[Path]:
    """The files in which looks are counted: beside the baselines, and in the gate's directory."""
    return [baselines.parent / LOOKS, *([out / LOOKS] if out is not None else [])]


def look(pair: Pair, planned: int, *files: Path, now: datetime | None = None) -> int:
    """Counts a look at this pair in every file, and returns its number. The same answers seen again are the same look;
    a ledger that has grown is another, since it changes the interval.

    A pair is known again by any model or recipe that both its arms share with an earlier one, however many seeds. How
    many looks were planned is kept from the first on, and cannot grow. Raises InputError for more looks than were
    planned, or planned at first, before anything is seen and counted.
    """
    keys = {name: sorted(keys_of(arm)) for name, arm in (("candidate", pair.candidate), ("control", pair.control))}
    arms = [pair.candidate.runs, pair.control.runs, *([pair.ledger] if pair.ledger else [])]
    answers = digest_of([sorted(map(answers_digest, runs)) for runs in arms])
    this = {
        "answers": answers,
        "asked": asked_of(pair.candidate.seeds, pair.candidate.runs[0].rows),
        "date": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
    }
    number = 1
    with locked(*files):
        found = {file: _read(file, keys) for file in files}
        for file, seen in found.items():
            number = max(number, _number(file, seen, answers, planned))
        for file, seen in found.items():
            _write(file, seen, this, planned)
    return number


def check_left(candidate: AbstractSet[str], control: AbstractSet[str], asked: str, planned: int, *files: Path) -> None:
    """InputError where a look at these arms, which are not trained yet, could only be one too many.

    candidate, control: as `keys_of` would have them. asked: see `asked_of`; what was asked by as many seeds and facts
    before may be the same look again, which only its answers can tell.
    """
    keys = {"candidate": sorted(candidate), "control": sorted(control)}
    # Without a lock: files are replaced whole, and nothing is counted yet.
    for file in files:
        seen = _read(file, keys)
        if seen.planned is not None:
            new = None not in seen.asked and asked not in seen.asked
            _check(file, seen, len(seen.answers) + new, planned)


def asked_of(seeds: Iterable[int | None], facts: Iterable[str]) -> str:
    """The digest of which seeds of the candidate were asked which facts, by their ids."""
    return digest_of([sorted(map(str, seeds)), sorted(facts)])


def keys_of(arm: Arm) -> set[str]:
    """What an arm is whatever its seeds; without a record of its training its models, or what they answered."""
    key = arm.runs[0].training.get("arm_key")
    if isinstance(key, str) and key:
        return {key}
    weights = [mapping_of(run.provenance.get("model")).get("weights") for run in arm.runs]
    return {str(of or answers_digest(run)) for of, run in zip(weights, arm.runs, strict=True)}


def said(number: int, planned: int) -> list[str]:
    """What a verdict says of its look; nothing where one was planned."""
    return [f"Look {number} of {planned} at this pair of arms."] if planned > 1 else []


def _number(file: Path, seen: _Seen, answers: str, planned: int) -> int:
    """Which look this is by what a file says; InputError where it is one too many."""
    number = seen.answers.index(answers) + 1 if answers in seen.answers else len(seen.answers) + 1
    _check(file, seen, number, planned)
    return number


def _check(file: Path, seen: _Seen, number: int, planned: int) -> None:
    """InputError where this look is one too many, or more are planned than at first."""
    first = planned if seen.planned is None else seen.planned
    if planned <= first and max(number, len(seen.answers)) <= planned:
        return
    times = "once" if len(seen.answers) == 1 else f"{len(seen.answers)} times"
    mend = f"set looks: {first} in the policy again to judge the same answers again; or " if planned != first else ""
    raise InputError(
        f"{file}: this pair was judged {times} already, with looks: {first} planned when it was first judged, and "
        f"the policy now says looks: {planned}. Looking until it passes, or planning more looks once one was seen, "
        f"makes misses likelier than the level says. Keep the verdict that there is; {mend}judge a new pair (other "
        "rows, or another training), in an --out of its own, with looks planned from the beginning"
    )


def _read(file: Path, keys: dict[str, list[str]]) -> _Seen:
    """What a file says of the pair of these keys."""
    document: dict[str, Any] = {"schema": SCHEMA, "kind": KIND, "pairs": []}
    if file.exists():
        found = mapping_of(read_json(file))
        if found.get("kind") != KIND or found.get("schema") != SCHEMA or not isinstance(found.get("pairs"), list):
            raise InputError(
                f"{file}: was not written by slick gate of this version; move it away, or choose another directory "
                "(--baselines, --out)"
            )
        document = dict(found)
    ours: list[Any] = []
    others: list[Any] = []
    planned: list[int] = []
    answers: list[str] = []
    asked: list[str | None] = []
    for entry in document["pairs"]:
        try:
            same = all(set(keys[name]) & set(map(str, entry[name])) for name in keys)
            if same:
                planned.append(int(entry["planned"]))
                answers += [str(seen["answers"]) for seen in entry["looks"]]
                asked += [seen.get("asked") for seen in entry["looks"]]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}: is damaged ({error!r}); bring back what it was") from error
        (ours if same else others).append(entry)
    joined: dict[str, Any] = {
        **{name: sorted({*of, *(key for entry in ours for key in entry[name])}) for name, of in keys.items()},
        "looks": [seen for entry in ours for seen in entry["looks"]],
    }
    return _Seen(min(planned, default=None), tuple(dict.fromkeys(answers)), tuple(asked), joined, others)


def _write(file: Path, seen: _Seen, look: dict[str, str], planned: int) -> None:
    looks = [*seen.entry["looks"], *([] if look["answers"] in seen.answers else [look])]
    # A smaller plan holds from now on: what was given up cannot be taken back.
    entry = {**seen.entry, "planned": planned, "looks": looks}
    write_json(file, {"schema": SCHEMA, "kind": KIND, "pairs": [*seen.others, entry]})
