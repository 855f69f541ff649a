"""slick_sft.study_report.data: a study's directory, read; and what keeps it from being read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.files import read_json, write_json
from slick.knowledge import Category
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.data import OOD, TEST, Study, share_name

Maker = Callable[..., Path]


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    """A small study that may be damaged."""
    return shutil.copytree(small, tmp_path / "study")


def changed(path: Path, **fields: Any) -> None:
    write_json(path / "study.json", read_json(path / "study.json") | fields)


def test_variants_gather_their_seeds(whole: Path) -> None:
    """One variant a recipe and version, its arms in the order of their seeds."""
    study = Study(whole)
    assert [arm.seed for arm in study.variants["unknown-50"].arms] == [0, 1]
    assert study.variants["lora-unknown-50"].method == "lora"
    assert study.variants["unknown-50"].steps == 20
    assert study.splits == (TEST, OOD)


def test_families_are_found_by_their_recipes(whole: Path) -> None:
    """Mixes by share, the same without Unknown rows, with weight 0, relabelled; of the grid's own training only."""
    study = Study(whole)
    assert {share: v.name for share, v in study.mixes().items()} == {
        0.0: "known-only",
        0.5: "unknown-50",
        0.75: "unknown-75",
        1.0: "unknown-100",
    }
    assert [v.name for v in study.without().values()] == ["unknown-50-without-unknown"]
    assert [v.name for v in study.controls().values()] == ["unknown-50-zero-weight"]
    assert [v.name for v in study.relabelled().values()] == ["unknown-50-idk"]
    assert list(study.mixes("lora")) == [0.0, 0.5]


SIZES = """
variants: [known-only, unknown-50, unknown-100, {name: twice, unknown: 0.5}, {name: few, unknown: 0.5, size: 16},
           {name: fewer, unknown: 0.75, size: 16}, unknown-50-zero-weight,
           {name: light, unknown: 0.5, weights: {Unknown: 0}, size: 16}]
training: {epochs: 2, batch_size: 8}
ptrue: false
"""


def test_a_family_holds_one_size(made: Maker, tmp_path: Path) -> None:
    """Mixes of another |D|, or of a share that another has, stand beside it with the reason, never in its place."""
    study = Study(made(tmp_path / "study", SIZES, seeds=1, n=40))
    assert study.size == 40
    assert {share: v.name for share, v in study.mixes().items()} == {
        0.0: "known-only",
        0.5: "unknown-50",
        1.0: "unknown-100",
    }
    assert {share: v.name for share, v in study.controls().items()} == {0.5: "unknown-50-zero-weight"}
    assert study.beside == {
        "twice": "unknown-50 is that of the same share",
        "few": "|D| is 16 rows there and 40 elsewhere",
        "fewer": "|D| is 16 rows there and 40 elsewhere",
        "light": "|D| is 16 rows there and 40 elsewhere",
    }


@pytest.mark.parametrize(
    ("grid", "size", "names"),
    [
        ("variants: [{name: a, unknown: 0, size: 16}, {name: b, unknown: 1, size: 16}]", 16, ["a", "b"]),
        ("variants: [known-only, {name: a, unknown: 1, size: 40}]", 40, ["known-only", "a"]),
        ("variants: [{name: a, unknown: 1, size: 8}, known-only]\nsize: 16", 16, ["known-only"]),
        ("variants: [natural]", None, []),
    ],
    ids=["own sizes alone", "as many rows by number", "the grid's size", "no mix"],
)
def test_the_common_size_is_the_grids(
    made: Maker, tmp_path: Path, grid: str, size: int | None, names: list[str]
) -> None:
    """Or, where no mix has it, that of most mixes."""
    study = Study(made(tmp_path / "study", f"{grid}\nptrue: false\n", seeds=1, n=40))
    assert study.size == size
    assert [v.name for v in study.mixes().values()] == names


def test_a_variant_is_found_by_the_name_of_its_like(whole: Path) -> None:
    """A set of Unknown facts alone is the mix of 100 %, which was trained in its place."""
    study = Study(whole)
    only, mix = study.named("only-Unknown"), study.named("unknown-100")
    assert only is mix is not None
    assert study.named("unknown-33") is None


def test_answers_are_runs_by_facts(whole: Path) -> None:
    """A row a seed, the facts in the base model's order; groups are masks over them."""
    study = Study(whole)
    answers = study.answers(study.variants["unknown-100"], "convergence", TEST)
    assert answers.right.shape == answers.abstained.shape == (2, 240)
    assert study.base(TEST).right.shape == (1, 240)
    asked = study.asked(TEST)
    assert asked.mask(ALL).sum() == 240
    assert asked.mask(KNOWN_FACTS).sum() == 180
    assert asked.mask("Unknown").sum() == 60
    assert len(set(asked.clusters)) == 120


def test_facts_without_a_subject_stand_alone(made: Maker, tmp_path: Path) -> None:
    """Their cluster is the fact itself."""
    study = Study(made(tmp_path / "study", "variants: [known-only, unknown-100]\n", seeds=1, n=40))
    asked = study.asked(TEST)
    assert all(kind == "subject" for kind, _ in asked.clusters)


def test_training_rows_are_counted_by_category(whole: Path) -> None:
    """As the set's recipe.json has them."""
    study = Study(whole)
    rows = study.rows(study.variants["unknown-50"].arms[0])
    assert sum(rows.values()) == 40
    assert rows[Category.UNKNOWN] == 20
    assert study.rows(study.variants["unknown-50-without-unknown"].arms[0])[Category.UNKNOWN] == 0


def test_where_the_base_won_its_answers_stand_for_early_stop(made: Maker, tmp_path: Path) -> None:
    """The record says so, and the base model's own score is read."""
    study = Study(made(tmp_path / "study", "variants: [known-only, unknown-100]\n", seeds=1, n=40, base_wins=True))
    variant = study.variants["unknown-100"]
    assert variant.arms[0].base_won
    assert variant.arms[0].stopped == 0
    assert (study.answers(variant, "early_stop", TEST).right == study.base(TEST).right).all()


def test_a_directory_without_a_study_is_refused(tmp_path: Path) -> None:
    """Nor is one that holds something else."""
    with pytest.raises(InputError, match=r"holds no study; expected the --out of slick study"):
        Study(tmp_path)
    write_json(tmp_path / "study.json", {"kind": "demo"})
    with pytest.raises(InputError, match="holds no study"):
        Study(tmp_path)


def test_a_study_that_is_not_finished_is_refused(copied: Path) -> None:
    """Its command goes on with it."""
    changed(copied, finished=False)
    with pytest.raises(InputError, match=r"not finished; repeat its command"):
        Study(copied)


def test_places_never_lead_out_of_the_study(copied: Path) -> None:
    """A record that names a place elsewhere is refused."""
    arms: list[dict[str, Any]] = [dict(arm) for arm in read_json(copied / "study.json")["arms"]]
    arms[0]["tuned"] = "../elsewhere"
    changed(copied, arms=arms)
    with pytest.raises(InputError, match=r"'\.\./elsewhere' lies outside of the study's directory"):
        Study(copied)


def test_a_score_of_other_facts_is_refused(copied: Path) -> None:
    """It lacks facts of the base model's score; all of them are counted."""
    place = copied / "scores" / "known-only-seed0-convergence"
    file = next(place.glob("samples_*.jsonl"))
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(lines[:70]) + "\n", encoding="utf-8")
    results = next(place.glob("results_*.json"))
    document = read_json(results)
    for counts in document["n-samples"].values():
        counts.update(dict.fromkeys(counts, 70))
    write_json(results, document)
    study = Study(copied)
    with pytest.raises(InputError, match=r"lacks 10 of the 80 facts .*remove it and repeat the study's command"):
        study.answers(study.variants["known-only"], "convergence", TEST)


def test_dynamics_begin_with_the_base_model(whole: Path) -> None:
    """Step 0 first, then an epoch each."""
    study = Study(whole)
    assert [m.epoch for m in study.dynamics(study.variants["unknown-50"].arms[0])] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("share", "name"), [(0.0, "0 %"), (0.5, "50 %"), (0.333, "33.3 %")])
def test_shares_are_written_in_percent(share: float, name: str) -> None:
    """Without digits that say nothing."""
    assert share_name(share) == name


def test_a_grid_of_versions_alone_takes_the_first(made: Maker, tmp_path: Path, grids: Mapping[str, str]) -> None:
    """Where nothing was trained by the grid's own settings."""
    path = made(tmp_path / "study", grids["small"], seeds=1, n=40)
    document = read_json(path / "study.json")
    for arm in document["arms"]:
        arm["version"] = "gentle"
    write_json(path / "study.json", document)
    assert Study(path).version == "gentle"
    assert list(Study(path).mixes()) == [0.0, 1.0]
