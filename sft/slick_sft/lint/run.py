"""One lint, from the datasets to its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.facts import Fact, commonest_answers
from slick.knowledge import Knowledge, expected_shares
from slick.matching import Matching
from slick.prompts import PLAIN, Chat
from slick.sampled import PAPER, Sampled
from slick_sft.lint.examine import (
    Examined,
    check_probeable,
    drawn,
    read_datasets,
    with_exemplars,
    without_unwritable,
)
from slick_sft.lint.findings import findings
from slick_sft.lint.prediction import Composition, Study, predict
from slick_sft.lint.report import Report
from slick_sft.lint.shapes import CONVERSATIONAL
from slick_sft.lint.short_facts import Reason
from slick_sft.lint.sources import Source
from slick_sft.lint.training import form_of, learns

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.probe import Probe


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be linted, and how it is probed. limit: facts to probe at most; exemplars: more facts to show."""

    datasets: Sequence[Path]
    relation_column: str = ""
    limit: int | None = None
    seed: int = 0
    protocol: Sampled = PAPER
    matching: Matching = Matching.STRICT
    exemplars: Sequence[Fact] | None = None
    held_out: Sequence[Fact] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """Datasets that were read, and found to hold something to probe."""

    wish: Wish
    sources: Sequence[Source]
    rows: Sequence[Examined]
    pools: Mapping[str, Sequence[Fact]]

    @property
    def conversational(self) -> bool:
        return any(row.exchange.form in CONVERSATIONAL for row in self.rows)


def prepare(wish: Wish) -> Ready:
    """Reads and examines the datasets, without a model.

    Raises InputError for all malformed rows at once, for a dataset without rows, and where no row can be probed.
    """
    sources, rows = read_datasets(wish.datasets, wish.relation_column)
    check_probeable(rows)
    rows, pools = with_exemplars(rows, k=wish.protocol.n_exemplars, seed=wish.seed, others=wish.exemplars)
    check_probeable(rows)
    return Ready(wish, sources, rows, pools)


def probe_of(ready: Ready, backend: Backend, chat: Chat = PLAIN) -> tuple[Probe, Sequence[Examined]]:
    """The probe of a dataset's facts, and its rows, those without a fact in it having the reason."""
    from slick.probe import Probe

    wish = ready.wish
    written = without_unwritable(ready.rows, lambda answer: _fits(backend, answer, wish.protocol.max_gen_toks))
    check_probeable(written)
    rows, facts = drawn(written, wish.limit, wish.seed)
    pools = {relation: ready.pools[relation] for relation in {fact.relation for fact in facts}}
    source = ", ".join(str(source.path) for source in ready.sources)
    probe = Probe(
        facts,
        pools,
        # The answer prior is that of the exemplars' pools, which no fact sees alone.
        {relation: answer for pool in pools.values() for relation, answer in commonest_answers(pool).items()},
        wish.protocol,
        wish.matching,
        chat,
        wish.seed,
        source=source,
        exact=True,
    )
    return probe, rows


def lint(
    ready: Ready,
    backend: Backend,
    out: Path,
    chat: Chat = PLAIN,
    studies: Sequence[Study] = (),
    training: Mapping[str, Any] | None = None,
) -> Report:
    """Probes the facts of the datasets and judges their rows. out: the directory of the probe's run.

    studies: to predict from; training: how the rows will be trained on, as `Composition` has it.

    Raises RunError where the probe cannot be finished; what it has answered is kept, and found by the next lint.
    """
    from slick.knowledge_file import read_knowledge
    from slick.probe import run_probe

    wish = ready.wish
    probe, rows = probe_of(ready, backend, chat)
    run = run_probe(probe, backend, out)
    knowledge: dict[str, Knowledge] = {k.fact.id: k for k in read_knowledge(run.path).knowledge}
    known = [knowledge[row.fact.id] for row in rows if row.fact and row.reason is None]
    composition = Composition(
        backend.model,
        form_of(rows),
        sum(learns(row) and row.reason is not Reason.SILENT for row in rows),
        len(known),
        {str(category): share for category, share in expected_shares(known).items()},
        ready.conversational,
        training,
    )
    notes = [note for source in ready.sources for note in source.notes]
    return Report(
        ready.sources,
        rows,
        knowledge,
        findings(rows, knowledge, wish.held_out),
        predict(composition, studies),
        dict(backend.model),
        {
            **wish.protocol.as_dict(),
            "estimator": probe.method,
            "matching": str(wish.matching),
            "chat_template": chat.template is not None,
            "seed": wish.seed,
            "limit": wish.limit,
            "relation_column": wish.relation_column or None,
            "held_out_facts": len(wish.held_out),
        },
        base_directory(ready.sources[0].path),
        notes,
    )


def base_directory(path: Path) -> Path:
    """What paths are shown from: the repository that the dataset and the working directory are in, or the latter."""
    here = Path.cwd().resolve()
    for directory in (here, *here.parents):
        if (directory / ".git").exists() and path.resolve().is_relative_to(directory):
            return directory
    return here


def _fits(backend: Backend, answer: str, room: int) -> bool:
    """Whether the tokenizer can write an answer in so many tokens."""
    tokenizer = getattr(backend.lm, "tokenizer", None)
    if tokenizer is None:
        return True
    return 0 < len(tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) <= room
