"""Rows as tensors: padding, weights, masks, and what each process gets of a step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slick_sft.batches import Plan
from slick_sft.loader import IGNORED, Collator, PlannedLoader, PlanSampler, Rows

ROWS = st.lists(st.lists(st.integers(2, 99), min_size=2, max_size=9), min_size=1, max_size=12)


def rows_of(tokens: Sequence[Sequence[int]], weights: Sequence[float] | None = None) -> Rows:
    """Rows whose labels are all but their first token."""
    return Rows.create(tokens, [[IGNORED, *row[1:]] for row in tokens], weights)


@given(ROWS, st.sampled_from([None, 4, 8]))
def test_padding_adds_what_is_neither_read_nor_learnt(tokens: list[list[int]], multiple: int | None) -> None:
    """Tokens and labels stand at the front; behind them the pad token, unattended and without label."""
    batch = Collator(rows_of(tokens), 0, multiple)(range(len(tokens)))
    width = batch["input_ids"].shape[1]
    assert width % (multiple or 1) == 0
    assert width - max(map(len, tokens)) < (multiple or 1)
    for line, row in enumerate(tokens):
        fill = width - len(row)
        assert batch["input_ids"][line].tolist() == row + [0] * fill
        assert batch["attention_mask"][line].tolist() == [1] * len(row) + [0] * fill
        assert batch["labels"][line].tolist() == [IGNORED, *row[1:]] + [IGNORED] * fill


@given(ROWS, st.data())
def test_a_weight_of_0_is_a_masked_row(tokens: list[list[int]], data: st.DataObject) -> None:
    """The labels of a row without weight are those of a row that was masked from the start; others are untouched."""
    weights = [data.draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in tokens]
    batch = Collator(rows_of(tokens, weights), 0)(range(len(tokens)))
    plain = Collator(rows_of(tokens), 0)(range(len(tokens)))
    for line, weight in enumerate(weights):
        assert batch["weights"][line].unique().tolist() == [weight]
        expected = plain["labels"][line] if weight else torch.full_like(plain["labels"][line], IGNORED)
        assert batch["labels"][line].equal(expected)


def test_a_row_that_fills_a_gap_is_masked() -> None:
    """The complement of a place stands for its row without labels."""
    rows = rows_of([[5, 6, 7], [8, 9]])
    filled = Collator(rows, 0)([~1])
    assert filled["input_ids"].tolist() == [[8, 9]]
    assert filled["labels"].tolist() == [[IGNORED, IGNORED]]
    assert rows_of([[1, 2], [3, 4]], [0.0, 1.0]).with_targets == {1}


def test_rows_laid_end_to_end_keep_their_weights() -> None:
    """Without padding, weight and distillation stand at each token of their row; fillers are masked as well."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    tokens = [[5, 6, 7], [8, 9], [3, 4]]
    rows = Rows.create(tokens, tokens, [2.0, 0.5, 1.0], [True, False, True])
    join = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True, pad_to_multiple_of=8)
    batch = Collator(rows, 0, 8, join)([0, 1, ~2])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 3, 4, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 9, IGNORED, IGNORED, IGNORED]]
    assert batch["weights"].tolist() == [[2, 2, 2, 0.5, 0.5, 1, 1, 0]]
    assert batch["distilled"].tolist() == [[True, True, True, False, False, True, True, False]]


@given(st.integers(1, 30), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2))
def test_processes_share_out_a_step(rows: int, processes: int, accumulation: int, device: int, epoch: int) -> None:
    """Together the processes hold the rows of the plan's steps, whatever their number; each as many batches."""
    plan = Plan((tuple(range(rows)),), processes * accumulation * device, 99, 3)
    samplers = [PlanSampler(plan, accumulation=accumulation, process=p, processes=processes) for p in range(processes)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    batches = [list(sampler) for sampler in samplers]
    assert all(len(of) == len(sampler) for of, sampler in zip(batches, samplers, strict=True))
    for step in range(plan.steps_per_pass):
        parts = [of[step * accumulation : (step + 1) * accumulation] for of in batches]
        found = [row for of in parts for batch in of for row in batch if row >= 0]
        assert sorted(found) == sorted(plan.step(epoch * plan.steps_per_pass + step))
        assert max(len(batch) for of in parts for batch in of) <= device


def test_loading_draws_none_of_the_runs_random_numbers() -> None:
    """An epoch of batches leaves torch's random state as it was, so that whatever looks on changes nothing."""
    plan = Plan((tuple(range(9)),), 4, 3, 0)
    collator = Collator(rows_of([[1, 2]] * 9), 0)
    loader = PlannedLoader(PlanSampler(plan, accumulation=1), collator, {"num_workers": 0})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert [len(batch["labels"]) for batch in loader] == [4, 4, 1]
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_a_resumed_epoch_goes_on_behind_what_was_trained(skipped: int) -> None:
    """accelerate skips batches of the epoch that is being gone through, and not of the first one."""
    from accelerate import skip_first_batches

    plan = Plan((tuple(range(9)),), 4, 9, 0)
    loader = PlannedLoader(PlanSampler(plan, accumulation=1), Collator(rows_of([[i, i] for i in range(9)]), 0), {})
    loader.set_epoch(2)
    left = skip_first_batches(loader, skipped)
    found = [batch["input_ids"][:, 0].tolist() for batch in left]
    assert found == [list(plan.step(6 + i)) for i in range(skipped, 3)]
