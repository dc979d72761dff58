"""The Open Inference Protocol V2 over REST, for models that take a table. Pure.

https://github.com/kserve/open-inference-protocol (inference_rest.md, required_api.md). A request is
turned into MLflow's `dataframe_split`, so that it is batched with all others, and the scoring
server's answer into tensors. Data are JSON; of Triton's extensions none is spoken.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving import wire
from serving.signature import Column
from serving.wire import NotAccepted

_INTEGERS = {
    f"{sign}INT{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_LARGEST = {"FP16": 65504.0, "FP32": 3.4028234663852886e38, "FP64": 1.7976931348623157e308}
DATATYPES = ("BOOL", *_INTEGERS, *_LARGEST, "BYTES")
"""The protocol's types of a tensor's elements."""

_OF_TYPE = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "int8": "INT8",
    "int16": "INT16",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
}
ANSWER = "predictions"
"""Name of the output of a model whose signature names none."""
ID_LIMIT = 1000
"""Characters of a request's id, which is sent back."""
NAMED = 5
"""Columns that one sentence names."""

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


# The request


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
        raise _bad("the body is not valid JSON in UTF-8; a missing number is null") from None
    if type(found) is not dict:
        raise _bad("the body must be a JSON object with `inputs`")
    _require_parameters(found, "the request")
    return found


def _id(found: dict[str, Any]) -> str:
    given = found.get("id")
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > ID_LIMIT:
        raise _bad(f"`id` must be a text of at most {ID_LIMIT} characters")
    return given


def _outputs(found: dict[str, Any]) -> tuple[str, ...]:
    given = found.get("outputs")
    if given is None:
        return ()
    if type(given) is not list or not all(
        type(one) is dict and isinstance(one.get("name"), str) for one in given
    ):
        raise _bad("`outputs` must be a list of objects with a `name`")
    for number, one in enumerate(given, 1):
        _require_parameters(one, f"output {number}")
    names = tuple(one["name"] for one in given)
    if len(set(names)) < len(names):
        raise _bad("an output is asked for twice")
    return names


def _require_parameters(found: dict[str, Any], where: str) -> None:
    given = found.get("parameters")
    if given is None:
        return
    if type(given) is not dict:
        raise _bad(f"the `parameters` of {where} must be an object")
    if _BINARY in given:
        raise _binary()
    for name, what in _REFUSED.items():
        if name in given:
            raise _bad(f"{what} ({name}, {where}) is not supported")


def _tensors(given: Any, types: dict[str, str]) -> list[_Tensor]:
    if type(given) is not list or not given:
        raise _bad("`inputs` must be a list of tensors with name, shape, datatype and data")
    found = [_tensor(raw, f"input {number}", types) for number, raw in enumerate(given, 1)]
    seen: dict[str, int] = {}
    for number, tensor in enumerate(found, 1):
        if tensor.name in seen:
            raise _bad(f"inputs {seen[tensor.name]} and {number} have the same name")
        seen[tensor.name] = number
    return found


def _tensor(raw: Any, where: str, types: dict[str, str]) -> _Tensor:
    if type(raw) is not dict:
        raise _bad(f"{where} must be an object with name, shape, datatype and data")
    _require_parameters(raw, where)
    name, shape, datatype = raw.get("name"), raw.get("shape"), raw.get("datatype")
    if not isinstance(name, str) or not name:
        raise _bad(f"the `name` of {where} must be a text")
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise _bad(f"the `shape` of {where} must be a list of numbers from 0 up")
    if len(shape) not in (1, 2):
        raise _bad(f"the `shape` of {where} must be [rows] or [rows, columns]")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise _bad(f"the `datatype` of {where} must be one of {', '.join(DATATYPES)}")
    values = _flat(raw.get("data"), shape, where)
    _require(values, datatype, where)
    if datatype in _LARGEST:
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
        raise _bad(f"the `data` of {where} must be a list")
    values = data
    if len(shape) == 2 and any(type(row) is list for row in data):
        if len(data) != shape[0] or any(type(r) is not list or len(r) != shape[1] for r in data):
            raise _bad(f"the `data` of {where} do not have its `shape`")
        values = [value for row in data for value in row]
    if len(values) != math.prod(shape):
        sentence = f"the `shape` of {where} is that of {math.prod(shape)} elements, and `data` has"
        raise _bad(f"{sentence} {len(values)}")
    return values


def _require(values: list[Any], datatype: str, where: str) -> None:
    """Raises NotAccepted where an element is not of the type."""
    if not all(map(_CHECKS[datatype], values)):
        raise _bad(f"an element of {where} is not {_WORDS.get(datatype, f'of type {datatype}')}")


def _is_integer(low: int, high: int) -> Any:
    return lambda v: type(v) is int and low <= v <= high


def _is_float(largest: float) -> Any:
    return lambda v: v is None or (type(v) in (int, float) and -largest <= v <= largest)


_CHECKS: dict[str, Any] = {
    "BOOL": lambda v: type(v) is bool,
    "BYTES": lambda v: v is None or type(v) is str,
    **{name: _is_integer(*limits) for name, limits in _INTEGERS.items()},
    **{name: _is_float(largest) for name, largest in _LARGEST.items()},
}
_WORDS = {
    "BOOL": "true or false",
    "BYTES": "a text or null",
    **{n: f"an integer from {low} to {high} ({n})" for n, (low, high) in _INTEGERS.items()},
    **{n: f"a number within {n}, or null" for n in _LARGEST},
}


def _texts(values: list[Any], where: str) -> list[Any]:
    try:
        return [v if v is None else base64.b64decode(v, validate=True).decode() for v in values]
    except (binascii.Error, ValueError):  # UnicodeDecodeError is a ValueError
        raise _bad(f"an element of {where} is not UTF-8 text in base64") from None


def _table(tensors: Sequence[_Tensor], columns: Sequence[Column]) -> tuple[list[str], list[Any]]:
    """Names of the columns, and the rows. Raises NotAccepted."""
    first = tensors[0]
    if any(t.rows != first.rows for t in tensors):
        raise _bad("the inputs have different numbers of rows (the first number of `shape`)")
    if not first.rows:
        raise _bad("the inputs have no rows")
    known = [c.name for c in columns]
    if (
        len(tensors) == 1
        and first.width is not None
        and (first.width != 1 or first.name not in known)
    ):
        if columns:
            return _matrix(first, known)
        if first.width != 1:
            raise _bad("the model has no signature, so send one input of shape [n] for each column")
    for number, tensor in enumerate(tensors, 1):
        if tensor.width not in (None, 1):
            sentence = "one of several inputs has shape [n] or [n, 1], a column; only one that is"
            raise _bad(f"{sentence} alone may have more columns (input {number})")
    given = {t.name: t.values for t in tensors}
    missing = [c.name for c in columns if c.required and c.name not in given]
    if missing:
        names = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise _bad(f"{len(missing)} of the model's {len(columns)} inputs are missing: {names}")
    names_sent = [name for name in known if name in given] if columns else list(given)
    cells = zip(*(given[name] for name in names_sent), strict=True)
    return names_sent, [list(row) for row in cells]


def _matrix(tensor: _Tensor, known: list[str]) -> tuple[list[str], list[Any]]:
    if tensor.width != len(known):
        raise _bad(f"the input has {tensor.width} columns, and the model takes {len(known)}")
    width = len(known)
    values = tensor.values
    return known, [values[i : i + width] for i in range(0, len(values), width)]


def _bad(sentence: str) -> NotAccepted:
    return NotAccepted("BAD_REQUEST", sentence, 400)


def _binary() -> NotAccepted:
    return _bad(
        "the binary data extension is not supported; send `data` as JSON "
        "(binary_data=False in Triton's client)"
    )


# The answer


def answer(
    said: bytes, asked: Asked, model: str, version: int, outputs: Sequence[Column] = ()
) -> bytes:
    """The scoring server's 200 as an inference response.

    One output for each named value of the predictions, otherwise one called as the signature calls
    it, or ANSWER. What is no rectangle of plain values becomes BYTES, each element JSON. Missing,
    infinite and not-a-number are null. Raises NotAccepted where an output was asked for that the
    model does not have, ValueError where what the server said is not JSON.
    """
    found = _named(wire.predictions(said), outputs)
    types = {c.name: c.type for c in outputs}
    if len(found) == len(outputs) == 1:
        types.setdefault(next(iter(found)), outputs[0].type)
    for name in asked.outputs:
        if name not in found:
            names = ", ".join(list(found)[:NAMED])
            raise _bad(f"an output is asked for that the model does not have; it has {names}")
    wanted = asked.outputs or tuple(found)
    response: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if asked.id:
        response["id"] = asked.id
    response["outputs"] = [_output(name, found[name], types.get(name, "")) for name in wanted]
    try:
        return orjson.dumps(response)
    except orjson.JSONEncodeError:  # half a character, which Python's parser lets through
        raise ValueError("the answer holds what JSON cannot") from None


def _named(predictions: Any, outputs: Sequence[Column]) -> dict[str, Any]:
    """Values by name of the output: each a list with an element for every row."""
    if isinstance(predictions, dict) and predictions:
        return {str(k): v if isinstance(v, list) else [v] for k, v in predictions.items()}
    values = predictions if isinstance(predictions, list) else [predictions]
    if values and all(isinstance(v, dict) and v for v in values):
        names = dict.fromkeys(str(k) for v in values for k in v)
        return {name: [v.get(name) for v in values] for name in names}
    named = outputs[0].name if len(outputs) == 1 else ""
    return {named or ANSWER: values}


def _output(name: str, values: list[Any], declared: str) -> dict[str, Any]:
    shape = _shape(values)
    flat = values
    if shape is None:
        shape = [len(values)]
    else:
        for _ in shape[1:]:
            flat = [value for row in flat for value in row]
    datatype = _datatype(flat, _OF_TYPE.get(declared, ""))
    if datatype == "BYTES":
        flat = [v if v is None or type(v) is str else _text(v) for v in flat]
    return {"name": name, "shape": shape, "datatype": datatype, "data": flat}


def _shape(values: Any) -> list[int] | None:
    """The shape of nested lists; None where they are no rectangle, or hold other than values."""
    if not isinstance(values, list):
        return None if isinstance(values, dict) else []
    if not values:
        return [0]
    shapes = [_shape(v) for v in values]
    first = shapes[0]
    if first is None or any(s != first for s in shapes):
        return None
    return [len(values), *first]


def _datatype(values: list[Any], declared: str) -> str:
    """What the signature says if it is true of the values, otherwise what they are."""
    if declared in _CHECKS and all(map(_CHECKS[declared], values)):
        return declared
    kinds = {type(v) for v in values if v is not None}
    if kinds == {bool} and None not in values:
        return "BOOL"
    if kinds == {int} and None not in values:
        for name in ("INT64", "UINT64"):
            if all(map(_CHECKS[name], values)):
                return name
    return "FP64" if kinds <= {int, float} else "BYTES"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def error_body(sentence: str) -> bytes:
    """An error as the protocol writes it."""
    return orjson.dumps({"error": sentence})


# Health and metadata


@dataclass(frozen=True, slots=True)
class Route:
    """What a path below /v2/models asks for."""

    model: str
    version: str = ""
    """Empty where the path names none."""
    verb: str = ""
    """`infer`, `ready`, or empty for the metadata."""


def route(path: str) -> Route | None:
    """The parts of /v2/models/NAME[/versions/V][/infer|/ready]; None for any other path."""
    parts = path.split("/")
    if parts[:3] != ["", "v2", "models"] or not all(parts[1:]):
        return None
    model, rest = (parts[3:4] or [""])[0], parts[4:]
    version = ""
    if rest[:1] == ["versions"]:
        version, rest = (rest[1:2] or [""])[0], rest[2:]
        if not version:
            return None
    if not model or rest not in ([], ["infer"], ["ready"]):
        return None
    return Route(model, version, rest[0] if rest else "")


def require_version(asked: str, live: int | None, model: str) -> None:
    """Raises NotAccepted where a path names another version than the one that answers."""
    if asked and asked != str(live):
        now = f"version {live} answers" if live is not None else "no version answers yet"
        raise NotAccepted("NOT_FOUND", f"that version of {model} is not served; {now}", 404)


def server(version: str) -> bytes:
    """GET /v2."""
    return orjson.dumps({"name": "understudy", "version": version, "extensions": []})


def live() -> bytes:
    """GET /v2/health/live; whoever can answer lives."""
    return orjson.dumps({"live": True})


def ready(*, is_ready: bool) -> bytes:
    """GET /v2/health/ready; to be sent with 200 or 503.

    The specification's text calls the member `live` here too, its servers call it `ready`.
    """
    return orjson.dumps({"live": True, "ready": is_ready})


def model_ready(model: str, *, is_ready: bool) -> bytes:
    """GET /v2/models/NAME[/versions/V]/ready; to be sent with 200 or 503."""
    return orjson.dumps({"name": model, "ready": is_ready})


def metadata(
    model: str, versions: Sequence[int], inputs: Sequence[Column], outputs: Sequence[Column]
) -> bytes:
    """GET /v2/models/NAME[/versions/V]; `versions` are those that a path may name."""
    return orjson.dumps(
        {
            "name": model,
            "versions": [str(v) for v in versions],
            "platform": "mlflow_pyfunc",
            "inputs": [_described(c) for c in inputs],
            "outputs": [_described(c) for c in outputs],
        }
    )


def _described(column: Column) -> dict[str, Any]:
    datatype = _OF_TYPE.get(column.type, "BYTES")
    return {"name": column.name or ANSWER, "datatype": datatype, "shape": list(column.shape)}
