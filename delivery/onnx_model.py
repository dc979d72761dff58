"""From a fitted scikit-learn Pipeline to one ONNX model with an input for each column.

Inputs and outputs have shape (rows, 1). Text is a string, empty where it is missing; a number is a
double, NaN where it is missing. The outputs are named as a version's answers are (registry.answer):
`prediction`, and of a classifier `probability_CLASS` for each class.
"""

from __future__ import annotations

import copy
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import OneHotEncoder

from delivery import onnx_steps
from delivery.errors import NotConvertible
from registry.answer import PREDICTION, PROBABILITY

OPSET = 18
"""Of ONNX's own operators; onnxruntime has them since 1.14, and TreeEnsemble since 1.21."""


@dataclass(frozen=True)
class Input:
    """A column."""

    name: str
    text: bool
    """Text; otherwise a number."""


def build(pipeline: Any, inputs: Sequence[Input], about: Mapping[str, str]) -> onnx.ModelProto:
    """The model, checked by ONNX's own checker; `about` goes into its metadata.

    Raises NotConvertible, which names the step.
    """
    for name, step in _steps(pipeline):
        if any(not np.isfinite(tree.threshold).all() for tree in _trees(step)):
            # skl2onnx would look for the next number above infinity, for ever.
            why = "its trees split on missing values; fill them before, with SimpleImputer"
            raise NotConvertible(name, why)
    given = [
        (i.name, (StringTensorType if i.text else DoubleTensorType)([None, 1])) for i in inputs
    ]
    classifier = hasattr(pipeline, "predict_proba")
    patched = copy.deepcopy(pipeline)
    names = {id(step): name for name, step in _steps(patched)}
    _missing_is_empty(patched)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations in skl2onnx, of which none is ours
            model: onnx.ModelProto = convert_sklearn(
                patched, name="model", initial_types=given,
                target_opset={"": OPSET, "ai.onnx.ml": 3},
                options={id(patched): {"zipmap": False}} if classifier else None,
                custom_conversion_functions=onnx_steps.CONVERTERS,
                custom_shape_calculators=onnx_steps.SHAPES,
            )  # fmt: skip
    except Exception as error:  # converters fail in every way there is
        raise NotConvertible(_culprit(error, names) or _last(pipeline), _why(error)) from None
    _name_outputs(model, pipeline.classes_ if classifier else None, _last(pipeline))
    _version(model)
    helper.set_model_props(model, {"description": "made by understudy package", **about})
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NotConvertible(_last(pipeline), _why(error)) from None
    return model


def _steps(estimator: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every estimator in a pipeline by a name that says where it stands, inner ones first."""
    named: list[tuple[str, Any]] = []
    if isinstance(estimator, Pipeline):
        named = list(estimator.steps)
    elif isinstance(estimator, ColumnTransformer):
        named = [(name, step) for name, step, _ in estimator.transformers_]
    elif isinstance(estimator, FeatureUnion):
        named = list(estimator.transformer_list)
    for name, step in named:
        if isinstance(step, BaseEstimator):
            yield from _steps(step, f"{path}{name} > ")
    where = f"step {path.removesuffix(' > ')!r}" if path else "the model"
    yield f"{where} ({type(estimator).__name__})", estimator


def _trees(step: Any) -> Iterator[Any]:
    """The fitted trees in an estimator, be they those of its own estimators."""
    if hasattr(step, "tree_"):
        yield step.tree_
    for part in np.ravel(getattr(step, "estimators_", [])):
        yield from _trees(part)


def _last(pipeline: Any) -> str:
    last = pipeline[-1] if isinstance(pipeline, Pipeline) else pipeline
    return next(name for name, step in _steps(pipeline) if step is last)


def _culprit(error: Exception, names: Mapping[int, str]) -> str:
    """The step that was at work when a converter failed: the innermost that its frames hold."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            name = names.get(id(getattr(value, "raw_operator", value)))
            if name:
                return name
    return ""


def _why(error: Exception) -> str:
    """The first sentence of what a library says."""
    text = re.sub(r" at 0x\w+", "", " ".join(str(error).split()))
    return text.partition(". ")[0][:300].rstrip(".") or type(error).__name__


def _missing_is_empty(pipeline: Any) -> None:
    """One-hot encoders learn that missing text is empty; ONNX has no other missing text."""
    for _, step in _steps(pipeline):
        if isinstance(step, OneHotEncoder):
            step.categories_ = [
                np.array(["" if _missing(c) else c for c in known], dtype=object)
                if known.dtype == object
                else known
                for known in step.categories_
            ]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _name_outputs(model: onnx.ModelProto, classes: Any, last: str) -> None:
    """Replace skl2onnx's outputs (label and probabilities, or one value) with named ones."""
    graph = model.graph
    found = graph.output[-1].name
    del graph.output[:]
    values = "understudy_values"
    if classes is None:
        graph.node.append(helper.make_node("Cast", [found], [values], to=TensorProto.DOUBLE))
        graph.node.append(helper.make_node("Identity", [values], [PREDICTION]))
        graph.output.append(_output(PREDICTION, TensorProto.DOUBLE))
        return
    kind = TensorProto.INT64 if np.asarray(classes).dtype.kind in "iu" else TensorProto.STRING
    labels = [int(c) for c in classes] if kind == TensorProto.INT64 else [str(c) for c in classes]
    if kind == TensorProto.STRING and not all(isinstance(c, str) for c in classes):
        raise NotConvertible(last, "its classes are neither text nor whole numbers")
    named = [f"{PROBABILITY}{label}" for label in labels]
    stored: Any = [label.encode() if isinstance(label, str) else label for label in labels]
    graph.initializer.append(helper.make_tensor("understudy_classes", kind, [len(labels)], stored))
    ones = helper.make_tensor(
        "understudy_ones", TensorProto.INT64, [len(labels)], [1] * len(labels)
    )
    graph.initializer.append(ones)
    graph.node.extend(
        [
            helper.make_node("Cast", [found], [values], to=TensorProto.DOUBLE),
            helper.make_node("ArgMax", [values], ["understudy_best"], axis=1, keepdims=1),
            helper.make_node("Gather", ["understudy_classes", "understudy_best"], [PREDICTION]),
            helper.make_node("Split", [values, "understudy_ones"], named, axis=1),
        ]
    )
    graph.output.append(_output(PREDICTION, kind))
    graph.output.extend(_output(name, TensorProto.DOUBLE) for name in named)


def _output(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None, 1])


def _version(model: onnx.ModelProto) -> None:
    """Ask for the operators that are in it; skl2onnx knows of no TreeEnsemble."""
    trees = any(node.op_type == "TreeEnsemble" for node in model.graph.node)
    del model.opset_import[:]
    since = onnx_steps.TREES_SINCE if trees else 3
    model.opset_import.extend(
        [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", since)]
    )
