"""Scoring on Spark, for what outgrows one machine: the output is the one that `batch.local` makes.

Each task reads and checks rows with the code of the local engine, MLflow's `spark_udf` predicts
them, and the local engine's code writes them again. So parts, prediction ids and rejects have the
same bytes. What differs: a row on which the model fails ends the job, a job does not go on after
an interruption (Spark itself repeats tasks that fail), moments reach the model in microseconds,
and one CSV file is one task. Workers need this project and the model's packages, as the driver
has them: `spark_udf` with its `env_manager` "local". The others send each value as JSON to a
server that MLflow starts for every task, and the workers need this project anyway.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.fs

from batch import assemble, local, worker
from batch.errors import EveryRowRejected, InputChanged, InputEmpty, SignatureRefused
from batch.job import Done, File, Job
from batch.model import PREDICTION, Model, answer_names
from batch.source import Chunk, Source, opened
from batch.state import writing
from batch.worker import Failed, Part, Plan
from pipelines import spark
from serving.signature import Column

_TYPES = {
    "boolean": "boolean", "integer": "int", "long": "bigint", "float": "float", "double": "double",
    "string": "string", "datetime": "timestamp_ntz", "binary": "binary",
}  # fmt: skip
"""Spark's word by MLflow's."""
_ANSWERS = ("boolean", "integer", "long", "float", "double", "string")
"""What `spark_udf` can answer."""
_RECEIPT = pa.schema(
    {"task": pa.int64(), "chunk": pa.int64(), "part": pa.bool_(), "text": "string"}
)


def score(job: Job) -> Done:
    """Do a job whose output does not exist. Raises BatchError, SparkError."""
    began = time.monotonic()
    takes = local.signature_of(job)
    result = _result_type(job, takes.outputs)
    source = Source(job.input)
    about = {file.path: source.about(file.path) for file in job.files}
    passed = local.passed_on(job, takes, about)
    local.require_inputs(takes, about)
    if all(a.rows == 0 for a in about.values()):
        raise InputEmpty(job.input, "rows")
    at = job.at or datetime.now(UTC).replace(microsecond=0)
    plan = Plan(
        job.model, job.version, job.digest, takes.inputs, takes.outputs, passed, job.contract,
        source.format, job.output_format, at, Path(),
    )  # fmt: skip
    there = next(iter(about.values())).columns
    needed = tuple(n for n in there if n in {*passed, *(c.name for c in takes.inputs)})
    tasks = _tasks(job, {path: a.rows for path, a in about.items()})
    with _staging(job) as staging:
        parts = _run(job, _Shared(source, plan, tasks, needed, job.chunk_rows, staging), result)
        if Source(job.input).files != job.files:
            raise InputChanged(job.input)
        manifest = _publish(job, parts, staging)
    schema = next((p.schema for p in parts if p.schema), {})
    rows, rejected = sum(p.rows for p in parts), sum(p.rejected for p in parts)
    return Done(rows, rejected, time.monotonic() - began, at, schema, manifest)


def _result_type(job: Job, outputs: Sequence[Column]) -> str | None:
    """What `spark_udf` is told of the answer; None where it reads it off the signature itself."""
    if not answer_names(outputs):
        raise SignatureRefused(job.version, "it does not name the columns of its answer for Spark")
    for column in outputs:
        if column.type not in _ANSWERS or column.shape != (-1,):
            raise SignatureRefused(
                job.version, f"Spark takes no {column.type} in {column.name or PREDICTION}"
            )
    return _TYPES[outputs[0].type] if len(outputs) == 1 else None


@dataclass(frozen=True)
class _Task:
    file: File
    chunk: int | None
    """Number of the chunk in the file; None is all of them."""


def _tasks(job: Job, rows: Mapping[str, int | None]) -> tuple[_Task, ...]:
    """A chunk of a Parquet file each; a CSV file must be read from its beginning."""
    found: list[_Task] = []
    for file in job.files:
        count = rows[file.path]
        chunks: Iterable[int | None] = (
            [None] if count is None else range(-(-count // job.chunk_rows))
        )
        found += [_Task(file, chunk) for chunk in chunks]
    return tuple(found)


@dataclass(frozen=True)
class _Shared:
    """What goes to every task; its methods run there."""

    source: Source
    plan: Plan
    tasks: tuple[_Task, ...]
    columns: tuple[str, ...]
    size: int
    staging: str

    def chunks(self) -> Iterator[Chunk]:
        """Those of this task, numbered from the beginning of their file."""
        task = self.tasks[_task()]
        source = copy.copy(self.source)
        source.files = (task.file,)
        if task.chunk is None:
            yield from source.chunks(self.columns, self.size)
        else:
            yield next(source.chunks(self.columns, self.size, range(task.chunk)))

    def inputs(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows that keep the contract, in the model's types, as columns c0, c1, ..."""
        for _ in batches:  # only the task's number; what is left unread ends the worker
            pass
        for chunk in self.chunks():
            values, why = worker.checked(chunk, self.plan)
            good = pa.array([True] * len(chunk.rows), pa.bool_())
            for mask in why.values():
                good = pa.compute.and_(good, pa.array(~mask))
            columns = [_for_spark(values[c.name]) for c in self.plan.inputs]
            names = [f"c{i}" for i in range(len(columns))]
            yield from pa.table(columns, names=names).filter(good).to_batches()

    def parts(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write each chunk with its answers, and give a receipt for it."""
        answers = _Answers(batches, answer_names(self.plan.outputs))
        model = Model(answers.of, self.plan.outputs)
        with tempfile.TemporaryDirectory() as folder:
            plan = replace(self.plan, folder=Path(folder))
            for chunk in self.chunks():
                found = worker.answer(chunk, plan, model)
                if isinstance(found, Part):
                    found = self._sent(found, Path(folder))
                yield _receipt(chunk, found)
                if isinstance(found, Failed):
                    return
        answers.require_none_left()

    def _sent(self, part: Part, folder: Path) -> Part | Failed:
        system, path = opened(self.staging)
        try:
            for name in filter(None, (part.file, part.rejects)):
                _copy(str(folder / name), pa.fs.LocalFileSystem(), f"{path}/{name}", system)
                (folder / name).unlink()
        except OSError as error:
            return Failed("write", error.strerror or str(error))
        return part


def _task() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        raise RuntimeError("this runs in a task of Spark only")
    return int(context.partitionId())


def _for_spark(values: pa.Array) -> pa.Array:
    """Spark knows microseconds."""
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.timestamp("us"), safe=False)
    return values


def _receipt(chunk: Chunk, found: Part | Failed) -> pa.RecordBatch:
    row = {
        "task": _task(),
        "chunk": chunk.number,
        "part": isinstance(found, Part),
        "text": json.dumps(asdict(found)),
    }
    return pa.RecordBatch.from_pylist([row], schema=_RECEIPT)


class _Answers:
    """The answers of one task, in the order of its rows."""

    def __init__(self, batches: Iterator[pa.RecordBatch], names: list[str]) -> None:
        self._batches, self._names = batches, names
        self._waiting = pd.DataFrame()

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Those to the next so many rows; only the number of `frame`'s rows matters."""
        found = [self._waiting]
        have = len(self._waiting)
        while have < len(frame):
            batch = next(self._batches, None)
            if batch is None:
                # No Exception: what a model raises makes its rows rejected ones.
                raise SystemExit("the input changed while it was scored")
            found.append(self._frame(batch))
            have += batch.num_rows
        whole = pd.concat(found, ignore_index=True) if len(found) > 1 else self._waiting
        self._waiting = whole.iloc[len(frame) :].reset_index(drop=True)
        return whole.iloc[: len(frame)]

    def _frame(self, batch: pa.RecordBatch) -> pd.DataFrame:
        (answer,) = batch.columns
        columns = answer.flatten() if pa.types.is_struct(answer.type) else [answer]
        return pd.DataFrame(
            {name: values.to_pandas() for name, values in zip(self._names, columns, strict=True)}
        )

    def require_none_left(self) -> None:
        """The second reading must have found the rows of the first."""
        if len(self._waiting) or any(batch.num_rows for batch in self._batches):
            raise RuntimeError("the input changed while it was scored")


def _run(job: Job, shared: _Shared, result: str | None) -> list[Part]:
    """The parts in the order of the input. Raises BatchError, SparkError."""
    session = spark.session(f"score {job.name} v{job.version}")
    from pyspark.sql import functions as f

    inputs = ", ".join(f"c{i} {_TYPES[c.type]}" for i, c in enumerate(shared.plan.inputs))
    with _batches_of(session, job.chunk_rows), spark.failing():
        predict = _udf(session, job.model, result)
        columns = [f.col(f"c{i}").alias(c.name) for i, c in enumerate(shared.plan.inputs)]
        answered = (
            session.range(0, len(shared.tasks), 1, len(shared.tasks))
            .mapInArrow(shared.inputs, inputs)
            .select(predict(f.struct(*columns)).alias("answer"))
            .mapInArrow(shared.parts, "task bigint, chunk bigint, part boolean, text string")
            .collect()
        )
    found: list[Part] = []
    for row in sorted(answered, key=lambda row: (row["task"], row["chunk"])):
        said = json.loads(row["text"])
        if not row["part"]:
            raise local.error_of(job, Failed(**said))
        found.append(replace(Part(**said), chunk=len(found)))
    return found


def _udf(session: Any, model: Path, result: str | None) -> Any:
    import mlflow.pyfunc

    log = logging.getLogger("mlflow")
    before = log.level
    log.setLevel(logging.ERROR)  # it advises against env_manager "local", see above
    try:
        return mlflow.pyfunc.spark_udf(session, str(model), result, env_manager="local")
    finally:
        log.setLevel(before)


@contextmanager
def _batches_of(session: Any, rows: int) -> Iterator[None]:
    """A chunk goes to the model at once, as with the local engine."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = session.conf.get(key)
    session.conf.set(key, rows)
    try:
        yield
    finally:
        session.conf.set(key, before)


@contextmanager
def _staging(job: Job) -> Iterator[str]:
    """A folder beside the output for what tasks write, which is gone afterwards."""
    whole = job.output.rstrip("/")
    folder, _, name = whole.rpartition("/")
    staging = f"{folder}{'/' if '/' in whole else ''}.{name}.spark-{os.urandom(6).hex()}"
    system, path = opened(staging)
    with writing(job):
        system.create_dir(path, recursive=True)
    try:
        yield staging
    finally:
        with writing(job):
            if system.get_file_info(path).type != pa.fs.FileType.NotFound:
                system.delete_dir(path)


def _publish(job: Job, parts: Sequence[Part], staging: str) -> dict[str, str]:
    """Put rejects, then the output where they belong; gives SHA-256 by part.

    Raises InputEmpty, EveryRowRejected, OutputUnwritable.
    """
    if not parts:
        raise InputEmpty(job.input, "rows")
    rejects = [p.rejects for p in parts if p.rejects]
    written = [p for p in parts if p.file]
    names = {f"part-{p.chunk:05}.{job.output_format}": p for p in written}
    with writing(job):
        if rejects:
            _assembled(rejects, job.rejects, staging, "csv")
        if not written:
            reason = next(p.reason for p in parts if p.rejects)
            raise EveryRowRejected(sum(p.rejected for p in parts), reason, job.rejects)
        if job.one_file:
            _assembled([p.file for p in written], job.output, staging, job.output_format)
        else:
            _moved({p.file: name for name, p in names.items()}, job.output, staging)
    return {name: p.sha256 for name, p in names.items()}


def _assembled(names: Sequence[str], where: str, staging: str, kind: str) -> None:
    """One file of parts, made here and moved to its place once it is whole."""
    system, path = opened(staging)
    _, place = opened(where)
    with tempfile.TemporaryDirectory() as folder:
        own = [Path(folder) / name for name in names]
        for name, part in zip(names, own, strict=True):
            _copy(f"{path}/{name}", system, str(part), pa.fs.LocalFileSystem())
        whole = Path(folder) / "whole"
        (assemble.csv if kind == "csv" else assemble.parquet)(own, whole)
        _copy(str(whole), pa.fs.LocalFileSystem(), f"{path}/whole", system)
    system.move(f"{path}/whole", place)


def _moved(names: Mapping[str, str], where: str, staging: str) -> None:
    """The folder of parts. A store without folders gets them one by one, or none of them."""
    system, path = opened(staging)
    _, place = opened(where)
    local_disk = isinstance(system, pa.fs.LocalFileSystem)
    target = f"{path}/parts" if local_disk else place
    system.create_dir(target, recursive=True)
    try:
        for old, new in names.items():
            system.move(f"{path}/{old}", f"{target}/{new}")
    except BaseException:
        system.delete_dir(target)
        raise
    if local_disk:
        Path(target).rename(place)


def _copy(
    given: str, from_system: pa.fs.FileSystem, output: str, to_system: pa.fs.FileSystem
) -> None:
    pa.fs.copy_files(given, output, source_filesystem=from_system, destination_filesystem=to_system)
