"""From a ledger to a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import Fact
from slick.statistics import wilson
from slick_reports.history import build_history, fate, flips_of
from slick_reports.history_numbers import STATES, History
from slick_reports.history_output import prior_told
from slick_reports.ledger import Entry, Ledger, Result

N = 200


def facts(n: int = N) -> list[Fact]:
    return [Fact.create(f"Q{i}?", [f"A{i}"], relation=f"r{i % 2}", subject=f"S{i}") for i in range(n)]


def entry(
    version: str,
    right: Sequence[bool],
    *,
    day: int = 1,
    seed: int | None = None,
    series: str = "score-1",
    **others: object,
) -> Entry:
    record = {"model": {"name": version}, "seed": seed, "settings": {"form": "f"}, "source": f"runs/{version}"}
    known = others.pop("category", 0)
    results = [Result(f, int(ok), known, answer="x") for f, ok in zip(facts(), right, strict=False)]  # type: ignore[arg-type]
    return Entry(version, f"2025-01-{day:02d}T00:00:00", "score", series, {**record, **others}, results)


def wrong_from(k: int, n: int = N) -> list[bool]:
    """The first k wrong."""
    return [i >= k for i in range(n)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "l.sqlite")


def drop(ledger: Ledger) -> History:
    """Four versions: 20 wrong, 21 wrong, 70 wrong, 69 wrong."""
    ledger.add([entry(f"v{i}", wrong_from(k), day=i + 1) for i, k in enumerate((20, 21, 70, 69))])
    return build_history(ledger)


def test_accuracy_by_version_has_its_interval(ledger: Ledger) -> None:
    """In the order of the dates; the first is the baseline where none is marked, and that is said."""
    found = drop(ledger)
    assert [v.name for v in found.versions] == ["v0", "v1", "v2", "v3"]
    assert [v.groups[0].side.accuracy for v in found.versions] == [wilson(N - k, N) for k in (20, 21, 70, 69)]
    assert [v.baseline for v in found.versions] == [True, False, False, False]
    assert any("No version is marked as the baseline" in note for note in found.notes)
    assert found.n == N


def test_only_the_step_that_is_real_is_marked(ledger: Ledger) -> None:
    """By its Holm-adjusted p-value; the later versions stay below the baseline."""
    found = drop(ledger)
    previous = [s for s in found.steps if s.against == "previous" and s.group == "all"]
    assert [s.changed for s in previous] == [False, True, False]
    assert (previous[1].lost, previous[1].gained, previous[1].n) == (49, 0, N)
    baseline = [(s.earlier, s.later, s.changed) for s in found.steps if s.against == "baseline" and s.group == "all"]
    assert baseline == [("v0", "v2", True), ("v0", "v3", True)]
    assert found.headline.startswith(
        "1 version changed accuracy; most: in “v2” it fell by 24.5 points on all facts against “v1” ("
    )
    assert "“v3” stands at −24.5 points against the baseline “v0”" in found.headline


def test_lost_facts_know_their_first_bad_version(ledger: Ledger) -> None:
    """A fact that was found again is not lost."""
    found = drop(ledger)
    by_place = {flip.fact.question: flip for flip in found.flipped}
    assert set(by_place) == {f"Q{i}?" for i in range(20, 70)}
    assert (by_place["Q20?"].path, by_place["Q20?"].first_bad) == ("1000", "v1")
    assert (by_place["Q30?"].path, by_place["Q30?"].first_bad) == ("1100", "v2")
    assert (by_place["Q69?"].path, by_place["Q69?"].state) == ("1101", "came back")
    assert found.states == {"lost": 49, "came back": 1}
    assert {flip.category for flip in found.flipped} == {"HighlyKnown"}


@pytest.mark.parametrize(
    ("path", "baseline", "state", "bad"),
    [
        ("10", 0, "lost", 1),
        ("1-0", 0, "lost", 2),
        ("1010", 0, "lost", 3),
        ("1100", 1, "lost", 2),
        ("01", 0, "gained", None),
        ("101", 0, "came back", None),
        ("010", 0, "fell back", None),
        ("010", 1, "lost", 2),
        ("10-", 0, "moved, end not asked", None),
        ("10-", 2, "moved, end not asked", None),
        ("-10", 0, "lost", 2),
        ("0011", 2, "moved before the baseline", None),
        ("0111", 1, "moved before the baseline", None),
        ("100", 1, "moved before the baseline", None),
        ("011-", 1, "moved before the baseline", None),
        ("0101", 1, "came back", None),
        ("110-", 1, "moved, end not asked", None),
    ],
)
def test_the_fate_of_a_fact(path: str, baseline: int, state: str, bad: int | None) -> None:
    """Against the baseline, up to the newest version."""
    assert fate(path, baseline) == (state, bad)
    assert state in STATES


@given(st.text("01-", min_size=2, max_size=12).filter(lambda path: "0" in path and "1" in path), st.data())
def test_from_its_first_bad_version_on_a_lost_fact_was_never_right(path: str, data: st.DataObject) -> None:
    """And it was right before it."""
    state, bad = fate(path, data.draw(st.integers(0, len(path) - 1)))
    assert flips_of(path) >= 1
    if bad is not None:
        assert state == "lost"
        assert path[bad] == "0"
        assert "1" not in path[bad:]
        assert path[:bad].rstrip("-")[-1] == "1"


def test_seeds_are_one_version(ledger: Ledger) -> None:
    """Both noises are in the interval, and a fact is right where most seeds have it."""
    runs = [
        entry(v, wrong_from(k), day=d, seed=s)
        for d, v, ks in ((1, "a", (10, 12, 14)), (2, "b", (40, 50, 60)))
        for s, k in enumerate(ks)
    ]
    ledger.add(runs)
    found = build_history(ledger)
    assert [v.seeds for v in found.versions] == [(0, 1, 2), (0, 1, 2)]
    accuracy = found.versions[0].groups[0].side.accuracy
    assert accuracy is not None
    assert "3 seeds" in accuracy.method
    assert found.steps[0].estimate is not None
    assert found.steps[0].estimate.method == "facts and seeds"
    assert {flip.path for flip in found.flipped} == {"10"}
    assert len(found.flipped) == 50 - 12


def test_an_even_tie_counts_as_wrong(ledger: Ledger) -> None:
    """Where one of two seeds has it, a fact is not known; the page says so."""
    ledger.add([entry("a", wrong_from(10), seed=0), entry("b", wrong_from(10), day=2, seed=0)])
    ledger.add([entry("b", wrong_from(20), day=2, seed=1)])
    found = build_history(ledger)
    assert {flip.path for flip in found.flipped} == {"10"}
    assert len(found.flipped) == 10


def test_scores_of_the_same_weights_are_one_seed(ledger: Ledger) -> None:
    """The latest answers count, the repeats are said, and the step has the interval of one checkpoint."""
    model = {"name": "m", "weights": "w", "adapter": None}
    ledger.add([entry("a", wrong_from(10), seed=0, model={**model, "weights": "v"})])
    ledger.add(
        [entry("b", wrong_from(k), day=d, seed=s, model=model) for d, s, k in ((2, 0, 30), (3, 1, 40), (4, 0, 50))]
    )
    found = build_history(ledger)
    last = found.versions[1]
    assert (last.seeds, last.repeats, last.at) == ((0,), 2, "2025-01-02T00:00:00")
    assert len(last.sources) == 3
    assert last.groups[0].side.accuracy == wilson(N - 50, N)
    assert found.steps[0].estimate is not None
    assert (found.steps[0].estimate.method, found.steps[0].lost) == ("Tango", 40)
    assert any("one seed" in note and "repeats: “b” 2." in note for note in found.notes)
    assert found.versions[0].repeats == 0


def test_one_run_meets_one_run(ledger: Ledger) -> None:
    """A single run says nothing of its seeds; the note says what was compared."""
    ledger.add([entry("a", wrong_from(10), seed=0), entry("b", wrong_from(20), day=2, seed=0)])
    ledger.add([entry("b", wrong_from(30), day=2, seed=1)])
    found = build_history(ledger)
    assert (found.steps[0].lost, found.steps[0].gained) == (10, 0)
    assert found.steps[0].seeds == (0, 0)
    assert found.noise.startswith("Every step sets one checkpoint against another")
    assert any("that of the same seed if there is one" in note for note in found.notes)
    assert any("nothing changed, the seed included" in note for note in found.notes)


def test_steps_are_on_the_facts_that_both_were_asked(ledger: Ledger) -> None:
    """And the version with fewer is marked."""
    ledger.add([entry("a", wrong_from(10)), entry("b", wrong_from(10)[:50], day=2), entry("c", wrong_from(10), day=3)])
    found = build_history(ledger)
    assert [s.n for s in found.steps if s.against == "previous" and s.group == "all"] == [50, 50]
    assert found.versions[1].n == 50
    assert found.versions[1].stale == ("was not asked 150 of the 200 facts of “c”",)
    assert any("Not every version was asked the same facts" in note for note in found.notes)


def test_age_and_other_libraries_are_marked(ledger: Ledger) -> None:
    """Against the newest version, so that a history does not change with the day it is made on."""
    old = entry("a", wrong_from(1), libraries={"torch": "1"})
    old = Entry(old.version, "2024-01-01T00:00:00", old.kind, old.series, old.record, old.results)
    ledger.add([old, entry("b", wrong_from(2), libraries={"torch": "2"})])
    stale = build_history(ledger).versions[0].stale
    assert stale == ("is 366 days older than “b”", "was made with other versions of torch than “b”")
    assert build_history(ledger, stale_days=400).versions[0].stale == stale[1:]


def test_the_baseline_is_the_one_that_was_marked(ledger: Ledger) -> None:
    """What came before it is shown, and facts are lost since it."""
    ledger.add([entry("a", wrong_from(90))])
    ledger.add([entry("b", wrong_from(0), day=2)], baseline=True)
    ledger.add([entry("c", wrong_from(5), day=3), entry("d", wrong_from(6), day=4)])
    found = build_history(ledger)
    assert found.baseline == "b"
    assert [(s.earlier, s.later) for s in found.steps if s.against == "baseline" and s.group == "all"] == [("b", "d")]
    assert found.states["lost"] == 6


def test_several_ways_of_asking_are_not_mixed(ledger: Ledger) -> None:
    """They are named, and one is to be chosen."""
    ledger.add(
        [entry("a", wrong_from(1)), entry("b", wrong_from(2), day=2), entry("c", wrong_from(3), series="score-2")]
    )
    with pytest.raises(InputError, match=r"(?s)in 2 ways.*score-1: form f \(2 versions\).*score-2.*--series"):
        build_history(ledger)
    assert len(build_history(ledger, series="score-1").versions) == 2
    with pytest.raises(InputError, match="--series x: not in the ledger; it has score-1, score-2"):
        build_history(ledger, series="x")


def test_a_version_has_its_answer_prior(ledger: Ledger) -> None:
    """By group, and none where the ledger holds none."""
    first, second = entry("a", wrong_from(3)), entry("b", wrong_from(4), day=2)
    known = [replace(r, prior=int(i < 50), category=0 if i < 100 else 3) for i, r in enumerate(first.results)]
    ledger.add([replace(first, results=known), second])
    a, b = build_history(ledger).versions
    assert {row.group: row.prior for row in a.groups if row.n} == {
        "all": 0.25, "Known": 0.5, "HighlyKnown": 0.5, "Unknown": 0.0,
    }  # fmt: skip
    assert {row.prior for row in b.groups} == {None}
    assert (prior_told(a), prior_told(b)) == (("25.0", "Known 50.0"), ("not recorded", ""))


def test_an_empty_ledger_has_no_history(ledger: Ledger) -> None:
    """And probes alone have none."""
    with pytest.raises(InputError, match="holds no scores"):
        build_history(ledger)


def test_one_version_is_a_history_of_no_steps(ledger: Ledger) -> None:
    """Nothing is compared, nothing flipped."""
    ledger.add([entry("a", wrong_from(3))])
    found = build_history(ledger)
    assert (found.steps, found.flipped) == ((), ())
    assert found.headline == "No step between two versions is a change that stands after correction."


def test_probes_give_shares_and_categories(ledger: Ledger) -> None:
    """Of the version that they bear the name of; a fact near a border counts in part."""
    ledger.add([entry("a", wrong_from(3), category=-1), entry("b", wrong_from(4), day=2, category=-1)])
    results = [Result(f, 3, 3 if i < 50 else 0, 0.75 if i < 50 else float("nan")) for i, f in enumerate(facts())]
    ledger.add([Entry("a", "2025-01-01", "probe", "probe-1", {}, results)])
    first, second = build_history(ledger).versions
    assert second.shares is None
    assert first.shares is not None
    assert first.shares.expected
    assert [row.n for row in first.shares.categories] == [150, 0, 12.5, 37.5]
    assert {row.group: row.n for row in second.groups} == {
        "all": 200, "Known": 150, "HighlyKnown": 150, "MaybeKnown": 0, "WeaklyKnown": 0, "Unknown": 50,
    }  # fmt: skip


def test_a_history_of_rises_says_so(ledger: Ledger) -> None:
    """The headline is no alarm bell alone."""
    ledger.add([entry("a", wrong_from(90)), entry("b", wrong_from(0), day=2)])
    assert "most: in “b” it rose by 45.0 points" in build_history(ledger).headline


def test_nothing_is_marked_where_nothing_changed(tmp_path: Path) -> None:
    """Of 40 histories of five versions that answer by the same chances, about two in 40 may mark a step."""
    rng = np.random.default_rng(1)
    skill = rng.random(N)
    marked = 0
    for i in range(40):
        with Ledger(tmp_path / f"{i}.sqlite") as ledger:
            ledger.add([entry(f"v{k}", (rng.random(N) < skill).tolist(), day=k + 1) for k in range(5)])
            marked += any(s.changed for s in build_history(ledger).steps)
    assert marked <= 5
