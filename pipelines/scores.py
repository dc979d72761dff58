"""What is reported of a model on some rows: metrics by slice, and the points of each plot. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from registry import metrics
from registry.metrics import Truth

POINTS = 200
"""The most points kept of a curve; more cannot be seen."""


COLUMNS = {
    "roc": ("fpr", "tpr"),
    "precision_recall": ("recall", "precision"),
    "calibration": ("predicted", "observed"),
    "confusion": ("actual", "predicted"),
    "residuals": ("predicted", "residual"),
    "importance": ("feature", "importance", "spread"),
}
"""Every plot that there may be, and its columns; x before y where the plot is a curve."""


def by_slice(
    truth: Truth, scores: np.ndarray, rows: pd.DataFrame, columns: Sequence[str], least: int
) -> dict[str, float]:
    """`slice/COLUMN/VALUE/METRIC` for every value with at least `least` rows."""
    found: dict[str, float] = {}
    for column in columns:
        values = rows[column].astype(object).where(rows[column].notna(), "missing").astype(str)
        for value, count in values.value_counts().sort_index().items():
            if count < least:
                continue
            mask = (values == value).to_numpy()
            for name, number in metrics.compute(truth.take(mask), scores[mask]).items():
                found[f"slice/{_plain(column)}/{_plain(str(value))}/{name}"] = number
    return found


def _plain(value: str) -> str:
    """A part of a metric's name; MLflow allows few characters, and the empty name not at all.

    What had to change gets a checksum, so that two values never become one.
    """
    plain = "".join(c if c.isalnum() or c in "_-. " else "_" for c in value)[:80].strip(". ")
    return plain if plain == value and value else f"{plain}_{zlib.crc32(value.encode()):08x}"


def curves(truth: Truth, scores: np.ndarray) -> Mapping[str, pd.DataFrame]:
    """Plot name to its points: roc, precision_recall, calibration, confusion; or residuals.

    With more than two classes the curves pool every class against the rest (micro average).
    """
    if truth.problem == "regression":
        table = pd.DataFrame({"predicted": scores, "residual": truth.labels - scores})
        return {"residuals": _thin(table.sort_values("predicted", ignore_index=True))}
    found = {"confusion": _confusion(truth, scores)}
    if truth.problem == "binary":
        positive, share = truth.is_positive, scores[:, truth.classes.index(str(truth.positive))]
    else:
        positive = (truth.labels[:, None] == np.asarray(truth.classes, dtype=object)).ravel()
        share = scores.ravel()
    if positive.any() and not positive.all():
        found.update(_curves(positive, share))
    return found


def _confusion(truth: Truth, scores: np.ndarray) -> pd.DataFrame:
    predicted = np.asarray(truth.classes, dtype=object)[scores.argmax(axis=1)]
    return pd.DataFrame({"actual": truth.labels, "predicted": predicted})


def _curves(positive: np.ndarray, share: np.ndarray) -> dict[str, pd.DataFrame]:
    false, true, _ = sk.roc_curve(positive, share)
    precision, recall, _ = sk.precision_recall_curve(positive, share)
    seen, expected = calibration_curve(positive, share, n_bins=10, strategy="quantile")
    return {
        "roc": _thin(pd.DataFrame({"fpr": false, "tpr": true})),
        "precision_recall": _thin(pd.DataFrame({"recall": recall, "precision": precision})),
        "calibration": pd.DataFrame({"predicted": expected, "observed": seen}),
    }


def _thin(table: pd.DataFrame) -> pd.DataFrame:
    if len(table) <= POINTS:
        return table
    keep = np.linspace(0, len(table) - 1, POINTS).round().astype(int)
    return table.iloc[keep].reset_index(drop=True)
