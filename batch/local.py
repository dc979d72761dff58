"""Scoring on this machine: one process reads, others predict, and finished parts are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from batch import checks
from batch.errors import (
    AnswerUnusable,
    BatchError,
    ColumnsRefused,
    EveryRowRejected,
    InputChanged,
    InputColumnsDiffer,
    InputColumnsMissing,
    InputEmpty,
    InputTypeRefused,
    JobInterrupted,
    ModelFails,
    ModelUnusable,
    NoTextFor,
    OutputUnwritable,
    SignatureRefused,
)
from batch.job import ADDED, Done, Job, Progress, Told
from batch.model import answer_names
from batch.pool import Asked, Pool
from batch.source import About, Chunk, Source
from batch.state import Work, work
from batch.worker import Failed, Plan
from serving import signature
from serving.signature import Signature

Start = Callable[[Plan, int], Asked]
"""Starts so many processes that predict."""


def score(job: Job, told: Told, start: Start = Pool) -> Done:
    """Do a job, or go on with it. Raises BatchError."""
    began = time.monotonic()
    source = Source(job.input)
    takes = signature_of(job)
    about = {file.path: source.about(file.path) for file in job.files}
    passed = passed_on(job, takes, about)
    require_inputs(takes, about)
    if all(a.rows == 0 for a in about.values()):
        raise InputEmpty(job.input, "rows")
    with work(job) as place:
        plan = Plan(
            job.model, job.version, job.digest, takes.inputs, takes.outputs, passed, job.contract,
            source.format, job.output_format, place.at, place.new,
        )  # fmt: skip
        there = next(iter(about.values())).columns
        needed = [n for n in there if n in {*passed, *(c.name for c in takes.inputs)}]
        counts = [a.rows for a in about.values()]
        total = None if None in counts else sum(n or 0 for n in counts)
        chunks = source.chunks(needed, job.chunk_rows, set(place.receipts))
        try:
            _predict(
                place,
                chunks,
                lambda rows: told(Progress(rows, total, place.before, source.share())),
                lambda: start(plan, job.processes),
            )
            rows, rejected = place.rows, place.rejected
            if total is None:
                told(Progress(rows + rejected, rows + rejected, place.before))
            if Source(job.input).files != job.files:
                raise InputChanged(job.input)
            parts, schema = place.manifest(), place.schema
            _publish(place)
        except (KeyboardInterrupt, SystemExit):  # the second one comes of SIGTERM
            raise JobInterrupted(place.rows + place.rejected) from None
        seconds = time.monotonic() - began
        return Done(rows, rejected, seconds, place.at, schema, parts, place.before)


def signature_of(job: Job) -> Signature:
    """What the version takes and gives. Raises SignatureRefused."""
    try:
        found = signature.read(job.model)
    except (ValueError, OSError) as error:
        raise SignatureRefused(job.version, str(error)) from None
    if not found.by_column:
        raise SignatureRefused(job.version, "its signature names no columns")
    for column in found.inputs:
        if column.type not in checks.ARROW or column.shape != (-1,):
            raise SignatureRefused(job.version, f"column {column.name} is {column.type}")
    return found


def require_inputs(takes: Signature, about: Mapping[str, About]) -> None:
    """Raises InputColumnsMissing, InputTypeRefused."""
    for file, known in about.items():
        missing = [c.name for c in takes.inputs if c.required and c.name not in known.columns]
        if missing:
            raise InputColumnsMissing(file, missing, [*known.columns], "the model takes")
        for column in takes.inputs:
            found = known.columns.get(column.name)
            if found is None or known.rows is None:  # cells of CSV are looked at one by one
                continue
            if not checks.takes(column.type, found):
                raise InputTypeRefused(file, column.name, str(found), column.type)


def passed_on(job: Job, takes: Signature, about: Mapping[str, About]) -> tuple[str, ...]:
    """Input columns that are passed on.

    Raises InputColumnsMissing, InputColumnsDiffer, ColumnsRefused.
    """
    first = next(iter(about))
    passed = job.columns if job.columns is not None else tuple(about[first].columns)
    for file, known in about.items() if job.columns is not None else ():
        if missing := [name for name in passed if name not in known.columns]:
            raise InputColumnsMissing(file, missing, [*known.columns], "--columns names")
    inputs = {c.name for c in takes.inputs}

    def matters(known: About) -> dict[str, str]:
        """Columns that all files must have alike; of what is passed on, with their type."""
        return {
            name: str(kind) if name in passed and known.rows is not None else ""
            for name, kind in known.columns.items()
            if job.columns is None or name in passed or name in inputs
        }

    wanted = matters(about[first])
    for file, known in about.items():
        if differ := sorted({n for n, _ in matters(known).items() ^ wanted.items()}):
            raise InputColumnsDiffer(file, differ[0], first)
    for file, known in about.items() if job.output_format == "csv" else ():
        for name, kind in known.columns.items():
            if name in passed and pa.types.is_nested(kind):
                raise NoTextFor(file, name, str(kind))
    if twice := sorted({*passed} & {*answer_names(takes.outputs), *ADDED}):
        raise ColumnsRefused(twice)
    return passed


def _predict(
    place: Work, chunks: Iterator[Chunk], told: Callable[[int], None], start: Callable[[], Asked]
) -> None:
    """Every chunk that is not done yet; one more than there are processes is in memory."""
    waiting = next(chunks, None)
    if waiting is None:
        return
    pool = start()
    try:
        told(place.before)
        while waiting is not None or pool.busy:
            found = pool.answer() if waiting is None or not pool.idle else None
            if isinstance(found, Failed):
                raise error_of(place.job, found)
            if waiting is not None:
                pool.ask(waiting)
            if found is not None:
                place.keep(found)
                told(place.rows + place.rejected)
            waiting = next(chunks, None)
    finally:
        pool.end()


def error_of(job: Job, failed: Failed) -> BatchError:
    """What a failed chunk means for the whole job."""
    match failed.kind:
        case "load":
            return ModelUnusable(job.version, failed.why)
        case "fails":
            return ModelFails(job.version, failed.rows, failed.why)
        case "answer":
            return AnswerUnusable(job.version, failed.why)
        case "columns":
            return ColumnsRefused(failed.why.split(", "))
        case "write":
            return OutputUnwritable(job.output, failed.why)


def _publish(place: Work) -> None:
    """Raises InputEmpty, EveryRowRejected, OutputUnwritable."""
    rejected = place.rejected
    if not place.receipts:
        raise InputEmpty(place.job.input, "rows")
    if place.rows:
        place.publish()
        return
    reason = next(p.reason for _, p in sorted(place.receipts.items()))
    place.publish(output=False)
    raise EveryRowRejected(rejected, reason, place.job.rejects)
