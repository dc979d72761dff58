"""Rows of a table against the signature and the contract, a column at a time. Pure.

What breaks a rule is what `serving.contract` says of one row; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.contract import Rule, Rules
from serving.signature import Column

Mask = np.ndarray[Any, np.dtype[np.bool_]]

ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "datetime": pa.timestamp("ns"),
    "binary": pa.binary(),
}
"""By MLflow's word; other types are no column of a table."""
MISSING_TEXT = (
    "", " ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""In CSV: what pandas reads as missing, which is how training data is read."""
_NEED_VALUES = ("boolean", "integer", "long")
"""MLflow refuses a table with a gap in a column of these."""
_EXACT = 2.0**53
"""Whole numbers up to here are themselves as a double."""


def takes(kind: str, found: pa.DataType) -> bool:
    """Whether values of a stored type can be values of an MLflow type at all."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    number = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found)
    fits = {
        "boolean": pa.types.is_boolean(found),
        "string": pa.types.is_string(found) or pa.types.is_large_string(found),
        "datetime": pa.types.is_timestamp(found) or pa.types.is_date(found),
        "binary": pa.types.is_binary(found) or pa.types.is_large_binary(found),
    }
    return bool(pa.types.is_null(found) or fits.get(kind, number or pa.types.is_boolean(found)))


def convert(values: pa.Array, kind: str, *, text: bool) -> tuple[pa.Array, Mask]:
    """Values in the model's type, and which of them do not fit it (those are null).

    `text` says that they are cells of a CSV file, as bytes.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if text and kind != "binary":
        known = [word.encode() for word in MISSING_TEXT]
        values = _without(values, pc.is_in(values, pa.array(known, pa.binary())))
    elif pa.types.is_floating(values.type) and not pa.types.is_floating(ARROW[kind]):
        values = _without(values, pc.is_nan(values))
    found = _fitting(values, kind, text=text)
    return found, _mask(pc.and_(pc.is_null(found), pc.is_valid(values)))


def as_text(values: pa.Array) -> tuple[pa.Array, Mask]:
    """Cells of a CSV file that no model takes, as they stand, and which of them are no UTF-8."""
    found = _fitting(values, "string", text=True)
    return found, _mask(pc.is_null(found))


def _without(values: pa.Array, gone: pa.Array) -> pa.Array:
    return pc.if_else(gone, pa.scalar(None, values.type), values)


def _fitting(values: pa.Array, kind: str, *, text: bool) -> pa.Array:
    """Halves what has a value that does not fit, until those are alone."""
    try:
        return (_read if text else _cast)(values, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        half = len(values) // 2
        if half == 0:
            return pa.nulls(len(values), ARROW[kind])
    parts = (values[:half], values[half:])
    return pa.concat_arrays([_fitting(part, kind, text=text) for part in parts])


def _read(values: pa.Array, kind: str) -> pa.Array:
    """Cells of a CSV file. Raises ArrowInvalid where one does not fit."""
    if kind == "binary":
        return values
    words = values.cast(pa.string())
    if kind == "string":
        return words
    words = pc.utf8_trim_whitespace(words)
    try:
        return words.cast(ARROW[kind])
    except pa.ArrowInvalid:
        if kind == "datetime":
            return words.cast(pa.timestamp("ns", "UTC")).cast(ARROW[kind])
        if kind not in ("integer", "long"):
            raise
        numbers = words.cast(pa.float64())  # pandas writes whole numbers beside gaps as 3.0
        if (largest := pc.max(pc.abs(numbers)).as_py()) is not None and not largest < _EXACT:
            raise
        return numbers.cast(ARROW[kind])


def _cast(values: pa.Array, kind: str) -> pa.Array:
    """Stored values. Raises ArrowInvalid where one does not fit."""
    wanted = ARROW[kind]
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_boolean(values.type) and not pa.types.is_boolean(wanted):
        values = values.cast(pa.int8())
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        values = values.cast(pa.timestamp(values.type.unit))
    return values.cast(wanted)


def broken(
    columns: Sequence[Column],
    rules: Rules,
    values: Mapping[str, pa.Array],
    strange: Mapping[str, Mask],
) -> dict[str, Mask]:
    """Rows by what they break, in words such as `distance is below 1`.

    `values` are in the model's types, `strange` says which did not fit. A value that does not fit
    breaks no further rule.
    """
    found: dict[str, Mask] = {}
    for column in columns:
        name, odd = column.name, strange[column.name]
        rule = rules.get(name, Rule())
        found[f"{name} is no {column.type}"] = odd
        for why, test in _tests(rule, column.type):
            mask = test(values[name])
            found[f"{name} is {why}"] = mask & ~odd
    return {why: mask for why, mask in found.items() if mask.any()}


def _tests(rule: Rule, kind: str) -> list[tuple[str, Callable[[pa.Array], Mask]]]:
    """What a column is tested for, and how each failure is told."""
    found: list[tuple[str, Callable[[pa.Array], Mask]]] = []
    if rule.missing == 0 or kind in _NEED_VALUES:
        found.append(("missing", lambda v: _mask(pc.is_null(v, nan_is_null=True))))
    if kind not in ("string", "datetime", "binary"):
        low, high = rule.min, rule.max
        if low is not None:
            found.append((f"below {low:g}", lambda v: _mask(pc.less(_number(v), low))))
        if high is not None:
            found.append((f"above {high:g}", lambda v: _mask(pc.greater(_number(v), high))))
    if (allowed := rule.allowed) is not None and kind not in ("datetime", "binary"):
        why = f"not one of {', '.join(allowed[:10])}{', ...' if len(allowed) > 10 else ''}"
        found.append((why, lambda v: _not_among(v, allowed)))
    return found


def _number(values: pa.Array) -> pa.Array:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return values.cast(pa.float64(), safe=False)


def _not_among(values: pa.Array, allowed: Sequence[str]) -> Mask:
    """Each distinct value is looked at once."""
    coded = values.dictionary_encode()
    bad = pa.array([not _is_allowed(v, allowed) for v in coded.dictionary.to_pylist()], pa.bool_())
    return _mask(bad.take(coded.indices))


def _is_allowed(value: Any, allowed: Sequence[str]) -> bool:
    """1, 1.0 and "1" are the same value, as for `serving.contract`."""
    if isinstance(value, str) or value != value:
        return value in allowed or value != value  # NaN is missing, and no value
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value) in allowed or value in _numbers(allowed)


def _numbers(texts: Sequence[str]) -> set[Decimal | float]:
    found: set[Decimal | float] = set()
    for text in texts:
        try:
            found.add(float(text))
        except ValueError:
            continue
    return found


def _mask(values: pa.Array) -> Mask:
    found: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False).astype(bool)
    return found
