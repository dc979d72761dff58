"""The scoring server's answer becomes tensors. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from serving import wire
from serving.oip.datatypes import ANSWER, CHECKS, NAMED, OF_TYPE, bad
from serving.oip.request import Asked
from serving.signature import Column


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
            raise bad(f"an output is asked for that the model does not have; it has {names}")
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
    datatype = _datatype(flat, OF_TYPE.get(declared, ""))
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
    if declared in CHECKS and all(map(CHECKS[declared], values)):
        return declared
    kinds = {type(v) for v in values if v is not None}
    if kinds == {bool} and None not in values:
        return "BOOL"
    if kinds == {int} and None not in values:
        for name in ("INT64", "UINT64"):
            if all(map(CHECKS[name], values)):
                return name
    return "FP64" if kinds <= {int, float} else "BYTES"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def error_body(sentence: str) -> bytes:
    """An error as the protocol writes it."""
    return orjson.dumps({"error": sentence})
