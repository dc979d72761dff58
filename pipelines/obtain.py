"""Brings what a fresh clone lacks: the data, and the prepared rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipelines import paths
from pipelines.errors import DataMissing, StageMissing
from pipelines.params import data_params, ingest_params


def data(root: Path) -> None:
    """Have the data in place: from DVC's cache or remote, else from its source.

    Data that is there is left alone. Raises DataMissing.
    """
    name = data_params(root).path
    if (root / name).exists():
        return
    if _quietly(root, "dvc", "pull", name) or not ingest_params(root).source:
        if not (root / name).exists():
            raise DataMissing(name, [f"`dvc pull {name}`, with a remote that has it,"])
        return
    if not _aloud(root, sys.executable, "-m", "pipelines.ingest"):
        raise DataMissing(name, ["`python -m pipelines.ingest`, once the above is mended,"])


def prepared(root: Path) -> None:
    """Have the prepared rows in place, running the stages before them in a fresh clone."""
    if (root / paths.PREPARED).exists() and (root / paths.CONTRACT).exists():
        return
    data(root)
    if not _aloud(root, "dvc", "repro", "prepare"):
        raise StageMissing(paths.PREPARED.as_posix(), "prepare")


def _quietly(root: Path, *command: str) -> bool:
    return subprocess.run(command, cwd=root, capture_output=True).returncode == 0


def _aloud(root: Path, *command: str) -> bool:
    return subprocess.run(command, cwd=root).returncode == 0
