"""JSON Schemas of what a model takes and gives, from its signature. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.oip import DATATYPES
from serving.signature import Column, Signature

Schema = dict[str, Any]

_INTEGERS = {"integer": 31, "long": 63, "int32": 31, "int64": 63, "int8": 7, "int16": 15}
_OF_TYPE: dict[str, Schema] = {
    "boolean": {"type": "boolean"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "description": "ISO 8601"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "array": {"type": "array"},
    "object": {"type": "object"},
    "map": {"type": "object"},
    **{
        name: {"type": "integer", "minimum": -(2**bits), "maximum": 2**bits - 1}
        for name, bits in _INTEGERS.items()
    },
}
ORDER = "The columns are shown in the signature's order; any other is taken too, and more columns."


def value(column: Column) -> Schema:
    """One cell of a column; null where the column may be missing."""
    schema = dict(_OF_TYPE.get(column.type, {}))
    if not column.required and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def request(signature: Signature, rows: int) -> Schema:
    """The body of a scoring request in JSON: exactly one of MLflow's four forms."""
    forms = _by_column(signature.inputs, rows) if signature.by_column else _anything(rows)
    more = {"params": _params(signature.params)} if signature.params else {}
    return {
        "oneOf": [
            {
                "type": "object",
                "title": name,
                "required": [name],
                "properties": {name: form, **more},
                "additionalProperties": False,
            }
            for name, form in forms.items()
        ]
    }


def _by_column(columns: Sequence[Column], rows: int) -> dict[str, Schema]:
    names, cells = [c.name for c in columns], [value(c) for c in columns]
    required = list(dict.fromkeys(c.name for c in columns if c.required))
    record = {
        "type": "object",
        "required": required,
        "properties": dict(zip(names, cells, strict=True)),
    }
    records = {"type": "array", "minItems": 1, "maxItems": rows, "items": record}
    lists = {
        name: {"type": "array", "minItems": 1, "maxItems": rows, "items": cell}
        for name, cell in zip(names, cells, strict=True)
    }
    split = {
        "type": "object",
        "description": ORDER,
        "required": ["columns", "data"],
        "properties": {
            "columns": _tuple([{"const": name} for name in names]),
            "data": {"type": "array", "minItems": 1, "maxItems": rows, "items": _tuple(cells)},
        },
        "additionalProperties": False,
    }
    return {
        "dataframe_split": split,
        "dataframe_records": records,
        "inputs": {
            "anyOf": [
                {
                    "type": "object",
                    "description": "A list for each column, all of one length.",
                    "required": required,
                    "properties": lists,
                },
                records,
            ]
        },
        "instances": records,
    }


def _tuple(items: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _anything(rows: int) -> dict[str, Schema]:
    """The four forms of a model without named columns."""
    some = {"type": "array", "minItems": 1, "maxItems": rows}
    split = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "columns": {"type": "array"},
            "data": {**some, "items": {"type": "array"}},
        },
    }
    return {
        "dataframe_split": split,
        "dataframe_records": {**some, "items": {"type": "object"}},
        "inputs": {"anyOf": [some, {"type": "object"}]},
        "instances": some,
    }


def _params(columns: Sequence[Column]) -> Schema:
    found: dict[str, Schema] = {}
    for column in columns:
        one: Schema = {**value(column)}
        if column.shape != (-1,):
            one = {"type": "array", "items": one}
        if column.default is not None:
            one["default"] = column.default
        found[column.name] = one
    return {"type": "object", "properties": found}


def answer(signature: Signature) -> Schema:
    """The body of a 200: a prediction for each row."""
    return {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": _predictions(signature.outputs)},
    }


def _predictions(outputs: Sequence[Column]) -> Schema:
    """NaN is written as null where a caller's rows gave one."""
    if not outputs or any(len(c.shape) != 1 or not _OF_TYPE.get(c.type) for c in outputs):
        return {"description": "One prediction for each row, in their order."}
    cells = {c.name: _or_null(value(c)) for c in outputs}
    named: Schema = {"type": "object", "properties": cells, "required": list(cells)}
    if len(outputs) > 1:
        return {"type": "array", "items": named}
    plain = next(iter(cells.values()))
    items = {"anyOf": [plain, named]} if outputs[0].name else plain
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    kinds = schema["type"]
    return {**schema, "type": kinds if isinstance(kinds, list) else [kinds, "null"]}


# The Open Inference Protocol


def inference_request() -> Schema:
    """Of any model."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "shape": {
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "items": {"type": "integer", "minimum": 0},
            },
            "datatype": {"enum": list(DATATYPES)},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    }
    wanted = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {"type": "array", "items": wanted},
        },
    }


def inference_response() -> Schema:
    """Of any model."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"enum": list(DATATYPES)},
            "data": {"type": "array"},
        },
    }
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": tensor},
        },
    }
