"""`understudy score` as it is called: a real ledger, real processes, real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from batch.errors import TimeRefused
from batch.job import Progress
from cli.main import main
from cli.score import progress
from registry import produced
from registry.errors import RegistryUnreachable
from registry.store import Store
from tests.batch import kills
from tests.cli.conftest import OFF, Shell
from tests.conftest import REPOSITORY
from tests.tiny import table

ROWS = 300


@pytest.fixture
def scoring(shell: Shell, one_live: Path) -> Shell:
    """Version 1 of `m` is in Production; the project lies beside a table of its inputs."""
    shutil.copy2(one_live, shell.tiny.uri.removeprefix("sqlite:///"))
    write(shell.root / "in.csv", ROWS)
    return shell


def write(path: Path, rows: int) -> None:
    table(rows, 9)[["a", "b"]].to_csv(path, index=False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", "out"), "Invalid value for 'INPUT': it is empty"),
        (("in.csv", " "), "Invalid value for 'OUTPUT': it is empty"),
        (("in.csv", "out", "--columns", "a, b,a"), "--columns names a twice"),
        (("in.csv", "out", "--engine", "spark", "--restart"), "--restart is of the local engine"),
        (("in.csv", "out", "--engine", "spark", "--processes", "2"), "--processes is of the local"),
    ],
)
def test_what_cannot_be_meant_ends_with_two(arguments: tuple[str, ...], says: str) -> None:
    found = CliRunner().invoke(main, ["score", *arguments])
    assert found.exit_code == 2
    assert says in found.output


def test_a_password_of_an_address_is_told_to_nobody(scoring: Shell) -> None:
    said = scoring("score", "http://ana:s3cret@127.0.0.1:9/in.csv", "out", code=1)
    assert "s3cret" not in said.stdout + said.stderr
    assert "http://127.0.0.1:9/in.csv" in said.stderr


def test_what_is_in_production_scores_and_mlflow_knows(scoring: Shell) -> None:
    (scoring.root / "params.yaml").write_text(
        f"registry: {{model: m}}\ngate: {{{OFF}}}\ndata: {{contract: {{a: {{min: -1}}}}}}\n"
    )
    given = pd.read_csv("in.csv")
    bad = [n + 1 for n, a in enumerate(given["a"]) if a < -1]
    assert bad
    said = json.loads(
        scoring(
            "score", "in.csv", "out.csv", "--processes", "2", "--chunk-rows", "100",
            "--at", "2026-01-31T07:00:00+01:00", "--json", code=3,
        ).stdout
    )  # fmt: skip
    out = pd.read_csv("out.csv")
    assert (said["version"], said["rows"], said["rejected"]) == ("1", len(out), len(bad))
    assert list(pd.read_csv("out.rejects.csv")["rejected_row"]) == bad
    assert set(out["model_version"]) == {1}
    assert set(out["prediction_time"]) == {"2026-01-31 06:00:00.000000Z"}

    store = Store(scoring.tiny.uri)
    model = mlflow.pyfunc.load_model(store.location(store.shown("m").versions[1]))
    own = model.predict(given.drop(index=[n - 1 for n in bad]))
    assert list(out["prediction"]) == list(own["prediction"])
    shares = [c for c in own.columns if c.startswith("probability_")]
    pd.testing.assert_frame_equal(
        out[shares], own[shares].reset_index(drop=True), check_exact=False, rtol=1e-14
    )

    run = mlflow.MlflowClient().get_run(said["run"])
    assert run.data.tags[produced.KIND_TAG] == "score"
    assert (run.data.metrics["rows"], run.data.metrics["rejected"]) == (len(out), len(bad))
    noted = json.loads(
        Path(mlflow.artifacts.download_artifacts(f"runs:/{said['run']}/delivery.json")).read_text()
    )
    assert noted["digest"] == said["digest"]
    assert [f["path"] for f in noted["input_files"]] == ["in.csv"]
    assert (noted["rejects"], noted["resumed_rows"]) == ("out.rejects.csv", 0)
    assert noted["schema"]["prediction"] == "string"


def test_a_named_version_and_an_output_that_stands_where_the_registry_takes_no_note(
    scoring: Shell, monkeypatch: Any
) -> None:
    def down(*_: Any, **__: Any) -> str:
        raise RegistryUnreachable("http://mlflow:5000", "connection refused")

    monkeypatch.setattr(produced, "note", down)
    done = scoring("score", "in.csv", "out", "--version", "2", "--columns", "a")
    assert re.fullmatch(rf"{ROWS} rows predicted by m v2 in [\d.]+ s: out\n", done.stdout)
    assert "not noted in MLflow: the MLflow store at http://mlflow:5000" in done.stderr
    found = pd.read_csv("out/part-00000.csv")
    assert [*found.columns][:2] == ["a", "prediction"]
    assert len(found) == ROWS
    assert scoring.refused("score", "in.csv", "out") == (
        "out exists and is left as it is; name another output, or remove it first"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.csv", "out"], "there is no file or folder no.csv"),
        (["in.csv", "out", "--version", "9"], "m has no version 9"),
        (["in.csv", "out", "--model", "other"], "other"),
        (["in.csv", "out", "--at", "noon"], str(TimeRefused("noon"))),
        (
            ["in.csv", "out", "--at", "0001-01-01T00:00+01:00"],
            str(TimeRefused("0001-01-01T00:00+01:00")),
        ),
        (["in.csv", "out", "--at", "2026-01-01T00:00"], str(TimeRefused("2026-01-01T00:00"))),
        ([".", "out"], "the output out lies in the input .; name one outside it"),
        (["in.csv", "nosuch://out"], "nosuch://out cannot be opened"),
    ],
)
def test_what_is_refused_makes_nothing(scoring: Shell, arguments: list[str], said: str) -> None:
    before = sorted(p.name for p in scoring.root.iterdir())
    assert said in scoring.refused("score", *arguments)
    assert sorted(p.name for p in scoring.root.iterdir()) == before


def test_an_altered_artifact_scores_nothing(scoring: Shell, monkeypatch: Any) -> None:
    original = Store.download_model

    def altered(self: Store, source: str, folder: Path) -> Path:
        found = original(self, source, folder)
        (found / "MLmodel").write_text((found / "MLmodel").read_text() + "\n")
        return found

    monkeypatch.setattr(Store, "download_model", altered)  # artifacts of the tests are shared
    assert "is not what was registered" in scoring.refused("score", "in.csv", "out")
    assert not Path("out").exists()


def test_usage() -> None:
    for words in (["in.csv"], ["in.csv", "out", "--processes", "0"], ["a", "b", "--format", "x"]):
        assert CliRunner().invoke(main, ["score", *words]).exit_code == 2


def test_what_mlflow_run_leaves_empty_has_its_default(scoring: Shell) -> None:
    write(scoring.root / "in.csv", 20)
    empty = ("--version=", "--columns=", "--format=")
    scoring("score", "in.csv", "out", *empty)
    assert list(pd.read_csv("out/part-00000.csv").columns[:2]) == ["a", "b"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(scoring: Shell, sign: signal.Signals) -> None:
    write(scoring.root / "in.csv", 8000)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.score", "in.csv", "out.csv", "--chunk-rows", "20"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    kills.until(scoring.root / ".out.csv.score", 5, process)
    process.send_signal(sign)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert out == ""
    assert re.fullmatch(
        r"(\.\.\. .*\n)*"  # what is told of a job that takes half a minute
        r"Error: interrupted; [\d,]+ rows are done and kept, the same command goes on with them\n",
        err,
    )


@pytest.mark.parametrize(
    ("now", "seconds", "line"),
    [
        (Progress(1500, None), 3.0, "1,500 rows, 500 rows/s"),
        (Progress(500, 1000), 1.0, "[##########          ]  50% 500 rows, 500 rows/s, 1 s to go"),
        (Progress(500, 1000, resumed=400), 1.0,
         "[##########          ]  50% 500 rows, 100 rows/s, 5 s to go"),
        (Progress(500, None, share=0.25), 1.0,
         "[#####               ]  25% 500 rows, 500 rows/s, 3 s to go"),
        (Progress(0, None, share=0.0), 1.0, "[                    ]   0% 0 rows, 0 rows/s"),
        (Progress(0, 1000), 1.0, "[                    ]   0% 0 rows, 0 rows/s"),
    ],
)  # fmt: skip
def test_progress(now: Progress, seconds: float, line: str) -> None:
    assert progress(now, seconds) == line


def test_the_project_has_an_entry_point_for_mlflow() -> None:
    entry = yaml.safe_load((REPOSITORY / "MLproject").read_text())["entry_points"]
    assert set(entry["score"]["parameters"]) == {
        "input", "output", "version", "columns", "format", "engine", "processes", "chunk_rows",
    }  # fmt: skip
