"""What a job has done, on the disk: finished parts and a receipt for each, beside the output.

The folder belongs to one process at a time. A part is moved to its name whole, and then its receipt
is written; what has no receipt is done again, with the same result.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs

from batch import assemble
from batch.errors import (
    AnswerUnusable,
    BatchError,
    JobDiffers,
    JobInterrupted,
    JobRunning,
    OutputTaken,
    OutputUnwritable,
)
from batch.job import Job
from batch.source import opened
from batch.worker import Part
from registry.settings import without_password


def folder_of(job: Job) -> Path:
    """Where the state of a job lies: beside its output, or below .understudy for a URL."""
    if "://" in job.output:
        name = hashlib.sha256(job.output.encode()).hexdigest()[:16]
        return Path.cwd() / ".understudy" / "score" / name
    output = Path(job.output).absolute()
    return output.parent / f".{output.name}.score"


@contextmanager
def writing(job: Job) -> Iterator[None]:
    """Turns what the disk says into OutputUnwritable."""
    try:
        yield
    except OSError as error:
        raise OutputUnwritable(job.output, error.strerror or str(error)) from None


@dataclass
class Work:
    """A job's folder, ours alone."""

    job: Job
    folder: Path
    at: datetime
    """The prediction time of every row."""
    receipts: dict[int, Part]
    log: IO[bytes]
    before: int = 0
    """Rows, predicted or rejected, that an interrupted run had done."""
    rows: int = 0
    """Rows predicted so far."""
    rejected: int = 0
    placed: bool = False
    """Whether an interrupted run had put the output in its place."""

    @property
    def new(self) -> Path:
        """Where processes write."""
        return self.folder / "new"

    @property
    def schema(self) -> Mapping[str, str]:
        """Type by column of the output; empty before the first part."""
        return next((p.schema for p in self.receipts.values() if p.schema), {})

    def keep(self, part: Part) -> None:
        """Take over a part that was written. Raises OutputUnwritable, AnswerUnusable."""
        if part.schema and self.schema and part.schema != self.schema:
            name = next(n for n in part.schema if part.schema[n] != self.schema.get(n))
            why = f"column {name} is {part.schema[name]} here and {self.schema.get(name)} there"
            raise AnswerUnusable(self.job.version, why)
        with writing(self.job):
            if part.file:
                self._move(part.file, self._part(part))
            if part.rejects:
                self._move(part.rejects, self._rejects(part))
            self.log.write(json.dumps(asdict(part)).encode() + b"\n")
            self.log.flush()
            os.fsync(self.log.fileno())
        self.count(part)

    def _move(self, name: str, place: Path) -> None:
        """A file takes its place once its bytes are on the disk."""
        _fsync(self.new / name)
        (self.new / name).replace(place)
        _fsync(place.parent)

    def count(self, part: Part) -> None:
        """Take note of a part that is in its place."""
        self.receipts[part.chunk] = part
        self.rows += part.rows
        self.rejected += part.rejected

    def _part(self, part: Part) -> Path:
        return self.folder / "parts" / f"part-{part.chunk:05}.{self.job.output_format}"

    def _rejects(self, part: Part) -> Path:
        return self.folder / "rejects" / f"{part.chunk:05}.csv"

    def is_there(self, part: Part) -> bool:
        """Whether the files of a receipt are; somebody may have removed them."""
        path = self._part(part)
        whole = not part.file or (path.is_file() and path.stat().st_size == part.size)
        return whole and (not part.rejects or self._rejects(part).is_file())

    def manifest(self) -> dict[str, str]:
        """SHA-256 of each part by its name."""
        parts = (self.receipts[n] for n in sorted(self.receipts))
        return {self._part(p).name: p.sha256 for p in parts if p.file}

    def publish(self, *, output: bool = True) -> None:
        """Put rejects, then the output where they belong, and forget the job.

        Raises OutputUnwritable, UrlRefused.
        """
        if self.placed:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        done = [self.receipts[n] for n in sorted(self.receipts)]
        with writing(self.job):
            (self.folder / "publishing").touch()
            if rejects := [self._rejects(p) for p in done if p.rejects]:
                whole = self.folder / "rejects.csv"
                assemble.csv(rejects, whole)
                self._place(whole, self.job.rejects)
            if output:
                made = self.folder / "parts"
                if self.job.one_file:
                    made = self.folder / "whole"
                    parts = [self._part(p) for p in done if p.file]
                    (assemble.csv if self.job.output_format == "csv" else assemble.parquet)(
                        parts, made
                    )
                (self.folder / "placing").touch()
                self._place(made, self.job.output)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, made: Path, where: str) -> None:
        if "://" not in where:
            made.replace(Path(where).absolute())
            _fsync(Path(where).absolute().parent)
            return
        system, path = opened(where)
        with writing(self.job):
            if made.is_dir():
                system.create_dir(path, recursive=True)
            pa.fs.copy_files(str(made), path, pa.fs.LocalFileSystem(), system)


@contextmanager
def work(job: Job) -> Iterator[Work]:
    """The job's folder, with what an interrupted run of the same job has left there.

    Raises OutputTaken, OutputUnwritable, JobRunning, JobDiffers, UrlRefused.
    """
    folder = folder_of(job)
    placed = not job.restart and _is_placed(job, folder)
    if not (folder / "publishing").exists() or job.restart:
        require_free(job)
    elif not placed and "://" not in job.output and os.path.lexists(job.output):
        raise OutputTaken(job.output)  # somebody else's, from after the interruption
    with writing(job):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JobRunning(job.output) from None
        if not (folder / "lock").exists():  # who had it has just finished
            raise OutputTaken(job.output)
        with writing(job):
            if job.restart:
                _clear(folder)
            at = _same(job, folder)
            for name in ("new", "parts", "rejects"):
                (folder / name).mkdir(exist_ok=True)
            for left in (folder / "new").iterdir():
                left.unlink(missing_ok=True)
            receipts, length = _receipts(folder / "done.jsonl")
            log = (folder / "done.jsonl").open("ab")
        with log:
            log.truncate(length)
            found = Work(job, folder, at, {}, log, placed=placed)
            for part in receipts.values():
                if placed or found.is_there(part):
                    found.count(part)
            found.before = found.rows + found.rejected
            try:
                yield found
            except BatchError as error:
                if not found.receipts and not isinstance(error, JobInterrupted):
                    shutil.rmtree(folder, ignore_errors=True)  # nothing to go on with
                raise


def _is_placed(job: Job, folder: Path) -> bool:
    """Whether the output of an interrupted run is there whole, and only its folder was left."""
    made = folder / ("whole" if job.one_file else "parts")
    began = (folder / "placing").exists() and "://" not in job.output
    return began and not made.exists() and os.path.lexists(job.output)


def require_free(job: Job) -> None:
    """Raises OutputTaken, UrlRefused."""
    for where in (job.output, job.rejects):
        system, path = opened(where)
        with writing(job):
            if system.get_file_info(path).type != pa.fs.FileType.NotFound:
                raise OutputTaken(where)


def _receipts(path: Path) -> tuple[dict[int, Part], int]:
    """Receipts by chunk, and the length of all whole lines; the last one may be torn."""
    found: dict[int, Part] = {}
    length = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            part = Part(**json.loads(line))
        except (ValueError, TypeError):  # torn, or of another version of this software
            break
        if not line.endswith(b"\n"):
            break
        found[part.chunk] = part
        length += len(line)
    return found, length


def _same(job: Job, folder: Path) -> datetime:
    """The prediction time, once the interrupted job, if any, was this one. Raises JobDiffers."""
    path, now = folder / "job.json", _identity(job)
    if not path.exists():
        at = job.at or datetime.now(UTC).replace(microsecond=0)
        text = json.dumps({"job": now, "at": at.isoformat()}, indent=1)
        _write(path, text)
        return at
    try:
        known = json.loads(path.read_text())
        before, at = dict(known["job"]), datetime.fromisoformat(known["at"])
    except (ValueError, TypeError, KeyError):
        raise JobDiffers(job.output, ["what it has left cannot be read"]) from None
    differences = [
        _difference(key, before.get(key), now[key]) for key in now if before.get(key) != now[key]
    ]
    if job.at is not None and job.at != at:
        differences.append(f"its prediction time was {at.isoformat()}")
    if differences:
        raise JobDiffers(job.output, differences)
    return at


def _identity(job: Job) -> dict[str, Any]:
    """All that the bytes of the output depend on, but the moment; in JSON's types."""
    local = "://" not in job.input
    return {
        "version": job.version,
        "model": job.name,
        "digest": job.digest,
        "input": str(Path(job.input).absolute()) if local else without_password(job.input),
        "files": {f.path: [f.size, f.changed] for f in job.files},
        "columns": None if job.columns is None else list(job.columns),
        "chunk rows": job.chunk_rows,
        "format": job.output_format,
        "contract": {c: rule.model_dump(mode="json") for c, rule in job.contract.items()},
    }


def _difference(key: str, before: Any, now: Any) -> str:
    if key == "files":
        files = sorted(f for f in {**before, **now} if before.get(f) != now.get(f))
        return f"in its input, {files[0]} was another one"
    if key == "columns":
        return f"its --columns were {'all' if before is None else ','.join(before)}"
    if key == "contract":
        return "data.contract of params.yaml was another one"
    if key == "digest":
        return f"its digest was {before[:12]}"
    return f"its {key} was {before}"


def _clear(folder: Path) -> None:
    """Everything but the lock, which is ours."""
    for path in folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    new = path.with_suffix(".new")
    with new.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    """Of a file or a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
