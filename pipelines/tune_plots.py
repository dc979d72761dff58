"""Draws a study: how the metric went, and which parameters it hung on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def history(
    points: Sequence[tuple[int, float]], failed: Sequence[int], metric: str, up: bool
) -> Figure:
    """The metric of each trial by number, and the best until then; failed ones at the bottom."""
    figure, axes = _empty("Optimisation history")
    if points:
        numbers, values = zip(*sorted(points), strict=True)
        best = (np.maximum if up else np.minimum).accumulate(values)
        axes.step(numbers, best, where="post", color="C1", label="best until then")
        axes.scatter(numbers, values, s=22, label="trial", zorder=3)
    if failed:
        axes.plot(
            failed, [0.02] * len(failed), "x", color="C3", label="failed",
            transform=axes.get_xaxis_transform(), linestyle="none",
        )  # fmt: skip
    axes.set(xlabel="trial", ylabel=f"{metric} on the validation rows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """A bar for each parameter, the most important one on top; the shares sum to one."""
    figure, axes = _empty("Parameter importances")
    ordered = sorted(shares.items(), key=lambda item: item[1])
    bars = axes.barh([name for name, _ in ordered], [share for _, share in ordered])
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set(xlabel="share of the metric's variance (fANOVA)", xlim=(0, 1.1))
    return figure


def _empty(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    return figure, axes
