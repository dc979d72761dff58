"""A version as ONNX answers as scikit-learn does, or is not delivered."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from delivery.errors import NotConvertible
from registry import produced
from registry.store import Store
from tests.delivery import mixed as versions
from tests.delivery.mixed import FEATURES, NUMBERS, Mixed, boosted, onehot, ordinal, rows

pytest.importorskip("skl2onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from delivery import onnx_check, onnx_export, onnx_model, onnx_steps
from delivery.onnx_model import Input

INPUTS = [Input(name, name in versions.TEXT) for name in FEATURES]
NATIVE = {"categorical_features": [0, 1], "max_iter": 25}
TRAIN, HELD = rows(800, 3), rows(300, 4, towns=90)  # a third of the towns are unseen


def filled() -> Any:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def three() -> pd.Series:
    return TRAIN["wet"].map({0.0: "x", 1.0: "y", 2.0: "z", 3.0: "z"})


def target(kind: str) -> Any:
    amount = np.exp(TRAIN["wet"] / 2)
    return {
        "yes or no": TRAIN["y"],
        "three": three(),
        "0 or 1": (TRAIN["y"] == "yes").astype(int),
        "true or false": TRAIN["y"] == "yes",
        "amount": amount,
        "millions": amount * 1e6,
    }[kind]


def fitted(pipeline: Any, kind: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pipeline.fit(TRAIN[list(FEATURES)], target(kind))


def compared(pipeline: Any, model: Any = None) -> onnx_check.Checked:
    built = model or onnx_model.build(pipeline, INPUTS, {})
    session = onnx_check.Session(built.SerializeToString(), INPUTS)
    kept = {"train": TRAIN[list(FEATURES)], "held": HELD[list(FEATURES)]}
    return onnx_check.compare(pipeline, session, INPUTS, kept)


CASES = {
    "boosting": (ordinal(HistGradientBoostingClassifier(**NATIVE)), "yes or no"),
    "boosting, numbers as classes": (ordinal(HistGradientBoostingClassifier(**NATIVE)), "0 or 1"),
    "boosting, three classes": (ordinal(HistGradientBoostingClassifier(**NATIVE)), "three"),
    "boosting without native categories": (
        ordinal(HistGradientBoostingClassifier(max_iter=25)), "yes or no",
    ),
    "boosting of a number": (ordinal(HistGradientBoostingRegressor(**NATIVE)), "millions"),
    "boosting of a count": (
        ordinal(HistGradientBoostingRegressor(loss="poisson", **NATIVE)), "amount",
    ),
    "trees of one leaf": (
        ordinal(HistGradientBoostingClassifier(min_samples_leaf=2000, **NATIVE)), "yes or no",
    ),
    "logistic": (onehot(LogisticRegression(max_iter=500), filled()), "yes or no"),
    "logistic, three classes": (onehot(LogisticRegression(max_iter=500), filled()), "three"),
    "logistic, rare categories together": (
        onehot(LogisticRegression(max_iter=500), filled(), max_categories=10), "yes or no",
    ),
    "ridge": (onehot(Ridge(), filled()), "millions"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_same_answers_to_the_last_digits(case: str) -> None:
    found = compared(fitted(*CASES[case]))
    assert found.largest < 1e-12, found
    assert found.rows == len(TRAIN) + len(HELD)
    assert found.edges == onnx_check.EDGE_ROWS * 2 * (2 * 2 + 2 * 3)
    assert found.required == ()


def test_a_forest_is_as_close_as_single_precision() -> None:
    found = compared(fitted(onehot(RandomForestClassifier(10), filled()), "yes or no"))
    assert 0 < found.largest < 1e-6


def test_what_the_library_would_have_written_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = fitted(*CASES["boosting"])
    monkeypatch.setattr(onnx_steps, "CONVERTERS", {})
    monkeypatch.setattr(onnx_steps, "SHAPES", {})
    assert compared(pipeline).largest > 0.01


def test_rows_on_and_beside_every_threshold() -> None:
    pipeline = fitted(*CASES["boosting"])
    nodes = np.concatenate([t.nodes for group in pipeline[-1]._predictors for t in group])
    inner = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
    heat = inner["num_threshold"][inner["feature_idx"] == 2]
    assert len(heat) > 20
    near = np.concatenate([heat, np.nextafter(heat, np.inf), np.nextafter(heat, -np.inf)])
    table = HELD[list(FEATURES)].sample(len(near), replace=True, random_state=0)
    table[NUMBERS[0]] = near
    session = onnx_check.Session(onnx_model.build(pipeline, INPUTS, {}).SerializeToString(), INPUTS)
    expected = pipeline.predict_proba(table)[:, 1]
    found = session.run(session.feeds(table))["probability_yes"].ravel()
    assert np.abs(found - expected).max() < 1e-12
    # In single precision some of these rows would have gone the other way.
    rounded = table.assign(**{NUMBERS[0]: near.astype(np.float32).astype(float)})
    assert np.abs(pipeline.predict_proba(rounded)[:, 1] - expected).max() > 1e-6


def far(one: Any, other: Any) -> Any:
    return np.abs(one - other).max()


REFUSED = {
    "a metric": (
        onehot(KNeighborsClassifier(3, metric=far), filled()), "yes or no",
        r"^step 'estimate' \(KNeighborsClassifier\) cannot be written as ONNX: metric=<function "
        r"far> is not implemented; take another step for it",
    ),
    "classes": (
        ordinal(HistGradientBoostingClassifier(**NATIVE)), "true or false",
        r"^step 'estimate' \(HistGradientBoostingClassifier\) .*: its classes are neither text",
    ),
    "trees that split on gaps": (
        ordinal(RandomForestClassifier(10, random_state=0)), "yes or no",
        r"^step 'estimate' \(RandomForestClassifier\) .*: its trees split on missing values",
    ),
    "unseen categories refused": (
        versions._pipeline(OrdinalEncoder(), filled(), LogisticRegression()), "yes or no",
        r"^step 'prepare > categorical' \(OrdinalEncoder\) .*: it refuses unseen categories",
    ),
    "an indicator": (
        onehot(LogisticRegression(), SimpleImputer(add_indicator=True)), "yes or no",
        r"^step 'prepare > numeric' \(SimpleImputer\) .*: it must fill missing numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_step_that_cannot_be_written_is_named(case: str) -> None:
    pipeline, kind, sentence = REFUSED[case]
    if case == "unseen categories refused":
        pipeline.set_params(prepare__categorical__encoded_missing_value=-1)
    with pytest.raises(NotConvertible, match=sentence):
        onnx_model.build(fitted(pipeline, kind), INPUTS, {})


def run_alone(code: str, folder: Path, *packages: str) -> str:
    """Run code in a process that can import the standard library and these packages alone."""
    alone = folder.parent / f"{folder.name}-packages"
    alone.mkdir(exist_ok=True)
    for name in packages:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        installed = Path(found.origin).parent
        for part in (installed, installed.with_name(f"{name}.libs")):
            if part.exists() and not (alone / part.name).exists():
                (alone / part.name).symlink_to(part)
    start = f"import sys; sys.path.append({str(alone)!r}); sys.path.insert(0, '.')\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + code],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_that_runs_where_there_is_nothing_but_onnxruntime(mixed: Mixed) -> None:
    done = json.loads(mixed("onnx", "--output", "out", "--json").stdout)
    folder = mixed.root / "out"
    assert done["largest_difference"] < 1e-12
    assert done["rows_compared"] > 2000
    assert done["bytes"] == (folder / "model.onnx").stat().st_size
    assert 0 < done["onnx_ms"] < done["sklearn_ms"]
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code
    printed = run_alone(code[1], folder, "numpy", "onnxruntime").splitlines()
    found = {name: eval(values) for name, values in (x.split(" ", 1) for x in printed)}  # noqa: S307
    expected = json.loads((folder / "expected.json").read_text())["predictions"]
    assert list(found) == ["prediction", "probability_no", "probability_yes"]
    for name, values in found.items():
        wanted = [row[name] for row in expected]
        assert values == (wanted if name == "prediction" else pytest.approx(wanted, abs=1e-12))
    said = json.loads((folder / "signature.json").read_text())
    assert [i["name"] for i in said["inputs"]] == list(FEATURES)
    assert [o["type"] for o in said["outputs"]] == ["string", "double", "double"]
    run = Store(mlflow.get_tracking_uri()).run(done["run"])
    assert run.tags[produced.KIND_TAG] == "onnx"
    assert run.metrics["largest_difference"] == done["largest_difference"]


def test_columns_that_the_pipeline_must_have_are_told(mixed: Mixed) -> None:
    mixed("onnx", "--version", str(versions.REQUIRED), "--output", "out")
    said = json.loads((mixed.root / "out" / "signature.json").read_text())
    assert [i["name"] for i in said["inputs"] if not i["may_be_missing"]] == ["wet"]


def test_what_is_refused(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    said = mixed.refused("onnx", "--version", str(versions.UNCONVERTIBLE))
    assert said.startswith("step 'prepare > log' (FunctionTransformer) cannot be written as ONNX: ")
    said = mixed.refused("onnx", "--version", str(versions.NOTHING_KEPT))
    assert said.startswith("version 3 has no reference sample to be checked on: ")
    assert "version 9" in mixed.refused("onnx", "--version", "9")
    for tolerance in ("0", "-1", "nan", "inf"):
        said = mixed.refused("onnx", "--tolerance", tolerance)
        assert said == f"the tolerance is {tolerance}; it must be a finite number above 0"
    (mixed.root / "build" / "onnx").mkdir(parents=True)
    assert "exists and is left as it is" in mixed.refused("onnx")
    said = mixed.refused("onnx", "-o", "out", "--tolerance", "1e-300")
    assert re.match(
        r"the ONNX model differs from scikit-learn by up to \d\S*e-1\d on .*; allowed is 1e-300;",
        said,
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert mixed.refused("onnx", "-o", "out") == (
        "this needs skl2onnx, which is not installed here; "
        "install it with: pip install 'understudy[onnx]'"
    )


def test_files_with_another_digest_are_not_converted(
    mixed: Mixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.download_model

    def altered(store: Store, source: str, folder: Path) -> Path:
        found = real(store, source, folder)
        (found / "MLmodel").write_text("other")
        return found

    monkeypatch.setattr(Store, "download_model", altered)
    assert "digest" in mixed.refused("onnx")


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([{"type": "datetime", "name": "when"}], "the column 'when' holds datetime"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}], "no names"),
        ([{"type": "double"}], "its inputs have no names"),
    ],
)
def test_signatures_without_a_counterpart(
    mixed: Mixed, monkeypatch: pytest.MonkeyPatch, inputs: list[Any], why: str
) -> None:
    from registry import fit

    monkeypatch.setattr(fit, "read", lambda _: fit.Signature(tuple(inputs)))
    said = mixed.refused("onnx")
    assert said.startswith("version 1 cannot be written as ONNX: ")
    assert why in said


def test_what_is_no_scikit_learn_model(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "load", lambda _: object())
    assert "it is no scikit-learn model" in mixed.refused("onnx")


def test_boosted_is_the_demonstration_in_small() -> None:
    """The converters are for what params.yaml of the demonstration builds."""
    assert type(boosted()[-1]) in onnx_steps.CONVERTERS
