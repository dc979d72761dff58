"""Performance with labels: the figures are those of other ways to them, and intervals cover."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.findings import Quality
from monitoring.intervals import auc_interval, delong, interval, losses_of, wilson
from monitoring.outcomes import outcomes, scores
from monitoring.quality import measure, outcome_shares
from monitoring.sections import QualityPolicy
from registry import metrics
from registry.metrics import Truth
from registry.problems import METRICS
from registry.record import Record
from tests.monitoring.rows import NUMBER, THREE, TWO, named, two

POLICY = QualityPolicy(minimum=20)
Z = 1.959963984540054


def measured(record: Record, answers: list[Any], labels: list[Any], **slices: Any) -> Quality:
    times = ([0.0] * len(answers), [None if label is None else 60.0 for label in labels])
    return measure(record, 3, answers, labels, times, slices, POLICY)


def flights(rows: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Chances to be late, and outcomes that come true as often as they say."""
    drawn = np.random.default_rng(seed)
    chances = drawn.beta(1, 3, rows)
    return chances, np.where(drawn.random(rows) < chances, "late", "on_time").tolist()


# Labels and answers


@pytest.mark.parametrize(
    ("classes", "label", "expected"),
    [
        (("0", "1"), 1, "1"), (("0", "1"), 1.0, "1"), (("0", "1"), "1", "1"),
        (("0", "1"), True, "1"), (("0", "1"), "1.0", "1"), (("0", "1"), np.int64(0), "0"),
        (("False", "True"), True, "True"), (("False", "True"), "true", "True"),
        (("False", "True"), 0, "False"), (("TRUE", "true"), "TRUE", "TRUE"),
        (("late", "on_time"), "late", "late"),
        (("late", "on_time"), "Late", None), (("late", "on_time"), " late", None),
        (("late", "on_time"), 1, None), (("0", "1"), 2, None), (("0", "1"), math.nan, None),
        (("0", "1"), None, None), (("0", "1"), [1], None), (("0", "1"), {"a": 1}, None),
        (("0", "1"), "", None), (("nan", "x"), math.nan, None),
    ],
)  # fmt: skip
def test_a_label_is_a_class_however_it_is_spelled(
    classes: tuple[str, ...], label: Any, expected: str | None
) -> None:
    names, usable = outcomes(replace(TWO, classes=classes, positive=classes[1]), [label])
    assert [n for n, good in zip(names, usable, strict=True) if good] == (
        [] if expected is None else [expected]
    )


def test_equal_labels_of_other_types_are_told_apart() -> None:
    """True == 1 == 1.0 in Python, and none of them is the class `True` of these two."""
    names, usable = outcomes(replace(TWO, classes=("yes", "1"), positive="1"), [1, True, "1"])
    assert usable.all()
    assert names.tolist() == ["1"] * 3
    _, usable = outcomes(replace(NUMBER), [1, "1", math.inf, 10**400, None, math.nan, 2.5])
    assert usable.tolist() == [True, False, False, False, False, False, True]


@pytest.mark.parametrize(
    "answer",
    [
        None, 0.5, "late", [], {}, {"prediction": "late"}, {"probability_late": 0.5},
        {"probability_late": 0.5, "probability_on_time": None},
        {"probability_late": 1.5, "probability_on_time": -0.5},
        {"probability_late": math.nan, "probability_on_time": 0.5},
        {"probability_late": "0.5", "probability_on_time": "0.5"},
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_no_answer(answer: Any) -> None:
    assert np.isnan(scores(TWO, [answer])).all()
    assert scores(TWO, [answer]).shape == (1, 2)
    chances, labels = flights(50)
    quality = measured(TWO, [*two(chances), answer], [*labels, "late"])
    assert (quality.rows, quality.labelled, quality.unusable) == (51, 51, 0)
    assert {m.rows for m in quality.metrics} == {50}


def test_labels_that_are_none_of_the_classes_are_counted_and_change_nothing() -> None:
    chances, labels = flights(300)
    clean = measured(TWO, two(chances), labels)
    odd = ["never", 7, None, math.nan, None]
    mixed = measured(TWO, two(np.r_[chances, [0.9] * 5]), [*labels, *odd])
    assert (mixed.rows, mixed.labelled, mixed.unusable) == (305, 303, 3)
    assert mixed.metrics == clean.metrics


# Values


@pytest.mark.parametrize("record", [TWO, THREE, NUMBER], ids=lambda r: r.problem)
def test_every_metric_of_the_problem_is_there_and_the_deciding_one_is_first(record: Record) -> None:
    drawn = np.random.default_rng(1)
    if record.classes:
        chances = drawn.dirichlet(np.ones(len(record.classes)), 400)
        labels: list[Any] = [record.classes[drawn.choice(len(c), p=c)] for c in chances]
        answers: list[Any] = named(record, chances)
    else:
        truth = drawn.normal(10, 3, 400)
        answers, labels = (truth + drawn.normal(0, 1, 400)).tolist(), truth.tolist()
    for wanted in METRICS[record.problem]:
        about = replace(record, metric=wanted)
        quality = measured(about, answers, labels)
        assert quality.metrics[0].metric == wanted
        assert {m.metric for m in quality.metrics} == set(METRICS[record.problem])
        rows = pd.DataFrame({"y": labels})
        found = about.truth(rows), scores(about, answers)
        for one in quality.metrics:
            assert one.value == pytest.approx(metrics.compute(*found)[one.metric])
            assert one.low < one.value < one.high
            assert one.rows == 400


def test_what_is_not_defined_is_left_out() -> None:
    chances, _ = flights(50)
    names = {m.metric for m in measured(TWO, two(chances), ["late"] * 50).metrics}
    assert names == {"log_loss", "brier", "accuracy", "f1"}
    assert {m.metric for m in measured(NUMBER, [1.0, 2.0], [3, 3]).metrics} == {"rmse", "mae"}
    assert measured(TWO, two(chances[:1]), ["late"]).metrics == ()
    assert measured(TWO, two(chances), [None] * 50).metrics == ()
    nothing = measure(TWO, 3, [], [], ([], []), {"a": []}, POLICY)
    assert nothing == Quality(3, 0, 0, 0, slices={"a": {}})


def test_the_result_is_the_same_each_time_and_survives_json() -> None:
    chances, labels = flights(500)
    once, again = (measured(TWO, two(chances), labels) for _ in range(2))
    assert once == again
    figures = [v for m in once.metrics for v in (m.value, m.low, m.high)]
    assert all(type(f) is float and math.isfinite(f) for f in figures)


# Intervals


def brute(positive: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """DeLong 1988 as it is written: every positive row against every negative one."""
    ups, downs = found[positive], found[~positive]
    wins = (ups[:, None] > downs) + 0.5 * (ups[:, None] == downs)
    variance = wins.mean(axis=1).var(ddof=1) / len(ups) + wins.mean(axis=0).var(ddof=1) / len(downs)
    return float(wins.mean()), float(variance)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=4, max_size=60).filter(
    lambda rows: 2 <= sum(up for up, _ in rows) <= len(rows) - 2
))  # fmt: skip
def test_delong_is_what_all_pairs_give_ties_included(rows: list[tuple[bool, int]]) -> None:
    positive, found = np.array([r[0] for r in rows]), np.array([r[1] / 9 for r in rows])
    assert delong(positive, found) == pytest.approx(brute(positive, found), abs=1e-12)
    assert delong(positive, np.exp(found)) == pytest.approx(delong(positive, found), abs=1e-12)
    low, high = auc_interval(positive, found, Z)
    assert 0 <= low <= delong(positive, found)[0] + 1e-9 <= high + 2e-9 <= 1 + 3e-9


def share_covered(run: Any, truth: float, times: int) -> float:
    found = [run(np.random.default_rng(seed)) for seed in range(times)]
    return float(np.mean([low <= truth <= high for low, high in found]))


@pytest.mark.parametrize(
    ("apart", "ups", "downs", "least"),
    [(1.0, 100, 300, 0.93), (2.5, 100, 300, 0.93), (0.5, 30, 170, 0.93), (2.5, 30, 300, 0.9)],
)
def test_intervals_of_roc_auc_cover_the_truth(
    apart: float, ups: int, downs: int, least: float
) -> None:
    """Two normal distributions so far apart have ROC AUC Phi(apart / sqrt 2).

    The last is where the module says that they cover less.
    """
    positive = np.arange(ups + downs) < ups

    def run(drawn: np.random.Generator) -> tuple[float, float]:
        return auc_interval(positive, drawn.normal(0, 1, ups + downs) + apart * positive, Z)

    truth = 0.5 * (1 + math.erf(apart / 2))
    assert least <= share_covered(run, truth, 600) <= 0.975


SIMULATED = {
    "log_loss": 0.5, "brier": 1 / 6, "accuracy": 0.75, "f1": None, "average_precision": None,
    "rmse": 1.0, "mae": math.sqrt(2 / math.pi), "r2": 0.9,
}  # fmt: skip
"""By integration for chances uniform in 0 to 1 that are right; errors of variance 1 out of 10."""


def simulated(name: str, drawn: np.random.Generator, rows: int) -> tuple[Truth, np.ndarray]:
    if name in METRICS["regression"]:
        labels = drawn.normal(5, math.sqrt(10), rows)
        return Truth("regression", labels), labels + drawn.normal(0, 1, rows)
    chances = drawn.random(rows)
    labels = np.where(drawn.random(rows) < chances, "late", "on_time").astype(object)
    return (
        Truth("binary", labels, TWO.classes, TWO.positive),
        np.column_stack([chances, 1 - chances]),
    )


@pytest.mark.parametrize("name", SIMULATED)
def test_intervals_of_the_others_cover_the_truth(name: str) -> None:
    truth = SIMULATED[name]
    if truth is None:
        many = simulated(name, np.random.default_rng(10**6), 400_000)
        truth = metrics.compute(*many, [name])[name]

    def run(drawn: np.random.Generator) -> tuple[float, float]:
        rows = simulated(name, drawn, 300)
        found = interval(name, *rows, metrics.compute(*rows, [name])[name], 0.95)
        assert found is not None
        return found

    assert 0.92 <= share_covered(run, truth, 200) <= 0.985


@pytest.mark.parametrize("name", ["log_loss", "brier", "mae", "rmse"])
def test_what_rows_add_is_the_metric(name: str) -> None:
    rows = simulated(name, np.random.default_rng(0), 50)
    losses = losses_of(name, *rows)
    assert losses is not None
    mean = losses.mean() if name != "rmse" else math.sqrt(losses.mean())
    assert mean == pytest.approx(metrics.compute(*rows, [name])[name])


def test_a_bootstrap_of_some_rows_is_as_wide_as_one_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = simulated("f1", np.random.default_rng(0), 4000)
    whole = interval("f1", *rows, 0.6, 0.95)
    monkeypatch.setattr("monitoring.intervals.ROWS", 1000)
    part = interval("f1", *rows, 0.6, 0.95)
    assert whole is not None
    assert part is not None
    assert part != whole
    assert part[1] - part[0] == pytest.approx(whole[1] - whole[0], rel=0.2)


def test_certainty_is_not_claimed_where_a_formula_has_none_left() -> None:
    perfect = np.array([False] * 30 + [True] * 30), np.arange(60) / 60
    assert auc_interval(*perfect, Z)[0] == pytest.approx(wilson(1.0, 30, Z)[0])
    assert auc_interval(perfect[0], -perfect[1], Z)[1] == pytest.approx(1 - 0.8865, abs=1e-4)
    assert auc_interval(np.array([True, False, False]), np.array([0.9, 0.1, 0.2]), Z) == (0.0, 1.0)
    assert wilson(1.0, 10, Z) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 10, Z) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_a_higher_confidence_is_wider_and_more_rows_are_narrower() -> None:
    for name in ("roc_auc", *(n for n in SIMULATED if n != "roc_auc")):
        few = simulated(name, np.random.default_rng(0), 200)
        many = simulated(name, np.random.default_rng(0), 3200)
        wide, narrow = (
            (lambda ends: ends[1] - ends[0])(
                interval(name, *rows, metrics.compute(*rows, [name])[name], confidence) or (0, 0)
            )
            for rows, confidence in ((few, 0.99), (few, 0.9))
        )
        less = interval(name, *many, metrics.compute(*many, [name])[name], 0.9)
        assert less is not None
        assert wide > 1.2 * narrow
        assert narrow == pytest.approx(4 * (less[1] - less[0]), rel=0.5)


# Slices, delays, shares


def test_slices_are_the_same_as_measuring_their_rows_alone() -> None:
    chances, labels = flights(400)
    answers = two(chances)
    origin: list[Any] = ["EWR" if n % 3 else "JFK" for n in range(400)]
    origin[:19] = ["LGA"] * 19
    hour: list[Any] = [None if n % 4 == 0 else math.nan if n % 4 == 1 else 8.0 for n in range(400)]
    quality = measured(TWO, answers, labels, origin=origin, hour=pd.Series(hour, index=labels))
    assert list(quality.slices["origin"]) == ["EWR", "JFK"]  # LGA has 19 rows, 20 are needed
    assert {value: m.rows for value, m in quality.slices["hour"].items()} == {
        "missing": 200, "8": 200
    }  # fmt: skip
    own = [n for n in range(400) if origin[n] == "JFK"]
    alone = measured(TWO, [answers[n] for n in own], [labels[n] for n in own])
    assert quality.slices["origin"]["JFK"] == alone.metrics[0]


def test_no_more_than_twenty_values_are_looked_at_the_largest_first() -> None:
    chances, labels = flights(1300)
    values = [n % 25 for n in range(1250)] + [24] * 50
    found = list(measured(TWO, two(chances), labels, n=values).slices["n"])
    assert len(found) == 20
    assert found[0] == "24"


def test_delays_are_those_of_labels_with_a_time() -> None:
    chances, _ = flights(4)
    labels = ["late", None, "on_time", "late"]
    made = pd.to_datetime(pd.Series([10.0, 10, 10, 10]), unit="s", utc=True)
    came = pd.to_datetime(pd.Series([70.0, 5000, None, 30]), unit="s", utc=True)
    for times in ((made, came), ([10, 10, 10, 10], [70.0, 5000.0, None, 30])):
        quality = measure(TWO, 1, two(chances), labels, times, {}, POLICY)
        assert quality.delay == {"median": 40.0, "p90": 56.0, "largest": 60.0}
    unusable = ["late", "from the future", "on_time", "late"]
    known = measure(TWO, 1, two(chances), unusable, ([10] * 4, [70.0, 9e9, 20.0, 30]), {}, POLICY)
    assert known.delay["largest"] == 60.0
    none = measure(TWO, 1, two(chances), [None] * 4, (made, came), {}, POLICY)
    assert none.delay == {}


def test_shares_of_outcomes() -> None:
    labels = ["late", None, "on_time", "late", "late", "never"]
    assert outcome_shares(TWO, labels) == {"late": 0.75, "on_time": 0.25}
    assert outcome_shares(THREE, ["a", "b"]) == {"a": 0.5, "b": 0.5, "c": 0.0}
    assert outcome_shares(NUMBER, [1, 2.0, None, "x", math.inf]) == {"mean": 1.5}
    assert outcome_shares(TWO, [None, "never"]) == {}


# What it costs


@pytest.mark.parametrize("record", [TWO, THREE], ids=lambda r: r.problem)
def test_a_window_of_30_000_rows_takes_a_second_at_most(record: Record) -> None:
    """Bar on this machine 1 s (it takes about half of that); here with slack."""
    drawn = np.random.default_rng(1)
    chances = drawn.dirichlet(np.ones(len(record.classes)), 30_000)
    places = (chances.cumsum(axis=1) < drawn.random((30_000, 1))).sum(axis=1)
    answers, labels = named(record, chances), [record.classes[i] for i in places]
    measured(record, answers[:100], labels[:100])  # imports
    start = time.process_time()
    measured(record, answers, labels, place=[f"{n % 15}" for n in range(30_000)])
    assert time.process_time() - start < 3
