"""Steps that skl2onnx writes otherwise than scikit-learn works, written here so that they agree.

Its trees of histogram gradient boosting take a category for a number, its ordinal encoder gives a
missing or unseen category no code of its own, and its imputer knows no double precision. The forms
are those of ONNX's operators TreeEnsemble (ai.onnx.ml 5), LabelEncoder and Where.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OrdinalEncoder

TREES_SINCE = 5
"""The version of ai.onnx.ml that has TreeEnsemble; skl2onnx cannot ask for more than 3 itself."""
_ML = "ai.onnx.ml"
_LEQ, _MEMBER = 0, 6  # TreeEnsemble's node modes
_SUM, _AS_IT_IS = 1, 0  # its aggregate_function and post_transform


@dataclass
class _Ensemble:
    """The attributes of TreeEnsemble: inner nodes and leaves of all trees, one after another."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    true: list[tuple[int, int]] = field(default_factory=list)
    """Where a node's true branch goes: a number, and 1 where it is a leaf's."""
    false: list[tuple[int, int]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def attributes(self, targets: int) -> dict[str, Any]:
        """As the operator names them."""
        found = {
            "aggregate_function": _SUM,
            "post_transform": _AS_IT_IS,
            "n_targets": targets,
            "tree_roots": self.roots,
            "nodes_featureids": self.features,
            "nodes_modes": _tensor(self.modes, np.uint8),
            "nodes_splits": _tensor(self.splits),
            "nodes_missing_value_tracks_true": self.missing_true,
            "nodes_truenodeids": [number for number, _ in self.true],
            "nodes_trueleafs": [leaf for _, leaf in self.true],
            "nodes_falsenodeids": [number for number, _ in self.false],
            "nodes_falseleafs": [leaf for _, leaf in self.false],
            "leaf_targetids": self.targets,
            "leaf_weights": _tensor(self.weights),
        }
        return {**found, "membership_values": _tensor(self.members)} if self.members else found


def _tensor(values: list[Any], kind: Any = np.float64) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype=kind))


class _Trees:
    """What a fitted estimator's trees mean in terms of the columns that it is given."""

    def __init__(self, estimator: Any) -> None:
        self.known, self.of_feature = estimator._bin_mapper.make_known_categories_bitsets()
        self.column = list(range(estimator.n_features_in_))
        self.categories: list[Any] = []
        if estimator._preprocessor is not None:  # it puts categories first and numbers them
            native = np.asarray(estimator.is_categorical_)
            self.column = [*np.flatnonzero(native).tolist(), *np.flatnonzero(~native).tolist()]
            self.categories = estimator._preprocessor.named_transformers_["encoder"].categories_

    def add(self, to: _Ensemble, nodes: Any, left_sets: Any, target: int) -> None:
        """One tree, given as scikit-learn's array of nodes."""
        leaves = {i: len(to.weights) + n for n, i in enumerate(_where(nodes, leaf=True))}
        inner = {i: len(to.splits) + n for n, i in enumerate(_where(nodes, leaf=False))}
        place = {**{i: (n, 1) for i, n in leaves.items()}, **{i: (n, 0) for i, n in inner.items()}}
        to.weights += nodes["value"][list(leaves)].tolist()
        to.targets += [target] * len(leaves)
        to.roots.append(inner[0] if inner else len(to.splits))
        for i in inner:
            self._branch(to, nodes[i], left_sets, place)
        if not inner:  # a tree of one leaf is written as a node with the same leaf on both sides
            _node(to, 0, _LEQ, 0.0, missing_true=False, sides=(place[0], place[0]))

    def _branch(self, to: _Ensemble, node: Any, left_sets: Any, place: Any) -> None:
        left, right = place[node["left"]], place[node["right"]]
        feature, missing_left = int(node["feature_idx"]), bool(node["missing_go_to_left"])
        column = self.column[feature]
        if not node["is_categorical"]:
            split = float(node["num_threshold"])
            _node(to, column, _LEQ, split, missing_true=missing_left, sides=(left, right))
            return
        # What is no known category goes where a missing value goes, and so must be no member.
        codes = _codes(left_sets[node["bitset_idx"]])
        if missing_left:
            codes, left, right = _codes(self.known[self.of_feature[feature]]) - codes, right, left
        to.members += [float(self.categories[feature][code]) for code in sorted(codes)] + [np.nan]
        _node(to, column, _MEMBER, 0.0, missing_true=False, sides=(left, right))


def _where(nodes: Any, *, leaf: bool) -> list[int]:
    found: list[int] = np.flatnonzero(nodes["is_leaf"] == leaf).tolist()
    return found


def _node(
    to: _Ensemble, column: int, mode: int, split: float, *, missing_true: bool, sides: Any
) -> None:
    to.features.append(column)
    to.modes.append(mode)
    to.splits.append(split)
    to.missing_true.append(int(missing_true))
    to.true.append(sides[0])
    to.false.append(sides[1])


def _codes(words: Any) -> set[int]:
    """The members of a bitset of 32-bit words."""
    return {
        32 * n + bit for n, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1
    }


class _Writer:
    """Adds nodes whose results have fresh names; `scope` and `container` are skl2onnx's."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def node(self, kind: str, inputs: list[str], result: str = "", **attributes: Any) -> str:
        """One node; the name of its result, `result` where it is given."""
        made = result or str(self.scope.get_unique_variable_name(kind.lower()))
        name = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, inputs, [made], name=name, **attributes)
        return made

    def constant(self, kind: int, shape: list[int], values: list[Any]) -> str:
        """The name of a constant tensor."""
        name = str(self.scope.get_unique_variable_name("constant"))
        self.container.add_initializer(name, kind, shape, values)
        return name


def _raw(write: _Writer, estimator: Any, given: str) -> str:
    """The sum of all trees, shape (rows, targets)."""
    ensemble, trees = _Ensemble(), _Trees(estimator)
    for iteration in estimator._predictors:
        for target, tree in enumerate(iteration):
            trees.add(ensemble, tree.nodes, tree.raw_left_cat_bitsets, target)
    rows = write.node("Cast", [given], to=TensorProto.DOUBLE, op_version=13)
    targets = estimator.n_trees_per_iteration_
    start = np.asarray(estimator._baseline_prediction, dtype=float).reshape(1, -1)
    baseline = write.constant(TensorProto.DOUBLE, [1, start.size], start.ravel().tolist())
    # The version is raised in the whole model afterwards (TREES_SINCE).
    summed = write.node(
        "TreeEnsemble", [rows], op_domain=_ML, op_version=3, **ensemble.attributes(targets)
    )
    return write.node("Add", [summed, baseline], op_version=14)


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    write, estimator = _Writer(scope, container), operator.raw_operator
    raw = _raw(write, estimator, operator.inputs[0].full_name)
    shares = operator.outputs[1].full_name
    if estimator.n_trees_per_iteration_ > 1:
        write.node("Softmax", [raw], shares, axis=1, op_version=13)
        return
    second = write.node("Sigmoid", [raw], op_version=13)
    one = write.constant(TensorProto.DOUBLE, [1], [1.0])
    first = write.node("Sub", [one, second], op_version=14)
    write.node("Concat", [first, second], shares, axis=1, op_version=13)


def _classifier_shape(operator: Any) -> None:
    rows = operator.inputs[0].get_first_dimension()
    classes = operator.raw_operator.classes_
    label = Int64TensorType if classes.dtype.kind == "i" else StringTensorType
    operator.outputs[0].type = label([rows])
    operator.outputs[1].type = DoubleTensorType([rows, len(classes)])


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    write, estimator = _Writer(scope, container), operator.raw_operator
    raw = _raw(write, estimator, operator.inputs[0].full_name)
    positive = estimator.loss in ("poisson", "gamma")  # these have a logarithm as their link
    write.node(
        "Exp" if positive else "Identity", [raw], operator.outputs[0].full_name, op_version=13
    )


def _regressor_shape(operator: Any) -> None:
    operator.outputs[0].type = DoubleTensorType([operator.inputs[0].get_first_dimension(), 1])


def _encoder(scope: Any, operator: Any, container: Any) -> None:
    """Text columns; empty text is a missing value."""
    write, encoder = _Writer(scope, container), operator.raw_operator
    if encoder.handle_unknown == "error":
        raise ValueError(
            "it refuses unseen categories (handle_unknown='error'); use use_encoded_value"
        )
    codes = _category_codes(encoder)
    columns = list(_single_columns(write, operator.inputs))
    coded = [
        write.node(
            "LabelEncoder", [column], op_domain=_ML, op_version=2,
            keys_strings=[_text(key).encode() for key in keys], values_floats=values,
            default_float=float(encoder.unknown_value),
        )
        for column, keys, values in zip(columns, encoder.categories_, codes, strict=True)
    ]  # fmt: skip
    together = write.node("Concat", coded, axis=1, op_version=13)
    result = operator.outputs[0].full_name
    # Codes are whole numbers below 2^24, which float32 holds exactly.
    container.add_node(
        "Cast", [together], [result], to=TensorProto.DOUBLE, op_version=13,
        name=scope.get_unique_operator_name("Cast"),
    )  # fmt: skip


def _encoder_shape(operator: Any) -> None:
    columns = len(operator.raw_operator.categories_)
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = DoubleTensorType([rows, columns])


def _single_columns(write: _Writer, inputs: Any) -> Any:
    for variable in inputs:
        if not isinstance(variable.type, StringTensorType):
            raise ValueError("it encodes numbers; make the column text, or leave it a number")
        width = variable.get_second_dimension()
        if width == 1:
            yield variable.full_name
            continue
        for number in range(width):
            index = write.constant(TensorProto.INT64, [1], [number])
            yield write.node("Gather", [variable.full_name, index], axis=1, op_version=13)


def _category_codes(encoder: Any) -> list[list[float]]:
    """Of each column the code of each of its categories, as the encoder itself gives it."""
    longest = max(map(len, encoder.categories_))
    table = np.array(
        [[keys[min(n, len(keys) - 1)] for keys in encoder.categories_] for n in range(longest)],
        dtype=object,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the columns have no names here
        codes = encoder.transform(table)
    return [codes[: len(keys), n].tolist() for n, keys in enumerate(encoder.categories_)]


def _text(category: Any) -> str:
    return category if isinstance(category, str) else ""


def _imputer(scope: Any, operator: Any, container: Any) -> None:
    write, imputer = _Writer(scope, container), operator.raw_operator
    numbers = all(isinstance(v.type, DoubleTensorType) for v in operator.inputs)
    instead = np.asarray(imputer.statistics_, dtype=float) if numbers else np.array([np.nan])
    if np.isnan(instead).any() or imputer.add_indicator or not _is_nan(imputer.missing_values):
        raise ValueError("it must fill missing numbers (NaN) and add or remove no column")
    given = [variable.full_name for variable in operator.inputs]
    values = given[0] if len(given) == 1 else write.node("Concat", given, axis=1, op_version=13)
    missing = write.node("IsNaN", [values], op_version=13)
    filled = write.constant(TensorProto.DOUBLE, [1, instead.size], instead.tolist())
    write.node("Where", [missing, filled, values], operator.outputs[0].full_name, op_version=16)


def _imputer_shape(operator: Any) -> None:
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = DoubleTensorType([rows, len(operator.raw_operator.statistics_)])


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


CONVERTERS = {
    HistGradientBoostingClassifier: _classifier,
    HistGradientBoostingRegressor: _regressor,
    OrdinalEncoder: _encoder,
    SimpleImputer: _imputer,
}
SHAPES = {
    HistGradientBoostingClassifier: _classifier_shape,
    HistGradientBoostingRegressor: _regressor_shape,
    OrdinalEncoder: _encoder_shape,
    SimpleImputer: _imputer_shape,
}
