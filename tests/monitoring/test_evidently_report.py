"""Evidently's report in its own process: what it is given, what comes back, and why nothing does.

The interpreter that has Evidently may be named by UNDERSTUDY_EVIDENTLY.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring import evidently_report
from tests.serving.test_page import HOSTILE

HERE = importlib.util.find_spec("evidently") is not None
PYTHON = os.environ.get("UNDERSTUDY_EVIDENTLY") or (sys.executable if HERE else None)


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A reference, and a window as callers send it: other types, other columns, other texts."""
    drawn = np.random.default_rng(0)
    reference = pd.DataFrame(
        {
            "temp": drawn.normal(50, 10, 6000),
            "where": drawn.choice(["EWR", "JFK"], 6000),
            "gone": 1.0,
            "only here": 1,
        }
    )
    temp = [*drawn.normal(10, 5, 500), "cold", None, float("inf")]
    where = [*drawn.choice(["EWR", "JFK"], 501), HOSTILE, "\ud800"]
    window = pd.DataFrame({"temp": temp, "where": where, "gone": None, "new": 2})
    return reference, window


def interpreter(folder: Path, body: str) -> str:
    """A program that stands where Python should."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_both_sides_get_the_same_columns_of_the_same_types() -> None:
    was, now, numbers = evidently_report._alike(*frames(), None)
    assert list(was.columns) == list(now.columns) == ["temp", "where"]
    assert numbers == ["temp"]
    assert (len(was), len(now)) == (evidently_report.ROWS, 503)
    assert now["temp"].isna().sum() == 3  # a text, nothing, and an infinite number
    assert not any(set("<>&") & set(text) for text in now["where"])
    again, _, _ = evidently_report._alike(*frames(), None)
    pd.testing.assert_frame_equal(was, again)


def test_a_column_of_numbers_may_be_named() -> None:
    reference = pd.DataFrame({"code": ["1", "2"], "size": [1.0, 2.0]})
    was, _, numbers = evidently_report._alike(reference, reference, ["code"])
    assert numbers == ["code"]
    assert was.dtypes.astype(str).to_dict() == {"code": "float64", "size": "object"}


def test_without_evidently_the_reason_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "evidently", None)
    with caplog.at_level(logging.WARNING):
        assert evidently_report.attach(*frames()) is None
    assert "understudy[evidently]" in caplog.text


@pytest.mark.parametrize(
    ("body", "seconds", "reason"),
    [
        ("exit 3", 20, "Evidently is not installed for"),
        ("exec sleep 20", 0.3, "it was not ready after 0.3 s"),
        ("echo 'ValueError: secret of a row' >&2; exit 1", 20, "it ended with code 1 (ValueError)"),
        ("exit 0", 20, "it ended with code 0 ()"),
    ],
)
def test_what_fails_is_told_without_data(
    body: str, seconds: float, reason: str, tmp_path: Path
) -> None:
    python = interpreter(tmp_path, body)
    html, why = evidently_report.made(*frames(), python=python, seconds=seconds)
    assert html is None
    assert why.startswith(reason)
    assert "secret" not in why


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    html, why = evidently_report.made(*frames(), python=f"{tmp_path}/none")
    assert html is None
    assert "does not start" in why


def test_telemetry_is_switched_off(tmp_path: Path) -> None:
    python = interpreter(tmp_path, f'echo "$DO_NOT_TRACK" > {tmp_path}/said; exit 3')
    evidently_report.made(*frames(), python=python)
    assert (tmp_path / "said").read_text().strip() == "1"


def test_frames_with_nothing_in_common() -> None:
    reference, window = frames()
    for one, other in ((reference, window[["new"]]), (reference.iloc[:0], window)):
        html, why = evidently_report.made(one, other, python="/none")
        assert html is None
        assert "no column in common" in why


@pytest.mark.skipif(PYTHON is None, reason="Evidently is not installed (understudy[evidently])")
def test_evidently_s_report_is_made() -> None:
    reference, window = frames()
    assert PYTHON
    html, why = evidently_report.made(reference, window, python=PYTHON)
    assert why == ""
    assert html
    assert "Dataset Drift is detected" in html  # both columns are others
    assert "<script>alert(1)" not in html
