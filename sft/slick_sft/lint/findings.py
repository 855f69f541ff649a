"""What is wrong with rows: the rules, and where they are broken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slick.facts import Fact
from slick.knowledge import Category, Knowledge
from slick.matching import normalize
from slick_sft.lint.conflicts import asked_alike
from slick_sft.lint.examine import MIXED, Examined, question_key, subject_key
from slick_sft.lint.leaks import HeldOut
from slick_sft.lint.short_facts import Reason


class Level(StrEnum):
    """How bad a finding is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        return len(_LEVELS) - 1 - _LEVELS.index(self)


_LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of finding. title: in a few words; help: what it means and what to do."""

    id: str
    level: Level
    title: str
    help: str


UNKNOWN = Rule(
    "unknown-fact",
    Level.WARNING,
    "The base model does not know this fact",
    "Fine-tuning on facts that a model does not know teaches it to make things up (Gekhman et al. 2024). Drop the row, "
    'relabel its answer as "I don\'t know", or give its loss the weight 0: slick lint --fix drop|relabel|weight.',
)
UNKNOWN_RELATION = Rule(
    "unknown-relation",
    Level.WARNING,
    "Every fact of this relation is Unknown",
    "The model knows none of the facts that are asked in these words: either it lacks the whole subject, or the "
    "question or the form of the answers is one that it does not understand.",
)
CONFLICT = Rule(
    "conflicting-answers",
    Level.ERROR,
    "The same question has different answers",
    "Rows ask the same question (case, articles and punctuation apart) and teach different answers, of which one at "
    'least is short: yes against no, a name against another, against "I don\'t know" or a text without it. Correct '
    "one of them, or give all answers in one row of the question/answers form.",
)
SEVERAL = Rule(
    "several-answers",
    Level.NOTE,
    "The same prompt has different free-form answers",
    "Rows ask the same and answer it at length, or in other words. Often both are right; whether they contradict each "
    "other is not told.",
)
LEAK = Rule(
    "held-out-question",
    Level.ERROR,
    "A held-out question stands in the training data",
    "A model that was trained on the question is no longer measured by it. Remove the row, or the fact from the "
    "held-out set.",
)
LEAKED_SUBJECT = Rule(
    "held-out-subject",
    Level.NOTE,
    "A subject of a held-out fact stands in the training data",
    "The paper trains on no subject that is tested. Other facts of the same subject may help or harm the answer.",
)
DUPLICATE = Rule(
    "duplicate-row",
    Level.NOTE,
    "A row with the same question and answer stands before",
    "The row is trained on several times an epoch.",
)

RULES = (CONFLICT, LEAK, UNKNOWN, UNKNOWN_RELATION, DUPLICATE, SEVERAL, LEAKED_SUBJECT)
BY_ID = {rule.id: rule for rule in RULES}

# Facts that a relation has at least, to be called wholly Unknown.
_RELATION = 5
# Other rows that a finding points to at most.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a row breaks. row and related: places in the list of all rows."""

    rule: Rule
    row: int
    message: str
    related: tuple[int, ...] = ()


def findings(
    rows: Sequence[Examined], knowledge: Mapping[str, Knowledge], held_out: Sequence[Fact] = ()
) -> list[Finding]:
    """Everything that is found, row by row. knowledge: by the ids of facts, of those that were probed."""
    found = [
        *_conflicts(rows),
        *_leaks(rows, held_out),
        *_unknown(rows, knowledge),
        *_unknown_relations(rows, knowledge),
        *_duplicates(rows),
    ]
    order = {rule.id: i for i, rule in enumerate(RULES)}
    return sorted(found, key=lambda finding: (finding.row, order[finding.rule.id]))


def is_unknown(row: Examined, knowledge: Mapping[str, Knowledge]) -> bool:
    """Whether the row was probed and found Unknown."""
    if row.fact is None or row.reason is not None:
        return False
    return knowledge[row.fact.id].category is Category.UNKNOWN


def _unknown(rows: Sequence[Examined], knowledge: Mapping[str, Knowledge]) -> Iterable[Finding]:
    for i, row in enumerate(rows):
        if is_unknown(row, knowledge):
            assert row.fact is not None
            k = knowledge[row.fact.id]
            unsure = " (uncertain: samples may well say WeaklyKnown)" if k.flagged else ""
            yield Finding(
                UNKNOWN,
                i,
                f"Unknown to the model: {quoted(row.fact.question)} → {quoted(row.exchange.answer)}; "
                f"P_Correct(T=0) {_chance(k.p_greedy)}, P_Correct(T>0) {_chance(k.p_sampled or 0)}, "
                f"u {_chance(k.u or 0)}{unsure}",
            )


def _unknown_relations(rows: Sequence[Examined], knowledge: Mapping[str, Knowledge]) -> Iterable[Finding]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.fact and row.reason is None and row.fact.relation != MIXED:
            places[row.fact.relation].append(i)
    for relation, members in places.items():
        facts = {fact.id for i in members if (fact := rows[i].fact)}
        if len(facts) >= _RELATION and all(is_unknown(rows[i], knowledge) for i in members):
            message = f"all {len(facts)} facts of the relation {quoted(relation)} are Unknown to the model"
            yield Finding(UNKNOWN_RELATION, members[0], message, tuple(members[1:_SHOWN]))


def _conflicts(rows: Sequence[Examined]) -> Iterable[Finding]:
    for asked in asked_alike(rows):
        for i, against in asked.conflicts():
            shown = ", ".join(list(dict.fromkeys(quoted(rows[j].exchange.answer) for j in against[:_SHOWN]))[:3])
            question, answer = quoted(rows[i].asked or rows[i].exchange.user), quoted(rows[i].exchange.answer)
            message = f"{question} is answered {answer} here and {shown} elsewhere ({len(against)} rows)"
            yield Finding(CONFLICT, i, message, tuple(against[:_SHOWN]))
        if others := asked.other_texts():
            first = asked.texts[0]
            message = f"{quoted(rows[first].asked or rows[first].exchange.user)} has other free-form answers elsewhere"
            yield Finding(SEVERAL, first, f"{message} ({len(others)} rows)", tuple(others[:_SHOWN]))


def _leaks(rows: Sequence[Examined], held_out: Sequence[Fact]) -> Iterable[Finding]:
    questions = HeldOut(held_out)
    subjects = {subject_key(fact.subject): fact for fact in held_out if fact.subject.strip()}
    for i, row in enumerate(rows):
        if row.reason is Reason.SILENT:
            continue
        # Also rows that are not probed.
        if leaked := questions.asked_in(row.said):
            more = f" and {len(leaked) - 1} more" if len(leaked) > 1 else ""
            yield Finding(LEAK, i, f"asks the held-out question {quoted(leaked[0].question)}{more}")
        elif row.fact and (fact := subjects.get(row.fact.subject)) is not None:
            yield Finding(
                LEAKED_SUBJECT, i, f"is about {quoted(fact.subject)}, as the held-out {quoted(fact.question)}"
            )


def _duplicates(rows: Sequence[Examined]) -> Iterable[Finding]:
    first: dict[tuple[str, str, str], int] = {}
    # A conversation stands twice if all of it does, and not if it begins like another.
    last = {(id(row.source), row.row.number): i for i, row in enumerate(rows)}
    for i, row in enumerate(rows):
        if row.reason is Reason.SILENT or last[id(row.source), row.row.number] != i:
            continue
        # What stands before the last turn counts too: the same question may be asked of several inputs.
        prompt = row.exchange.prompt
        before = prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in prompt)
        key = (question_key(before), normalize(row.exchange.user), normalize(row.exchange.answer))
        place = first.setdefault(key, i)
        if place != i:
            yield Finding(DUPLICATE, i, f"the same question and answer as in {rows[place].where}", (place,))


def quoted(text: str) -> str:
    """A text from the dataset within a message: on one line, short."""
    from slick_reports.text import visible

    return f"“{visible(text, 120)}”"


def _chance(value: float) -> str:
    """Two digits, of which none makes a certainty of what is none."""
    text = f"{value:.2g}"
    return ">0.99" if value < 1 and float(text) == 1 else text
