"""Scenarios pipeline-wall, pipeline-memory and next-month: `python -m benchmarks.pipeline.run`.

pipeline-wall    wall time of `dvc repro` from nothing against the plain script, in turns
pipeline-memory  the largest process of each, for 6 and for 12 months
next-month       ROC AUC of the version trained on January to June, on July, which it never saw

Seed: train.seed of params.yaml. Writes results.json beside this file.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds, and peak memory in MB of the largest process among the command and its children."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    start = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(command)} failed in {folder}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def clone(through: str, into: Path) -> Path:
    """A fresh clone with the data of these months and nothing else."""
    folder = into / f"work-{through}-{time.monotonic_ns()}"
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(folder)], check=True)
    ingest = [sys.executable, "-m", "pipelines.ingest", "--through", through]
    subprocess.run(ingest, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["dvc", "add", "-q", "data"], cwd=folder, check=True)
    return folder


def both(folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds and MB of the pipeline and of the plain script on the same clone."""
    repro = timed(["dvc", "repro"], folder)
    plain = timed([sys.executable, str(HERE / "plain.py"), str(folder)], folder)
    return {"dvc repro": repro, "plain script": plain}


def next_month(folder: Path) -> float:
    """ROC AUC on July of the version that `folder` trained."""
    script = """
import io, sys, mlflow, pandas as pd
from sklearn.metrics import roc_auc_score
rows = pd.read_csv(sys.stdin).dropna(subset=["arrival"])
model = mlflow.pyfunc.load_model("models:/flights/1")
columns = model.metadata.get_input_schema().input_types_dict()
numbers = [c for c, t in columns.items() if t.name == "double"]
answers = model.predict(rows[list(columns)].astype({c: "float64" for c in numbers}))
print(roc_auc_score(rows["arrival"] == "late", answers["probability_late"]))
"""
    sys.path.insert(0, str(REPOSITORY))
    from pipelines import flights

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, input=flights.text("2013-07"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def machine() -> str:
    """What this was measured on."""
    model = platform.processor() or platform.machine()
    for line in io.StringIO(Path("/proc/cpuinfo").read_text()):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}"


@click.command()
@click.option("--runs", default=3, show_default=True, help="Repetitions of pipeline-wall.")
def main(runs: int) -> None:
    """Run every scenario and write results.json."""
    with tempfile.TemporaryDirectory() as temporary:
        into = Path(temporary)
        pairs = []
        for number in range(runs):
            folder = clone("2013-06", into)
            pairs.append(both(folder))
            click.echo(
                f"run {number + 1}: "
                + ", ".join(
                    f"{name} {seconds:.1f} s, {mb:.0f} MB"
                    for name, (seconds, mb) in pairs[-1].items()
                )
            )
            if number:
                shutil.rmtree(folder)
        auc = next_month(next(into.iterdir()))
        year = both(clone("2013-12", into))
    wall = {n: statistics.median(p[n][0] for p in pairs) for n in pairs[0]}
    allowed = 1.6 * wall["plain script"] + 30
    result: dict[str, Any] = {
        "machine": machine(),
        "pipeline-wall": {
            **{n: round(s, 1) for n, s in wall.items()},
            "allowed (1.6 x plain + 30 s)": round(allowed, 1),
            "runs": runs,
        },
        "pipeline-memory": {
            "6 months": {n: round(statistics.median(p[n][1] for p in pairs)) for n in pairs[0]},
            "12 months": {n: round(mb) for n, (_, mb) in year.items()},
            "12 months, seconds": {n: round(s, 1) for n, (s, _) in year.items()},
        },
        "next-month": {"roc_auc on July": round(auc, 4), "asked": 0.74},
    }
    (HERE / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
