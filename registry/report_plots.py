"""Draws the gate report's pictures; each is a data URI of an SVG."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from registry.bootstrap import Comparison, Interval
from registry.quality import Scored, Slice

SLICES = 20
BINS = 10
CANDIDATE, CHAMPION, BAD, FAINT = "#1f5fbf", "#7b8794", "#c0261c", "#cbd2d9"
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "text.parse_math": False,  # a slice may be called "$1"
    "svg.hashsalt": "understudy",  # equal numbers, equal bytes
}


def intervals(scored: Scored, compared: Comparison, margin: float) -> str:
    """Both metrics with their intervals, and the improvement against the margin."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 2.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        _point(left, 1, compared.candidate, compared.candidate_interval, CANDIDATE)
        _point(left, 0, compared.champion, compared.champion_interval, CHAMPION)
        left.set_yticks([1, 0], ["candidate", f"Production v{scored.champion_version}"])
        better = "more" if scored.metric.greater_is_better else "less"
        left.set_title(f"{scored.metric.name} ({better} is better)")
        bad = compared.interval.low < -margin
        _point(right, 0.5, compared.improvement, compared.interval, BAD if bad else CANDIDATE)
        right.axvline(0, color=FAINT, zorder=0)
        right.axvline(-margin, color=BAD, linestyle="--", linewidth=1.2, zorder=0)
        right.annotate(
            f"margin {-margin + 0.0:g}", (-margin, 0.98), xycoords=("data", "axes fraction"),
            xytext=(4, 0), textcoords="offset points", va="top", color=BAD, fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        right.set_yticks([])
        right.spines["left"].set_visible(False)
        right.set_title("improvement over Production")
        for axes in (left, right):
            axes.set_ylim(-0.6, 1.6)
            axes.margins(x=0.12)
            axes.locator_params(axis="x", nbins=6)
        return _svg(figure)


def reads(scored: Scored) -> str:
    """What the picture of `reliability` shows, in words."""
    if scored.truth.problem == "regression":
        return (
            "Held-out rows in ten groups of equal size by predicted value: the mean predicted "
            "value against the mean actual one. On the line, they agree."
        )
    what = (
        f"the predicted probability of {scored.truth.positive}"
        if scored.truth.problem == "binary"
        else "the predicted probabilities of all classes, pooled"
    )
    return (
        f"Held-out rows in ten groups of equal size by {what}: its mean against the share that "
        "came true, with 95 % Wilson intervals. On the line, they agree."
    )


def reliability(scored: Scored) -> str:
    """Predicted against actual, candidate and Production side by side on the same axes."""
    sides = [("candidate", scored.candidate, CANDIDATE)]
    if scored.champion is not None:
        sides.append((f"Production v{scored.champion_version}", scored.champion, CHAMPION))
    curves = [curve(scored, scores) for _, scores, _ in sides if scores is not None]
    every = np.concatenate([c[:2].ravel() for c in curves])
    low, high = (0.0, 1.0) if scored.truth.problem != "regression" else (every.min(), every.max())
    room = 0.04 * ((high - low) or 1.0)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 4.3), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True, sharey=True, squeeze=False)[0]
        for panel, (name, _, color), (x, y, below, above) in zip(axes, sides, curves, strict=False):
            panel.plot([low, high], [low, high], color=FAINT, zorder=0)
            panel.errorbar(
                x, y, (below, above), color=color, marker="o", markersize=5, linewidth=1.4,
                elinewidth=1, capsize=2,
            )  # fmt: skip
            panel.set_title(name)
            panel.set_xlabel("predicted")
        axes[0].set_ylabel("actual")
        axes[0].set_xlim(low - room, high + room)
        axes[0].set_ylim(low - room, high + room)
        if len(sides) == 1:
            axes[1].set_axis_off()
        return _svg(figure)


def curve(scored: Scored, scores: np.ndarray) -> np.ndarray:
    """Rows: mean predicted, mean actual, and how far below and above the interval reaches.

    Shape (4, groups); groups of equal size by predicted value. The interval is Wilson's (1927) at
    95 % for probabilities, and none for a regression.
    """
    truth = scored.truth
    if truth.problem == "binary":
        predicted = scores[:, truth.classes.index(str(truth.positive))]
        actual = truth.is_positive.astype(float)
    elif truth.problem == "multiclass":
        predicted = scores.ravel()
        classes = np.asarray(truth.classes, dtype=object)
        actual = (truth.labels[:, None] == classes).ravel().astype(float)
    else:
        predicted, actual = scores, truth.labels
    order = np.argsort(predicted, kind="stable")
    groups = [g for g in np.array_split(order, BINS) if len(g)]
    x, y = (np.array([values[g].mean() for g in groups]) for values in (predicted, actual))
    if truth.problem == "regression":
        return np.array([x, y, np.zeros_like(y), np.zeros_like(y)])
    size, z = np.array([len(g) for g in groups]), 1.96
    middle = (y + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * np.sqrt(y * (1 - y) / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    below, above = y - (middle - half), middle + half - y
    return np.array([x, y, np.clip(below, 0, None), np.clip(above, 0, None)])


def slices(scored: Scored, found: Sequence[Slice]) -> str:
    """The improvement in each slice with its interval and its margin, worst at the top."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 1.0 + 0.32 * len(found)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=FAINT, zorder=0)
        for row, cut in enumerate(found):
            color = BAD if cut.worse else CANDIDATE
            _point(axes, row, cut.compared.improvement, cut.compared.interval, color)
            axes.plot([-cut.margin] * 2, [row - 0.35, row + 0.35], color=BAD, linewidth=1.2)
        names = [f"{s.column} = {s.value[:40]}  ({s.compared.rows:,} rows)" for s in found]
        axes.set_yticks(range(len(found)), names)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_title(f"improvement of {scored.metric.name} over Production; red line: margin")
        return _svg(figure)


def _point(axes: Axes, row: float, value: float, interval: Interval, color: str) -> None:
    axes.plot([interval.low, interval.high], [row, row], color=color, linewidth=2.2, alpha=0.55)
    axes.plot([value], [row], color=color, marker="o", markersize=7)


def _svg(figure: Figure) -> str:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in letters that the font does not have
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
