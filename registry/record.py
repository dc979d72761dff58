"""What a run keeps beside its model, for gates and monitoring: this module owns the format.

In the run's artifacts, under `understudy/`:

record.json        how to read the model's answers (class Record)
holdout.parquet    the rows that the model never saw, with the target
reference.parquet  a sample of what it was trained on, with its answers in columns `answer.NAME`
params.json        the sections of params.yaml as they were used, overrides included
data.json          md5 and files of the data version, its span, rows and columns (class Data)
pointer.dvc        the text of the data's .dvc file
code.diff          what the working copy had and its commit had not; only where there was such
environment.json   Python, platform, and the packages that make the model

The last five (class Origin) are what a version is explained and made again from. Runs of before
they were kept lack them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from registry import digest
from registry.metrics import Truth
from registry.problems import Problem

FOLDER = "understudy"
ORIGIN_TAG = "understudy.origin_sha256"
"""On a run and its versions, and so in the ledger's lineage: the hash of the origin's files."""
RECORD, HOLDOUT, REFERENCE = "record.json", "holdout.parquet", "reference.parquet"
PARAMS, DATA, POINTER = "params.json", "data.json", "pointer.dvc"
DIFF, ENVIRONMENT = "code.diff", "environment.json"
ORIGIN = (PARAMS, DATA, POINTER, DIFF, ENVIRONMENT)
"""The files that an Origin is read from; none of them is large but for a large diff."""
ANSWER = "answer."
"""How the name of a column of reference.parquet begins that holds an answer."""


@dataclass(frozen=True)
class Record:
    """How to read the model's answers and the rows kept with it."""

    problem: Problem
    target: str
    features: tuple[str, ...]
    metric: str
    classes: tuple[str, ...] = ()
    positive: str | None = None

    def truth(self, rows: pd.DataFrame) -> Truth:
        """The labels in `rows`, which must have the target's column."""
        labels = rows[self.target]
        kind = float if self.problem == "regression" else object
        return Truth(self.problem, labels.to_numpy(dtype=kind), self.classes, self.positive)


@dataclass(frozen=True)
class Data:
    """The data version that a run saw."""

    path: str = ""
    md5: str = ""
    files: tuple[Mapping[str, Any], ...] = ()
    """One mapping each: path, md5, size in bytes."""
    span: tuple[str, str] | None = None
    """The first and the last moment in the time column, ISO 8601; None without such a column."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of each part: train, valid, holdout."""
    columns: tuple[str, ...] = ()
    holdout_sha256: str = ""
    """Of the held-out rows' values (`rows_sha256`), to tell whether two runs held out the same."""


@dataclass(frozen=True)
class Environment:
    """Where a run was made."""

    python: str = ""
    platform: str = ""
    """Operating system and processor, such as `Linux x86_64`."""
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """What a run was made from; what is empty was not kept."""

    params: Mapping[str, Any] = field(default_factory=dict)
    """Sections data, train, evaluate and registry, by name."""
    data: Data = field(default_factory=Data)
    pointer: str = ""
    diff: bytes = b""
    environment: Environment = field(default_factory=Environment)
    sha256: str = ""
    """Of the files it was read from (`origin_sha256`)."""


def write_origin(folder: Path, origin: Origin) -> str:
    """Write what there is of an origin into `folder`, which is made; returns `origin_sha256`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (
        (PARAMS, origin.params),
        (DATA, asdict(origin.data)),
        (ENVIRONMENT, asdict(origin.environment)),
    ):
        (folder / name).write_text(json.dumps(value, indent=2, default=str) + "\n")
    if origin.pointer:
        (folder / POINTER).write_text(origin.pointer)
    if origin.diff:
        (folder / DIFF).write_bytes(origin.diff)
    return origin_sha256(folder)


def origin_sha256(folder: Path) -> str:
    """The digest (registry.digest) of the files of an origin; empty where there are none."""
    there = {n: digest.of_file(folder / n) for n in ORIGIN if (folder / n).is_file()}
    return digest.of_manifest(there) if there else ""


def read_origin(folder: Path) -> Origin:
    """Read an origin back. Never raises: what is missing or of another form is empty."""
    params = _mapping(folder / PARAMS)
    pointer, diff = _bytes(folder / POINTER), _bytes(folder / DIFF)
    return Origin(
        {name: dict(values) for name, values in params.items() if isinstance(values, Mapping)},
        _built(Data, _mapping(folder / DATA)),
        pointer.decode(errors="replace"),
        diff,
        _built(Environment, _mapping(folder / ENVIRONMENT)),
        origin_sha256(folder),
    )


def rows_sha256(rows: pd.DataFrame) -> str:
    """SHA-256 over the columns' names and every row's hash, hexadecimal; the order counts."""
    names = "\n".join(map(str, rows.columns)).encode()
    hashes = pd.util.hash_pandas_object(rows, index=False).to_numpy()
    return hashlib.sha256(names + b"\0" + hashes.tobytes()).hexdigest()


def write(folder: Path, record: Record, *, holdout: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Write record.json, holdout.parquet and reference.parquet into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n")
    holdout.to_parquet(folder / HOLDOUT, index=False)
    reference.to_parquet(folder / REFERENCE, index=False)


def read(folder: Path) -> Record:
    """Read record.json back. Raises ValueError when it is missing or of another form."""
    try:
        raw = json.loads((folder / RECORD).read_text())
        lists = {key: tuple(raw[key]) for key in ("features", "classes")}
        return Record(**{**raw, **lists})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{RECORD} cannot be read ({type(error).__name__})") from None


def holdout(folder: Path) -> pd.DataFrame:
    """The held-out rows. Raises ValueError when they are missing."""
    try:
        return pd.read_parquet(folder / HOLDOUT)
    except (OSError, ValueError) as error:
        raise ValueError(f"{HOLDOUT} cannot be read ({type(error).__name__})") from None


def reference(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sample of training rows, and the answers kept with it under their own names.

    Both of shape (rows, columns), in the same order. Raises ValueError when they are missing.
    """
    try:
        kept = pd.read_parquet(folder / REFERENCE)
    except (OSError, ValueError) as error:
        raise ValueError(f"{REFERENCE} cannot be read ({type(error).__name__})") from None
    named = {c: c.removeprefix(ANSWER) for c in kept.columns if c.startswith(ANSWER)}
    if not named:
        raise ValueError(f"{REFERENCE} holds no answers")
    return kept.drop(columns=list(named)), kept[list(named)].rename(columns=named)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _built(kind: Any, raw: Mapping[str, Any]) -> Any:
    """A dataclass from the keys it knows, where they have the type of its defaults."""
    empty = kind()
    values: dict[str, Any] = {}
    for known in fields(kind):
        value, like = raw.get(known.name), getattr(empty, known.name)
        value = tuple(value) if isinstance(value, list) else value
        if known.name == "span":
            values["span"] = value if isinstance(value, tuple) and len(value) == 2 else None
        elif known.name == "files" and isinstance(value, tuple):
            values["files"] = tuple(file for file in value if isinstance(file, Mapping))
        elif isinstance(value, type(like)):
            values[known.name] = value
    return kind(**values)
