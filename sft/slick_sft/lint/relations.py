"""Which relation a question is of, told by its shape: "Where was [X] born?" is asked of many subjects.

1. A question's subject is the span from its first to its last name: a word with a capital or a digit, or of a script
   without capitals, and whatever stands in brackets or quotation marks; an opening such as "Where" is no name. The
   rest is its template.
2. A template is a relation when enough different subjects are asked by it. One that only adds words to another
   ("the", or what a tenth as many subjects have) is part of that one.
3. Every other question goes to the longest template that it fits, if that one says something ("Who is [X]?" does
   not) and the span holds few other words: lower-case subjects, "… [X] general election …".
4. Questions without names, or with capitals everywhere, have their rare words as the span instead.

What is found does not depend on the order of the questions. Questions of no relation have the relation "".
Two relations that are asked in the same words are one here; so are none that are asked in different words.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Different subjects that make a template a relation: its facts can then be shown four exemplars each.
SUPPORT = 5
# Words that a subject may hold besides its names.
_LOOSE = 4
# A template is part of a shorter one that has so many times its subjects.
_TIMES = 10
# A word that so large a share of the questions holds is no rare one.
_RARE = 0.01

_TOKEN = re.compile(r"['’]s\b|\w+|[^\w\s]")
_OPENING = frozenset(
    re.findall(
        r"\w+",
        "a an and are at by can could did do does for from give had has have how identify in is name of on please "
        "state tell the to under was were what when where which who whom whose why with",
    )
)
_DETERMINERS = frozenset({"a", "an", "the"})
_SAYING_NOTHING = _OPENING | {"'s", "’s", "it", "called", "there"}
_OPENS, _CLOSES = "([{“«„", ")]}”»“"

Template = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question asks: its relation, as a template with [X], and the subject. "" where it is not known."""

    relation: str
    subject: str


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    words: tuple[str, ...]
    folded: tuple[str, ...]
    names: tuple[bool, ...]

    def span(self) -> tuple[int, int] | None:
        """From the first to the last name."""
        places = [i for i, name in enumerate(self.names) if name]
        return (places[0], places[-1] + 1) if places else None

    def subject(self, span: tuple[int, int]) -> str:
        return self.text[self.starts[span[0]] : self.ends[span[1] - 1]]

    def template(self, span: tuple[int, int]) -> Template:
        return self.folded[: span[0]], self.folded[span[1] :]

    def shown(self, span: tuple[int, int]) -> str:
        return " ".join(f"{self.text[: self.starts[span[0]]]}[X]{self.text[self.ends[span[1] - 1] :]}".split())


def mine(questions: Sequence[str], *, support: int = SUPPORT) -> list[Asked]:
    """What each question asks. support: different subjects that a relation has at least."""
    parsed = {text: _parse(text) for text in dict.fromkeys(questions)}
    everything = list(parsed.values())
    spans = _spans(everything)
    subjects: defaultdict[Template, set[str]] = defaultdict(set)
    for question in everything:
        if (span := spans.get(question.text)) is not None:
            subjects[question.template(span)].add(question.subject(span).casefold())
    kept = _kept({template: len(found) for template, found in subjects.items()}, support)
    fitted = {question.text: _fit(question, spans.get(question.text), kept) for question in everything}
    names = _names([(q, span) for q in everything if (span := fitted[q.text]) is not None])
    return [_asked(parsed[text], fitted[text], spans.get(text), names) for text in questions]


def _parse(text: str) -> _Question:
    found = list(_TOKEN.finditer(text))
    # How a question ends does not tell relations apart.
    while found and found[-1].group() in "?!.":
        found.pop()
    words = tuple(match.group() for match in found)
    return _Question(
        text,
        tuple(match.start() for match in found),
        tuple(match.end() for match in found),
        words,
        tuple(word.casefold().replace("’", "'") for word in words),
        _names_among(words),
    )


def _names_among(words: Sequence[str]) -> tuple[bool, ...]:
    names = [_is_name(word) and not (i == 0 and word.casefold() in _OPENING) for i, word in enumerate(words)]
    opened = -1
    for i, word in enumerate(words):
        # A straight quotation mark opens and closes.
        if opened < 0 and (word in _OPENS or word == '"'):
            opened = i
        elif opened >= 0 and (word in _CLOSES or word == '"'):
            names[opened : i + 1] = [True] * (i + 1 - opened)
            opened = -1
    return tuple(names)


def _is_name(word: str) -> bool:
    """Whether a word has a capital, a digit, or letters without case."""
    return word[0].isalnum() and not word.islower()


def _spans(questions: Sequence[_Question]) -> dict[str, tuple[int, int]]:
    """Each question's subject, by its names or else by its rare words; absent where neither tells."""
    spans: dict[str, tuple[int, int]] = {}
    unnamed = []
    for question in questions:
        span = question.span()
        if span is None or _capitals_everywhere(question):
            unnamed.append(question)
        else:
            spans[question.text] = span
    frequency = Counter(word for question in questions for word in set(question.folded))
    rare = max(2, _RARE * len(questions))
    for question in unnamed:
        places = [i for i, word in enumerate(question.folded) if word[0].isalnum() and frequency[word] <= rare]
        if places and len(places) < len(question.folded):
            spans[question.text] = (places[0], places[-1] + 1)
    return spans


def _capitals_everywhere(question: _Question) -> bool:
    letters = [word for word in question.words if word[0].isalpha()]
    return len(letters) > 3 and not any(word.islower() for word in letters)


def _kept(support: dict[Template, int], least: int) -> set[Template]:
    """The templates that are relations."""
    frequent = {template: n for template, n in support.items() if n >= least}
    return {
        template
        for template, n in frequent.items()
        if not any(_part_of(template, n, frequent.get(shorter, 0), shorter) for shorter in _shorter(template))
    }


def _shorter(template: Template) -> Iterable[Template]:
    prefix, suffix = template
    for i in range(len(prefix) + 1):
        for j in range(len(suffix) + 1):
            if i < len(prefix) or j:
                yield prefix[:i], suffix[j:]


def _part_of(template: Template, n: int, n_shorter: int, shorter: Template) -> bool:
    added = {*template[0][len(shorter[0]) :], *template[1][: len(template[1]) - len(shorter[1])]}
    return n_shorter > 0 and (n_shorter >= _TIMES * n or (added <= _DETERMINERS and n_shorter >= n))


def _fit(question: _Question, own: tuple[int, int] | None, kept: set[Template]) -> tuple[int, int] | None:
    """The subject's span under the longest kept template that the question fits."""
    if own is not None and question.template(own) in kept:
        return own
    n = len(question.folded)
    # From the shortest span, which leaves the longest template.
    for length in range(1, n):
        for i in range(n - length + 1):
            template = question.template((i, i + length))
            if template in kept and _says_something(template) and _few_others(own, i, i + length):
                return i, i + length
    return None


def _says_something(template: Template) -> bool:
    return any(word[0].isalnum() and word not in _SAYING_NOTHING for word in (*template[0], *template[1]))


def _few_others(own: tuple[int, int] | None, start: int, end: int) -> bool:
    """Whether a span holds the question's own subject whole, and few other words."""
    if own is None:
        return end - start <= _LOOSE
    return start <= own[0] and own[1] <= end and (end - start) - (own[1] - own[0]) <= _LOOSE


def _names(fitted: Iterable[tuple[_Question, tuple[int, int]]]) -> dict[Template, str]:
    """How each template is shown: as most of its questions are written."""
    ways: defaultdict[Template, Counter[str]] = defaultdict(Counter)
    for question, span in fitted:
        ways[question.template(span)][question.shown(span)] += 1
    return {template: min(found.items(), key=lambda way: (-way[1], way[0]))[0] for template, found in ways.items()}


def _asked(
    question: _Question,
    fitted: tuple[int, int] | None,
    own: tuple[int, int] | None,
    names: dict[Template, str],
) -> Asked:
    if fitted is not None:
        return Asked(names[question.template(fitted)], question.subject(fitted))
    return Asked("", question.subject(own) if own else "")
