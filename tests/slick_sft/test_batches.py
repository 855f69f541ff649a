"""Which rows meet in a step: every row once a pass, stages apart, pairs together, however the work is shared out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from slick_sft.batches import Plan, by_stage, parts

STAGES = st.lists(st.integers(0, 3), min_size=1, max_size=60)
SIZES = st.integers(1, 20)


def plan(stages: list[int], size: int, epochs: int, seed: int = 0, **more: bool) -> Plan:
    per_pass = Plan(by_stage(stages), size, 0, seed, **more).steps_per_pass
    return Plan(by_stage(stages), size, epochs * per_pass, seed, **more)


@given(STAGES, SIZES, st.integers(1, 4))
def test_every_row_comes_once_an_epoch_and_stages_come_one_after_the_other(
    stages: list[int], size: int, epochs: int
) -> None:
    """With whole epochs each row is in that many steps, and no row of a stage comes before the stage below is done."""
    p = plan(stages, size, epochs)
    steps = [p.step(i) for i in range(p.steps)]
    assert Counter(row for rows in steps for row in rows) == Counter(dict.fromkeys(range(len(stages)), epochs))
    assert all(1 <= len(rows) <= size for rows in steps)
    in_order = [{stages[row] for row in rows} for rows in steps]
    assert all(len(of) == 1 for of in in_order)
    assert [min(of) for of in in_order] == sorted(min(of) for of in in_order)


@given(st.integers(1, 60), SIZES)
def test_each_pass_over_a_stage_is_whole_and_shuffled_anew(rows: int, size: int) -> None:
    """A pass holds every row once; the next one in another order, where there is another to speak of."""
    p = plan([0] * rows, size, 2)
    passes = [[row for i in range(p.steps_per_pass) for row in p.step(i + n * p.steps_per_pass)] for n in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(rows))
    if rows > 8:
        assert passes[0] != passes[1]
        assert passes[0] != sorted(passes[0])


@given(STAGES, SIZES, st.integers(1, 50))
def test_any_number_of_steps_is_shared_out_in_proportion(stages: list[int], size: int, steps: int) -> None:
    """A stage's steps are within one of its share, and they add up to the run's."""
    p = Plan(by_stage(stages), size, steps, 0)
    ends = p.stage_ends()
    assert ends[-1] == steps
    lengths = [end - start for start, end in zip((0, *ends), ends, strict=False)]
    for length, rows in zip(lengths, p.stages, strict=True):
        assert abs(length - steps * p.stage_steps(rows) / p.steps_per_pass) <= 1


@given(st.integers(1, 40), SIZES, st.integers(0, 9))
def test_steps_depend_on_the_number_of_rows_and_the_seed_alone(rows: int, size: int, seed: int) -> None:
    """Equal places of paired sets meet in the same steps, and a longer run of one stage begins like a shorter one."""
    short, long = plan([0] * rows, size, 1, seed), plan([7] * rows, size, 3, seed)
    assert [short.step(i) for i in range(short.steps)] == [long.step(i) for i in range(short.steps)]


def test_another_seed_is_another_order() -> None:
    """The seed decides the order, and without shuffling it is that of the file."""
    orders = {plan([0] * 20, 20, 1, seed).step(0) for seed in range(5)}
    assert len(orders) == 5
    assert plan([0] * 20, 20, 1, shuffle=False).step(0) == tuple(range(20))


def test_a_late_patch_comes_at_the_end() -> None:
    """Ten rows, then two more in a stage of their own: three epochs of the ten come before three of the two."""
    p = plan([0] * 10 + [1] * 2, 5, 3)
    assert p.stage_ends() == (6, 9)
    assert [set(p.step(i)) for i in (6, 7, 8)] == [{10, 11}] * 3


def test_short_steps_can_be_left_out() -> None:
    """With drop_last a pass ends with the last whole step."""
    p = plan([0] * 7, 3, 2, drop_last=True)
    assert [len(p.step(i)) for i in range(p.steps)] == [3] * 4


@given(st.lists(st.integers(0, 99), min_size=1, max_size=40, unique=True), st.integers(1, 12))
def test_micro_batches_hold_each_row_of_the_step_once(rows: list[int], count: int) -> None:
    """However many processes and accumulation steps: all rows once, of even sizes; what is left over is masked."""
    dealt = parts(rows, count)
    assert len(dealt) == count
    assert sorted(row for part in dealt for row in part if row >= 0) == sorted(rows)
    assert all(part for part in dealt)
    sizes = [sum(row >= 0 for row in part) for part in dealt]
    assert max(sizes) - min(sizes) <= 1
    assert all(~row in rows for part in dealt for row in part if row < 0)
