"""Jobs in processes that are killed; `python -m tests.batch.kills INPUT OUTPUT MODEL`."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch import local
from batch.job import Job
from batch.source import Source

AT = datetime(2026, 1, 1, tzinfo=UTC)


def job(given: str, output: str, model: str) -> Job:
    """In chunks so small that there are many."""
    source = Source(given)
    return Job(
        given, source.files, source.format, output, "csv", Path(model), "m", 2, "d" * 64,
        at=AT, chunk_rows=50,
    )  # fmt: skip


def receipts(folder: Path) -> int:
    """Finished chunks."""
    log = folder / "done.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def until(folder: Path, count: int, process: subprocess.Popen[Any]) -> None:
    """Wait until so many chunks are finished."""
    deadline = time.monotonic() + 200
    while receipts(folder) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


if __name__ == "__main__":
    local.score(job(*sys.argv[1:]), lambda _: None)
