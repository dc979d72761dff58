"""Losses: always between 0 and 1, and none where label and answer do not fit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.losses import loss

NAMED = {"prediction": "late", "probability_late": 0.7, "probability_on_time": 0.3}


@pytest.mark.parametrize(
    ("metric", "answer", "label", "expected"),
    [
        ("error", NAMED, "late", 0.0),
        ("error", NAMED, "on_time", 1.0),
        ("error", 1, "1", 0.0),
        ("error", 1.0, True, 0.0),
        ("error", "True", True, 0.0),
        ("error", "a", "b", 1.0),
        ("error", [1], 1, None),
        ("error", None, 1, None),
        ("brier", NAMED, "late", 0.09),
        ("brier", NAMED, "on_time", 0.49),
        ("brier", NAMED, "never", None),
        ("brier", 0.9, 1, pytest.approx(0.01)),
        ("brier", 0.9, False, pytest.approx(0.81)),
        ("brier", 1.2, 1, None),
        ("brier", 0.5, 2, None),
        ("brier", {"probability_1": 0.25, "probability_0": 0.75}, 1, 0.5625),
        ("absolute", 3.0, 5, 0.2),
        ("absolute", {"prediction": 3.0}, 5, 0.2),
        ("absolute", 3.0, 500, 1.0),
        ("absolute", "3", 5, None),
        ("absolute", 3.0, None, None),
        ("none", 3.0, 3.0, None),
    ],
)
def test_losses(metric: Any, answer: Any, label: Any, expected: Any) -> None:
    found = loss(metric, answer, label, scale=10)
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_without_a_scale_a_distance_is_no_loss() -> None:
    assert loss("absolute", 1.0, 2.0) is None


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
answers = plain | st.lists(plain, max_size=2) | st.dictionaries(
    st.sampled_from(["prediction", "probability_a", "probability_1", "x"]), plain, max_size=3
)  # fmt: skip


@given(st.sampled_from(["error", "brier", "absolute", "none"]), answers, answers)
def test_whatever_is_labelled_a_loss_is_one(metric: Any, answer: Any, label: Any) -> None:
    found = loss(metric, answer, label, scale=2.0)
    assert found is None or (math.isfinite(found) and 0 <= found <= 1)
