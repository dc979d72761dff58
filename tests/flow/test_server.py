"""The same through a tracking server: artifacts by its proxy, the ledger by its REST API."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.flow.servers import mlflow_server
from tests.flow.test_own_data import DIABETES, diabetes

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def server(
    migrated: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A real `mlflow server` with two workers."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy2(migrated, folder / "mlflow.db")
    with mlflow_server(folder, environment, f"sqlite:///{folder}/mlflow.db") as address:
        yield address


@pytest.fixture(scope="module")
def project(make_project: Callable[..., Project], server: str) -> Project:
    """Two versions of the diabetes model, trained and registered through the server."""
    made = make_project(DIABETES, {"data/diabetes.csv": diabetes().to_csv(index=False)})
    made.edit("gate", margin=5.0)
    made.commit("margin")  # the gates want a clean working copy
    (made.root / "mlflow.db").unlink()
    there = Project(made.root, {**made.env, "MLFLOW_TRACKING_URI": server})
    there.run("dvc", "repro")
    there.module("pipelines.train", "--alpha", "0.2", "--output", "elsewhere")
    run = json.loads((made.root / "elsewhere/run.json").read_text())["run_id"]
    there.module("pipelines.evaluate", "--run-id", run)
    there.run("understudy", "register", run)
    return there


def tool(project: Project, *arguments: str) -> Any:
    return json.loads(project.run("understudy", *arguments, "--json").stdout)


def test_promote_and_roll_back_through_the_server(project: Project) -> None:
    assert not (project.root / "mlflow.db").exists()
    for version in ("1", "2"):
        assert tool(project, "promote", version, "--to", "production")["gate"]["passed"]
    assert tool(project, "rollback", "--reason", "as it was")["version"] == 1
    found = tool(project, "status")
    shown = [v["version"] for v in found["versions"] if v["shown_stage"] == "Production"]
    assert (found["production"], shown, found["differences"]) == (1, [1], [])
    script = (
        "import mlflow\n"
        "print(mlflow.pyfunc.load_model('models:/diabetes/Production').metadata.run_id)\n"
        "print(mlflow.pyfunc.load_model('models:/diabetes@production').metadata.run_id)"
    )
    by_stage, by_alias = project.run("python", "-W", "ignore", "-c", script).stdout.split()
    assert by_stage == by_alias == found["versions"][0]["run_id"]


def test_two_who_act_in_the_same_moment_leave_one_production(project: Project) -> None:
    commands = [["promote", "2", "--to", "staging"], ["archive", "2"]] * 2
    before = tool(project, "status")["production"], len(tool(project, "history"))
    racing = [
        subprocess.Popen(
            ["understudy", *command], cwd=project.root, env=dict(project.env),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    ended = [(p.communicate(timeout=120), p.returncode) for p in racing]
    succeeded = sum(code == 0 for _, code in ended)
    for (_, error), code in ended:
        assert code == 0 or error.splitlines()[-1].startswith("Error: "), error
    found = tool(project, "status")
    assert succeeded >= 1
    assert len(tool(project, "history")) == before[1] + succeeded
    assert (found["production"], found["differences"]) == (before[0], [])
