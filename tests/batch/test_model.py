"""Rows on which a model fails are found alone, and answers of every form become a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.model import AlwaysFails, Model, NoTable
from serving.signature import Column


def picky(frame: pd.DataFrame) -> Any:
    """Fails on some rows, and then on the whole call."""
    if (frame["a"] > 8).any():
        raise KeyError("no caller is told this")
    if (frame["a"] < 0).any():
        raise ValueError("nor this")
    return frame["a"].to_numpy() * 2


@settings(deadline=None)
@given(st.lists(st.integers(-2, 10), min_size=1, max_size=40))
def test_every_row_that_can_be_answered_is(numbers: list[int]) -> None:
    frame = pd.DataFrame({"a": numbers})
    good = [n for n in numbers if 0 <= n <= 8]
    answers, failed = Model(picky, ()).predict(frame)
    assert (answers["prediction"].to_pylist() if answers else []) == [2 * n for n in good]
    assert failed == {
        i: "KeyError" if n > 8 else "ValueError" for i, n in enumerate(numbers) if n not in good
    }


def test_a_model_that_answers_nothing_is_given_up_soon() -> None:
    asked = 0

    def broken(frame: pd.DataFrame) -> Any:
        nonlocal asked
        asked += 1
        raise RuntimeError

    with pytest.raises(AlwaysFails) as caught:
        Model(broken, ()).predict(pd.DataFrame({"a": range(50_000)}))
    assert (caught.value.rows, caught.value.kind) == (100, "RuntimeError")
    assert asked == 101


def test_one_that_has_answered_before_is_not_given_up() -> None:
    model = Model(picky, ())
    model.predict(pd.DataFrame({"a": [1]}))
    answers, failed = model.predict(pd.DataFrame({"a": [-1, -1]}))
    assert answers is None
    assert failed == {0: "ValueError", 1: "ValueError"}


ONE, TWO = (Column("", "double", shape=(-1,)),), (Column("low", "double"), Column("high", "double"))


@pytest.mark.parametrize(
    ("answer", "outputs", "expected"),
    [
        (np.array([1.0, 2.0]), ONE, {"prediction": [1.0, 2.0]}),
        ([1, 2], (), {"prediction": [1, 2]}),
        (["x", None], (), {"prediction": ["x", None]}),
        (pd.Series([1.5, 2.5], name="y"), (), {"prediction": [1.5, 2.5]}),
        (np.array([[1.0], [2.0]]), (Column("y", "double"),), {"y": [1.0, 2.0]}),
        (np.array([[1.0, 3.0], [2.0, 4.0]]), TWO, {"low": [1.0, 2.0], "high": [3.0, 4.0]}),
        (np.eye(2), (), {"prediction_0": [1.0, 0.0], "prediction_1": [0.0, 1.0]}),
        (pd.DataFrame({"p": ["a", "b"], 0: [1, 2]}), (), {"p": ["a", "b"], "0": [1, 2]}),
    ],
)
def test_answers_become_a_table(answer: Any, outputs: Any, expected: dict[str, Any]) -> None:
    found, failed = Model(lambda _: answer, outputs).predict(pd.DataFrame({"a": [1, 2]}))
    assert found is not None
    assert found.to_pydict() == expected
    assert not failed


def test_the_type_is_the_signatures_even_where_a_chunk_would_look_otherwise() -> None:
    outputs = (Column("p", "string"), Column("x", "double"))
    table, _ = Model(lambda _: pd.DataFrame({"p": [None], "x": [1]}), outputs).predict(
        pd.DataFrame({"a": [1]})
    )
    assert table is not None
    assert [str(field.type) for field in table.schema] == ["string", "double"]


@pytest.mark.parametrize(
    ("answer", "outputs", "why"),
    [
        ([1], (), "it has 1 rows for 2"),
        (np.zeros((2, 2, 2)), (), "it has 3 dimensions"),
        (["x", "y"], ONE, "column prediction: "),
        ([[1], [1, 2]], (), "inhomogeneous"),
    ],
)
def test_answers_that_are_no_table(answer: Any, outputs: Any, why: str) -> None:
    with pytest.raises(NoTable, match=why):
        Model(lambda _: answer, outputs).predict(pd.DataFrame({"a": [1, 2]}))
