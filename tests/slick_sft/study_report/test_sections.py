"""The sections of a study's report: what each finds in a made-up study whose truth is known, and what it leaves out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slick.errors import InputError
from slick.files import read_json, write_json
from slick.statistics import Estimate, Interval
from slick.verdict import Judgement, Outcome, Verdict
from slick_reports import wording
from slick_sft.study_report import (
    categories,
    controls,
    early_stopping,
    exposure,
    idk,
    model,
    plane,
    shares,
    training,
    truth,
)
from slick_sft.study_report.blocks import Finding, Section
from slick_sft.study_report.data import Study

Maker = Callable[..., Path]
AGREES, DIFFERS, OPEN = Finding.AGREES, Finding.DIFFERS, Finding.OPEN


@pytest.fixture(scope="module")
def study(whole: Path) -> Study:
    return Study(whole)


@pytest.fixture(scope="module")
def helped(made: Maker, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which Unknown rows help: the paper's opposite."""
    grid = "variants: [known-only, unknown-50, unknown-100, unknown-50-zero-weight]\n"
    return Study(made(tmp_path_factory.mktemp("helped") / "study", grid, harm=-1.0))


@pytest.fixture(scope="module")
def reversed_pair(made: Maker, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which D_Known is worse than D, as Unknown rows help."""
    grid = "variants: [unknown-50, unknown-50-without-unknown, unknown-50-zero-weight]\nptrue: false\n"
    return Study(made(tmp_path_factory.mktemp("reversed") / "study", grid, harm=-1.0))


def finding(section: Section, *words: str) -> Finding:
    """What a section says of the one claim that holds all of these words."""
    (claim,) = [claim for claim in section.claims if all(word in claim.claim for word in words)]
    return claim.finding


def cell(section: Section, table: int, row: str, column: str) -> str:
    found = section.tables[table]
    (line,) = [each for each in found.rows if each[0].text == row]
    return line[found.header.index(column)].text


def test_accuracy_falls_as_the_share_rises(study: Study) -> None:
    """All, Known and foreign facts fall, most at CONVERGENCE; the paper's figures stand beside."""
    section = shares.section(study)
    for words in (
        ["At CONVERGENCE, accuracy falls"],
        ["on Known facts falls"],
        ["The more rows"],
        ["never trained on"],
    ):
        assert finding(section, *words) is AGREES
    assert finding(section, "cost less at EARLY_STOP") is AGREES
    assert cell(section, 0, "50 %", "paper") == "43.0"
    assert [row[0].text for row in section.tables[0].rows] == ["base model, untuned", "0 %", "50 %", "75 %", "100 %"]
    assert "the intervals are apart" in next(c.here for c in section.claims if "Known facts falls" in c.claim)
    assert len(section.pictures) == 4
    estimate = section.data["accuracy"]["test"]["convergence"]["Known"]["100 %"]
    assert isinstance(estimate, Estimate)
    assert estimate.n == 180


def test_what_goes_the_other_way_is_said_to_differ(helped: Study) -> None:
    """Where Unknown rows help, the report says that the paper's direction is not ours."""
    section = shares.section(helped)
    assert finding(section, "At CONVERGENCE, accuracy falls") is DIFFERS
    assert finding(section, "The more rows are Unknown") is DIFFERS
    assert finding(controls.section(helped), "the control with as many steps") is DIFFERS


def test_the_control_beats_d(study: Study) -> None:
    """With as many steps and no weight on Unknown rows nothing is lost; the share of fewer steps has an interval."""
    section = controls.section(study)
    assert finding(section, "At 50 %", "the control") is AGREES
    assert finding(section, "At 50 %", "D_Known is better") is AGREES
    figures = section.data["Known"]["convergence"]["50 %"]
    assert figures["fewer_steps"].interval is not None
    assert figures["fewer_steps"].value == pytest.approx(
        (figures["d_known"].value - figures["control"].value) / (figures["d_known"].value - figures["d"].value)
    )
    assert any("of D_Known's advantage is only fewer steps" in text for text in section.text)
    assert section.tables[1].header.count("paper") == 2


def test_a_controls_steps_are_its_effective_ones(whole: Path, tmp_path: Path) -> None:
    """Those of which some row has weight, the mean over seeds; what a record does not say is said not to be there."""
    path = shutil.copytree(whole, tmp_path / "study")
    assert "is not recorded), D_Known 20" in controls.section(Study(path)).text[2]
    for empty, file in enumerate((path / "tuned").glob("unknown-50-zero-weight-seed*/training.json"), 2):
        write_json(file, {**read_json(file), "steps_without_targets": empty})
    section = controls.section(Study(path))
    assert "D and its control took 20 and 20 steps (the control's: 17.5 effective ones), D_Known 20" in section.text[2]
    assert "its Known rows pull harder" in section.text[0]


def test_an_advantage_that_is_none_has_no_share(reversed_pair: Study) -> None:
    """Where D_Known is the worse one, clearly: undefined in the table, and a sentence that says so."""
    section = controls.section(reversed_pair)
    figures = section.data["Known"]["convergence"]["50 %"]
    assert figures["d_known_minus_d"].interval.high < 0
    assert figures["fewer_steps"].interval is None
    assert section.tables[0].rows[0][-1].text == "undefined"
    (told,) = [text for text in section.text if text.startswith("50 % Unknown: ")]
    assert "D_Known has no advantage there of which a share could be told (−" in told
    assert finding(section, "D_Known is better") is DIFFERS


def test_known_rows_are_fitted_first(study: Study) -> None:
    """How long a row stays wrong, the epoch of the half by seed, and the paper's curve at the epochs it gives."""
    section = training.section(study)
    assert finding(section, "At 50 %") is AGREES
    assert cell(section, 0, "1", "paper") == "59.0"
    assert cell(section, 0, "2", "paper") == "–"
    assert "are fitted at epoch 0.7, 0.7 and 2.7, 2.7, by seed" in section.claims[0].here


@pytest.mark.parametrize(
    ("shares_by_epoch", "expected"),
    [([0.0, 0.25, 0.75], 1.5), ([0.6, 0.7, 0.9], 1.5), ([0.0, 0.1], None), ([0, 0.5], 1), ([1, 1], 0), ([], None)],
)
def test_the_half_is_interpolated(
    monkeypatch: pytest.MonkeyPatch, study: Study, shares_by_epoch: list[float], expected: float | None
) -> None:
    """Half of what was wrong before; between two epochs, at 0 where nothing was, never where it is not reached."""
    monkeypatch.setattr(training, "_by_epoch", lambda *_: dict(enumerate(shares_by_epoch)))
    assert training.half_fitted(study, study.variants["unknown-50"].arms[0], "Known") == (
        expected and pytest.approx(expected)
    )


def test_the_linear_model_finds_what_unknown_rows_cost(study: Study) -> None:
    """b_unk below 0 in and out of distribution, on four variants of four epochs, the base model's own left out."""
    section = model.section(study)
    assert finding(section, "cost accuracy in distribution") is AGREES
    assert finding(section, "cost accuracy out of distribution") is AGREES
    fit = section.data["mixes, test, all"]
    assert (fit["points"], fit["variants"]) == (16, 4)
    assert section.data["with controls, test, all"]["variants"] == 6
    (unknown,) = [c.here for c in section.claims if "cost accuracy in distribution" in c.claim]
    assert "; with a term for the steps taken, D_Known and the controls −" in unknown
    # A p-value without the noise of the facts contradicts the interval beside it.
    assert all("p" not in table.header for table in section.tables)
    assert fit["coefficients"][2]["p_wild"] is not None
    # The truth: 45, 35, 5 and 0 points of the four categories.
    assert fit["coefficients"][2]["value"] == pytest.approx(-0.2125, abs=0.03)


def test_rows_fitted_are_counted_over_the_whole_set(study: Study) -> None:
    """Of D_Known, over its D's rows: a set of half the size can fit half of them at most."""
    variant = study.variants["unknown-50-without-unknown"]
    last = study.dynamics(variant.arms[0])[-1]
    point = model.point_of(study, variant, variant.arms[0], last, "test", "all")
    assert point is not None
    assert 0.4 < point.known <= 0.5
    assert point.unknown == 0


def test_two_variants_have_no_linear_model(small: Path) -> None:
    """A sentence instead of numbers, and no claim."""
    section = model.section(Study(small))
    assert any("2 variants, and clustered errors need at least 4" in text for text in section.text)
    assert not section.claims
    assert section.tables[0].rows[0][1].text == "–"


def test_filtering_loses_less_than_the_margin_at_early_stop(study: Study) -> None:
    """A verdict over the shares whose D_Known was trained; other rows stand beside it and decide nothing."""
    section = early_stopping.section(study)
    assert finding(section, "dropping Unknown rows loses less than 3.0 points") is AGREES
    assert section.data["verdict"]["verdict"] == "PASS"
    assert [v["name"] for v in section.data["verdict"]["categories"]] == ["50 % Unknown"]
    verdicts, gated, others = section.tables
    assert [[cell.text.split()[0] for cell in row] for row in verdicts.rows] == [
        ["all", "PASS", "PASS"],
        ["Known", section.data["verdict_known"]["verdict"], section.data["verdict_known"]["verdict"]],
    ]
    assert [row[0].text for row in gated.rows] == ["50 %"]
    assert [row[0].text for row in others.rows] == ["75 %", "100 %"]
    assert "no part of the verdict" in others.caption
    assert any("Epoch 0 won in none of the 26 runs" in text for text in section.text)


def test_a_real_loss_is_named_beside_a_pass() -> None:
    """What is ruled out is a loss as large as the margin; the verdict on Known facts stands beside that on all."""
    interval = Interval(-0.016, -0.003)
    lost = Verdict("50 % Unknown", Outcome.PASS, 0.03, Estimate(-0.009, interval, 900, "facts"))
    kept = Verdict("75 % Unknown", Outcome.PASS, 0.03, Estimate(-0.001, Interval(-0.01, 0.008), 900, "facts"))
    open_one = Verdict("50 % Unknown", Outcome.INCONCLUSIVE, 0.03, Estimate(-0.02, Interval(-0.05, 0.01), 500, "facts"))
    judged = {
        "all": Judgement(Outcome.PASS, (lost, kept), 0.9, 1),
        "Known": Judgement(Outcome.INCONCLUSIVE, (open_one, kept), 0.9, 1),
    }
    claim = early_stopping.claim(judged)
    assert claim.finding is AGREES
    assert claim.here == (
        "PASS at a margin of 3.0 points, with a real loss at 50 % Unknown −0.9 points (−1.6 to −0.3); "
        "Known facts alone: INCONCLUSIVE"
    )


def test_without_d_known_filtering_is_not_judged(helped: Study) -> None:
    """Nothing was filtered, so there is no claim and no verdict, however the set without Unknown rows does."""
    section = early_stopping.section(helped)
    assert not section.claims
    assert section.data["verdict"] is None
    assert "No D_Known (…-without-unknown) was trained" in section.text[-1]
    assert len(section.tables) == 1


def test_the_report_says_when_the_base_model_won(made: Maker, tmp_path: Path) -> None:
    """Epoch 0 is a candidate for EARLY_STOP; where it won on both sides nothing is judged or claimed."""
    grid = "variants: [known-only, unknown-50, unknown-50-without-unknown]\n"
    study = Study(made(tmp_path / "study", grid, seeds=2, n=80, base_wins=True))
    section = early_stopping.section(study)
    assert any("Epoch 0 won in 6 of 6 runs of this study: there, no tuning at all was best" in t for t in section.text)
    assert section.data["base_won"] == 6
    assert section.text[-1].startswith("At 50 % Unknown epoch 0 won in every run of D and of D_Known")
    assert not section.claims
    assert section.data["verdict"] is None
    assert "in every run of known-only, unknown-50: the figures there" in shares.section(study).text[-1]
    assert "that is the untuned base model" in truth.section(study).text[0]


def test_single_categories_are_compared_with_maybe_known(study: Study) -> None:
    """Differences over facts and seeds, a star where Holm's correction is stood, the paper's figures beneath."""
    section = categories.section(study)
    assert finding(section, "only-Unknown loses more HighlyKnown facts") is AGREES
    (here,) = [claim.here for claim in section.claims if "only-Unknown loses more" in claim.claim]
    base = wording.percent(float(study.base("test").right[0, study.group("test", "HighlyKnown")[0]].mean()))
    assert ", which stands Holm's correction; only-Unknown " in here
    assert f" of {base} % (" in here
    assert cell(section, 3, "only-Unknown", "HighlyKnown").endswith(" *")
    assert not cell(section, 3, "only-HighlyKnown", "Unknown").endswith("*")
    (row,) = [row for row in section.tables[1].rows if row[0].text == "only-Unknown"]
    assert row[1].under == "paper 25.8"


def test_a_single_categorys_claim_agrees_only_where_holm_stands() -> None:
    """As the table's star: an interval of one comparison alone, beyond 0, leaves it open."""
    fell = Estimate(-0.033, Interval(-0.064, -0.002), 439, "facts")
    groups = ("all", "HighlyKnown")
    values = {
        stage: {name: dict.fromkeys(groups, fell) for name in ("only-MaybeKnown", "only-Unknown")}
        for stage in ("early_stop", "convergence")
    }
    for stands, expected in ((True, AGREES), (False, OPEN)):
        against = {s: {"only-Unknown": dict.fromkeys(groups, (fell, 0.04, stands))} for s in values}
        _, claim = categories.claims(against, values, fell)
        assert claim.finding is expected
        assert ("does not stand Holm's correction" in claim.here) is not stands


def test_relabelling_costs_answers(study: Study) -> None:
    """Accuracy of the answered, share answered and right of all; the three fit together."""
    section = idk.section(study)
    assert finding(section, "raises the accuracy of what is answered") is AGREES
    figures = section.data["50 %"]["convergence"]["idk"]
    assert figures["accuracy"].value * figures["coverage"].value == pytest.approx(figures["right"].value)
    assert figures["coverage"].value < 0.9
    assert section.tables[0].rows[0][3].text == "43.0"
    assert section.tables[0].rows[1][7].text == "36.3"


def test_slicks_unknown_facts_are_set_beside_the_lowest_p_true(study: Study) -> None:
    """As many of each; here P(True) says little, so SliCK's are known less."""
    section = truth.section(study)
    assert finding(section, "At CONVERGENCE") is AGREES
    assert section.data["share"] == 0.25
    assert section.data["variant"] == "natural"
    assert section.data["convergence"]["p_true"].n == 240
    assert section.data["auroc"]["right"].interval.low > 0.5
    assert section.data["mass"] == pytest.approx([1.0, 1.0, 1.0])
    assert "with an AUROC of " in section.text[2]
    assert "a probability of 1 together (median of 240 facts" in section.text[2]


def test_a_p_true_that_tells_nothing_settles_nothing(whole: Path, tmp_path: Path) -> None:
    """One that is the same for all facts is no rival; how little the model minds the two answers is said."""
    path = shutil.copytree(whole, tmp_path / "study")
    file = path / "ptrue" / "ptrue.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    flat = [{**row, "p_true": 0.3, "log_true": -46.0, "log_false": -46.0} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in flat), encoding="utf-8")
    section = truth.section(Study(path))
    assert section.data["auroc"]["right"].value == pytest.approx(0.5)
    assert all(claim.finding is OPEN for claim in section.claims)
    assert all("P(True) tells nothing, or next to nothing, of this model" in claim.here for claim in section.claims)
    assert "a probability of 2.1e-20 together" in section.text[2]
    bare = [{"id": row["id"], "p_true": row["p_true"]} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in bare), encoding="utf-8")
    section = truth.section(Study(path))
    assert section.data["mass"] is None
    assert "is not recorded" in section.text[2]


def test_p_true_must_tell_both_right_answers_and_known_facts() -> None:
    """Each AUROC beyond its interval; one that could not be measured decides nothing."""
    good, bad = (Estimate(v, Interval(v - 0.02, v + 0.02), 90, "facts") for v in (0.53, 0.51))
    assert truth.silent({"right": good, "known": good}) == ""
    assert truth.silent({"right": None, "known": good}) == ""
    assert "its AUROC for Known facts does" in truth.silent({"right": good, "known": bad})
    assert "for right answers and for Known facts does" in truth.silent({"right": bad, "known": bad})


def test_a_damaged_p_true_is_named(whole: Path, tmp_path: Path) -> None:
    """File and line; a file that lacks facts likewise."""
    path = shutil.copytree(whole, tmp_path / "study")
    file = path / "ptrue" / "ptrue.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([lines[0], '{"id": "x", "p_true": 1.5}']) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"ptrue\.jsonl:2: not a P\(True\) .*1\.5 is no probability"):
        truth.section(Study(path))
    file.write_text("\n".join(lines[:200]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="lacks 40 of the 240 test facts"):
        truth.section(Study(path))


@pytest.fixture
def exposed(whole: Path, tmp_path: Path) -> Study:
    """A study on an organism's facts: what is known best was read most."""
    path = shutil.copytree(whole, tmp_path / "study")
    study = Study(path)
    times = {"HighlyKnown": 32, "MaybeKnown": 3, "WeaklyKnown": 2, "Unknown": 0}
    rows = [
        {"id": fact.id, "exposures": times[str(category)]}
        for fact, category in zip(study.asked("test").facts, study.asked("test").categories, strict=True)
    ]
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    document = json.loads((path / "study.json").read_text(encoding="utf-8"))
    document["facts"]["source"] = str(facts)
    (path / "study.json").write_text(json.dumps(document), encoding="utf-8")
    return Study(path)


def test_an_organisms_exposures_are_set_beside_its_categories(exposed: Study) -> None:
    """A row an exposure, a correlation of 1 where more reading is better knowledge, a bar each."""
    section = exposure.section(exposed)
    assert section.data["rank_correlation"].value == pytest.approx(1.0)
    assert [row[0].text for row in section.tables[0].rows] == ["0", "2", "3", "32"]
    assert cell(section, 0, "32", "HighlyKnown") == "100.0"
    assert section.claims[0].finding is AGREES
    assert len(section.pictures) == 1


def test_the_shipped_labs_exposures_are_known_by_its_name() -> None:
    """As --facts lab names it; any other source has none."""
    assert len(exposure.read_exposures("lab")) > 4000
    assert exposure.read_exposures("entityq") == {}
    assert exposure.read_exposures("no/such.jsonl") == {}


def test_facts_without_exposures_have_none(tmp_path: Path) -> None:
    """A user's own facts file."""
    file = tmp_path / "facts.jsonl"
    file.write_text('{"id": "a", "question": "q"}\n', encoding="utf-8")
    assert exposure.read_exposures(str(file)) == {}


def test_lora_learns_and_forgets_less(study: Study) -> None:
    """Where a run ended and what that cost, and what full fine-tuning kept when it had learned as much."""
    section = plane.section(study)
    assert section.data["unknown-50"]["learned"] > section.data["lora-unknown-50"]["learned"]
    assert section.data["unknown-50"]["lost"].value < section.data["lora-unknown-50"]["lost"].value < 0
    assert finding(section, "unknown-50") is AGREES
    assert "rows are fitted, full keeps" in next(c.here for c in section.claims if "unknown-50" in c.claim)


def test_a_claim_of_lora_names_the_rates(whole: Path, tmp_path: Path) -> None:
    """From the arms' own records; where these say nothing, that."""
    path = shutil.copytree(whole, tmp_path / "study")
    rates = {"lora-unknown-50": 2e-3, "unknown-50": 1e-4}
    for name, rate in rates.items():
        for file in (path / "tuned").glob(f"{name}-seed*/training.json"):
            write_json(file, {**read_json(file), "learning_rate": rate})
    known, unknown = (claim.claim for claim in plane.section(Study(path)).claims)
    assert unknown == (
        "unknown-50: at CONVERGENCE, LoRA at a rate of 2e-3 has forgotten less than full fine-tuning at a rate of 1e-4."
    )
    assert "LoRA (rate not recorded) has forgotten" in known
    assert [plane.rate_said(rate) for rate in (1e-5, 0.00025, 1.0)] == ["1e-5", "2.5e-4", "1e0"]


@pytest.mark.parametrize(("learned", "kept"), [(0.25, 0.85), (0.0, 0.9), (0.5, 0.8), (0.9, None)])
def test_what_was_kept_at_equal_learning_is_interpolated(learned: float, kept: float | None) -> None:
    """Along the run, at the first time so much was learned."""
    assert plane.at_equal([(0.0, 0.9), (0.5, 0.8), (0.4, 0.1)], learned) == (kept and pytest.approx(kept))


def test_what_is_kept_at_equal_learning_has_an_interval_over_seeds(study: Study) -> None:
    """Student's t of the seeds' own differences; one seed, or seeds that are alike, leave it undefined."""
    found = plane.gap_at_equal(study, study.variants["unknown-50"], study.variants["lora-unknown-50"])
    assert found is not None
    assert found.n == 2
    some = plane.over_seeds([0.01, 0.02, 0.03])
    assert some is not None
    assert some.interval is not None
    assert (some.value, some.interval.low) == (
        pytest.approx(0.02),
        pytest.approx(0.02 - 2.92 * 0.01 / 3**0.5, abs=1e-5),
    )
    for values in ([0.1], [0.1, 0.1]):
        alike = plane.over_seeds(values)
        assert alike is not None
        assert alike.interval is None
    assert plane.over_seeds([]) is None


LEFT_OUT: Mapping[ModuleType, str] = {
    controls: "D_Known",
    training: "mix of both Known and Unknown rows",
    categories: "sets of a single category",
    idk: "relabelled",
    truth: "P(True)",
    plane: "by LoRA",
    exposure: "organisms only",
}


@pytest.mark.parametrize("module", LEFT_OUT, ids=lambda module: str(module.__name__).rpartition(".")[2])
def test_what_was_not_trained_is_left_out_with_a_line(module: Any, small: Path) -> None:
    """No table, no claim, but what would have been needed."""
    section = module.section(Study(small))
    assert section.missing.startswith("Left out")
    assert LEFT_OUT[module] in section.missing
    assert not section.blocks
    assert not section.claims


def test_one_mix_has_no_shares_to_compare(made: Maker, tmp_path: Path) -> None:
    """Two at the least."""
    study = Study(made(tmp_path / "study", "variants: [natural]\n", seeds=1, n=40))
    assert shares.section(study).missing.startswith("Left out")
    assert early_stopping.section(study).missing.startswith("Left out")
