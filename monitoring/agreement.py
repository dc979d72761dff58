"""Whether answers and outcomes go together, or against each other as if labels were reversed. Pure.

The sum over n rows of a(answer, outcome) is compared with that of all n! pairings of the same
answers and outcomes, whose mean and variance are known (Hoeffding, "A combinatorial central limit
theorem", 1951). For classes, a is the probability that the answer gives to the outcome; for
numbers, the product of their ranks, which makes it Spearman's rank correlation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from monitoring.outcomes import Bools, Floats, Names, outcomes, readable, scores
from registry.record import Record

CERTAIN = 6.0
"""Standard deviations beyond which chance makes no pairing: 1e-9 on one side."""
PARTS = 8
"""Of a window: whatever lasts for a quarter of it fills one of them."""


def agreement(record: Record, found: Floats, truth: Names | Floats) -> float:
    """In standard deviations over chance, 0 where either does not vary.

    `found` are scores (outcomes.scores) of shape (rows, classes) or (rows,), `truth` the outcomes
    of shape (rows,).
    """
    rows = len(truth)
    if rows < 2:
        return 0.0
    if record.problem == "regression":
        one, two = (rankdata(v) - (rows + 1) / 2 for v in (found, truth.astype(float)))
        total = float((one * two).sum())
        variance = float((one**2).sum() * (two**2).sum()) / (rows - 1)
    else:
        is_class = np.column_stack([truth == c for c in record.classes])
        counts = is_class.sum(axis=0)
        centred = found - found.mean(axis=0)
        total = float((centred * is_class).sum())
        centred = centred - (centred @ counts / rows)[:, None]
        variance = float(((centred**2) @ counts).sum()) / (rows - 1)
    return total / variance**0.5 if variance > 1e-12 else 0.0


def least(
    record: Record,
    answers: Sequence[object],
    labels: Sequence[object],
    minimum: int,
    parts: int = PARTS,
) -> Mapping[str, float]:
    """Of the parts of a window, by time, the one in which they go together least.

    Sequences as in quality.measure, in the order of the predictions. `z` as in `agreement`, and
    which `part` of how many `parts`, from 1, with so many labelled `rows`; parts have at least
    `minimum` of these, and nothing is said where there are not so many.
    """
    names, usable = outcomes(record, labels)
    found = scores(record, answers)
    both: Bools = usable & readable(found)
    rows = int(both.sum())
    if rows < minimum:
        return {}
    parts = parts if rows >= parts * minimum else 1
    split = np.array_split(np.flatnonzero(both), parts)
    each = [agreement(record, found[part], names[part]) for part in split]
    worst = int(np.argmin(each))
    return {
        "z": each[worst], "part": worst + 1, "parts": parts, "rows": len(split[worst])
    }  # fmt: skip
