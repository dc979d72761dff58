"""One million rows against one million, on one core: `python -m benchmarks.drift.million`.

million            20 columns (14 numeric, 6 categorical) of 1,000,000 rows each, read from Parquet:
                   seconds for the profile of the reference, for that of the window in pieces of
                   100,000 rows, and for the comparison; peak memory of the process, of which the
                   two tables are a part
million-evidently  the same tables through Evidently's DataDriftPreset, if --evidently PYTHON names
                   an interpreter that has it: seconds for the report

Each run is a process of its own on one core with one thread. `seconds` are those on the wall, which
grow with what else the machine does, `of the processor` those of the process itself. Median of the
runs. Seed 0. Writes results.json beside this file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
ROWS, PIECE = 1_000_000, 100_000
ONE = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def ours(folder: Path) -> dict[str, float]:
    """Seconds of each step."""
    from benchmarks.drift import streams
    from monitoring.drift import compare
    from monitoring.profile import Profile, Reference
    from monitoring.sections import DriftPolicy

    known, window = (pd.read_parquet(folder / f"{n}.parquet") for n in ("reference", "window"))
    used, moments = time.process_time(), [time.perf_counter()]
    reference = Reference.of(known, streams.NUMERIC, streams.CATEGORICAL)
    moments.append(time.perf_counter())
    profile = Profile(reference)
    for start in range(0, len(window), PIECE):
        profile.add(window.iloc[start : start + PIECE])
    moments.append(time.perf_counter())
    compare(reference, profile, None, DriftPolicy())
    moments.append(time.perf_counter())
    steps = zip(("reference", "window", "comparison"), moments, moments[1:], strict=False)
    found = {name: after - before for name, before, after in steps}
    return {**found, "processor": time.process_time() - used}


def theirs(folder: Path) -> dict[str, float]:
    """Seconds of the report, imports aside."""
    from benchmarks.drift.peer import preset

    known, window = (pd.read_parquet(folder / f"{n}.parquet") for n in ("reference", "window"))
    preset(known[:1000])(window[:1000])  # imports
    used, start = time.process_time(), time.perf_counter()
    preset(known)(window)
    report = time.perf_counter() - start
    return {"report": report, "processor": time.process_time() - used}


def child(how: str, folder: str) -> None:
    """Measure in this process and print a line of JSON."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    seconds = {"ours": ours, "evidently": theirs}[how](Path(folder))
    processor = seconds.pop("processor")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"seconds": round(sum(seconds.values()), 2), "peak MB": round(peak)}
    found["of the processor"] = round(processor, 2)
    found |= {name: round(value, 2) for name, value in seconds.items()}
    sys.stdout.write(json.dumps(found) + "\n")


def measured(python: str, how: str, folder: str, runs: int) -> dict[str, Any]:
    """The median of each figure."""
    command = [python, "-W", "ignore", "-m", "benchmarks.drift.million", "--child", how, folder]
    env = {**os.environ, **ONE, "DO_NOT_TRACK": "1"}
    found = []
    for _ in range(runs):
        done = subprocess.run(command, env=env, text=True, check=True, stdout=subprocess.PIPE)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {**{key: median(f[key] for f in found) for key in found[0]}, "runs": runs}


def main() -> None:
    """Make the tables, measure, and write results.json."""
    import click
    import numpy as np

    from benchmarks.drift import streams
    from benchmarks.pipeline.run import machine

    @click.command()
    @click.option(
        "--evidently", envvar="EVIDENTLY_PYTHON", help="Python of an environment with it."
    )
    @click.option("--runs", default=3, show_default=True)
    def command(evidently: str | None, runs: int) -> None:
        """Measure one million rows against one million."""
        path = HERE / "results.json"
        with tempfile.TemporaryDirectory() as folder:
            drawn = np.random.default_rng(0)
            for name in ("reference", "window"):
                streams.rows(drawn, ROWS).to_parquet(Path(folder) / f"{name}.parquet")
            plays = [("million", sys.executable, "ours", runs)]
            if evidently:
                plays.append(("million-evidently", evidently, "evidently", 1))
            else:
                click.echo("Evidently is left out: --evidently PYTHON was not given")
            for name, python, how, times in plays:
                found = measured(python, how, folder, times)
                kept = json.loads(path.read_text()) if path.exists() else {}
                path.write_text(
                    json.dumps({**kept, "machine": machine(), name: found}, indent=2) + "\n"
                )
                click.echo(f"{name}: {json.dumps(found)}")

    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:4])
    else:
        main()
