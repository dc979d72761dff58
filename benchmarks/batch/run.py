"""Speed, memory and crash safety of batch scoring: `python -m benchmarks.batch.run`.

rate          rows per second of one process, of two, and of the model's own `predict` on the same
              data in memory, with the version in Production of a finished demonstration (--project)
mlflow-cli    `mlflow models predict` on the same rows as CSV, and `score` of the same file
memory        peak memory for 1 million and 20 million rows, Parquet, with a quick linear model
kills         killed ten times at random moments in 5 million rows, against an undisturbed run

Everything computes in one thread for each process. Rivals run in turns; the figures are medians.
Writes results.json beside this file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.pipeline.run import machine

HERE = Path(__file__).parent
ONE_THREAD = {f"{n}_NUM_THREADS": "1" for n in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
ENV = {**os.environ, **ONE_THREAD, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
FEATURES = [f"x{i}" for i in range(6)]


def measured(kind: str, folder: Path, **raw: Any) -> dict[str, Any]:
    """Figures of one process."""
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(raw))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.batch.one", kind, str(path)],
        env=ENV, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def version(project: Path, folder: Path) -> tuple[Path, pd.DataFrame]:
    """The files of what is in Production of a project, and its table, in the model's types."""
    from registry import artifact, settings
    from registry.store import Store
    from serving import signature

    store = Store(f"sqlite:///{project}/mlflow.db")
    chosen = artifact.choose(store, settings.registry_params(project).model)
    files = artifact.fetch(store, chosen.model, chosen.version, chosen.digest, folder / "model")
    inputs = signature.read(files).inputs
    tables = [pd.read_csv(path) for path in sorted((project / "data").glob("*.csv"))]
    table = pd.concat(tables)[[c.name for c in inputs]]
    return files, table.astype({c.name: float for c in inputs if c.type == "double"})


def repeated(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The table as often as it takes."""
    times = -(-rows // len(table))
    return pd.concat([table] * times, ignore_index=True).iloc[:rows]


def rate(folder: Path, project: Path, rows: int, runs: int) -> dict[str, Any]:
    """One process, two, and the model's own predict, in turns."""
    model, table = version(project, folder)
    data = folder / "in.parquet"
    repeated(table, rows).to_parquet(data, row_group_size=100_000)
    common = {"model": str(model), "input": str(data), "inputs": [*table.columns]}
    found: dict[str, list[dict[str, Any]]] = {"predict": [], "one": [], "two": []}
    for run in range(runs):
        found["predict"].append(measured("predict", folder, **common))
        for name, processes in (("one", 1), ("two", 2)):
            output = str(folder / f"{name}-{run}")
            found[name].append(
                measured("score", folder, **common, output=output, processes=processes)
            )
    middle = {n: statistics.median(r["rate"] for r in each) for n, each in found.items()}
    own = max(middle["predict"], statistics.median(
        r["rate_in_one_call"] for r in found["predict"]))  # fmt: skip
    return {
        "rows": rows,
        "runs": runs,
        "predict rows/s": round(own),
        "one process rows/s": round(middle["one"]),
        "two processes rows/s": round(middle["two"]),
        "one process of predict": round(
            statistics.median(
                o["rate"] / max(p["rate"], p["rate_in_one_call"])
                for o, p in zip(found["one"], found["predict"], strict=True)
            ), 3),
        "two processes of one": round(
            statistics.median(
                t["rate"] / o["rate"] for t, o in zip(found["two"], found["one"], strict=True)
            ), 3),
        "one process seconds, with its start": round(
            statistics.median(r["seconds"] for r in found["one"]), 1),
    }  # fmt: skip


def mlflow_cli(folder: Path, project: Path, rows: int, runs: int) -> dict[str, Any]:
    """The whole command on a CSV file, start included."""
    model, table = version(project, folder)
    data = folder / "in.csv"
    repeated(table, rows).to_csv(data, index=False)
    theirs, ours, peaks = [], [], []
    for run in range(runs):
        begun = time.monotonic()
        with (folder / "said").open("w") as said:
            process = subprocess.Popen(
                ["mlflow", "models", "predict", "-m", str(model), "-i", str(data), "-t", "csv",
                 "-o", str(folder / "theirs.json"), "--env-manager", "local"],
                env=ENV, stdout=said, stderr=said,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise click.ClickException((folder / "said").read_text()[-2000:])
        theirs.append(time.monotonic() - begun)
        peaks.append(usage.ru_maxrss / 1e3)
        begun = time.monotonic()
        last = measured("score", folder, model=str(model), input=str(data),
                        output=str(folder / f"ours-{run}.csv"))  # fmt: skip
        ours.append(time.monotonic() - begun)
    return {
        "rows": rows,
        "runs": runs,
        "mlflow models predict s": round(statistics.median(theirs), 1),
        "mlflow models predict peak MB": round(max(peaks)),
        "score s": round(statistics.median(ours), 1),
        "score peak MB": round(last["peak_mb"]),
    }


def quick_model(folder: Path) -> Path:
    """A scaled logistic regression of six numbers, as MLflow saves it."""
    import mlflow
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table = numbers(np.random.default_rng(0), 5000).to_pandas()
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, table["x0"] > 0)
    signature = mlflow.models.infer_signature(table, fitted.predict(table).astype(int))
    path = folder / "quick"
    mlflow.sklearn.save_model(
        fitted, path, signature=signature, pyfunc_predict_fn="predict_proba",
        pip_requirements=["scikit-learn"], skops_trusted_types=[],
    )  # fmt: skip
    return path


def numbers(rng: np.random.Generator, rows: int) -> pa.Table:
    """Six columns of normal numbers."""
    return pa.table({name: rng.normal(size=rows) for name in FEATURES})


def written(path: Path, rows: int, each: int = 200_000) -> None:
    """A Parquet file of so many rows, of which one in a thousand breaks `x0` below 3.09."""
    rng = np.random.default_rng(1)
    schema = pa.schema([(name, pa.float64()) for name in FEATURES])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, each):
            writer.write_table(numbers(rng, min(each, rows - start)))


def memory(folder: Path, rows: tuple[int, int], runs: int) -> dict[str, Any]:
    """Peak memory of all processes together."""
    model = quick_model(folder)
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in rows}
    for count in rows:
        written(folder / f"{count}.parquet", count)
    for run in range(runs):
        for count in rows:
            output = folder / f"{count}-{run}.parquet"
            found[count].append(
                measured("score", folder, model=str(model), input=str(folder / f"{count}.parquet"),
                         output=str(output), contract={"x0": {"max": 3.09}})
            )  # fmt: skip
            output.unlink()
    small, large = (
        {k: statistics.median(r[k] for r in found[count]) for k in found[count][0]}
        for count in rows
    )
    keys = ("peak_mb", "seconds", "rate")
    return {
        "runs": runs,
        **{f"{count:,} rows": {k: round(f[k]) for k in keys}
           for count, f in zip(rows, (small, large), strict=True)},
        "large of small": round(large["peak_mb"] / small["peak_mb"], 3),
    }  # fmt: skip


def kills(folder: Path, rows: int, count: int, seed: int) -> dict[str, Any]:
    """Killed `count` times, and compared with a run that was left alone."""
    model, data = quick_model(folder), folder / "in.parquet"
    written(data, rows)
    raw = {"model": str(model), "input": str(data), "contract": {"x0": {"max": 3.09}},
           "chunk_rows": 20_000}  # fmt: skip
    undisturbed = measured("score", folder, **raw, output=str(folder / "alone"))
    at, moments = [], random.Random(seed)  # noqa: S311 - moments of kills are no secret
    path = folder / "job.json"
    path.write_text(json.dumps({**raw, "output": str(folder / "killed")}))
    log = folder / ".killed.score" / "done.jsonl"
    chunks = rows // raw["chunk_rows"]
    for _ in range(count):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.batch.one", "score", str(path)],
            env=ENV, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until = len(done_lines(log)) + moments.uniform(0, 0.9 * chunks / count)
        while len(done_lines(log)) < until and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        at.append(len(done_lines(log)))
    last = measured("score", folder, **raw, output=str(folder / "killed"))
    same = hashes(folder / "alone") == hashes(folder / "killed")
    rejects = (folder / "alone.rejects.csv").read_bytes()
    return {
        "rows": rows,
        "kills": len(at),
        "parts finished at each kill": at,
        "resumed rows of the last run": last["resumed"],
        "predicted": last["rows"],
        "rejected": last["rejected"],
        "identical": same and (folder / "killed.rejects.csv").read_bytes() == rejects
        and undisturbed["rows"] == last["rows"],
        "seed": seed,
    }  # fmt: skip


def done_lines(log: Path) -> list[bytes]:
    """Receipts of finished parts."""
    return log.read_bytes().splitlines() if log.exists() else []


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


SCENARIOS = ("rate", "mlflow-cli", "memory", "kills")


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(SCENARIOS))
@click.option("--project", type=click.Path(path_type=Path, exists=True), default=Path())
@click.option("--rows", type=int, default=1_000_000, show_default=True, help="Of `rate`.")
@click.option("--csv-rows", type=int, default=200_000, show_default=True, help="Of `mlflow-cli`.")
@click.option("--small", type=int, default=1_000_000, show_default=True, help="Of `memory`.")
@click.option("--large", type=int, default=20_000_000, show_default=True, help="Of `memory`.")
@click.option("--kill-rows", type=int, default=5_000_000, show_default=True, help="Of `kills`.")
@click.option("--kills", "count", type=int, default=10, show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
@click.option("--memory-runs", type=int, default=1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--tmp", type=click.Path(path_type=Path), default=None, help="Where data is made.")
@click.option("--write/--no-write", default=True, help="Write results.json.")
def main(
    scenarios: tuple[str, ...], project: Path, rows: int, csv_rows: int, small: int, large: int,
    kill_rows: int, count: int, runs: int, memory_runs: int, seed: int, tmp: Path | None,
    write: bool,
) -> None:  # fmt: skip
    """Measure the chosen scenarios, or all."""
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory(dir=tmp) as made:
            folder = Path(made)
            if name == "rate":
                found = rate(folder, project, rows, runs)
            elif name == "mlflow-cli":
                found = mlflow_cli(folder, project, csv_rows, runs)
            elif name == "memory":
                found = memory(folder, (small, large), memory_runs)
            else:
                found = kills(folder, kill_rows, count, seed)
        results[name] = {**found, "machine": machine()}
        click.echo(json.dumps({name: results[name]}, indent=1))
        if write:
            path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
