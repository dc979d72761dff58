"""The paired bootstrap: its statistics agree with scikit-learn's, and its intervals are right."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from registry import bootstrap, metrics
from registry.metrics import Truth
from registry.problems import METRICS, Problem

quick = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
EVERY = [(problem, name) for problem, names in METRICS.items() for name in names]


def case(problem: Problem, seed: int, rows: int = 40) -> tuple[Truth, np.ndarray, np.ndarray]:
    """Labels of a problem and the scores of two models that know something of them."""
    random = np.random.default_rng(seed)
    if problem == "regression":
        labels = random.normal(5, 2, rows)
        one, other = (labels + random.normal(0, s, rows) for s in (1, 1.5))
        return Truth(problem, labels), one, other
    classes = ("a", "b") if problem == "binary" else ("a", "b", "c")
    codes = np.r_[np.arange(len(classes)), random.integers(0, len(classes), rows - len(classes))]
    truth = Truth(
        problem,
        np.asarray(classes, dtype=object)[codes],
        classes,
        "b" if problem == "binary" else None,
    )
    sides = []
    for _ in range(2):
        raw = np.round(random.random((rows, len(classes))) + 0.8 * np.eye(len(classes))[codes], 1)
        sides.append((raw + 0.05) / (raw + 0.05).sum(axis=1, keepdims=True))
    return truth, sides[0], sides[1]


@quick
@given(seeds, st.integers(2, 60))
def test_weighted_auc_and_precision_are_those_of_scikit_learn(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    positive = np.r_[True, False, random.random(rows) < 0.4]
    scores = np.round(random.random(rows + 2), 1)  # with ties
    weights = random.integers(0, 4, (3, rows + 2)).astype(float)
    weights[:, :2] += 1
    auc = bootstrap.weighted_auc(positive, scores)(weights)
    precision = bootstrap.weighted_precision(positive, scores)(weights)
    for n, weight in enumerate(weights):
        assert auc[n] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weight))
        assert precision[n] == pytest.approx(
            average_precision_score(positive, scores, sample_weight=weight)
        )


@pytest.mark.parametrize(("problem", "name"), EVERY)
def test_a_draw_gives_the_metric_of_the_rows_it_has(problem: Problem, name: str) -> None:
    for seed in range(5):
        truth, scores, _ = case(problem, seed)
        (counts,) = bootstrap.draws(len(truth.labels), 20, seed)
        found = bootstrap.statistic(metrics.get(name, problem), truth, scores)(counts)
        for value, drawn in zip(found, counts, strict=True):
            picked = np.repeat(np.arange(len(drawn)), drawn.astype(int))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                meant = metrics.compute(truth.take(picked), scores[picked], [name])
            assert value == pytest.approx(meant.get(name, np.nan), nan_ok=True)


def test_a_metric_without_a_form_of_its_own_is_recomputed() -> None:
    truth, scores, _ = case("regression", 3)
    worst = metrics.Metric("mae", False, lambda t, s: float(np.abs(s - t.labels).mean()))
    (counts,) = bootstrap.draws(len(truth.labels), 10)
    recomputed = bootstrap._recomputed(worst, truth, scores)(counts)
    assert recomputed == pytest.approx(bootstrap.statistic(worst, truth, scores)(counts))


@pytest.mark.parametrize(("problem", "name"), EVERY)
def test_equal_models_differ_by_nothing(problem: Problem, name: str) -> None:
    truth, scores, _ = case(problem, 1)
    metric = metrics.get(name, problem)
    found = bootstrap.compare(metric, truth, scores, scores, resamples=100, confidence=0.95)
    assert found is not None
    assert (found.improvement, found.interval) == (0, bootstrap.Interval(0, 0))


@pytest.mark.parametrize(("problem", "name"), EVERY)
def test_whoever_is_the_candidate_has_the_other_sign(problem: Problem, name: str) -> None:
    truth, one, other = case(problem, 2)
    metric = metrics.get(name, problem)
    found = bootstrap.compare(metric, truth, one, other, resamples=200, confidence=0.9)
    turned = bootstrap.compare(metric, truth, other, one, resamples=200, confidence=0.9)
    assert found is not None
    assert turned is not None
    assert found.improvement == -turned.improvement
    assert found.interval.low == pytest.approx(-turned.interval.high)
    assert found.improvement > 0 or metric.at_least(found.champion, found.candidate)
    assert found == bootstrap.compare(metric, truth, one, other, resamples=200, confidence=0.9)


def test_draws_without_a_class_are_left_out_and_counted() -> None:
    labels = np.array(["b", *["a"] * 9], dtype=object)
    shares = np.linspace(0.9, 0.1, 10)
    truth = Truth("binary", labels, ("a", "b"), "b")
    scores = np.c_[1 - shares, shares]
    metric = metrics.get("roc_auc", "binary")
    found = bootstrap.compare(metric, truth, scores, scores, resamples=1000, confidence=0.95)
    assert found is not None
    assert found.left_out == pytest.approx(1000 * 0.9**10, abs=60)


def test_where_the_metric_is_not_defined_there_is_no_comparison() -> None:
    truth = Truth("binary", np.array(["a"] * 5, dtype=object), ("a", "b"), "b")
    scores = np.full((5, 2), 0.5)
    metric = metrics.get("roc_auc", "binary")
    assert bootstrap.compare(metric, truth, scores, scores, resamples=100, confidence=0.9) is None


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    """90 % intervals of the difference in mean absolute error, 300 samples of 150 rows."""
    random = np.random.default_rng(7)
    metric = metrics.get("mae", "regression")
    meant = np.sqrt(2 / np.pi) * (1.2 - 1.0)  # mean of |N(0, s)| is s sqrt(2 / pi)
    covered = 0
    for _ in range(300):
        labels, shared = np.zeros(150), random.normal(size=150)
        one = shared
        other = 1.2 * (0.8 * shared + 0.6 * random.normal(size=150))
        found = bootstrap.compare(
            metric, Truth("regression", labels), one, other, resamples=300, confidence=0.9
        )
        assert found is not None
        covered += found.interval.low <= meant <= found.interval.high
    assert 0.85 <= covered / 300 <= 0.94


def test_eight_thousand_rows_take_seconds() -> None:
    truth, one, other = case("binary", 0, 8000)
    metric = metrics.get("roc_auc", "binary")
    start = time.process_time()
    bootstrap.compare(metric, truth, one, other, resamples=1000, confidence=0.95)
    assert time.process_time() - start < 15
