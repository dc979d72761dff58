"""When two models count as the same, and what is said where they do not."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from registry import compare
from registry.compare import EQUAL, Found, Gap

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
SAME, NEAR, FAR = Gap(0.0), Gap(1e-12), Gap(0.1)
METRICS = {"holdout/roc_auc": (0.75, 0.7504)}


def table(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"prediction": list(values)})


@given(st.lists(NUMBERS, max_size=5))
def test_answers_equal_themselves(values: list[float]) -> None:
    assert compare.answers(table(*values), table(*values)) == Gap()


@given(st.tuples(NUMBERS, NUMBERS))
def test_a_gap_is_the_same_from_both_sides(pair: tuple[float, float]) -> None:
    a, b = pair
    assert compare.answers(table(a), table(b)) == compare.answers(table(b), table(a))


@given(st.floats(min_value=1e-300, max_value=1e300), st.floats(min_value=0, max_value=1))
def test_a_gap_is_relative(value: float, share: float) -> None:
    found = compare.answers(table(value), table(value * (1 - share)))
    assert math.isclose(found.largest, share, rel_tol=1e-6, abs_tol=1e-15)


def test_signs_zeros_and_missing_values() -> None:
    assert compare.answers(table(0.0), table(-0.0)).equal
    assert compare.answers(table(1.0), table(-1.0)).largest == 2
    assert compare.answers(table(math.nan), table(1.0)).largest == math.inf
    assert compare.answers(table(1e308), table(-1e308)).largest == 2


def test_answers_that_are_no_numbers() -> None:
    a = pd.DataFrame({"prediction": ["yes", "no", "no"], "probability_yes": [0.9, 0.1, 0.2]})
    b = a.assign(prediction=["yes", "yes", "no"])
    assert compare.answers(a, b) == Gap(0.0, 1)
    assert not compare.answers(a, b).equal


def test_answers_that_cannot_be_compared() -> None:
    assert "2 answers against 1" in compare.answers(table(1, 2), table(1)).problem
    other = table(1).rename(columns={"prediction": "value"})
    assert "only one of them answers prediction, value" in compare.answers(table(1), other).problem


@pytest.mark.parametrize(
    ("found", "degree"),
    [
        (Found((), SAME, SAME, METRICS), "bit-equal"),
        (Found((), None, None, {}), "bit-equal"),
        (Found(("model.skops",), NEAR, SAME, METRICS), "prediction-equal"),
        (Found(("model.skops",), NEAR, None, {}), "prediction-equal"),
        (Found((), FAR, SAME, METRICS), "metric-equal"),
        (Found(("model.skops",), NEAR, FAR, METRICS), "metric-equal"),
        (Found(("model.skops",), None, None, METRICS), "metric-equal"),
        (Found(("model.skops",), FAR, FAR, {"holdout/roc_auc": (0.75, 0.7512)}), "different"),
        (Found(("model.skops",), FAR, FAR, {"holdout/roc_auc": (0.75, None)}), "different"),
        (Found(("model.skops",), None, None, {}), "different"),
    ],
)
def test_the_degree(found: Found, degree: str) -> None:
    result = compare.judge(found, tolerance=0.001, causes=("threads",))
    assert result.degree == degree
    assert result.reproduced == (degree != "different")
    assert result.causes == (() if degree == "bit-equal" else ("threads",))
    json.dumps(result.as_dict(), allow_nan=False)
    assert result.sentence.startswith(degree)


@given(st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1))
def test_a_larger_tolerance_is_never_stricter(one: float, other: float) -> None:
    found = Found(("m",), FAR, FAR, {"holdout/r2": (0.3, 0.5)})
    low, high = (compare.judge(found, tolerance=t).reproduced for t in sorted((one, other)))
    assert high >= low


def test_the_sentences_name_the_figures() -> None:
    result = compare.judge(Found(("m",), Gap(3e-10), SAME, {}), tolerance=0)
    assert result.sentence == (
        f"prediction-equal: answers differ by at most 3e-10 (relative); limit {EQUAL:g}"
    )
    result = compare.judge(
        Found(("m",), Gap(math.inf, 2), None, {"holdout/r2": (0.5, None)}), tolerance=0
    )
    assert "(largest relative difference inf, 2 other answers)" in result.sentence
    assert "holdout/r2 0.5 against missing" in result.sentence
    assert result.as_dict()["largest_difference"] is None


def fitted(noise: float = 0.0) -> object:
    """The same model each time, its objects at other addresses."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 2))
    x[0] += noise
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, x[:, 0] > 0)


def model(folder: Path, pipeline: object) -> dict[str, str]:
    folder.mkdir()
    (folder / "model.skops").write_bytes(skops.io.dumps(pipeline))
    (folder / "MLmodel").write_text(f"run_id: {folder.name}")
    (folder / "code/__pycache__").mkdir(parents=True)
    (folder / "code/__pycache__/a.pyc").write_text(folder.name)
    (folder / "code/a.py").write_text("a = 1")
    return compare.contents(folder)


def test_the_same_model_saved_twice_has_the_same_content(tmp_path: Path) -> None:
    # Both are alive at once, so that no address is the other's.
    pipelines = fitted(), fitted()
    first, second = model(tmp_path / "a", pipelines[0]), model(tmp_path / "b", pipelines[1])
    assert sorted(first) == ["code/a.py", "model.skops"]
    raw = [(tmp_path / name / "model.skops").read_bytes() for name in "ab"]
    assert raw[0] != raw[1]
    assert compare.files(first, second) == ()


def test_another_model_has_another_content(tmp_path: Path) -> None:
    first, second = model(tmp_path / "a", fitted()), model(tmp_path / "b", fitted(1e-6))
    assert compare.files(first, second) == ("model.skops",)
    assert compare.files(first, {}) == ("code/a.py", "model.skops")


def test_of_an_archive_the_members_count_and_not_their_times(tmp_path: Path) -> None:
    for name, year in (("a", 2001), ("b", 2002)):
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "m.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("x", (year, 1, 1, 0, 0, 0)), b"content")
            archive.writestr("schema.json", b"not JSON")
    assert compare.contents(tmp_path / "a") == compare.contents(tmp_path / "b")


def test_metrics_side_by_side() -> None:
    found = compare.metrics({"holdout/r2": 1.0, "train/r2": 2.0}, {"holdout/mae": 3.0})
    assert found == {"holdout/mae": (None, 3.0), "holdout/r2": (1.0, None)}
