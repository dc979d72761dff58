"""Models of each kind of problem, and answers as they would give them."""

from __future__ import annotations

from typing import Any

import numpy as np

from registry.record import Record

TWO = Record("binary", "y", (), "roc_auc", ("late", "on_time"), "late")
THREE = Record("multiclass", "y", (), "accuracy", ("a", "b", "c"))
NUMBER = Record("regression", "y", (), "rmse")


def named(record: Record, chances: np.ndarray) -> list[dict[str, Any]]:
    """Answers as a classifier gives them; chances have shape (rows, classes)."""
    return [
        {
            "prediction": record.classes[int(row.argmax())],
            **{f"probability_{c}": float(p) for c, p in zip(record.classes, row, strict=True)},
        }
        for row in chances
    ]


def two(chances: np.ndarray) -> list[dict[str, Any]]:
    return named(TWO, np.column_stack([chances, 1 - chances]))
