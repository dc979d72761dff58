"""A process that predicts: a chunk comes in, a finished part and its rejects lie on the disk."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from batch import checks
from batch.job import (
    FILE,
    MODEL_VERSION,
    PREDICTION_ID,
    PREDICTION_TIME,
    REASONS,
    ROW,
    Format,
    id_prefix,
)
from batch.model import AlwaysFails, Model, NoTable, load
from batch.source import Chunk
from serving.contract import Rules
from serving.signature import Column


@dataclass(frozen=True)
class Plan:
    """What each process knows of the job."""

    model: Path
    version: int
    digest: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    passed: tuple[str, ...]
    rules: Rules
    input_format: Format
    output_format: Format
    at: datetime
    folder: Path
    """Where parts are written under names of their own; whoever reads the answer moves them."""


@dataclass(frozen=True)
class Part:
    """One chunk, done."""

    chunk: int
    rows: int
    rejected: int
    file: str
    """Name of the written part below the plan's folder; empty where nothing was predicted."""
    rejects: str
    """The same of the rejected rows."""
    sha256: str = ""
    size: int = 0
    schema: Mapping[str, str] | None = None
    reason: str = ""
    """Of the first rejected row."""


@dataclass(frozen=True)
class Failed:
    """What ends the job; an error with a sentence of its own would not survive the pipe."""

    kind: Literal["load", "fails", "answer", "columns", "write"]
    why: str
    rows: int = 0


Places = np.ndarray[Any, np.dtype[np.intp]]


class _Twice(Exception):
    """Columns of the output that have one name."""


def main(connection: Connection, plan: Plan) -> None:
    """Answer each Chunk with a Part or Failed, until nobody asks any more."""
    warnings.simplefilter("ignore")  # of a model, for every chunk again
    pa.set_cpu_count(1)
    try:
        model = Model(load(plan.model), plan.outputs)
    except Exception as error:  # whatever the model's own code does
        said = str(error).strip().partition("\n")[0][:200]
        connection.send(Failed("load", f"{type(error).__name__}: {said}"))
        return
    try:
        while True:
            connection.send(answer(connection.recv(), plan, model))
    except (EOFError, OSError):  # whoever asked is gone
        return


def answer(chunk: Chunk, plan: Plan, model: Model) -> Part | Failed:
    """`score`, with its errors as values."""
    try:
        return score(chunk, plan, model)
    except AlwaysFails as error:
        return Failed("fails", error.kind, error.rows)
    except NoTable as error:
        return Failed("answer", str(error))
    except _Twice as error:
        return Failed("columns", str(error))
    except OSError as error:
        return Failed("write", error.strerror or str(error))


def score(chunk: Chunk, plan: Plan, model: Model) -> Part:
    """Check, predict, write. Raises AlwaysFails, NoTable, OSError."""
    values, why = checked(chunk, plan)
    bad = np.zeros(len(chunk.rows), bool)
    for mask in why.values():
        bad |= mask
    places = np.flatnonzero(~bad)
    frame = pa.table({c.name: values[c.name] for c in plan.inputs}).take(places).to_pandas()
    answers, failed = model.predict(frame)
    for kind in set(failed.values()):
        mask = np.zeros_like(bad)
        mask[places[[place for place, other in failed.items() if other == kind]]] = True
        why[f"the model raised {kind}"] = mask
    rejects = _rejects(chunk, why)
    kept = np.delete(places, list(failed))
    part = Part(
        chunk.number,
        len(kept),
        rejects.num_rows,
        "",
        _written(rejects, "csv", plan.folder)[0] if rejects.num_rows else "",
        reason=rejects[REASONS][0].as_py() if rejects.num_rows else "",
    )
    if answers is None:
        return part
    table = _output(chunk, plan, values, kept, answers)
    name, sha256, size = _written(table, plan.output_format, plan.folder, plan.passed)
    schema = {field.name: str(field.type) for field in table.schema}
    return Part(
        part.chunk, part.rows, part.rejected, name, part.rejects, sha256, size, schema, part.reason
    )


def checked(chunk: Chunk, plan: Plan) -> tuple[dict[str, pa.Array], dict[str, checks.Mask]]:
    """Inputs in the model's types (of CSV, what is passed on, too), and rows by what they break."""
    text, table = plan.input_format == "csv", chunk.table
    values: dict[str, pa.Array] = {}
    strange: dict[str, checks.Mask] = {}
    for column in plan.inputs:
        name, kind = column.name, column.type
        if name in table.column_names:
            values[name], strange[name] = checks.convert(
                table[name].combine_chunks(), kind, text=text
            )
        else:
            values[name] = pa.nulls(table.num_rows, checks.ARROW[kind])
            strange[name] = np.zeros(table.num_rows, bool)
    why = checks.broken(plan.inputs, plan.rules, values, strange)
    for name in plan.passed if text else ():
        if name not in values:
            values[name], odd = checks.as_text(table[name].combine_chunks())
            if odd.any():
                why[f"{name} is no text in UTF-8"] = odd
    return values, why


def _output(
    chunk: Chunk, plan: Plan, values: Mapping[str, pa.Array], kept: Places, answers: pa.Table
) -> pa.Table:
    """What is passed on, the model's answers, and what is added. Raises _Twice."""
    text, count = plan.input_format == "csv", len(kept)
    columns = [values[n] if text else chunk.table[n] for n in plan.passed]
    found = [(n, v.take(pa.array(kept))) for n, v in zip(plan.passed, columns, strict=True)]
    found += zip(answers.column_names, answers.columns, strict=True)
    prefix = id_prefix(plan.digest, chunk.file)
    rows = pa.array(chunk.rows[kept]).cast(pa.string())
    found += [
        (MODEL_VERSION, pa.array(np.full(count, plan.version, np.int64))),
        (PREDICTION_ID, pc.binary_join_element_wise(prefix, rows, "-")),
        (PREDICTION_TIME, pa.repeat(pa.scalar(plan.at, pa.timestamp("us", "UTC")), count)),
    ]
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _Twice(", ".join(twice))
    return pa.table([value for _, value in found], names=names)


def _rejects(chunk: Chunk, why: Mapping[str, checks.Mask]) -> pa.Table:
    """Rejected rows with their own values as text, in the order of the file."""
    bad = np.flatnonzero(np.logical_or.reduce(list(why.values()))) if why else np.empty(0, int)
    rows = chunk.rows[bad].tolist()
    reasons = ["; ".join(reason for reason, mask in why.items() if mask[i]) for i in bad]
    own = chunk.table.take(pa.array(bad, pa.int64()))
    rows += [row for row, _ in chunk.malformed]
    reasons += [reason for _, reason in chunk.malformed]
    order = np.argsort(np.array(rows, np.int64), kind="stable")
    empty: list[str | None] = [None] * len(chunk.malformed)
    columns = {name: _texts(own[name]) + empty for name in own.column_names}
    table = {
        FILE: pa.array([chunk.file.path] * len(rows), pa.string()),
        ROW: pa.array(rows, pa.int64()),
        REASONS: pa.array(reasons, pa.string()),
        **{
            n: pa.array(v, pa.string()) for n, v in columns.items() if n not in (FILE, ROW, REASONS)
        },
    }
    return pa.table(table).take(pa.array(order))


def _texts(values: pa.ChunkedArray) -> list[str | None]:
    return [
        v if v is None else v.decode(errors="replace") if isinstance(v, bytes) else str(v)
        for v in values.to_pylist()
    ]


def _written(
    table: pa.Table, kind: Format, folder: Path, repeating: Sequence[str] = ()
) -> tuple[str, str, int]:
    """Name, SHA-256 and size of a new file. Raises OSError.

    A dictionary of values that hardly repeat, as predictions do, costs time and saves no space.
    """
    buffer = io.BytesIO()
    if kind == "parquet":
        pa.parquet.write_table(table, buffer, use_dictionary=list(repeating))
    else:
        pa.csv.write_csv(table, buffer)
    content = buffer.getbuffer()
    name = f"{os.getpid()}.{os.urandom(6).hex()}"
    with (folder / name).open("xb") as stream:
        stream.write(content)
    return name, hashlib.sha256(content).hexdigest(), len(content)
