"""A person's own table with nothing but params.yaml: pipeline, registry, serving, rollback."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine

from tests.conftest import Project
from tests.flow.serving import ask, served

pytestmark = pytest.mark.flow

WINE = {
    "data": {"path": "data", "target": "cultivar", "problem": "multiclass"},
    "train": {
        "estimator": "sklearn.ensemble.RandomForestClassifier",
        "params": {"n_estimators": 30, "max_depth": 2},
    },
    "evaluate": {"slices": [], "slice_rows": 5},
    "registry": {"model": "wine"},
    "gate": {"floor": 0.8, "margin": 0.05},
}
DIABETES = {
    "data": {"path": "data", "target": "target", "problem": "regression", "holdout": 0.25},
    "train": {"estimator": "sklearn.linear_model.Ridge", "params": {"alpha": 0.1}},
    "evaluate": {"slices": ["sex"]},
    "registry": {"model": "diabetes"},
    "gate": {"floor": 80},
}


def wine() -> pd.DataFrame:
    found = load_wine(as_frame=True)
    names = dict(enumerate(["barolo", "grignolino", "barbera"]))
    return found.data.assign(cultivar=found.target.map(names))


def diabetes() -> pd.DataFrame:
    table = load_diabetes(as_frame=True, scaled=False).frame
    return table.assign(sex=table["sex"].map({1.0: "a", 2.0: "b"}))


@pytest.fixture(scope="module")
def wine_project(make_project: Callable[..., Project]) -> Project:
    project = make_project(WINE, {"data/wine.csv": wine().to_csv(index=False)})
    project.run("dvc", "repro")
    return project


@pytest.fixture(scope="module")
def diabetes_project(make_project: Callable[..., Project]) -> Project:
    buffer = io.BytesIO()
    diabetes().to_parquet(buffer, index=False)
    project = make_project(DIABETES, {"data/diabetes.parquet": buffer.getvalue()})
    project.run("dvc", "repro")
    return project


def tool(project: Project, *arguments: str, code: int = 0) -> Any:
    done = project.run("understudy", *arguments, "--json", code=code)
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_the_inferred_columns_are_shown(wine_project: Project) -> None:
    contract = json.loads((wine_project.root / "artifacts/contract.json").read_text())
    assert contract["inferred"] is True
    assert len(contract["numeric"]) == 13
    assert contract["classes"] == ["barbera", "barolo", "grignolino"]


def test_metrics_and_plots_can_be_shown(wine_project: Project, diabetes_project: Project) -> None:
    for project, metric in ((wine_project, "accuracy"), (diabetes_project, "rmse")):
        assert metric in project.run("dvc", "metrics", "show").stdout
        assert "fail" not in project.run("dvc", "plots", "show").stderr.lower()
        project.run("dvc", "plots", "diff", "HEAD")


def test_a_second_repro_runs_nothing_but_the_check(wine_project: Project) -> None:
    lock = (wine_project.root / "dvc.lock").read_bytes()
    out = wine_project.run("dvc", "repro").stdout
    assert out.count("Running stage") == 1
    assert "Running stage 'check'" in out
    assert (wine_project.root / "dvc.lock").read_bytes() == lock


def test_what_a_run_shows(wine_project: Project) -> None:
    version = json.loads((wine_project.root / "artifacts/register/version.json").read_text())
    script = f"""
import json, mlflow
client = mlflow.MlflowClient()
run = client.get_run({version["run_id"]!r})
inputs = [i.dataset for i in run.inputs.dataset_inputs]
model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
info = mlflow.models.get_model_info(model.model_uri)
print(json.dumps({{
    "params": dict(run.data.params), "metrics": sorted(run.data.metrics),
    "tags": dict(run.data.tags),
    "loaded": sorted(p.name for p in __import__("pathlib").Path(
        mlflow.data.get_source(run.inputs.dataset_inputs[0]).load()).iterdir()),
    "inputs": [(d.name, d.source_type, d.digest, json.loads(d.source)) for d in inputs],
    "plots": [f.path for f in client.list_artifacts(run.info.run_id, "plots")],
    "kept": [f.path for f in client.list_artifacts(run.info.run_id, "understudy")],
    "flavors": sorted(info.flavors), "format": info.flavors["sklearn"]["serialization_format"],
    "columns": info.signature.inputs.input_names(),
    "answers": info.signature.outputs.input_names(),
    "example": info.saved_input_example_info is not None,
    "requirements": open(mlflow.artifacts.download_artifacts(
        model.artifact_location + "/requirements.txt")).read().split(),
}}))
"""
    found = json.loads(wine_project.run("python", "-c", script).stdout)
    assert found["params"]["train.params.n_estimators"] == "30"
    assert found["params"]["estimator.n_estimators"] == "30"
    assert {f"{part}/accuracy" for part in ("train", "valid", "holdout")} <= set(found["metrics"])
    pointer = (wine_project.root / "data.dvc").read_text()
    for key in ("git_commit", "git_dirty", "data_md5", "params_sha256", "lock_sha256"):
        assert found["tags"][f"understudy.{key}"]
    assert found["tags"]["understudy.data_md5"] in pointer
    assert found["tags"]["understudy.git_dirty"] == "false"
    assert found["loaded"] == ["wine.csv"]
    for name, kind, digest, source in found["inputs"]:
        assert name in {"data-train", "data-valid", "data-holdout"}
        assert (kind, source["md5"]) == ("dvc", found["tags"]["understudy.data_md5"])
        assert digest == source["md5"]
    drawn = ("roc", "precision_recall", "calibration", "confusion", "importance")
    assert {f"plots/{name}.png" for name in drawn} <= set(found["plots"])
    assert len(found["kept"]) == 7  # a clean copy keeps no code.diff
    assert found["flavors"] == ["python_function", "sklearn"]
    assert found["format"] == "skops"
    assert found["example"]
    assert len(found["columns"]) == 13
    assert found["answers"][0] == "prediction"
    assert any(r.startswith("scikit-learn==") for r in found["requirements"])
    assert not any(r.startswith("understudy") for r in found["requirements"])


def test_promote_serve_replace_and_roll_back(wine_project: Project) -> None:
    row = wine().head(1).drop(columns="cultivar")
    question = {"columns": list(row.columns), "data": row.to_numpy().tolist()}
    assert tool(wine_project, "promote", "1", "--to", "production")["gate"]["passed"]
    with served(wine_project, "models:/wine/Production") as address:
        (first,) = ask(address, question)
    assert first["prediction"] == "barolo"
    shares = {k: v for k, v in first.items() if k.startswith("probability_")}
    assert sorted(shares) == ["probability_barbera", "probability_barolo", "probability_grignolino"]
    assert sum(shares.values()) == pytest.approx(1)

    wine_project.edit("train", params={"n_estimators": 31, "max_depth": 2})
    wine_project.commit("one more tree")
    wine_project.run("dvc", "repro")
    tool(wine_project, "promote", "2", "--to", "production", "--reason", "one more tree")
    with served(wine_project, "models:/wine/Production") as address:
        (second,) = ask(address, question)
    assert second != first
    assert tool(wine_project, "rollback")["version"] == 1
    with served(wine_project, "models:/wine/Production") as address:
        assert ask(address, question) == [first]
    status = tool(wine_project, "status")
    shown = [v["version"] for v in status["versions"] if v["shown_stage"] == "Production"]
    aliased = [v["version"] for v in status["versions"] if v["aliases"] == ["production"]]
    assert (status["production"], shown, aliased) == (1, [1], [1])
    assert status["differences"] == []
    assert [e["kind"] for e in tool(wine_project, "history")] == [
        "register", "promote", "register", "promote", "rollback",
    ]  # fmt: skip


def test_an_old_commit_finds_its_run_and_registers_nothing_twice(wine_project: Project) -> None:
    before = tool(wine_project, "status")
    run = json.loads((wine_project.root / "artifacts/train/run.json").read_text())["run_id"]
    wine_project.run("git", "stash", "-q", "--include-untracked")
    wine_project.edit("train", params={"n_estimators": 30, "max_depth": 2})
    done = wine_project.run("dvc", "repro")
    old = json.loads((wine_project.root / "artifacts/train/run.json").read_text())["run_id"]
    assert old != run
    assert "Running stage 'train'" not in done.stdout
    assert "is cached" in done.stdout
    after = tool(wine_project, "status")
    assert [v["version"] for v in after["versions"]] == [v["version"] for v in before["versions"]]
    assert old == after["versions"][0]["run_id"]


def test_a_regression_answers_with_the_value(diabetes_project: Project) -> None:
    assert tool(diabetes_project, "promote", "1", "--to", "production")["gate"]["passed"]
    row = diabetes().head(2).drop(columns="target")
    question = {"columns": list(row.columns), "data": json.loads(row.to_json(orient="values"))}
    with served(diabetes_project, "models:/diabetes/Production") as address:
        answers = ask(address, question)
    assert len(answers) == 2
    assert all(isinstance(a, float) and 25 < a < 350 for a in answers)


def test_a_second_version_that_is_worse_is_refused(diabetes_project: Project) -> None:
    diabetes_project.edit("train", params={"alpha": 1e6})
    diabetes_project.edit("gate", floor=200, margin=1)
    diabetes_project.run("dvc", "repro")
    before = tool(diabetes_project, "history")
    message = tool(diabetes_project, "promote", "2", "--to", "production", code=1)
    assert "gate not_worse: rmse" in message
    assert "whose lower end is below -1.0000 (margin 1)" in message
    assert "no stage was changed" in message
    assert tool(diabetes_project, "history") == before
    tags = tool(diabetes_project, "status")["versions"][1]["tags"]
    assert tags["understudy.git_dirty"] == "true"  # params.yaml was not committed
