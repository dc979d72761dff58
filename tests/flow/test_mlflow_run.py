"""`mlflow run`: each entry point, in this environment, in one built by uv, and from a git URI."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.flow.servers import free_port
from tests.flow.test_own_data import DIABETES, diabetes

pytestmark = pytest.mark.flow

FIND_RUNS = """
import json, mlflow
runs = mlflow.MlflowClient().search_runs(
    [e.experiment_id for e in mlflow.search_experiments()], order_by=["attributes.start_time DESC"])
print(json.dumps([{"id": r.info.run_id, "status": r.info.status, "params": dict(r.data.params),
    "metrics": dict(r.data.metrics), "tags": dict(r.data.tags)} for r in runs]))
"""


def runs(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.run("python", "-c", FIND_RUNS).stdout)
    return found


@pytest.fixture(scope="module")
def project(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The diabetes table with a DVC remote that has it; the pipeline has not run."""
    made = make_project(DIABETES, {"data/diabetes.csv": diabetes().to_csv(index=False)})
    remote = tmp_path_factory.mktemp("remote")
    made.run("dvc", "remote", "add", "-q", "-d", "store", str(remote))
    made.commit("remote")
    made.run("dvc", "push", "-q")
    return made


def test_main_is_the_whole_pipeline_and_fetches_missing_data(project: Project) -> None:
    shutil.rmtree(project.root / "data")
    shutil.rmtree(project.root / ".dvc" / "cache")
    project.run("mlflow", "run", ".", "--env-manager", "local")
    version = json.loads((project.root / "artifacts/register/version.json").read_text())
    assert version["version"] == 1
    trained = next(r for r in runs(project) if r["id"] == version["run_id"])
    assert trained["status"] == "FINISHED"
    assert "holdout/rmse" in trained["metrics"]
    main = next(r for r in runs(project) if r["tags"]["mlflow.project.entryPoint"] == "main")
    assert trained["tags"]["mlflow.parentRunId"] == main["id"]


def test_train_with_a_parameter_is_an_experiment_that_leaves_the_pipeline_alone(
    project: Project,
) -> None:
    project.run("dvc", "repro")
    before = project.run("dvc", "status", "--json").stdout, _pipeline_files(project)
    project.run("mlflow", "run", ".", "-e", "train", "--env-manager", "local", "-P", "alpha=7.5")
    assert (project.run("dvc", "status", "--json").stdout, _pipeline_files(project)) == before
    newest = runs(project)[0]
    assert newest["params"]["train.params.alpha"] == "7.5"
    assert newest["params"]["estimator.alpha"] == "7.5"
    assert "valid/rmse" in newest["metrics"]

    project.run(
        "mlflow", "run", ".", "-e", "evaluate", "--env-manager", "local",
        "-P", f"run_id={newest['id']}",
    )  # fmt: skip
    trained = next(r for r in runs(project) if r["id"] == newest["id"])
    assert "holdout/rmse" in trained["metrics"]
    assert _pipeline_files(project) == before[1]

    project.run(
        "mlflow", "run", ".", "-e", "register", "--env-manager", "local",
        "-P", f"run_id={newest['id']}", "-P", "reason=tried by hand",
    )  # fmt: skip
    history = json.loads(project.run("understudy", "history", "--json").stdout)
    assert history[-1]["reason"] == "tried by hand"
    assert history[-1]["evidence"]["run_id"] == newest["id"]


def test_a_parameter_that_the_estimator_does_not_have_is_named(project: Project) -> None:
    done = project.run(
        "mlflow", "run", ".", "-e", "train", "--env-manager", "local", "-P", "depth=3", code=1
    )
    assert "train.params.depth is not a parameter of Ridge; it has alpha" in done.stderr


def test_a_server_that_is_down_stops_the_pipeline_with_a_sentence(project: Project) -> None:
    project.edit("train", seed=5)
    before = _pipeline_files(project)
    done = project.run("dvc", "repro", code=None, MLFLOW_TRACKING_URI="http://a:b@127.0.0.1:9")
    project.edit("train", seed=0)
    assert done.returncode != 0
    assert (
        "Error: the MLflow store at http://127.0.0.1:9 does not answer (connection" in done.stderr
    )
    assert "Traceback" not in done.stderr
    lock = str(project.root / "dvc.lock")
    assert {k: v for k, v in _pipeline_files(project).items() if k != lock} == {
        k: v for k, v in before.items() if k != lock and "/train/" not in k
    }


def test_a_run_started_by_hand_carries_its_lineage(project: Project) -> None:
    script = "import mlflow\nwith mlflow.start_run() as r: print(r.info.run_id)"
    run_id = project.run("python", "-c", script).stdout.split()[-1]
    tags = next(r for r in runs(project) if r["id"] == run_id)["tags"]
    head = project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert tags["understudy.git_commit"] == head
    assert tags["understudy.data_md5"] in (project.root / "data.dvc").read_text()


def test_a_git_uri_with_a_version_runs_in_a_clone_of_its_own(project: Project) -> None:
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    with git_server(project.root.parent) as address:
        project.run(
            "mlflow", "run", f"{address}/work", "--version", commit, "-e", "train",
            "--env-manager", "local", "-P", "alpha=3.25",
            MLFLOW_TRACKING_URI=f"sqlite:///{project.root}/mlflow.db",
        )  # fmt: skip
    newest = runs(project)[0]
    assert newest["params"]["train.params.alpha"] == "3.25"
    assert newest["tags"]["mlflow.source.git.commit"] == commit
    assert newest["tags"]["understudy.git_commit"] == commit
    assert newest["tags"]["understudy.git_dirty"] == "false"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_environment_built_by_uv_gives_the_same_model(project: Project) -> None:
    project.run("dvc", "repro")
    with_local = json.loads((project.root / "artifacts/evaluate/metrics.json").read_text())
    subprocess.run(
        ["mlflow", "run", ".", "-e", "train", "--env-manager", "uv"],
        cwd=project.root, env=dict(project.env), check=True, capture_output=True, timeout=580,
    )  # fmt: skip
    newest = runs(project)[0]
    assert newest["status"] == "FINISHED"
    assert newest["tags"]["understudy.data_md5"] in (project.root / "data.dvc").read_text()
    project.run("python", "-m", "pipelines.evaluate", "--run-id", newest["id"])
    evaluated = next(r for r in runs(project) if r["id"] == newest["id"])
    assert round(evaluated["metrics"]["holdout/rmse"], 6) == with_local["rmse"]


def _pipeline_files(project: Project) -> dict[str, bytes]:
    found = [p for p in (project.root / "artifacts").rglob("*") if p.is_file()]
    return {str(p): p.read_bytes() for p in [*found, project.root / "dvc.lock"]}


@contextmanager
def git_server(folder: Path) -> Iterator[str]:
    """A `git daemon` over the repositories in a folder."""
    port = free_port()
    server = subprocess.Popen(
        ["git", "daemon", "--export-all", f"--base-path={folder}", "--listen=127.0.0.1",
         f"--port={port}", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(50):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"git://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
