"""The A/A lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slick.facts import Fact
from slick.knowledge import Category, Chances, Knowledge
from slick.statistics import tango, wilson
from slick_reports import noise
from slick_reports.arms import group_arms
from slick_reports.compare import Comparison
from slick_reports.inputs import read_scored

if TYPE_CHECKING:
    from conftest import Lab


def known(number: int, greedy: int, fresh: int, total: int = 5, relation: str = "r") -> Knowledge:
    """A fact with `greedy` of 10 right answers under its sets and `fresh` of `total` under fresh ones."""
    fact = Fact.create(f"Q{number}?", ["a"], relation=relation)
    return Knowledge(fact, greedy, 10, 0, 160 if greedy == 0 else 0, fresh, total)


def test_fresh_sets_show_what_selection_alone_does() -> None:
    """HighlyKnown is 1.00 by construction under its own sets, and less under fresh ones."""
    lines = noise.selection_lines([known(0, 10, 5), known(1, 10, 4), known(2, 5, 3), known(3, 0, 1)])
    assert [(x.category, x.n) for x in lines] == [
        ("HighlyKnown", 2),
        ("MaybeKnown", 1),
        ("WeaklyKnown", 0),
        ("Unknown", 1),
    ]
    assert (lines[0].category_sets, lines[0].fresh_sets) == (1.0, pytest.approx(0.9))
    assert (lines[1].category_sets, lines[1].fresh_sets) == (0.5, pytest.approx(0.6))
    assert (lines[2].category_sets, lines[2].fresh_sets) == (None, None)
    assert (lines[3].category_sets, lines[3].fresh_sets) == (0.0, pytest.approx(0.2))


def test_facts_without_fresh_answers_are_left_out() -> None:
    """Both columns are of the same facts."""
    lines = noise.selection_lines([known(0, 10, 4), known(1, 10, 0, total=0)])
    assert (lines[0].n, lines[0].fresh_sets) == (1, pytest.approx(0.8))
    assert noise.selection_lines([known(1, 10, 0, total=0)]) == ()


@pytest.mark.parametrize(
    ("knowledge", "note"),
    [
        (None, "Not measured: give the probe of the base model with --knowledge PROBE_RUN."),
        ([known(0, 10, 0, total=0)], "Not measured: the probe drew no fresh exemplar sets; probe with --n-before 5."),
        ([known(0, 10, 4)], "HighlyKnown 1.00 → 0.80: selection, not forgetting."),
        ([known(0, 10, 5)], "HighlyKnown 1.00 → 1.00: fresh exemplars changed nothing there."),
        ([known(0, 10, 199, 200), *(known(i, 10, 5) for i in range(1, 9))], "HighlyKnown 1.00 → >0.99: selection"),
        ([known(0, 5, 4)], "Both columns are of the same untouched model"),
    ],
)
def test_the_note_says_what_the_line_means_or_how_to_get_it(knowledge: list[Knowledge] | None, note: str) -> None:
    """A line that is missing is said to be missing."""
    assert noise.selection_note(knowledge, noise.selection_lines(knowledge or [])).startswith(note)


def test_control_seeds_are_set_against_each_other(lab: Lab) -> None:
    """Each seed's accuracy, their spread, the furthest pair, and how many pairs are apart."""
    lab.facts = [type(f).create(f.question, f.answers, relation=f.relation) for f in lab.facts]
    runs = [lab.arm("known", seed, lab.wrong_on(*range(wrong))) for seed, wrong in enumerate((0, 1, 10))]
    arms = group_arms([read_scored(run) for run in runs], {})
    comparison = Comparison(read_scored(lab.score("base")), arms, {})
    (line,) = noise.seeds_lines(comparison, arms[0])
    assert line.accuracies == (1.0, 39 / 40, 30 / 40)
    assert line.spread == pytest.approx(0.1377, abs=1e-4)
    assert line.largest == tango(10, 0, 40)
    assert (line.pairs, line.apart) == (3, 2)
    assert noise.seeds_note(arms[0], [line]).startswith("The 3 seeds of “known” differ in nothing but chance.")


def test_a_control_of_one_seed_says_how_to_measure_it(lab: Lab) -> None:
    """The line is not measured, and the note names the option."""
    arms = group_arms([read_scored(lab.arm("known", 0))], {})
    comparison = Comparison(read_scored(lab.score("base")), arms, {})
    assert noise.seeds_lines(comparison, arms[0]) == ()
    assert "Tune it again with another --seed" in noise.seeds_note(arms[0], ())
    assert noise.seeds_lines(comparison, None) == ()
    assert noise.seeds_note(None, ()) == "Not measured: there is no control arm whose seeds could be compared."


def test_category_shares_count_each_fact_once() -> None:
    """Over all and per relation, with Wilson's interval."""
    facts = [known(i, 10, 5, relation="b" if i else "a").fact for i in range(3)]
    found = [(facts[0], Category.UNKNOWN), (facts[1], Category.HIGHLY_KNOWN), (facts[2], Category.HIGHLY_KNOWN)]
    shares = noise.category_shares([*found, found[0]], "probe")
    assert shares is not None
    assert (shares.source, shares.n) == ("probe", 3)
    assert [(x.category, x.n, x.share) for x in shares.categories] == [
        ("HighlyKnown", 2, wilson(2, 3)),
        ("MaybeKnown", 0, wilson(0, 3)),
        ("WeaklyKnown", 0, wilson(0, 3)),
        ("Unknown", 1, wilson(1, 3)),
    ]
    assert shares.relations == {"a": (0, 0, 0, 1), "b": (2, 0, 0, 0)}


def test_no_categories_are_no_shares() -> None:
    """There is nothing to draw."""
    assert noise.category_shares([], "probe") is None


def test_exact_probes_give_expected_shares() -> None:
    """A fact that samples call Unknown with chance u counts u there: Σu, and not a hard count."""
    near = [
        Knowledge(Fact.create(f"Q{i}?", ["a"], relation="r"), 0, 10, chances=Chances((p,) * 10))
        for i, p in enumerate([0.002, 0.004, 0.006])
    ]
    shares = noise.knowledge_shares([*near, near[0]])
    assert shares is not None
    u = sum(k.u or 0.0 for k in near)
    assert shares.expected
    assert [x.n for x in shares.categories] == [0, 0, pytest.approx(3 - u), pytest.approx(u)]
    assert shares.categories[3].share == wilson(shares.categories[3].n, 3)
    assert shares.relations["r"] == tuple(x.n for x in shares.categories)
    assert noise.knowledge_shares([]) is None


def test_sampled_probes_give_whole_counts() -> None:
    """As `category_shares` has them."""
    knowledge = [known(0, 10, 5), known(1, 0, 0)]
    shares = noise.knowledge_shares(knowledge)
    assert shares == noise.category_shares(((k.fact, k.category) for k in knowledge), "probe")
    assert shares is not None
    assert not shares.expected
