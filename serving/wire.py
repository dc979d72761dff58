"""MLflow's scoring protocol as a gateway needs it: what may be joined, and how answers are parted.

Two requests may be one when bare `mlflow models serve` would make of both together just what it
makes of each alone. pandas infers the type of a column from all its cells, so only requests whose
columns hold the same JSON types are joined; whatever is out of the ordinary goes by itself, with
the caller's own bytes. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

from registry.finite import finite

JSON = "application/json"
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
"""MLflow's four ways to write rows in JSON; a request has exactly one of them."""

DEPTH = 32
"""Levels of nesting; Python's own parser, which the scoring server uses, fails at about 1000."""

Form = Literal["dataframe_split", "dataframe_records", "inputs", "instances"]

# An integer that may not fit 64 bits; orjson makes a float of it and Python's parser does not.
_LONG_INTEGER = re.compile(rb"(?<![.\d])\d{18,}(?![.\deE])")
_NO_NUMBER = re.compile(rb"NaN|null|Infinity")
_SCALARS = frozenset({int, float, str, bool, type(None)})
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class NotAccepted(Exception):
    """A request that no model can answer; `status` is for HTTP, the text for the caller."""

    def __init__(self, kind: str, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.kind, self.status = kind, status


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request that may be joined with others of an equal `kind`."""

    kind: Hashable
    form: Form
    count: int
    data: Any
    """A list with an element for each row, or for `inputs` lists by column."""
    columns: Any = None
    """The columns of a `dataframe_split`."""


def media_type(content_type: str) -> str:
    """`application/json` of `application/json; charset=utf-8`.

    Raises NotAccepted where the scoring server would not take it.
    """
    kind, *further = (part.strip() for part in content_type.split(";"))
    kind = kind.lower()
    if kind not in (JSON, "text/csv", "application/vnd.apache.parquet"):
        raise NotAccepted(
            "UNSUPPORTED_MEDIA_TYPE",
            "the Content-Type must be application/json, text/csv or application/vnd.apache.parquet",
            415,
        )
    for part in further:
        name, _, value = part.partition("=")
        if name.strip().lower() != "charset" or value.strip().strip('"').lower() != "utf-8":
            raise NotAccepted(
                "UNSUPPORTED_MEDIA_TYPE", "the only parameter of Content-Type is charset=utf-8", 415
            )
    return kind


def read(body: bytes) -> Rows | None:
    """The rows of a JSON request, None where it has to go alone. Raises NotAccepted."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        _require_python_reads(body)
        return None
    if type(found) is not dict:
        raise NotAccepted("BAD_REQUEST", f"the body must be a JSON object with one of {_forms()}")
    if len(found) != 1:
        _one_form(found)
        return None  # with params, say, or with a key that MLflow passes over
    ((form, value),) = found.items()
    if form not in FORMS:
        _one_form(found)
    if _LONG_INTEGER.search(body):
        return None
    rows = _READERS[form](value)
    if rows is None and body.count(b"[") + body.count(b"{") > DEPTH:
        require_shallow(body)
    return rows


def _require_python_reads(body: bytes) -> None:
    """What orjson refuses and Python's parser may take: NaN, Infinity, lone surrogates."""
    require_shallow(body)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAccepted("BAD_REQUEST", "the body is not valid JSON in UTF-8") from None
    if type(found) is not dict:
        raise NotAccepted("BAD_REQUEST", f"the body must be a JSON object with one of {_forms()}")
    _one_form(found)


def _one_form(found: dict[Any, Any]) -> None:
    if sum(form in found for form in FORMS) != 1:
        raise NotAccepted("BAD_REQUEST", f"the body must have exactly one of {_forms()}")


def _forms() -> str:
    return ", ".join(FORMS)


def require_shallow(body: bytes) -> None:
    """Raises NotAccepted for JSON nested deeper than DEPTH, without parsing it."""
    depth = 0
    for found in _BRACKETS.finditer(body):
        first = body[found.start()]
        if first in b"[{":
            depth += 1
            if depth > DEPTH:
                sentence = f"the body is nested deeper than {DEPTH} levels"
                raise NotAccepted("BAD_REQUEST", sentence)
        elif first in b"]}":
            depth -= 1


# What may be joined, form by form


def _split(value: Any) -> Rows | None:
    if type(value) is not dict:
        return None
    columns, data = value.get("columns"), value.get("data")
    if type(columns) is not list or type(data) is not list or not data:
        return None
    if len(value) == 3:
        # pandas' own `orient="split"` sends an index; no answer depends on it.
        index = value.get("index")
        if type(index) is not list or len(index) != len(data) or _types(index) != (int,):
            return None
    elif len(value) != 2:
        return None
    if _types(columns) != (str,):
        return None
    kinds = _kinds(data, len(columns))
    if kinds is None:
        return None
    return Rows(
        ("dataframe_split", tuple(columns), kinds), "dataframe_split", len(data), data, columns
    )


def _records(value: Any) -> Rows | None:
    return _dicts("dataframe_records", value)


def _instances(value: Any) -> Rows | None:
    if type(value) is not list or not value:
        return None
    if type(value[0]) is dict:
        return _dicts("instances", value)
    return _arrays("instances", value)


def _inputs(value: Any) -> Rows | None:
    if type(value) is list and value:
        return _dicts("inputs", value) if type(value[0]) is dict else _arrays("inputs", value)
    if type(value) is not dict or not value:
        return None
    names, columns = tuple(value), list(value.values())
    if type(columns[0]) is not list or not columns[0]:
        return None
    count = len(columns[0])
    if any(type(column) is not list or len(column) != count for column in columns):
        return None
    kinds = tuple(_cell_types(column) for column in columns)
    if None in kinds:
        return None
    return Rows(("inputs", "columns", names, kinds), "inputs", count, value)


def _dicts(form: Form, value: Any) -> Rows | None:
    """A list of objects, all with the same keys in the same order."""
    if type(value) is not list or not value or type(value[0]) is not dict:
        return None
    names = tuple(value[0])
    if not names or any(type(row) is not dict or tuple(row) != names for row in value):
        return None
    kinds = _kinds([list(row.values()) for row in value], len(names))
    return None if kinds is None else Rows((form, names, kinds), form, len(value), value)


def _arrays(form: Form, value: list[Any]) -> Rows | None:
    """A list of numbers, or of equally long lists of numbers, of one type altogether."""
    if type(value[0]) is not list:
        kind = _types(value)
        if kind in ((int,), (float,)):
            return Rows((form, "scalars", kind), form, len(value), value)
        return None
    width = len(value[0])
    if not width or any(type(row) is not list or len(row) != width for row in value):
        return None
    kinds = {_types(row) for row in value}
    if kinds not in ({(int,)}, {(float,)}):
        return None
    return Rows((form, "arrays", width, kinds.pop()), form, len(value), value)


_READERS = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}


def _kinds(rows: Sequence[Any], width: int) -> Hashable | None:
    """The JSON types of each column, None where there is anything but plain cells."""
    if len(rows) == 1:
        row = rows[0]
        if type(row) is not list or len(row) != width:
            return None
        found = tuple(map(type, row))
        return found if _SCALARS.issuperset(found) else None
    if any(type(row) is not list or len(row) != width for row in rows):
        return None
    kinds = tuple(map(_cell_types, zip(*rows, strict=True)))
    return None if None in kinds else kinds


def _cell_types(column: Sequence[Any]) -> Hashable | None:
    """The type of all cells of a column, or the set of types where there are several."""
    found = frozenset(map(type, column))
    if not _SCALARS.issuperset(found):
        return None
    return next(iter(found)) if len(found) == 1 else found


def _types(values: Sequence[Any]) -> tuple[type, ...]:
    """The types in a list, each once; of a list of one type a tuple of one."""
    found = set(map(type, values))
    return (found.pop(),) if len(found) == 1 else tuple(sorted(found, key=lambda t: t.__name__))


# Joining and parting


def join(several: Sequence[Rows]) -> bytes:
    """One request body for rows of one kind, in their order."""
    form = several[0].form
    if form == "inputs" and type(several[0].data) is dict:
        names = several[0].data
        data: Any = {name: [v for rows in several for v in rows.data[name]] for name in names}
    else:
        data = [row for rows in several for row in rows.data]
    if form == "dataframe_split":
        data = {"columns": several[0].columns, "data": data}
    return orjson.dumps({form: data})


def part(answer: bytes, counts: Sequence[int]) -> list[bytes] | None:
    """The answer to each of several joined requests of so many rows.

    None where the answer to all does not tell what each alone would have got: it is not a list of
    one prediction for each row, or a value is missing in it (a missing value changes the type of
    its whole column in pandas, NaN is not JSON at all).
    """
    predictions = _predictions(answer)
    if predictions is None or len(predictions) != sum(counts) or b"null" in answer:
        return None
    parts, start = [], 0
    for count in counts:
        parts.append(orjson.dumps({"predictions": predictions[start : start + count]}))
        start += count
    return parts


def _predictions(answer: bytes) -> list[Any] | None:
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    if type(found) is not dict or type(found.get("predictions")) is not list or len(found) != 1:
        return None
    predictions: list[Any] = found["predictions"]
    return predictions


def predictions(answer: bytes) -> Any:
    """What a 200 of the scoring server says; NaN and infinities as it writes them.

    Raises ValueError for what is not an object in JSON.
    """
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        found = json.loads(answer)
    if type(found) is not dict:
        raise ValueError("the answer is not an object in JSON")
    return found.get("predictions", found)


def shape(predictions: Any) -> Hashable:
    """What callers read from an answer, without its values: the form of one prediction.

    Two versions whose answers to the same rows differ in it cannot stand in for one another.
    """
    if not isinstance(predictions, list) or not predictions:
        return type(predictions).__name__
    kinds = {_form(p) for p in predictions}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _form(prediction: Any) -> Hashable:
    if isinstance(prediction, dict):
        return tuple(sorted((key, _form(value)) for key, value in prediction.items()))
    if isinstance(prediction, list):
        return ("list", len(prediction))
    return "number" if isinstance(prediction, int | float) else type(prediction).__name__


@lru_cache(100)
def error(kind: str, sentence: str) -> bytes:
    """An error as MLflow writes it: a class and a sentence."""
    return orjson.dumps({"error_code": kind, "message": sentence})


def row(rows: Rows, index: int) -> Rows:
    """One of several rows, as a request of its own."""
    if rows.form == "inputs" and type(rows.data) is dict:
        data: Any = {name: [column[index]] for name, column in rows.data.items()}
    else:
        data = [rows.data[index]]
    return Rows(rows.kind, rows.form, 1, data, rows.columns)


def key(rows: Rows, column: str) -> str:
    """What stands in a column of the first row, as text; empty where that is no plain cell."""
    data = rows.data
    if rows.columns is not None:
        found = data[0][rows.columns.index(column)] if column in rows.columns else None
    elif type(data) is dict:
        found = data.get(column, (None,))[0]
    else:
        found = data[0].get(column) if type(data[0]) is dict else None
    return "" if found is None or type(found) not in _SCALARS else str(found)


def strange(answer: bytes) -> bool:
    """Whether a 200 of the scoring server holds what is missing or no finite number."""
    if not _NO_NUMBER.search(answer):
        return False
    try:
        return not finite(predictions(answer))
    except ValueError:
        return True


def close(one: Any, other: Any, tolerance: float = 1e-9) -> bool:
    """Whether two answers are equal, numbers up to a relative difference.

    The order in which a processor sums depends on how many rows it is given.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) or isinstance(other, float):
        try:
            same = math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        except TypeError:
            return False
        return same or (one != one and other != other)  # both are NaN
    return bool(one == other)
