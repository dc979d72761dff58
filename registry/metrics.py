"""The metrics models are judged by: names, directions, and how each is computed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry import answer as form
from registry.problems import METRICS, Problem


@dataclass(frozen=True)
class Truth:
    """What a model's answers are held against.

    `labels` has shape (rows,): class names for a classifier, floats for a regression.
    `classes` are in the model's order; `positive` is one of them for a binary problem.
    """

    problem: Problem
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    positive: str | None = None

    @property
    def is_positive(self) -> np.ndarray:
        """Shape (rows,), bool: whether the label is the positive class."""
        return np.asarray(self.labels == self.positive)

    def take(self, mask: np.ndarray) -> Truth:
        """The same for the rows where `mask` (shape (rows,), bool) holds."""
        return Truth(self.problem, self.labels[mask], self.classes, self.positive)

    def scores(self, answer: Any) -> np.ndarray:
        """The numbers in an answer that the metrics below need. Raises answer.BadAnswer.

        Regression: values, shape (rows,). Otherwise probabilities, shape (rows, classes).
        """
        if self.problem == "regression":
            return form.values(answer)
        return form.probabilities(answer, self.classes)


@dataclass(frozen=True)
class Metric:
    """One metric, and whether more of it is better. Unit: the metric's own."""

    name: str
    greater_is_better: bool
    compute: Callable[[Truth, np.ndarray], float]

    def at_least(self, value: float, limit: float) -> bool:
        """Whether `value` is as good as `limit` or better."""
        return value >= limit if self.greater_is_better else value <= limit

    def worsened(self, value: float, margin: float) -> float:
        """`value` made worse by `margin`."""
        return value - margin if self.greater_is_better else value + margin

    @property
    def worse_word(self) -> str:
        """On which side of a limit the bad values lie."""
        return "below" if self.greater_is_better else "above"


def _sk() -> Any:
    """scikit-learn's metrics, imported late: it takes a second, and most commands need none."""
    from sklearn import metrics

    return metrics


def _positive_share(truth: Truth, scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores[:, truth.classes.index(str(truth.positive))])


def _predicted(truth: Truth, scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.asarray(truth.classes, dtype=object)[scores.argmax(axis=1)])


def _codes(truth: Truth) -> np.ndarray:
    order = {c: i for i, c in enumerate(truth.classes)}
    return np.array([order[label] for label in truth.labels])


def _roc_auc(truth: Truth, scores: np.ndarray) -> float:
    if truth.problem == "binary":
        return float(_sk().roc_auc_score(truth.is_positive, _positive_share(truth, scores)))
    present = np.isin(truth.classes, truth.labels)
    if not present.all():
        raise ValueError("a class does not occur in these rows")
    return float(
        _sk().roc_auc_score(
            _codes(truth), scores, multi_class="ovr", labels=np.arange(len(truth.classes))
        )
    )


def _log_loss(truth: Truth, scores: np.ndarray) -> float:
    """Mean of -ln p(label), p not below 1e-15 (so that one certain error is not infinite)."""
    p = scores[np.arange(len(scores)), _codes(truth)]
    return float(-np.log(np.clip(p, 1e-15, 1.0)).mean())


def _brier(truth: Truth, scores: np.ndarray) -> float:
    """Brier 1950, for two classes: mean of (p - y)^2, between 0 and 1."""
    return float(((_positive_share(truth, scores) - truth.is_positive) ** 2).mean())


def _f1(truth: Truth, scores: np.ndarray) -> float:
    labels = truth.labels.astype(str)
    predicted = _predicted(truth, scores).astype(str)
    if truth.problem == "binary":
        return float(_sk().f1_score(labels, predicted, pos_label=truth.positive, zero_division=0.0))
    return float(_sk().f1_score(labels, predicted, average="macro", zero_division=0.0))


_ALL = {
    m.name: m
    for m in (
        Metric("roc_auc", True, _roc_auc),
        Metric(
            "average_precision",
            True,
            lambda t, s: float(_sk().average_precision_score(t.is_positive, _positive_share(t, s))),
        ),
        Metric("log_loss", False, _log_loss),
        Metric("brier", False, _brier),
        Metric("accuracy", True, lambda t, s: float((_predicted(t, s) == t.labels).mean())),
        Metric("f1", True, _f1),
        Metric("rmse", False, lambda t, s: float(np.sqrt(((s - t.labels) ** 2).mean()))),
        Metric("mae", False, lambda t, s: float(np.abs(s - t.labels).mean())),
        Metric("r2", True, lambda t, s: float(_sk().r2_score(t.labels, s))),
    )
}


def get(name: str, problem: Problem) -> Metric:
    """The metric of that name. Raises ValueError naming those that fit the problem."""
    if name not in METRICS[problem]:
        raise ValueError(
            f"{name!r} is not a metric of a {problem} problem; "
            f"there are {', '.join(METRICS[problem])}"
        )
    return _ALL[name]


def compute(truth: Truth, scores: np.ndarray, names: Sequence[str] = ()) -> dict[str, float]:
    """Every metric that is defined on these rows, by name.

    One that is not (ROC AUC where only one class occurs) is left out, never guessed.
    """
    found: dict[str, float] = {}
    for name in names or METRICS[truth.problem]:
        if len(truth.labels) == 0 or _undefined(name, truth):
            continue
        found[name] = get(name, truth.problem).compute(truth, scores)
    return found


def _undefined(name: str, truth: Truth) -> bool:
    if name == "r2":
        return len(truth.labels) < 2 or bool((truth.labels == truth.labels[0]).all())
    if name in ("roc_auc", "average_precision"):
        return not set(truth.classes) <= set(truth.labels)
    return False
