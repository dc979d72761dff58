"""Signature compatibility: the rules are those by which MLflow enforces a signature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from registry import fit
from registry.fit import Signature

TYPES = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")


def col(name: str | None, kind: str = "double", required: bool = True, **more: Any) -> Any:
    named = {} if name is None else {"name": name}
    return {"type": kind, **named, "required": required, **more}


def tensor(dtype: str, *shape: int, name: str | None = None) -> Any:
    return col(name, "tensor", **{"tensor-spec": {"dtype": dtype, "shape": list(shape)}})


def param(name: str, kind: str, shape: list[int] | None = None) -> Any:
    return {"name": name, "type": kind, "default": None, "shape": shape}


def problems(sent: Any, asked: Any) -> list[str]:
    return fit.problems(Signature(tuple(sent)), Signature(tuple(asked)))


columns = st.lists(
    st.builds(col, st.sampled_from("abcd"), st.sampled_from(TYPES), st.booleans()),
    min_size=1,
    unique_by=lambda c: c["name"],
)


@given(columns, columns)
def test_a_model_fits_its_own_callers_in_any_order(inputs: list[Any], outputs: list[Any]) -> None:
    one = Signature(tuple(inputs), tuple(outputs))
    other = Signature(tuple(reversed(inputs)), tuple(reversed(outputs)))
    assert fit.problems(one, other) == []


@pytest.mark.parametrize("sent", TYPES)
@pytest.mark.parametrize("asked", TYPES)
def test_types_are_converted_exactly_where_mlflow_converts_them(sent: str, asked: str) -> None:
    import numpy as np
    import pandas as pd
    from mlflow.exceptions import MlflowException
    from mlflow.models.utils import _enforce_mlflow_datatype
    from mlflow.types import DataType

    some = {
        "boolean": np.array([True, False]),
        "integer": np.array([2, 3], dtype=np.int32),
        "long": np.array([2, 3], dtype=np.int64),
        "float": np.array([2.5, 3.5], dtype=np.float32),
        "double": np.array([2.5, 3.5]),
        "string": np.array(["x", "y"], dtype=object),
        "binary": np.array([b"x", b"y"], dtype=object),
        "datetime": np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[ns]"),
    }
    try:
        _enforce_mlflow_datatype("a", pd.Series(some[sent]), DataType[asked])
        taken = True
    except (MlflowException, ValueError, TypeError):
        taken = False
    if sent != asked and some[sent].dtype == object:
        taken = False  # MLflow looks at no value of an object column; its model would
    assert (problems([col("a", sent)], [col("a", asked)]) == []) is taken


@pytest.mark.parametrize(
    ("sent", "asked", "found"),
    [
        ([col("a")], [col("a"), col("b")], ["input b is required, and callers do not send it"]),
        ([col("a")], [col("a"), col("b", required=False)], []),
        ([col("a"), col("b")], [col("a")], []),
        (
            [col("a", required=False)],
            [col("a")],
            ["input a is required, and callers may leave it out"],
        ),
        ([col("a")], [col("a", required=False)], []),
        (
            [col("a", "double"), col("b", "string")],
            [col("a", "long"), col("b", "double")],
            [
                "input a takes long, callers send double",
                "input b takes double, callers send string",
            ],
        ),
        ([col("a")], [col(None)], ["one names its inputs and the other does not"]),
        ([col(None), col(None)], [col(None)], []),
        ([col(None)], [col(None), col(None)], ["it takes 2 inputs, callers send 1"]),
        ([tensor("float64", -1, 3)], [tensor("float64", -1, 3)], []),
        ([tensor("float64", -1, 3)], [tensor("float64", -1, -1)], []),
        (
            [tensor("float64", -1, -1)],
            [tensor("float64", -1, 3)],
            [
                "input 1 takes tensor of float64, shape (-1, 3), "
                "callers send tensor of float64, shape (-1, -1)"
            ],
        ),
        (
            [tensor("float32", -1, 3)],
            [tensor("float64", -1, 3)],
            [
                "input 1 takes tensor of float64, shape (-1, 3), "
                "callers send tensor of float32, shape (-1, 3)"
            ],
        ),
        (
            [col("a", "array", items={"type": "integer"})],
            [col("a", "array", items={"type": "long"})],
            [],
        ),
        ([col("a", "array", items={"type": "long"})], [col("a", "any")], []),
        (
            [col("a", "object", properties={"x": {"type": "long", "required": False}})],
            [col("a", "object", properties={"x": {"type": "long", "required": True}})],
            [
                'input a takes object {"properties": {"x": {"type": "long", "required": true}}}, '
                'callers send object {"properties": {"x": {"type": "long", "required": false}}}'
            ],
        ),
    ],
)  # fmt: skip
def test_inputs(sent: Any, asked: Any, found: list[str]) -> None:
    assert problems(sent, asked) == found


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ([col("p"), col("q")], [col("q"), col("p"), col("r")], []),
        ([col("p"), col("q")], [col("p")], ["output q is gone"]),
        ([col("p", "double")], [col("p", "float")], ["output p was double and is float"]),
        ([col("p")], [], ["it does not say what it gives"]),
        ([], [col("p")], []),
        ([tensor("float64", -1)], [tensor("float64", -1)], []),
        ([tensor("float64", -1)], [col("p")], ["its output has another form"]),
        ([tensor("float64", -1)], [tensor("float64", -1, 2)],
         ["output 1 was tensor of float64, shape (-1,) and is tensor of float64, shape (-1, 2)"]),
    ],
)  # fmt: skip
def test_outputs(old: Any, new: Any, found: list[str]) -> None:
    inputs = (col("a"),)
    assert fit.problems(Signature(inputs, tuple(old)), Signature(inputs, tuple(new))) == found


@pytest.mark.parametrize(
    ("sent", "asked", "found"),
    [
        ([param("t", "long")], [param("t", "double"), param("u", "long")], []),
        ([param("t", "long")], [], ["parameter t is no longer known"]),
        ([param("t", "double")], [param("t", "long")],
         ["parameter t takes long, callers send double"]),
        ([param("t", "long", [-1])], [param("t", "long")],
         ["parameter t takes long, callers send long, shape (-1,)"]),
    ],
)  # fmt: skip
def test_params(sent: Any, asked: Any, found: list[str]) -> None:
    inputs = (col("a"),)
    one, other = (Signature(inputs, params=tuple(p)) for p in (sent, asked))
    assert fit.problems(one, other) == found


def test_a_signature_is_read_from_the_file_mlflow_writes(tmp_path: Path) -> None:
    import pandas as pd
    from mlflow.models import infer_signature

    rows = pd.DataFrame({"a": [1.5], "b": ["x"]})
    signature = infer_signature(rows, pd.Series([1.0]), params={"t": 3})
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"signature": signature.to_dict()}))
    found = fit.read(tmp_path)
    assert found is not None
    assert [(c["name"], c["type"]) for c in found.inputs][1] == ("b", "string")
    assert [p["name"] for p in found.params] == ["t"]
    assert fit.problems(found, found) == []


@pytest.mark.parametrize(
    "text", ["", "flavors: {}", "signature: null", "signature: {inputs: null}"]
)
def test_no_signature(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    assert fit.read(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        *("[", "[1]", "signature: 3", "signature: {inputs: '['}", "signature: {inputs: '[3]'}"),
        f"signature: {{inputs: '{json.dumps([{'name': 'a'}])}'}}",
    ],
)
def test_an_unreadable_signature_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ValueError, match="its signature cannot be read"):
        fit.read(tmp_path)
