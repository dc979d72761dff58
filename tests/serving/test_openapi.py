"""The OpenAPI document: it is valid, and its schemas tell good requests from bad ones."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from registry import sections
from serving import oip, openapi, schemas, wire
from serving.openapi import Served
from serving.signature import NOTHING_KNOWN, Column, Signature

SIGNATURE = Signature(
    (Column("a", "double"), Column("n", "long"), Column("b", "string", required=False)),
    (Column("answer", "string"), Column("p", "double")),
    (Column("limit", "double", default=0.5),),
    by_column=True,
)
SERVED = Served("flights", "1.0")
TYPES = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime", "map")


def document(**models: Signature) -> dict[str, Any]:
    return openapi.document(SERVED, models or {"flights": SIGNATURE, "other": NOTHING_KNOWN})


def valid(schema: Any, value: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def test_the_document_is_valid_and_is_json() -> None:
    found = document()
    OpenAPIV31SpecValidator(found).validate()
    assert orjson.loads(orjson.dumps(found)) == found


columns = st.builds(
    Column,
    st.text(min_size=1, max_size=6),
    st.sampled_from([*TYPES, "uint8", "any"]),
    st.booleans(),
    st.sampled_from([(-1,), (-1, 3)]),
)


@given(
    st.builds(
        Signature,
        st.lists(columns, min_size=1, max_size=4).map(tuple),
        st.lists(columns, max_size=3).map(tuple),
        st.lists(columns, max_size=2).map(tuple),
        st.booleans(),
    )
)
def test_it_is_valid_for_any_signature(signature: Signature) -> None:
    for schema in (schemas.request(signature, 10), schemas.answer(signature)):
        Draft202012Validator.check_schema(schema)
        orjson.dumps(schema)


def test_names_of_models_are_names_of_components() -> None:
    assert sections.name_problem("Az0_-.b") is None
    name = "Az0_-.b"
    found = openapi.document(Served(name, "1"), {name: SIGNATURE})
    OpenAPIV31SpecValidator(found).validate()


GOOD = [
    {"dataframe_split": {"columns": ["a", "n", "b"], "data": [[0.5, 1, "x"], [1, 2, None]]}},
    {"dataframe_records": [{"a": 0.5, "n": 1, "b": "x"}, {"a": 0.5, "n": 1}]},
    {"inputs": {"a": [0.5], "n": [1]}},
    {"inputs": [{"a": 0.5, "n": 1}]},
    {"instances": [{"a": 0.5, "n": 1, "further": [1]}], "params": {"limit": 0.25}},
]
BAD = [
    {},
    {"dataframe_split": {"columns": ["a"], "data": [[0.5]]}},
    {"dataframe_split": {"columns": ["a", "n", "b"], "data": [["x", 1, "x"]]}},
    {"dataframe_split": {"columns": ["a", "n", "b"], "data": []}},
    {"dataframe_records": [{"a": 0.5}]},
    {"dataframe_records": [{"a": "x", "n": 1}]},
    {"dataframe_records": [{"a": 0.5, "n": 2**63}]},
    {"inputs": {"a": [0.5]}},
    {"instances": [[0.5, 1, "x"]]},
    {"instances": [{"a": 0.5, "n": 1}], "inputs": [{"a": 0.5, "n": 1}]},
    [],
]


@pytest.mark.parametrize("body", GOOD)
def test_requests_that_the_model_takes(body: Any) -> None:
    assert valid(schemas.request(SIGNATURE, 10), body)


@pytest.mark.parametrize("body", BAD)
def test_requests_that_it_does_not_take(body: Any) -> None:
    assert not valid(schemas.request(SIGNATURE, 10), body)


@pytest.mark.parametrize(
    "body",
    [{"instances": [1, 2]}, {"inputs": [[1.5]]}, {"dataframe_split": {"data": [[1]]}}],
)
def test_without_a_signature_any_of_the_forms_will_do(body: Any) -> None:
    assert valid(schemas.request(NOTHING_KNOWN, 10), body)
    assert not valid(schemas.request(NOTHING_KNOWN, 10), {**body, "dataframe_records": []})


def test_rows_are_limited() -> None:
    body = {"dataframe_records": [{"a": 0.5, "n": 1}] * 3}
    assert valid(schemas.request(SIGNATURE, 3), body)
    assert not valid(schemas.request(SIGNATURE, 2), body)


@pytest.mark.parametrize(
    ("outputs", "predictions", "ok"),
    [
        ((Column("", "double"),), [0.5, None], True),
        ((Column("", "double"),), ["x"], False),
        ((Column("y", "long"),), [1], True),
        ((Column("y", "long"),), [{"y": 1}], True),
        ((Column("y", "string"), Column("p", "double")), [{"y": "a", "p": 0.5}], True),
        ((Column("y", "string"), Column("p", "double")), [{"y": "a"}], False),
        ((Column("", "double", shape=(-1, 2)),), [[0.5, 0.5]], True),
        ((), {"anything": 1}, True),
    ],
)
def test_answers(outputs: Any, predictions: Any, ok: bool) -> None:
    schema = schemas.answer(Signature(outputs=outputs))
    assert valid(schema, {"predictions": predictions}) is ok


def test_the_protocol_s_schemas_hold_for_what_is_written() -> None:
    body = {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [0.5]}], "id": "1"}
    assert valid(schemas.inference_request(), body)
    asked = oip.infer(orjson.dumps(body), [])
    said = orjson.loads(oip.answer(b'{"predictions": [1]}', asked, "m", 1))
    assert valid(schemas.inference_response(), said)


def test_errors_and_who_may() -> None:
    found = document()
    error = found["components"]["schemas"]["Error"]
    assert valid(error, orjson.loads(wire.error("BAD_REQUEST", "it is not so")))
    inference = found["components"]["schemas"]["InferenceError"]
    assert valid(inference, orjson.loads(oip.error_body("it is not so")))
    assert found["paths"]["/admin/rollback"]["post"]["security"] == [{"bearer": []}]
    assert {} in found["paths"]["/invocations"]["post"]["security"]
    closed = openapi.document(Served("m", "1", token_needed=True), {"m": SIGNATURE})
    assert closed["paths"]["/invocations"]["post"]["security"] == [{"bearer": []}]


def operations() -> list[dict[str, Any]]:
    """Every operation of the document."""
    items = document()["paths"].values()
    return [item[method] for item in items for method in ("get", "post") if method in item]


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [o["operationId"] for o in operations()]
    assert len(set(names)) == len(names)


def test_every_status_that_the_gateway_gives_is_in_the_document() -> None:
    """Statuses are found in the source: a new one is not forgotten here."""
    source = "".join(
        (Path(openapi.__file__).parent / f"{name}.py").read_text()
        for name in (
            "admin",
            "answers",
            "batch",
            "feedback",
            "gateway",
            "heads",
            "inference",
            "predict",
            "protocol",
            "wire",
            "oip/answer",
            "oip/datatypes",
            "oip/request",
            "oip/service",
        )
    )
    numbers = {int(n) for n in re.findall(r"(?<![\w.#])([45]\d\d)(?=[,:)\s ])", source)}
    given = numbers & {int(status) for status in HTTPStatus} - {500}  # `>= 500` is a class
    assert given
    assert given <= {int(s) for o in operations() for s in o["responses"]}
