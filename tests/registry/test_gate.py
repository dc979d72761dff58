"""The gates: where exactly each limit lies, and the sentences that tell of it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import gate, metrics
from registry.errors import GateRefused
from registry.gate import Check, Limits, Trial, Verdict

quick = settings(deadline=None, max_examples=150)
ACCURACY = metrics.get("accuracy", "binary")
RMSE = metrics.get("rmse", "regression")

numbers = st.floats(-1e6, 1e6)
margins = st.floats(0, 1e3)
either = st.sampled_from([ACCURACY, RMSE])


@quick
@given(either, numbers, margins)
def test_a_candidate_equal_to_the_champion_always_passes(
    metric: metrics.Metric, value: float, margin: float
) -> None:
    trial = Trial(metric, value, value, 1)
    assert gate.decide(None, trial, Limits(margin=margin)).passed


@quick
@given(either, numbers, numbers, numbers, margins)
def test_a_better_candidate_passes_wherever_a_worse_one_does(
    metric: metrics.Metric, one: float, other: float, champion: float, margin: float
) -> None:
    better, worse = (max, min) if metric.greater_is_better else (min, max)
    limits = Limits(floor=champion, margin=margin)
    good = gate.decide(None, Trial(metric, better(one, other), champion, 1), limits)
    bad = gate.decide(None, Trial(metric, worse(one, other), champion, 1), limits)
    assert good.passed >= bad.passed


@quick
@given(either, numbers, margins)
def test_the_limit_itself_passes_and_the_next_number_beyond_it_does_not(
    metric: metrics.Metric, champion: float, margin: float
) -> None:
    beyond = -math.inf if metric.greater_is_better else math.inf
    limit = metric.worsened(champion, margin)
    assert gate.not_worse(Trial(metric, limit, champion, 1), Limits(margin=margin)).passed
    over = Trial(metric, math.nextafter(limit, beyond), champion, 1)
    assert not gate.not_worse(over, Limits(margin=margin)).passed
    assert gate.floor(Trial(metric, limit), Limits(floor=limit)).passed
    assert not gate.floor(over, Limits(floor=limit)).passed


@pytest.mark.parametrize(
    ("metric", "value", "limit", "passed", "sentence"),
    [
        (ACCURACY, 0.75, 0.75, True, "accuracy 0.7500 is within the limit 0.7500"),
        (ACCURACY, 0.875, 0.75, True, "accuracy 0.8750 is within the limit 0.7500"),
        (ACCURACY, 0.5, 0.75, False, "accuracy 0.5000 is below the limit 0.7500"),
        (RMSE, 2.0, 2.0, True, "rmse 2.0000 is within the limit 2.0000"),
        (RMSE, 1.5, 2.0, True, "rmse 1.5000 is within the limit 2.0000"),
        (RMSE, 2.25, 2.0, False, "rmse 2.2500 is above the limit 2.0000"),
    ],
)
def test_the_floor(
    metric: metrics.Metric, value: float, limit: float, passed: bool, sentence: str
) -> None:
    check = gate.floor(Trial(metric, value), Limits(floor=limit))
    assert check == Check("floor", passed, sentence, value, limit)


def test_without_a_floor_the_sentence_says_so() -> None:
    check = gate.floor(Trial(ACCURACY, 0.25), Limits())
    assert check == Check(
        "floor", True, "accuracy 0.2500; params.yaml sets no gate.floor", 0.25, None
    )


@pytest.mark.parametrize(
    ("metric", "value", "champion", "limit", "passed", "sentence"),
    [
        (
            ACCURACY,
            0.625,
            0.75,
            0.625,
            True,
            "accuracy 0.6250 is not below the limit 0.6250: "
            "Production v3 has 0.7500 on the same rows, margin 0.125",
        ),
        (
            ACCURACY,
            0.5,
            0.75,
            0.625,
            False,
            "accuracy 0.5000 is below the limit 0.6250: "
            "Production v3 has 0.7500 on the same rows, margin 0.125",
        ),
        (
            RMSE,
            2.125,
            2.0,
            2.125,
            True,
            "rmse 2.1250 is not above the limit 2.1250: "
            "Production v3 has 2.0000 on the same rows, margin 0.125",
        ),
        (
            RMSE,
            2.25,
            2.0,
            2.125,
            False,
            "rmse 2.2500 is above the limit 2.1250: "
            "Production v3 has 2.0000 on the same rows, margin 0.125",
        ),
    ],
)
def test_not_worse_than_production(
    metric: metrics.Metric,
    value: float,
    champion: float,
    limit: float,
    passed: bool,
    sentence: str,
) -> None:
    check = gate.not_worse(Trial(metric, value, champion, 3), Limits(margin=0.125))
    assert check == Check("not_worse", passed, sentence, value, limit)


def test_without_a_champion_there_is_nothing_to_compare_with() -> None:
    check = gate.not_worse(Trial(ACCURACY, 0.5), Limits())
    assert check == Check(
        "not_worse", True, "there is no Production version to compare with", 0.5, None
    )


@pytest.mark.parametrize(
    ("trial", "failures"),
    [
        (
            Trial(ACCURACY, None, 0.5, 1),
            (
                "gate floor: the candidate was not scored",
                "gate not_worse: the candidate was not scored",
            ),
        ),
        (Trial(ACCURACY, 0.5, None, 1), ("gate not_worse: the champion was not scored",)),
        (
            Trial(ACCURACY, None, None, 1, {"candidate": "its rows are gone"}),
            ("gate floor: its rows are gone", "gate not_worse: its rows are gone"),
        ),
        (
            Trial(ACCURACY, 0.5, None, 1, {"champion": "Production v1 is broken"}),
            ("gate not_worse: Production v1 is broken",),
        ),
        (Trial(ACCURACY, None), ("gate floor: the candidate was not scored",)),
    ],
)
def test_what_was_not_scored_does_not_pass(trial: Trial, failures: tuple[str, ...]) -> None:
    assert gate.decide(None, trial, Limits()).failures == failures


def test_a_metric_that_is_not_a_number_does_not_pass() -> None:
    assert not gate.decide(None, Trial(RMSE, math.nan), Limits()).passed


def test_to_staging_only_the_artifact_is_tried() -> None:
    verdict = gate.decide(None, None, Limits(floor=0.99))
    sentence = "the artifact loads and predicts its own input example"
    assert verdict == Verdict((Check("loads", True, sentence),))


def test_an_artifact_that_does_not_load_is_refused_with_its_problem() -> None:
    verdict = gate.decide("it is empty", None, Limits())
    assert not verdict.passed
    assert verdict.failures == ("gate loads: it is empty",)


def test_every_gate_is_asked_and_every_failure_named() -> None:
    verdict = gate.decide("it is empty", Trial(ACCURACY, 0.5, 0.75, 1), Limits(floor=0.625))
    assert [c.name for c in verdict.checks] == ["loads", "floor", "not_worse"]
    assert [c.passed for c in verdict.checks] == [False, False, False]
    assert str(GateRefused("m", 2, verdict.failures)) == (
        "version 2 of m was not promoted: gate loads: it is empty; "
        "gate floor: accuracy 0.5000 is below the limit 0.6250; "
        "gate not_worse: accuracy 0.5000 is below the limit 0.7500: "
        "Production v1 has 0.7500 on the same rows, margin 0; nothing was changed"
    )


def test_one_refusal_is_enough() -> None:
    verdict = gate.decide(None, Trial(ACCURACY, 0.5, 0.5, 1), Limits(floor=0.75))
    assert [c.passed for c in verdict.checks] == [True, False, True]
    assert not verdict.passed


def test_a_verdict_as_json_holds_every_check() -> None:
    verdict = gate.decide(None, Trial(RMSE, 2.0, 3.0, 1), Limits(floor=4.0, margin=0.5))
    read = json.loads(json.dumps(verdict.as_dict()))
    assert read["passed"] is True
    assert [(c["name"], c["value"], c["limit"]) for c in read["checks"]] == [
        ("loads", None, None),
        ("floor", 2.0, 4.0),
        ("not_worse", 2.0, 3.5),
    ]
    assert all(c["sentence"] and c["passed"] for c in read["checks"])
