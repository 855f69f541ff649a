"""`--batch-size auto`: how many rows of a selection fit into memory, found once and then recorded.

Batches decide near-ties between logits, so a run must go on with the size that it began with: what free memory
says is asked only where a run begins. The size is a power of two with room to spare, so that small differences
of free memory give the same one.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import InputError, RunError
from slick.facts import Fact, by_relation

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.probe import Probe
    from slick.processes import Processes
    from slick.score import Score

AUTO = "auto"
# The sizes that are tried go this far: on a GPU, whose trial's half is taken, and on a CPU, which gains nothing more.
_MOST_TRIED = 1024
_MOST_ON_CPU = 256
# Of a relation, so many of the longest questions (in characters) are looked at in tokens.
_LONGEST = 4
# Where a system does not say how much memory it has.
_MODEST = 4 * 2**30


def read_size(text: str) -> int | None:
    """The number that `--batch-size` gives; None for auto. InputError for anything else."""
    if text == AUTO:
        return None
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 1:
        raise InputError(f"--batch-size {text}: expected at least 1, or {AUTO}")
    return size


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest rows that a selection may ask for.

    prompts: some, the longest among them. answers: whose places are computed along with the prompt (of the exact
    estimator). room: tokens that are written behind a prompt, or may be.
    """

    prompts: Sequence[str]
    answers: Sequence[str]
    room: int
    exact: bool = False


def longest_of_probe(probe: Probe) -> Longest:
    """Of each relation, the prompts of its longest questions under all its sets."""
    from slick.sampled import probe_prompts

    sets = probe.exemplar_sets()
    prompts: list[str] = []
    answers: list[str] = []
    for relation, facts in by_relation(probe.facts).items():
        for fact in longest_questions(facts):
            prompts += [prompt for kind in sets[relation] for prompt in probe_prompts(fact, kind, probe.chat)]
        # The first of the accepted answers is computed along.
        answers += nlargest(_LONGEST, (fact.answers[0] for fact in facts), key=len)
    return Longest(prompts, answers, probe.estimator.max_gen_toks, probe.exact)


def longest_of_score(score: Score) -> Longest:
    """The prompts of the longest questions."""
    from slick.prompts import form_prompt

    prompts = [form_prompt(score.form, fact.question, score.chat) for fact in longest_questions(score.facts)]
    return Longest(prompts, (), score.max_gen_toks)


def longest_questions(facts: Iterable[Fact]) -> list[Fact]:
    """The few facts whose questions have the most characters."""
    return nlargest(_LONGEST, facts, key=lambda fact: len(fact.question))


def search(fits: Callable[[int], bool], most: int) -> int:
    """Half of the largest power of two up to `most` that fits, as do all smaller ones; 1 where no more than 1 does.

    Sizes are tried from 1 on, doubling. Raises RunError when not even one row fits.
    """
    good, rows = 0, 1
    while rows <= most and fits(rows):
        good, rows = rows, 2 * rows
    if not good:
        raise RunError("--batch-size auto: not even one row fits into memory; use a smaller model or a larger device")
    return max(1, good // 2)


def attempted(trial: Callable[[int], None], clean: Callable[[], None]) -> Callable[[int], bool]:
    """Whether `trial` runs with so many rows without running out of memory; any other error is passed on.

    clean: gives back what a trial held, whether it failed or not.
    """
    from slick.backend import out_of_memory

    def fits(rows: int) -> bool:
        try:
            trial(rows)
        except Exception as error:
            if not out_of_memory(error):
                raise
            fitted = False
        else:
            fitted = True
        # Outside the except block, whose error holds the frames, and they the tensors.
        clean()
        return fitted

    return fits


def agreed(processes: Processes, recorded: Callable[[], int | None], find: Callable[[], int]) -> int:
    """One size for all processes: what is recorded already, as the first one sees it, else the least that any finds."""
    meeting = processes.meet()
    if processes.first:
        meeting.tell("recorded", str(recorded() or ""))
    if told := meeting.hear("recorded"):
        return int(told)
    meeting.tell(f"rows {processes.rank}", str(find()))
    return min(int(meeting.hear(f"rows {rank}")) for rank in range(processes.size))


def settled(backend: Backend, out: Path, longest: Callable[[], Longest], processes: Processes) -> Backend:
    """`backend` with the size that the run in `out` records; where none has begun there, with the size that fits."""
    from slick.run_writer import recorded_batch_size

    def find() -> int:
        return fitting(backend.lm, longest(), processes.size)

    return backend.resized(agreed(processes, lambda: recorded_batch_size(out, backend.model), find))


def fitting(lm: Any, longest: Longest, sharing: int = 1) -> int:
    """So many rows fit: tried on a GPU, reckoned on a CPU, whose memory `sharing` processes share."""
    prompts = lm.encode(longest.prompts, longest.room)
    row = max(prompts, key=len)
    answer = 0
    if longest.exact:
        ids = lm.tokenizer([f" {answer}" for answer in longest.answers], add_special_tokens=False)["input_ids"]
        answer = min(max(map(len, ids)), longest.room - 1)
        row = row + (row[-1],) * answer
    if lm.device.type == "cpu":
        cost = row_cost(lm.model, width=len(row), slots=len(row) + longest.room, keep=answer + 1)
        return reckoned(available_memory() // sharing, cost.bytes)
    return search(attempted(_trial(lm, row, answer + 1, longest.room), _clean), _MOST_TRIED)


def _trial(lm: Any, row: Sequence[int], keep: int, room: int) -> Callable[[int], None]:
    """Computes equal rows as a run does at its worst: nothing shared, and every row copied to be gone on with."""

    def trial(rows: int) -> None:
        import torch

        asked = [tuple(row)] * rows
        if not lm.shared.serves(len(row) + room):
            lm.shared.whole(asked, keep)
            return
        logits, running = lm.shared.start(asked, [0] * rows, keep, more=room)
        copies = torch.arange(rows, device=logits.device)
        lm.shared.step(running.select(copies, running.filled + room), logits[:, -1].argmax(-1))

    return trial


def _clean() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class RowCost:
    """Bytes that one row of a batch needs: keys and values, what a layer computes at a time, and logits."""

    cache: int
    layer: int
    logits: int

    @property
    def bytes(self) -> int:
        """At the worst moment: the cache stands twice while rows are copied, or two batches follow each other."""
        return 2 * self.cache + self.layer + self.logits


def row_cost(model: Any, *, width: int, slots: int, keep: int) -> RowCost:
    """By the model's sizes. width: tokens computed at once; slots: tokens attended to; keep: places with logits."""
    config = model.config.get_text_config()
    size = model.dtype.itemsize
    hidden = _number(config, "hidden_size") or 1
    inner = _number(config, "intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    experts = _number(config, "moe_intermediate_size") * _number(config, "num_experts_per_tok")
    heads = _number(config, "num_attention_heads")
    kept_heads = _number(config, "num_key_value_heads") or heads
    head = _number(config, "head_dim") or (hidden // heads if heads else 0)
    cache = 2 * _number(config, "num_hidden_layers") * kept_heads * head * slots * size
    # The states around a layer, its normed input, queries, keys, values and output; the gate, its sibling, product.
    layer = width * (8 * hidden + 3 * max(inner, experts)) * size
    # The mask, as booleans and as what is added; without a fused kernel the scores of all heads too.
    eager = getattr(config, "_attn_implementation", None) == "eager"
    layer += width * slots * ((1 + size) + (2 * heads * size if eager else 0))
    # As the model gives them, as float32, and those that are looked at.
    logits = keep * (_number(config, "vocab_size") or 1) * (size + 8)
    return RowCost(cache, layer, logits)


def _number(config: Any, *names: str) -> int:
    """The first of these sizes that a model's configuration has; 0 for none. A size a layer gives its largest."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, (list, tuple)):
            value = max((v for v in value if isinstance(v, int)), default=None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def reckoned(available: int, row: int, most: int = _MOST_ON_CPU) -> int:
    """The largest power of two up to `most` whose rows of so many bytes take half of what is available; at least 1."""
    rows = most
    while rows > 1 and 2 * rows * row > available:
        rows //= 2
    return rows


def available_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that can be had without swapping, within the limits of the control group.

    Where the system does not say it, half of all memory.
    """
    found = _free(proc / "meminfo")
    return min([found, *_group_room(proc / "self" / "cgroup", groups)])


def _free(meminfo: Path) -> int:
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return _MODEST


def _group_room(cgroup: Path, groups: Path) -> list[int]:
    """What each limit above this process leaves; nothing where there is none, or it cannot be read (version 2)."""
    try:
        lines = cgroup.read_text().splitlines()
    except OSError:
        return []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None:
        return []
    found = []
    inner = groups / path
    for directory in (inner, *inner.parents[: len(Path(path).parts)]):
        try:
            limit = (directory / "memory.max").read_text().strip()
            used = int((directory / "memory.current").read_text())
            stat = (directory / "memory.stat").read_text().splitlines()
            # Files that are held in memory only because it is free.
            idle = next((int(line.split()[1]) for line in stat if line.startswith("inactive_file ")), 0)
            if limit != "max":
                found.append(max(0, int(limit) - used + idle))
        except (OSError, ValueError, IndexError):
            continue
    return found
