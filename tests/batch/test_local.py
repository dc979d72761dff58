"""Jobs from beginning to end in one process; what interrupts them leaves no trace in the output."""

from __future__ import annotations

import contextlib
import fcntl
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch import local, state
from batch.errors import (
    AnswerUnusable,
    ColumnsRefused,
    EveryRowRejected,
    InputChanged,
    InputColumnsDiffer,
    InputColumnsMissing,
    InputEmpty,
    InputTypeRefused,
    JobDiffers,
    JobInterrupted,
    JobRunning,
    ModelFails,
    NoTextFor,
    OutputTaken,
    OutputUnwritable,
    SignatureRefused,
)
from batch.job import Done, Job, Progress, id_prefix
from batch.model import load
from serving.contract import Rule
from tests.batch.inline import by
from tests.tiny import table

AT = datetime(2026, 1, 31, 6, tzinfo=UTC)
Make = Callable[..., Job]


@pytest.fixture(scope="session")
def predict(files: Path) -> Any:
    return load(files)


@pytest.fixture
def score(predict: Any) -> Callable[..., Done]:
    """Do a job in this process."""

    def do(job: Job, told: Any = lambda _: None, ask: Any = predict) -> Done:
        return local.score(job, told, by(ask))

    return do


def rows(count: int, seed: int = 5) -> pd.DataFrame:
    """Numbers a and b, and a name that no model takes."""
    found = table(count, seed)[["a", "b"]]
    return found.assign(name=[f"r{n}" for n in range(count)])


def tree(path: Path) -> dict[str, bytes]:
    """Everything below a folder, or a file, by name."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("given_name", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("output", ["out", "out.csv", "out.parquet"])
def test_predictions_are_the_models_own(
    job: Make, score: Any, predict: Any, tmp_path: Path, given_name: str, output: str
) -> None:
    given_table = rows(250)
    made = job(given_table, given_name, output, at=AT)
    done = score(made)
    assert (done.rows, done.rejected, done.resumed) == (250, 0, 0)
    path = tmp_path / output
    if path.is_dir():
        parts = sorted(path.iterdir())
        assert [p.name for p in parts] == list(done.parts)
        assert [p.stem for p in parts] == ["part-00000", "part-00001", "part-00002"]
    else:
        parts = [path]
    read = pa_csv.read_csv if parts[0].suffix == ".csv" else pq.read_table
    found = pa.concat_tables([read(p) for p in parts])
    assert not (tmp_path / "out.rejects.csv").exists()
    assert not (tmp_path / f".{output}.score").exists()

    frame = found.to_pandas()
    answers = predict(given_table[["a", "b"]])
    assert [*frame.columns] == [
        "a", "b", "name", *answers.columns, "model_version", "prediction_id", "prediction_time",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(frame[["a", "b", "name"]], given_table, check_exact=True)
    for start in (0, 100, 200):  # as they were asked: the last bit may depend on the number of rows
        own = predict(given_table[["a", "b"]].iloc[start : start + 100])
        ours = frame[[*answers.columns]].iloc[start : start + 100]
        pd.testing.assert_frame_equal(
            ours.reset_index(drop=True), own.reset_index(drop=True), check_exact=True
        )
    assert set(frame["model_version"]) == {2}
    prefix = id_prefix("d" * 64, made.files[0])
    assert list(frame["prediction_id"]) == [f"{prefix}-{n}" for n in range(1, 251)]
    assert {pd.Timestamp(t).timestamp() for t in set(frame["prediction_time"])} == {AT.timestamp()}


def test_ids_are_those_of_the_file_and_not_of_its_name(
    job: Make, score: Any, predict: Any, tmp_path: Path
) -> None:
    def ids(output: str, given_table: pd.DataFrame | None) -> set[str]:
        score(job(given_table, "today.parquet", output, at=AT))
        found = pq.read_table(tmp_path / output).to_pandas()
        assert found["prediction_id"].is_unique
        return set(found["prediction_id"])

    monday = ids("monday.parquet", rows(50))
    assert ids("again.parquet", None) == monday
    assert not ids("tuesday.parquet", rows(50, seed=6)) & monday
    assert not ids("wednesday.parquet", rows(51)) & monday


def test_rejected_rows_are_told_with_their_values_and_reasons(
    job: Make, score: Any, tmp_path: Path
) -> None:
    given_table = rows(6).astype({"a": object})
    given_table.loc[1, "a"] = "much"
    given_table.loc[3, "a"] = None
    given_table.loc[4, ["a", "b"]] = [99.0, -50.0]
    made = job(given_table, "in.csv", contract={"a": Rule(missing=0, max=9), "b": Rule(min=-9)})
    path = Path(made.input)
    path.write_text(path.read_text() + "1,2\n1,2,last\n")
    made = replace(made, files=local.Source(made.input).files)
    done = score(made)
    assert (done.rows, done.rejected) == (4, 4)
    rejects = pd.read_csv(tmp_path / "out.rejects.csv", dtype=str, keep_default_na=False)
    assert rejects.drop(columns="b").to_dict("split")["data"] == [
        ["in.csv", "2", "a is no double", "much", "r1"],
        ["in.csv", "4", "a is missing", "", "r3"],
        ["in.csv", "5", "a is above 9; b is below -9", "99.0", "r4"],
        ["in.csv", "7", "has 2 fields instead of 3: 1,2", "", ""],
    ]
    kept = pd.read_csv(tmp_path / "out" / "part-00000.csv")
    assert list(kept["name"]) == ["r0", "r2", "r5", "last"]
    assert [i.rpartition("-")[2] for i in kept["prediction_id"]] == ["1", "3", "6", "8"]


def test_rows_on_which_the_model_fails_are_rejected(
    job: Make, score: Any, predict: Any, tmp_path: Path
) -> None:
    def picky(frame: pd.DataFrame) -> Any:
        if (frame["a"] > 2).any():
            raise ZeroDivisionError
        return predict(frame)

    given_table = rows(300)
    bad = [n + 1 for n, a in enumerate(given_table["a"]) if a > 2]
    done = score(job(given_table, "in.parquet"), ask=picky)
    assert (done.rows, done.rejected) == (300 - len(bad), len(bad))
    rejects = pd.read_csv(tmp_path / "out.rejects.csv")
    assert list(rejects["rejected_row"]) == bad
    assert set(rejects["rejected_reasons"]) == {"the model raised ZeroDivisionError"}


def test_columns_are_passed_on_by_name_and_optional_ones_may_be_missing(
    job: Make, score: Any, predict: Any, files: Path, tmp_path: Path
) -> None:
    done = score(job(rows(20), "in.parquet", columns=("name",)))
    assert [*done.schema][:2] == ["name", "prediction"]

    raw = yaml.safe_load((files / "MLmodel").read_text())
    inputs = json.loads(raw["signature"]["inputs"])
    raw["signature"]["inputs"] = json.dumps([{**c, "required": c["name"] == "a"} for c in inputs])
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(raw))
    seen = []

    def note(frame: pd.DataFrame) -> Any:
        seen.append(frame)
        return predict(frame.fillna(0.0))

    score(job(rows(20)[["a"]], "less.parquet", "less", model=tmp_path), ask=note)
    assert [*seen[0].columns] == ["a", "b"]
    assert seen[0]["b"].isna().all()
    assert seen[0]["b"].dtype == np.float64


class Stop:
    """Ctrl-C, or a kill that Python sees, after so many words of progress."""

    def __init__(self, after: int, kind: type[BaseException] = KeyboardInterrupt) -> None:
        self.left, self.kind = after, kind

    def __call__(self, _: Progress) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.kind


@settings(
    deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stops=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    processes=st.integers(1, 3),
    output=st.sampled_from(["out", "out.csv", "out.parquet"]),
    torn=st.booleans(),
)
def test_an_interrupted_job_ends_like_an_undisturbed_one(
    job: Make, score: Any, tmp_path: Path, stops: list[int], processes: int, output: str, torn: bool
) -> None:
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    given_table = rows(650).astype({"a": object})
    given_table.loc[[3, 120, 640], "a"] = "x"
    undisturbed = job(given_table, "in.csv", f"{folder.name}/1/{output}", at=AT)
    score(undisturbed)
    made = replace(undisturbed, output=str(folder / "2" / output), processes=processes)
    for stop in stops:
        with contextlib.suppress(JobInterrupted):
            score(made, Stop(stop))
        log = state.folder_of(made) / "done.jsonl"
        if not log.exists():  # it was done before Ctrl-C came
            break
        if torn:
            log.write_bytes(log.read_bytes()[:-5])
    else:
        done = score(made)
        assert done.rows + done.rejected == 650
    assert tree(folder / "2") == tree(folder / "1")


def test_the_prediction_time_is_that_of_the_first_start(
    job: Make, score: Any, tmp_path: Path
) -> None:
    made = job(rows(300), "in.csv")
    with pytest.raises(JobInterrupted, match=r"interrupted; 100 rows are done and kept"):
        score(made, Stop(1))
    path = tmp_path / ".out.score" / "job.json"
    first = json.loads(path.read_text())
    first["at"] = "2020-02-02T02:02:02+00:00"
    path.write_text(json.dumps(first))
    done = score(made)
    assert done.at == datetime(2020, 2, 2, 2, 2, 2, tzinfo=UTC)
    assert done.resumed == 100
    assert "2020-02-02 02:02:02" in (tmp_path / "out" / "part-00002.csv").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 3}, "its version was 2"),
        ({"digest": "e" * 64}, "its digest was dddddddddddd"),
        ({"columns": ("name",)}, "its --columns were all"),
        ({"chunk_rows": 50}, "its chunk rows was 100"),
        ({"output_format": "parquet"}, "its format was csv"),
        ({"contract": {"a": Rule(min=0)}}, "data.contract of params.yaml was another one"),
        ({"at": AT}, "its prediction time was"),
    ],
)
def test_another_job_does_not_go_on_with_it(
    job: Make, score: Any, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    made = job(rows(300), "in.csv")
    with pytest.raises(JobInterrupted):
        score(made, Stop(1))
    with pytest.raises(JobDiffers, match=r"give the same command again .* or --restart") as caught:
        score(replace(made, **changes))
    assert said in str(caught.value)
    again = score(replace(made, **changes, restart=True))
    assert again.resumed == 0
    assert again.rows + again.rejected == 300


def test_a_changed_input_is_another_job(job: Make, score: Any) -> None:
    made = job(rows(300), "in.csv")
    with pytest.raises(JobInterrupted):
        score(made, Stop(1))
    with pytest.raises(JobDiffers, match=r"in its input, in\.csv was another one"):
        score(job(rows(301), "in.csv"))


def test_an_input_that_changes_meanwhile(job: Make, score: Any, tmp_path: Path) -> None:
    made = job(rows(300), "in.csv")

    def append(_: Progress) -> None:
        with Path(made.input).open("a") as stream:
            stream.write("1,2,x\n")

    with pytest.raises(InputChanged, match="changed while it was scored"):
        score(made, append)
    assert not (tmp_path / "out").exists()


def test_two_at_once(job: Make, score: Any, tmp_path: Path) -> None:
    made = job(rows(300), "in.csv")
    with pytest.raises(JobInterrupted):
        score(made, Stop(1))
    with (tmp_path / ".out.score" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JobRunning, match="another process is making"):
            score(made)
        with pytest.raises(JobRunning):
            score(replace(made, restart=True))
    assert score(made).resumed == 100


@pytest.mark.parametrize("taken", ["out", "out.rejects.csv"])
def test_what_exists_is_left_as_it_is(job: Make, score: Any, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    for restart in (False, True):
        with pytest.raises(OutputTaken, match="exists and is left as it is"):
            score(job(rows(10), "in.csv", restart=restart))
    assert (tmp_path / taken).read_text() == "mine"
    assert not (tmp_path / ".out.score").exists()


@pytest.mark.parametrize("output", ["out", "out.csv", "out.parquet"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_the_output_is_put_in_its_place(
    job: Make, score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, moment: str
) -> None:
    class Killed(BaseException):
        """Nothing of ours runs any more."""

    given_table = rows(250).astype({"a": object})
    given_table.loc[3, "a"] = "x"
    undisturbed = job(given_table, "in.csv", f"one/{output}", at=AT)
    score(undisturbed)
    made = replace(undisturbed, output=str(tmp_path / "two" / output))
    place = state.Work._place

    def die(self: state.Work, what: Path, where: str) -> None:
        if where != made.output:
            return place(self, what, where)
        if moment == "after":
            place(self, what, where)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(state.Work, "_place", die)
        with pytest.raises(Killed):
            score(made)
    if moment == "before":  # what somebody puts there meanwhile is left alone
        Path(made.output).write_text("mine")
        with pytest.raises(OutputTaken):
            score(made)
        assert Path(made.output).read_text() == "mine"
        Path(made.output).unlink()
    done = score(made)
    assert (done.rows, done.rejected, done.resumed) == (249, 1, 250)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


@pytest.mark.parametrize("name", ["done.jsonl", "job.json"])
def test_what_an_interrupted_job_left_cannot_be_read(
    job: Make, score: Any, tmp_path: Path, name: str
) -> None:
    made = job(rows(650), "in.csv", at=AT)
    with pytest.raises(JobInterrupted):
        score(made, Stop(2))
    (state.folder_of(made) / name).write_text('{"later": 1}\n')
    if name == "job.json":
        with pytest.raises(JobDiffers, match="what it has left cannot be read"):
            score(made)
        made = replace(made, restart=True)
    assert score(made).resumed == 0


def test_a_refused_job_leaves_nothing_behind(job: Make, score: Any, tmp_path: Path) -> None:
    lists = rows(50).assign(tags=[[n] for n in range(50)])
    with pytest.raises(NoTextFor) as refused:
        score(job(lists, "in.parquet", "out.csv"))
    assert str(refused.value) == (
        "in.parquet: column tags is list<element: int64>, which CSV cannot hold; write Parquet "
        "(--format, or an output that ends in .parquet), or leave it out with --columns"
    )
    assert score(job(None, "in.parquet", "out.parquet")).rows == 50
    assert score(job(None, "in.parquet", "out.csv", columns=("a",))).rows == 50

    def fails(_: Any) -> Any:
        raise ValueError("no")

    with pytest.raises(ModelFails):
        score(job(rows(150), "b.csv", "never.csv"), ask=fails)
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_disk_that_fills_up(job: Make, score: Any, tmp_path: Path) -> None:
    undisturbed = job(rows(3000), "in.csv", "one/out.csv", at=AT)
    score(undisturbed)
    made = replace(undisturbed, output=str(tmp_path / "two" / "out.csv"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (5_000, 40_000):  # too small for a part; enough for parts, not for the whole
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OutputUnwritable) as caught:
                score(made)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "cannot be written: File too large; once it can, the" in str(caught.value)
        assert not Path(made.output).exists()
    assert score(made).resumed == 3000
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_parts_that_somebody_removed_are_made_again(job: Make, score: Any, tmp_path: Path) -> None:
    made = job(rows(300), "in.parquet", at=AT)
    score(replace(made, output=str(tmp_path / "whole")))
    with pytest.raises(JobInterrupted):
        score(made, Stop(2))
    (tmp_path / ".out.score" / "parts" / "part-00000.parquet").unlink()
    assert score(made).resumed == 100
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_job_that_was_killed_while_it_published(job: Make, score: Any, tmp_path: Path) -> None:
    given_table = rows(300).astype({"a": object})
    given_table.loc[5, "a"] = "x"
    for output in ("out", "out.csv"):
        made = job(given_table, "in.csv", f"two/{output}", at=AT)
        with pytest.raises(JobInterrupted, match="300 rows"):
            score(made, Stop(3))
        (state.folder_of(made) / "publishing").touch()
        Path(made.rejects).write_text("half of it")
        assert score(made).resumed == 300
        score(replace(made, output=str(tmp_path / "one" / output)))
        assert tree(tmp_path / "two") == tree(tmp_path / "one")
        for name in ("one", "two"):
            (tmp_path / name / "out.rejects.csv").unlink()


def test_urls_in_and_out(
    job: Make, score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memory = fsspec.filesystem("memory")
    given_table = rows(250).astype({"a": object})
    given_table.loc[7, "a"] = "x"
    memory.pipe("/batch/in/t.csv", given_table.to_csv(index=False).encode())
    score(job(None, "", "local", input="memory://batch/in", at=AT))
    made = job(None, "", "memory://batch/out", input="memory://batch/in", at=AT)
    with pytest.raises(JobInterrupted):
        score(made, Stop(2))
    assert not memory.exists("/batch/out")
    done = score(made)
    assert (done.resumed, done.rejected) == (200, 1)
    assert {p.rpartition("/")[2]: memory.cat(p) for p in memory.ls("/batch/out", detail=False)} == (
        tree(tmp_path / "local")
    )
    assert memory.cat("/batch/out.rejects.csv") == (tmp_path / "local.rejects.csv").read_bytes()
    assert not list((tmp_path / ".understudy" / "score").iterdir())
    with pytest.raises(OutputTaken):
        score(made)
    memory.rm("/batch", recursive=True)


def test_when_all_are_rejected_there_is_no_output(job: Make, score: Any, tmp_path: Path) -> None:
    made = job(rows(150).assign(a="x"), "in.csv")
    with pytest.raises(
        EveryRowRejected, match=r"each of the 150 rows was rejected, .*'a is no doub"
    ):
        score(made)
    assert len(pd.read_csv(tmp_path / "out.rejects.csv")) == 150
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.score").exists()


def test_a_model_that_always_fails(job: Make, score: Any) -> None:
    with pytest.raises(
        ModelFails, match=r"v2 fails on each of the 100 rows .* \(ZeroDivisionError"
    ):
        score(job(rows(150), "in.csv"), ask=lambda _: 1 / 0)


def test_an_answer_that_cannot_be_written(job: Make, score: Any) -> None:
    with pytest.raises(AnswerUnusable, match="the answer of v2 cannot be written: it has 1 rows"):
        score(job(rows(150), "in.csv"), ask=lambda _: pd.DataFrame({"prediction": ["no"]}))


def test_answers_whose_type_changes(job: Make, score: Any) -> None:
    calls = iter([1, 1.5])

    def moody(frame: pd.DataFrame) -> Any:
        return pd.DataFrame({"prediction": "no", "more": [next(calls)] * len(frame)})

    with pytest.raises(AnswerUnusable, match="column more is double here and int64 there"):
        score(job(rows(150), "in.csv"), ask=moody)


@pytest.mark.parametrize(
    ("given_table", "name", "more", "error", "said"),
    [
        (rows(9).drop(columns="b"), "in.csv", {}, InputColumnsMissing,
         "in.csv lacks b, which the model takes; it has a, name"),
        (rows(9), "in.csv", {"columns": ("nmae",)}, InputColumnsMissing,
         "in.csv lacks nmae, which --columns names; it has a, b, name"),
        (rows(9).rename(columns={"a": "a;b;name"})[["a;b;name"]], "in.csv", {}, InputColumnsMissing,
         "in.csv lacks a, b, which the model takes; it has a;b;name; fields are separated by "
         "commas"),
        (rows(9).assign(a="1"), "in.parquet", {}, InputTypeRefused,
         "in.parquet: column a is string, and the model takes double; convert it first"),
        (rows(9).assign(prediction=1, model_version=1), "in.csv", {}, ColumnsRefused,
         "model_version, prediction would be in the output twice"),
        (rows(0), "in.csv", {}, InputEmpty, "holds no rows, so there is nothing to score"),
        (rows(0), "in.parquet", {}, InputEmpty, "holds no rows, so there is nothing to score"),
    ],
)  # fmt: skip
def test_inputs_that_are_refused_before_anything_is_predicted(
    job: Make, score: Any, tmp_path: Path, given_table: pd.DataFrame, name: str,
    more: dict[str, Any], error: type[Exception], said: str,
) -> None:  # fmt: skip
    with pytest.raises(error) as caught:
        score(job(given_table, name, **more))
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_files_of_a_folder_have_the_same_columns(job: Make, score: Any, tmp_path: Path) -> None:
    rows(5).to_parquet((tmp_path / "in").mkdir() or tmp_path / "in" / "1.parquet")
    rows(5).drop(columns="name").to_parquet(tmp_path / "in" / "2.parquet")
    with pytest.raises(InputColumnsDiffer, match=r"name is another one in 2\.parquet than in 1"):
        score(job(None, "in"))
    assert score(job(None, "in", columns=("a",))).rows == 10
    rows(5).assign(name=1).to_parquet(tmp_path / "in" / "2.parquet")
    with pytest.raises(InputColumnsDiffer, match=r"name is another one in 2\.parquet"):
        score(job(None, "in", "other"))


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (None, "v2 cannot score tables: its signature names no columns"),
        ('[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]',
         "its signature names no columns"),
        ('[{"name": "a", "type": "array", "items": {"type": "long"}}]', "column a is array"),
        ("[{]", "its signature cannot be read"),
    ],
)  # fmt: skip
def test_signatures_that_name_no_plain_columns(
    job: Make, score: Any, files: Path, tmp_path: Path, signature: str | None, said: str
) -> None:
    raw = yaml.safe_load((files / "MLmodel").read_text())
    raw["signature"] = signature and {"inputs": signature, "outputs": None, "params": None}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(raw))
    with pytest.raises(SignatureRefused) as caught:
        score(job(rows(5), "in.csv", model=tmp_path))
    assert said in str(caught.value)


def test_progress_counts_every_row(job: Make, score: Any) -> None:
    told: list[Progress] = []
    score(job(rows(250), "in.parquet"), told.append)
    assert [(p.rows, p.total) for p in told] == [(0, 250), (100, 250), (200, 250), (250, 250)]
    told.clear()
    score(job(rows(250), "in.csv", "other"), told.append)
    assert [(p.rows, p.total) for p in told] == [
        (0, None), (100, None), (200, None), (250, None), (250, 250),
    ]  # fmt: skip
    shares = [p.share or 0.0 for p in told[:-1]]
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1
