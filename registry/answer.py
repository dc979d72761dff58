"""The form of an answer: `prediction`, and a classifier's `probability_CLASS` for each class.

The code that ships inside an artifact (pipelines/named_answers.py) writes this form without
importing it, so that an artifact needs no package of ours; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

PREDICTION = "prediction"
PROBABILITY = "probability_"


class BadAnswer(ValueError):
    """An answer that is not of this form; the text says what is wrong."""


def probabilities(answer: Any, classes: Sequence[str]) -> np.ndarray:
    """Shape (rows, classes) in the order of `classes`. Raises BadAnswer."""
    if not isinstance(answer, pd.DataFrame):
        raise BadAnswer("the answer is not a table with a probability for each class")
    missing = [c for c in classes if PROBABILITY + c not in answer.columns]
    if missing:
        raise BadAnswer(f"the answer has no probability for {', '.join(missing)}")
    try:
        table: np.ndarray = answer[[PROBABILITY + c for c in classes]].to_numpy(dtype=float)
    except (TypeError, ValueError):
        raise BadAnswer("the answer holds probabilities that are not numbers") from None
    if not np.isfinite(table).all():
        raise BadAnswer("the answer holds probabilities that are not numbers")
    return table


def values(answer: Any) -> np.ndarray:
    """Shape (rows,): a regression's predictions. Raises BadAnswer."""
    if isinstance(answer, pd.DataFrame):
        if PREDICTION not in answer.columns:
            raise BadAnswer(f"the answer has no column {PREDICTION!r}")
        answer = answer[PREDICTION]
    try:
        flat: np.ndarray = np.asarray(answer, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        raise BadAnswer("the answer is not numbers") from None
    if not np.isfinite(flat).all():
        raise BadAnswer("the answer holds values that are not finite numbers")
    return flat
