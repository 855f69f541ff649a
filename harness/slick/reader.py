"""One reader for all facts: named sources, EntityQuestions, JSON Lines, JSON, Parquet, `datasets`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from slick import entityquestions
from slick.errors import InputError, Mistakes, RunError
from slick.facts import Fact, check_limit, sample_facts
from slick.plugins import facts_names, facts_source
from slick.rows import facts_of, nearest, shown, split_name
from slick.tables import read_table

_ENTITYQUESTIONS = "entityq"


def read_facts(
    source: str | Path,
    *,
    split: str | None = None,
    relations: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Fact]:
    """The facts of `source`, in its order.

    source: a name from the entry-point group "slick.facts" (a string only; write ./entityq for a path of
        that name), else a path: `.jsonl`, `.json` (a list), `.parquet`, a directory with a copy of
        EntityQuestions, or one written by `datasets`' save_to_disk. A fact needs `question` and `answers`
        (a list) or `answer` (a string), and may have `relation`, `subject`, `split` and `id`; other
        columns are ignored. Without a relation column all facts are of the relation "facts".
    split: only its facts ("validation" stands for dev, in the data as well). None: all.
    relations: only theirs. None or empty: all.
    limit: a seeded draw of so many facts (see `sample_facts`).

    Raises InputError listing every mistake with file and line (or row number), or saying that the source,
    split or relation is unknown and which ones there are.
    """
    return read_selection(source, split=split, relations=relations, limit=limit, seed=seed)[0]


def read_selection(
    source: str | Path,
    *,
    split: str | None = None,
    relations: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[list[Fact], list[Fact]]:
    """The selected facts as `read_facts` gives them, and all facts of the source, read once."""
    check_limit(limit)
    facts, is_entityquestions = _load(source)
    chosen = _select(facts, str(source), split, relations or (), is_entityquestions)
    return (chosen if limit is None else sample_facts(chosen, limit, seed)), facts


def select_facts(
    facts: Iterable[Fact],
    name: str,
    *,
    split: str | None = None,
    relations: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Fact]:
    """What `read_facts` would have selected of `facts`; `name` is what its errors call them."""
    check_limit(limit)
    chosen = _select(list(facts), name, split, relations or (), is_entityquestions=False)
    return chosen if limit is None else sample_facts(chosen, limit, seed)


def _load(source: str | Path) -> tuple[list[Fact], bool]:
    """All facts of a source, and whether they are the paper's splits of EntityQuestions."""
    if isinstance(source, str) and (named := facts_source(source)) is not None:
        facts = named()
        if not facts or not all(isinstance(fact, Fact) for fact in facts):
            raise RunError(f"facts source {source!r}: returned no list of facts; reinstall what declares it")
        return facts, source == _ENTITYQUESTIONS
    path = _existing(source)
    if path.is_dir() and entityquestions.is_copy(path):
        return entityquestions.read_directory(path), True
    mistakes = Mistakes(f"{path}: cannot be read as facts:")
    facts = facts_of(read_table(path, mistakes), mistakes)
    mistakes.raise_if_any()
    return facts, False


def _existing(source: str | Path) -> Path:
    try:
        path = Path(source).expanduser()
        if path.exists():
            return path
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except (OSError, RuntimeError) as error:
        raise InputError(f"{source}: cannot be read ({error})") from error
    names = facts_names()
    raise InputError(
        f"{source}: no such file or directory, and no facts of that name; names are {', '.join(names)}"
        f"{nearest(str(source), names) or nearest(path.name, beside)}"
    )


def _select(
    facts: list[Fact], name: str, split: str | None, relations: Sequence[str], is_entityquestions: bool
) -> list[Fact]:
    known = {fact.relation for fact in facts}
    with Mistakes(f"{name}: unknown relation:") as mistakes:
        for relation in dict.fromkeys(relations):
            if relation not in known:
                mistakes.add(_unknown_relation(relation, known, is_entityquestions))
    if relations:
        facts = [fact for fact in facts if fact.relation in relations]
    if split is None:
        return facts
    wanted = split_name(split)
    chosen = [fact for fact in facts if fact.split == wanted]
    empty = sorted({fact.relation for fact in facts} - {fact.relation for fact in chosen})
    if not chosen:
        raise InputError(f"{name}: no facts of split {shown(split)}; found {_split_counts(facts)}")
    if relations and empty:
        with Mistakes(f"{name}: no facts of split {shown(split)} in:") as mistakes:
            mistakes.extend(
                f"relation {relation}: found {_split_counts(f for f in facts if f.relation == relation)}"
                for relation in empty
            )
    return chosen


def _split_counts(facts: Iterable[Fact]) -> str:
    counts = Counter(fact.split for fact in facts)
    if set(counts) == {""}:
        return f"{counts['']} facts without splits; leave the split out, or give the data a column split"
    return ", ".join(f"{split} ({count})" for split, count in counts.items())


def _unknown_relation(relation: str, known: set[str], is_entityquestions: bool) -> str:
    if is_entityquestions and (reason := entityquestions.why_absent(relation)):
        return f"{shown(relation)}: {reason}"
    listed = ", ".join(sorted(known)[:30]) + (" …" if len(known) > 30 else "")
    return f"{shown(relation)}: found {listed}{nearest(relation, known)}"
