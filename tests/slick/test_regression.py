"""slick.regression: the linear model, its clustered errors against direct formulas, and its coverage."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import block_diag, fractional_matrix_power
from scipy.stats import t

from slick.regression import (
    STEPS,
    TERMS,
    LinearModel,
    Point,
    average_seeds,
    cr2_covariance,
    cr2_df,
    linear_model,
    over_facts,
    wild_cluster_p,
    with_facts,
)

Floats = NDArray[np.float64]
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def curve(epoch: float, speed: float) -> float:
    return 1 - math.exp(-speed * epoch)


def study(
    rng: np.random.Generator, *, epochs: int = 8, variant_sd: float = 0.02, point_sd: float = 0.005, b_unk: float = -0.1
) -> list[Point]:
    """Points of seven variants on a plane, each variant off it by a luck of its own."""
    points = []
    for share in SHARES:
        luck = rng.normal(0, variant_sd)
        for epoch in range(epochs + 1):
            known, unknown = (1 - share) * curve(epoch, 0.6), share * curve(epoch, 0.2)
            accuracy = 0.4 + 0.07 * known + b_unk * unknown + luck + rng.normal(0, point_sd)
            points.append(Point(f"unknown-{share}", epoch, known, unknown, accuracy))
    return points


def design(points: list[Point]) -> tuple[Floats, Floats, list[str]]:
    x = np.array([[1.0, p.known, p.unknown] for p in points])
    return x, np.array([p.accuracy for p in points]), [p.variant for p in points]


def test_points_on_a_plane_give_back_the_plane() -> None:
    """Coefficients to 1e-9, and errors that are undefined, never 0."""
    found = linear_model(study(np.random.default_rng(0), variant_sd=0, point_sd=0))
    assert [c.value for c in found.coefficients] == pytest.approx([0.4, 0.07, -0.1], abs=1e-9)
    assert found.r2 == pytest.approx(1.0)
    assert all(c.interval is None and c.p is None for c in found.coefficients)
    assert "every point lies on the plane" in found.reason


def test_the_fit_is_least_squares() -> None:
    """Coefficients and R² as the normal equations have them."""
    points = study(np.random.default_rng(1))
    x, y, _ = design(points)
    expected = np.linalg.solve(x.T @ x, x.T @ y)
    found = linear_model(points, draws=99)
    assert [c.name for c in found.coefficients] == list(TERMS)
    assert [c.value for c in found.coefficients] == pytest.approx(list(expected), abs=1e-10)
    rest = y - x @ expected
    assert found.r2 == pytest.approx(1 - float(rest @ rest) / float(((y - y.mean()) ** 2).sum()))
    assert (found.points, found.variants) == (63, 7)


def shuffled(points: list[Point]) -> list[Point]:
    return [points[i] for i in np.random.default_rng(9).permutation(len(points))]


def test_cr2_is_its_direct_formula() -> None:
    """Whole matrices, roots by scipy, the points in any order: equal to 1e-9."""
    points = shuffled(study(np.random.default_rng(2)))
    x, y, variants = design(points)
    names = sorted(set(variants))
    order = np.concatenate([[i for i, v in enumerate(variants) if v == name] for name in names]).astype(int)
    xs, ys = x[order], y[order]
    bread = np.linalg.inv(xs.T @ xs)
    hat = xs @ bread @ xs.T
    e = ys - hat @ ys
    meat, blocks, start = np.zeros((3, 3)), [], 0
    for name in names:
        rows = slice(start, start + variants.count(name))
        start = rows.stop
        root = np.real(fractional_matrix_power(np.eye(rows.stop - rows.start) - hat[rows, rows], -0.5))
        score = xs[rows].T @ root @ e[rows]
        meat += np.outer(score, score)
        blocks.append(root @ xs[rows])
    assert cr2_covariance(x, y - x @ np.linalg.lstsq(x, y, rcond=None)[0], variants) == pytest.approx(
        bread @ meat @ bread, abs=1e-9
    )
    # Satterthwaite: the variance is a quadratic form of the residuals; its moments under independent points.
    stacked = block_diag(*[block @ bread for block in blocks]).reshape(len(xs), len(names), 3)
    for i, df in enumerate(cr2_df(x, variants)):
        w = (np.eye(len(xs)) - hat) @ stacked[:, :, i]
        gram = w @ w.T
        assert df == pytest.approx(np.trace(gram) ** 2 / np.trace(gram @ gram), rel=1e-9)


def test_cr2_is_unbiased_where_points_are_independent() -> None:
    """Its mean over 1,000 draws is the true covariance; the plain sandwich (CR0) falls far short of it."""
    rng = np.random.default_rng(3)
    x, _, variants = design(study(rng))
    noise = rng.normal(0, 1, (1000, len(x)))
    bread = np.linalg.inv(x.T @ x)
    rest = noise - noise @ x @ bread @ x.T
    mean = np.mean([cr2_covariance(x, row, variants)[2, 2] for row in rest])
    plain = np.mean(
        [
            sum(
                float((bread @ x[rows].T @ row[rows])[2]) ** 2
                for rows in (np.array([v == name for v in variants]) for name in set(variants))
            )
            for row in rest
        ]
    )
    assert mean == pytest.approx(bread[2, 2], rel=0.1)
    assert plain < 0.85 * bread[2, 2]


def test_the_degrees_of_freedom_are_few() -> None:
    """Never more than variants less one, whatever the number of epochs."""
    for epochs in (3, 30):
        found = linear_model(study(np.random.default_rng(4), epochs=epochs), draws=99)
        assert all(0 < c.df <= 6 for c in found.coefficients)


def test_the_interval_is_students() -> None:
    """Value ∓ t(df) · error, and the p-value of the same t."""
    found = linear_model(study(np.random.default_rng(5)), level=0.95, draws=99)["b_unk"]
    half = t.ppf(0.975, found.df) * found.error
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((found.value - half, found.value + half))
    assert found.p == pytest.approx(2 * t.sf(abs(found.value) / found.error, found.df))


def coverage(clusters: str, draws: int = 300) -> float:
    """How often the 90 % interval of b_unk holds the truth; points of one variant share their luck."""
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(draws):
        points = study(rng)
        if clusters == "epochs":
            points = [Point(f"{p.variant}/{p.epoch}", p.epoch, p.known, p.unknown, p.accuracy) for p in points]
        interval = linear_model(points, draws=1)["b_unk"].interval
        assert interval is not None
        held += interval.low <= -0.1 <= interval.high
    return held / draws


def test_seven_variants_are_enough_for_the_interval() -> None:
    """Clustered by variant, a 90 % interval holds the true b_unk in at least 87 % of studies."""
    assert 0.87 <= coverage("variants") <= 0.99


def test_epochs_taken_for_independent_are_not() -> None:
    """The check has teeth: with every point its own cluster the interval holds the truth too seldom."""
    assert coverage("epochs", 150) < 0.86


def test_the_wild_bootstrap_seldom_sees_what_is_not_there() -> None:
    """With b_unk of 0, p falls below 10 % in about as many studies; with -10 points in nearly all."""
    rng = np.random.default_rng(7)
    none = [wild_cluster_p(*design(study(rng, b_unk=0.0)), draws=199)[0][2] for _ in range(200)]
    real = [wild_cluster_p(*design(study(rng, b_unk=-0.3)), draws=199)[0][2] for _ in range(30)]
    assert np.mean(np.array(none) < 0.1) <= 0.1 + 3 * math.sqrt(0.09 / 200)
    assert np.mean(np.array(real) < 0.1) > 0.9


def test_few_variants_take_webbs_weights() -> None:
    """Six values a cluster up to eleven clusters, two beyond, where their patterns are many."""
    rng = np.random.default_rng(8)
    assert linear_model(study(rng), draws=99).weights == "Webb"
    many = [Point(f"{p.variant}-{i}", p.epoch, p.known, p.unknown, p.accuracy) for i in (1, 2) for p in study(rng)]
    assert linear_model(many, draws=99).weights == "Rademacher"


def test_no_p_value_is_0() -> None:
    """The data are one of the draws."""
    found = linear_model(study(np.random.default_rng(9), variant_sd=1e-4, b_unk=-0.5), draws=99)["b_unk"]
    assert found.p_wild is not None
    assert found.p_wild >= 1 / 100


def test_the_same_points_give_the_same_numbers() -> None:
    """The bootstrap draws from its seed."""
    points = study(np.random.default_rng(10), b_unk=-0.01)
    assert linear_model(points, draws=199) == linear_model(points, draws=199)
    assert linear_model(points, draws=199, seed=1) != linear_model(points, draws=199)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (lambda p: p.variant == "unknown-0.5", "1 variant, and clustered errors need at least 4"),
        (lambda p: p.variant in ("unknown-0.0", "unknown-0.5", "unknown-1.0"), "3 variants, and clustered errors"),
        (lambda p: p.epoch == 0, "the share of Known and of Unknown rows fitted is the same at every point"),
        (lambda p: False, "0 variants, and clustered errors need at least 4"),
    ],
)
def test_points_that_cannot_tell_give_a_reason(kept: object, reason: str) -> None:
    """A clear statement instead of numbers."""
    assert callable(kept)
    found = linear_model([p for p in study(np.random.default_rng(11)) if kept(p)])
    assert not found.fitted
    assert found.r2 is None
    assert reason in found.reason


def test_shares_that_move_together_give_a_reason() -> None:
    """Known and Unknown fitted at one pace: their parts cannot be told apart."""
    points = [Point(f"v{i}", e, 0.1 * e, 0.2 * e, 0.4) for i in range(5) for e in range(4)]
    assert "move together" in linear_model(points).reason


def test_a_study_without_unknown_rows_gives_a_reason() -> None:
    """Only Known variants: b_unk has nothing to rest on."""
    points = [Point(f"v{i}", e, 0.1 * e + 0.01 * i, 0.0, 0.4) for i in range(5) for e in range(4)]
    assert "the share of Unknown rows fitted is the same" in linear_model(points).reason


def test_seeds_are_averaged() -> None:
    """One point a variant and epoch, in the order in which they first stand."""
    points = [Point("a", 1, 0.2, 0.0, 0.5), Point("b", 1, 0.1, 0.1, 0.4), Point("a", 1, 0.4, 0.0, 0.7)]
    assert average_seeds(points) == [Point("a", 1, pytest.approx(0.3), 0.0, 0.6), Point("b", 1, 0.1, 0.1, 0.4)]


def answers(rng: np.random.Generator, points: list[Point], n: int, cluster: int = 1) -> Floats:
    """points × facts whose means are about the points' accuracies; facts differ, clusters are alike."""
    skill = np.repeat(rng.normal(0, 0.2, n // cluster), cluster)
    return np.array([np.clip(p.accuracy + skill, 0, 1) > rng.random(n) for p in points]).astype(float)


def test_the_bootstrap_over_facts_is_that_of_refitted_studies() -> None:
    """As large as the spread of fits to accuracies over redrawn facts, each refitted anew."""
    rng = np.random.default_rng(12)
    points = study(rng)
    right = answers(rng, points, 150)
    found = over_facts(points, right, draws=3000)
    assert found is not None
    x, _, _ = design(points)
    fits = [np.linalg.lstsq(x, right[:, rng.integers(0, 150, 150)].mean(axis=1), rcond=None)[0] for _ in range(1000)]
    for name, expected in zip(TERMS, np.std(fits, axis=0, ddof=1), strict=True):
        assert found.errors[name] == pytest.approx(float(expected), rel=0.12)


def test_facts_of_one_subject_are_drawn_together() -> None:
    """Four copies of every fact: twice the error of as many facts that stand alone."""
    rng = np.random.default_rng(13)
    points = study(rng)
    right = np.repeat(answers(rng, points, 60), 4, axis=1)
    alone, together = over_facts(points, right), over_facts(points, right, [i // 4 for i in range(240)])
    assert alone is not None
    assert together is not None
    assert together.errors["b_unk"] == pytest.approx(2 * alone.errors["b_unk"], rel=0.15)


def test_one_cluster_of_facts_tells_nothing() -> None:
    """None, never 0."""
    points = study(np.random.default_rng(14))
    right = answers(np.random.default_rng(15), points, 20)
    assert over_facts(points, right, ["a"] * 20) is None
    assert over_facts(points[:9], right[:9]) is None


def test_facts_widen_the_intervals() -> None:
    """Variances add up; the value stays."""
    rng = np.random.default_rng(16)
    points = study(rng)
    model, facts = linear_model(points, draws=99), over_facts(points, answers(rng, points, 100))
    assert facts is not None
    wide = with_facts(model, facts)
    for narrow, wider in zip(model.coefficients, wide.coefficients, strict=True):
        assert wider.value == narrow.value
        assert wider.error == pytest.approx(math.hypot(narrow.error, facts.errors[narrow.name]))
        assert narrow.interval is not None
        assert wider.interval is not None
        assert wider.interval.low < narrow.interval.low < narrow.interval.high < wider.interval.high


def test_a_model_has_a_json_form() -> None:
    """Every number, plain."""
    found: LinearModel = linear_model(study(np.random.default_rng(17)), draws=99)
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [c["name"] for c in plain["coefficients"]] == list(TERMS)
    assert plain["coefficients"][2]["interval"]["low"] < 0


def test_what_steps_erode_can_be_a_term_of_its_own() -> None:
    """Rows that are fitted while every step costs something: without the term Known rows take the blame."""
    rng = np.random.default_rng(7)
    points = [
        replace(p, steps=p.epoch / 8, accuracy=p.accuracy - 0.15 * p.epoch / 8)
        for p in study(rng, variant_sd=0.002, point_sd=0.001)
    ]
    plain, found = linear_model(points), linear_model(points, terms=(*TERMS, STEPS))
    assert [c.name for c in found.coefficients] == [*TERMS, STEPS]
    assert plain["b_kn"].value < 0
    assert [c.value for c in found.coefficients] == pytest.approx([0.4, 0.07, -0.1, -0.15], abs=0.02)
    facts = over_facts(points, np.tile([p.accuracy for p in points], (30, 1)).T, terms=(*TERMS, STEPS))
    assert facts is not None
    assert list(facts.errors) == [*TERMS, STEPS]


def test_steps_that_move_with_what_is_fitted_are_told_apart_by_nothing() -> None:
    """A sentence that names them, and no numbers."""
    points = [replace(p, steps=0.5 * p.known + p.unknown) for p in study(np.random.default_rng(8))]
    found = linear_model(points, terms=(*TERMS, STEPS))
    assert not found.fitted
    assert "rows fitted, and the steps taken, move together" in found.reason
