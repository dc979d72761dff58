"""Where the stages of dvc.yaml leave their outputs, relative to the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.errors import StageMissing

DATA = Path("artifacts/data.json")
TABLE = Path("artifacts/table.parquet")
CONTRACT = Path("artifacts/contract.json")
PREPARED = Path("artifacts/prepared")
RUN = Path("artifacts/train/run.json")
VERSION = Path("artifacts/register/version.json")

PARENT_RUN = "UNDERSTUDY_PARENT_RUN"
"""Environment variable: the run of the MLproject's main entry point, for the runs it causes."""


def need(root: Path, path: Path, stage: str) -> Path:
    """`path` in the project, once it is there. Raises StageMissing naming its stage."""
    if not (root / path).exists():
        raise StageMissing(path.as_posix(), stage)
    return root / path


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, making its folder; the same value gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document."""
    return json.loads(path.read_text())
