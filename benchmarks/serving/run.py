"""Throughput, latency and rollback of the gateway: `python -m benchmarks.serving.run`.

throughput-64    requests/s and p99 at 64 connections: bare `mlflow models serve` as a user starts
                 it, and the gateway with log, metrics and rehearsal on, before one process
throughput-128   the same at 128 connections
latency-1        p50 at 1 connection: bare with the same thread settings, and the gateway
switched-off     the gateway at 64 connections with log and rehearsal, and without
rollback         from the command to the last answer of the bad version: `understudy rollback` from
                 the shell, the admin interface, and a restart of `mlflow models serve`

One row of 16 features for each request, a gradient-boosting model of 300 trees; wrk on the same
machine, one thread. Contestants take turns within each run; figures are medians of the runs.
Writes results.json beside this file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import yaml

from benchmarks.pipeline.run import machine
from registry import promote, register, scoring
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.store import Store
from tests.flow.gateways import post

HERE = Path(__file__).parent
SECONDS = 8
OFF = GateParams(skip=GATES)
WISH = Wish("benchmark", "a benchmark")


def make_registry(root: Path) -> bytes:
    """Two versions of a model, the second in Production; returns a request of one row."""
    import mlflow
    from sklearn.ensemble import HistGradientBoostingClassifier

    drawn = np.random.default_rng(0)
    rows = pd.DataFrame(drawn.normal(size=(20_000, 16)), columns=[f"x{i}" for i in range(16)])
    label = (rows.sum(axis=1) + drawn.normal(size=len(rows)) > 0).astype(int)
    uri = f"sqlite:///{root}/mlflow.db"
    mlflow.MlflowClient(uri).search_experiments()
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("benchmark", (root / "artifacts").as_uri())
    store = Store(uri)
    store._client.create_registered_model("m")
    for number in (1, 2):
        model = HistGradientBoostingClassifier(max_iter=300, random_state=number).fit(rows, label)
        with mlflow.start_run(experiment_id=experiment) as run, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = mlflow.sklearn.log_model(
                model,
                name="model",
                input_example=rows.head(3),
                pip_requirements=["mlflow", "scikit-learn"],
                skops_trusted_types=[
                    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
                ],
            )
        store._client.create_model_version(
            "m", made.model_uri, run_id=run.info.run_id, model_id=made.model_id
        )
        for name in ("register", "promote"):
            (root / f"{name}-{number}").mkdir()
        where = root / f"register-{number}"
        register.register_version(store, "m", number, wish=WISH, folder=where)
        promote.promote(
            store, "m", number, to=Stage.PRODUCTION, params=OFF, wish=WISH,
            folder=root / f"promote-{number}",
        )  # fmt: skip
    values = [float(v) for v in rows.iloc[0]]
    split = {"columns": list(rows.columns), "data": [values]}
    return json.dumps({"dataframe_split": split}).encode()


def environment(root: Path) -> dict[str, str]:
    """With the store of the benchmark."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db"}


@contextmanager
def bare(root: Path, body: bytes, *, threads: int | None = None) -> Iterator[int]:
    """`mlflow models serve` on what is in Production; `threads` of MLflow's choice unless given."""
    port = scoring.free_port()
    env = environment(root)
    if threads is not None:
        env = {**scoring.environment(threads), "MLFLOW_TRACKING_URI": env["MLFLOW_TRACKING_URI"]}
    process = subprocess.Popen(
        ["mlflow", "models", "serve", "-m", "models:/m/Production", "--env-manager", "local",
         "-p", str(port)],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until_it_answers(port, body)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@contextmanager
def gateway(root: Path, body: bytes, **serve: Any) -> Iterator[tuple[int, str]]:
    """`understudy serve`; its port and its admin token."""
    folder = root / ".understudy"
    shutil.rmtree(folder / "gateways", ignore_errors=True)
    params = {"registry": {"model": "m"}, "serve": {"port": 0, **serve}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    process = subprocess.Popen(
        ["understudy", "serve"], cwd=root, env=environment(root),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        known = folder / "gateways" / f"{process.pid}.json"
        while not known.exists() or not known.read_text():
            time.sleep(0.05)
        said = json.loads(known.read_text())
        port = int(said["address"].rpartition(":")[2])
        until_it_answers(port, body)
        if serve.get("rehearse", 10):
            while not status(port)["rollback_ready"]:
                time.sleep(0.1)
        yield port, said["token"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def status(port: int) -> dict[str, Any]:
    """What the gateway says of the model."""
    there = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    there.request("GET", "/status")
    found: dict[str, Any] = json.loads(there.getresponse().read())["models"]["m"]
    there.close()
    return found


def until_it_answers(port: int, body: bytes) -> None:
    """Wait for a real answer."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if post(port, body, "application/json").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise click.ClickException("no server answered")


def wrk(port: int, body: bytes, connections: int, seconds: int = SECONDS) -> dict[str, float]:
    """Requests per second, p50 and p99 in ms, and how many were not answered with 200."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{body.decode()}]==]\n"
            "done = function(summary, latency)\n"
            '  io.write(string.format("%d %d %f %f %d\\n", summary.requests, summary.duration,'
            " latency:percentile(50) / 1000, latency:percentile(99) / 1000,"
            " summary.errors.status + summary.errors.connect + summary.errors.read"
            " + summary.errors.timeout))\nend\n"
        )
        script.flush()
        run = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
        address = f"http://127.0.0.1:{port}/invocations"
        subprocess.run([*run[:3], "-d2s", "-s", script.name, address], capture_output=True)
        out = subprocess.run(
            [*run, "-s", script.name, address], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"^(\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)$", out, re.MULTILINE)
    if found is None:
        raise click.ClickException(f"wrk said {out!r}")
    count, micro, p50, p99, errors = (float(x) for x in found.groups())
    return {"requests/s": count / micro * 1e6, "p50 ms": p50, "p99 ms": p99, "errors": errors}


def median(found: list[dict[str, float]]) -> dict[str, float]:
    """Each figure's median over the runs."""
    return {key: round(statistics.median(f[key] for f in found), 2) for key in found[0]}


def throughput(connections: int) -> Callable[[Path, bytes, int], dict[str, Any]]:
    """Bare and the gateway at so many connections."""

    def play(root: Path, body: bytes, runs: int) -> dict[str, Any]:
        found: dict[str, list[dict[str, float]]] = {"bare": [], "gateway": []}
        with bare(root, body) as theirs, gateway(root, body) as (ours, _):
            for _ in range(runs):
                found["bare"].append(wrk(theirs, body, connections))
                found["gateway"].append(wrk(ours, body, connections))
        said: dict[str, Any] = {name: median(each) for name, each in found.items()}
        pairs = list(zip(found["gateway"], found["bare"], strict=True))
        said["times bare"] = round(
            statistics.median(g["requests/s"] / b["requests/s"] for g, b in pairs), 1
        )
        said["p99 of bare's"] = round(
            statistics.median(g["p99 ms"] / b["p99 ms"] for g, b in pairs), 3
        )
        return said

    return play


def latency(root: Path, body: bytes, runs: int) -> dict[str, Any]:
    """What the gateway adds at one connection."""
    found: dict[str, list[dict[str, float]]] = {"bare": [], "gateway": []}
    with bare(root, body, threads=1) as theirs, gateway(root, body) as (ours, _):
        for _ in range(runs):
            found["bare"].append(wrk(theirs, body, 1))
            found["gateway"].append(wrk(ours, body, 1))
    said: dict[str, Any] = {name: median(each) for name, each in found.items()}
    pairs = zip(found["gateway"], found["bare"], strict=True)
    said["added p50 ms"] = round(statistics.median(g["p50 ms"] - b["p50 ms"] for g, b in pairs), 2)
    return said


def switched_off(root: Path, body: bytes, runs: int) -> dict[str, Any]:
    """What log and rehearsal cost."""
    found: dict[str, list[dict[str, float]]] = {"on": [], "off": []}
    for _ in range(runs):
        with gateway(root, body) as (port, _):
            found["on"].append(wrk(port, body, 64))
        with gateway(root, body, records="off", rehearse=0) as (port, _):
            found["off"].append(wrk(port, body, 64))
    said: dict[str, Any] = {name: median(each) for name, each in found.items()}
    pairs = zip(found["on"], found["off"], strict=True)
    said["kept"] = round(statistics.median(a["requests/s"] / b["requests/s"] for a, b in pairs), 3)
    return said


class Watcher:
    """Asks without pause and notes when which version answered last."""

    def __init__(self, port: int, body: bytes) -> None:
        self.last: dict[int, float] = {}
        self._port, self._body, self._stop = port, body, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            got = post(self._port, self._body, "application/json")
            if got.status == 200:
                self.last[got.version] = time.monotonic()


def rollback(root: Path, body: bytes, runs: int) -> dict[str, Any]:
    """Seconds from the command to the last answer of the bad version."""
    took: dict[str, list[float]] = {"shell": [], "admin": [], "restart of bare": []}
    store = Store(f"sqlite:///{root}/mlflow.db")
    for number in range(runs):
        for way in ("shell", "admin"):
            with gateway(root, body) as (port, token), Watcher(port, body) as seen:
                start = time.monotonic()
                if way == "shell":
                    subprocess.run(
                        ["understudy", "rollback"], cwd=root, env=environment(root), check=True,
                        capture_output=True,
                    )  # fmt: skip
                else:
                    there = http.client.HTTPConnection("127.0.0.1", port)
                    head = {"Authorization": f"Bearer {token}"}
                    there.request("POST", "/admin/rollback", b'{"actor": "benchmark"}', head)
                    there.getresponse().read()
                time.sleep(0.5)
            took[way].append(max(seen.last[2] - start, 0.0))
            for stage in (Stage.STAGING, Stage.PRODUCTION):  # back to how it was
                where = root / f"again-{number}-{way}-{stage}"
                where.mkdir()
                promote.promote(store, "m", 2, to=stage, params=OFF, wish=WISH, folder=where)
        start = time.monotonic()
        with bare(root, body):
            took["restart of bare"].append(time.monotonic() - start)
    return {name: round(statistics.median(each), 3) for name, each in took.items()}


SCENARIOS: dict[str, Callable[[Path, bytes, int], dict[str, Any]]] = {
    "throughput-64": throughput(64),
    "throughput-128": throughput(128),
    "latency-1": latency,
    "switched-off": switched_off,
    "rollback": rollback,
}


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--runs", default=5, show_default=True, help="Repetitions of each scenario.")
def main(scenarios: tuple[str, ...], runs: int) -> None:
    """Run SCENARIOS, all of them unless named, and write results.json."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is needed (Debian's package wrk)")
    path = HERE / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept["machine"] = machine()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        body = make_registry(root)
        for scenario in scenarios or SCENARIOS:
            kept[scenario] = {**SCENARIOS[scenario](root, body, runs), "runs": runs}
            click.echo(f"{scenario}: {json.dumps(kept[scenario])}")
            path.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
