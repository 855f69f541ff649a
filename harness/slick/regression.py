"""Accuracy as a linear function of what was fitted: b0 + b_kn · N_kn/|D| + b_unk · N_unk/|D| (Gekhman et al. 2024).

Epochs of one run and runs of one variant are not independent, so seeds are averaged and standard errors are clustered
by variant: CR2 (Bell and McCaffrey 2002), Student's t with their degrees of freedom and never more than G - 1, and a
wild cluster bootstrap for the p-values. Pure; numpy and scipy only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from slick.statistics import LEVEL, Interval, t_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TERMS = ("b0", "b_kn", "b_unk")
# A further term that a fit may have: what optimiser steps do by themselves, whatever rows they were spent on.
STEPS = "b_steps"
_FIELDS = {"b_kn": "known", "b_unk": "unknown", STEPS: "steps"}
_AVERAGED = ("known", "unknown", "accuracy", "steps")
# Fewer variants leave nothing to estimate between them.
MIN_VARIANTS = 4
# Bootstrap draws; where all sign patterns are fewer, each is taken once.
DRAWS = 9_999
# Up to so many variants two-valued weights have too few patterns (2^11 = 2,048), and Webb's six are taken.
FEW_VARIANTS = 11


@dataclass(frozen=True, slots=True)
class Point:
    """One variant at one epoch. known, unknown: training rows of that kind fitted, over |D|; accuracy: of test facts.

    steps: optimiser steps taken, over those of the longest run; only for a fit with `STEPS`. All fractions in [0, 1].
    """

    variant: str
    epoch: float
    known: float
    unknown: float
    accuracy: float
    steps: float = 0.0


@dataclass(frozen=True, slots=True)
class Coefficient:
    """error: its clustered standard error; df: degrees of freedom of its t; p_wild: by the wild cluster bootstrap."""

    name: str
    value: float
    error: float
    df: float
    interval: Interval | None
    p: float | None
    p_wild: float | None


@dataclass(frozen=True, slots=True)
class LinearModel:
    """The fit. reason: why there is none, or why a part of it is undefined; empty where all of it stands."""

    coefficients: tuple[Coefficient, ...]
    r2: float | None
    points: int
    variants: int
    weights: str = ""
    reason: str = ""

    def __getitem__(self, name: str) -> Coefficient:
        return next(c for c in self.coefficients if c.name == name)

    @property
    def fitted(self) -> bool:
        return bool(self.coefficients)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def average_seeds(points: Iterable[Point]) -> list[Point]:
    """One point a variant and epoch, the mean over its seeds, in the order in which they first stand."""
    groups: dict[tuple[str, float], list[Point]] = {}
    for point in points:
        groups.setdefault((point.variant, point.epoch), []).append(point)
    return [
        Point(
            variant,
            epoch,
            *(math.fsum(getattr(p, name) for p in group) / len(group) for name in _AVERAGED),
        )
        for (variant, epoch), group in groups.items()
    ]


def linear_model(
    points: Sequence[Point],
    *,
    terms: Sequence[str] = TERMS,
    level: float = LEVEL,
    seed: int = 0,
    draws: int = DRAWS,
) -> LinearModel:
    """The fit of `points` (seeds averaged already), with standard errors clustered by variant.

    terms: `TERMS`, or these and `STEPS`.

    Without numbers, but with the reason, where the points cannot tell the coefficients apart or are of fewer than 4
    variants. seed: of the bootstrap.
    """
    import numpy as np

    variants = [p.variant for p in points]
    count = len(set(variants))
    x = _design(points, terms)
    y = np.array([p.accuracy for p in points])
    if reason := _cannot(x, count):
        return LinearModel((), None, len(points), count, reason=reason)
    fit = np.linalg.lstsq(x, y, rcond=None)[0]
    residual = y - x @ fit
    total = float(((y - y.mean()) ** 2).sum())
    if float((residual**2).sum()) <= 1e-20 * max(total, 1e-300):
        reason = "every point lies on the plane, so nothing tells how far other variants would lie from it"
        undefined = tuple(Coefficient(n, float(b), 0.0, 0.0, None, None, None) for n, b in zip(terms, fit, strict=True))
        return LinearModel(undefined, 1.0 if total > 0 else None, len(points), count, reason=reason)
    covariance = cr2_covariance(x, residual, variants)
    dfs = cr2_df(x, variants)
    chances, weights = wild_cluster_p(x, y, variants, seed=seed, draws=draws)
    found = tuple(
        _coefficient(
            name, float(fit[i]), math.sqrt(max(covariance[i, i], 0.0)), min(dfs[i], count - 1.0), level, chances[i]
        )
        for i, name in enumerate(terms)
    )
    r2 = 1 - float((residual**2).sum()) / total if total > 0 else None
    return LinearModel(found, r2, len(points), count, weights)


def _design(points: Sequence[Point], terms: Sequence[str]) -> Floats:
    """A line a point, a column a term; the first is constant."""
    import numpy as np

    rows = [[1.0, *(getattr(p, _FIELDS[name]) for name in terms[1:])] for p in points]
    return np.array(rows, dtype=np.float64).reshape(-1, len(terms))


def _cannot(x: Floats, variants: int) -> str:
    """Why these points cannot be fitted; empty where they can."""
    import numpy as np

    if variants < MIN_VARIANTS:
        return f"{variants} variant{'s' * (variants != 1)}, and clustered errors need at least {MIN_VARIANTS}"
    spread = [float(np.ptp(x[:, i])) for i in (1, 2)]
    still = [name for name, value in zip(("Known", "Unknown"), spread, strict=True) if value < 1e-9]
    if still:
        return (
            f"the share of {' and of '.join(still)} rows fitted is the same at every point, so it can explain nothing"
        )
    if np.linalg.matrix_rank(x, tol=1e-8 * len(x)) < x.shape[1]:
        which = "Known and of Unknown rows fitted" + (", and the steps taken," if x.shape[1] > len(TERMS) else "")
        return f"the shares of {which} move together, so their parts cannot be told apart"
    return ""


def _coefficient(name: str, value: float, error: float, df: float, level: float, p_wild: float) -> Coefficient:
    from scipy.special import stdtr

    if error <= 0 or not df > 0:
        return Coefficient(name, value, error, df, None, None, None)
    half = t_value(level, df) * error
    p = 2 * float(stdtr(df, -abs(value) / error))
    return Coefficient(name, value, error, df, Interval(value - half, value + half, level), p, p_wild)


def _clusters(variants: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """The places of each cluster's points."""
    import numpy as np

    order = list(dict.fromkeys(variants))
    labels = np.array([order.index(v) for v in variants])
    return [np.flatnonzero(labels == g) for g in range(len(order))]


def _adjusted(x: Floats, clusters: Sequence[NDArray[np.intp]]) -> tuple[Floats, list[Floats]]:
    """((X'X)^-1, per cluster A_g X_g) with A_g = (I - H_gg)^(-1/2), the symmetric pseudo-inverse root."""
    import numpy as np

    bread = np.asarray(np.linalg.inv(x.T @ x), dtype=np.float64)
    found: list[Floats] = []
    for rows in clusters:
        part = x[rows]
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - part @ bread @ part.T)
        # A cluster that alone decides a coefficient leaves a zero here; it then adds nothing to its error.
        roots = np.where(values > 1e-10, 1 / np.sqrt(np.maximum(values, 1e-10)), 0.0)
        found.append((vectors * roots) @ vectors.T @ part)
    return bread, found


def cr2_covariance(x: Floats, residual: Floats, variants: Sequence[Hashable]) -> Floats:
    """The coefficients' covariance, clustered, with Bell and McCaffrey's small-sample correction (CR2).

    (X'X)^-1 Σ_g X_g' A_g e_g e_g' A_g X_g (X'X)^-1; without bias where points are independent and alike.
    """
    import numpy as np

    clusters = _clusters(variants)
    bread, adjusted = _adjusted(x, clusters)
    scores = np.array([part.T @ residual[rows] for part, rows in zip(adjusted, clusters, strict=True)])
    covariance: Floats = bread @ scores.T @ scores @ bread
    return covariance


def cr2_df(x: Floats, variants: Sequence[Hashable]) -> list[float]:
    """Satterthwaite's degrees of freedom of each CR2 variance (Bell and McCaffrey 2002; Pustejovsky and Tipton 2018).

    (tr B)²/tr(B²) with B = P'P and P's columns (I - H)_g' A_g X_g (X'X)^-1 c, the points independent and alike.
    """
    import numpy as np

    clusters = _clusters(variants)
    bread, adjusted = _adjusted(x, clusters)
    residual_maker = np.eye(len(x)) - x @ bread @ x.T
    found = []
    for i in range(x.shape[1]):
        columns = np.array(
            [residual_maker[rows].T @ (part @ bread[:, i]) for part, rows in zip(adjusted, clusters, strict=True)]
        )
        gram = columns @ columns.T
        squares = float((gram**2).sum())
        found.append(float(np.trace(gram)) ** 2 / squares if squares > 0 else 0.0)
    return found


def wild_cluster_p(
    x: Floats, y: Floats, variants: Sequence[Hashable], *, seed: int = 0, draws: int = DRAWS
) -> tuple[list[float], str]:
    """(two-sided p-value of each coefficient being 0, how the clusters were weighted).

    The wild cluster restricted bootstrap of Cameron, Gelbach and Miller 2008: residuals under the null, one random
    weight a cluster, the t statistic with CR2 errors. Webb's six weights for up to 11 clusters, else Rademacher's two.
    """
    import numpy as np

    clusters = _clusters(variants)
    bread, adjusted = _adjusted(x, clusters)
    few = len(clusters) <= FEW_VARIANTS
    values = np.array([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5]) if few else np.array([-1.0, 1.0])
    weights = np.sign(values) * np.sqrt(np.abs(values))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(weights, (draws, len(clusters)))
    maker = np.eye(len(y)) - x @ bread @ x.T
    chances = []
    for i in range(x.shape[1]):
        others = np.delete(x, i, axis=1)
        fitted = others @ np.linalg.lstsq(others, y, rcond=None)[0]
        # The coefficient, and each cluster's part of its error, as weights of the outcomes.
        parts = [maker[:, rows] @ part @ bread[:, i] for part, rows in zip(adjusted, clusters, strict=True)]
        linear = np.column_stack([x @ bread[:, i], *parts])
        # A draw turns all residuals of a cluster alike, so that only their sums count.
        turned = np.array([(y - fitted)[rows] @ linear[rows] for rows in clusters])
        seen = float(_t_statistics(y[None] @ linear)[0])
        made = _t_statistics(fitted @ linear + drawn @ turned)
        # The data themselves are one of the draws, so that no p-value is 0.
        chances.append((1 + int((made >= seen * (1 - 1e-9)).sum())) / (1 + draws))
    return chances, "Webb" if few else "Rademacher"


def _t_statistics(found: Floats) -> Floats:
    """|t| of each row: the coefficient, then the clusters' parts of its error."""
    import numpy as np

    values: Floats = np.abs(found[:, 0]) / np.sqrt(np.maximum((found[:, 1:] ** 2).sum(axis=1), 1e-300))
    return values


@dataclass(frozen=True, slots=True)
class OverFacts:
    """How far the coefficients move when other test facts are asked: their standard errors, by their names."""

    errors: Mapping[str, float]
    facts: int

    def as_dict(self) -> dict[str, Any]:
        return {"errors": dict(self.errors), "facts": self.facts}


def over_facts(
    points: Sequence[Point],
    right: Floats,
    clusters: Sequence[Hashable] | None = None,
    *,
    terms: Sequence[str] = TERMS,
    seed: int = 0,
    draws: int = 2_000,
) -> OverFacts | None:
    """The bootstrap over test facts of the fit of `points`. right: points × facts, shares of seeds that are right.

    Facts of one cluster are drawn together. None where the points cannot be fitted, or the facts are fewer than two
    clusters. The same facts stand at every point, so a draw moves them all.
    """
    import numpy as np

    x = _design(points, terms)
    groups = _clusters(list(range(right.shape[1])) if clusters is None else clusters)
    if len(groups) < 2 or _cannot(x, len({p.variant for p in points})):
        return None
    # A fit is linear in the accuracies, so every fact has a fit of its own, and theirs average to the whole's.
    own = np.linalg.pinv(x) @ right
    sums = np.array([own[:, rows].sum(axis=1) for rows in groups])
    sizes = np.array([len(rows) for rows in groups], dtype=float)
    times = np.random.default_rng(seed).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), draws)
    fits = (times @ sums) / (times @ sizes)[:, None]
    errors = fits.std(axis=0, ddof=1)
    return OverFacts({name: float(e) for name, e in zip(terms, errors, strict=True)}, int(right.shape[1]))


def with_facts(model: LinearModel, facts: OverFacts, level: float = LEVEL) -> LinearModel:
    """The model with its intervals widened by the noise of the test facts: variances added, the variants' df kept."""

    def wider(c: Coefficient) -> Coefficient:
        if c.interval is None:
            return c
        error = math.hypot(c.error, facts.errors[c.name])
        half = t_value(level, c.df) * error
        return replace(c, error=error, interval=Interval(c.value - half, c.value + half, level), p=None)

    return replace(model, coefficients=tuple(wider(c) for c in model.coefficients))
