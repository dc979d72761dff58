"""From a wish to an output: the version by the ledger, its verified files, an engine, a note."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from batch import local
from batch.errors import OutputInsideInput
from batch.job import Done, Format, Job, Told
from batch.source import Source
from batch.state import require_free
from registry import artifact, digest, produced
from registry.artifact import Chosen
from registry.errors import RegistryRefused, RegistryUnreachable
from registry.settings import without_password
from registry.store import Store
from serving.contract import Rules

Engine = Literal["local", "spark"]


@dataclass(frozen=True)
class Wish:
    """What somebody asks to be scored."""

    input: str
    output: str
    model: str
    version: int | None = None
    """None is the one in Production."""
    format: Format | None = None
    """Of a folder of parts; None is the input's."""
    columns: tuple[str, ...] | None = None
    at: datetime | None = None
    chunk_rows: int = 50_000
    processes: int = 1
    restart: bool = False
    engine: Engine = "local"


@dataclass(frozen=True)
class Scored:
    """What was made, and whether MLflow knows."""

    chosen: Chosen
    job: Job
    done: Done
    run: str = ""
    """The id of the note's run."""
    unnoted: str = ""
    """Why the registry did not take the note."""


def score(store: Store, wish: Wish, rules: Mapping[str, Rules], told: Told) -> Scored:
    """Score a table, or go on with it, and note it in MLflow.

    `rules` are those of `data.contract`, by model. Raises BatchError, and what
    `registry.artifact` raises.
    """
    _require_outside(wish)
    source = Source(wish.input)
    chosen = artifact.choose(store, wish.model, wish.version)
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        files = artifact.fetch(store, wish.model, chosen.version, chosen.digest, Path(folder))
        job = _job(wish, source, chosen, files, rules.get(wish.model, {}))
        if wish.engine == "spark":
            from batch import spark

            require_free(job)
            done = spark.score(job)
        else:
            done = local.score(job, told)
    try:
        return Scored(chosen, job, done, run=_note(store, chosen, job, done))
    except (RegistryUnreachable, RegistryRefused) as error:
        return Scored(chosen, job, done, unnoted=str(error))  # the output says itself what it is


def _job(wish: Wish, source: Source, chosen: Chosen, files: Path, rules: Rules) -> Job:
    by_name: Format | None = None
    if wish.output.lower().endswith(".csv"):
        by_name = "csv"
    elif wish.output.lower().endswith(".parquet"):
        by_name = "parquet"
    return Job(
        input=wish.input,
        files=source.files,
        input_format=source.format,
        output=wish.output,
        output_format=by_name or wish.format or source.format,
        model=files,
        name=chosen.model,
        version=chosen.version,
        digest=chosen.digest,
        columns=wish.columns,
        at=wish.at,
        contract=rules,
        chunk_rows=wish.chunk_rows,
        processes=wish.processes,
        restart=wish.restart,
    )


def _require_outside(wish: Wish) -> None:
    """Raises OutputInsideInput."""
    given = wish.input.rstrip("/")
    inside = wish.output.startswith(given + "/")
    if "://" not in wish.input + wish.output:
        inside = Path(wish.output).absolute().is_relative_to(Path(wish.input).absolute())
    if inside:
        raise OutputInsideInput(wish.output, wish.input)


def _note(store: Store, chosen: Chosen, job: Job, done: Done) -> str:
    """Raises RegistryUnreachable, RegistryRefused."""
    facts = {
        "input": without_password(job.input),
        "input_files": [asdict(file) for file in job.files[:1000]],
        "output": without_password(job.output),
        "rejects": without_password(job.rejects) if done.rejected else None,
        "prediction_time": done.at.isoformat(),
        "schema": dict(done.schema),
        "parts_digest": digest.of_manifest(done.parts) if done.parts else None,
        "resumed_rows": done.resumed,
    }
    metrics = {
        "rows": float(done.rows),
        "rejected": float(done.rejected),
        "seconds": done.seconds,
        "rows_per_second": (done.rows + done.rejected - done.resumed) / max(done.seconds, 1e-9),
    }
    return produced.note(store, chosen, "score", facts=facts, metrics=metrics)
