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
PARTS = (1, 2, 4, 8)
"""Into how many equal parts a window is cut; what lasts for a quarter of it fills an eighth, what
lasts longer shows more clearly in a longer part."""


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
    parts: Sequence[int] = PARTS,
) -> Mapping[str, float]:
    """Of a window and its parts, by time, the one in which they go together least.

    Sequences as in quality.measure, in the order of the predictions. `z` as in `agreement`, and
    which `part` of how many `parts`, from 1, with so many labelled `rows`; parts have at least
    `minimum` of these, and nothing is said where there are not so many.
    """
    names, usable = outcomes(record, labels)
    found = scores(record, answers)
    both: Bools = usable & readable(found)
    there = np.flatnonzero(both)
    each = [
        {"z": agreement(record, found[part], names[part]), "part": number, "parts": cut,
         "rows": len(part)}
        for cut in parts
        if len(there) >= cut * minimum
        for number, part in enumerate(np.array_split(there, cut), 1)
    ]  # fmt: skip
    return min(each, key=lambda part: part["z"], default={})
