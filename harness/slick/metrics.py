"""What a fact's knowledge is in lm-eval's terms: metrics, and their means over facts. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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


class Means:
    """Means of facts' metrics, gathered fact by fact, so that no fact's metrics need be kept."""

    def __init__(self) -> None:
        self.facts = 0
        self._sums: dict[str, list[float]] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        """One fact's metrics; it may lack some that others have."""
        self.facts += 1
        for name, value in metrics.items():
            n, mean, squares, binary = self._sums.setdefault(name, [0.0, 0.0, 0.0, 1.0])
            # Welford's update: squares is the sum of squared deviations from the mean so far.
            n += 1
            step = value - mean
            mean += step / n
            self._sums[name] = [n, mean, squares + step * (value - mean), binary and float(value in (0.0, 1.0))]

    def summary(self) -> dict[str, Any]:
        """Mean and standard error of each metric over facts, keyed as in lm-eval's results ("metric,none").

        A metric that some facts lack is averaged over those that have it, with their number beside it.
        """
        summary: dict[str, Any] = {"sample_len": self.facts}
        for name, (n, mean, squares, binary) in self._sums.items():
            # A share is a count over a count: no rounding of a running mean.
            value = round(mean * n) / n if binary else mean
            error = share_error(value, int(n)) if binary else math.sqrt(squares / (n - 1) / n) if n > 1 else None
            summary[f"{name},none"] = value
            summary[f"{name}_stderr,none"] = "N/A" if error is None else error
            if n != self.facts:
                summary[f"{name}_n,none"] = int(n)
        return summary


def summarise(rows: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """The `Means` of all rows."""
    means = Means()
    for row in rows:
        means.add(row)
    return means.summary()


def probe_metrics(knowledge: Sequence[Knowledge]) -> dict[str, float]:
    """What only all facts of a probe together tell, keyed as in lm-eval's results.

    keeps_…: the mean chance that other exemplar sets keep the category, left out where it is undefined.
    unknown_sampling_error: what drawing samples would add to the expected share of Unknown, by the exact estimator.
    largest_pruned: by how much the exact P_Correct(T>0) of a fact may fall short of the truth, at the most.
    """
    kept = mean_kept(knowledge, chance_kept(knowledge))
    found = {f"keeps_{group.metric if group else 'category'},none": mean for group, mean in kept.items()}
    if knowledge and all(k.chances is not None for k in knowledge):
        found["unknown_sampling_error,none"] = unknown_noise(knowledge) / len(knowledge)
        found["largest_pruned,none"] = max(k.chances.pruned for k in knowledge if k.chances is not None)
    return found
