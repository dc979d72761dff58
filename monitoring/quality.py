"""How well a version did in a window, as far as labels are there. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring import intervals
from monitoring.findings import Measured, Quality
from monitoring.outcomes import Floats, outcomes, readable, scores

if TYPE_CHECKING:
    from monitoring.sections import QualityPolicy
    from registry.metrics import Truth
    from registry.record import Record

SLICES = 20
"""The most values of a column that are looked at."""
MISSING = "missing"
"""How a missing value is called, as in evaluation."""


def measure(
    record: Record,
    version: int,
    answers: Sequence[Any],
    labels: Sequence[Any],
    times: tuple[Sequence[Any], Sequence[Any]],
    slices: Mapping[str, Sequence[Any]],
    policy: QualityPolicy,
) -> Quality:
    """Metrics of a version's predictions with their intervals at `policy.confidence`.

    All sequences have shape (rows,). `answers` and `labels` are the log's, None where there is no
    label. `times` are the moments of the prediction and of the label (or of its arrival), in
    seconds since 1970 or as datetimes; the delay may be negative where clocks differ.

    `labelled` counts every label; `unusable` are those of them that are none of the model's
    classes or no finite number, and say nothing of the delay. Metrics are over the rows with a
    usable label and an answer of the model's form (`Measured.rows` of them); one that is not
    defined there, or on fewer than two rows, is left out. Slices have at least `policy.minimum`
    such rows.
    """
    found = scores(record, answers)
    names, usable = outcomes(record, labels)
    given = np.array([label is not None for label in labels], dtype=bool)
    both = usable & readable(found)
    truth, found = _truth(record, names[both]), found[both]
    return Quality(
        version=version,
        rows=len(answers),
        labelled=int(given.sum()),
        unusable=int((given & ~usable).sum()),
        delay=_delay(*times, usable),
        metrics=_measured(record, truth, found, policy.confidence),
        slices={
            column: _sliced(record, truth, found, list(compress(values, both)), policy)
            for column, values in slices.items()
        },
    )


def outcome_shares(record: Record, labels: Sequence[Any]) -> dict[str, float]:
    """The share of each of the model's classes among the usable labels, in their order.

    Of a regression their mean as `mean`. Empty where there is no usable label.
    """
    names, usable = outcomes(record, labels)
    if not usable.any():
        return {}
    if record.problem == "regression":
        return {"mean": float(names[usable].mean())}
    counts = Counter(names[usable].tolist())
    return {name: counts[name] / counts.total() for name in record.classes}


def _truth(record: Record, labels: np.ndarray) -> Truth:
    from registry.metrics import Truth

    return Truth(record.problem, labels, record.classes, record.positive)


def _measured(
    record: Record, truth: Truth, found: Floats, confidence: float, names: Sequence[str] = ()
) -> tuple[Measured, ...]:
    """The metrics that are defined, the deciding one first."""
    from registry import metrics
    from registry.problems import METRICS

    rows = len(truth.labels)
    if rows < 2:
        return ()
    wanted = names or [record.metric, *(m for m in METRICS[record.problem] if m != record.metric)]
    measured = []
    for name, value in metrics.compute(truth, found, wanted).items():
        limits = intervals.interval(name, truth, found, value, confidence)
        if limits is not None and math.isfinite(value):
            measured.append(Measured(name, value, *limits, rows))
    return tuple(measured)


def _sliced(
    record: Record, truth: Truth, found: Floats, values: Sequence[Any], policy: QualityPolicy
) -> dict[str, Measured]:
    """The deciding metric for the largest values of a column, the largest first."""
    texts = np.array([_text(v) for v in values], dtype=object)
    counts = sorted(Counter(texts.tolist()).items(), key=lambda item: (-item[1], item[0]))
    large = [value for value, count in counts if count >= policy.minimum][:SLICES]
    sliced = {}
    for value in large:
        mask = texts == value
        one = _measured(record, truth.take(mask), found[mask], policy.confidence, [record.metric])
        if one:
            sliced[value] = one[0]
    return sliced


def _text(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:  # only NaN differs from itself
        return MISSING
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _delay(
    predicted: Iterable[Any], labelled: Iterable[Any], given: np.ndarray
) -> dict[str, float]:
    """Seconds from prediction to label; empty where no label has a time."""
    delays = _seconds(labelled)[given] - _seconds(predicted)[given]
    delays = delays[np.isfinite(delays)]
    if not delays.size:
        return {}
    return {
        "median": float(np.median(delays)),
        "p90": float(np.quantile(delays, 0.9)),
        "largest": float(delays.max()),
    }


def _seconds(moments: Iterable[Any]) -> Floats:
    """Seconds since 1970, NaN where there is no moment."""
    return np.array([_second(m) for m in moments], dtype=np.float64)


def _second(moment: Any) -> float:
    if moment is None or moment != moment:
        return math.nan
    return float(moment.timestamp() if hasattr(moment, "timestamp") else moment)
