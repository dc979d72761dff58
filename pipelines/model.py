"""From parameters to an unfitted scikit-learn Pipeline: preprocessing, then the estimator."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from pipelines.errors import EstimatorRefused
from pipelines.params import TrainParams
from pipelines.schema import Contract
from registry.errors import ParamsInvalid

NATIVE_CATEGORIES = 254
"""The most categories that scikit-learn's histogram gradient boosting takes in one column."""


def build(contract: Contract, params: TrainParams) -> Pipeline:
    """An unfitted Pipeline with steps `prepare` and `estimate`.

    Histogram gradient boosting takes categories as categories and missing values as they are;
    every other estimator gets one-hot columns, medians for missing numbers, and unit variance.
    Raises EstimatorRefused, ParamsInvalid.
    """
    kind = _estimator_class(contract, params)
    native = "categorical_features" in inspect.signature(kind).parameters
    ordinal = params.encoding == "ordinal" or (params.encoding == "auto" and native)
    defaults: dict[str, Any] = {}
    if native and ordinal:
        defaults["categorical_features"] = list(range(len(contract.categorical)))
    estimator = _estimator(kind, {**defaults, **params.params}, params.seed)
    if contract.classes and not hasattr(estimator, "predict_proba"):
        raise EstimatorRefused(
            params.estimator,
            "it gives no probabilities (predict_proba), at least not with these parameters",
        )
    prepare = _ordinal(contract) if ordinal else _onehot(contract)
    return Pipeline([("prepare", prepare), ("estimate", estimator)])


def _ordinal(contract: Contract) -> ColumnTransformer:
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=NATIVE_CATEGORIES,
    )
    return ColumnTransformer(
        [
            ("categorical", encoder, list(contract.categorical)),
            ("numeric", "passthrough", list(contract.numeric)),
        ]
    )


def _onehot(contract: Contract) -> ColumnTransformer:
    numeric = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [
            ("categorical", encoder, list(contract.categorical)),
            ("numeric", numeric, list(contract.numeric)),
        ]
    )


def _estimator_class(contract: Contract, params: TrainParams) -> type[BaseEstimator]:
    path = params.estimator
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] not in params.packages:
        allowed = ", ".join(params.packages)
        raise EstimatorRefused(
            path, f"estimators may come from {allowed}; train.packages allows further ones"
        )
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise EstimatorRefused(path, "there is nothing of that name to import") from None
    if not (inspect.isclass(kind) and issubclass(kind, BaseEstimator)):
        raise EstimatorRefused(path, "it is not a scikit-learn estimator")
    if contract.problem == "regression" and not issubclass(kind, RegressorMixin):
        raise EstimatorRefused(path, "it is not a regressor, and data.problem is regression")
    if contract.problem != "regression" and not issubclass(kind, ClassifierMixin):
        raise EstimatorRefused(
            path, f"it is not a classifier, and data.problem is {contract.problem}"
        )
    return kind


def _estimator(kind: type[BaseEstimator], given: dict[str, Any], seed: int) -> BaseEstimator:
    known = inspect.signature(kind).parameters
    unknown = [name for name in given if name not in known]
    if unknown:
        has = ", ".join(known)
        raise ParamsInvalid(
            [
                f"train.params.{name} is not a parameter of {kind.__name__}; it has {has}"
                for name in unknown
            ]
        )
    if "random_state" in known:
        given = {"random_state": seed, **given}
    try:
        estimator: BaseEstimator = kind(**given)
    except TypeError as error:  # a parameter without a default is not given
        raise ParamsInvalid([f"train.params: {kind.__name__} {_without_name(error)}"]) from None
    return estimator


def _without_name(error: TypeError) -> str:
    """`f() missing 1 required ...` without the function."""
    return str(error).partition("() ")[2] or str(error)
