"""The metrics against scikit-learn's own, and the form of the answers they are computed from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from registry import answer, metrics
from registry.answer import BadAnswer
from registry.metrics import Truth
from registry.problems import METRICS, Problem

NOT_FINITE = "the answer holds values that are not finite numbers"

seeds = pytest.mark.parametrize("seed", range(6))


def binary(seed: int, classes: tuple[str, str] = ("no", "yes")) -> tuple[Truth, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array(classes, dtype=object), 200, p=[0.7, 0.3])
    share = np.clip((labels == "yes") * 0.3 + rng.random(200) * 0.7, 0.001, 0.999)
    columns = [share if c == "yes" else 1 - share for c in classes]
    return Truth("binary", labels, classes, "yes"), np.column_stack(columns)


def multiclass(seed: int) -> tuple[Truth, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = ("owl", "ant", "bee")
    labels = rng.choice(np.array(classes, dtype=object), 200, p=[0.5, 0.3, 0.2])
    raw = rng.random((200, 3)) + np.equal.outer(labels, np.array(classes, dtype=object)) * 0.4
    return Truth("multiclass", labels, classes), raw / raw.sum(axis=1, keepdims=True)


@seeds
@pytest.mark.parametrize("classes", [("no", "yes"), ("yes", "no")])
def test_binary_metrics_are_those_of_scikit_learn(seed: int, classes: tuple[str, str]) -> None:
    truth, scores = binary(seed, classes)
    positive, share = truth.labels == "yes", scores[:, classes.index("yes")]
    labels, predicted = truth.labels.astype(str), np.where(share > 0.5, "yes", "no")
    assert metrics.compute(truth, scores) == pytest.approx(
        {
            "roc_auc": sk.roc_auc_score(positive, share),
            "average_precision": sk.average_precision_score(positive, share),
            "log_loss": sk.log_loss(positive, share),
            "brier": sk.brier_score_loss(positive, share),
            "accuracy": sk.accuracy_score(labels, predicted),
            "f1": sk.f1_score(labels, predicted, pos_label="yes"),
        }
    )


@seeds
def test_multiclass_metrics_are_those_of_scikit_learn(seed: int) -> None:
    truth, scores = multiclass(seed)
    labels = truth.labels.astype(str)
    order = [1, 2, 0]  # ant, bee, owl: scikit-learn wants classes sorted
    predicted = np.array(truth.classes)[scores.argmax(axis=1)]
    assert metrics.compute(truth, scores) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "f1": sk.f1_score(labels, predicted, average="macro"),
            "log_loss": sk.log_loss(labels, scores[:, order], labels=["ant", "bee", "owl"]),
            "roc_auc": sk.roc_auc_score(labels, scores[:, order], multi_class="ovr"),
        }
    )


@seeds
def test_regression_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.normal(5, 2, 200)
    scores = labels + rng.normal(0.3, 1, 200)
    assert metrics.compute(Truth("regression", labels), scores) == pytest.approx(
        {
            "rmse": sk.root_mean_squared_error(labels, scores),
            "mae": sk.mean_absolute_error(labels, scores),
            "r2": sk.r2_score(labels, scores),
        }
    )


def test_every_metric_of_every_problem_is_computed() -> None:
    assert list(metrics.compute(*binary(0))) == list(METRICS["binary"])
    assert list(metrics.compute(*multiclass(0))) == list(METRICS["multiclass"])
    labels = np.array([1.0, 2.0])
    found = metrics.compute(Truth("regression", labels), labels)
    assert found == {"rmse": 0.0, "mae": 0.0, "r2": 1.0}


@pytest.mark.parametrize("label", ["yes", "no"])
def test_a_ranking_is_not_judged_where_one_class_occurs(label: str) -> None:
    truth = Truth("binary", np.array([label, label], dtype=object), ("no", "yes"), "yes")
    found = metrics.compute(truth, np.array([[0.2, 0.8], [0.4, 0.6]]))
    assert set(found) == {"log_loss", "brier", "accuracy", "f1"}


def test_a_ranking_of_three_is_not_judged_where_two_occur() -> None:
    truth = Truth("multiclass", np.array(["a", "b"], dtype=object), ("a", "b", "c"))
    assert set(metrics.compute(truth, np.eye(3)[:2])) == {"accuracy", "f1", "log_loss"}


@pytest.mark.parametrize("labels", [[2.0], [2.0, 2.0, 2.0]])
def test_r2_is_left_out_where_the_truth_does_not_vary(labels: list[float]) -> None:
    truth = Truth("regression", np.array(labels))
    assert set(metrics.compute(truth, truth.labels + 1)) == {"rmse", "mae"}


def test_no_rows_have_no_metrics() -> None:
    nothing = Truth("regression", np.array([]))
    assert metrics.compute(nothing, np.array([])) == {}


def test_only_the_metrics_asked_for_are_computed() -> None:
    assert list(metrics.compute(*binary(1), ["brier", "roc_auc"])) == ["brier", "roc_auc"]


def test_a_certain_error_costs_much_and_not_infinitely_much() -> None:
    truth = Truth("binary", np.array(["yes"], dtype=object), ("no", "yes"), "yes")
    loss = metrics.compute(truth, np.array([[1.0, 0.0]]), ["log_loss"])
    assert loss == {"log_loss": pytest.approx(-np.log(1e-15))}


def test_f1_without_a_hit_is_zero() -> None:
    truth = Truth("binary", np.array(["no", "no"], dtype=object), ("no", "yes"), "yes")
    assert metrics.compute(truth, np.array([[0.9, 0.1]] * 2), ["f1"]) == {"f1": 0.0}


@pytest.mark.parametrize(
    ("name", "problem", "known"),
    [
        ("rmse", "binary", "roc_auc, average_precision, log_loss, brier, accuracy, f1"),
        ("brier", "multiclass", "accuracy, f1, log_loss, roc_auc"),
        ("nonsense", "regression", "rmse, mae, r2"),
    ],
)
def test_a_metric_of_another_problem_is_refused_with_those_that_fit(
    name: str, problem: Problem, known: str
) -> None:
    with pytest.raises(ValueError, match="not a metric") as refused:
        metrics.get(name, problem)
    assert str(refused.value) == (
        f"{name!r} is not a metric of a {problem} problem; there are {known}"
    )


@pytest.mark.parametrize(
    ("problem", "name", "greater"),
    [
        ("binary", "roc_auc", True),
        ("binary", "average_precision", True),
        ("binary", "log_loss", False),
        ("binary", "brier", False),
        ("binary", "accuracy", True),
        ("binary", "f1", True),
        ("regression", "rmse", False),
        ("regression", "mae", False),
        ("regression", "r2", True),
    ],
)
def test_the_direction_of_a_metric_is_the_one_in_which_the_better_model_lies(
    problem: Problem, name: str, greater: bool
) -> None:
    if problem == "binary":
        truth, scores = binary(3)
        worse = 1 - scores
    else:
        truth = Truth("regression", np.arange(9.0))
        scores, worse = truth.labels + 0.1, truth.labels + 3
    metric = metrics.get(name, problem)
    good, bad = metric.compute(truth, scores), metric.compute(truth, worse)
    assert metric.greater_is_better is greater
    assert metric.at_least(good, bad)
    assert not metric.at_least(bad, good)
    assert metric.at_least(good, metric.worsened(good, 0.1))
    assert not metric.at_least(metric.worsened(good, 0.1), good)


def test_a_part_of_the_truth_keeps_what_it_is_held_against() -> None:
    truth, _ = binary(2)
    mask = np.arange(200) < 10
    part = truth.take(mask)
    assert part.labels.tolist() == truth.labels[:10].tolist()
    assert (part.problem, part.classes, part.positive) == ("binary", ("no", "yes"), "yes")


def test_scores_are_read_by_the_names_of_the_classes() -> None:
    truth = Truth("multiclass", np.array(["b"], dtype=object), ("b", "a"))
    table = pd.DataFrame({"prediction": ["a"], "probability_a": [0.75], "probability_b": [0.25]})
    assert truth.scores(table).tolist() == [[0.25, 0.75]]
    numbers = Truth("regression", np.array([1.0]))
    assert numbers.scores(pd.DataFrame({"prediction": [3]})).tolist() == [3.0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([0.5], "the answer is not a table with a probability for each class"),
        (
            pd.DataFrame({"probability_a": [1.0]}),
            "the answer has no probability for b, c",
        ),
        (
            pd.DataFrame({f"probability_{c}": [np.nan] for c in "abc"}),
            "the answer holds probabilities that are not numbers",
        ),
        (
            pd.DataFrame({f"probability_{c}": [np.inf] for c in "abc"}),
            "the answer holds probabilities that are not numbers",
        ),
        pytest.param(
            pd.DataFrame({f"probability_{c}": ["high"] for c in "abc"}),
            "the answer holds probabilities that are not numbers",
        ),
    ],
)
def test_probabilities_that_are_none_are_refused(given: object, sentence: str) -> None:
    with pytest.raises(BadAnswer) as refused:
        answer.probabilities(given, ["a", "b", "c"])
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (pd.DataFrame({"other": [1.0]}), "the answer has no column 'prediction'"),
        (["high"], "the answer is not numbers"),
        (object(), "the answer is not numbers"),
        ([[1.0], [1.0, 2.0]], "the answer is not numbers"),
        ([1.0, np.nan], NOT_FINITE),
        ([None], NOT_FINITE),
        (pd.DataFrame({"prediction": [-np.inf]}), NOT_FINITE),
    ],
)
def test_values_that_are_none_are_refused(given: object, sentence: str) -> None:
    with pytest.raises(BadAnswer) as refused:
        answer.values(given)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "given",
    [[1, 2], np.array([[1.0], [2.0]]), pd.Series([1, 2]), pd.DataFrame({"prediction": [1, 2]})],
)
def test_values_are_read_from_every_form_a_model_answers_in(given: object) -> None:
    assert answer.values(given).tolist() == [1.0, 2.0]
