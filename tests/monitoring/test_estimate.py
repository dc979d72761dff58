"""Performance without labels: right where the score is, and calibration makes it so."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monitoring.estimate import Calibration, estimate, expected_auc
from monitoring.outcomes import scores
from registry import metrics
from registry.record import Record
from tests.monitoring.rows import NUMBER, THREE, TWO, named, two

AS_IT_IS = Calibration()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def world(rows: int, seed: int, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, Any]:
    """Scores whose log-odds, times `slope` and moved by `shift`, are the true ones; outcomes."""
    drawn = np.random.default_rng(seed)
    odds = drawn.normal(-1, 1.2, rows)
    late = drawn.random(rows) < sigmoid(slope * odds + shift)
    return sigmoid(odds), np.where(late, "late", "on_time").tolist()


def truth(record: Record, answers: list[Any], labels: list[str]) -> dict[str, float]:
    about = record.truth(pd.DataFrame({"y": labels}))
    return metrics.compute(about, scores(record, answers))


def three(rows: int, seed: int, power: float = 1.0) -> tuple[list[Any], list[str]]:
    """Answers of three classes, whose `power` is what comes true."""
    drawn = np.random.default_rng(seed)
    said = drawn.dirichlet(np.ones(3), rows)
    true = said**power / (said**power).sum(axis=1, keepdims=True)
    picked = (true.cumsum(axis=1) < drawn.random((rows, 1))).sum(axis=1)
    return named(THREE, said), [THREE.classes[min(i, 2)] for i in picked]


# The estimate


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=2, max_size=25))
def test_the_expected_roc_auc_is_that_of_all_pairs(rows: list[tuple[int, float]]) -> None:
    found, chances = np.array([r[0] / 5 for r in rows]), np.array([r[1] for r in rows])
    wins = pairs = 0.0
    for i, up in enumerate(chances):
        for j, down in enumerate(1 - chances):
            if i != j:
                pairs += up * down
                wins += up * down * ((found[i] > found[j]) + (found[i] == found[j]) / 2)
    value = expected_auc(found, chances)
    if pairs > 1e-6:
        assert value == pytest.approx(wins / pairs, abs=1e-6)
    elif pairs < 1e-12:
        assert value is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({up for _, up in rows}) == 2
))  # fmt: skip
def test_with_certain_outcomes_it_is_the_roc_auc(rows: list[tuple[int, bool]]) -> None:
    found, late = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assert expected_auc(found, late.astype(float)) == pytest.approx(roc_auc_score(late, found))


@pytest.mark.parametrize("problem", ["binary", "multiclass"])
def test_what_comes_true_as_often_as_it_says_is_estimated_right(problem: str) -> None:
    """Within four standard errors of 20,000 rows, and for every metric that is estimated."""
    if problem == "binary":
        record, (chances, labels) = TWO, world(20_000, 1)
        answers = two(chances)
    else:
        record, (answers, labels) = THREE, three(20_000, 1)
    guess = estimate(record, 7, answers, AS_IT_IS)
    assert guess is not None
    assert (guess.version, guess.rows, guess.calibrated_on) == (7, 20_000, 0)
    binary = {"roc_auc", "log_loss", "brier", "accuracy"}
    assert set(guess.metrics) == (binary if problem == "binary" else {"accuracy", "log_loss"})
    true = truth(record, answers, labels)
    for name, value in guess.metrics.items():
        assert value == pytest.approx(true[name], abs=0.016)


def test_which_class_is_the_positive_one_does_not_matter() -> None:
    chances, labels = world(3000, 2, slope=0.5, shift=0.3)
    other = replace(TWO, positive="on_time")
    mine, others = (
        estimate(record, 1, two(chances), Calibration.fit(record, two(chances), labels))
        for record in (TWO, other)
    )
    assert mine is not None
    assert others is not None
    assert mine.metrics == pytest.approx(others.metrics, abs=1e-6)


def test_no_estimate_is_made_of_nothing() -> None:
    assert estimate(NUMBER, 1, [1.0, 2.0], AS_IT_IS) is None
    assert estimate(TWO, 1, [], AS_IT_IS) is None
    assert estimate(TWO, 1, [None, 0.5, {}], AS_IT_IS) is None
    assert Calibration.fit(NUMBER, [1.0] * 600, [1.0] * 600) == AS_IT_IS
    some = estimate(TWO, 1, [*two(np.array([0.2, 0.7])), None], AS_IT_IS)
    assert some is not None
    assert some.rows == 2
    sure = estimate(TWO, 1, two(np.zeros(3)), AS_IT_IS)
    assert sure is not None
    assert sure.metrics == {"log_loss": 0.0, "brier": 0.0, "accuracy": 1.0}


# Calibration


@pytest.mark.parametrize(("slope", "shift"), [(0.5, 0.0), (2.0, 0.5), (1.0, -0.7), (-0.5, 0.0)])
def test_a_score_that_is_wrong_is_put_right(slope: float, shift: float) -> None:
    """Over-confident, under-confident, moved, and upside down."""
    known, labels = world(10_000, 3, slope, shift)
    calibration = Calibration.fit(TWO, two(known), labels)
    assert calibration.kind == "logistic"
    assert calibration.rows == 10_000
    assert calibration.slope == pytest.approx(slope, abs=0.1)
    assert calibration.intercept == pytest.approx(shift, abs=0.12)
    chances, outcomes = world(10_000, 4, slope, shift)
    guess, raw = (estimate(TWO, 1, two(chances), c) for c in (calibration, AS_IT_IS))
    assert guess is not None
    assert raw is not None
    true = truth(TWO, two(chances), outcomes)
    for name, value in guess.metrics.items():
        assert value == pytest.approx(true[name], abs=0.03)
    assert abs(raw.metrics["log_loss"] - true["log_loss"]) > 0.03


def test_where_rows_agree_it_is_plain_logistic_regression() -> None:
    known, labels = world(30_000, 5, slope=0.5, shift=0.4)
    found = Calibration.fit(TWO, two(known), labels)
    odds = np.log(known / (1 - known)).reshape(-1, 1)
    plain = LogisticRegression(C=1e9).fit(odds, np.array(labels) == "late")
    assert found.slope == pytest.approx(plain.coef_[0, 0], abs=0.01)
    assert found.intercept == pytest.approx(plain.intercept_[0], abs=0.01)


def test_a_slope_that_days_do_not_agree_on_is_not_believed() -> None:
    """Ten days whose slopes lie around 1: no single one of them is what the next day has."""
    slopes = [0.4, 1.9, 0.6, 1.8, 0.5, 1.7, 0.7, 1.6, 0.6, 1.6]
    days = [world(1000, n, slope) for n, slope in enumerate(slopes)]
    answers = two(np.concatenate([d[0] for d in days]))
    labels = [label for _, outcomes in days for label in outcomes]
    found = Calibration.fit(TWO, answers, labels)
    order = np.random.default_rng(0).permutation(len(labels))
    mixed = Calibration.fit(TWO, [answers[i] for i in order], [labels[i] for i in order])
    assert abs(found.slope - 1) < 0.02
    assert abs(mixed.slope - 1) > abs(found.slope - 1)
    late = np.mean([label == "late" for label in labels])
    assert found.apply(scores(TWO, answers)[:, 0]).mean() == pytest.approx(late, abs=1e-3)


def test_of_more_classes_one_temperature_is_found() -> None:
    answers, labels = three(10_000, 6, power=0.5)
    calibration = Calibration.fit(THREE, answers, labels)
    assert calibration.kind == "temperature"
    assert calibration.slope == pytest.approx(0.5, abs=0.04)
    newer, outcomes = three(10_000, 7, power=0.5)
    guess, raw = (estimate(THREE, 1, newer, c) for c in (calibration, AS_IT_IS))
    assert guess is not None
    assert raw is not None
    true = truth(THREE, newer, outcomes)
    for name, value in guess.metrics.items():
        assert value == pytest.approx(true[name], abs=0.016)
        assert abs(raw.metrics[name] - true[name]) > 0.05
    assert calibration.apply(scores(THREE, newer)).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "labels",
    [["late"] * 249 + ["on_time"] * 250, ["late"] * 600, [None] * 600, ["never"] * 600],
    ids=["499 rows", "one class", "no labels", "no class"],
)
def test_too_little_to_learn_from_changes_nothing(labels: list[Any]) -> None:
    chances, _ = world(len(labels), 8)
    calibration = Calibration.fit(TWO, two(chances), labels)
    assert calibration == AS_IT_IS
    assert (calibration.apply(chances) == chances).all()


@pytest.mark.parametrize("chances", [
    np.r_[np.zeros(300), np.ones(300)], np.full(600, 0.3), np.r_[np.full(599, 0.3), 0.3 + 1e-16],
    np.r_[np.full(300, 1e-300), np.full(300, 0.5)], np.r_[np.ones(300), np.zeros(300)],
])  # fmt: skip
def test_extreme_scores_give_finite_figures(chances: np.ndarray) -> None:
    """Certain ones that are right, or all wrong; and such as say nothing."""
    labels = ["on_time"] * 300 + ["late"] * 300
    calibration = Calibration.fit(TWO, two(chances), labels)
    applied = calibration.apply(chances)
    assert np.isfinite(applied).all()
    assert applied.mean() == pytest.approx(0.5, abs=0.01)
    guess = estimate(TWO, 1, two(chances), calibration)
    assert guess is not None
    assert all(math.isfinite(v) for v in guess.metrics.values())


@given(st.builds(
    Calibration, st.sampled_from(["identity", "logistic", "temperature"]),
    st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 10**9),
))  # fmt: skip
def test_a_calibration_is_kept_as_json(calibration: Calibration) -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict()))) == calibration
    if calibration.kind == "logistic":
        applied = calibration.apply(np.linspace(0, 1, 11))
        assert ((applied >= 0) & (applied <= 1)).all()
        steps = np.diff(applied) * math.copysign(1, calibration.slope)
        assert (steps >= 0).all()


@pytest.mark.parametrize("raw", [
    {"kind": "isotonic"}, {"slope": math.nan}, {"slope": "1"}, {"intercept": None}, {"odd": 1},
    {"rows": math.inf},
])  # fmt: skip
def test_what_is_no_calibration_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="this is no calibration"):
        Calibration.from_dict(raw)


def test_a_window_of_30_000_rows_is_estimated_at_once() -> None:
    """It takes 0.1 s here, and the fit 0.2 s."""
    chances, labels = world(30_000, 9)
    answers = two(chances)
    start = time.process_time()
    estimate(TWO, 1, answers, Calibration.fit(TWO, answers, labels))
    assert time.process_time() - start < 1.5
