"""Whether an answer of a model holds numbers only. Pure, and free of pandas."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> bool:
    """Whether nothing in parsed JSON is missing, infinite or not a number."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
