"""A version is made again from its record: the verdict, what is left alone, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_diabetes

from tests.conftest import Project

pytestmark = pytest.mark.flow

PARAMS = {
    "data": {"path": "data", "target": "target", "problem": "regression", "holdout": 0.25},
    "train": {"estimator": "sklearn.linear_model.Ridge", "params": {"alpha": 0.1}},
    "evaluate": {"slices": []},
    "registry": {"model": "m"},
}


@pytest.fixture(scope="module")
def project(make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Version 1 was trained with changes that were not committed; code and data have moved on."""
    table = load_diabetes(as_frame=True, scaled=False).frame.head(200)
    made = make_project(PARAMS, {"data/table.csv": table.to_csv(index=False)})
    temporary = tmp_path_factory.mktemp("tmp")
    made = Project(made.root, {**made.env, "TMPDIR": str(temporary)})
    made.edit("train", params={"alpha": 0.5})
    (made.root / "notes.txt").write_text("not committed\n")
    made.run("dvc", "repro")
    (made.root / "notes.txt").unlink()
    made.edit("train", params={"alpha": 9.0})
    (made.root / "data/table.csv").write_text(table.head(100).to_csv(index=False))
    made.run("dvc", "add", "-q", "data")
    made.commit("another alpha, and half of the data")
    return made


def untouched(project: Project) -> dict[str, Any]:
    """What a reproduction must leave as it is, found or not."""
    files = [p for p in project.root.rglob("*") if p.is_file() and ".git" not in p.parts]
    return {
        "files": {
            str(p): p.stat().st_mtime_ns
            for p in files
            if p.name != "mlflow.db" and "__pycache__" not in p.parts
        },
        "git": project.run("git", "status", "--porcelain").stdout,
        "worktrees": project.run("git", "worktree", "list").stdout,
        "temporary": sorted(
            p.name for p in Path(project.env["TMPDIR"]).glob("understudy-*") if p.is_dir()
        ),
    }


def test_a_version_of_uncommitted_code_is_made_again_bit_by_bit(
    project: Project, tmp_path: Path
) -> None:
    before = untouched(project)
    done = project.run("understudy", "reproduce", "1", "--json", "--keep", str(tmp_path / "kept"))
    assert untouched(project) == before
    found = json.loads(done.stdout)
    assert (found["verdict"], found["files"], found["causes"]) == ("bit-equal", [], [])
    assert found["largest_difference"] == 0
    assert found["data_from"] == "DVC's cache"
    assert all(a == b for a, b in found["metrics"].values())
    assert "its uncommitted changes, as kept with the run" in done.stderr
    kept = {p.relative_to(tmp_path / "kept").as_posix() for p in (tmp_path / "kept").rglob("*")}
    assert {"log.txt", "model/model.skops", "understudy/params.json"} <= kept

    known = json.loads(project.run("understudy", "lineage", "1", "--json").stdout)
    assert known["reproductions"][0]["verdict"] == "bit-equal"
    assert known["reproductions"][0]["actor"] == "tester"
    assert known["params"]["train"]["params"] == {"alpha": 0.5}
    assert (known["code"]["dirty"], known["code"]["diff"]) == (True, "understudy/code.diff")
    assert known["code"]["subject"] == "data"
    assert [f["path"] for f in known["data"]["files"]] == ["table.csv"]
    assert sum(known["data"]["rows"].values()) == 200
    status = json.loads(project.run("understudy", "status", "--json").stdout)
    assert status["versions"][0]["tags"]["understudy.reproduced"].startswith("bit-equal 20")
    assert [v["version"] for v in status["versions"]] == [1]
    shown = project.run("understudy", "lineage", "1").stdout
    assert "reproduced" in shown
    assert "with uncommitted changes, kept as understudy/code.diff" in shown
    assert "the same commit" in project.run("understudy", "diff", "1", "1").stdout


@contextmanager
def away(path: Path) -> Iterator[None]:
    """A file or folder is gone meanwhile."""
    shutil.move(path, path.with_name("away"))
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        shutil.move(path.with_name("away"), path)


def refused(project: Project) -> str:
    before = project.run("understudy", "history", "--json").stdout
    done = project.run("understudy", "reproduce", "1", code=1)
    assert "Traceback" not in done.stderr
    assert project.run("understudy", "history", "--json").stdout == before
    return done.stderr


def test_data_that_cannot_be_had(project: Project) -> None:
    before = untouched(project)
    with away(project.root / ".dvc" / "cache"):
        message = refused(project)
    assert untouched(project) == before
    assert "cannot be had: DVC's cache: " in message
    assert "the DVC remote: none is configured; its source: " in message


def test_a_commit_that_is_not_known_here(project: Project) -> None:
    with away(project.root / ".git"):
        project.run("git", "init", "-q")
        project.commit("of another history")
        message = refused(project)
        assert "is not in this repository; `git fetch` may bring it" in message
        shown = project.run("understudy", "lineage", "1").stdout
        assert "(not in this repository)" in shown


def test_a_record_that_was_altered_is_not_run(project: Project) -> None:
    (kept,) = project.root.glob("mlruns/*/*/artifacts/understudy/code.diff")
    with away(kept):
        kept.write_text("--- a/x\n+++ b/x\n")
        assert "is not what the ledger has the hash of; nothing of it was run" in refused(project)


def test_a_folder_to_keep_things_in_must_be_empty(project: Project) -> None:
    message = project.run("understudy", "reproduce", "1", "--keep", "data", code=1).stderr
    assert "data is not an empty folder" in message


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(project: Project, how: signal.Signals) -> None:
    before = untouched(project)
    with subprocess.Popen(
        ["understudy", "reproduce", "1"],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background, these tests say, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the pipeline" in line:
                break
        time.sleep(1)
        process.send_signal(how)
        process.stderr.read()
        assert process.wait(200) == (1 if how is signal.SIGINT else 143)
    assert untouched(project) == before


@pytest.mark.slow
def test_a_training_that_is_random_comes_out_different(
    make_project: Callable[..., Project],
) -> None:
    table = load_diabetes(as_frame=True, scaled=False).frame.head(200)
    random = {
        "estimator": "sklearn.ensemble.ExtraTreesRegressor",
        "params": {"n_estimators": 2, "random_state": None},
    }
    project = make_project(
        {**PARAMS, "train": random}, {"data/table.csv": table.to_csv(index=False)}
    )
    project.run("dvc", "repro")
    done = project.run("understudy", "reproduce", "1", code=1)
    assert "m v1: different: its answers are not those of the original" in done.stdout
    assert "randomness without a seed" in done.stdout
    assert "different: its answers are not those" in project.run("understudy", "history").stdout
