"""Joining: MLflow's own parser makes of a joined request what it makes of each request alone."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.finite import finite
from serving import wire
from serving.wire import NotAccepted, Rows

names = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True)
CELLS = (
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
    st.booleans(),
    st.none(),
)
columns_of = st.lists(st.sampled_from(CELLS), min_size=1, max_size=2).map(lambda s: st.one_of(*s))


def parsed(body: bytes) -> Any:
    """The rows as bare `mlflow models serve` hands them to the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own import
        from mlflow.pyfunc.scoring_server import infer_and_parse_data

    found = infer_and_parse_data(json.loads(body))
    if isinstance(found, dict):
        return pd.DataFrame({k: list(v) for k, v in found.items()})
    if isinstance(found, pd.DataFrame):
        return found.reset_index(drop=True)
    return found


def read(body: Any) -> Rows:
    found = wire.read(orjson.dumps(body))
    assert found is not None
    return found


def request(data: st.DataObject, columns: dict[str, Any], form: str) -> dict[str, Any]:
    rows = [
        list(r) for r in data.draw(st.lists(st.tuples(*columns.values()), min_size=1, max_size=3))
    ]
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    if form == "dataframe_split":
        return {form: {"columns": list(columns), "data": rows}}
    if form == "inputs":
        return {form: {name: [r[i] for r in rows] for i, name in enumerate(columns)}}
    return {form: records}


@settings(max_examples=300, deadline=None)
@given(st.data(), names, st.sampled_from(("dataframe_split", "dataframe_records", "inputs")))
def test_joined_is_parsed_as_each_alone(data: st.DataObject, columns: list[str], form: str) -> None:
    kinds = {name: data.draw(columns_of) for name in columns}
    bodies = [request(data, kinds, form) for _ in range(data.draw(st.integers(2, 5)))]
    readings = [read(b) for b in bodies]
    first = readings[0]
    same = [(b, r) for b, r in zip(bodies, readings, strict=True) if r.kind == first.kind]
    together = parsed(wire.join([r for _, r in same]))
    start = 0
    for body, rows in same:
        alone = parsed(orjson.dumps(body))
        part = together.iloc[start : start + rows.count].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, alone, check_exact=True)
        start += rows.count
    assert start == len(together)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=2, max_size=2), min_size=1, max_size=4))
def test_arrays_too(rows: list[list[float]]) -> None:
    one, two = read({"instances": rows}), read({"instances": rows[:1]})
    assert one.kind == two.kind
    together = parsed(wire.join([one, two]))
    np.testing.assert_array_equal(together, np.array([*rows, rows[0]]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1]], [[1.0]]),
        ([["1"]], [[1]]),
        ([[None]], [[1.0]]),
        ([[1.0], [None]], [[1.0]]),
        ([[True]], [[1]]),
    ],
)
def test_other_types_are_not_joined(one: Any, other: Any) -> None:
    kinds = [read({"dataframe_split": {"columns": ["a"], "data": d}}).kind for d in (one, other)]
    assert kinds[0] != kinds[1]


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_split":{"columns":["a"],"data":[[12345678901234567890]]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[[NaN]]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[["\\ud800"]]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[[[1,2]]]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[[1],[2,3]]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[]}}',
        b'{"dataframe_split":{"data":[[1]]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[[1]],"index":[1,2]}}',
        b'{"dataframe_split":{"columns":["a"],"data":[[1]],"more":1}}',
        b'{"dataframe_records":[{"a":1},{"b":1}]}',
        b'{"dataframe_records":[]}',
        b'{"instances":["x"]}',
        b'{"inputs":{"a":[1],"b":[1,2]}}',
        b'{"inputs":"x"}',
        b'{"inputs":[[1]],"params":{"k":1}}',
        b'{"inputs":[[1]],"other":1}',
    ],
)
def test_what_is_out_of_the_ordinary_goes_alone(body: bytes) -> None:
    assert wire.read(body) is None


def test_an_index_of_pandas_is_joined_without_it() -> None:
    split = {"columns": ["a"], "index": [7, 8], "data": [[1], [2]]}
    rows = read({"dataframe_split": split})
    assert orjson.loads(wire.join([rows, rows])) == {
        "dataframe_split": {"columns": ["a"], "data": [[1], [2], [1], [2]]}
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "must be a JSON object with one of dataframe_split"),
        (b"3", "must be a JSON object"),
        (b"NaN", "must be a JSON object"),
        (b"{}", "exactly one of"),
        (b'{"data": [[1]]}', "exactly one of"),
        (b'{"inputs": [1], "instances": [1]}', "exactly one of"),
        (b'{"inputs": ' + b"[" * 40 + b"]" * 40 + b"}", "deeper than 32 levels"),
        (b"[" * 100_000, "deeper than 32 levels"),
        (b'{"a":' * 100_000, "deeper than 32 levels"),
    ],
)
def test_what_no_model_takes(body: bytes, says: str) -> None:
    with pytest.raises(NotAccepted, match=says) as refused:
        wire.read(body)
    assert refused.value.status == 400


def test_brackets_in_texts_are_not_levels() -> None:
    wire.require_shallow(b'{"inputs": ["' + b"[" * 100 + b'\\"[[", 1]}')


@pytest.mark.parametrize(
    ("kind", "ok"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ("text/csv", True),
        ("application/vnd.apache.parquet", True),
        ("text/plain", False),
        ("application/json; charset=latin-1", False),
        ("application/json; format=pandas-split", False),
        ("", False),
    ],
)
def test_content_types(kind: str, ok: bool) -> None:
    if ok:
        assert wire.media_type(kind) == kind.partition(";")[0].lower()
    else:
        with pytest.raises(NotAccepted) as refused:
            wire.media_type(kind)
        assert refused.value.status == 415


json_values = st.recursive(
    st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.lists(st.lists(json_values, min_size=1, max_size=3), min_size=1, max_size=5))
def test_each_gets_its_own_part(parts: list[list[Any]]) -> None:
    answer = json.dumps({"predictions": [p for part in parts for p in part]}).encode()
    found = wire.part(answer, [len(p) for p in parts])
    if b"null" in answer:
        assert found is None
    else:
        assert found is not None
        assert [orjson.loads(f) for f in found] == [{"predictions": p} for p in parts]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"predictions": [1]}',
        b'{"predictions": [1, 2, 3]}',
        b'{"predictions": [1, null]}',
        b'{"predictions": [1, NaN]}',
        b'{"predictions": {"a": [1, 2]}}',
        b'{"predictions": [1, 2], "more": 1}',
        b"[1, 2]",
        b"<html>",
        b"",
    ],
)
def test_an_answer_that_cannot_be_parted(answer: bytes) -> None:
    assert wire.part(answer, [1, 1]) is None


def test_shapes_and_values() -> None:
    assert wire.shape([1.0, 2]) == wire.shape([3]) == "number"
    assert wire.shape([{"p": 1.0}]) != wire.shape([{"q": 1.0}])
    assert wire.shape([[1, 2]]) != wire.shape([[1, 2, 3]])
    assert wire.shape([1, "a"]) == "mixed"
    assert finite([{"p": [1.0, "x"]}])
    for bad in (math.nan, math.inf, None):
        assert not finite([{"p": [1.0, bad]}])
    assert wire.close([{"p": 0.1 + 0.2}], [{"p": 0.3}])
    assert not wire.close([{"p": 0.1}], [{"p": 0.2}])
    assert not wire.close([1], [1, 2])
    assert wire.close([math.nan], [math.nan])
    assert not wire.close([1.0], ["1"])
