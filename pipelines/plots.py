"""Draws the points of pipelines.scores as pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TITLES = {
    "roc": "ROC curve",
    "precision_recall": "Precision and recall",
    "calibration": "Calibration: predicted against observed share",
    "confusion": "Confusion matrix, share of each actual class",
    "residuals": "Residuals: actual minus predicted",
    "importance": "Permutation importance",
}


def draw(curves: Mapping[str, pd.DataFrame], subtitle: str) -> dict[str, Figure]:
    """One figure for each table of points, by name."""
    return {name: _figure(name, table, subtitle) for name, table in curves.items()}


def _figure(name: str, table: pd.DataFrame, subtitle: str) -> Figure:
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{TITLES[name]}\n{subtitle}", fontsize=10)
    if name == "confusion":
        _confusion(axes, table)
    elif name == "importance":
        _bars(axes, table)
    elif name == "residuals":
        axes.scatter(table["predicted"], table["residual"], s=9, alpha=0.6)
        axes.axhline(0, color="black", linewidth=0.8)
    else:
        x, y = table.columns
        marker = "o" if name == "calibration" else None
        axes.plot(table[x], table[y], marker=marker)
        if name != "precision_recall":
            axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
    if name in ("roc", "precision_recall", "calibration", "residuals"):
        axes.set(xlabel=_LABELS[table.columns[0]], ylabel=_LABELS[table.columns[1]])
    return figure


_LABELS = {
    "fpr": "false positive rate",
    "tpr": "true positive rate",
    "recall": "recall",
    "precision": "precision",
    "predicted": "predicted",
    "observed": "observed share",
    "residual": "residual",
}


def _confusion(axes: Axes, table: pd.DataFrame) -> None:
    counts = pd.crosstab(table["actual"], table["predicted"])
    names = sorted(set(counts.index) | set(counts.columns))
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    share = counts.to_numpy() / np.maximum(counts.to_numpy().sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="actual")
    axes.set_xticklabels(names)
    axes.set_yticklabels(names)
    for row in ticks:
        for column in ticks:
            dark = share[row, column] > 0.5
            text = f"{share[row, column]:.1%}\n({counts.iat[row, column]:,})"
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize=8,
            )


def _bars(axes: Axes, table: pd.DataFrame) -> None:
    ordered = table.sort_values("importance").tail(20)
    axes.barh(ordered["feature"], ordered["importance"], xerr=ordered["spread"], capsize=2)
    axes.set_xlabel("what the metric loses when the column is shuffled")
