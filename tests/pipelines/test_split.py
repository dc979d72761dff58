"""The split: its parts, what they have in common, and what stays when the data grows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipelines import split
from pipelines.errors import OneClassOnly, TooFewRows
from pipelines.split import HOLDOUT, PARTS, TRAIN, VALID

SHARES = st.floats(0.05, 0.45)
MOMENTS = st.lists(st.integers(0, 300), min_size=25, max_size=80)
# Without -0.0, which has a test of its own.
NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6)).map(lambda n: n + 0.0)
CELLS = st.tuples(
    st.one_of(st.none(), NUMBERS),
    st.one_of(st.none(), st.text("abü", max_size=3)),
)
CONTENT = st.lists(CELLS, min_size=25, max_size=80)
# Neither says anything of the code where others work on the same machine.
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def dated(moments: list[int]) -> pd.DataFrame:
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(moments, unit="h")
    return pd.DataFrame({"row": range(len(moments)), "when": when})


def plain(content: list[tuple[Any, Any]]) -> pd.DataFrame:
    number, text = zip(*content, strict=True)
    return pd.DataFrame({"n": pd.Series(number, dtype=float), "t": pd.Series(text, dtype=object)})


def parts(
    rows: pd.DataFrame, time: str | None = None, valid: float = 0.3, holdout: float = 0.3
) -> dict[str, pd.DataFrame]:
    """The parts; an example for which one would be empty is not looked at."""
    try:
        return split.split(rows, time=time, valid=valid, holdout=holdout)
    except TooFewRows:
        assume(False)
        raise


def cells(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [tuple("-" if pd.isna(v) else v for v in row) for row in rows.itertuples(index=False)]


def places(rows: pd.DataFrame) -> dict[tuple[Any, ...], set[str]]:
    """Content of a row to the parts it is in."""
    found: dict[tuple[Any, ...], set[str]] = {}
    for name, part in parts(rows).items():
        for row in cells(part):
            found.setdefault(row, set()).add(name)
    return found


@QUICK
@given(moments=MOMENTS, valid=SHARES, holdout=SHARES)
def test_temporal_parts_partition_the_rows(
    moments: list[int], valid: float, holdout: float
) -> None:
    rows = dated(moments)
    found = parts(rows, "when", valid, holdout)
    assert tuple(found) == PARTS
    together = pd.concat(found.values())
    assert sorted(together["row"]) == list(rows["row"])
    assert Counter(cells(together)) == Counter(cells(rows))


@QUICK
@given(content=CONTENT, valid=SHARES, holdout=SHARES)
def test_hashed_parts_partition_the_rows(
    content: list[tuple[Any, Any]], valid: float, holdout: float
) -> None:
    rows = plain(content)
    found = parts(rows, None, valid, holdout)
    assert tuple(found) == PARTS
    assert sum((Counter(cells(part)) for part in found.values()), Counter()) == Counter(cells(rows))
    assert all(list(part.index) == list(range(len(part))) for part in found.values())


@QUICK
@given(moments=MOMENTS, valid=SHARES, holdout=SHARES)
def test_temporal_parts_follow_one_another_and_share_no_moment(
    moments: list[int], valid: float, holdout: float
) -> None:
    found = parts(dated(moments), "when", valid, holdout)
    assert found[TRAIN]["when"].max() < found[VALID]["when"].min()
    assert found[VALID]["when"].max() < found[HOLDOUT]["when"].min()
    assert all(part["when"].is_monotonic_increasing for part in found.values())


def test_temporal_shares_are_of_all_rows() -> None:
    rows = dated(list(range(1000))).sample(frac=1, random_state=0)
    found = split.split(rows, time="when", valid=0.1, holdout=0.25)
    sizes = {name: len(part) for name, part in found.items()}
    assert sizes == pytest.approx({TRAIN: 650, VALID: 100, HOLDOUT: 250}, abs=1)


def test_hashed_shares_are_of_all_rows() -> None:
    rows = pd.DataFrame({"n": np.random.default_rng(0).normal(size=20_000)})
    found = split.split(rows, time=None, valid=0.1, holdout=0.25)
    sizes = {name: len(part) for name, part in found.items()}
    # Five standard deviations of a binomial count.
    assert sizes == pytest.approx({TRAIN: 13_000, VALID: 2_000, HOLDOUT: 5_000}, abs=340)


@QUICK
@given(content=CONTENT)
def test_equal_rows_are_in_one_part(content: list[tuple[Any, Any]]) -> None:
    rows = plain([*content, *content])
    assert all(len(where) == 1 for where in places(rows).values())


def test_zero_is_in_one_part_whatever_its_sign() -> None:
    other = [(float(n), "a") for n in range(1, 80)]
    zeros = {
        name
        for row, where in places(plain([*other, (0.0, "x"), (-0.0, "x")])).items()
        if row == (0.0, "x")
        for name in where
    }
    assert len(zeros) == 1


@QUICK
@given(content=CONTENT, more=st.lists(CELLS, min_size=1, max_size=40))
def test_a_row_keeps_its_part_when_rows_are_added(
    content: list[tuple[Any, Any]], more: list[tuple[Any, Any]]
) -> None:
    before, after = places(plain(content)), places(plain([*more, *content]))
    assert {row: after[row] for row in before} == before


@QUICK
@given(content=CONTENT, seed=st.integers(0, 1000))
def test_a_row_keeps_its_part_when_the_table_is_shuffled(
    content: list[tuple[Any, Any]], seed: int
) -> None:
    rows = plain(content)
    assert places(rows.sample(frac=1, random_state=seed)) == places(rows)


@QUICK
@given(moments=MOMENTS, seed=st.integers(0, 1000))
def test_the_order_of_the_file_does_not_decide_a_temporal_split(
    moments: list[int], seed: int
) -> None:
    rows = dated(moments)
    one, two = parts(rows, "when"), parts(rows.sample(frac=1, random_state=seed), "when")
    for name in PARTS:
        assert sorted(one[name]["row"]) == sorted(two[name]["row"])


@pytest.mark.parametrize(
    ("moments", "part"),
    [
        ([], TRAIN),
        ([1], VALID),
        ([1] * 50, VALID),
        ([1] * 45 + [2] * 5, VALID),
        ([1] * 40 + [2] * 10, HOLDOUT),
    ],
    ids=["no-rows", "one-row", "one-moment", "newest-held-out", "newest-in-valid"],
)
def test_a_part_without_rows_is_named(moments: list[int], part: str) -> None:
    with pytest.raises(TooFewRows) as error:
        split.split(dated(moments), time="when", valid=0.1, holdout=0.1)
    assert str(error.value) == (
        f"the {part} part of the split is empty ({len(moments)} rows in all); "
        "change data.valid or data.holdout in params.yaml, or bring more rows"
    )


def test_equal_rows_alone_cannot_be_split() -> None:
    with pytest.raises(TooFewRows, match="part of the split is empty"):
        split.split(pd.DataFrame({"n": [1.0] * 100}), time=None, valid=0.3, holdout=0.3)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_needs_two_classes(part: str) -> None:
    both, one = pd.DataFrame({"y": ["a", "b"]}), pd.DataFrame({"y": ["a", "a"]})
    found = dict.fromkeys(PARTS, both)
    split.require_classes(found, "y")
    with pytest.raises(OneClassOnly) as error:
        split.require_classes({**found, part: one}, "y")
    assert str(error.value) == (
        f"column y has only 'a' in the {part} part of the split; "
        "a classifier needs at least two classes there"
    )
