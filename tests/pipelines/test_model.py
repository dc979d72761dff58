"""From parameters to a fitted model, and what is reported of it."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from pipelines import evaluate, model, named_answers, scores, train
from pipelines.errors import EstimatorRefused, FitFailed
from pipelines.named_answers import NamedAnswers
from pipelines.params import AllParams, DataParams, EvaluateParams, TrainParams, all_params
from pipelines.schema import Contract
from registry import answer
from registry.errors import ParamsInvalid, ParamsMissing
from registry.metrics import Truth
from registry.record import Record

FOREST = "sklearn.ensemble.RandomForestRegressor"
BOOSTING = "sklearn.ensemble.HistGradientBoostingClassifier"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
BINARY = Contract("y", "binary", ("n", "m"), ("c", "d"), classes=("no", "yes"), positive="yes")
REGRESSION = Contract("y", "regression", ("n", "m"), ("c", "d"))


def table(contract: Contract, rows: int = 200) -> pd.DataFrame:
    """Typed rows with gaps in every feature; y follows n, and is high where c is "b"."""
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "c": rng.choice(["a", "b", "c"], rows),
            "d": rng.choice(["u", "v"], rows),
            "n": rng.normal(size=rows),
            "m": rng.normal(size=rows),
        }
    )
    value = found["n"] + 3 * (found["c"] == "b")
    found["y"] = np.where(value > 1, "yes", "no") if contract.classes else value
    for name in ("c", "d", "n", "m"):
        gaps = rng.random(rows) < 0.1
        found[name] = found[name].mask(gaps, None if name in "cd" else np.nan)
    return found


def sections(contract: Contract, estimator: str, **values: Any) -> AllParams:
    return AllParams(
        data=DataParams(target="y", problem=contract.problem),
        train=TrainParams(estimator=estimator, **values),
        evaluate=EvaluateParams(),
    )


def fit(contract: Contract, estimator: str, **values: Any) -> Any:
    return train.fit(contract, sections(contract, estimator, **values), table(contract))


# Estimators

KINDS = [
    (BINARY, BOOSTING, {"max_iter": 10, "min_samples_leaf": 5}),
    (BINARY, LOGISTIC, {}),
    (REGRESSION, FOREST, {"n_estimators": 10}),
]


@pytest.mark.parametrize(("contract", "estimator", "given"), KINDS, ids=[k[1] for k in KINDS])
def test_unseen_categories_and_missing_values_are_answered(
    contract: Contract, estimator: str, given: dict[str, Any]
) -> None:
    pipeline = fit(contract, estimator, params=given)
    strange = pd.DataFrame(
        {
            "c": ["never seen", None, "b", "a"],
            "d": ["u", None, "never seen", "v"],
            "n": [0.0, np.nan, 1e9, -1.0],
            "m": [np.nan, np.nan, 0.0, 1.0],
        }
    )
    given_answer = train.answer(pipeline, contract, strange)
    if contract.classes:
        found = answer.probabilities(given_answer, contract.classes)
        assert found.shape == (4, 2)
        assert found.sum(axis=1) == pytest.approx(1)
    else:
        assert answer.values(given_answer).shape == (4,)


@pytest.mark.parametrize(("contract", "estimator", "given"), KINDS, ids=[k[1] for k in KINDS])
def test_both_numbers_and_categories_reach_the_estimator(
    contract: Contract, estimator: str, given: dict[str, Any]
) -> None:
    params = sections(contract, estimator, params=given)
    pipeline = train.fit(contract, params, table(contract))
    found = train.score(pipeline, train.about(contract, params), contract, table(contract))
    # What n or c alone could give stays below: y is the sum of both.
    assert found["roc_auc" if contract.classes else "r2"] > 0.85


def test_histogram_boosting_takes_categories_as_categories() -> None:
    pipeline = fit(BINARY, BOOSTING, params={"max_iter": 5})
    assert list(pipeline["estimate"].is_categorical_) == [True, True, False, False]
    assert pipeline["prepare"].get_feature_names_out().tolist() == [
        "categorical__c",
        "categorical__d",
        "numeric__n",
        "numeric__m",
    ]


def test_other_estimators_get_one_column_for_each_category_and_numbers_of_unit_variance() -> None:
    pipeline = fit(BINARY, LOGISTIC)
    names = pipeline["prepare"].get_feature_names_out().tolist()
    assert [n for n in names if n.startswith("categorical__c")] == [
        "categorical__c_a",
        "categorical__c_b",
        "categorical__c_c",
        "categorical__c_None",
    ]
    prepared = pipeline["prepare"].transform(table(BINARY)[list(BINARY.features)])
    assert prepared[:, -2:].std(axis=0) == pytest.approx([1, 1])
    assert prepared[:, -2:].mean(axis=0) == pytest.approx([0, 0], abs=1e-9)


def test_the_encoding_can_be_chosen() -> None:
    onehot = fit(BINARY, BOOSTING, params={"max_iter": 5}, encoding="onehot")
    assert onehot["estimate"].n_features_in_ > len(BINARY.features)
    assert onehot["estimate"].is_categorical_ is None
    tree = fit(BINARY, "sklearn.tree.DecisionTreeClassifier", encoding="ordinal")
    assert tree["estimate"].n_features_in_ == len(BINARY.features)


def test_a_column_with_more_categories_than_boosting_takes_can_still_be_used() -> None:
    contract = Contract("y", "binary", (), ("c",), classes=("no", "yes"), positive="yes")
    rows = pd.DataFrame({"c": [f"c{i}" for i in range(600)], "y": ["no", "yes"] * 300})
    pipeline = train.fit(contract, sections(contract, BOOSTING, params={"max_iter": 2}), rows)
    assert len(train.answer(pipeline, contract, rows)) == 600


def test_the_seed_is_the_estimators_unless_its_parameters_name_one() -> None:
    for given, seed in (({}, 7), ({"random_state": 3}, 3)):
        params = TrainParams(estimator=LOGISTIC, params=given, seed=7)
        assert model.build(BINARY, params)["estimate"].random_state == seed


def test_an_estimator_without_a_random_state_gets_none() -> None:
    params = TrainParams(estimator="sklearn.neighbors.KNeighborsClassifier", seed=7)
    assert "random_state" not in model.build(BINARY, params)["estimate"].get_params()


@pytest.mark.parametrize(
    ("contract", "estimator", "why"),
    [
        (
            BINARY,
            "os.system",
            "estimators may come from sklearn; train.packages allows further ones",
        ),
        (
            BINARY,
            "LogisticRegression",
            "estimators may come from sklearn; train.packages allows further ones",
        ),
        (
            BINARY,
            "sklearn.linear_model.Logistic",
            "there is nothing of that name to import",
        ),
        (BINARY, "sklearn.nowhere.Model", "there is nothing of that name to import"),
        (BINARY, "sklearn.base.clone", "it is not a scikit-learn estimator"),
        (BINARY, "sklearn.base.ClassifierMixin", "it is not a scikit-learn estimator"),
        (BINARY, FOREST, "it is not a classifier, and data.problem is binary"),
        (
            BINARY,
            "sklearn.preprocessing.StandardScaler",
            "it is not a classifier, and data.problem is binary",
        ),
        (REGRESSION, LOGISTIC, "it is not a regressor, and data.problem is regression"),
        (
            BINARY,
            "sklearn.svm.LinearSVC",
            "it gives no probabilities (predict_proba), at least not with these parameters",
        ),
    ],
)
def test_an_estimator_that_cannot_be_used_is_refused_with_the_reason(
    contract: Contract, estimator: str, why: str
) -> None:
    with pytest.raises(EstimatorRefused) as error:
        model.build(contract, TrainParams(estimator=estimator))
    assert str(error.value) == f"params.yaml: train.estimator is {estimator!r}: {why}"


def test_a_package_can_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from sklearn.dummy import DummyClassifier\nclass Own(DummyClassifier): pass\n"
    (tmp_path / "understudy_test_estimators.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    path = "understudy_test_estimators.Own"
    with pytest.raises(EstimatorRefused, match="estimators may come from sklearn;"):
        model.build(BINARY, TrainParams(estimator=path))
    allowed = TrainParams(estimator=path, packages=("sklearn", "understudy_test_estimators"))
    assert type(model.build(BINARY, allowed)["estimate"]).__name__ == "Own"


@pytest.mark.parametrize("name", ["linear_model.SGDClassifier", "svm.SVC"])
def test_an_estimator_whose_parameters_leave_no_probabilities_is_refused(name: str) -> None:
    with pytest.raises(EstimatorRefused, match="it gives no probabilities"):
        train.answer(fit(BINARY, f"sklearn.{name}"), BINARY, table(BINARY))


def test_an_estimator_that_lacks_a_needed_parameter_is_refused() -> None:
    with pytest.raises((EstimatorRefused, FitFailed, ParamsInvalid), match="estimators"):
        fit(BINARY, "sklearn.ensemble.VotingClassifier")


def test_every_unknown_parameter_is_named_with_those_there_are() -> None:
    given = {"depth": 3, "C": 1.0, "leaves": 4}
    with pytest.raises(ParamsInvalid) as error:
        model.build(BINARY, TrainParams(estimator=LOGISTIC, params=given))
    first, second = error.value.problems
    assert first.startswith(
        "train.params.depth is not a parameter of LogisticRegression; it has penalty, C, "
    )
    assert second.startswith("train.params.leaves is not a parameter of LogisticRegression; ")


def test_a_value_that_the_estimator_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(FitFailed) as error:
        fit(BINARY, LOGISTIC, params={"C": -1.0})
    assert str(error.value) == (
        f"{LOGISTIC} could not be fitted: The 'C' parameter of LogisticRegression must be a "
        "float in the range (0.0, inf]. Got -1.0 instead."
    )


def test_what_the_estimator_cannot_do_with_the_data_is_one_line() -> None:
    with pytest.raises(FitFailed, match=r"could not be fitted: .*NaN") as error:
        fit(BINARY, LOGISTIC, encoding="ordinal")
    assert "\n" not in str(error.value)


# Parameters

GOOD: dict[str, dict[str, Any]] = {
    "data": {"target": "y", "problem": "binary"},
    "train": {"estimator": LOGISTIC, "params": {"C": 0.5}},
    "evaluate": {},
}


def read(root: Path, overrides: dict[str, Any] | None = None, **changes: Any) -> AllParams:
    raw = {name: {**keys, **changes.get(name, {})} for name, keys in GOOD.items()}
    (root / "params.yaml").write_text(yaml.safe_dump(raw))
    return all_params(root, overrides)


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("data", {"tagret": "y"}, "unknown key data.tagret; data has path, target, problem, "),
        ("train", {"model": "x"}, "unknown key train.model; train has estimator, params, "),
        ("evaluate", {"metrics": []}, "unknown key evaluate.metrics; evaluate has metric, "),
        ("data", {"problem": "ranking"}, "data.problem is 'ranking': input should be 'binary', "),
        ("data", {"valid": 0}, "data.valid is 0: input should be greater than 0"),
        ("data", {"holdout": 0.5}, "data.holdout is 0.5: input should be less than 0.5"),
        ("data", {"numeric": "n"}, "data.numeric is 'n': input should be a valid list"),
        (
            "data",
            {"contract": {"n": {"min": "low"}}},
            "data.contract.n.min is 'low': input should be a valid number",
        ),
        (
            "data",
            {"contract": {"n": {"missing": 2}}},
            "data.contract.n.missing is 2: input should be less than or equal to 1",
        ),
        ("train", {"seed": -1}, "train.seed is -1: input should be greater than or equal to 0"),
        ("train", {"encoding": "both"}, "train.encoding is 'both': input should be 'auto', "),
        ("evaluate", {"slice_rows": 0}, "evaluate.slice_rows is 0: input should be greater"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(
    tmp_path: Path, section: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ParamsInvalid) as error:
        read(tmp_path, **{section: changes})
    (problem,) = error.value.problems
    assert problem.startswith(sentence)


def test_all_problems_of_a_section_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid) as error:
        read(tmp_path, data={"valid": 2, "holdout": 3, "color": 1})
    assert len(error.value.problems) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"numeric": ["n"], "categorical": ["c", "n"]}, "column n is both numeric and categorical"),
        ({"numeric": ["y"]}, "column y is both target and numeric"),
        ({"time": "t", "ignore": ["t"]}, "column t is both time and ignore"),
        (
            {"problem": "regression", "positive": "yes"},
            "positive is for a binary problem, this one is regression",
        ),
        (
            {"problem": "multiclass", "positive": "yes"},
            "positive is for a binary problem, this one is multiclass",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ParamsInvalid) as error:
        read(tmp_path, data=changes)
    (problem,) = error.value.problems
    assert problem.endswith(f": {sentence}")


def test_a_metric_that_does_not_fit_the_problem_is_refused_with_those_that_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(ParamsInvalid) as error:
        read(tmp_path, evaluate={"metric": "rmse"})
    assert str(error.value).endswith(
        "evaluate.metric 'rmse' is not a metric of a binary problem; there are "
        "roc_auc, average_precision, log_loss, brier, accuracy, f1"
    )


@pytest.mark.parametrize(
    "changes", [{"data": {"numeric": ["y"]}}, {"evaluate": {"metric": "rmse"}}]
)
def test_a_contradiction_is_told_without_repeating_the_section(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ParamsInvalid) as error:
        read(tmp_path, **changes)
    assert "problem" not in str(error.value).replace("binary problem", "")


@pytest.mark.parametrize(
    ("metric", "problem", "primary"),
    [
        (None, "binary", "roc_auc"),
        (None, "regression", "rmse"),
        (None, "multiclass", "accuracy"),
        ("brier", "binary", "brier"),
    ],
)
def test_the_primary_metric_is_the_named_one_or_the_problems_first(
    tmp_path: Path, metric: str | None, problem: str, primary: str
) -> None:
    found = read(tmp_path, data={"problem": problem}, evaluate={"metric": metric})
    assert found.metric == primary


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": GOOD["data"]}))
    with pytest.raises(ParamsMissing, match=r"params\.yaml has no section 'train'; add it"):
        all_params(tmp_path)


def test_overrides_go_beside_the_parameters_that_are_there(tmp_path: Path) -> None:
    assert read(tmp_path).train.params == {"C": 0.5}
    found = read(tmp_path, {"max_iter": 50})
    assert found.train.params == {"C": 0.5, "max_iter": 50}
    assert found.train.estimator == LOGISTIC
    assert read(tmp_path, {"C": 2}).train.params == {"C": 2}


def test_overrides_are_read_as_yaml() -> None:
    given = ["--max_iter", "50", "--rate", "0.5", "--loss", "log_loss", "--deep", "null"]
    assert train.overrides(given) == {
        "max_iter": 50,
        "rate": 0.5,
        "loss": "log_loss",
        "deep": None,
    }
    assert train.overrides([]) == {}


@pytest.mark.parametrize("given", [["--a"], ["a", "1"], ["--a", "1", "b", "2"], ["--a=1"]], ids=str)
def test_overrides_of_another_form_are_a_usage_error(given: list[str]) -> None:
    with pytest.raises(click.UsageError, match="further parameters come as --NAME VALUE"):
        train.overrides(given)


def test_an_override_that_is_no_yaml_is_a_usage_error() -> None:
    with pytest.raises(click.UsageError):
        train.overrides(["--a", "[1"])


# Answers


def test_the_answer_has_the_form_that_the_registry_reads() -> None:
    pipeline, rows = fit(BINARY, LOGISTIC), table(BINARY)
    features = rows[list(BINARY.features)]
    found = NamedAnswers(pipeline).predict(features)
    assert list(found.columns) == [
        answer.PREDICTION,
        *(answer.PROBABILITY + name for name in BINARY.classes),
    ]
    shares = answer.probabilities(found, BINARY.classes)
    np.testing.assert_array_equal(shares, pipeline.predict_proba(features))
    assert found[answer.PREDICTION].tolist() == pipeline.predict(features).tolist()
    assert len(set(found[answer.PREDICTION])) == 2


def test_what_ships_in_the_artifact_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(named_answers.__file__).read_text())
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert found == {"mlflow", "pandas", "typing"}


# Reports


def binary_truth(rows: int, seed: int = 0) -> tuple[Truth, np.ndarray]:
    rng = np.random.default_rng(seed)
    share = rng.random(rows)
    labels = np.where(rng.random(rows) < share, "yes", "no").astype(object)
    return Truth("binary", labels, ("no", "yes"), "yes"), np.column_stack([1 - share, share])


def test_a_slice_has_the_metrics_of_its_own_rows() -> None:
    truth, shares = binary_truth(300)
    rows = pd.DataFrame({"c": ["a", "b", None] * 100, "d": [True] * 290 + [False] * 10})
    found = scores.by_slice(truth, shares, rows, ["c", "d"], 50)
    assert {name.rsplit("/", 1)[0] for name in found} == {
        "slice/c/a",
        "slice/c/b",
        "slice/c/missing",
        "slice/d/True",
    }
    mask = (rows["c"] == "b").to_numpy()
    positive, share = truth.is_positive[mask], shares[mask, 1]
    assert found["slice/c/b/roc_auc"] == pytest.approx(sk.roc_auc_score(positive, share))
    assert found["slice/c/b/brier"] == pytest.approx(sk.brier_score_loss(positive, share))
    assert found["slice/c/b/accuracy"] == pytest.approx(sk.accuracy_score(positive, share > 0.5))
    assert found["slice/c/b/roc_auc"] != found["slice/c/a/roc_auc"]


@pytest.mark.parametrize(("least", "reported"), [(10, True), (11, False)])
def test_a_small_slice_is_not_reported(least: int, reported: bool) -> None:
    truth, shares = binary_truth(100)
    rows = pd.DataFrame({"c": ["rare"] * 10 + ["usual"] * 90})
    found = scores.by_slice(truth, shares, rows, ["c"], least)
    assert any(name.startswith("slice/c/rare/") for name in found) == reported
    assert any(name.startswith("slice/c/usual/") for name in found)


def test_a_metric_that_is_not_defined_on_a_slice_is_left_out() -> None:
    truth, shares = binary_truth(100)
    rows = pd.DataFrame({"c": np.where(truth.is_positive, "only yes", "only no")})
    found = scores.by_slice(truth, shares, rows, ["c"], 1)
    assert "slice/c/only yes/roc_auc" not in found
    assert "slice/c/only yes/log_loss" in found


def test_a_value_with_signs_that_mlflow_refuses_still_names_its_slice() -> None:
    truth, shares = binary_truth(60)
    rows = pd.DataFrame({"c": ["a/(b)=%"] * 30 + ["a:(b)=%"] * 30})
    found = [name for name in scores.by_slice(truth, shares, rows, ["c"], 1) if "log_loss" in name]
    assert len(found) == 2
    assert all(name.startswith("slice/c/a__b____") for name in found)


def test_the_curves_of_few_rows_are_scikit_learns() -> None:
    truth, shares = binary_truth(150)
    found = scores.curves(truth, shares)
    positive, share = truth.is_positive, shares[:, 1]
    assert set(found) == {"roc", "precision_recall", "calibration", "confusion"}
    false, true, _ = sk.roc_curve(positive, share)
    assert found["roc"].to_numpy() == pytest.approx(np.column_stack([false, true]))
    precision, recall, _ = sk.precision_recall_curve(positive, share)
    assert found["precision_recall"].to_numpy() == pytest.approx(
        np.column_stack([recall, precision])
    )
    seen, expected = calibration_curve(positive, share, n_bins=10, strategy="quantile")
    assert found["calibration"].to_numpy() == pytest.approx(np.column_stack([expected, seen]))
    confusion = pd.crosstab(found["confusion"]["actual"], found["confusion"]["predicted"])
    predicted = np.where(share > 0.5, "yes", "no")
    labels = truth.labels.astype(str)
    assert confusion.to_numpy().tolist() == sk.confusion_matrix(labels, predicted).tolist()


def test_the_curves_of_many_rows_are_thinned_and_keep_their_ends_and_area() -> None:
    truth, shares = binary_truth(20_000)
    roc = scores.curves(truth, shares)["roc"]
    assert len(roc) == scores.POINTS
    assert roc.iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    area = np.trapezoid(roc["tpr"], roc["fpr"])
    assert area == pytest.approx(sk.roc_auc_score(truth.is_positive, shares[:, 1]), abs=0.002)


def test_rows_of_one_class_have_no_curves_but_a_confusion() -> None:
    truth, shares = binary_truth(50)
    one = truth.take(truth.is_positive)
    assert set(scores.curves(one, shares[truth.is_positive])) == {"confusion"}


def test_a_regression_has_its_residuals_in_the_order_of_the_prediction() -> None:
    truth = Truth("regression", np.array([1.0, 5.0, 2.0]))
    found = scores.curves(truth, np.array([1.5, 4.0, 0.0]))
    assert found["residuals"].to_dict("list") == {
        "predicted": [0.0, 1.5, 4.0],
        "residual": [2.0, -0.5, 1.0],
    }


def test_every_plot_has_the_columns_that_it_is_declared_with() -> None:
    regression = scores.curves(Truth("regression", np.array([1.0])), np.array([1.0]))
    found = {**scores.curves(*binary_truth(50)), **regression}
    assert {n: tuple(t.columns) for n, t in found.items()} == {
        name: columns for name, columns in scores.COLUMNS.items() if name != "importance"
    }


def only_n(rows: pd.DataFrame) -> pd.DataFrame:
    """A model that looks at column n alone."""
    share = 1 / (1 + np.exp(-rows["n"].to_numpy()))
    return pd.DataFrame({"probability_no": 1 - share, "probability_yes": share})


def numbered(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    found = pd.DataFrame({"c": rng.choice(["a", "b"], rows), "n": rng.normal(size=rows)})
    found["y"] = np.where(found["n"] > 0, "yes", "no")
    return found


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_only_the_column_that_matters_has_importance(metric: str) -> None:
    record = Record("binary", "y", ("c", "n"), metric, ("no", "yes"), "yes")
    found = evaluate.importance(SimpleNamespace(predict=only_n), record, numbered(400), 0)
    assert found["feature"].tolist() == ["n", "c"]
    assert found["importance"].iloc[0] > 0.2
    assert found["spread"].iloc[0] > 0
    assert found.iloc[1].tolist() == ["c", 0, 0]


def test_the_importance_of_a_column_that_decides_all_is_the_whole_auc() -> None:
    record = Record("binary", "y", ("n", "c"), "roc_auc", ("no", "yes"), "yes")
    found = evaluate.importance(SimpleNamespace(predict=only_n), record, numbered(4000), 0)
    # Shuffled, n says nothing: AUC falls from 1 to a half.
    assert found["importance"].iloc[0] == pytest.approx(0.5, abs=0.03)


def test_the_importance_for_a_regression_is_what_the_error_grows_by() -> None:
    rows = numbered(300).assign(y=lambda t: 2 * t["n"])
    record = Record("regression", "y", ("c", "n"), "rmse")
    double = SimpleNamespace(predict=lambda t: 2 * t["n"].to_numpy())
    found = evaluate.importance(double, record, rows, 0)
    assert found["feature"].tolist() == ["n", "c"]
    # Two independent draws of 2n differ by the square root of two times their deviation.
    expected = np.sqrt(2) * rows["y"].std()
    assert found["importance"].iloc[0] == pytest.approx(expected, rel=0.1)
    assert found["importance"].iloc[1] == 0


def test_importance_by_a_metric_that_is_not_defined_is_empty() -> None:
    rows = numbered(100).query("y == 'yes'")
    record = Record("binary", "y", ("c", "n"), "roc_auc", ("no", "yes"), "yes")
    found = evaluate.importance(SimpleNamespace(predict=only_n), record, rows, 0)
    assert found.empty
    assert tuple(found.columns) == scores.COLUMNS["importance"]
