"""slick.facts: a fact, its identity, and the pure questions one asks of a list of facts."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import (
    SPLITS,
    Fact,
    by_relation,
    check_limit,
    commonest_answers,
    exemplar_split,
    fact_id,
    facts_digest,
    of_split,
    sample_facts,
)


def fact(question: str, answer: str = "a", relation: str = "r", split: str = "") -> Fact:
    return Fact.create(question, [answer], relation=relation, split=split)


def many(**counts: int) -> list[Fact]:
    """So many facts of each relation, shuffled together."""
    facts = [fact(f"{relation} {i}", relation=relation) for relation, n in counts.items() for i in range(n)]
    random.Random(0).shuffle(facts)
    return facts


COUNTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 30), min_size=1)


def test_the_id_is_the_same_on_every_machine_and_version() -> None:
    """Recorded runs are joined by id: these values may never change."""
    assert fact_id("P17", "Which country is Oslo located in?", ("Norway",)) == "6f01a530c4153dc4"
    assert fact_id("r", "q\ud800", ("ä",)) == "674e1e14f50a1607"


def test_the_id_depends_on_relation_question_and_answers_alone() -> None:
    """Subject and split do not make another fact; each of the three, and the order of answers, does."""
    base = Fact.create("q", ["a", "b"], relation="r")
    assert base.id == Fact.create("q", ("a", "b"), relation="r", subject="s", split="test").id
    others = [
        Fact.create("q2", ["a", "b"], relation="r"),
        Fact.create("q", ["a", "b"], relation="r2"),
        Fact.create("q", ["b", "a"], relation="r"),
        Fact.create("q", ["ab"], relation="r"),
    ]
    assert len({base.id, *(other.id for other in others)}) == 5


@given(st.lists(st.tuples(st.text(), st.text(), st.lists(st.text(), max_size=2)), unique_by=repr, max_size=20))
def test_different_facts_have_different_ids(parts: list[tuple[str, str, list[str]]]) -> None:
    """No boundary between relation, question and answers can be shifted unnoticed."""
    assert len({fact_id(*part) for part in parts}) == len(parts)


def test_an_id_of_the_source_is_kept() -> None:
    """An explicit id stands in place of the hash."""
    assert Fact.create("q", ["a"], id="mine").id == "mine"


@given(st.builds(Fact, *[st.text()] * 3, st.lists(st.text()).map(tuple), st.sampled_from(SPLITS), st.text()))
def test_from_dict_undoes_as_dict(one: Fact) -> None:
    """The JSON form loses nothing."""
    assert Fact.from_dict(one.as_dict()) == one


def test_from_dict_refuses_a_string_of_answers() -> None:
    """A string would be taken for a list of its letters."""
    with pytest.raises(TypeError, match="answers must be a list"):
        Fact.from_dict({**fact("q").as_dict(), "answers": "abc"})


def test_by_relation_sorts_relations_and_keeps_the_order_of_facts() -> None:
    """Groups are in the order of names; within one the given order stays."""
    facts = [fact("2", relation="b"), fact("1", relation="b"), fact("3", relation="a")]
    groups = by_relation(facts)
    assert list(groups) == ["a", "b"]
    assert [one.question for one in groups["b"]] == ["2", "1"]


@given(COUNTS)
def test_by_relation_loses_nothing(counts: dict[str, int]) -> None:
    """Every fact is in the group of its own relation."""
    groups = by_relation(many(**counts))
    assert {relation: len(group) for relation, group in groups.items()} == counts
    assert all(one.relation == relation for relation, group in groups.items() for one in group)


def test_of_split_keeps_the_facts_of_one_split() -> None:
    """Only equal splits count; "" is the split of facts without one."""
    facts = [fact("1", split="test"), fact("2"), fact("3", split="train")]
    assert [one.question for one in of_split(facts, "test")] == ["1"]
    assert [one.question for one in of_split(facts, "")] == ["2"]


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", "dev"), ("dev", "dev"), ("test", "dev"), ("ood", "ood_dev"), ("ood_dev", "ood_dev")],
)
def test_exemplars_come_from_dev(split: str, expected: str) -> None:
    """In-distribution facts take dev, out-of-distribution facts their own dev."""
    assert exemplar_split(split) == expected


def test_commonest_answer_of_each_relation() -> None:
    """The most frequent first answer; of equally frequent ones the smaller, whatever the order."""
    facts = [fact("1", "x"), fact("2", "y"), fact("3", "y"), fact("4", "b", "s"), fact("5", "a", "s")]
    assert commonest_answers(facts) == {"r": "y", "s": "a"}
    assert commonest_answers(facts[::-1]) == {"r": "y", "s": "a"}
    assert commonest_answers([]) == {}


def test_only_first_answers_count_as_common() -> None:
    """Aliases do not make an answer common."""
    facts = [Fact.create("1", ["x", "z"]), Fact.create("2", ["y", "z"])]
    assert commonest_answers(facts) == {"": "x"}


def test_the_digest_is_stable_and_sees_order_and_number() -> None:
    """Equal lists have equal digests; another order, a fact more or less is another digest."""
    facts = [Fact.create("q", ["a"]), Fact.create("r", ["b"])]
    assert facts_digest(facts) == "2fb9129c6c57ffde93ae91b011eab0be6f961323a4c0f6e0ba52338784cb4278"
    assert len({facts_digest(some) for some in (facts, facts[::-1], facts[:1], facts + facts[:1], [])}) == 5


@given(COUNTS, st.integers(1, 250), st.integers(0, 3))
def test_a_sample_is_so_many_of_the_facts_in_their_order(counts: dict[str, int], n: int, seed: int) -> None:
    """min(n, all) facts, each one of the given, in the given order, and the same ones each time."""
    facts = many(**counts)
    drawn = sample_facts(facts, n, seed)
    places = {one.id: place for place, one in enumerate(facts)}
    order = [places[one.id] for one in drawn]
    assert len(drawn) == min(n, len(facts))
    assert order == sorted(set(order))
    assert drawn == sample_facts(facts, n, seed)


@given(COUNTS, st.integers(1, 250))
def test_a_sample_gives_each_relation_its_share(counts: dict[str, int], n: int) -> None:
    """A relation's number is its proportional share, rounded down or up."""
    total = sum(counts.values())
    drawn = Counter(one.relation for one in sample_facts(many(**counts), n, 0))
    for relation, count in counts.items():
        exact = min(n, total) * count / total
        assert int(exact) <= drawn[relation] <= -int(-exact // 1)


@given(COUNTS, st.integers(1, 250), st.randoms())
def test_a_sample_does_not_depend_on_the_order_of_facts(
    counts: dict[str, int], n: int, shuffler: random.Random
) -> None:
    """The same facts are drawn from the same facts in another order."""
    facts = many(**counts)
    before = set(sample_facts(facts, n, 5))
    shuffler.shuffle(facts)
    assert set(sample_facts(facts, n, 5)) == before


def test_a_sample_is_the_same_on_every_machine_and_version() -> None:
    """The draw is recorded by its seed alone: it may never change."""
    drawn = sample_facts([fact(str(i), relation="rs"[i % 2]) for i in range(20)], 5, 7)
    assert [one.question for one in drawn] == ["0", "11", "16", "18", "19"]


def test_seeds_draw_different_facts_and_each_fact_equally_often() -> None:
    """Over 400 seeds each of 10 facts is among 5 drawn about 200 times (binomial: 4 SD are 40)."""
    facts = many(r=10)
    drawn = Counter(one.id for seed in range(400) for one in sample_facts(facts, 5, seed))
    assert all(160 <= drawn[one.id] <= 240 for one in facts)


def test_largest_remainders_get_what_is_left_over() -> None:
    """3 of 5, 3 and 2 facts are 1.5, 0.9 and 0.6: the last two are rounded up... and 1.5 is rounded down."""
    drawn = Counter(one.relation for one in sample_facts(many(a=5, b=3, c=2), 3, 0))
    assert drawn == {"a": 1, "b": 1, "c": 1}


def test_equal_remainders_go_to_the_smaller_name() -> None:
    """One fact of two equal relations comes from the first by name."""
    assert [one.relation for one in sample_facts(many(b=4, a=4), 1, 0)] == ["a"]


def test_identical_facts_can_be_drawn_one_by_one() -> None:
    """Rows that occur twice count twice, and a limit between them still holds."""
    assert len(sample_facts([fact("q")] * 3, 2, 0)) == 2


@pytest.mark.parametrize("n", [0, -1, -100])
def test_a_limit_below_one_is_refused(n: int) -> None:
    """No run is started on no facts."""
    with pytest.raises(InputError, match=f"limit: found {n}, expected at least 1"):
        sample_facts(many(r=3), n, 0)
    with pytest.raises(InputError, match=f"limit: found {n}, expected at least 1"):
        check_limit(n)


def test_no_limit_and_one_are_limits() -> None:
    """None and 1 pass the check."""
    check_limit(None)
    check_limit(1)
