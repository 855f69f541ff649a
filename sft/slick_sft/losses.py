"""What fine-tuning minimises, on the target tokens alone. Imports torch at once.

Over the target tokens t of all rows of an optimiser step, with w the weight of a token's row, k = 1 on rows held to
the base model (the Known ones) and else 0, and the distillation's strength W:

    loss = sum_t w_t * (-log p(t) + W * k_t * KL(p_base(. | before t) || p(. | before t))) / sum_t w_t

The divergence is taken over the whole vocabulary, from the base model to the tuned one, at temperature 1. It is the
output regularisation of Learning without Forgetting (Li and Hoiem 2016, arXiv 1606.09282), which Kaplan et al. 2026
(arXiv 2604.15574) propose against what tuning on new facts does to old ones; that it is asked of Known rows alone is
this project's: what the base model says of a fact it does not know is not worth keeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from slick_sft.loader import IGNORED


def weighted_sum(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The numerator of the weighted mean. Weights of 1 leave every bit as an unweighted sum has it."""
    return (losses * weights).sum()


def mean(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A sum over a step's total weight; where nothing weighs anything 0, not 0 / 0."""
    return total / torch.where(weight > 0, weight, torch.ones_like(weight))


def target_weight(labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """The denominator: the weights of all tokens that are predicted. Without weights, their number."""
    there = labels[..., 1:] != IGNORED
    return there.sum().float() if weights is None else (weights[..., 1:] * there).sum()


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each line of logits: -log p of its target, the entropy, and whether the target is the likeliest."""
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    with torch.no_grad():
        chances = F.log_softmax(logits.float(), dim=-1)
        return losses, -(chances.exp() * chances).sum(-1), logits.argmax(-1) == targets


def divergence(base: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(base || model) of each line of logits, in nats and in 32 bits."""
    theirs, ours = F.log_softmax(base.float(), dim=-1), F.log_softmax(logits.float(), dim=-1)
    return F.kl_div(ours, theirs, log_target=True, reduction="none").sum(-1)


@contextmanager
def only_at(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """While open, `model` computes its vocabulary at these positions alone: a mask of shape (rows, tokens).

    Most tokens of a row are its prompt's, and nothing is learnt from them; on a small model the output head over
    them costs a third of a step. What the model returns is one line of all positions.
    """

    def keep(_module: Any, _args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[positions][None]
        return output

    handle = backbone(model).register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def backbone(model: Any) -> Any:
    """The part of a causal model that stands before its output head; the part inside an adapter, if it wears one."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model
