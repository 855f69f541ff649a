"""Rows that ask the same, and how their answers contradict each other.

Every row with an answer counts, whether it can be probed or not. Two ask the same where their question is the same or,
where it needs more than itself, all that stands before the answer. Answers agree that share an accepted one; a text
agrees with a short answer that stands in it, and two ways of not knowing agree. Two texts are no conflict but noted:
nothing here reads them. Neither is what was no question ("Hello!"), which has no right answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from slick.matching import ABSTENTIONS, is_abstention, normalize
from slick_sft.lint.examine import Examined, question_key
from slick_sft.lint.short_facts import Reason, is_short

# What every abstention shares with every other, and with a text that holds one.
_UNKNOWING = frozenset(ABSTENTIONS - {""})
_MARKS = ("?", "？", "؟")


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows that ask the same, by their answers. short: by the keys of those that are; texts: all others.

    Both hold places in the list of all rows; written: the normalized text of each of `texts`.
    """

    short: dict[frozenset[str], list[int]] = field(default_factory=dict)
    texts: list[int] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def conflicts(self) -> Iterator[tuple[int, list[int]]]:
        """(a row, those that contradict it), of which one at least is short."""
        held = {
            keys: {i for i, text in zip(self.texts, self.written, strict=True) if _holds(text, keys)}
            for keys in self.short
        }
        for keys, places in self.short.items():
            against = [j for others, js in self.short.items() if not keys & others for j in js]
            against = sorted([*against, *(j for j in self.texts if j not in held[keys])])
            if against:
                yield from ((i, against) for i in places)
        for i in self.texts:
            against = sorted(j for keys, js in self.short.items() if i not in held[keys] for j in js)
            if against:
                yield i, against

    def other_texts(self) -> list[int]:
        """The rows whose text differs from that of the first."""
        return [i for i, text in zip(self.texts, self.written, strict=True) if text != self.written[0]]


def asked_alike(rows: Sequence[Examined]) -> list[Alike]:
    """The rows that ask the same as another, grouped; only what is trained on and answered."""
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.exchange.answer and row.reason is not Reason.SILENT and (key := _asks(row)):
            groups[key].append(i)
    return [_alike(rows, places) for places in groups.values() if len(places) > 1]


def _asks(row: Examined) -> tuple[str, ...]:
    """What a row asks; empty where nothing stands before its answer."""
    if row.fact or (row.asked and row.reason is not Reason.CONTEXT):
        return (question_key(row.asked),)
    prompt = row.exchange.prompt
    said = [prompt] if isinstance(prompt, str) else [f"{m['role']}: {m['content']}" for m in prompt]
    return ("", *map(question_key, said)) if any(text.strip() for text in said) else ()


def _alike(rows: Sequence[Examined], places: Sequence[int]) -> Alike:
    found = Alike()
    for i in places:
        row = rows[i]
        answers = row.exchange.answers
        asks = bool(row.asked) or any(mark in row.exchange.user for mark in _MARKS)
        if asks and all(is_short(answer) or is_abstention(answer) for answer in answers):
            found.short.setdefault(_keys(answers), []).append(i)
        else:
            found.texts.append(i)
            found.written.append(normalize(" ".join(answers)) or answers[0])
    return found


def _keys(answers: Sequence[str]) -> frozenset[str]:
    if any(is_abstention(answer) for answer in answers):
        return _UNKNOWING
    return frozenset(normalize(answer) or answer for answer in answers)


def _holds(text: str, keys: frozenset[str]) -> bool:
    return any(f" {key} " in f" {text} " for key in keys)
