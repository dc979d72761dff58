"""Streams of rows whose drift is known: 14 numeric columns of several shapes, 6 categorical ones.

numpy and pandas only, so that another environment can make the same rows from the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Drawn = np.random.Generator
Floats = np.ndarray[Any, np.dtype[np.float64]]

SHAPES: dict[str, Callable[[Drawn, int], Floats]] = {
    "normal": lambda d, n: d.normal(0, 1, n),
    "normal_large": lambda d, n: d.normal(1e6, 50, n),
    "uniform": lambda d, n: d.uniform(-3, 7, n),
    "exponential": lambda d, n: d.exponential(10, n),
    "lognormal": lambda d, n: d.lognormal(0, 1, n),
    "gamma": lambda d, n: d.gamma(2, 3, n),
    "beta": lambda d, n: d.beta(2, 5, n),
    "student": lambda d, n: d.standard_t(3, n),
    "two_peaks": lambda d, n: d.normal(0, 1, n) + 6 * (d.random(n) < 0.3),
    "laplace": lambda d, n: d.laplace(0, 2, n),
    "zeros": lambda d, n: np.where(d.random(n) < 0.9, 0.0, d.exponential(0.2, n)),
    "skewed": lambda d, n: -d.gamma(1.5, 1, n),
    "hour": lambda d, n: np.floor(d.uniform(5, 24, n)),
    "count": lambda d, n: d.poisson(4, n).astype(float),
}
WHOLE = {"hour": 23.0, "count": np.inf}
"""Columns of whole numbers, and the largest there can be."""
CATEGORIES = {"two": 2, "three": 3, "six": 6, "sixteen": 16, "forty": 40, "hundred": 100}
"""Categories of a column; their shares fall as 1 / place, those of `two` are 0.5 each."""
GAPS = {"gamma": 0.02, "student": 0.1, "uniform": 0.3, "six": 0.05}
"""Shares of missing values."""
REFERENCE = 10_000

DRIFTS = ("mean", "scale", "missing", "unseen", "outside", "categories", "gradual")
"""mean +0.25 sd; scale x 1.5 about the mean; 8 % more missing; 3 % with a category that was never
there; 3 % beyond the range of the reference by up to a standard deviation; shares moved by 0.15 in
total variation; gradual as mean, in ten steps of 0.05 sd."""
SHIFT, SCALE, MISSING, STRANGE, MOVED, STEP = 0.25, 1.5, 0.08, 0.03, 0.15, 0.05


def _moments() -> dict[str, tuple[float, float]]:
    drawn = np.random.default_rng(1)
    found = {}
    for name, shape in SHAPES.items():
        values = shape(drawn, 400_000)
        found[name] = float(values.mean()), float(values.std())
    return found


MOMENTS = _moments()
"""Mean and standard deviation of the shapes, from a sample."""


def shares(count: int) -> Floats:
    """Of the categories of a column."""
    weights = np.ones(2) if count == 2 else 1 / np.arange(1, count + 1)
    known: Floats = weights / weights.sum()
    return known


def moved(before: Floats, by: float, drawn: Drawn) -> Floats:
    """Shares at exactly this total variation distance, taken from some and given to others."""
    order = drawn.permutation(len(before))
    givers = order[: max(1, len(order) // 2)]
    while before[givers].sum() < 2 * by:  # nobody gives more than half of what there was
        givers = order[: len(givers) + 1]
    takers = np.setdiff1d(order, givers)
    after = before.copy()
    after[givers] -= by * before[givers] / before[givers].sum()
    after[takers] += by * before[takers] / before[takers].sum()
    return after


@dataclass(frozen=True)
class Planted:
    """A drift of one column."""

    kind: str
    column: str
    largest: float
    """Of the column in the reference; 0 for a category."""
    after: Floats
    """Shares of the categories; empty for numbers."""


def planted(kind: str, reference: pd.DataFrame, drawn: Drawn) -> Planted:
    """Put a drift where chance wants it."""
    where: list[str] = list(CATEGORIES if kind in ("unseen", "categories") else SHAPES)
    if kind == "missing":
        where += CATEGORIES
    column = str(drawn.choice(where))
    if column in SHAPES:
        return Planted(kind, column, float(reference[column].max()), np.empty(0))
    known = shares(CATEGORIES[column])
    return Planted(kind, column, 0.0, moved(known, MOVED, drawn) if kind == "categories" else known)


def rows(
    drawn: Drawn, count: int, shift: float = 0.0, drift: Planted | None = None, age: int = 1
) -> pd.DataFrame:
    """So many rows, all numeric columns shifted by `shift` sd; one drifted since `age` windows."""
    table: dict[str, Any] = {}
    at = drift.column if drift else ""
    for name, shape in SHAPES.items():
        values = _shifted(shape(drawn, count), name, shift, drawn)
        table[name] = _drifted(values, drift, age, drawn) if drift and name == at else values
    for name, size in CATEGORIES.items():
        known = drift.after if drift and name == at else shares(size)
        names = np.array([f"{name} {place}" for place in range(size)], dtype=object)
        values = names[np.searchsorted(np.cumsum(known)[:-1], drawn.random(count), "right")]
        if drift and name == at and drift.kind == "unseen":
            values = np.where(drawn.random(count) < STRANGE, "never seen", values)
        table[name] = values
    for name in table:
        more = MISSING if drift and name == at and drift.kind == "missing" else 0.0
        if share := GAPS.get(name, 0.0) + more:
            gap = drawn.random(count) < share
            table[name] = np.where(gap, np.nan if name in SHAPES else None, table[name])
    return pd.DataFrame(table)


def _shifted(values: Floats, name: str, shift: float, drawn: Drawn) -> Floats:
    """By so many standard deviations on average; whole numbers stay whole, hours end at 23."""
    by = shift * MOMENTS[name][1]
    if not by or name not in WHOLE:
        return values + by
    return np.minimum(np.floor(values + by + drawn.random(len(values))), WHOLE[name])


def _drifted(values: Floats, drift: Planted, age: int, drawn: Drawn) -> Floats:
    mean, sd = MOMENTS[drift.column]
    if drift.kind == "mean":
        return _shifted(values, drift.column, SHIFT, drawn)
    if drift.kind == "gradual":
        return _shifted(values, drift.column, STEP * min(age, 10), drawn)
    if drift.kind == "scale":
        return mean + SCALE * (values - mean)
    if drift.kind == "outside":
        hit = drawn.random(len(values)) < STRANGE
        return np.where(hit, drift.largest + sd * (1 - drawn.random(len(values))), values)
    return values


NUMERIC, CATEGORICAL = list(SHAPES), list(CATEGORIES)
