"""What a run keeps beside its model, for gates and monitoring: this module owns the format.

In the run's artifacts, under `understudy/`: record.json (this class), holdout.parquet (the rows
that the model never saw, with the target) and reference.parquet (a sample of what it was trained
on, with its answers).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from registry.metrics import Truth
from registry.problems import Problem

FOLDER = "understudy"
RECORD, HOLDOUT, REFERENCE = "record.json", "holdout.parquet", "reference.parquet"


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


def write(folder: Path, record: Record, *, holdout: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Write all three files into `folder`, which is made."""
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
