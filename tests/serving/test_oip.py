"""The Open Inference Protocol: tables in, tensors out, and every way to be wrong."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import oip, wire
from serving.oip import Asked
from serving.signature import Column
from serving.wire import NotAccepted

A_AND_B = (Column("a", "double"), Column("b", "string"))


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> Any:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def request(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def split(body: bytes) -> Any:
    found = orjson.loads(body)
    assert list(found) == ["dataframe_split"]
    return found["dataframe_split"]


def refused(body: bytes, columns: Any = A_AND_B) -> str:
    with pytest.raises(NotAccepted) as caught:
        oip.infer(body, columns)
    assert caught.value.status == 400
    return str(caught.value)


# Tables as they are sent

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "INT8": st.integers(-(2**7), 2**7 - 1),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT16": st.integers(0, 2**16 - 1),
    "UINT64": st.integers(0, 2**64 - 1),
    "FP32": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 99),
    "BYTES": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, dict[str, tuple[str, list[Any]]]]:
    """Number of rows, and columns by name: datatype and values."""
    rows = draw(st.integers(1, 5))
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    table = {}
    for name in names:
        datatype = draw(st.sampled_from(sorted(VALUES)))
        table[name] = (
            datatype,
            draw(st.lists(VALUES[datatype], min_size=rows, max_size=rows)),
        )
    return rows, table


@given(tables(), st.booleans(), st.booleans(), st.randoms())
def test_a_table_arrives_as_it_was_sent(
    table: Any, column: bool, nested: bool, random: Any
) -> None:
    rows, columns = table
    inputs = []
    for name, (datatype, values) in columns.items():
        data = [[v] for v in values] if column and nested else values
        inputs.append(tensor(name, datatype, data, [rows, 1] if column else [rows]))
    random.shuffle(inputs)
    signature = [Column(name, "double") for name in columns]
    asked = oip.infer(request(*inputs), signature)
    found = split(asked.body)
    assert asked.rows == rows
    assert found["columns"] == list(columns)
    for position, (_, values) in enumerate(columns.values()):
        assert [row[position] for row in found["data"]] == values


@given(st.integers(1, 6), st.integers(1, 5), st.booleans(), st.data())
def test_one_tensor_of_all_columns_is_the_table(
    rows: int, width: int, nested: bool, data: Any
) -> None:
    cells = st.floats(allow_nan=False, allow_infinity=False)
    matrix = data.draw(
        st.lists(st.lists(cells, min_size=width, max_size=width), min_size=rows, max_size=rows)
    )
    flat = matrix if nested else [v for row in matrix for v in row]
    columns = [Column(f"c{i}", "double") for i in range(width)]
    asked = oip.infer(request(tensor("whatever", "FP64", flat, [rows, width])), columns)
    assert split(asked.body) == {"columns": [c.name for c in columns], "data": matrix}


@given(tables())
def test_what_is_sent_on_can_be_batched_or_goes_alone(table: Any) -> None:
    rows, columns = table
    inputs = [tensor(name, kind, values) for name, (kind, values) in columns.items()]
    asked = oip.infer(request(*inputs), [])
    found = wire.read(asked.body)
    assert found is None or found.count == rows


def test_a_whole_number_for_a_float_stays_a_float() -> None:
    asked = oip.infer(request(tensor("a", "FP64", [1, 2])), [Column("a", "double")])
    assert b"[1.0],[2.0]" in asked.body


def test_what_the_model_does_not_take_is_left_out() -> None:
    body = request(
        tensor("more", "INT64", [1]), tensor("b", "BYTES", ["x"]), tensor("a", "FP64", [0.5])
    )
    assert split(oip.infer(body, A_AND_B).body) == {"columns": ["a", "b"], "data": [[0.5, "x"]]}


def test_an_optional_column_may_be_missing() -> None:
    columns = [Column("a", "double"), Column("b", "string", required=False)]
    asked = oip.infer(request(tensor("a", "FP64", [0.5])), columns)
    assert split(asked.body)["columns"] == ["a"]


def test_text_in_base64_is_read_for_text_and_kept_for_binary() -> None:
    sent = {**tensor("a", "BYTES", ["w6Q=", None]), "parameters": {"content_type": "base64"}}
    assert split(oip.infer(request(sent), [Column("a", "string")]).body)["data"] == [["ä"], [None]]
    assert split(oip.infer(request(sent), [Column("a", "binary")]).body)["data"][0] == ["w6Q="]


def test_an_output_that_is_wanted_as_binary_is_answered_as_json() -> None:
    body = request(tensor("a", "FP64", [1.0]), parameters={"binary_data_output": True}, id="7")
    assert oip.infer(body, []).id == "7"


FLOATS = tensor("a", "FP64", [1.0, 2.0])
TEXTS = tensor("b", "BYTES", ["x", "y"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "JSON object"),
        (b'{"inputs": NaN}', "a missing number is null"),
        (b'{"inputs": [{"data": [1e400]}]}', "not valid JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b"\xff\xfe", "UTF-8"),
        (b"{}", "`inputs` must be a list"),
        (request(), "`inputs` must be a list"),
        (request(3), "input 1 must be an object"),
        (request({**FLOATS, "name": ""}), "`name` of input 1"),
        (request({**FLOATS, "name": None}), "`name` of input 1"),
        (request({**FLOATS, "shape": 2}), "`shape` of input 1 must be a list"),
        (request({**FLOATS, "shape": [-1]}), "from 0 up"),
        (request({**FLOATS, "shape": [True]}), "from 0 up"),
        (request({**FLOATS, "shape": [1, 1, 2]}), "[rows] or [rows, columns]"),
        (request({**FLOATS, "shape": [3]}), "3 elements, and `data` has 2"),
        (request({**FLOATS, "shape": [2**63]}), "elements"),
        (request({**FLOATS, "shape": [1, 2], "data": [[1.0], [2.0]]}), "do not have its `shape`"),
        (request({**FLOATS, "data": [[1.0], [2.0]]}), "an element of input 1 is not a number"),
        (request({**FLOATS, "data": "AAAA"}), "`data` of input 1 must be a list"),
        (request({**FLOATS, "datatype": "DOUBLE"}), "BOOL, INT8"),
        (request({**FLOATS, "datatype": ["FP64"]}), "BOOL, INT8"),
        (request({**FLOATS, "datatype": "INT64"}), "an integer from -9223372036854775808"),
        (request(tensor("a", "INT8", [1, 128])), "from -128 to 127"),
        (request(tensor("a", "UINT8", [-1])), "from 0 to 255"),
        (request(tensor("a", "INT8", [True])), "from -128 to 127"),
        (request(tensor("a", "BOOL", [1])), "true or false"),
        (request(tensor("a", "FP16", [65505.0])), "within FP16"),
        (request(tensor("a", "FP64", ["1.0"])), "within FP64"),
        (request(tensor("b", "BYTES", [1])), "a text or null"),
        (request(FLOATS, {**TEXTS, "name": "a"}), "inputs 1 and 2 have the same name"),
        (request(FLOATS), "1 of the model's 2 inputs are missing: b"),
        (request(FLOATS, tensor("b", "BYTES", ["x"])), "different numbers of rows"),
        (request(tensor("a", "FP64", []), tensor("b", "BYTES", [])), "no rows"),
        (request({**FLOATS, "shape": [1, 2]}, tensor("b", "BYTES", ["x"])), "one of several"),
        (request(tensor("x", "FP64", [1.0] * 3, [1, 3])), "3 columns, and the model takes 2"),
        (request(FLOATS, TEXTS, id=7), "`id` must be a text"),
        (request(FLOATS, TEXTS, id="i" * 1001), "at most 1000"),
        (request(FLOATS, TEXTS, outputs=["y"]), "`outputs` must be a list"),
        (request(FLOATS, TEXTS, outputs=[{"name": "y"}] * 2), "asked for twice"),
        (request(FLOATS, TEXTS, parameters=[1]), "`parameters` of the request"),
        (request({**FLOATS, "parameters": {"binary_data_size": 16}}), "binary data extension"),
        (request(FLOATS)[:-1] + b',"binary_data_size":4}\x00\x01', "binary data extension"),
        (
            request(FLOATS, TEXTS, outputs=[{"name": "y", "parameters": {"classification": 2}}]),
            "classification extension",
        ),
        (
            request({**TEXTS, "parameters": {"content_type": "base64"}, "data": ["%", "!"]}),
            "base64",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(body: bytes, says: str) -> None:
    assert says in refused(body)


def test_without_a_signature_the_columns_of_a_matrix_have_no_names() -> None:
    assert "no signature" in refused(request(tensor("x", "FP64", [1.0, 2.0], [1, 2])), ())


KEYS = ["inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_anything_is_accepted_or_refused_with_a_sentence(body: bytes) -> None:
    said = ""
    try:
        oip.infer(body, A_AND_B)
    except NotAccepted as error:
        said = str(error)
    assert len(said) < 300


@given(st.text(st.characters(categories=["L"]), min_size=12))
def test_no_sentence_repeats_what_the_caller_sent(secret: str) -> None:
    bodies = (
        request(tensor(secret, "FP64", [secret])),
        request(tensor("a", secret, [1])),
        request(tensor(secret, "FP64", [1.0]), tensor(secret, "FP64", [1.0])),
    )
    for body in bodies:
        assert secret not in refused(body)


# Answers

ASKED = Asked(b"", 2, "42")


def answered(predictions: Any, asked: Asked = ASKED, outputs: Any = ()) -> Any:
    body = json.dumps({"predictions": predictions}).encode()
    return orjson.loads(oip.answer(body, asked, "flights", 3, outputs))


def output(predictions: Any, *outputs: Column) -> Any:
    found = answered(predictions, outputs=outputs)
    assert found["model_name"] == "flights"
    assert found["model_version"] == "3"
    assert found["id"] == "42"
    (one,) = found["outputs"]
    return one["name"], one["shape"], one["datatype"], one["data"]


@pytest.mark.parametrize(
    ("predictions", "shape", "datatype", "data"),
    [
        ([0.5, 1], [2], "FP64", [0.5, 1]),
        ([1, 2], [2], "INT64", [1, 2]),
        ([1, None], [2], "FP64", [1, None]),
        ([2**63, 1], [2], "UINT64", [2**63, 1]),
        ([True, False], [2], "BOOL", [True, False]),
        ([True, None], [2], "BYTES", ["true", None]),
        (["a", None], [2], "BYTES", ["a", None]),
        (["a", 1], [2], "BYTES", ["a", "1"]),
        ([[1, 2], [3, 4]], [2, 2], "INT64", [1, 2, 3, 4]),
        ([[[1.5]], [[2.5]]], [2, 1, 1], "FP64", [1.5, 2.5]),
        ([[1], [2, 3]], [2], "BYTES", ["[1]", "[2,3]"]),
        ([{}, {"a": 1}], [2], "BYTES", ["{}", '{"a":1}']),
        ([], [0], "FP64", []),
        (7, [1], "INT64", [7]),
        ("a", [1], "BYTES", ["a"]),
        ([math.nan, 1.0], [2], "FP64", [None, 1.0]),
    ],
)
def test_predictions_become_one_tensor(
    predictions: Any, shape: Any, datatype: str, data: Any
) -> None:
    assert output(predictions) == (oip.ANSWER, shape, datatype, data)


def test_named_values_are_an_output_each() -> None:
    rows = [{"answer": "yes", "p": 0.75}, {"answer": "no", "p": 0.25}]
    found = answered(rows)["outputs"]
    assert [(o["name"], o["datatype"], o["data"]) for o in found] == [
        ("answer", "BYTES", ["yes", "no"]),
        ("p", "FP64", [0.75, 0.25]),
    ]
    assert found == answered({"answer": ["yes", "no"], "p": [0.75, 0.25]})["outputs"]
    (only,) = answered(rows, Asked(b"", 2, "", ("p",)))["outputs"]
    assert only["name"] == "p"


def test_an_output_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NotAccepted, match="it has answer, p"):
        answered([{"answer": "yes", "p": 0.75}], Asked(b"", 1, "", ("other",)))


def test_an_answer_is_of_the_type_that_the_signature_says_where_that_is_true() -> None:
    assert output([1, 2], Column("y", "integer")) == ("y", [2], "INT32", [1, 2])
    assert output([1, 2], Column("", "float")) == (oip.ANSWER, [2], "FP32", [1, 2])
    assert output([0.5], Column("y", "long")) == ("y", [1], "FP64", [0.5])
    assert output([2**40], Column("y", "integer")) == ("y", [1], "INT64", [2**40])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"p": st.floats(allow_nan=False, allow_infinity=False), "y": st.text(max_size=5)}
        ),
        min_size=1,
    )
)
def test_the_values_of_an_answer_are_those_of_the_server(rows: Any) -> None:
    said = orjson.dumps({"predictions": rows})
    found = orjson.loads(oip.answer(said, ASKED, "m", 1))["outputs"]
    by_name = {o["name"]: o["data"] for o in found}
    cells = zip(by_name["p"], by_name["y"], strict=True)
    assert [{"p": p, "y": y} for p, y in cells] == rows
    assert all(o["shape"] == [len(rows)] for o in found)


@pytest.mark.parametrize("said", [b"", b"<html>", b"[1]", b'{"predictions": ["\\ud800", NaN]}'])
def test_what_is_no_answer_is_a_value_error(said: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        oip.answer(said, ASKED, "m", 1)


# Health and metadata


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/models/m", oip.Route("m")),
        ("/v2/models/m/ready", oip.Route("m", "", "ready")),
        ("/v2/models/m/infer", oip.Route("m", "", "infer")),
        ("/v2/models/m/versions/3", oip.Route("m", "3")),
        ("/v2/models/m/versions/3/infer", oip.Route("m", "3", "infer")),
        ("/v2/models/m/versions/3/ready", oip.Route("m", "3", "ready")),
        ("/v2/models/versions", oip.Route("versions")),
        ("/v2/models", None),
        ("/v2/models/", None),
        ("/v2/models/m/", None),
        ("/v2/models//infer", None),
        ("/v2/models/m/versions", None),
        ("/v2/models/m/versions/3/explain", None),
        ("/v2/models/m/infer/x", None),
        ("/v1/models/m", None),
        ("/v2/health/live", None),
    ],
)
def test_paths(path: str, expected: Any) -> None:
    assert oip.route(path) == expected


def test_a_version_that_does_not_answer_is_not_found() -> None:
    oip.require_version("", 3, "m")
    oip.require_version("3", 3, "m")
    with pytest.raises(NotAccepted, match="version 3 answers") as caught:
        oip.require_version("2", 3, "m")
    assert caught.value.status == 404
    with pytest.raises(NotAccepted, match="no version answers yet"):
        oip.require_version("2", None, "m")


def test_metadata() -> None:
    outputs = (Column("", "double"), Column("when", "datetime"))
    found = orjson.loads(oip.metadata("m", [3], A_AND_B, outputs))
    assert found == {
        "name": "m",
        "versions": ["3"],
        "platform": "mlflow_pyfunc",
        "inputs": [
            {"name": "a", "datatype": "FP64", "shape": [-1]},
            {"name": "b", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": oip.ANSWER, "datatype": "FP64", "shape": [-1]},
            {"name": "when", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    assert orjson.loads(oip.server("1.0"))["name"] == "understudy"
    assert orjson.loads(oip.live()) == {"live": True}
    assert orjson.loads(oip.ready(is_ready=False))["ready"] is False
    assert orjson.loads(oip.model_ready("m", is_ready=True)) == {"name": "m", "ready": True}
    assert orjson.loads(oip.error_body('a "sentence"')) == {"error": 'a "sentence"'}
