"""What is watched while a model is tuned: its training rows by category, and facts that it is not trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slick.batches import Tokens
from slick.dynamics import DEV, TRAIN
from slick.errors import InputError, Mistakes
from slick.facts import Fact
from slick.files import digest_of
from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.knowledge_file import read_knowledge
from slick.prompts import DEFAULT_FORM, Message, completion, form_prompt, too_long
from slick.provenance import fingerprint
from slick.vocabulary import Vocabulary
from slick_sft.early_stop import KNOWN_FALLS, Stop
from slick_sft.fitted import LENGTH, Question
from slick_sft.formats import TrainingSet, check_knowledge_model

# What a step of training costs, in passes forward: one is forward, one takes the gradients of what lies between the
# layers, and one those of the weights, which frozen weights do not need.
PASSES = {"full": 3, "lora": 2, "qlora": 2}
# Of the tokens that training reads, so many are measured, if the number of rows is not given. That is 7 % of what
# training costs, and EARLY_STOP has to be saved now and then.
BUDGETS = {"full": 0.2, "lora": 0.13, "qlora": 0.13}
# Fewer rows of a set tell nothing; EARLY_STOP rests on those of dev.
LEAST = 16
_SHARES = {DEV: 2.0}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """Facts of known category, to be watched under a name. model: the fingerprint of the probed model, if recorded."""

    name: str
    source: str
    knowledge: tuple[Knowledge, ...]
    model: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest_of([[k.fact.id, str(k.category)] for k in self.knowledge])


@dataclass(frozen=True, slots=True)
class Watch:
    """What is measured before the first step, after every epoch, and every `steps` steps where that is not 0.

    rows: of each set, so many at most; 0 for all, None for what costs a tenth of the training at most (`BUDGETS`,
    `affordable`).
    """

    sets: tuple[KnownFacts, ...] = ()
    rows: int | None = None
    steps: int = 0
    stop: Stop | None = None

    def settings(self, method: str = "full") -> dict[str, Any]:
        """What an interrupted run must be gone on with. method: how it is trained, on which depends what it may ask."""
        # Runs that were begun when there was one budget had that of "full", and did not record it.
        bought = {"budget": BUDGETS[method]} if self.rows is None and method != "full" else {}
        return {
            "sets": {facts.name: facts.digest for facts in self.sets},
            "rows": self.rows,
            **bought,
            "steps": self.steps,
            "stop": {"rule": self.stop.rule, "patience": self.stop.patience} if self.stop else None,
        }

    def check(self, model: str, *, allow_mismatch: bool = False) -> list[str]:
        """Raise InputError for a set whose categories are another model's than the one to be tuned.

        Returns the notes that allowed mismatches, and sets that do not say whose they are, leave.
        """
        base, notes = fingerprint(model), []
        with Mistakes("watched sets:") as mistakes:
            for facts in self.sets:
                try:
                    of = f"--watch {facts.name}={facts.source}"
                    notes.append(check_knowledge_model(of, facts.model, base, allow_mismatch=allow_mismatch))
                except InputError as error:
                    mistakes.add(str(error))
        return [note for note in notes if note]


# Nothing but the training rows themselves.
TRAINING_ROWS = Watch()


def read_watch(
    items: Sequence[str], *, rows: int | None = None, steps: int = 0, stop: str = "", patience: int | None = None
) -> Watch:
    """The sets NAME=KNOWLEDGE (see `slick.knowledge_file`), and the other settings; InputError names all mistakes."""
    found: list[KnownFacts] = []
    with Mistakes("what is to be watched:") as mistakes:
        for item in items:
            name, equals, path = item.partition("=")
            if not equals or not path or not _NAME.fullmatch(name):
                mistakes.add(f"--watch {item}: expected NAME=KNOWLEDGE, such as {DEV}=runs/probe-dev")
            elif name == TRAIN:
                mistakes.add(f"--watch {item}: {TRAIN!r} are the training rows, which are watched anyway")
            elif name in {facts.name for facts in found}:
                mistakes.add(f"--watch {item}: {name} is given twice")
            else:
                try:
                    read = read_knowledge(path)
                except InputError as error:
                    mistakes.add(f"--watch {item}: {error}")
                    continue
                model = read.provenance.get("model")
                found.append(KnownFacts(name, path, read.knowledge, model if isinstance(model, Mapping) else {}))
        for name, number in (("--watch-rows", rows), ("--watch-steps", steps)):
            if number is not None and number < 0:
                mistakes.add(f"{name} {number}: expected 0 or more")
        if stop and DEV not in {facts.name for facts in found}:
            mistakes.add(f"--stop {stop}: needs the facts that decide; give them with --watch {DEV}=KNOWLEDGE")
        if patience is not None and not stop:
            mistakes.add(f"--patience {patience}: is for --stop best-dev; give both")
    chosen = Stop(stop, *(() if patience is None else (patience,))).check() if stop else None
    if patience is not None and stop == KNOWN_FALLS:
        raise InputError(f"--patience {patience}: is for --stop best-dev; --stop {stop} knows no patience")
    return Watch(tuple(found), rows, steps, chosen)


@dataclass(frozen=True, slots=True)
class WatchedSet:
    """Questions of a set and the category of each, in an order whose beginnings are fair samples of the whole."""

    name: str
    questions: tuple[Question, ...]
    categories: tuple[Category, ...]
    of: int

    def first(self, rows: int) -> WatchedSet:
        return WatchedSet(self.name, self.questions[:rows], self.categories[:rows], self.of)

    def counts(self, right: Sequence[bool]) -> dict[Category, tuple[int, int]]:
        """Category → (right, asked), best first, of those that are there."""
        asked = Counter(self.categories)
        hits = Counter(c for c, hit in zip(self.categories, right, strict=True) if hit)
        return {c: (hits[c], asked[c]) for c in CATEGORIES if asked[c]}


def watched_sets(
    watch: Watch, data: TrainingSet, tokenizer: Any, vocabulary: Vocabulary, context: int | None
) -> tuple[list[WatchedSet], list[str]]:
    """The training rows of known category, then the watched sets, and notes on what is left out.

    Raises InputError for a watched question that does not fit in the model's context.
    """
    ask = _Asker(tokenizer, vocabulary, data)
    found, notes = [], []
    rows = _training_rows(data)
    if rows:
        questions = ask.rows([data.rows[i] for i, _ in rows])
        fits = [q for q in zip(questions, rows, strict=True) if context is None or len(q[0].prompt) + LENGTH <= context]
        if len(fits) < len(rows):
            notes.append(f"{len(rows) - len(fits)} training rows are too long to be asked and are not watched")
        order = _fair_order([(category, str(i)) for _, (i, category) in fits])
        if fits:
            chosen = [fits[i] for i in order]
            found.append(WatchedSet(TRAIN, tuple(q for q, _ in chosen), tuple(c for _, (_, c) in chosen), len(chosen)))
    for facts in watch.sets:
        order = _fair_order([(k.category, k.fact.id) for k in facts.knowledge])
        known = [facts.knowledge[i] for i in order]
        questions = ask.facts([k.fact for k in known])
        for question, k in zip(questions, known, strict=True):
            if context is not None and len(question.prompt) + LENGTH > context:
                text = too_long(k.fact.question, len(question.prompt), LENGTH, context)
                raise InputError(f"--watch {facts.name}={facts.source}: {text}")
        found.append(WatchedSet(facts.name, tuple(questions), tuple(k.category for k in known), len(known)))
    if watch.sets and data.form is None:
        notes.append(f"the form of the training rows is not recorded; watched facts are asked as {DEFAULT_FORM!r}")
    return found, notes


def affordable(sets: Sequence[WatchedSet], tokens: float) -> list[WatchedSet]:
    """The beginnings of the sets whose passes have about so many tokens together.

    Each set gets an equal share, dev two, and what one does not need goes to the others. At least `LEAST` rows of
    each stay.
    """
    costs = [sum(question.cost for question in of.questions) for of in sets]
    claims = [_SHARES.get(of.name, 1.0) for of in sets]
    left, open_claims, shares = tokens, sum(claims), [0.0] * len(sets)
    for i in sorted(range(len(sets)), key=lambda i: costs[i] / claims[i]):
        shares[i] = min(costs[i], left * claims[i] / open_claims)
        left, open_claims = left - shares[i], open_claims - claims[i]
    return [
        of if shares[i] >= costs[i] else of.first(max(LEAST, int(shares[i] / costs[i] * len(of.questions))))
        for i, of in enumerate(sets)
    ]


def _training_rows(data: TrainingSet) -> list[tuple[int, Category]]:
    """The number and category of each training row, as the sidecar has them; none of a user's own rows."""
    named = {str(category): category for category in CATEGORIES}
    return [(i, named[row["category"]]) for i, row in enumerate(data.sidecar) if row.get("category") in named]


def _fair_order(rows: Sequence[tuple[Category, str]]) -> list[int]:
    """An order of the rows whose every beginning holds the categories in the shares of the whole; by no seed."""
    by_category: dict[Category, list[tuple[str, int]]] = {}
    for i, (category, key) in enumerate(rows):
        by_category.setdefault(category, []).append((digest_of(key), i))
    placed = [
        ((rank + 0.5) / len(members), CATEGORIES.index(category), i)
        for category, members in by_category.items()
        for rank, (_, i) in enumerate(sorted(members))
    ]
    return [i for *_, i in sorted(placed)]


class _Asker:
    """Puts questions in the training form: plain, or through the tokenizer's chat template."""

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary, data: TrainingSet) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.form = data.form or DEFAULT_FORM
        self.conversational = data.conversational

    def rows(self, rows: Sequence[Mapping[str, str | list[Message]]]) -> list[Question]:
        """Training rows; the answer that was trained is the one that is right."""
        asked = []
        for row in rows:
            prompt, answer = row["prompt"], row["completion"]
            if isinstance(prompt, str):
                asked.append((prompt, str(answer), (str(answer).strip(),)))
            else:
                text = "".join(message["content"] for message in answer if isinstance(message, dict))
                asked.append((self._chat(prompt), text, (text.strip(),)))
        return self._questions(asked)

    def facts(self, facts: Sequence[Fact]) -> list[Question]:
        """Facts, with all of their accepted answers."""
        asked = []
        for fact in facts:
            text, answer = form_prompt(self.form, fact.question), fact.answers[0]
            if self.conversational:
                asked.append((self._chat([{"role": "user", "content": text.rstrip("\n")}]), answer, fact.answers))
            else:
                asked.append((text, completion(self.form, answer), fact.answers))
        return self._questions(asked)

    def _chat(self, messages: Sequence[Message]) -> str:
        return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))

    def _questions(self, asked: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[Question]:
        prompts = self._tokens([prompt for prompt, _, _ in asked])
        wholes = self._tokens([prompt + answer for prompt, answer, _ in asked])
        found = []
        for prompt, whole, (text, answer, answers) in zip(prompts, wholes, asked, strict=True):
            if not prompt:
                raise InputError(
                    f"prompt {text!r}: the tokenizer makes no tokens of it; there is nothing to go on from"
                )
            usual = whole[len(prompt) :]
            read = self.vocabulary.text(usual).strip()
            if whole[: len(prompt)] != prompt or read != answer.strip().encode("utf-8", "surrogatepass"):
                usual = self.vocabulary.segment(answer.encode("utf-8", "surrogatepass"))
            found.append(Question(prompt, answers, usual))
        return found

    def _tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """As `slick score` has them: no second start token where the text brings one."""
        start = self.tokenizer.bos_token
        found: list[Tokens] = [()] * len(texts)
        for brings in (False, True):
            chosen = [i for i, text in enumerate(texts) if bool(start and text.startswith(start)) == brings]
            if chosen:
                options = {"add_special_tokens": False} if brings else {}
                for i, ids in zip(
                    chosen, self.tokenizer([texts[i] for i in chosen], **options)["input_ids"], strict=True
                ):
                    found[i] = tuple(ids)
        return found
