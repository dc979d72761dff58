"""One job or its rival in a process of its own; prints its figures as JSON.

`python -m benchmarks.batch.one score JOB.json` and `... predict JOB.json`. JOB.json has the keys of
`batch.job.Job` that differ from case to case.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

AT = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Do what the command line says."""
    kind, path = sys.argv[1:]
    raw = json.loads(Path(path).read_text())
    print(json.dumps({"score": score, "predict": predict}[kind](raw)))


def score(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a job of this project; the rate is from the first finished part to the last."""
    from batch import local
    from batch.job import Job, Progress
    from batch.source import Source
    from serving.contract import Rule

    source = Source(raw["input"])
    job = Job(
        input=raw["input"],
        files=source.files,
        input_format=source.format,
        output=raw["output"],
        output_format=source.format,
        model=Path(raw["model"]),
        name="m",
        version=1,
        digest="d" * 64,
        at=AT,
        contract={c: Rule(**r) for c, r in raw.get("contract", {}).items()},
        chunk_rows=raw.get("chunk_rows", 50_000),
        processes=raw.get("processes", 1),
    )
    seen: list[tuple[float, int]] = []

    def told(now: Progress) -> None:
        seen.append((time.monotonic(), now.rows - now.resumed))

    begun = time.monotonic()
    with Peak() as peak:
        done = local.score(job, told)
    whole = time.monotonic() - begun
    (start, first), (end, last) = seen[min(1, len(seen) - 1)], seen[-1]
    return {
        "rows": done.rows,
        "rejected": done.rejected,
        "resumed": done.resumed,
        "seconds": whole,
        "rate": (last - first) / max(end - start, 1e-9),
        "peak_mb": peak.bytes / 1e6,
    }


def predict(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Rows per second of the model's own `predict`, all data in memory, in one thread.

    In calls of as many rows as a chunk of a job, and with all rows in one call.
    """
    import pyarrow.parquet as pq

    from batch.model import load

    began = time.monotonic()
    ask = load(Path(raw["model"]))
    frame = pq.read_table(raw["input"]).to_pandas()
    frame = frame[raw["inputs"]]
    step = raw.get("chunk_rows", 50_000)
    ask(frame.iloc[:step])
    ready = time.monotonic()
    for start in range(0, len(frame), step):
        ask(frame.iloc[start : start + step])
    parts = time.monotonic()
    ask(frame)
    end = time.monotonic()
    return {
        "rows": len(frame),
        "start_seconds": ready - began,
        "rate": len(frame) / (parts - ready),
        "rate_in_one_call": len(frame) / (end - parts),
    }


class Peak:
    """The most memory that this process and those it started have had together, sampled."""

    bytes = 0

    def __enter__(self) -> Peak:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            pids = ["self", *(str(child.pid) for child in multiprocessing.active_children())]
            self.bytes = max(self.bytes, sum(resident(pid) for pid in pids))


def resident(pid: str) -> int:
    """Bytes of a process in memory; looking at all processes of a machine would cost time."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main()
