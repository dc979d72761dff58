"""An inference request becomes MLflow's `dataframe_split`. Pure."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving import wire
from serving.oip.datatypes import CHECKS, DATATYPES, LARGEST, NAMED, WORDS, bad
from serving.signature import Column
from serving.wire import NotAccepted

ID_LIMIT = 1000
"""Characters of a request's id, which is sent back."""

# Parameters of Triton's extensions that would change what a request means.
_BINARY = "binary_data_size"
_REFUSED = {
    "classification": "the classification extension",
    "shared_memory_region": "shared memory",
    "sequence_id": "sequences",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the scoring server takes it, and what its answer needs."""

    body: bytes
    """JSON in the form `dataframe_split`."""
    rows: int
    id: str = ""
    outputs: tuple[str, ...] = ()
    """Names of the outputs that were asked for; empty means all."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    rows: int
    width: int | None
    """None for a tensor of one dimension."""
    values: list[Any]
    """All elements, row after row."""


def infer(body: bytes, columns: Sequence[Column]) -> Asked:
    """Read an inference request for a model that takes `columns`. Raises NotAccepted.

    The inputs are one tensor for each column, of shape [n] or [n, 1], or one tensor of shape
    [n, k] with the k columns in the signature's order, under any name. A missing number or text
    is null. As with MLflow, inputs that the model does not have are left out. Without a signature
    (`columns` is empty) the names of the inputs are the columns.
    """
    found = _object(body)
    tensors = _tensors(found.get("inputs"), {c.name: c.type for c in columns})
    names, rows = _table(tensors, columns)
    data = {"columns": names, "data": rows}
    return Asked(orjson.dumps({"dataframe_split": data}), len(rows), _id(found), _outputs(found))


def _object(body: bytes) -> dict[str, Any]:
    if body.count(b"[") + body.count(b"{") > wire.DEPTH:
        wire.require_shallow(body)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        if _BINARY.encode() in body:
            raise _binary() from None
        raise bad("the body is not valid JSON in UTF-8; a missing number is null") from None
    if type(found) is not dict:
        raise bad("the body must be a JSON object with `inputs`")
    _require_parameters(found, "the request")
    return found


def _id(found: dict[str, Any]) -> str:
    given = found.get("id")
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > ID_LIMIT:
        raise bad(f"`id` must be a text of at most {ID_LIMIT} characters")
    return given


def _outputs(found: dict[str, Any]) -> tuple[str, ...]:
    given = found.get("outputs")
    if given is None:
        return ()
    if type(given) is not list or not all(
        type(one) is dict and isinstance(one.get("name"), str) for one in given
    ):
        raise bad("`outputs` must be a list of objects with a `name`")
    for number, one in enumerate(given, 1):
        _require_parameters(one, f"output {number}")
    names = tuple(one["name"] for one in given)
    if len(set(names)) < len(names):
        raise bad("an output is asked for twice")
    return names


def _require_parameters(found: dict[str, Any], where: str) -> None:
    given = found.get("parameters")
    if given is None:
        return
    if type(given) is not dict:
        raise bad(f"the `parameters` of {where} must be an object")
    if _BINARY in given:
        raise _binary()
    for name, what in _REFUSED.items():
        if name in given:
            raise bad(f"{what} ({name}, {where}) is not supported")


def _tensors(given: Any, types: dict[str, str]) -> list[_Tensor]:
    if type(given) is not list or not given:
        raise bad("`inputs` must be a list of tensors with name, shape, datatype and data")
    found = [_tensor(raw, f"input {number}", types) for number, raw in enumerate(given, 1)]
    seen: dict[str, int] = {}
    for number, tensor in enumerate(found, 1):
        if tensor.name in seen:
            raise bad(f"inputs {seen[tensor.name]} and {number} have the same name")
        seen[tensor.name] = number
    return found


def _tensor(raw: Any, where: str, types: dict[str, str]) -> _Tensor:
    if type(raw) is not dict:
        raise bad(f"{where} must be an object with name, shape, datatype and data")
    _require_parameters(raw, where)
    name, shape, datatype = raw.get("name"), raw.get("shape"), raw.get("datatype")
    if not isinstance(name, str) or not name:
        raise bad(f"the `name` of {where} must be a text")
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise bad(f"the `shape` of {where} must be a list of numbers from 0 up")
    if len(shape) not in (1, 2):
        raise bad(f"the `shape` of {where} must be [rows] or [rows, columns]")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise bad(f"the `datatype` of {where} must be one of {', '.join(DATATYPES)}")
    values = _flat(raw.get("data"), shape, where)
    _require(values, datatype, where)
    if datatype in LARGEST:
        # What JSON calls 1 is an integer to pandas, and the caller said that it is none.
        values = [None if v is None else float(v) for v in values]
    elif datatype == "BYTES" and _content_type(raw) == "base64" and types.get(name) != "binary":
        values = _texts(values, where)
    return _Tensor(name, shape[0], shape[1] if len(shape) == 2 else None, values)


def _content_type(raw: dict[str, Any]) -> Any:
    return (raw.get("parameters") or {}).get("content_type")


def _flat(data: Any, shape: list[int], where: str) -> list[Any]:
    """The elements row after row; the protocol takes them flat and nested."""
    if type(data) is not list:
        raise bad(f"the `data` of {where} must be a list")
    values = data
    if len(shape) == 2 and any(type(row) is list for row in data):
        if len(data) != shape[0] or any(type(r) is not list or len(r) != shape[1] for r in data):
            raise bad(f"the `data` of {where} do not have its `shape`")
        values = [value for row in data for value in row]
    if len(values) != math.prod(shape):
        sentence = f"the `shape` of {where} is that of {math.prod(shape)} elements, and `data` has"
        raise bad(f"{sentence} {len(values)}")
    return values


def _require(values: list[Any], datatype: str, where: str) -> None:
    """Raises NotAccepted where an element is not of the type."""
    if not all(map(CHECKS[datatype], values)):
        raise bad(f"an element of {where} is not {WORDS.get(datatype, f'of type {datatype}')}")


def _texts(values: list[Any], where: str) -> list[Any]:
    try:
        return [v if v is None else base64.b64decode(v, validate=True).decode() for v in values]
    except (binascii.Error, ValueError):  # UnicodeDecodeError is a ValueError
        raise bad(f"an element of {where} is not UTF-8 text in base64") from None


def _table(tensors: Sequence[_Tensor], columns: Sequence[Column]) -> tuple[list[str], list[Any]]:
    """Names of the columns, and the rows. Raises NotAccepted."""
    first = tensors[0]
    if any(t.rows != first.rows for t in tensors):
        raise bad("the inputs have different numbers of rows (the first number of `shape`)")
    if not first.rows:
        raise bad("the inputs have no rows")
    known = [c.name for c in columns]
    if (
        len(tensors) == 1
        and first.width is not None
        and (first.width != 1 or first.name not in known)
    ):
        if columns:
            return _matrix(first, known)
        if first.width != 1:
            raise bad("the model has no signature, so send one input of shape [n] for each column")
    for number, tensor in enumerate(tensors, 1):
        if tensor.width not in (None, 1):
            sentence = "one of several inputs has shape [n] or [n, 1], a column; only one that is"
            raise bad(f"{sentence} alone may have more columns (input {number})")
    given = {t.name: t.values for t in tensors}
    missing = [c.name for c in columns if c.required and c.name not in given]
    if missing:
        names = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise bad(f"{len(missing)} of the model's {len(columns)} inputs are missing: {names}")
    names_sent = [name for name in known if name in given] if columns else list(given)
    cells = zip(*(given[name] for name in names_sent), strict=True)
    return names_sent, [list(row) for row in cells]


def _matrix(tensor: _Tensor, known: list[str]) -> tuple[list[str], list[Any]]:
    if tensor.width != len(known):
        raise bad(f"the input has {tensor.width} columns, and the model takes {len(known)}")
    width = len(known)
    values = tensor.values
    return known, [values[i : i + width] for i in range(0, len(values), width)]


def _binary() -> NotAccepted:
    return bad(
        "the binary data extension is not supported; send `data` as JSON "
        "(binary_data=False in Triton's client)"
    )
