"""Divides a table into train, valid and holdout. Pure.

With a time column the parts follow one another in time, and no moment is in two parts. Without
one, a row's own content decides (its hash), so that equal rows never part, and a row stays in
its part when the data grows: what one version trained on is never held out for the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipelines.errors import OneClassOnly, TooFewRows

TRAIN, VALID, HOLDOUT = PARTS = ("train", "valid", "holdout")


def split(
    table: pd.DataFrame, *, time: str | None, valid: float, holdout: float
) -> dict[str, pd.DataFrame]:
    """The three parts, by name. Shares are of all rows, 0 to 1. Raises TooFewRows."""
    if time is None:
        place = _hash_place(table)
    else:
        table = table.sort_values(time, kind="stable")
        place = _time_place(table[time])
    part = np.select(
        [place >= 1 - holdout, place >= 1 - holdout - valid], [HOLDOUT, VALID], default=TRAIN
    )
    found = {name: table[part == name].reset_index(drop=True) for name in PARTS}
    for name, rows in found.items():
        if rows.empty:
            raise TooFewRows(name, len(table))
    return found


def require_classes(parts: dict[str, pd.DataFrame], target: str) -> None:
    """Raises OneClassOnly if a classifier could not be fitted or judged on some part."""
    for name, rows in parts.items():
        classes = sorted(rows[target].unique())
        if len(classes) < 2:
            raise OneClassOnly(target, f"the {name} part of the split", classes)


def _time_place(moments: pd.Series[Any]) -> np.ndarray:
    """Where each row lies, 0 to 1: the rank of the first row of its moment. Input is sorted."""
    ranks = moments.rank(method="min").to_numpy() - 1
    return np.asarray(ranks / len(moments))


def _hash_place(table: pd.DataFrame) -> np.ndarray:
    # -0.0 equals 0.0 and has other bits; adding zero makes them one.
    same = table.assign(**{c: table[c] + 0.0 for c in table.select_dtypes("number").columns})
    hashes = pd.util.hash_pandas_object(same, index=False).to_numpy()
    return np.asarray(hashes / 2.0**64)
