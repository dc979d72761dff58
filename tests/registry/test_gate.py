"""The gates: where exactly each limit lies, and the sentences that tell of it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import gate, metrics, provenance, quality
from registry.bootstrap import Comparison, Interval
from registry.errors import GateRefused
from registry.gate import Check, Latency, Verdict
from registry.metrics import Truth
from registry.quality import Scored
from registry.sections import GATES, GateParams
from registry.stages import Stage

quick = settings(deadline=None, max_examples=100)
ROWS = 8
NUMBERS = st.floats(-1e6, 1e6)
KNOWN = {
    "git_commit": "a" * 40,
    "git_dirty": "false",
    "data_md5": "b" * 32,
    "params_sha256": "c" * 64,
    "lock_sha256": "d" * 64,
}


def accuracy(right: int | None, rival: int | None = None, version: int | None = None) -> Scored:
    """Two models of which one is right in `right`, the other in `rival` of ROWS rows."""

    def scores(hits: int | None) -> np.ndarray | None:
        return None if hits is None else np.eye(2)[[int(n < hits) for n in range(ROWS)]]

    labels = np.array(["b"] * ROWS, dtype=object)
    truth = Truth("binary", labels, ("a", "b"), "b")
    rows = pd.DataFrame({"place": ["x"] * 4 + ["y"] * 4, "y": labels})
    return Scored(
        metrics.get("accuracy", "binary"), truth, rows, scores(right), scores(rival), version
    )


def rmse(error: float, rival: float | None = None, version: int | None = None) -> Scored:
    """Two models that are off by so much on every row."""
    truth = Truth("regression", np.zeros(ROWS))
    sides = [None if e is None else np.full(ROWS, float(e)) for e in (error, rival)]
    rows = pd.DataFrame({"y": np.zeros(ROWS)})
    return Scored(metrics.get("rmse", "regression"), truth, rows, sides[0], sides[1], version)


def compared(low: float, improvement: float = 0.0) -> Comparison:
    interval = Interval(low, low + 1)
    return Comparison(0.75, 0.5, improvement, interval, interval, interval, 1000, 100, 0)


# The verdict


@given(st.lists(st.builds(Check, st.sampled_from(GATES), st.booleans(), st.just("why"))),
       st.sets(st.sampled_from(GATES)))  # fmt: skip
def test_a_verdict_passes_when_every_refusal_is_overridden(
    checks: list[Check], overrides: set[str]
) -> None:
    verdict = gate.verdict(checks, overrides)
    refused = {c.name for c in checks if not c.passed}
    assert verdict.passed is (refused <= overrides)
    assert verdict.passed is (verdict.failures == ())
    assert {c.name for c in verdict.checks if c.overridden} == refused & overrides
    assert all(c.sentence == "why" for c in verdict.checks)
    names = [GATES.index(c.name) for c in verdict.checks]
    assert names == sorted(names)


def test_a_verdict_as_json_holds_every_check() -> None:
    check = Check("floor", False, "too low", 2.0, 4.0, detail={"rows": 3})
    verdict = gate.verdict([check, gate.skipped("lineage")], ["floor", "lineage"])
    assert json.loads(json.dumps(verdict.as_dict())) == {
        "passed": True,
        "checks": [
            {
                "name": "lineage",
                "passed": True,
                "sentence": "params.yaml skips it (gate.skip)",
                "value": None,
                "limit": None,
                "overridden": False,
                "skipped": True,
                "detail": {},
            },
            {
                "name": "floor",
                "passed": False,
                "sentence": "too low",
                "value": 2.0,
                "limit": 4.0,
                "overridden": True,
                "skipped": False,
                "detail": {"rows": 3},
            },
        ],
    }


def test_the_sentence_of_a_refusal_names_every_gate_that_refused() -> None:
    checks = [Check("floor", False, "too low"), Check("loads", False, "it is empty")]
    assert str(GateRefused("m", 2, gate.verdict(checks).failures)) == (
        "version 2 of m was not promoted: gate loads: it is empty; gate floor: too low; "
        "no stage was changed"
    )


def test_only_what_the_artifact_is_counts_on_the_way_to_staging() -> None:
    assert gate.on_the_way_to(Stage.STAGING) == ("location", "intact", "loads")
    assert gate.on_the_way_to(Stage.PRODUCTION) == GATES


# floor


@pytest.mark.parametrize(
    ("scored", "limit", "passed", "sentence"),
    [
        (accuracy(6), 0.75, True, "accuracy 0.7500 is within the limit 0.7500"),
        (accuracy(7), 0.75, True, "accuracy 0.8750 is within the limit 0.7500"),
        (accuracy(4), 0.75, False, "accuracy 0.5000 is below the limit 0.7500"),
        (rmse(2.0), 2.0, True, "rmse 2.0000 is within the limit 2.0000"),
        (rmse(1.5), 2.0, True, "rmse 1.5000 is within the limit 2.0000"),
        (rmse(2.25), 2.0, False, "rmse 2.2500 is above the limit 2.0000"),
        (rmse(2.00001), 2.0, False, "rmse 2.00001 is above the limit 2.00000"),
        (accuracy(None), 0.75, False, "the candidate was not scored"),
        (accuracy(4), None, True, "accuracy 0.5000; params.yaml sets no gate.floor"),
    ],
)
def test_the_floor(scored: Scored, limit: float | None, passed: bool, sentence: str) -> None:
    check = quality.floor(scored, GateParams(floor=limit))
    assert check == Check("floor", passed, sentence, scored.value(scored.candidate), limit)


def test_a_metric_that_is_not_defined_on_the_rows_does_not_pass() -> None:
    scored = accuracy(4)
    undefined = Scored(
        metrics.get("roc_auc", "binary"), scored.truth, scored.rows, scored.candidate
    )
    check = quality.floor(undefined, GateParams())
    assert (check.passed, check.sentence) == (False, "roc_auc is not defined on these 8 rows")


# not_worse


@quick
@given(NUMBERS, st.floats(0, 1e3))
def test_the_margin_itself_passes_and_the_next_number_beyond_it_does_not(
    low: float, margin: float
) -> None:
    limits, scored = GateParams(margin=margin), accuracy(4, 4, 1)
    check = quality.not_worse(scored, compared(low), limits)
    assert check.passed is (low >= -margin)
    assert quality.not_worse(scored, compared(-margin), limits).passed
    assert not quality.not_worse(scored, compared(math.nextafter(-margin, -9e9)), limits).passed


@quick
@given(st.integers(0, ROWS), st.floats(0, 1), st.floats(0, 1e6))
def test_a_candidate_equal_to_the_champion_always_passes(
    hits: int, margin: float, error: float
) -> None:
    limits = GateParams(margin=margin, resamples=100)
    for scored in (accuracy(hits, hits, 1), rmse(error, error, 1)):
        assert quality.not_worse(scored, quality.compare(scored, limits), limits).passed


def test_not_worse_says_both_values_the_interval_and_the_margin() -> None:
    scored = rmse(2.25, 2.0, 3)
    limits = GateParams(margin=0.125, confidence=0.9)
    check = quality.not_worse(scored, quality.compare(scored, limits), limits)
    assert (check.passed, check.value, check.limit) == (False, -0.25, -0.125)
    assert check.sentence == (
        "rmse 2.2500 against 2.0000 of Production v3 on the same 8 rows: improvement -0.2500, "
        "90 % interval [-0.2500, -0.2500], whose lower end is below -0.1250 (margin 0.125)"
    )
    assert check.detail["improvement"] == -0.25


@pytest.mark.parametrize(
    ("scored", "passed", "sentence"),
    [
        (accuracy(4), True, "there is no Production version to compare with"),
        (accuracy(None, 4, 1), False, "the candidate was not scored"),
        (accuracy(4, None, 1), False, "the champion was not scored"),
        (
            accuracy(None, None, 1),
            False,
            "the candidate was not scored; the champion was not scored",
        ),
    ],
)
def test_what_was_not_scored_is_not_compared(scored: Scored, passed: bool, sentence: str) -> None:
    limits = GateParams()
    check = quality.not_worse(scored, quality.compare(scored, limits), limits)
    assert (check.passed, check.sentence) == (passed, sentence)


# slices


def slices(scored: Scored, **limits: Any) -> Check:
    params = GateParams(resamples=100, **limits)
    return quality.slices(scored, *quality.cut(scored, params), params)


def test_a_slice_that_is_worse_by_more_than_its_margin_refuses() -> None:
    scored = accuracy(6, 8, 1)  # right in all of x, and in half of y
    check = slices(scored, slices={"place": 0.25}, slice_rows=4)
    assert (check.passed, check.value, check.limit) == (False, -0.5, -0.25)
    assert check.sentence == (
        "accuracy is worse than that of Production v1 by more than the margin in 1 of 2 slices: "
        "place y: 0.5000 against 1.0000 (4 rows, margin 0.25)"
    )
    assert [s["value"] for s in check.detail["worst"]] == ["y", "x"]
    within = slices(scored, slices={"place": 0.5}, slice_rows=4)
    assert within.passed
    assert within.sentence == "none of 2 slices is worse by more than its margin"


def test_slices_that_say_nothing_are_counted() -> None:
    check = slices(accuracy(6, 8, 1), slices={"place": 0.0}, slice_rows=5)
    assert (check.passed, check.sentence) == (
        True,
        "no slice can be judged; 2 of the 2 values of place have fewer than 5 rows",
    )


def test_without_slices_or_champion_nothing_is_cut() -> None:
    assert slices(accuracy(6, 8, 1)).sentence == "params.yaml names no gate.slices"
    check = slices(accuracy(6), slices={"place": 0.0})
    assert (check.passed, check.sentence) == (True, quality.NO_RIVAL)


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"gate\.slices names 'nowhere'.*they have place, y"):
        slices(accuracy(6, 8, 1), slices={"nowhere": 0.1})


def test_missing_values_are_a_slice_of_their_own() -> None:
    scored = accuracy(8, 8, 1)
    scored.rows["place"] = pd.Series([None] * 4 + ["y"] * 4, dtype=object)
    check = slices(scored, slices={"place": 0.0}, slice_rows=4)
    assert {s["value"] for s in check.detail["worst"]} == {"(missing)", "y"}


def test_a_thousand_slices_still_fit_into_a_tag() -> None:
    rows = 2000
    truth = Truth("regression", np.zeros(rows))
    table = pd.DataFrame({"place": [f"{'long' * 30}{n}" for n in range(rows)]})
    one = np.linspace(0, 1, rows)
    scored = Scored(metrics.get("mae", "regression"), truth, table, one, one - 1, 1)
    check = slices(scored, slices={"place": 0.0}, slice_rows=1)
    assert check.detail["slices"] == rows
    assert len(json.dumps(Verdict((check,)).as_dict())) < 10_000


# location, intact, lineage


@pytest.mark.parametrize(
    ("uri", "roots", "home", "passed", "words"),
    [
        ("/a/m", (), "/a", True, "lies inside the artifacts of its experiment"),
        ("/a/m", ("/b", "/a"), None, True, "lies inside gate.roots"),
        ("/a/m", ("/b",), "/a", False, "'/a/m', outside gate.roots (/b); log it there"),
        ("s3://x/m", (), "/a", False, "outside the artifacts of its experiment (/a)"),
        ("/a/m", (), None, False, "the version names no run"),
    ],
)
def test_location(
    uri: str, roots: tuple[str, ...], home: str | None, passed: bool, words: str
) -> None:
    check = provenance.location(uri, roots, home)
    assert check.passed is passed
    assert words in check.sentence


@pytest.mark.parametrize(
    ("found", "known", "passed", "words"),
    [
        ({"digest": "a"}, {"digest": "a"}, True, "every file is as it was registered"),
        ({"digest": "a", "kept": "k"}, {"digest": "a", "kept": "k"}, True, "every file"),
        ({"digest": "a", "kept": "k"}, {"digest": "a"}, True, "every file"),
        ({"digest": "b"}, {"digest": "a"}, False, "the artifact is not what was registered"),
        ({"digest": None}, {"digest": "a"}, False, "the artifact cannot be fetched"),
        ({"digest": "a", "kept": "l"}, {"digest": "a", "kept": "k"}, False, "(understudy/) is not"),
        ({"digest": "a", "kept": None}, {"digest": "a", "kept": "k"}, False, "cannot be fetched"),
        ({"digest": "a", "kept": "k"}, {"digest": "a", "kept": ""}, False, "was added after"),
        ({"digest": "a", "kept": None}, {"digest": "a", "kept": ""}, True, "every file"),
        ({"digest": "a"}, {}, False, "the ledger has no digest"),
    ],
)
def test_intact(
    found: dict[str, str | None], known: dict[str, str], passed: bool, words: str
) -> None:
    check = provenance.intact(found, known)
    assert check.passed is passed
    assert words in check.sentence


def test_lineage_that_is_complete() -> None:
    check = provenance.lineage(KNOWN)
    assert check.passed
    assert check.sentence == "clean commit aaaaaaaa, data bbbbbbbb, lock known"


@pytest.mark.parametrize("part", KNOWN)
def test_every_part_of_the_lineage_is_needed(part: str) -> None:
    check = provenance.lineage({k: v for k, v in KNOWN.items() if k != part})
    assert not check.passed
    assert "is unknown: " in check.sentence


def test_a_lineage_names_all_that_is_missing_and_what_to_do() -> None:
    check = provenance.lineage({"git_commit": "a", "git_dirty": "true", "data_md5": "b"})
    assert check.sentence == (
        "the hash of params.yaml is unknown: train from the project's folder; "
        "the hash of requirements.lock is unknown: keep the lock in the project; "
        "the working copy had changes that no commit holds: commit, and train again"
    )


# serves, latency


@pytest.mark.parametrize(
    ("limits", "passed", "value", "limit", "sentence"),
    [
        ({}, True, 8.0, None,
         "one row in 8.0 ms, 100 rows in 20.0 ms; "
         "params.yaml sets no gate.single_ms and no gate.batch_ms"),
        ({"single_ms": 8.0, "batch_ms": 20.0}, True, 8.0, 8.0,
         "one row in 8.0 ms (limit 8 ms), 100 rows in 20.0 ms (limit 20 ms)"),
        ({"single_ms": 7.5}, False, 8.0, 7.5,
         "one row in 8.0 ms (limit 7.5 ms), 100 rows in 20.0 ms; "
         "params.yaml sets no gate.batch_ms"),
        ({"single_ms": 9.0, "batch_ms": 19.0}, False, 20.0, 19.0,
         "one row in 8.0 ms (limit 9 ms), 100 rows in 20.0 ms (limit 19 ms)"),
    ],
)  # fmt: skip
def test_latency(
    limits: dict[str, float], passed: bool, value: float, limit: float | None, sentence: str
) -> None:
    check = gate.latency(Latency(8.0, 20.0, 20), GateParams(**limits))
    assert (check.passed, check.value, check.limit) == (passed, value, limit)
    assert check.sentence == sentence


def test_a_server_that_failed_is_said_by_both_of_its_gates() -> None:
    assert not gate.serves("it ended by itself", "local", None).passed
    assert not gate.latency("it could not be measured", GateParams()).passed
