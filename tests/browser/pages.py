"""The pages that the browser opens, made from runs of a made-up model by the tools' own writers."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from slick.facts import Fact
from slick.knowledge import Category
from slick_reports.history import build_history
from slick_reports.history_output import write_history
from slick_reports.ledger import Entry, Ledger, Result
from slick_reports.report import build_report, write_report

from .watched import SENTINEL

if TYPE_CHECKING:
    from slick_sft.study_report.blocks import StudyReport

TESTS = Path(__file__).resolve().parents[1]

_RUN = f"window.{SENTINEL}=1"
# Texts that set the sentinel, or ask for something, wherever they are taken for more than text.
HOSTILE = (
    f"<script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    f"</style></title></main><img src=x onerror={_RUN}>",
    f"\"'><svg onload={_RUN}>",
    f"<iframe srcdoc='<script>parent.{SENTINEL}=1</script>'></iframe>",
    f"<details open ontoggle={_RUN}>",
    f"<a href='javascript:{_RUN}'>here</a>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<base href=http://127.0.0.1:9/><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<style>*{background:url(http://127.0.0.1:9/x.png)}</style>",
    "<!-- comment --><!--",
    f"${{{_RUN}}} {{{{ 7 * 7 }}}}",
    "&lt;b&gt; &amp; &#60;",
    "right\u202eto\u2066left\u200f",
    "nul\x00bell\x07escape\x1b[31m",
    "lone\ud800surrogate\udfff",
    "tab\tand\u2028separator",
    "x" * 100_000,
)


@dataclass(frozen=True, slots=True)
class Made:
    """A page on disk and the JSON that was written beside it."""

    path: Path
    document: Any

    @classmethod
    def read(cls, path: Path) -> Made:
        return cls(path, json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class StudyMade(Made):
    """report: the numbers that the study's page was made of."""

    report: StudyReport


def neighbour(name: str) -> ModuleType:
    """A module of another folder of tests, where what makes runs and studies stands already."""
    called = f"browser_{name.replace('/', '_').removesuffix('.py')}"
    if called not in sys.modules:
        spec = importlib.util.spec_from_file_location(called, TESTS / name)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[called] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[called])
    return sys.modules[called]


def make_report(root: Path) -> Made:
    """Before and after: 240 facts, three arms, a control, both probes and a verdict."""
    study = neighbour("slick_reports/conftest.py").make_study(root / "runs", 240)
    skill = {fact.id: [1.0, 0.6, 0.02, 0.0][i % 4] for i, fact in enumerate(study.lab.facts)}
    after = study.lab.probe("after-half", of="half-0", skill=skill)
    report = build_report(study.runs, knowledge=study.probe, after=[after], margin=0.02)
    return Made.read(write_report(report, root / "report.html")[0])


def make_hostile(root: Path) -> Made:
    """Before and two arms, every text of which was written to do harm: paths, labels, model names, facts, answers."""
    makers = neighbour("slick_reports/conftest.py")
    facts = [
        Fact.create(f"{text} who?", [text, "fine"], relation=HOSTILE[i % 5][:80], subject=text)
        for i, text in enumerate(HOSTILE)
    ]
    lab = makers.Lab(root / f"'\"<img src=x onerror={_RUN}>", facts, {fact.id: Category.MAYBE_KNOWN for fact in facts})
    label = HOSTILE[0].replace("/", "\\")
    before = lab.score("base", model=makers.model(HOSTILE[3]))
    odd = lab.wrong_on(*range(0, len(facts), 2), by=HOSTILE[2])
    arms = [
        lab.arm("first", 0, odd, training={"arm": label}, model=makers.model(HOSTILE[1])),
        lab.arm("second", 0, makers.wrong, training={"arm": "a\x00\ud800\u202eb" + "y" * 100_000}),
    ]
    report = build_report([before, *arms], title=HOSTILE[2])
    return Made.read(write_report(report, root / "hostile.html")[0])


def make_history(root: Path, texts: tuple[str, ...] = ("plain",)) -> Made:
    """Four versions of 120 facts, the last two of them worse, and a probe of the first."""
    facts = [
        Fact.create(
            f"{texts[i % len(texts)]} {i}?",
            [f"A{i}", texts[i % len(texts)]],
            relation=f"{texts[i % 3 % len(texts)][:80]} {i % 3}",
            subject=f"S{i}",
        )
        for i in range(120)
    ]
    with Ledger(root / "ledger.sqlite") as ledger:
        for version, wrong in enumerate((5, 9, 60, 58)):
            results = [
                Result(
                    fact,
                    int(i >= wrong or i % 11 == version),
                    i % 4,
                    answer=texts[0],
                    prior=-1 if version == 3 else i % 2,
                )
                for i, fact in enumerate(facts)
            ]
            record = {"model": {"name": texts[0]}, "seed": None, "settings": {"form": texts[-1]}, "source": texts[0]}
            at = f"2025-01-0{version + 1}T00:00:00"
            ledger.add([Entry(f"v{version} {texts[0]}", at, "score", "score-1", record, results)])
        probe = [Result(fact, 3, i % 4, 0.5 if i % 4 == 3 else float("nan")) for i, fact in enumerate(facts)]
        ledger.add([Entry(f"v0 {texts[0]}", "2025-01-01T00:00:00", "probe", "probe-1", {}, probe)])
        history = build_history(ledger, command="slick history show")
    return Made.read(write_history(history, root / "history.html")[0])


def make_study(root: Path) -> StudyMade:
    """A study with everything that its report can show."""
    from slick_sft.study_report.report import build, write

    path = neighbour("slick_sft/study_report/conftest.py").make_study(root / "study")
    report = build(path)
    page = Made.read(write(path, report)[0])
    return StudyMade(page.path, page.document, report)
