"""Runs for the reports' tests, written by the real writers over a made-up model, so that formats cannot drift."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from slick.backend import Request
from slick.dynamics import DYNAMICS, Measurement
from slick.facts import Fact, commonest_answers
from slick.knowledge import Category
from slick.knowledge_file import read_knowledge
from slick.matching import Matching
from slick.probe import Probe, run_probe
from slick.prompts import DEFAULT_FORM, Chat
from slick.sampled import Sampled
from slick.score import Score, run_score
from slick.training import TRAINING

Answers = Callable[[Fact], str]


@dataclass
class FakeBackend:
    """Answers with a function of the prompt; bears what `run_score` and `run_probe` read of a backend."""

    answer: Callable[[str, Mapping[str, Any]], str]
    model: dict[str, Any]
    independent_samples: bool = False

    def generate(self, requests: Sequence[Request]) -> list[str]:
        return [self.answer(prompt, kwargs) for prompt, kwargs in requests]

    def sample(self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int) -> list[list[str]]:
        return [[self.answer(prompt, kwargs) for _ in range(n)] for prompt in prompts]

    def provenance(self) -> dict[str, Any]:
        return {"name": "fake", "args": {}, "batch_size": 8}


def right(fact: Fact) -> str:
    return fact.answers[0]


def wrong(fact: Fact) -> str:
    return f"not {fact.answers[0]}"


def model(name: str) -> dict[str, Any]:
    """A fingerprint; models of different names have different weights."""
    digest = random.Random(name).randbytes(32).hex()
    return {"name": name, "weights": digest, "adapter": None, "tokenizer": "7" * 64, "chat_template": None}


def training(arm: str, seed: int, **others: Any) -> dict[str, Any]:
    """What a tuning run records of itself (`slick_sft.train`)."""
    return {
        "arm": arm,
        "seed": seed,
        "arm_key": f"key of {arm}",
        "method": "full",
        "rows_trained": 512,
        "steps": 150,
        "epochs": 10.0,
        "learning_rate": 1e-4,
        "batch_size": 32,
        **others,
    }


def measurements(epochs: int, faster: float = 1.0) -> list[Measurement]:
    """Known rows are fitted first, Unknown ones late, and dev is forgotten; one measurement an epoch."""
    found = []
    for epoch in range(epochs + 1):
        train = {
            Category.HIGHLY_KNOWN: (min(60, round(30 + 10 * faster * epoch)), 60),
            Category.WEAKLY_KNOWN: (min(40, round(10 * faster * epoch)), 40),
            Category.UNKNOWN: (min(100, round(8 * faster * epoch)), 100),
        }
        dev = {category: (max(0, 48 - 12 * place - epoch), 50) for place, category in enumerate(Category)}
        found.append(Measurement(16 * epoch, float(epoch), {"train": train, "dev": dev}, 0.5))
    return found


@dataclass
class Lab:
    """A directory of runs over one list of facts."""

    root: Path
    facts: Sequence[Fact] = ()
    categories: Mapping[str, Category] = field(default_factory=dict)

    # Test modules cannot import from here, so they reach these through the fixture.
    model = staticmethod(model)
    training = staticmethod(training)
    measurements = staticmethod(measurements)

    def wrong_on(self, *places: int, by: str = "") -> Answers:
        """Right answers but for the facts at these places; `by` is the wrong answer."""
        missed = {self.facts[place].id for place in places}
        return lambda fact: (by or wrong(fact)) if fact.id in missed else right(fact)

    def arm(self, arm: str, seed: int, answer: Answers = right, **settings: Any) -> Path:
        """A score of a model tuned as `arm` with `seed`, in `root/arm-seed`."""
        made = {**training(arm, seed), **settings.pop("training", {})}
        return self.score(f"{arm}-{seed}", answer, training=made, **settings)

    def tuned(
        self, arm: str, seed: int, measured: Sequence[Measurement], /, *, kept: str = "model", **others: Any
    ) -> dict[str, Any]:
        """What `slick tune` leaves in `root/tuned/arm-seed`; returns settings for `arm` to score its model `kept`."""
        place = self.root / "tuned" / f"{arm}-{seed}"
        (place / kept).mkdir(parents=True)
        early = {"epoch": measured[1].epoch, "step": measured[1].step}
        made = {**training(arm, seed), "dynamics": {"measurements": len(measured)}, "early_stop": early, **others}
        (place / TRAINING).write_text(json.dumps(made), encoding="utf-8")
        lines = [json.dumps(m.as_dict()) + "\n" for m in measured]
        (place / DYNAMICS).write_text("".join(lines), encoding="utf-8")
        return {"training": made, "model": {**model(f"{arm}-{seed}"), "name": str(place / kept)}}

    def score(self, name: str, answer: Answers = right, **settings: Any) -> Path:
        """A score run in `root/name`. settings: fields of `Score`, and `model`, a fingerprint."""
        fingerprint = settings.pop("model", model(name))
        facts = settings.pop("facts", self.facts)
        score = Score(
            **{
                "facts": facts,
                "categories": self.categories,
                "priors": commonest_answers(facts),
                "form": DEFAULT_FORM,
                "matching": Matching.STRICT,
                "chat": Chat(),
                **settings,
            }
        )
        by_question = {fact.question: fact for fact in facts}

        def answered(prompt: str, _: Mapping[str, Any]) -> str:
            found = next(fact for question, fact in by_question.items() if question in prompt)
            return answer(found)

        return stamp(run_score(score, FakeBackend(answered, fingerprint), self.root / name).path)

    def probe(self, name: str = "probe", *, of: str = "base", skill: Mapping[str, float], **settings: Any) -> Path:
        """A probe run. skill: fact id → chance that an answer is right."""
        by_question = {fact.question: fact for fact in self.facts}
        # One stream a fact: the order in which facts are asked is the probe's own affair.
        streams = {fact.id: random.Random(f"{name}/{fact.id}") for fact in self.facts}

        def answered(prompt: str, _: Mapping[str, Any]) -> str:
            fact = by_question[prompt.rpartition("Q: ")[2].removesuffix("\nA:")]
            return right(fact) if streams[fact.id].random() < skill[fact.id] else wrong(fact)

        pools = {
            relation: [Fact.create(f"dev {relation} {i}?", [f"d{i}"], relation=relation) for i in range(80)]
            for relation in {fact.relation for fact in self.facts}
        }
        estimator = settings.pop("estimator", Sampled(n_samples=2))
        probe = Probe(self.facts, pools, commonest_answers(self.facts), estimator, source="made up", **settings)
        return stamp(run_probe(probe, FakeBackend(answered, model(of)), self.root / name).path)


def stamp(path: Path) -> Path:
    """Takes the time and the library versions out of a run, so that its report is the same on every machine."""
    for file in path.glob("results_*.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        document["date"] = "2025-01-02T03:04:05"
        document["slick"]["versions"] = {"slick": "0.1.0", "lm_eval": "0.4.13"}
        file.write_text(json.dumps(document), encoding="utf-8")
    return path


def make_facts(n: int, relations: Sequence[str] = ("P17", "P19", "P36", "P50")) -> list[Fact]:
    """n facts; each two in a row are about one subject, and a third of a relation's share their answer."""
    return [
        Fact.create(
            f"Question {i} of {relations[i // 2 % len(relations)]}?",
            [f"A{i if i % 3 else 0}"],
            relation=relations[i // 2 % len(relations)],
            subject=f"S{i // 2}",
            split="test",
        )
        for i in range(n)
    ]


def by_chance(seed: str, chances: Mapping[str, float], abstain: float = 0.0) -> Answers:
    """Answers that are right by fact id with the given chance; some of the wrong ones abstain."""

    def answer(fact: Fact) -> str:
        rng = random.Random(f"{seed}/{fact.id}")
        if rng.random() < chances[fact.id]:
            return right(fact)
        return "I don't know" if rng.random() < abstain else wrong(fact)

    return answer


@dataclass(frozen=True)
class Study:
    """A whole made-up study. arms: the score runs of known (3 seeds), half (1 seed) and unknown (3 seeds)."""

    lab: Lab
    base: Path
    known: tuple[Path, ...]
    half: Path
    unknown: tuple[Path, ...]
    probe: Path

    @property
    def runs(self) -> list[Path]:
        return [self.base, *self.known, self.half, *self.unknown]


def make_study(root: Path, n: int) -> Study:
    """A study over n facts: tuning on Unknown rows costs Known facts, tuning on Known rows does not."""
    facts = make_facts(n)
    rng = random.Random(n)
    skill = {fact.id: rng.choice([1.0, 0.97, 0.5, 0.03, 0.0]) for fact in facts}
    lab = Lab(root, facts)
    probe = lab.probe(skill=skill)
    lab.categories = {k.fact.id: k.category for k in read_knowledge(probe).knowledge}
    chances = {id: 0.05 + 0.85 * s for id, s in skill.items()}
    harmed = {id: 0.03 + 0.5 * s for id, s in skill.items()}
    halved = {id: 0.04 + 0.6 * s for id, s in skill.items()}

    def arm(name: str, chance: Mapping[str, float], share: float, seed: int) -> Path:
        made: dict[str, Any] = {"recipe": {"name": name, "unknown": share}, "data": {"digest": "d" * 64}}
        # One of the arms was measured while it was trained.
        settings = lab.tuned(name, seed, measurements(4), **made) if name == "half" else {"training": made}
        return lab.arm(name, seed, by_chance(f"{name}-{seed}", chance, 0.1), **settings)

    return Study(
        lab,
        lab.score("base", by_chance("base", chances, 0.05)),
        tuple(arm("known", chances, 0.0, seed) for seed in range(3)),
        arm("half", halved, 0.5, 0),
        tuple(arm("unknown", harmed, 1.0, seed) for seed in range(3)),
        probe,
    )


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, make_facts(40))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study"), 240)


@pytest.fixture
def small_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study small enough to read, with relative paths, so that its report is the same on every machine."""
    monkeypatch.chdir(tmp_path)
    return make_study(Path("runs"), 24)


@pytest.fixture
def hostile(tmp_path: Path) -> list[Path]:
    """Before and two arms, every text of which was written to do harm."""
    facts = [
        Fact.create(f"{text} who?", [text, "fine"], relation=RELATIONS[i % 3], subject=text)
        for i, text in enumerate(HOSTILE)
    ]
    lab = Lab(tmp_path / "a <b> 'c' `d` \u202e", facts, {fact.id: Category.MAYBE_KNOWN for fact in facts})
    label = "<script>alert(1)</script>\"'|`"
    measured = [replace(m, sets={**m.sets, "<script>alert(3)</script>|`x`": m.sets["dev"]}) for m in measurements(3)]
    return [
        lab.score("base", lambda fact: right(fact) if len(fact.answers[0]) % 2 else wrong(fact)),
        lab.arm(
            label.replace("/", "\\"), 0, wrong, training={"arm": label}, model=model("<img src=x onerror=alert(2)>")
        ),
        lab.arm("right", 0, right, **lab.tuned("right", 0, measured, arm="a\x00\ud800\u202eb" + "y" * 100_000)),
    ]


@pytest.fixture
def hostile_texts() -> tuple[str, ...]:
    return HOSTILE


RELATIONS = ("<b>relation</b>", "P17|x", "\u202erel")
HOSTILE = (
    "<script>alert('x')</script>",
    "</style></title><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "[link](javascript:alert(1)) ![image](http://example.org/x.png)",
    "a | b || c",
    "`code` ``more`` *bold* _it_ ~~gone~~ # head",
    "http://example.org www.example.org mail@example.org @everyone #1 :smile: $x$",
    "first\\",
    "&lt;b&gt; &amp; &#60;",
    "right\u202eto\u2066left\u200f",
    "nul\x00bell\x07escape\x1b[31m",
    "lone\ud800surrogate\udfff",
    "<!-- comment -->]]>",
    "x" * 100_000,
    "tab\tand\u2028separator",
)
