"""Columns at once say of each row what the gateway's rules say of it alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import checks
from serving.contract import Checks, Rule, kinds
from serving.signature import Column, Signature

TYPES = {"n": "double", "i": "integer", "t": "boolean", "s": "string"}
COLUMNS = tuple(Column(name, kind) for name, kind in TYPES.items())
WORDS = {"below": "min", "above": "max", "not": "allowed", "missing": "missing"}

numbers = st.one_of(
    st.none(), st.integers(-3, 3).map(float), st.floats(-3, 3), st.just(float("nan"))
)
rows = st.fixed_dictionaries(
    {
        "n": numbers,
        "i": st.integers(-3, 3),
        "t": st.booleans(),
        "s": st.one_of(st.none(), st.sampled_from(["1", "1.0", "a", "b", "True"])),
    }
)
rule = st.builds(
    Rule,
    min=st.one_of(st.none(), st.integers(-2, 2)),
    max=st.one_of(st.none(), st.integers(-2, 2)),
    allowed=st.one_of(
        st.none(), st.lists(st.sampled_from([1, 1.0, 0.5, "a", "1", True, "True", "b"]), max_size=3)
    ),
    missing=st.sampled_from([0.0, 0.2, 1.0]),
)


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=8), st.dictionaries(st.sampled_from([*TYPES]), rule))
def test_a_row_breaks_what_it_breaks_alone(
    table: list[dict[str, Any]], rules: dict[str, Rule]
) -> None:
    arrays = {
        name: pa.array([row[name] for row in table], checks.ARROW[kind])
        for name, kind in TYPES.items()
    }
    typed = {n: checks.convert(v, TYPES[n], text=False) for n, v in arrays.items()}
    found = checks.broken(
        COLUMNS, rules, {n: v for n, (v, _) in typed.items()}, {n: m for n, (_, m) in typed.items()}
    )
    alone = Checks(rules, kinds(Signature(COLUMNS, by_column=True)))
    for place, row in enumerate(table):
        ours = set()
        for why, mask in found.items():
            if mask[place]:
                name, _, word, *_ = why.split(" ")
                ours.add((name, WORDS[word]))
        violations = alone.count([row])["violations"]
        assert ours == {(name, rule) for name, broken in violations.items() for rule in broken}


cells = st.one_of(
    st.sampled_from(
        ["", "NA", "nan", "1", "-7", "1.0", "1.5", "1e3", "9007199254740993", "true", "False", "x",
         " 2 ", "2013-07-01", "2013-07-01T05:30:00Z", "2013-07-01 05:30", "3000000000"]
    ).map(str.encode),
    st.binary(max_size=3),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(cells, max_size=6), st.sampled_from([*checks.ARROW]))
def test_a_cell_means_the_same_whatever_stands_beside_it(given: list[bytes], kind: str) -> None:
    values, strange = checks.convert(pa.array(given, pa.binary()), kind, text=True)
    alone = [checks.convert(pa.array([cell], pa.binary()), kind, text=True) for cell in given]
    assert values.type == checks.ARROW[kind]
    assert list(strange) == [bool(odd[0]) for _, odd in alone]
    assert repr(values.to_pylist()) == repr([one[0].as_py() for one, _ in alone])


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("double", "1e3", 1000.0),
        ("double", " 2 ", 2.0),
        ("long", "3.0", 3),  # as pandas writes whole numbers beside gaps
        ("long", "9007199254740993", 9007199254740993),
        ("boolean", "True", True),
        ("string", " 2 ", " 2 "),
        ("string", "1.0", "1.0"),
        ("binary", "NA", b"NA"),
    ],
)
def test_what_fits(kind: str, cell: str, value: Any) -> None:
    found, strange = checks.convert(pa.array([cell.encode()], pa.binary()), kind, text=True)
    assert found.to_pylist() == [value]
    assert not strange.any()


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("double", "x"), ("long", "1.5"), ("integer", "3000000000"), ("boolean", "2"),
     ("datetime", "soon"), ("long", "1e300")],
)  # fmt: skip
def test_what_does_not_fit_is_told_apart_from_what_is_missing(kind: str, cell: str) -> None:
    found, strange = checks.convert(
        pa.array([cell.encode(), b"", b"NA"], pa.binary()), kind, text=True
    )
    assert found.null_count == 3
    assert list(strange) == [True, False, False]


def test_text_that_is_no_utf_8() -> None:
    found, strange = checks.convert(pa.array([b"\xff", b"a"], pa.binary()), "string", text=True)
    assert found.to_pylist() == [None, "a"]
    assert list(strange) == [True, False]
    assert checks.as_text(pa.array([b"NA", b"\xff"]))[0].to_pylist() == ["NA", None]


@pytest.mark.parametrize(
    ("kind", "values", "expected", "strange"),
    [
        ("double", pa.array([1, 2**53 + 1]), [1.0, None], [False, True]),
        ("long", pa.array([1.0, float("nan"), 1.5]), [1, None, None], [False, False, True]),
        ("double", pa.array([True, None]), [1.0, None], [False, False]),
        ("string", pa.array(["a", None]).dictionary_encode(), ["a", None], [False, False]),
        ("double", pa.nulls(1), [None], [False]),
    ],
)
def test_stored_values(kind: str, values: Any, expected: list[Any], strange: list[bool]) -> None:
    assert checks.takes(kind, values.type)
    found, odd = checks.convert(values, kind, text=False)
    assert found.to_pylist() == expected
    assert list(odd) == strange


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("double", pa.string()), ("string", pa.int64()), ("boolean", pa.int8()),
     ("datetime", pa.string()), ("binary", pa.float64()), ("long", pa.list_(pa.int64()))],
)  # fmt: skip
def test_types_of_another_kind(kind: str, stored: Any) -> None:
    assert not checks.takes(kind, stored)


def test_a_gap_in_whole_numbers_is_named() -> None:
    values, strange = checks.convert(pa.array([1, None]), "long", text=False)
    found = checks.broken((Column("i", "long"),), {}, {"i": values}, {"i": strange})
    assert {why: list(mask) for why, mask in found.items()} == {"i is missing": [False, True]}
