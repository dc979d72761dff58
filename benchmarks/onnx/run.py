"""One row as ONNX and in scikit-learn: `python -m benchmarks.onnx.run [--version N] PROJECT`.

PROJECT is the folder of a finished demonstration (`make demo`). One row is asked at a time, 10 of
one and then 10 of the other, 100 turns, on one thread each (OMP_NUM_THREADS=1, as served models
have it). Medians by the clock, and means of the processor's time over 500 rows, which other work on
the same machine disturbs less. The largest difference is that over all rows that the run kept, the
held-out ones among them, and their edges. Writes results.json beside this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import click

from benchmarks.pipeline.run import machine
from cli import delivered
from delivery import onnx_check, onnx_export

HERE = Path(__file__).parent
ROWS = 500


def processor_ms(ask: Callable[[Any], object], given: Sequence[Any]) -> float:
    """Processor time for one row, in milliseconds: the mean over all that is given."""
    start = time.thread_time()
    for one in given:
        ask(one)
    return (time.thread_time() - start) / len(given) * 1000


@click.command()
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--version", type=int)
@click.option("--turns", default=100)
def main(project: Path, version: int | None, turns: int) -> None:
    """Measure a version."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(project):
        output = Path(name) / "onnx"
        with delivered.made(None, version, "benchmark", output) as made:
            done = onnx_export.export(made)
            inputs = onnx_export._inputs(made)
            rows = onnx_export._kept(made, [i.name for i in inputs])["the held-out rows"]
            session = onnx_check.Session(done.model, inputs)
            pipeline = onnx_export._pipeline(made)
            found = onnx_check.latency(pipeline, session, rows, turns)
            few = [rows.iloc[[n]] for n in range(ROWS)]
            fed = [session.feeds(row) for row in few]
            onnx = processor_ms(session.run, fed)
            scikit = processor_ms(pipeline.predict_proba, few)
    results = {
        "machine": machine(),
        "version": made.chosen.version,
        "rows_compared": done.checked.rows,
        "edge_rows_compared": done.checked.edges,
        "largest_difference": done.checked.largest,
        "bytes": len(done.model),
        "onnx_ms": round(found.onnx, 4),
        "sklearn_ms": round(found.scikit, 3),
        "times_faster": round(found.times, 1),
        "onnx_processor_ms": round(onnx, 4),
        "sklearn_processor_ms": round(scikit, 3),
        "times_less_processor": round(scikit / onnx, 1),
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
