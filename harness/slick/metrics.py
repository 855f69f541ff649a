"""What a fact's knowledge is in lm-eval's terms: metrics, and their means over facts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slick.knowledge import Knowledge, unknown_noise
from slick.matching import Matching, is_right
from slick.redraw import chance_kept, mean_kept
from slick.statistics import share_error


def fact_metrics(knowledge: Knowledge, prior: str | None, matching: Matching) -> dict[str, float]:
    """One fact's metrics, by their lm-eval names. prior: its relation's commonest answer, None if unknown.

    A category's metric is the chance of the category, so that its mean is the expected share; 0 or 1 for the sampled
    estimator.
    """
    metrics = {category.metric: share for category, share in knowledge.shares.items()}
    metrics["p_correct_greedy"] = knowledge.p_greedy
    if knowledge.p_sampled is not None:
        metrics["p_correct_sampled"] = knowledge.p_sampled
    if knowledge.chances is not None:
        metrics["flagged"] = float(bool(knowledge.flagged))
        metrics["uncertain"] = float(knowledge.chances.uncertain)
    if prior is not None:
        metrics["answer_prior"] = float(is_right(prior, knowledge.fact.answers, matching))
    return metrics


def summarise(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean and standard error of each metric over facts, keyed as in lm-eval's results ("metric,none").

    A metric that some facts lack is averaged over those that have it, with their number beside it.
    """
    summary: dict[str, Any] = {"sample_len": len(rows)}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if name in row]
        mean = sum(values) / len(values)
        binary = set(values) <= {0.0, 1.0}
        error = share_error(mean, len(values)) if binary else _mean_error(values, mean)
        summary[f"{name},none"] = mean
        summary[f"{name}_stderr,none"] = "N/A" if error is None else error
        if len(values) != len(rows):
            summary[f"{name}_n,none"] = len(values)
    return summary


def probe_metrics(knowledge: Sequence[Knowledge]) -> dict[str, float]:
    """What only all facts of a probe together tell, keyed as in lm-eval's results.

    keeps_…: the mean chance that other exemplar sets keep the category, left out where it is undefined.
    unknown_sampling_error: what drawing samples would add to the expected share of Unknown, by the exact estimator.
    """
    kept = mean_kept(knowledge, chance_kept(knowledge))
    found = {f"keeps_{group.metric if group else 'category'},none": mean for group, mean in kept.items()}
    if knowledge and all(k.chances is not None for k in knowledge):
        found["unknown_sampling_error,none"] = unknown_noise(knowledge) / len(knowledge)
    return found


def _mean_error(values: Sequence[float], mean: float) -> float | None:
    n = len(values)
    if n < 2:
        return None
    return float((sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5)
