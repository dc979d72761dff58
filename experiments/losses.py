"""The loss of one labelled prediction, between 0 and 1. Pure."""

from __future__ import annotations

import math
from typing import Any

from experiments.rule import Metric

PREDICTION, PROBABILITY = "prediction", "probability_"
"""Names in an answer that names its classes."""


def loss(metric: Metric, answer: Any, label: Any, scale: float | None = None) -> float | None:
    """Loss of an answer once its label is known; None where the two do not fit the metric.

    `error`: 1 for another class than the label's. `brier`: half the sum of the squared differences
    of probabilities and outcome over all classes (Brier 1950), with a single number the squared
    difference from 0 or 1. `absolute`: the distance over `scale`, 1 at the most.
    """
    match metric:
        case "error":
            return _error(answer, label)
        case "brier":
            return _brier(answer, label)
        case "absolute":
            return _absolute(answer, label, scale)
        case _:
            return None


def _error(answer: Any, label: Any) -> float | None:
    found = answer.get(PREDICTION) if isinstance(answer, dict) else answer
    if found is None or label is None or isinstance(found, list | dict):
        return None
    return 0.0 if _same(found, label) else 1.0


def _brier(answer: Any, label: Any) -> float | None:
    if not isinstance(answer, dict):
        chance, outcome = _number(answer), _number(label)
        if chance is None or outcome not in (0.0, 1.0) or not 0 <= chance <= 1:
            return None
        return (chance - outcome) ** 2
    chances = {
        name.removeprefix(PROBABILITY): _number(value)
        for name, value in answer.items()
        if name.startswith(PROBABILITY)
    }
    hits = [name for name in chances if _same(name, label)]
    if len(hits) != 1 or any(c is None or not 0 <= c <= 1 for c in chances.values()):
        return None
    parts = ((c or 0.0) - (name == hits[0]) for name, c in chances.items())
    return min(math.fsum(part * part for part in parts) / 2, 1.0)


def _absolute(answer: Any, label: Any, scale: float | None) -> float | None:
    found = answer.get(PREDICTION) if isinstance(answer, dict) else answer
    predicted, outcome = _number(found), _number(label)
    if predicted is None or outcome is None or not scale:
        return None
    return min(abs(predicted - outcome) / scale, 1.0)


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _same(one: Any, other: Any) -> bool:
    """Whether two spellings of a class are one: 1, 1.0 and `1` are, and true and `True`."""
    numbers = _of_text(one), _of_text(other)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return str(one) == str(other)


def _of_text(value: Any) -> float | None:
    if isinstance(value, str):
        known = {"true": 1.0, "false": 0.0}.get(value.lower())
        if known is not None:
            return known
        try:
            return _number(float(value))
        except ValueError:
            return None
    return _number(value)
