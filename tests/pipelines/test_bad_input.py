"""What a person sees who gives a stage something wrong: one sentence, and nothing is changed."""

from __future__ import annotations

import hashlib
import io
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from registry import lineage
from tests.conftest import Project

PARAMS: dict[str, Any] = {
    "data": {
        "target": "label",
        "problem": "binary",
        "positive": "yes",
        "time": "when",
        "numeric": ["size"],
        "categorical": ["colour"],
    },
    "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "evaluate": {},
    "registry": {"model": "m"},
}
KEPT = ("artifacts", "data.dvc", "dvc.lock", "params.yaml", ".gitignore")


def table(**columns: Any) -> pd.DataFrame:
    """A hundred good rows, with these columns in place of the good ones."""
    rows = 100
    good = {
        "size": np.arange(rows) % 7,
        "colour": ["red", "green"] * (rows // 2),
        "when": pd.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d"),
        "label": ["no", "no", "yes", "no"] * (rows // 4),
    }
    return pd.DataFrame({**good, **columns})


def text(rows: pd.DataFrame) -> str:
    return str(rows.to_csv(index=False))


def contents(root: Path, *names: str) -> dict[str, bytes]:
    """Path to bytes of every file at or below these."""
    found = {}
    for name in names:
        path = root / name
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                found[file.relative_to(root).as_posix()] = file.read_bytes()
    return found


def state(project: Project) -> dict[str, str]:
    """What a refusal must leave as it is: hashes of the outputs, pointers and runs."""
    kept = contents(project.root, *KEPT)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in kept.items()}
    with closing(sqlite3.connect(project.root / "mlflow.db")) as database:
        runs = database.execute("select run_uuid, status from runs order by 1").fetchall()
        versions = database.execute("select name, version from model_versions").fetchall()
    return {**hashes, "runs": str(runs), "versions": str(versions)}


@pytest.fixture(scope="module")
def whole(make_project: Callable[..., Project]) -> Project:
    """A project whose rows are prepared, with everything committed."""
    project = make_project(PARAMS, {"data/a.csv": text(table())})
    project.run("dvc", "repro", "-q", "prepare")
    project.commit("prepared")
    return project


@pytest.fixture
def project(whole: Project) -> Iterator[Project]:
    """`whole`, and afterwards as it was."""
    names = (*KEPT, "data", "pipelines")
    before = contents(whole.root, *names)
    assert {"artifacts/contract.json", "data/a.csv", "data.dvc", "dvc.lock"} <= set(before)
    yield whole
    for name in contents(whole.root, *names).keys() | before.keys():
        path = whole.root / name
        if name not in before:
            path.unlink()
        elif not path.exists() or path.read_bytes() != before[name]:
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before[name])


def refuses(project: Project, stage: str, *arguments: str, code: int = 1) -> str:
    """Run a stage that must refuse and change nothing; what it says, without "Error: "."""
    before = state(project)
    done = project.module(f"pipelines.{stage}", *arguments, code=code)
    assert "Traceback" not in done.stdout + done.stderr
    assert state(project) == before
    said = str(done.stderr)
    if code == 2:  # click shows how the command is used before it says what was wrong
        usage, _, said = said.partition("\n\n")
        assert usage.startswith("Usage: ")
    assert said.startswith("Error: ")
    return said.removeprefix("Error: ").rstrip("\n")


def replace(project: Project, **files: str | bytes) -> None:
    """Have only these files as data; `__` in a name stands for its dot."""
    shutil.rmtree(project.root / "data")
    (project.root / "data").mkdir()
    for name, content in files.items():
        path = project.root / "data" / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


# Content of the data


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"size": ["small", 1] * 50},
            "column size: 50 of 100 values are not a number, such as 'small', first in row 1",
        ),
        (
            {"when": ["2024-01-01"] * 99 + ["soon"]},
            "column when: 1 of 100 values are not a date or time, such as 'soon', first in row 100",
        ),
    ],
    ids=["wrong-type", "no-time"],
)
def test_a_column_of_a_wrong_type_stops_validate(
    project: Project, columns: dict[str, Any], sentence: str
) -> None:
    replace(project, a__csv=text(table(**columns)))
    said = refuses(project, "validate")
    assert said.startswith("the data breaks its contract (")
    assert f"\n  - {sentence}\n" in said
    assert said.endswith("\ncorrect the data, or section data of params.yaml")


def test_a_missing_column_stops_validate(project: Project) -> None:
    replace(project, a__csv=text(table().drop(columns=["colour", "label"])))
    assert refuses(project, "validate") == (
        "the data breaks its contract (2 violations):\n"
        "  - column colour is missing; the table has size, when\n"
        "  - column label is missing; the table has size, when\n"
        "correct the data, or section data of params.yaml"
    )


def test_a_column_that_one_of_several_files_lacks_stops_validate(project: Project) -> None:
    replace(project, a__csv=text(table()), b__csv=text(table().drop(columns=["colour"])))
    assert "colour" in refuses(project, "validate")


def test_an_empty_file_stops_validate(project: Project) -> None:
    replace(project, a__csv=text(table()), b__csv="")
    assert refuses(project, "validate") == ("data/b.csv has no rows; remove it or put rows into it")


def test_a_label_of_one_class_stops_validate(project: Project) -> None:
    replace(project, a__csv=text(table(label="no")))
    assert refuses(project, "validate") == (
        "column label has only 'no' in the data; a classifier needs at least two classes there"
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("notes__txt", "hello", "its name ends in .txt"),
        ("a__parquet", "hello", "Could not open Parquet input source"),
    ],
)
def test_a_file_that_is_no_table_stops_validate(
    project: Project, name: str, content: str, why: str
) -> None:
    replace(project, **{name: content})
    said = refuses(project, "validate")
    assert said.startswith(f"data/{name.replace('__', '.')} is not a CSV or Parquet table: {why}")


def test_two_types_of_files_stop_validate(project: Project) -> None:
    stream = io.BytesIO()
    table().to_parquet(stream, index=False)
    replace(project, a__csv=text(table()), b__parquet=stream.getvalue())
    assert refuses(project, "validate") == (
        "data holds more than one type of file (1 .csv, 1 .parquet); keep only CSV or only Parquet"
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            table().head(3),
            "the valid part of the split is empty (3 rows in all); "
            "change data.valid or data.holdout in params.yaml, or bring more rows",
        ),
        (
            table(label=["no", "yes"] * 35 + ["no"] * 30),
            "column label has only 'no' in the valid part of the split; "
            "a classifier needs at least two classes there",
        ),
    ],
    ids=["few-rows", "one-class"],
)
def test_rows_that_cannot_be_split_stop_prepare(
    project: Project, rows: pd.DataFrame, sentence: str
) -> None:
    replace(project, a__csv=text(rows))
    project.module("pipelines.validate")
    assert refuses(project, "prepare") == sentence


def test_prepare_without_validate_names_the_stage_to_run(project: Project) -> None:
    (project.root / "artifacts" / "contract.json").unlink()
    said = refuses(project, "prepare")
    assert said.endswith("artifacts/contract.json is not there; run `dvc repro validate` first")


# Parameters


@pytest.mark.parametrize(
    ("section", "changes", "stage", "sentence"),
    [
        (
            "data",
            {"tagret": "x"},
            "validate",
            "params.yaml: unknown key data.tagret; data has path, target, problem, positive, "
            "time, numeric, categorical, ignore, contract, valid, holdout",
        ),
        (
            "data",
            {"holdout": 0.9},
            "prepare",
            "params.yaml: data.holdout is 0.9: input should be less than 0.5",
        ),
        (
            "train",
            {"seed": "x"},
            "train",
            "params.yaml: train.seed is 'x': input should be a valid integer, unable to parse "
            "string as an integer",
        ),
        (
            "extra",
            {"a": 1},
            "check",
            "params.yaml: unknown section 'extra'; there are ingest, data, train, evaluate, "
            "tune, registry, gate, serve, experiment, monitor",
        ),
    ],
    ids=["unknown-key", "wrong-value", "wrong-type", "unknown-section"],
)
def test_a_wrong_params_yaml_stops_the_stage_that_reads_it(
    project: Project, section: str, changes: dict[str, Any], stage: str, sentence: str
) -> None:
    project.edit(section, **changes)
    assert refuses(project, stage) == sentence


@pytest.fixture(scope="module")
def refused_estimator(whole: Project) -> tuple[Any, dict[str, str], dict[str, str]]:
    """What train said to an estimator it refuses, and the state before and after."""
    written = (whole.root / "params.yaml").read_bytes()
    whole.edit("train", estimator="os.system")
    before = state(whole)
    done = whole.module("pipelines.train", "--output", "artifacts/train", code=1)
    after = state(whole)
    (whole.root / "params.yaml").write_bytes(written)
    return done, before, after


def test_an_estimator_of_a_package_that_is_not_allowed_stops_train(
    refused_estimator: tuple[Any, dict[str, str], dict[str, str]],
) -> None:
    done, before, after = refused_estimator
    assert "Traceback" not in done.stdout + done.stderr
    # MLflow may tell first that it made the experiment.
    assert done.stderr.splitlines()[-1] == (
        "Error: params.yaml: train.estimator is 'os.system': estimators may come from sklearn; "
        "train.packages allows further ones"
    )
    assert {**after, "runs": ""} == {**before, "runs": ""}


def test_a_refused_estimator_leaves_no_run(
    refused_estimator: tuple[Any, dict[str, str], dict[str, str]],
) -> None:
    _, before, after = refused_estimator
    assert after["runs"] == before["runs"]


@pytest.mark.parametrize(
    ("stage", "arguments", "sentence"),
    [
        ("check", ["--nope"], "No such option"),
        ("prepare", ["more"], "Got unexpected extra argument (more)"),
        ("train", ["--max_iter"], "further parameters come as --NAME VALUE"),
    ],
)
def test_a_wrong_use_of_a_stage_ends_with_two(
    project: Project, stage: str, arguments: list[str], sentence: str
) -> None:
    assert refuses(project, stage, *arguments, code=2).startswith(sentence)


# Versions of data and code


def test_data_that_is_not_there_stops_check(project: Project) -> None:
    shutil.rmtree(project.root / "data")
    assert refuses(project, "check") == "there is no data at data; `dvc pull data` brings it"
    project.edit("ingest", source="some.module")
    assert refuses(project, "check") == (
        "there is no data at data; `python -m pipelines.ingest` or `dvc pull data` brings it"
    )


def test_data_that_differs_from_its_pointer_stops_check(project: Project) -> None:
    recorded = yaml.safe_load((project.root / "data.dvc").read_text())["outs"][0]["md5"]
    replace(project, a__csv=text(table(size=1)))
    said = refuses(project, "check")
    assert said.startswith("data is not the version that data.dvc names (it is ")
    assert said.endswith(
        f", recorded is {recorded}); `dvc add data` makes it the next version, "
        "`dvc checkout data --force` brings the recorded one back"
    )


@pytest.mark.parametrize("way", [["add", "-q", "data"], ["checkout", "-q", "data", "--force"]])
def test_either_command_that_the_sentence_names_puts_it_right(
    project: Project, way: list[str]
) -> None:
    replace(project, a__csv=text(table(size=1)))
    refuses(project, "check")
    project.run("dvc", *way)
    project.module("pipelines.check")


def test_data_that_is_not_versioned_stops_check(project: Project) -> None:
    (project.root / "data.dvc").unlink()
    assert refuses(project, "check") == "data is not versioned; run `dvc add data`"


def test_a_folder_without_git_stops_check(project: Project) -> None:
    away = (project.root / ".git").rename(project.root / "git-away")
    try:
        assert refuses(project, "check") == (
            "this folder is not a git repository with a commit, so no run could be traced to "
            "its code; run `git init`, `git add -A` and `git commit`"
        )
    finally:
        away.rename(project.root / ".git")


def test_uncommitted_changes_are_allowed_and_shown_in_the_lineage(project: Project) -> None:
    assert lineage.collect(project.root).git_dirty == "false"
    changed = project.root / "pipelines" / "paths.py"
    changed.write_text(changed.read_text() + "# mine\n")
    project.module("pipelines.check")
    assert lineage.collect(project.root).git_dirty == "true"


def test_dvc_repro_stops_at_changed_data_and_leaves_its_pointer_as_it_was(
    project: Project,
) -> None:
    replace(project, a__csv=text(table(size=1)))
    before = state(project)
    done = project.run("dvc", "repro", code=None)
    assert done.returncode != 0
    assert "Error: data is not the version that data.dvc names (it is " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    after = state(project)
    # DVC takes away the outputs of a stage before it runs it.
    assert set(before) - set(after) <= {"artifacts/data.json"}
    assert {name: before[name] for name in after} == after
