"""Performance without labels: what the metrics would be if the calibrated score were right. Pure.

Confidence-based performance estimation (CBPE). The chance that a row is of a class is read off the
model's own probability, recalibrated on rows whose outcome is known; the expected metric over
these chances is the estimate. The method and its name are NannyML's ("Confidence-based Performance
Estimation", docs/how_it_works/performance_estimation.rst in github.com/NannyML/nannyml); that
confidences say how accuracy changes on other data: Guillory, Shankar, Ebrahimi, Darrell and
Schmidt, "Predicting with Confidence on Unseen Distributions", ICCV 2021; that their mean is an
unbiased, consistent estimate of accuracy where they are calibrated: Kivimaki, Bialek, Nurminen and
Kuberski, "Confidence-based Estimators for Predictive Performance in Model Monitoring", Journal of
Artificial Intelligence Research 2025 (arXiv 2407.08649).

It sees what a change of the inputs does. It does not see that the same inputs come to mean
something else, but for what newer labels have taught the calibration: an estimate is to be shown
as one, and held against the truth when that comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.calibration import Calibration as Calibration
from monitoring.findings import Estimate
from monitoring.outcomes import Floats, readable, scores

if TYPE_CHECKING:
    from registry.record import Record


def estimate(
    record: Record, version: int, answers: Sequence[Any], calibration: Calibration
) -> Estimate | None:
    """The expected metrics of a window's answers, labelled or not.

    Two classes: roc_auc, log_loss, brier and accuracy; more: accuracy and log_loss. ROC AUC is
    left out where all rows surely have one outcome. None where no answer is of the model's form,
    and of a regression: its answer is a number without any statement of how far off it may be, so
    there is nothing to take an expectation over.
    """
    if record.problem == "regression":
        return None
    found = scores(record, answers)
    found = found[readable(found)]
    if not len(found):
        return None
    of = _of_two if record.problem == "binary" else _of_more
    return Estimate(version, len(found), of(record, found, calibration), calibration.rows)


def expected_auc(found: Floats, chances: Floats) -> float | None:
    """ROC AUC if row i, of score found[i], is positive with probability chances[i].

    The expected number of pairs of a positive row and a negative one with a lower score, ties
    counting half, over the expected number of such pairs; no row makes a pair with itself. Both
    arrays have shape (rows,). None where no pair is to be expected.
    """
    order = np.argsort(found, kind="stable")
    ranked, up = found[order], chances[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ups = np.add.reduceat(up, starts)
    downs = np.add.reduceat(1 - up, starts)
    alone = up * (1 - up)
    # What a row would make with itself counts half in its tie, and whole among all pairs.
    above = ups @ (np.cumsum(downs) - downs / 2) - alone.sum() / 2
    pairs = up.sum() * (1 - up).sum() - alone.sum()
    return float(above / pairs) if pairs > 1e-9 else None


def _of_two(record: Record, found: Floats, calibration: Calibration) -> dict[str, float]:
    column = record.classes.index(str(record.positive))
    score, other = found[:, column], found[:, 1 - column]
    chances = calibration.apply(score)
    auc = expected_auc(score, chances)
    losses = chances * _surprise(score) + (1 - chances) * _surprise(other)
    squares = chances * (1 - score) ** 2 + (1 - chances) * score**2
    right = np.where(found.argmax(axis=1) == column, chances, 1 - chances)
    return {
        **({} if auc is None else {"roc_auc": auc}),
        "log_loss": float(losses.mean()),
        "brier": float(squares.mean()),
        "accuracy": float(right.mean()),
    }


def _of_more(record: Record, found: Floats, calibration: Calibration) -> dict[str, float]:
    del record
    chances = calibration.apply(found)
    right = chances[np.arange(len(found)), found.argmax(axis=1)]
    return {
        "accuracy": float(right.mean()),
        "log_loss": float((chances * _surprise(found)).sum(axis=1).mean()),
    }


def _surprise(chances: Floats) -> Floats:
    """-ln p, bounded as log loss is in registry/metrics.py."""
    return np.asarray(-np.log(np.clip(chances, 1e-15, 1)), dtype=np.float64)
