from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring import distances
from monitoring.drift import compare
from monitoring.findings import KINDS, Finding
from monitoring.profile import Profile, Reference
from monitoring.sections import DriftPolicy

POLICY = DriftPolicy()


def rows(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> pd.DataFrame:
    drawn = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "temp": 60 + 20 * (shift + scale * drawn.normal(size=count)),
            "rain": np.where(drawn.random(count) < 0.9, 0.0, drawn.exponential(size=count)),
            "wings": 2.0,
            "carrier": drawn.choice(["AA", "B6", "DL", "UA"], count, p=[0.4, 0.3, 0.2, 0.1]),
            "answer": drawn.beta(2, 5, count),
        }
    )


NUMERIC, CATEGORICAL = ["temp", "rain", "wings", "answer"], ["carrier"]
REFERENCE = Reference.of(rows(0, 10_000), NUMERIC, CATEGORICAL)


def profile(frame: pd.DataFrame, reference: Reference = REFERENCE) -> Profile:
    found = Profile(reference)
    found.add(frame)
    return found


def found(
    frame: pd.DataFrame, before: pd.DataFrame | None = None, policy: DriftPolicy = POLICY
) -> dict[str, Finding]:
    """By name, whether anything was found or not."""
    former = None if before is None else profile(before)
    return {f.name: f for f in compare(REFERENCE, profile(frame), former, policy)}


def names(findings: dict[str, Finding]) -> set[str]:
    return {name for name, f in findings.items() if f.found}


def test_every_comparison_is_returned_in_the_same_order_and_fits_into_json() -> None:
    window = profile(rows(1, 1000))
    first = compare(REFERENCE, window, profile(rows(2, 1000)), POLICY)
    assert first == compare(REFERENCE, window, profile(rows(2, 1000)), POLICY)
    kinds = ["gone", "missing", "drift"]
    expected = [f"{kind}:{c}" for c in NUMERIC[:3] for kind in (*kinds, "outside", "jump")]
    expected += ["score", *(f"{kind}:carrier" for kind in (*kinds, "unseen", "jump"))]
    assert [f.name for f in first] == expected
    assert {f.kind for f in first} <= set(KINDS)
    assert not any(f.found or f.broken for f in first)
    json.dumps([f.as_dict() for f in first], allow_nan=False)


def test_a_window_with_too_few_rows_is_not_judged_and_a_short_one_before_it_neither() -> None:
    assert found(rows(1, POLICY.minimum - 1, shift=9)) == {}
    assert "jump:temp" not in found(rows(1, 1000), rows(2, POLICY.minimum - 1))
    assert "jump:temp" in found(rows(1, POLICY.minimum), rows(2, POLICY.minimum))


def test_a_column_that_is_ignored_is_left_out() -> None:
    policy = DriftPolicy(ignore=("temp", "carrier"))
    assert not any(
        "temp" in n or "carrier" in n for n in found(rows(1, 500, shift=9), None, policy)
    )


def test_a_moved_mean_is_told_of_in_the_units_of_the_column() -> None:
    showed = found(rows(1, 2000, shift=0.5))
    assert names(showed) == {"drift:temp"}
    drift = showed["drift:temp"]
    assert drift.effect == pytest.approx(0.5, abs=0.06)
    assert (drift.measure, drift.threshold, drift.broken) == ("wasserstein", 0.1, False)
    sample, window = rows(0, 10_000)["temp"], rows(1, 2000, shift=0.5)["temp"]
    assert f"mean {window.mean():.4g}, was {sample.mean():.4g}" in drift.sentence
    assert drift.sentence.startswith(f"temp moved by {drift.effect:.4g} standard deviations")


def test_celsius_in_place_of_fahrenheit_is_drift_outside_and_a_jump() -> None:
    window = rows(1, 1000)
    window["temp"] = (window["temp"] - 32) / 1.8 - 80  # of another station, too
    showed = found(window, rows(2, 1000))
    assert names(showed) == {"drift:temp", "outside:temp", "jump:temp"}
    assert not showed["outside:temp"].broken  # as far out a colder winter might be
    assert showed["jump:temp"].broken
    assert not showed["drift:temp"].broken  # a value may move without anything being broken
    assert names(found(window, window)) == {"drift:temp", "outside:temp"}  # since the window before


@pytest.mark.parametrize("sign", [1, -1])
def test_values_far_outside_look_broken_and_a_season_does_not(sign: int) -> None:
    season, unit, infinite = rows(1, 1000), rows(1, 1000), rows(1, 1000)
    season["temp"] += sign * 70  # all a little beyond the range of about 150
    unit.loc[:99, "temp"] *= sign * 100
    infinite.loc[:99, "temp"] = sign * math.inf
    assert found(season)["outside:temp"].found
    assert not found(season)["outside:temp"].broken
    assert found(unit)["outside:temp"].broken
    assert found(infinite)["outside:temp"].broken


@pytest.mark.parametrize("seed", [1, 2])
def test_at_100_000_rows_a_shift_of_a_fiftieth_is_certain_and_no_finding(seed: int) -> None:
    """What a test alone would call drift: with a reference as large its p-value is tiny."""
    reference = Reference.of(rows(100 + seed, 100_000), NUMERIC, CATEGORICAL)
    window = profile(rows(seed, 100_000, shift=0.02), reference)
    p = distances.p_numeric(
        np.array(reference.numeric["temp"].counts), window.numeric["temp"].counts
    )
    assert p < 0.05
    assert not any(f.found for f in compare(reference, window, None, POLICY))


def test_a_new_category_and_a_renamed_one() -> None:
    window = rows(1, 1000)
    window["carrier"] = window["carrier"].replace("UA", "United")
    showed = found(window, rows(2, 1000))
    assert names(showed) == {"drift:carrier", "unseen:carrier"}  # a tenth of rows is no jump
    assert showed["unseen:carrier"].broken
    assert "'United'" in showed["unseen:carrier"].sentence
    window["carrier"] = window["carrier"].replace("AA", "American")
    assert "jump:carrier" in names(found(window, rows(2, 1000)))
    rare = rows(1, 2000)
    rare.loc[:49, "carrier"] = "X"  # 2.5 %
    showed = found(rare)
    assert names(showed) == {"unseen:carrier"}
    assert not showed["unseen:carrier"].broken


def test_missing_values_and_a_column_that_is_gone() -> None:
    window = rows(1, 1000)
    window.loc[:99, "temp"] = math.nan
    showed = found(window)
    assert names(showed) == {"missing:temp"}
    assert showed["missing:temp"].effect == pytest.approx(0.1)
    assert not showed["missing:temp"].broken
    window.loc[:349, "temp"] = math.nan
    assert found(window)["missing:temp"].broken
    for column in ("temp", "carrier"):
        showed = found(window.drop(columns=column))
        assert {f"gone:{column}", f"missing:{column}"} <= names(showed)
        assert showed[f"gone:{column}"].broken
        assert f"drift:{column}" not in showed  # there is nothing to compare
        empty = window.assign(**{column: pd.Series([None] * 1000, dtype=object)})
        assert found(empty)[f"gone:{column}"].found


def test_fewer_missing_values_are_drift_and_look_not_broken() -> None:
    sample = rows(0, 2000)
    sample.loc[:999, "temp"] = math.nan
    reference = Reference.of(sample, NUMERIC, CATEGORICAL)
    showed = {f.name: f for f in compare(reference, profile(rows(1, 999), reference), None, POLICY)}
    assert showed["missing:temp"].found
    assert not showed["missing:temp"].broken


def test_values_that_are_no_numbers_are_missing_and_not_gone() -> None:
    window = rows(1, 500).astype({"temp": object})
    window["temp"] = window["temp"].map(str)
    showed = found(window)
    assert names(showed) == {"missing:temp"}
    assert showed["missing:temp"].broken
    assert "100.0 % because they are no numbers" in showed["missing:temp"].sentence


def test_infinite_values_are_outside_and_move_no_mean() -> None:
    window = rows(1, 1000)
    window.loc[:29, "temp"] = math.inf
    showed = found(window)
    assert names(showed) == {"outside:temp"}
    assert "3.0 % infinite" in showed["outside:temp"].sentence


def test_of_a_constant_every_other_value_is_drift_and_outside() -> None:
    window = rows(1, 1000)
    window.loc[:149, "wings"] = 3.0
    showed = found(window, rows(2, 1000))
    assert names(showed) == {"drift:wings", "outside:wings"}
    assert showed["drift:wings"].effect == pytest.approx(0.15)
    assert showed["drift:wings"].measure == "total_variation"
    assert showed["outside:wings"].broken
    window["wings"] = 4.0
    assert "jump:wings" in names(found(window, rows(2, 1000)))


def test_the_answers_have_a_finding_of_their_own() -> None:
    window = rows(1, 1000)
    window["answer"] = window["answer"] * 3 - 5
    showed = found(window, rows(2, 1000), DriftPolicy(score=0.7))
    assert names(showed) == {"score"}
    assert (showed["score"].column, showed["score"].threshold) == ("", 0.7)
    assert not showed["score"].broken
    classes = rows(0, 2000).assign(answer=lambda t: t["carrier"])
    reference = Reference.of(classes, ["temp"], ["answer"])
    other = classes.assign(answer="AA")
    listed = compare(reference, profile(other, reference), None, DriftPolicy(categorical=0.3))
    last = listed[-1]
    assert (last.kind, last.measure, last.threshold, last.found) == (
        "score", "total_variation", 0.3, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("known", "categories", "power", "rows"),
    [
        (10_000, 5000, 1.0, 2000),
        (5000, 1000, 1.0, 2000),
        (1000, 300, 1.2, 500),
        (1000, 300, 1.2, 5000),
    ],
)
def test_many_categories_of_the_same_origin_are_no_drift(
    known: int, categories: int, power: float, rows: int
) -> None:
    rng = np.random.default_rng(5)
    shares = 1 / np.arange(1, categories + 1) ** power
    names = np.array([f"c{n}" for n in range(categories)], dtype=object)

    def sample(size: int) -> pd.DataFrame:
        return pd.DataFrame({"name": rng.choice(names, size, p=shares / shares.sum())})

    false = 0
    for _ in range(10):
        reference = Reference.of(sample(known), [], ["name"])
        for _ in range(4):
            found = compare(reference, profile(sample(rows), reference), None, DriftPolicy())
            false += any(f.found and f.kind == "drift" for f in found)
    assert false == 0
    moved = sample(rows)
    moved.loc[: rows // 3, "name"] = names[3]
    found = compare(reference, profile(moved, reference), None, DriftPolicy())
    assert [f.kind for f in found if f.found and f.kind == "drift"] == ["drift"]


def test_categories_that_a_sample_cannot_all_have_are_no_finding() -> None:
    drawn = np.random.default_rng(0)
    sample, window = (
        pd.DataFrame({"tail": [f"N{n}" for n in drawn.zipf(1.5, count)]}) for count in (2000, 1000)
    )
    reference = Reference.of(sample, [], ["tail"])
    listed = compare(reference, profile(window, reference), None, POLICY)
    assert profile(window, reference).categorical["tail"].strange > 50  # five thresholds
    assert not any(f.found for f in listed)
    assert max(f.effect for f in listed) < 0.1


def test_profiles_of_another_reference_are_not_compared() -> None:
    other = Reference.of(rows(1, 100), NUMERIC, CATEGORICAL)
    with pytest.raises(ValueError, match="the reference it was counted by"):
        compare(REFERENCE, profile(rows(1, 500), other), None, POLICY)
    with pytest.raises(ValueError, match="the reference it was counted by"):
        compare(REFERENCE, profile(rows(1, 500)), profile(rows(1, 500), other), POLICY)


@given(
    sample=st.lists(
        st.one_of(st.none(), st.floats(), st.text(max_size=2)), min_size=1, max_size=40
    ),
    window=st.lists(
        st.one_of(st.none(), st.floats(), st.text(max_size=2)), min_size=20, max_size=60
    ),
)
@settings(max_examples=80, deadline=None)
def test_nothing_that_can_be_sent_breaks_the_comparison(
    sample: list[Any], window: list[Any]
) -> None:
    frames = [
        pd.DataFrame({c: pd.Series(values, dtype=object) for c in ("x", "c", "answer")})
        for values in (sample, window)
    ]
    reference = Reference.of(frames[0], ["x", "answer"], ["c"])
    now = profile(frames[1], reference)
    listed = compare(reference, now, now, DriftPolicy(minimum=20))
    assert len({f.name for f in listed}) == len(listed)
    assert all(f.found or not f.broken for f in listed)
    assert all(math.isfinite(f.effect) and f.effect >= 0 for f in listed)
    assert not any(f.kind == "jump" and f.effect > 0 for f in listed)  # from a window to itself


# Distances and tests against others' code, on the values themselves


@pytest.mark.parametrize("scale", [1.0, 1.3])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5, 8.0])
def test_distance_from_bins_is_that_of_the_values(shift: float, scale: float) -> None:
    from scipy.stats import wasserstein_distance

    sample, window = rows(0, 10_000)["temp"], rows(3, 10_000, shift, scale)["temp"]
    known = REFERENCE.numeric["temp"]
    assert known.sd is not None
    now = profile(rows(3, 10_000, shift, scale)).numeric["temp"]
    edges = known.scores(np.array(known.edges))
    effect = distances.wasserstein(
        edges, (np.array(known.counts), np.array(known.sums)), (now.counts, now.sums)
    ).effect
    exact = wasserstein_distance(sample, window) / known.sd
    chance = 1.6 * math.sqrt(2 / math.pi * (1 / 10_000 + 1 / 10_000))
    assert effect == pytest.approx(math.sqrt(max(exact**2 - chance**2, 0)), rel=0.02, abs=0.012)


def test_p_values_are_those_of_scipy() -> None:
    from scipy import stats

    drawn = np.random.default_rng(5)
    one, other = (
        drawn.multinomial(4000, [0.2] * 5),
        drawn.multinomial(700, [0.22, 0.18, *[0.2] * 3]),
    )
    values = [np.repeat(np.arange(5), c) for c in (one, other)]
    found_p = distances.p_numeric(one, other)
    ranks = stats.mannwhitneyu(*values, use_continuity=False, method="asymptotic").pvalue
    mood = stats.mood(*values).pvalue
    kolmogorov = stats.ks_2samp(*values, method="asymp").pvalue
    assert found_p == pytest.approx(min(1, 3 * min(ranks, mood, kolmogorov)), rel=0.02)
    chi_square = stats.chi2_contingency([one, other]).pvalue
    assert distances.p_categories(one, other) <= 2 * chi_square * (1 + 1e-9)
    for table in ([3, 200, 9, 150], [0, 10_000, 4, 500], [500, 1000, 260, 400], [0, 50, 0, 50]):
        a, n, b, m = table
        cells = [[b, m - b], [a, n - a]]
        greater = stats.fisher_exact(cells, alternative="greater").pvalue
        less = stats.fisher_exact(cells, alternative="less").pvalue
        assert distances.p_share((a, n), (b, m), 1) == pytest.approx(greater, rel=1e-6)
        assert distances.p_share((a, n), (b, m)) == pytest.approx(
            min(1, 2 * min(greater, less)), rel=1e-6
        )


@given(
    one=st.lists(st.integers(0, 500), min_size=6, max_size=6).filter(any),
    other=st.lists(st.integers(0, 500), min_size=6, max_size=6).filter(any),
)
@settings(max_examples=100, deadline=None)
def test_distances_and_p_values_are_symmetric_and_within_their_limits(
    one: list[int], other: list[int]
) -> None:
    a, b = np.array(one), np.array(other)
    there, back = distances.total_variation(a, b), distances.total_variation(b, a)
    assert there == pytest.approx(back)
    assert 0 <= there.effect <= np.abs(a / a.sum() - b / b.sum()).sum() / 2 + 1e-9
    for test in (distances.p_numeric, distances.p_categories):
        assert 0 <= test(a, b) <= 1
        assert test(a, b) == pytest.approx(test(b, a), abs=1e-9)
    assert distances.total_variation(a, a).effect == 0


@pytest.mark.parametrize("count", [2, 6, 40])
def test_chance_seldom_looks_like_a_difference(count: int) -> None:
    """At a level of 1 % no p-value may be below in more than 2 % of 2,000 draws."""
    drawn = np.random.default_rng(count)
    shares = 1 / np.arange(1, count + 1)
    draws = [drawn.multinomial(size, shares / shares.sum(), 2000) for size in (10_000, 300)]
    both = list(zip(*draws, strict=True))
    for test in (
        distances.p_numeric,
        distances.p_categories,
        lambda a, b: distances.total_variation(a, b).p,
    ):
        assert sum(test(a, b) <= 0.01 for a, b in both) <= 40


def test_tests_that_cannot_reject_are_not_counted() -> None:
    assert distances.counted([], 0.05) == 1
    assert distances.counted([0.0] * 7 + [1.0] * 50, 0.05) == 7
    assert distances.counted([0.02] * 4, 0.05) == 3  # at 0.025 all four could, at 0.0167 none
    assert distances.least_share((1, 100), (1, 10), 1) == pytest.approx(45 / math.comb(110, 2))
    assert distances.least_share((0, 100), (0, 10)) == 1


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
def test_no_p_value_is_below_the_least(k: int, n: int, j: int, m: int) -> None:
    one, other = (min(k, n), n), (min(j, m), m)
    for sides in (1, 2):
        least = distances.least_share(one, other, sides)
        assert least <= distances.p_share(one, other, sides) * (1 + 1e-9)
