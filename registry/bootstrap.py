"""The paired bootstrap of a metric's difference between two models on the same rows. Pure.

Rows are drawn with replacement, the same ones for both models, and the difference is computed
afresh for each draw; the interval lies between percentiles of these differences (Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13). A draw is kept as how often
it has each row, so a metric of many draws is a few operations on a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from registry import metrics
from registry.metrics import Metric, Truth

SEED = 20130101
CELLS = 1_000_000
"""Numbers held at a time by one step: draws times rows."""

Counts = np.ndarray
"""Shape (draws, rows): how often each row was drawn."""
Statistic = Callable[[Counts], np.ndarray]
"""The metric of each draw, shape (draws,); NaN where it is not defined."""


@dataclass(frozen=True)
class Interval:
    """Between which two values a figure lies, in the metric's unit."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows. `improvement` is above zero where the candidate is better."""

    candidate: float
    champion: float
    improvement: float
    interval: Interval
    """Of the improvement."""
    candidate_interval: Interval
    champion_interval: Interval
    rows: int
    resamples: int
    left_out: int
    """Draws for which the metric is not defined, such as ROC AUC where one class is missing."""


def compare(
    metric: Metric,
    truth: Truth,
    candidate: np.ndarray,
    champion: np.ndarray,
    *,
    resamples: int,
    confidence: float,
) -> Comparison | None:
    """Compare two models' scores, of the form `Truth.scores` gives, by the paired bootstrap.

    The interval is two-sided: (1 - confidence) / 2 of the draws lie beyond each end. The draws
    are the same for the same number of rows. None where the metric is not defined on the rows,
    or on fewer than half of the draws.
    """
    rows = len(truth.labels)
    values = [
        metrics.compute(truth, scores, [metric.name]).get(metric.name)
        for scores in (candidate, champion)
    ]
    if values[0] is None or values[1] is None:
        return None
    one, other = statistic(metric, truth, candidate), statistic(metric, truth, champion)
    drawn = [(one(counts), other(counts)) for counts in draws(rows, resamples)]
    pairs = np.array([np.concatenate(side) for side in zip(*drawn, strict=True)])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < resamples / 2:
        return None
    sign = 1.0 if metric.greater_is_better else -1.0
    return Comparison(
        candidate=values[0],
        champion=values[1],
        improvement=sign * (values[0] - values[1]),
        interval=_between(sign * (pairs[0] - pairs[1]), confidence),
        candidate_interval=_between(pairs[0], confidence),
        champion_interval=_between(pairs[1], confidence),
        rows=rows,
        resamples=resamples,
        left_out=resamples - pairs.shape[1],
    )


def draws(rows: int, resamples: int, seed: int = SEED) -> Iterator[Counts]:
    """`resamples` draws of `rows` rows with replacement, a matrix of some of them at a time."""
    random = np.random.default_rng(seed)
    step = max(1, CELLS // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        picked = random.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
        yield np.bincount(picked.ravel(), minlength=size * rows).reshape(size, rows).astype(float)


def statistic(metric: Metric, truth: Truth, scores: np.ndarray) -> Statistic:
    """The metric of a model as a function of how often each row is drawn."""
    if metric.name in ("roc_auc", "average_precision"):
        return _ranked(metric.name, truth, scores)
    if metric.name == "f1":
        return _f1(truth, scores)
    if metric.name == "r2":
        return _r2(truth, scores)
    losses = _losses(metric.name, truth, scores)
    if losses is None:
        return _recomputed(metric, truth, scores)
    if metric.name == "rmse":
        return lambda counts: np.sqrt(_mean(losses, counts))
    return lambda counts: _mean(losses, counts)


def weighted_auc(positive: np.ndarray, scores: np.ndarray) -> Statistic:
    """ROC AUC as a rank statistic (Hanley and McNeil 1982).

    It is the share of pairs of a positive and a negative row in which the positive one scores
    higher, ties counting half. `positive` (bool) and `scores` have shape (rows,). The rows are
    sorted once; a draw then takes one pass over the groups of equal scores.
    """
    order, starts = _groups(scores)
    truth = positive[order].astype(float)

    def auc(counts: Counts) -> np.ndarray:
        counts = counts[:, order]
        hits = counts * truth
        above = np.add.reduceat(hits, starts, axis=1)
        misses = np.add.reduceat(counts - hits, starts, axis=1)
        # Groups run from the highest score down: a positive beats all negatives after its group.
        beaten = misses.sum(axis=1, keepdims=True) - np.cumsum(misses, axis=1) + misses / 2
        pairs = above.sum(axis=1) * misses.sum(axis=1)
        return _ratio((above * beaten).sum(axis=1), pairs)

    return auc


def weighted_precision(positive: np.ndarray, scores: np.ndarray) -> Statistic:
    """Average precision: precision at each score, weighted by the recall that it adds."""
    order, starts = _groups(scores)
    truth = positive[order].astype(float)

    def precision(counts: Counts) -> np.ndarray:
        counts = counts[:, order]
        hits = np.add.reduceat(counts * truth, starts, axis=1)
        taken = np.cumsum(np.add.reduceat(counts, starts, axis=1), axis=1)
        found = np.cumsum(hits, axis=1)
        positives = found[:, -1]
        both = (positives > 0) & (taken[:, -1] > positives)
        share = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        return np.where(both, _ratio((hits * share).sum(axis=1), positives), np.nan)

    return precision


def _groups(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order from the highest score down, and where each group of equal scores begins."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    return order, starts


def _ranked(name: str, truth: Truth, scores: np.ndarray) -> Statistic:
    if truth.problem == "binary":
        column = scores[:, truth.classes.index(str(truth.positive))]
        build = weighted_auc if name == "roc_auc" else weighted_precision
        return build(truth.is_positive, column)
    each = [weighted_auc(truth.labels == c, scores[:, i]) for i, c in enumerate(truth.classes)]
    return lambda counts: np.mean([auc(counts) for auc in each], axis=0)


def _losses(name: str, truth: Truth, scores: np.ndarray) -> np.ndarray | None:
    """What each row adds to a metric that is a mean over rows, shape (rows,); or None."""
    if name in ("log_loss", "brier", "accuracy"):
        one_row = np.arange(len(truth.labels))
        right = truth.labels[:, None] == np.asarray(truth.classes, dtype=object)
        if name == "accuracy":
            return np.asarray(right[one_row, scores.argmax(axis=1)].astype(float))
        if name == "log_loss":
            return np.asarray(-np.log(np.clip(scores[right], 1e-15, 1.0)))
        column = scores[:, truth.classes.index(str(truth.positive))]
        return np.asarray((column - truth.is_positive) ** 2)
    if name == "rmse":
        return np.asarray((scores - truth.labels) ** 2)
    if name == "mae":
        return np.asarray(np.abs(scores - truth.labels))
    return None


def _f1(truth: Truth, scores: np.ndarray) -> Statistic:
    """2 TP / (2 TP + FP + FN): of the positive class, or the mean over classes that occur."""
    classes = np.asarray(truth.classes, dtype=object)
    wanted = classes if truth.problem == "multiclass" else classes[classes == truth.positive]
    said = classes[scores.argmax(axis=1)][:, None] == wanted
    real = truth.labels[:, None] == wanted
    hits, marked = (said & real).astype(float), said.astype(float) + real.astype(float)

    def f1(counts: Counts) -> np.ndarray:
        top, bottom = 2 * (counts @ hits), counts @ marked
        each = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
        return np.asarray(each.sum(axis=1) / np.maximum((bottom > 0).sum(axis=1), 1))

    return f1


def _r2(truth: Truth, scores: np.ndarray) -> Statistic:
    centred = truth.labels - truth.labels.mean()  # so that squares do not swallow the digits
    rest = (scores - truth.labels) ** 2

    def r2(counts: Counts) -> np.ndarray:
        total = counts @ centred**2 - (counts @ centred) ** 2 / counts.sum(axis=1)
        return 1 - _ratio(counts @ rest, np.where(total > 1e-12 * (centred**2).sum(), total, 0))

    return r2


def _recomputed(metric: Metric, truth: Truth, scores: np.ndarray) -> Statistic:
    """For a metric without a form of its own: each draw is written out."""

    def each(counts: Counts) -> np.ndarray:
        picked = [np.repeat(np.arange(len(c)), c.astype(int)) for c in counts]
        found = [metrics.compute(truth.take(p), scores[p], [metric.name]) for p in picked]
        return np.array([values.get(metric.name, np.nan) for values in found])

    return each


def _mean(losses: np.ndarray, counts: Counts) -> np.ndarray:
    return np.asarray(counts @ losses / counts.sum(axis=1))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
    return found


def _between(values: np.ndarray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
