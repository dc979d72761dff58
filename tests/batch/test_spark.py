"""Scoring on Spark in local mode: the same bytes as the local engine, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from batch import local
from batch import spark as engine
from batch.errors import (
    EveryRowRejected,
    InputChanged,
    InputColumnsMissing,
    InputEmpty,
    OutputUnwritable,
    SignatureRefused,
)
from batch.job import Job
from batch.source import Source
from pipelines import spark
from pipelines.errors import SparkFailed
from serving.contract import Rule
from serving.signature import Column
from tests.batch.inline import by

LACKING = spark.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

RULES = {"size": Rule(min=0.0), "colour": Rule(missing=0)}


def rows(count: int, seed: int) -> pd.DataFrame:
    """Numbers with gaps, categories with gaps, and what no model looks at."""
    rng = np.random.default_rng(seed)
    size = rng.normal(1.5, 1, count)
    size[rng.random(count) < 0.1] = np.nan
    colour = rng.choice(np.array(["red", "green", "blue", None], object), count)
    return pd.DataFrame(
        {
            "key": rng.integers(0, 255, count).astype("uint8"),
            "when": pd.date_range("2026-01-01", periods=count, freq="1111111ns"),
            "size": size,
            "colour": colour,
            "note": pd.Categorical(rng.choice(["a, b", 'say "no"', "é\nè"], count)),
            "weight": rng.lognormal(size=count),
        }
    )


@pytest.fixture(scope="module", autouse=True)
def _session() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(SPARK_MASTER="local[2]", SPARK_LOCAL_IP="127.0.0.1")
    session = spark.session("tests")
    session.sparkContext.setLogLevel("OFF")
    yield
    session.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def model(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gradient boosting with a category, as the pipeline builds and logs it."""
    import mlflow

    from pipelines import schema, track
    from pipelines.model import build
    from pipelines.params import DataParams, TrainParams

    folder = tmp_path_factory.mktemp("model")
    shutil.copy2(migrated, folder / "mlflow.db")
    known = rows(600, 1)[["size", "colour", "weight"]]
    known["y"] = np.where((known["size"] > 1.5) ^ (known["colour"] == "red"), "yes", "no")
    contract = schema.resolve(known, DataParams(target="y", problem="binary"))
    params = TrainParams(
        estimator="sklearn.ensemble.HistGradientBoostingClassifier", params={"max_iter": 20}
    )
    features = known[list(contract.features)]
    fitted = build(contract, params).fit(features, known["y"])
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("x", (folder / "artifacts").as_uri())
    mlflow.set_experiment("x")
    with mlflow.start_run():
        uri = track.model(fitted, features, ("sklearn",))
    return Path(mlflow.artifacts.download_artifacts(uri))


def contents(path: Path) -> dict[str, bytes]:
    """Path to bytes of all that lies at or beside it with its name."""
    found = {}
    for file in sorted(path.parent.glob(f"{path.name.partition('.')[0]}*")):
        for each in [file] if file.is_file() else sorted(file.rglob("*")):
            found[str(each.relative_to(path.parent)).replace(path.name, "OUT")] = each.read_bytes()
    return found


def both(job: Job, tmp_path: Path) -> tuple[Any, Any]:
    """What the two engines say of one job; their outputs have the same bytes."""
    from registry.store import load

    name = Path(job.output).name
    outputs = [tmp_path / kind / name for kind in ("local", "spark")]
    for output in outputs:
        output.parent.mkdir()
    at = pd.Timestamp("2026-03-01T12:00:00Z").to_pydatetime()
    jobs = [replace(job, output=str(output), at=at) for output in outputs]
    first = local.score(jobs[0], lambda _: None, by(load(job.model).predict))
    second = engine.score(jobs[1])
    found = contents(outputs[1])
    assert found == contents(outputs[0])
    assert found
    assert [p.name for p in outputs[1].parent.iterdir() if p.name.startswith(".")] == []
    return first, second


@pytest.mark.parametrize(
    ("given", "output", "more"),
    [
        ("in.parquet", "out", {}),
        ("in.parquet", "out.csv", {"columns": ("key", "note")}),
        ("in.csv", "out", {"output_format": "parquet"}),
        ("in.csv", "out.parquet", {"columns": ()}),
    ],
    ids=["parquet", "parquet-to-one-csv", "csv", "csv-to-one-parquet"],
)
def test_the_output_has_the_bytes_of_the_local_engine(
    job: Callable[..., Job],
    model: Path,
    tmp_path: Path,
    given: str,
    output: str,
    more: dict[str, Any],
) -> None:
    made = job(rows(950, 2), given, output, model=model, contract=RULES, chunk_rows=500, **more)
    first, second = both(made, tmp_path)
    assert (second.rows, second.rejected) == (first.rows, first.rejected)
    assert min(second.rows, second.rejected) > 100
    assert (second.schema, second.parts, second.at) == (first.schema, first.parts, first.at)


def test_a_folder_of_files_gives_the_same_bytes_and_unique_ids(
    job: Callable[..., Job], model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in" / "below"
    folder.mkdir(parents=True)
    for name, count in (("in/a.parquet", 250), ("in/below/b.parquet", 90)):
        rows(count, count).to_parquet(tmp_path / name, row_group_size=40)
    rows(60, 4).assign(size=-1.0).to_parquet(folder / "all-rejected.parquet")
    made = job(None, "in", "out", model=model, contract=RULES, chunk_rows=100)
    first, second = both(made, tmp_path)
    assert second.parts == first.parts
    whole = pa.parquet.read_table(tmp_path / "spark" / "out").to_pandas()
    assert len(whole) == second.rows
    assert whole["prediction_id"].is_unique


def test_malformed_rows_of_csv_are_rejected_alike(
    job: Callable[..., Job], model: Path, tmp_path: Path
) -> None:
    text = rows(40, 3).to_csv(index=False).splitlines(keepends=True)
    (tmp_path / "in.csv").write_text(
        "".join([*text[:20], "1,2\n", "x,,y,red,n,much\n", *text[20:]])
    )
    _, done = both(job(None, "in.csv", "out", model=model, chunk_rows=15), tmp_path)
    assert done.rejected >= 2


def test_nothing_is_left_of_a_job_that_fails(
    job: Callable[..., Job], files: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(files, broken)
    (broken / "model.skops").write_bytes(b"no model")
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    made = job(table, "in.parquet", model=broken)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SparkFailed, match="Spark gave up: "):
        engine.score(made)
    assert sorted(tmp_path.iterdir()) == before


def test_rows_that_are_all_rejected_leave_their_reasons_and_no_output(
    job: Callable[..., Job], files: Path, tmp_path: Path
) -> None:
    table = pd.DataFrame({"a": [-1.0, -2.0], "b": [1.0, 2.0]})
    made = job(table, "in.parquet", contract={"a": Rule(min=0.0)})
    with pytest.raises(EveryRowRejected, match="each of the 2 rows was rejected"):
        engine.score(made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet", "out.rejects.csv"]


def test_what_cannot_be_scored_is_refused_before_a_task_runs(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    with pytest.raises(InputColumnsMissing, match="lacks b"):
        engine.score(job(pd.DataFrame({"a": [1.0]}), "in.parquet"))
    with pytest.raises(InputEmpty):
        engine.score(job(pd.DataFrame({"a": [], "b": []}, dtype=float), "empty.parquet"))
    (tmp_path / "file").touch()
    table = pd.DataFrame({"a": [1.0], "b": [1.0]})
    with pytest.raises(OutputUnwritable):
        engine.score(job(table, "in2.parquet", output="file/out"))


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ((), "it does not name the columns of its answer for Spark"),
        ((Column("", "double"), Column("", "double")), "it does not name the columns"),
        ((Column("p", "datetime"),), "Spark takes no datetime in p"),
        ((Column("", "double", shape=(-1, 3)),), "Spark takes no double in prediction"),
    ],
)
def test_an_answer_that_spark_cannot_give_is_refused(
    job: Callable[..., Job], outputs: tuple[Column, ...], why: str
) -> None:
    made = job(pd.DataFrame({"a": [1.0], "b": [1.0]}), "in.parquet")
    with pytest.raises(SignatureRefused, match=why):
        engine._result_type(made, outputs)


def test_an_input_that_changes_meanwhile_is_noticed(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(pd.DataFrame({"a": [1.0], "b": [1.0]}), "in.parquet")
    run = engine._run

    def changing(*given: Any) -> Any:
        done = run(*given)
        os.utime(tmp_path / "in.parquet", (1, 1))
        return done

    monkeypatch.setattr(engine, "_run", changing)
    with pytest.raises(InputChanged):
        engine.score(made)
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


def test_answers_are_dealt_out_by_number_and_none_may_be_missing_or_left() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for some in ([1.0, 2.0, 3.0], [], [4.0, None]):
            yield pa.record_batch([pa.array(some, pa.float64())], names=["answer"])

    answers = engine._Answers(batches(), ["p"])
    dealt = [answers.of(pd.DataFrame(index=range(n)))["p"].tolist() for n in (1, 3)]
    assert dealt == [[1.0], [2.0, 3.0, 4.0]]
    with pytest.raises(RuntimeError, match="the input changed"):
        answers.require_none_left()
    assert np.isnan(answers.of(pd.DataFrame(index=[0]))["p"].tolist()[0])
    answers.require_none_left()
    with pytest.raises(SystemExit):
        answers.of(pd.DataFrame(index=[0]))


def test_a_url_is_written_as_a_folder_is(
    job: Callable[..., Job], files: Path, tmp_path: Path
) -> None:
    made = job(pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]}), "in.parquet")
    target = f"{(tmp_path / 'url').as_uri()}"
    done = engine.score(replace(made, output=target))
    assert [p.name for p in (tmp_path / "url").iterdir()] == list(done.parts)
    assert Source(target).files[0].path == "part-00000.parquet"
