"""What is to be scored, whichever engine does it, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from serving.contract import Rules

Format = Literal["csv", "parquet"]

MODEL_VERSION, PREDICTION_ID, PREDICTION_TIME = "model_version", "prediction_id", "prediction_time"
ADDED = (MODEL_VERSION, PREDICTION_ID, PREDICTION_TIME)
"""Columns of the output after those that are passed on and those of the model: a 64-bit whole
number, text, and a moment in UTC to the microsecond."""
FILE, ROW, REASONS = "rejected_file", "rejected_row", "rejected_reasons"
"""Columns of the rejects file before the row's own: path below the input, number of the data row
from 1 (the header and empty lines are not counted), and why, separated by `; `."""


@dataclass(frozen=True)
class File:
    """One file of the input. What is not known of it (by some stores) is empty."""

    path: str
    """Below the input; its name where the input is one file."""
    size: int
    changed: str
    """When it was last changed, or its etag."""


@dataclass(frozen=True)
class Job:
    """One table to be scored by one version; its files are verified."""

    input: str
    """A path or a URL, of a file or a folder."""
    files: tuple[File, ...]
    """What the input holds, sorted by path; never empty, and all of one format."""
    input_format: Format
    output: str
    """A path or a URL: a folder of parts, or one file where it ends in .csv or .parquet."""
    output_format: Format
    model: Path
    """The verified files of the version, a folder that MLflow can load; not to be changed."""
    name: str
    """Of the registered model."""
    version: int
    digest: str
    columns: tuple[str, ...] | None = None
    """Input columns to pass on; None is all of them."""
    at: datetime | None = None
    """The prediction time, with its zone; None is the job's start."""
    contract: Rules = field(default_factory=dict)
    """Rules of `data.contract`, by column; those of columns that the model takes are held."""
    chunk_rows: int = 50_000
    processes: int = 1
    restart: bool = False
    """Forget what an interrupted job of the same output has done."""

    @property
    def one_file(self) -> bool:
        """Whether the output is one file and no folder."""
        return self.output.lower().endswith((".csv", ".parquet"))

    @property
    def rejects(self) -> str:
        """Where rejected rows go, always CSV; without any, the file is not there."""
        stem = self.output.rstrip("/")
        return (stem.rpartition(".")[0] if self.one_file else stem) + ".rejects.csv"


@dataclass(frozen=True)
class Done:
    """What came of a job."""

    rows: int
    """Rows that were predicted."""
    rejected: int
    seconds: float
    """Of this run of the job, from before the model is loaded until the output is there."""
    at: datetime
    schema: Mapping[str, str]
    """Type by column of the output."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each part by its name, empty where an engine does not know them."""
    resumed: int = 0
    """Rows, predicted or rejected, that an interrupted run had done before."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    rows: int
    """Predicted or rejected, those of an interrupted run before included."""
    total: int | None
    """None where it is not known beforehand."""
    resumed: int = 0
    share: float | None = None
    """Of the input's bytes that were read, where rows are not known but bytes are."""


Told = Callable[[Progress], None]
"""Is told now and then how far a job is."""


def id_prefix(digest: str, file: File) -> str:
    """What the prediction ids of one input file begin with; `-` and the row's number follow.

    They are the same whenever the same version scores the same row of the same file, and others for
    a file of the same name that came in its place.
    """
    told = f"{digest}\n{file.path}\n{file.size}\n{file.changed}"
    return hashlib.sha256(told.encode()).hexdigest()[:24]
