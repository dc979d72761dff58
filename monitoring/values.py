"""A column of a table as numbers or as categories, whatever is in it. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LONGEST = 200
"""Characters of a category that count; what follows is cut, so that no caller can fill memory."""

_NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean")


def numbers(column: pd.Series[Any]) -> tuple[Floats, int]:
    """The values, shape (rows,), NaN where there is none; and how many were no numbers.

    Truth values are 1 and 0, as they are to a model. A text is no number, even "12". What is too
    large for a float is infinite.
    """
    if pd.api.types.is_complex_dtype(column.dtype):
        return np.full(len(column), np.nan), int(column.notna().sum())
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), 0
    values = column.to_numpy(dtype=object)
    if pd.api.types.infer_dtype(values, skipna=True) in _NUMBERS:
        found, there = np.full(len(values), np.nan), ~pd.isna(values)
        try:
            found[there] = values[there].astype(np.float64)
        except OverflowError:
            return _one_by_one(values)
        return found, 0
    return _one_by_one(values)


def texts(column: pd.Series[Any]) -> tuple[Ints, list[str]]:
    """For each row the place of its category in the list that is also returned, -1 if missing.

    Categories are compared as text; 1.0 is "1", since a column of whole numbers becomes one of
    floats where a value is missing.
    """
    values: Any = column
    if column.dtype == object:
        values = column.to_numpy()
        if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "empty"):
            values = np.array([_text(v) for v in values], dtype=object)
    codes, uniques = pd.factorize(values)
    places: dict[str, int] = {}
    to = [places.setdefault(_text(v) or "", len(places)) for v in uniques]
    return np.array([*to, -1], dtype=np.int64)[codes], list(places)


def _one_by_one(values: npt.NDArray[Any]) -> tuple[Floats, int]:
    found, strange = np.full(len(values), np.nan), 0
    for place, value in enumerate(values):
        if isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating):
            try:
                found[place] = float(value)
            except OverflowError:
                found[place] = np.inf if value > 0 else -np.inf
        elif not _is_missing(value):
            strange += 1
    return found, strange


def _is_missing(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float | np.floating) and value != value  # only NaN differs from itself


def _text(value: Any) -> str | None:
    if isinstance(value, np.generic):
        value = value.item()
    if _is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return str(value)[:LONGEST]
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
