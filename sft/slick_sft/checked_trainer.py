"""TRL's trainer with our batches and our loss. Imports TRL at once."""

# ruff: noqa: ARG002  a callback takes what the trainer hands to it

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import TrainerCallback
from trl import SFTTrainer  # pyright: ignore[reportPrivateImportUsage]  # TRL exports it lazily

from slick.errors import RunError
from slick_sft.batches import Plan
from slick_sft.distillation import Base
from slick_sft.loader import IGNORED, Collator, PlannedLoader, PlanSampler, Rows
from slick_sft.losses import divergence, mean, only_at, target_weight, token_losses, weighted_sum


class CheckedTrainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's trainer with planned batches, weighted rows and distillation; stops at a loss that is not a number."""

    # Ours is a mean over the whole step, however many micro-batches it has.
    loss_is_scaled_for_ga = True

    rows: Rows | None = None
    stages: tuple[tuple[int, ...], ...] = ()
    base: Base | None = None
    distill: float = 0.0
    # The weight of all target tokens of the step in hand.
    step_weight: Any = None
    # Of the whole run.
    steps_without_targets: int = 0

    def plan(self) -> Plan:
        """The rows of each step. A step has the rows of all processes and of all micro-batches that it gathers."""
        args = self.args
        size = self._train_batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        shuffle = args.train_sampling_strategy == "random"
        plan = Plan(self.stages, size, 0, seed, shuffle, args.dataloader_drop_last)
        steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * plan.steps_per_pass)
        return replace(plan, steps=steps)

    def get_train_dataloader(self) -> Any:
        if self.rows is None:
            return super().get_train_dataloader()
        args = self.args
        sampler = PlanSampler(
            self.plan(),
            accumulation=args.gradient_accumulation_steps,
            process=args.process_index,
            processes=args.world_size,
        )
        pad = self.processing_class.pad_token_id
        joins = self.data_collator if self.padding_free or self.data_collator.return_position_ids else None
        options = {
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory,
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
        }
        return PlannedLoader(sampler, Collator(self.rows, pad, args.pad_to_multiple_of, joins), options)

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> Any:
        """The weight of all target tokens of a step, over its micro-batches and the processes."""
        if not batch_samples:
            return None
        weight = sum(target_weight(batch["labels"], batch.get("weights")) for batch in batch_samples)
        self.step_weight = self.accelerator.gather(weight.to(device)).sum()
        return self.step_weight

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weights, distilled = inputs.pop("weights", None), inputs.pop("distilled", None)
        if weights is None or not self.own_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")
        there = labels[:, 1:] != IGNORED
        targets = labels[:, 1:][there]
        inputs["use_cache"] = False
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        # A token is predicted at the one before it.
        with only_at(self.model, pad(there, (0, 1))):
            if self.base is None:
                outputs = model(**inputs, shift_labels=targets[None], fused_lm_head=True)
                losses, entropy, right = -outputs.log_probs[0], outputs.entropy, outputs.is_top1
            else:
                outputs = model(**inputs)
                losses, entropy, right = token_losses(outputs.logits[0], targets)
        if self.args.loss_type == "dft":
            losses = losses * torch.exp(-losses.detach())
        if self.base is not None:
            assert distilled is not None
            losses = losses + self._held(inputs, outputs.logits[0], there, distilled[:, 1:] & there)
        loss = mean(weighted_sum(losses, weights[:, 1:][there]), num_items_in_batch) * self.args.world_size
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / self.current_gradient_accumulation_steps
        self._count(there, entropy, right, inputs)
        return loss

    @property
    def own_loss(self) -> bool:
        """Whether the loss is taken at the target tokens alone, by us. These leave it to TRL."""
        return not self.args.torch_compile and self.label_smoother is None and not _splits_sequences(self.accelerator)

    def _held(self, inputs: Any, logits: Any, there: Any, held: Any) -> Any:
        """The distillation's loss of each target token; 0 on those that are not held to the base model."""
        assert self.base is not None
        losses = logits.new_zeros(len(logits), dtype=torch.float32)
        if not held.any():
            return losses
        base = self.base.logits({k: v for k, v in inputs.items() if k != "use_cache"}, pad(held, (0, 1)))
        among = held[there]
        return losses.masked_scatter(among, self.distill * divergence(base, logits[among]))

    def _count(self, there: Any, entropy: Any, right: Any, inputs: Any) -> None:
        """What TRL logs beside the loss, in one exchange among the processes."""
        tokens = inputs["attention_mask"].sum() if "attention_mask" in inputs else inputs["position_ids"].numel()
        sums = [there.sum(), entropy.detach().sum(), right.sum(), torch.as_tensor(tokens, device=there.device)]
        seen = torch.stack([value.float() for value in sums])[None]
        targets, entropies, rights, tokens = self.accelerator.gather(seen).sum(0).tolist()
        self._metrics["train"]["entropy"].append(entropies / max(targets, 1))
        self._metrics["train"]["mean_token_accuracy"].append(rights / max(targets, 1))
        self._total_train_tokens += int(tokens)
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)
        if not math.isfinite(loss.item()):
            raise RunError(f"the loss is {loss.item()} at step {self.state.global_step + 1}")
        return loss

    def floating_point_ops(self, inputs: Any) -> int:
        """As transformers counts them; it looks through all modules for it at every step."""
        if self._weights_counted is None:
            self._weights_counted = super().floating_point_ops({"input_ids": torch.empty(1)})
        return int(self._weights_counted * inputs["input_ids"].numel())

    _weights_counted: int | None = None


class SkipEmpty(TrainerCallback):  # type: ignore[misc]
    """No optimiser step where there was nothing to learn: no decay of weights, no momentum. The schedule goes on."""

    def __init__(self, trainer: CheckedTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        weight = self.trainer.step_weight
        if weight is not None and not weight > 0:
            # A gradient of 0 still decays and still moves; optimisers leave a weight without one alone.
            model.zero_grad(set_to_none=True)


def _splits_sequences(accelerator: Any) -> bool:
    """Whether a row is spread over several devices, as transformers' context and sequence parallelism do."""
    config = getattr(accelerator, "parallelism_config", None)
    return config is not None and (config.cp_enabled or getattr(config, "sp_enabled", False))
