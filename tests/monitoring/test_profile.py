from __future__ import annotations

import json
import math
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.profile import FARTHEST, NAMED, NEAR, Profile, Reference
from monitoring.values import LONGEST, numbers, texts

strange = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.just(pd.NA),
    st.just(pd.NaT),
    st.just(datetime(2013, 7, 1)),
    st.just(Decimal("1.5")),
    st.just(np.float32(0.1)),
)
columns = st.lists(strange, min_size=1, max_size=30)


def table(values: list[Any], **more: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Series(v, dtype=object) for n, v in {"x": values, **more}.items()})


def profile(reference: Reference, *frames: pd.DataFrame) -> Profile:
    found = Profile(reference)
    for frame in frames:
        found.add(frame)
    return found


@given(sample=columns, window=columns)
@settings(max_examples=100, deadline=None)
def test_whatever_is_in_a_column_each_row_is_counted_once_and_fits_into_json(
    sample: list[Any], window: list[Any]
) -> None:
    both = table(sample, c=sample)
    reference = Reference.of(both, ["x"], ["c"])
    known, names = reference.numeric["x"], reference.categorical["c"]
    assert known.values + known.missing + known.infinite == reference.rows
    assert names.values + names.missing == reference.rows
    assert Reference.from_dict(json.loads(json.dumps(reference.as_dict(), allow_nan=False))) == (
        reference
    )
    found = profile(reference, table(window, c=window))
    one, other = found.numeric["x"], found.categorical["c"]
    assert one.values + one.missing + one.infinite == found.rows == len(window)
    assert one.not_numbers <= one.missing
    assert other.values + other.missing == found.rows
    raw = found.as_dict()
    assert Profile.from_dict(reference, json.loads(json.dumps(raw, allow_nan=False))).as_dict() == (
        raw
    )


@given(pieces=st.lists(columns, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_pieces_and_merged_profiles_count_what_the_whole_does(pieces: list[list[Any]]) -> None:
    reference = Reference.of(table([1.0, 2.5, 7.0, None], c=["a", "b", None, "1"]), ["x"], ["c"])
    frames = [table(some, c=some) for some in pieces]
    whole = profile(reference, pd.concat(frames))
    in_pieces = profile(reference, *frames)
    merged = Profile(reference)
    for frame in frames:
        merged.merge(profile(reference, frame))
    for other in (in_pieces, merged):
        assert other.rows == whole.rows
        mine, its = whole.numeric["x"], other.numeric["x"]
        assert its.counts.tolist() == mine.counts.tolist()
        assert its.sums == pytest.approx(mine.sums)
        assert (its.missing, its.not_numbers, its.infinite) == (
            mine.missing, mine.not_numbers, mine.infinite,
        )  # fmt: skip
        left, right = whole.categorical["c"], other.categorical["c"]
        assert right.counts.tolist() == left.counts.tolist()
        assert (right.strange, right.missing) == (left.strange, left.missing)


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_value_of_the_sample_is_outside_of_its_own_range(values: list[float]) -> None:
    reference = Reference.of(table(values), ["x"], [])
    known = reference.numeric["x"]
    assert known.counts[0] == 0
    assert known.min == min(values)
    assert known.max == max(values)
    assert (known.sd == 0) == (min(values) == max(values))
    assert list(known.edges) == sorted(set(known.edges))
    if max(values) < 1e308:  # above that nothing can be larger
        assert known.counts[-1] == 0


def test_bins_are_about_64_and_frequent_values_have_their_own() -> None:
    drawn = np.random.default_rng(0)
    smooth = Reference.of(pd.DataFrame({"x": drawn.normal(size=10_000)}), ["x"], []).numeric["x"]
    assert 50 < len(smooth.counts) < 80
    assert max(smooth.counts) <= 0.025 * 10_000
    many_zeros = np.where(drawn.random(10_000) < 0.9, 0.0, drawn.exponential(size=10_000))
    known = Reference.of(pd.DataFrame({"x": many_zeros}), ["x"], []).numeric["x"]
    place = known.edges.index(0.0) + 1
    assert known.counts[place] == (many_zeros == 0).sum()
    assert known.edges[place] == np.nextafter(0.0, 1.0)


def test_outside_is_what_lies_clearly_beyond_the_range_and_what_is_infinite() -> None:
    reference = Reference.of(table([*range(101)]), ["x"], [])
    near = NEAR * (reference.numeric["x"].sd or 0)
    window = [-near * 1.01, -near * 0.99, 0, 100, 100 + near * 0.99, 100 + near * 1.01, math.inf]
    found = profile(reference, table(window)).numeric["x"]
    assert (found.counts[0], found.counts[-1], found.infinite) == (1, 1, 1)


def test_of_a_constant_every_other_value_is_outside() -> None:
    reference = Reference.of(table([5, 5, 5]), ["x"], [])
    found = profile(reference, table([5, np.nextafter(5, 6), 4.9, -math.inf])).numeric["x"]
    assert found.counts.tolist() == [1, 1, 1]
    assert found.infinite == 1


def test_rows_that_would_be_outside_of_all_others_are_known() -> None:
    assert Reference.of(table([*range(100), 1000]), ["x"], []).numeric["x"].alone == 1
    assert Reference.of(table([-999, *range(100), 1000]), ["x"], []).numeric["x"].alone == 2
    assert Reference.of(table([*range(100), 99, 0]), ["x"], []).numeric["x"].alone == 0
    assert Reference.of(table(list("aabbc")), [], ["x"]).categorical["x"].alone == 1


def test_mean_and_deviation_of_a_window_can_be_had_from_its_sums() -> None:
    drawn = np.random.default_rng(0)
    reference = Reference.of(pd.DataFrame({"x": drawn.gamma(2, 3, 1000)}), ["x"], [])
    known, values = reference.numeric["x"], drawn.normal(90, 7, 500)  # all of it is outside
    found = profile(reference, pd.DataFrame({"x": values})).numeric["x"]
    assert known.mean is not None
    assert known.sd is not None
    assert known.mean + known.sd * found.sums.sum() / 500 == pytest.approx(values.mean())
    assert found.squares / 500 == pytest.approx((((values - known.mean) / known.sd) ** 2).mean())


def test_what_is_too_far_away_counts_as_far_and_no_sum_overflows() -> None:
    reference = Reference.of(table([0.0, 1.0, 2.0]), ["x"], [])
    found = profile(reference, table([1e308, 1.7e308, 10**400])).numeric["x"]
    assert found.sums[-1] == 2 * FARTHEST
    assert found.infinite == 1


def test_memory_is_bounded_by_the_reference() -> None:
    reference = Reference.of(table(["a", "b"]), [], ["x"])
    found = Profile(reference)
    for start in range(0, 5000, 1000):
        found.add(table([f"{n:05}" + "x" * 1000 for n in range(start, start + 1000)]))
        found.add(table(["often", "often"]))
    names = found.categorical["x"]
    assert len(names.unseen) == NAMED
    assert max(map(len, names.unseen)) <= LONGEST
    assert names.strange == 5010
    assert "often" in names.unseen
    assert len(json.dumps(found.as_dict())) < 20_000


def test_a_column_that_a_table_lacks_is_missing_there() -> None:
    reference = Reference.of(table([1.0, 2.0], c=["a", "b"]), ["x"], ["c"])
    found = profile(reference, table([1.0, 3.0]), pd.DataFrame({"c": ["a"]}))
    assert found.rows == 3
    assert (found.numeric["x"].missing, found.numeric["x"].absent) == (1, 1)
    assert (found.categorical["c"].missing, found.categorical["c"].absent) == (2, 2)


@pytest.mark.parametrize(
    ("values", "expected", "strange"),
    [
        (pd.Series([1, 2]), [1, 2], 0),
        (pd.Series([True, False]), [1, 0], 0),
        (pd.Series([1, None], dtype="Int64"), [1, math.nan], 0),
        (pd.Series([True, None], dtype=object), [1, math.nan], 0),
        (pd.Series([1, 2.5, None], dtype=object), [1, 2.5, math.nan], 0),
        (pd.Series(["12", 3, None], dtype=object), [math.nan, 3, math.nan], 1),
        (pd.Series(["a", "b"]), [math.nan] * 2, 2),
        (pd.Series([1j, 2]), [math.nan] * 2, 2),
        (pd.Series(pd.to_datetime(["2013-07-01", None])), [math.nan] * 2, 1),
        (pd.Series(["1", "2"], dtype="category"), [math.nan] * 2, 2),
        (pd.Series([10**400, -(10**400), 1], dtype=object), [math.inf, -math.inf, 1], 0),
    ],
)
def test_what_a_number_is(values: pd.Series[Any], expected: list[float], strange: int) -> None:
    found, not_numbers = numbers(values)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert not_numbers == strange


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([1.0, math.nan, 2.5]), ["1", None, "2.5"]),
        (pd.Series([1, 1.0, "1", None, True], dtype=object), ["1", "1", "1", None, "True"]),
        (pd.Series([True, False]), ["True", "False"]),
        (pd.Series(["a", None], dtype="category"), ["a", None]),
        (pd.Series(["a", pd.NA], dtype="string"), ["a", None]),
        (pd.Series([["a"], {"b": 1}, ""], dtype=object), ["['a']", "{'b': 1}", ""]),
        (pd.Series([10**5000], dtype=object), ["a number of thousands of digits"]),
    ],
)
def test_categories_are_compared_as_text(
    values: pd.Series[Any], expected: list[str | None]
) -> None:
    codes, names = texts(values)
    assert [names[c] if c >= 0 else None for c in codes] == expected
    assert len(set(names)) == len(names)


def test_a_reference_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="no column y, z"):
        Reference.of(table([1]), ["x", "y"], ["z"])
    with pytest.raises(ValueError, match="no rows"):
        Reference.of(table([]), ["x"], [])
    with pytest.raises(ValueError, match="twice"):
        Reference.of(table([1]), ["x"], ["x"])


@pytest.mark.parametrize("raw", [{}, {"rows": 1}, {"rows": 1, "numeric": {"x": {}}}])
def test_what_is_no_reference_is_not_read(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no reference"):
        Reference.from_dict(raw)


def test_a_profile_belongs_to_its_reference() -> None:
    one = Reference.of(table([1.0, 2.0]), ["x"], [])
    other = Reference.of(table([1.0, 2.0, 3.0]), ["x"], [])
    third = Reference.of(table([1.0, 2.0]), [], ["x"])
    raw = profile(one, table([1.0])).as_dict()
    assert Profile.from_dict(one, raw).rows == 1
    for reference in (other, third):
        with pytest.raises(ValueError, match="no profile of this reference"):
            Profile.from_dict(reference, raw)
        with pytest.raises(ValueError, match="cannot be merged"):
            Profile(one).merge(Profile(reference))
