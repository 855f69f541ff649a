"""slick.exemplars: which solved facts a fact is shown with, and when there are too few."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slick.errors import InputError
from slick.exemplars import (
    ExemplarSets,
    check_pools,
    clashes,
    draw_exemplar_sets,
    draw_fresh_sets,
    exemplar_pools,
    pools_from_file,
)
from slick.facts import Fact


def fact(i: int, *, relation: str = "r", subject: str | None = None, split: str = "", answer: str = "a") -> Fact:
    return Fact.create(
        f"Where is {i}?", [answer], relation=relation, subject=f"s{i}" if subject is None else subject, split=split
    )


POOL = [fact(i) for i in range(100)]

# Few subjects and questions, so that clashes and repeated questions are common.
CROWDED = st.lists(
    st.builds(
        lambda question, subject, answer: Fact.create(f"Q{question}?", [f"a{answer}"], relation="r", subject=subject),
        st.integers(0, 12),
        st.sampled_from(["", "x", "y", "z"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


@given(CROWDED, st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_pools_order_does_not_matter(pool: list[Fact], random: Random, seed: int) -> None:
    """The same seed gives the same sets from the same facts in any order."""
    mixed = list(pool)
    random.shuffle(mixed)
    assert draw_exemplar_sets(mixed, n_sets=3, k=4, seed=seed) == draw_exemplar_sets(pool, n_sets=3, k=4, seed=seed)


def test_a_seed_means_the_same_sets_in_every_process() -> None:
    """Sets depend neither on PYTHONHASHSEED nor on anything else of the process."""
    code = (
        "from slick.facts import Fact\n"
        "from slick.exemplars import draw_exemplar_sets\n"
        "pool = [Fact.create(f'Where is {i}?', ['a'], relation='r', subject=f's{i}') for i in range(100)]\n"
        "sets = draw_exemplar_sets(pool, n_sets=10, k=4, seed=7)\n"
        "print([f.id for exemplars in sets.for_fact(pool[0]) for f in exemplars])\n"
    )
    here = draw_exemplar_sets(POOL, n_sets=10, k=4, seed=7).for_fact(POOL[0])
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == str([f.id for exemplars in here for f in exemplars])


def test_seeds_sets_purposes_and_relations_are_drawn_apart() -> None:
    """Another seed, another purpose, another set or another relation means other exemplars."""

    def drawn(seed: int = 0, purpose: str = "category", relation: str = "r") -> ExemplarSets:
        pool = [fact(i, relation=relation) for i in range(100)]
        return draw_exemplar_sets(pool, n_sets=10, k=4, seed=seed, purpose=purpose)

    def shown(sets: ExemplarSets) -> list[tuple[str, ...]]:
        return [tuple(f.question for f in order[: sets.k]) for order in sets.orders]

    first = shown(drawn())
    assert len(set(first)) == 10
    others = [shown(drawn(seed=1)), shown(drawn(purpose="before")), shown(drawn(relation="s"))]
    for one, other in combinations([first, *others], 2):
        assert one != other


def test_every_question_of_a_relation_sees_the_same_sets() -> None:
    """Two facts from outside the pool are shown the same exemplars."""
    sets = draw_exemplar_sets(POOL, n_sets=10, k=4, seed=0)
    assert sets.for_fact(fact(1000)) == sets.for_fact(fact(1001))
    assert [len(exemplars) for exemplars in sets.for_fact(fact(1000))] == [4] * 10


def test_an_exemplar_that_clashes_is_replaced_and_the_others_stay() -> None:
    """Only the set that held the fact itself changes, in the one place."""
    sets = draw_exemplar_sets(POOL, n_sets=10, k=4, seed=0)
    outside = sets.for_fact(fact(1000))
    target = outside[0][1]
    inside = sets.for_fact(target)
    assert target not in inside[0]
    assert inside[0][0] == outside[0][0]
    assert inside[0][1:3] == outside[0][2:4]
    unchanged = [i for i, exemplars in enumerate(outside) if target not in exemplars]
    assert [inside[i] for i in unchanged] == [outside[i] for i in unchanged]


@pytest.mark.parametrize(
    ("exemplar", "clashing"),
    [
        (fact(1), True),
        (Fact.create("Where is 1?", ["other"], relation="r", subject="elsewhere"), True),
        (fact(2, subject="s1"), True),
        (Fact.create("Who?", ["a"], relation="r", subject="t", id=fact(1).id), True),
        (fact(2), False),
        (fact(2, subject=""), False),
        (fact(2, subject="S1"), False),
    ],
)
def test_what_gives_a_fact_away(exemplar: Fact, clashing: bool) -> None:
    """The fact itself, its question, or its subject in another question; an unknown subject clashes with none."""
    assert clashes(exemplar, fact(1)) is clashing


def test_facts_without_a_subject_do_not_clash_with_one_another() -> None:
    """An empty subject means that the source did not say, not that two facts share it."""
    assert not clashes(fact(1, subject=""), fact(2, subject=""))


@settings(max_examples=200)
@given(CROWDED, CROWDED.filter(bool), st.integers(1, 4), st.integers(0, 3))
def test_no_fact_sees_itself_its_subject_or_its_question(
    pool: list[Fact], targets: list[Fact], k: int, seed: int
) -> None:
    """Where check_pools passes, every set has k exemplars of k questions, and none of them clashes."""
    try:
        check_pools({"r": pool}, targets, k=k)
    except InputError:
        return
    sets = draw_exemplar_sets(pool, n_sets=3, k=k, seed=seed)
    fresh = draw_fresh_sets(pool, sets, n_sets=2, seed=seed)
    for target in targets:
        for exemplars in [*sets.for_fact(target), *fresh.for_fact(target)]:
            assert len({e.question for e in exemplars}) == len(exemplars) == k
            assert not any(clashes(e, target) for e in exemplars)


def test_a_large_pool_of_the_facts_own_subject_gives_what_it_has_besides() -> None:
    """A hundred facts of one subject do not push the four usable ones out of a set's reach."""
    pool = [fact(i, subject="one") for i in range(200)] + [fact(i, subject=f"s{i}") for i in range(200, 204)]
    target = fact(999, subject="one")
    check_pools({"r": pool}, [target], k=4)
    sets = draw_exemplar_sets(pool, n_sets=10, k=4, seed=0)
    assert all(len(exemplars) == 4 for exemplars in sets.for_fact(target))


def test_a_large_pool_of_the_facts_own_subject_alone_is_too_small() -> None:
    """What counts is what is left for the fact, however many facts the pool has."""
    pool = [fact(i, subject="one") for i in range(200)]
    with pytest.raises(InputError, match=r"relation r: found 0 usable \(of 200"):
        check_pools({"r": pool}, [fact(999, subject="one")], k=4)


def test_one_question_with_several_answers_counts_once() -> None:
    """A set shows no question twice, so four answers to one question are one exemplar."""
    pool = [fact(1, answer=f"a{i}") for i in range(4)]
    with pytest.raises(InputError, match=r"found 1 usable \(of 4"):
        check_pools({"r": pool}, [fact(2)], k=4)


def test_fresh_sets_share_no_exemplar_with_the_first_where_the_pool_has_enough() -> None:
    """60 questions give 40 for ten category sets at most, and 20 others for five fresh ones."""
    pool = POOL[:60]
    sets = draw_exemplar_sets(pool, n_sets=10, k=4, seed=0)
    fresh = draw_fresh_sets(pool, sets, n_sets=5, seed=0)
    target = fact(1000)
    used = {e.question for exemplars in sets.for_fact(target) for e in exemplars}
    new = {e.question for exemplars in fresh.for_fact(target) for e in exemplars}
    assert new
    assert not used & new


def test_fresh_sets_are_disjoint_by_question() -> None:
    """Another answer to a question that was shown is not fresh."""
    pool = [fact(i, answer=answer) for i in range(60) for answer in ("a", "b")]
    sets = draw_exemplar_sets(pool, n_sets=10, k=4, seed=0)
    fresh = draw_fresh_sets(pool, sets, n_sets=5, seed=0)
    target = fact(1000)
    used = {e.question for exemplars in sets.for_fact(target) for e in exemplars}
    assert not used & {e.question for exemplars in fresh.for_fact(target) for e in exemplars}


def test_fresh_sets_fall_back_on_the_whole_pool_where_it_is_small() -> None:
    """Ten facts cannot serve both; the fresh sets are then other draws from all of them."""
    pool = POOL[:10]
    sets = draw_exemplar_sets(pool, n_sets=10, k=4, seed=0)
    fresh = draw_fresh_sets(pool, sets, n_sets=5, seed=0)
    assert all(len(exemplars) == 4 for exemplars in fresh.for_fact(fact(1000)))
    assert fresh.orders != sets.orders[:5]


def test_a_fresh_set_that_clashes_everywhere_is_filled_from_the_used_ones() -> None:
    """k exemplars are shown even to a fact whose subject all fresh exemplars have."""
    pool = [fact(i) for i in range(8)]
    sets = draw_exemplar_sets(pool, n_sets=1, k=4, seed=0)
    shown = {e.question for e in sets.orders[0][:4]}
    pool = [f if f.question in shown else fact(i, subject="one") for i, f in enumerate(pool)]
    fresh = draw_fresh_sets(pool, sets, n_sets=1, seed=0)
    (exemplars,) = fresh.for_fact(fact(1000, subject="one"))
    assert {e.question for e in exemplars} == shown


def test_no_fresh_sets_may_be_asked_for() -> None:
    """n_before = 0 gives no sets at all."""
    sets = draw_exemplar_sets(POOL, n_sets=2, k=4, seed=0)
    assert draw_fresh_sets(POOL, sets, n_sets=0, seed=0).for_fact(fact(1)) == []


def test_facts_with_splits_give_their_dev_split() -> None:
    """Exemplars for train and test come from dev, for ood from ood_dev; other relations bring nothing."""
    splits = ("train", "dev", "test", "ood", "ood_dev")
    source = [fact(i, split=split) for i, split in enumerate(splits * 2)] + [fact(50, relation="other", split="dev")]

    def pool(split: str) -> set[str]:
        targets = [f for f in source if f.split == split and f.relation == "r"]
        return {f.split for f in exemplar_pools(source, targets, seed=0)["r"]}

    assert {split: pool(split) for split in splits} == {
        "train": {"dev"},
        "dev": {"dev"},
        "test": {"dev"},
        "ood": {"ood_dev"},
        "ood_dev": {"ood_dev"},
    }


def test_facts_without_splits_give_a_seeded_hold_out() -> None:
    """At most `hold_out` facts of each relation, the same whatever their order, others with another seed."""
    source = [fact(i) for i in range(50)]
    (pool,) = exemplar_pools(source, source, seed=0, hold_out=20).values()
    (again,) = exemplar_pools(source[::-1], source, seed=0, hold_out=20).values()
    (other,) = exemplar_pools(source, source, seed=1, hold_out=20).values()
    assert len({f.id for f in pool}) == 20
    assert pool == again
    assert pool != other
    (small,) = exemplar_pools(source[:5], source[:5], seed=0).values()
    assert len(small) == 5


def test_all_relations_that_are_too_short_are_named_at_once() -> None:
    """One message lists them with what was found, what was expected and how to mend it."""
    targets = [fact(i, relation=relation) for relation in ("long", "none", "short") for i in range(3)]
    pools = {
        "long": [fact(i, relation="long") for i in range(20)],
        "short": [fact(i, relation="short") for i in range(4)],
    }
    with pytest.raises(InputError, match="too few facts to draw 4 exemplars from") as caught:
        check_pools(pools, targets, k=4)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(";")[0].strip() for line in lines] == [
        "relation none: found 0 usable (of 0 in its exemplar split), expected at least 4",
        "relation short: found 3 usable (of 4 in its exemplar split), expected at least 4",
    ]
    assert all("--exemplars FILE" in line for line in lines)


def test_exemplars_may_come_from_a_file() -> None:
    """Every fact of the file serves its relation; a relation that the file lacks has an empty pool."""
    given = [fact(i, relation="a") for i in range(4)]
    pools = pools_from_file(given, [fact(9, relation="a"), fact(9, relation="b")])
    assert pools == {"a": given, "b": []}
    with pytest.raises(InputError, match="holds no facts"):
        pools_from_file([], [fact(1)])
