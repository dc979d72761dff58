"""The kinds of problem, and the names of the metrics each is judged by; imports nothing."""

from __future__ import annotations

from typing import Literal

Problem = Literal["binary", "multiclass", "regression"]

METRICS: dict[Problem, tuple[str, ...]] = {
    "binary": ("roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1"),
    "multiclass": ("accuracy", "f1", "log_loss", "roc_auc"),
    "regression": ("rmse", "mae", "r2"),
}
"""The metrics of each problem; the first is its primary one unless params.yaml names another."""
