"""Answers and labels of the prediction log as the arrays that metrics are computed from. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.losses import PREDICTION, PROBABILITY, loss

if TYPE_CHECKING:
    from registry.record import Record

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Names = NDArray[np.object_]
MOST = sys.float_info.max


def scores(record: Record, answers: Sequence[Any]) -> Floats:
    """The numbers in logged answers, NaN throughout a row whose answer is not of its form.

    Of a classifier, whose answers are mappings with a `probability_CLASS` between 0 and 1 for
    each class, shape (rows, classes) in the order of `record.classes`; of a regression (a number,
    or a mapping with `prediction`) shape (rows,).
    """
    if record.problem == "regression":
        plain = [a.get(PREDICTION) if isinstance(a, dict) else a for a in answers]
        return np.array([number(a) for a in plain], dtype=np.float64)
    keys = [PROBABILITY + c for c in record.classes]
    gone = dict.fromkeys(keys)
    rows = [a if isinstance(a, dict) else gone for a in answers]
    found = np.array([[number(a.get(k)) for k in keys] for a in rows], dtype=np.float64)
    found = found.reshape(len(rows), len(keys))
    found[~((found >= 0) & (found <= 1)).all(axis=1)] = np.nan
    return found


def readable(found: Floats) -> Bools:
    """Shape (rows,): which rows of `scores` have an answer."""
    good = np.isfinite(found)
    return np.asarray(good if found.ndim == 1 else good.all(axis=1), dtype=bool)


def outcomes(record: Record, labels: Sequence[Any]) -> tuple[Names | Floats, Bools]:
    """The labels as the model spells them, and which can be used; both of shape (rows,).

    Of a classifier the names of classes, as the problem has them whatever way they were sent (1,
    1.0 and "1" are one class, true and "True" another); of a regression finite numbers. What is
    None or neither of these is not to be used, and its place in the first array means nothing.
    """
    if record.problem == "regression":
        values: Floats = np.array([number(label) for label in labels], dtype=np.float64)
        return values, np.isfinite(values)
    known: dict[Any, str | None] = {}
    names = np.empty(len(labels), dtype=object)
    for place, label in enumerate(labels):
        key = (type(label), label) if isinstance(label, str | int | float) else None
        if key is None or key not in known:
            known[key] = _class(record.classes, label)
        names[place] = known[key]
    return names, np.array([n is not None for n in names], dtype=bool)


def _class(classes: Sequence[str], label: Any) -> str | None:
    if isinstance(label, np.generic):
        label = label.item()
    if not isinstance(label, str | int | float) or label != label:
        return None  # NaN is no class, whatever one is called
    if label in classes:
        return str(label)
    same = [name for name in classes if loss("error", name, label) == 0.0]
    return same[0] if len(same) == 1 else None


def number(value: Any) -> float:
    """A finite number as float, NaN for anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, int | float) or not -MOST <= value <= MOST:
        return math.nan
    return float(value)
