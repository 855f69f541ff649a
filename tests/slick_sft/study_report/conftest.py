"""Studies for the report's tests: made up, but written by the real writers, so that formats cannot drift."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slick.backend import Request
from slick.dynamics import DYNAMICS, TRAIN, Measurement
from slick.facts import Fact, commonest_answers, facts_digest
from slick.files import read_json, write_json
from slick.knowledge import CATEGORIES, Category, Knowledge
from slick.knowledge_file import KNOWLEDGE, write_knowledge
from slick.matching import Matching
from slick.prompts import DEFAULT_FORM, Chat
from slick.score import Score, run_score
from slick.training import TRAINING
from slick_sft.dynamics import append_dynamics
from slick_sft.formats import write_mix
from slick_sft.recipe import ZERO_WEIGHT
from slick_sft.recipes import MixRow, mix
from slick_sft.study.grid import parse_grid
from slick_sft.study.jobs import PROBE, PTRUE, SETS, TUNED, Arm, Setup, arms_of, jobs_of, score_names
from slick_sft.study.ptrue import write_ptrue
from slick_sft.study.state import State

WHOLE = """
variants: [known-only, unknown-50, unknown-75, unknown-100, unknown-50-without-unknown, unknown-50-zero-weight,
           only-HighlyKnown, only-MaybeKnown, only-WeaklyKnown, only-Unknown, natural, unknown-50-idk]
training: {epochs: 4, batch_size: 8, learning_rate: 1.0e-4}
versions:
  lora: {method: lora, variants: [known-only, unknown-50]}
"""
SMALL = "variants: [known-only, unknown-100]\ntraining: {epochs: 2, batch_size: 8}\n"
# Right greedy answers of ten, and sampled ones of 16, by category.
_COUNTS = {
    Category.HIGHLY_KNOWN: (10, 0),
    Category.MAYBE_KNOWN: (5, 0),
    Category.WEAKLY_KNOWN: (0, 4),
    Category.UNKNOWN: (0, 0),
}
# The base model's chance of a right answer, and what fitting all Unknown rows costs of it.
_SKILL = {
    Category.HIGHLY_KNOWN: (0.95, 0.45),
    Category.MAYBE_KNOWN: (0.6, 0.35),
    Category.WEAKLY_KNOWN: (0.15, 0.05),
    Category.UNKNOWN: (0.02, 0.0),
}
MODEL = {"name": "made up", "weights": "a" * 64, "adapter": None, "tokenizer": "7" * 64, "chat_template": None}


@dataclass
class Answering:
    """Bears what `run_score` reads of a backend."""

    answer: Callable[[str], str]
    model: Mapping[str, Any]

    def generate(self, requests: Sequence[Request]) -> list[str]:
        return [self.answer(prompt) for prompt, _ in requests]

    def provenance(self) -> dict[str, Any]:
        return {"name": "fake", "args": {}, "batch_size": 8}


class Asked:
    """An lm-eval model that finds " (A)" the likelier, the better it knows the fact."""

    def __init__(self, chances: Mapping[str, float]) -> None:
        self.chances = chances

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        found = []
        for request in requests:
            prompt, answer = request.args
            chance = next(p for question, p in self.chances.items() if question in prompt)
            found.append((math.log(chance if "(A)" in answer else 1 - chance), False))
        return found


def make_facts(split: str, n: int, relations: Sequence[str]) -> list[tuple[Fact, Category]]:
    """Each two in a row are about one subject; categories take turns."""
    return [
        (
            Fact.create(
                f"{split} question {i} of {relations[i // 4 % len(relations)]}?",
                [f"A{i if i % 3 else 0}"],
                relation=relations[i // 4 % len(relations)],
                subject=f"{split} S{i // 2}",
                split=split,
            ),
            CATEGORIES[i % 4],
        )
        for i in range(n)
    ]


def known(fact: Fact, category: Category) -> Knowledge:
    greedy, sampled = _COUNTS[category]
    # Scored facts are asked under fresh sets as well, and a fifth of the best known are then once wrong.
    fresh = 5 if fact.split in ("test", "ood") else 0
    lost = category is Category.HIGHLY_KNOWN and int(fact.id[:4], 16) % 5 == 0
    return Knowledge(fact, greedy, 10, sampled, 0 if greedy else 16, fresh * greedy // 10 - (fresh > 0 and lost), fresh)


def make_study(
    out: Path,
    grid: str = WHOLE,
    *,
    seeds: int = 2,
    n: int = 240,
    harm: float = 1.0,
    base_wins: bool = False,
    facts: str = "made up",
    relations: Sequence[str] = ("P17", "P19"),
) -> Path:
    """A finished study. harm: how much of the damage is done; below 0, tuning on Unknown rows helps."""
    parsed = parse_grid(grid, "grid")
    split_facts = {
        "train": make_facts("train", 160, relations),
        "dev": make_facts("dev", 40, relations),
        "test": make_facts("test", n, relations),
        "ood": make_facts("ood", 80, ["P50"]),
    }
    setup = Setup(
        model="made-up",
        facts=facts,
        grid=parsed,
        seeds=seeds,
        out=out,
        base=MODEL,
        splits={split: facts_digest([f for f, _ in of]) for split, of in split_facts.items()},
        counts={split: len(of) for split, of in split_facts.items()},
    )
    state = State.read(out)
    state.begin(setup, jobs_of(setup), 1)
    knowledge = {split: [known(f, c) for f, c in of] for split, of in split_facts.items()}
    for split, of in knowledge.items():
        (out / PROBE / split).mkdir(parents=True)
        write_knowledge(out / PROBE / split / KNOWLEDGE, of, {"model": MODEL})
    scored = {split: split_facts[split] for split in ("test", "ood")}
    _score(setup, "base", scored, 0.0, "base")
    for arm in arms_of(setup):
        recipe = parsed.recipes[arm.variant.recipe]
        rows = mix(knowledge["train"], recipe, arm.seed)
        if not (out / SETS / arm.mixed).exists():
            write_mix(out / SETS / arm.mixed, rows, recipe, arm.seed, form=DEFAULT_FORM, provenance={"model": MODEL})
        _tune(setup, arm, rows, harm, base_wins)
        for stage, epoch in (("early_stop", 1), ("convergence", 4)):
            fitted = _fitted(setup, arm, rows, epoch)[Category.UNKNOWN]
            if not (stage == "early_stop" and base_wins):
                _score(setup, f"{arm.name}-{stage}", scored, harm * fitted, arm.name, idk=bool(recipe.idk))
    chances = {f.question: 0.05 + 0.8 * _SKILL[c][0] * (i % 5) / 5 for i, (f, c) in enumerate(split_facts["test"])}
    if parsed.ptrue:
        write_ptrue(out / PTRUE, [f for f, _ in split_facts["test"]], Asked(chances), {})
    state.finish(setup)
    document = read_json(out / "study.json")
    document["versions"] = {"slick": "0.1.0"}
    write_json(out / "study.json", document)
    return out


def _fitted(setup: Setup, arm: Arm, rows: Sequence[MixRow], epoch: float) -> dict[Category, float]:
    """Of |D|, the share of rows fitted by category: Known ones at once, Unknown ones slowly, if they weigh anything."""
    size = 0.5 if arm.variant.version else 1.0
    weightless = setup.grid.recipes[arm.variant.recipe].weights == ZERO_WEIGHT
    found = {}
    for category in CATEGORIES:
        speed = size * (0.25 if category is Category.UNKNOWN else 1.2)
        if weightless and category is Category.UNKNOWN:
            speed = 0.0
        share = sum(row.knowledge.category is category for row in rows) / len(rows)
        found[category] = share * (1 - math.exp(-speed * epoch))
    return found


def _tune(setup: Setup, arm: Arm, rows: Sequence[MixRow], harm: float, base_wins: bool) -> None:
    place = setup.out / TUNED / arm.name
    place.mkdir(parents=True)
    rng = random.Random(arm.name)
    counts = {c: sum(row.knowledge.category is c for row in rows) for c in CATEGORIES}
    for epoch in range(5):
        fitted = _fitted(setup, arm, rows, epoch)
        train = {c: (round(fitted[c] * len(rows)), n) for c, n in counts.items() if n}
        lost = harm * fitted[Category.UNKNOWN]
        luck = rng.uniform(-0.02, 0.02)
        sets = {TRAIN: train}
        for split, n in (("dev", 40), ("test", setup.counts["test"]), ("ood", 80)):
            sets[split] = {
                c: (round(min(1.0, skill - cost * lost + luck * skill) * (n // 4)), n // 4)
                for c, (skill, cost) in _SKILL.items()
            }
        append_dynamics(place / DYNAMICS, Measurement(epoch * 5, float(epoch), sets, seconds=0.5))
    stopped = 0 if base_wins else 1
    record = {"steps": 20, "early_stop": {"epoch": float(stopped), "step": stopped * 5, "dev_accuracy": 0.5}}
    write_json(place / TRAINING, record)


def _score(
    setup: Setup,
    name: str,
    splits: Mapping[str, Sequence[tuple[Fact, Category]]],
    lost: float,
    seed: str,
    *,
    idk: bool = False,
) -> None:
    """What is lost: the share of Unknown rows among those fitted, times the harm."""
    for place, of in zip(score_names(setup, name), splits.values(), strict=True):
        by_question = {fact.question: (fact, category) for fact, category in of}

        def answer(prompt: str, known: Mapping[str, tuple[Fact, Category]] = by_question) -> str:
            fact, category = next(pair for question, pair in known.items() if question in prompt)
            skill, cost = _SKILL[category]
            # Answers of all models go together, fact by fact, but for a little luck of each.
            rank = random.Random(fact.id).random() * 0.9 + random.Random(f"{seed}/{fact.id}").random() * 0.1
            if rank < skill - cost * lost:
                return fact.answers[0]
            return "I don't know" if idk and rank > 0.7 else f"not {fact.answers[0]}"

        facts = [fact for fact, _ in of]
        score = Score(
            facts=facts,
            categories={fact.id: category for fact, category in of},
            priors=commonest_answers(facts),
            form=DEFAULT_FORM,
            matching=Matching.STRICT,
            chat=Chat(),
            knowledge_model=MODEL,
        )
        run_score(score, Answering(answer, {**MODEL, "name": name}), setup.out / place)  # type: ignore[arg-type]


Maker = Callable[..., Path]


@pytest.fixture(scope="session")
def made() -> Maker:
    """Makes a study in a directory."""
    return make_study


@pytest.fixture(scope="session")
def grids() -> Mapping[str, str]:
    return {"whole": WHOLE, "small": SMALL}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with everything that a report can show."""
    return make_study(tmp_path_factory.mktemp("whole") / "study")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two variants and one seed."""
    return make_study(tmp_path_factory.mktemp("small") / "study", SMALL + "ptrue: false\n", seeds=1, n=80)
