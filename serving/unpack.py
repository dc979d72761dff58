"""One recorded request as the rows that the log keeps: features and answer of each. Pure.

A column that is never stored is dropped by name, at whatever depth. Where a request's columns have
no names, or it cannot be read, nothing can be dropped: then, if anything is never stored, its
features are not stored at all.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving import wire
from serving.frames import Record

CELLS = 5_000_000
"""A Parquet file with more cells is not unpacked; a small one may hold very many."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_INTEGER = re.compile(r"[-+]?\d{1,18}")

Features = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One prediction; `features` and `answer` are JSON, None where nothing is kept."""

    id: str
    row: int | None
    """Its place in a request of several rows, None in one of a single row."""
    features: str | None
    answer: str | None


def unpack(
    record: Record,
    never_stored: Collection[str] = (),
    see: Callable[[list[Features]], None] | None = None,
) -> list[Row]:
    """The rows of a request: `ID` of a single one, `ID-0`, `ID-1`, ... of several.

    A request that was not answered with 200 is one row without features and answer. `see` is shown
    the features, where they could be read.
    """
    if record.status != 200:
        return [Row(record.id, None, None, None)]
    features = read(record, frozenset(never_stored))
    if see is not None and features is not None:
        see(features)
    answers = _answers(record.answer, len(features) if features is not None else record.rows)
    count = len(features) if features is not None else len(answers)
    if count == 1:
        return [Row(record.id, None, _text(features and features[0]), _text(answers[0]))]
    return [
        Row(f"{record.id}-{n}", n, _text(features and features[n]), _text(answers[n]))
        for n in range(count)
    ]


def read(record: Record, never: frozenset[str]) -> list[Features] | None:
    """The features of each row, by name; None where they cannot be read or may not be kept.

    Columns without names have their positions as names: `0`, `1`, ...
    """
    kind = record.content_type.partition(";")[0].strip().lower()
    try:
        rows: list[Features] | None
        if kind == "text/csv":
            rows = _csv(record.body, never)
        elif kind == "application/vnd.apache.parquet":
            rows = _parquet(record.body, never)
        else:
            rows = _json(record.body, never)
    except (ValueError, TypeError, KeyError, LookupError, RecursionError, csv.Error):
        return None
    return rows or None


def key(body: bytes, content_type: str, column: str) -> str:
    """What stands in a column of the first row, as text; empty where that cannot be read.

    Of Parquet nothing is read, for it would take long.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "text/csv":
            lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""))
            first = dict(zip(next(lines), next(lines), strict=True))
        elif kind == wire.JSON:
            first = (_json(body, frozenset()) or [{}])[0]
        else:
            return ""
    except (ValueError, TypeError, KeyError, LookupError, RecursionError, StopIteration, csv.Error):
        return ""
    found = first.get(column)
    return "" if found is None or isinstance(found, dict | list) else str(found)


def _json(body: bytes, never: frozenset[str]) -> list[Features] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = json.loads(body)  # NaN and Infinity, which the scoring server takes
    form = next((form for form in wire.FORMS if form in found), "")
    value = found[form]
    if form == "dataframe_split":
        data = value["data"]
        names = value.get("columns")
        if names is None:
            return _unnamed(data, never)
        return list(_named([str(name) for name in names], data, never))
    if type(value) is dict:  # columns, each a list with a value for each row
        kept = {k: v for k, v in value.items() if k not in never}
        count = len(next(iter(value.values())))
        if any(type(v) is not list or len(v) != count for v in value.values()):
            return None
        return [{k: _without(v[n], never) for k, v in kept.items()} for n in range(count)]
    if type(value) is not list:
        return None
    if type(value[0]) is not dict:
        return _unnamed(value, never)
    return [_without(row, never) for row in value] if _are_dicts(value) else None


def _are_dicts(rows: Sequence[Any]) -> bool:
    return all(type(row) is dict for row in rows)


def _unnamed(data: Sequence[Any], never: frozenset[str]) -> list[Features] | None:
    if never:
        return None
    cells = (row if type(row) is list else [row] for row in data)
    return [{str(n): cell for n, cell in enumerate(row)} for row in cells]


def _named(
    names: Sequence[str], data: Iterable[Sequence[Any]], never: frozenset[str]
) -> Iterator[Features]:
    """Rows by the names of their columns; a name that comes again is `NAME.1`, as in pandas."""
    seen: dict[str, int] = {}
    kept: list[tuple[str, int]] = []
    for at, name in enumerate(names):
        again = seen[name] = seen.get(name, -1) + 1
        if name not in never:
            kept.append((f"{name}.{again}" if again else name, at))
    for row in data:
        if len(row) != len(names):
            raise ValueError("a row of another length than the head")
        yield {name: _without(row[at], never) for name, at in kept}


def _without(value: Any, never: frozenset[str]) -> Any:
    """A cell without what is never stored; MLflow takes cells that are objects or lists."""
    if type(value) is dict:
        return {k: _without(v, never) for k, v in value.items() if k not in never}
    if type(value) is list:
        return [_without(v, never) for v in value]
    return value


def _csv(body: bytes, never: frozenset[str]) -> list[Features]:
    rows = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), skipinitialspace=False)
    names = next(rows)
    return list(_named(names, ([_cell(text) for text in row] for row in rows if row), never))


def _cell(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return {"": None, "True": True, "False": False, "nan": None, "NaN": None}.get(text, text)


def _parquet(body: bytes, never: frozenset[str]) -> list[Features] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(body))
        names = [name for name in file.schema_arrow.names if name not in never]
        if file.metadata.num_rows * file.metadata.num_columns > CELLS:
            return None
        return [_without(row, never) for row in file.read(columns=names).to_pylist()]
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _answers(answer: bytes, count: int) -> list[Any]:
    """One answer for each of so many rows.

    An answer that is not given row by row stands with the first row.
    """
    try:
        found = wire.predictions(answer)
    except ValueError:
        found = None
    if type(found) is list and len(found) == max(count, 1):
        return found
    if type(found) is dict and found and count > 0:
        columns = found.values()
        if all(type(c) is list and len(c) == count for c in columns):
            return [{k: v[n] for k, v in found.items()} for n in range(count)]
    if count < 1 and type(found) is list and found:
        return found
    return [found, *[None] * (max(count, 1) - 1)]


def _text(value: Any) -> str | None:
    """JSON; moments and the like are texts, NaN and infinities null."""
    if value is None:
        return None
    try:
        return orjson.dumps(value, default=str).decode()
    except (TypeError, ValueError):  # integers beyond 64 bits, lone surrogates
        return json.dumps(value, default=str)
