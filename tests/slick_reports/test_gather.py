"""What the user asked for, checked and read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.errors import InputError
from slick.knowledge import Category
from slick_reports.gather import Request, gather

if TYPE_CHECKING:
    from conftest import Lab


def test_the_first_run_is_before_and_the_others_are_arms(lab: Lab) -> None:
    """Before is called as its directory is."""
    found = gather(Request([lab.score("base"), lab.arm("a", 0), lab.arm("b", 0)]))
    assert (found.before_label, [arm.label for arm in found.arms]) == ("base", ["a", "b"])
    assert [run.path.name for run in found.runs()] == ["base", "a-0", "b-0"]


@pytest.mark.parametrize("among", [True, False])
def test_before_may_be_another_run(lab: Lab, among: bool) -> None:
    """Given among the runs or beside them, it is no arm."""
    base, runs = lab.score("base"), [lab.arm("a", 0), lab.arm("b", 0)]
    found = gather(Request([*runs, base] if among else runs, before=base))
    assert (found.before_label, [arm.label for arm in found.arms]) == ("base", ["a", "b"])


@pytest.mark.parametrize("runs", [[], ["base"]])
def test_too_few_runs_are_refused(lab: Lab, runs: list[str]) -> None:
    """One run has nothing to be compared with."""
    lab.score("base")
    with pytest.raises(InputError, match=rf"found {len(runs)} runs?, expected .* base model and of at least one tuned"):
        gather(Request([lab.root / name for name in runs]))


def test_a_run_given_twice_is_refused(lab: Lab) -> None:
    """Also where the two paths are written differently."""
    base, arm = lab.score("base"), lab.arm("a", 0)
    with pytest.raises(InputError, match="given twice"):
        gather(Request([base, arm, arm / ".." / arm.name]))


def test_a_label_for_no_run_is_refused(lab: Lab) -> None:
    """A label that would be dropped in silence is a mistyped one."""
    with pytest.raises(InputError, match="--label: nowhere: none of the runs"):
        gather(Request([lab.score("base"), lab.arm("a", 0)], labels={"nowhere": "x"}))


def test_before_takes_a_label_too(lab: Lab) -> None:
    """By its path, as the arms do."""
    base = lab.score("base")
    assert gather(Request([base, lab.arm("a", 0)], labels={str(base): "version 1"})).before_label == "version 1"


def test_an_unfinished_run_is_refused(lab: Lab, tmp_path: Path) -> None:
    """With what mends it."""
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "progress.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="this run is not finished; repeat its command"):
        gather(Request([lab.score("base"), unfinished]))


def test_a_run_of_a_future_schema_is_refused(lab: Lab) -> None:
    """It is not read by guessing."""
    run = lab.arm("a", 0)
    (file,) = run.glob("results_*.json")
    file.write_text(file.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 2'), encoding="utf-8")
    with pytest.raises(InputError, match=r"schema version 2, this slick reads up to 1; upgrade slick"):
        gather(Request([lab.score("base"), run]))


def test_a_cut_off_samples_file_is_refused_with_its_line(lab: Lab) -> None:
    """Half a row is no row."""
    run = lab.arm("a", 0)
    (file,) = run.glob("samples_*.jsonl")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"samples_closed_book_.*:40: not a JSON object; the file may be half-written"):
        gather(Request([lab.score("base"), run]))


def test_the_probes_categories_go_before_the_recorded_ones(lab: Lab) -> None:
    """They are the measurement; a score only copies them."""
    lab.categories = {lab.facts[0].id: Category.HIGHLY_KNOWN}
    probe = lab.probe(skill={fact.id: 0.0 for fact in lab.facts})
    runs = [lab.score("base"), lab.arm("a", 0)]
    assert gather(Request(runs)).categories() == {lab.facts[0].id: Category.HIGHLY_KNOWN}
    probed = gather(Request(runs, knowledge=probe)).categories()
    assert set(probed.values()) == {Category.UNKNOWN}
    assert len(probed) == 40


def test_categories_may_come_from_any_of_the_runs(lab: Lab) -> None:
    """A base model that was scored without a probe borrows those of its arms."""
    runs = [lab.score("base"), lab.arm("a", 0, categories={lab.facts[1].id: Category.UNKNOWN})]
    assert gather(Request(runs)).categories() == {lab.facts[1].id: Category.UNKNOWN}


def test_a_directory_that_is_no_probe_is_refused(lab: Lab) -> None:
    """A score is not knowledge."""
    base = lab.score("base")
    with pytest.raises(InputError, match="holds no knowledge"):
        gather(Request([base, lab.arm("a", 0)], knowledge=base))


def test_the_command_makes_the_same_report_again() -> None:
    """Every option that was given stands in it, quoted for a shell."""
    request = Request(
        [Path("b"), Path("it's an arm")],
        before=Path("b"),
        knowledge=Path("p"),
        control="known",
        labels={"b": "version 1"},
        title="Mine",
        allow_mismatch=True,
    )
    assert request.command() == (
        """slick report b 'it'"'"'s an arm' --before b --knowledge p --control known --label 'b=version 1' """
        "--title Mine --allow-mismatch"
    )
    assert Request([Path("a"), Path("b")]).command() == "slick report a b"
