"""slick_sft.study_report.why: reasons for a b_kn that is not the paper's, each tested."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from slick.dynamics import DYNAMICS, TRAIN
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.regression import STEPS, Coefficient, LinearModel
from slick.statistics import Estimate, Interval
from slick_sft.dynamics import append_dynamics
from slick_sft.study_report import why
from slick_sft.study_report.data import Study
from slick_sft.study_report.report import build
from slick_sft.study_report.why import Standing

Maker = Callable[..., Path]
ASKED = 10_000


def redrawn(path: Path, *, start: float, known: float, unknown: float, steps: float) -> Study:
    """The study with accuracies of its measurements on a plane, but for a little luck of each variant."""
    study = Study(path)
    for variant in study.variants.values():
        luck = random.Random(variant.name).uniform(-0.004, 0.004)
        for arm in variant.arms:
            rows = study.rows(arm)
            measured = study.dynamics(arm)
            (arm.tuned / DYNAMICS).unlink()
            for m in measured:
                share = {
                    kind: (m.share(TRAIN, of) or 0.0) * sum(rows[c] for c in of) / sum(rows.values())
                    for kind, of in (("known", KNOWN), ("unknown", (Category.UNKNOWN,)))
                }
                made = start + luck + known * share["known"] + unknown * share["unknown"] + steps * m.step / 20
                counts = {c: (round(made * ASKED), ASKED) for c in CATEGORIES}
                append_dynamics(arm.tuned / DYNAMICS, replace(m, sets={**m.sets, "test": counts, "ood": counts}))
    return Study(path)


@pytest.fixture(scope="module")
def eroding(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which Known rows help, and every step costs more than they bring."""
    path = shutil.copytree(whole, tmp_path_factory.mktemp("eroding") / "study")
    return redrawn(path, start=0.7, known=0.2, unknown=-0.1, steps=-0.45)


def coefficient(low: float, high: float, value: float | None = None) -> Coefficient:
    middle = (low + high) / 2 if value is None else value
    return Coefficient("b_kn", middle, 0.01, 3.0, Interval(low, high), None, None)


def test_erosion_by_steps_is_found_as_the_reason(eroding: Study) -> None:
    """b_kn is below 0 in the plain fit and above it beside a term for steps; the sentence says which reason stands."""
    section = why.section(eroding)
    assert section is not None
    assert section.title == "Why b_kn is below 0"
    first = section.tables[0].rows[0]
    assert first[3].way == "fell"
    standing = section.data["standing"]["test"]
    assert standing["a term for the steps taken"] == "stands"
    assert standing["the epochs until 95 % of the Known rows are fitted"] == "does not stand"
    assert section.data["reason"].startswith("Stands: a term for the steps taken (all test facts: b_kn +")
    form = (
        "Stands as the reason why it is not above 0, and for no value below it: little is left to be gained by learning"
    )
    assert f" {form} the form (all test facts: few-shot less" in section.data["reason"]
    assert "; beside it, a term for the steps taken: b_kn +" in section.data["reason"]
    assert section.text[-1].startswith(section.data["reason"])
    fit = section.data["fits"]["test"]["a term for the steps taken"]
    assert [c["name"] for c in fit["coefficients"]] == ["b0", "b_kn", "b_unk", STEPS]
    assert [c["value"] for c in fit["coefficients"]] == pytest.approx([0.7, 0.2, -0.1, -0.45], abs=0.05)


@pytest.mark.parametrize(
    ("below", "start"),
    [(True, "By that rule no reason stands for its being below 0. Stands as the reason why"), (False, "Stands as the")],
)
def test_the_form_alone_is_no_reason_for_a_value_below_0(below: bool, start: str) -> None:
    """It says why nothing is gained, and not why something is lost."""
    reason = why.Reason("little is left to be gained by learning the form", "test", None, Standing.STANDS, "few-shot")
    assert why.sentence([reason], below=below).startswith(start)
    none = replace(reason, standing=Standing.OPEN)
    assert why.sentence([none], below=below).startswith("By that rule no reason stands. Cannot be told: little")


def test_a_further_version_is_asked_too(eroding: Study) -> None:
    """Of two variants it says why there are no numbers, and settles nothing."""
    section = why.section(eroding)
    assert section is not None
    (name,) = [name for name in section.data["standing"]["test"] if name.startswith("another training")]
    assert name == "another training: lora (method lora, learning rate 0.0001, epochs 4)"
    assert section.data["standing"]["test"][name] == "cannot be told"
    told = f"A{name[1:]} (all test facts, all facts of other relations): no numbers, since 2 variants, "
    assert any(text.startswith(told) for text in section.text)


def test_the_reports_findings_name_the_reason(eroding: Study) -> None:
    """Beside the claim that differs."""
    report = build(eroding.path)
    (told,) = [f for f in report.findings if f.startswith("Why b_kn is not the paper's: Stands: ")]
    assert "a term for the steps taken" in told


def test_nothing_is_asked_where_b_kn_is_above_0(whole: Path, tmp_path: Path) -> None:
    """Nor where nothing can be fitted."""
    path = shutil.copytree(whole, tmp_path / "study")
    study = redrawn(path, start=0.3, known=0.5, unknown=-0.2, steps=0.0)
    assert why.section(study) is None


def test_two_variants_ask_nothing(small: Path) -> None:
    """There is no b_kn whose sign could be asked about."""
    assert why.section(Study(small)) is None


@pytest.mark.parametrize(
    ("first", "here", "expected"),
    [
        (coefficient(-0.08, -0.01), coefficient(0.01, 0.09), Standing.STANDS),
        (coefficient(-0.08, -0.01), coefficient(-0.01, 0.09), Standing.PART),
        (coefficient(-0.08, -0.01), coefficient(-0.09, 0.09), Standing.OPEN),
        (coefficient(-0.08, -0.01), coefficient(-0.12, -0.02), Standing.NOT),
        (coefficient(-0.02, 0.01), coefficient(-0.001, 0.09), Standing.OPEN),
        (coefficient(-0.02, 0.01), coefficient(0.01, 0.09), Standing.STANDS),
        (coefficient(-0.08, -0.01), replace(coefficient(0.0, 0.1), interval=None), Standing.OPEN),
    ],
    ids=["above 0", "moved", "wider", "still below", "was open", "was open, now above", "undefined"],
)
def test_a_reason_stands_by_the_rule(first: Coefficient, here: Coefficient, expected: Standing) -> None:
    """By b_kn's interval in the reason's own fit; one that is merely wider settles nothing."""
    assert why.standing(first, LinearModel((here,), 0.9, 20, 5)) is expected


def test_no_fit_settles_nothing() -> None:
    """Where a reason's fit has no numbers."""
    assert why.standing(coefficient(-1, 0), LinearModel((), None, 8, 2, reason="too few")) is Standing.OPEN


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.01, 0.05, Standing.STANDS), (0.05, 0.09, Standing.OPEN), (0.08, 0.12, Standing.NOT)],
)
def test_the_form_is_the_reason_where_little_is_left(low: float, high: float, expected: Standing) -> None:
    """Less than the paper's 7.3 points, beyond the interval."""
    assert why.form_standing(Estimate((low + high) / 2, Interval(low, high), 100, "t")) is expected
    assert why.form_standing(None) is Standing.OPEN


def test_what_the_form_could_gain_is_few_shot_less_zero_shot(whole: Path) -> None:
    """Under fresh sets, so that no answer that chose a category counts; both of the base model."""
    study = Study(whole)
    gains = why.form_gains(study)
    assert list(gains) == ["all", "Known", "HighlyKnown"]
    fresh = {k.fact.id: k.p_before for k in study.probed("test")}
    few = [fresh[fact.id] or 0.0 for fact in study.asked("test").facts]
    zero = float(study.base("test").right.mean())
    assert gains["all"].value == pytest.approx(sum(few) / len(few) - zero)


def test_the_window_ends_when_known_rows_are_fitted(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first epoch with 95 %, its last where none has; a set without Known rows goes on with the others."""
    study = Study(whole)
    curves = {"known-only": [0.5, 0.9, 0.96, 1.0], "unknown-50": [0.5, 0.6, 0.7, 0.8], "unknown-75": [0.99, 1, 1, 1]}
    mixes = list(study.mixes().values())

    def dynamics(arm: object) -> list[object]:
        name = next(v.name for v in mixes if arm in v.arms)
        measured = Study(whole).dynamics(next(v for v in mixes if v.name == name).arms[0])[:4]
        return [
            replace(m, sets={TRAIN: {Category.HIGHLY_KNOWN: (round(100 * of), 100)}} if name in curves else {TRAIN: {}})
            for m, of in zip(measured, curves.get(name, [0.0] * 4), strict=True)
        ]

    monkeypatch.setattr(study, "dynamics", dynamics)
    assert why.while_fitted(study, mixes) == {
        "known-only": 2.0,
        "unknown-50": 3.0,
        "unknown-75": 1.0,
        "unknown-100": 3.0,
    }
