"""MLServer, a process from an environment of its own: `mlserver_mlflow.MLflowRuntime`.

The environment is made once, below $XDG_CACHE_HOME, from the versions in mlserver.txt.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.serving.load import Target, wrk
from benchmarks.serving.servers import until_it_answers
from benchmarks.serving.subject import Subject, tensors
from registry import scoring
from tests.flow.gateways import post, send
from tests.flow.servers import free_port

PINNED = Path(__file__).with_name("mlserver.txt")
PATH = "/v2/models/m/infer"


@dataclass(frozen=True)
class Setting:
    """How it gathers requests, and in how many worker processes it computes."""

    max_batch_size: int
    max_batch_time: float
    parallel_workers: int

    def __str__(self) -> str:
        return (
            f"max_batch_size {self.max_batch_size}, max_batch_time {self.max_batch_time} s, "
            f"parallel_workers {self.parallel_workers}"
        )


CANDIDATES = (
    Setting(64, 0.005, 0),
    Setting(64, 0.02, 0),
    Setting(64, 0.05, 0),
    Setting(16, 0.02, 1),
    Setting(32, 0.02, 1),
    Setting(64, 0.02, 1),
    Setting(64, 0.05, 1),
)


def environment() -> Path:
    """The folder of its programs; made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]
    home = cache / "understudy-benchmarks" / f"mlserver-{name}"
    if not (home / "complete").exists():
        click.echo(f"making MLServer's environment from {PINNED.name} ...")
        python = home / "bin" / "python"
        subprocess.run(["uv", "venv", "-q", "--clear", "--python", "3.11", str(home)], check=True)
        install = ["uv", "pip", "install", "-q", "--python", str(python), "-r", str(PINNED)]
        subprocess.run(install, check=True)
        (home / "complete").touch()
    return home / "bin"


@contextmanager
def mlserver(subject: Subject, setting: Setting) -> Iterator[Target]:
    """`mlserver start` on the artifact in Production, computing with one thread as ours does."""
    programs, port = environment(), free_port()
    folder = subject.root / "mlserver"
    folder.mkdir(exist_ok=True)
    ports = {"http_port": port, "grpc_port": free_port()}
    server = {
        "host": "127.0.0.1", **ports, "metrics_port": free_port(), "debug": False,
        "parallel_workers": setting.parallel_workers,
    }  # fmt: skip
    model = {
        "name": "m",
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "max_batch_size": setting.max_batch_size,
        "max_batch_time": setting.max_batch_time,
        "parameters": {"uri": str(subject.files(2))},
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))
    env = scoring.environment(1)
    env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
    process = subprocess.Popen(
        [programs / "mlserver", "start", "."], cwd=folder, env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    target = Target(port, subject.tensors, PATH)
    try:
        until_it_answers(port, PATH, target.body)
        yield target
    finally:
        scoring.end(process)  # with workers it does not always end when told to


_found: dict[tuple[int, float], tuple[Setting, dict[str, float]]] = {}


def best(subject: Subject, connections: int, seconds: float) -> tuple[Setting, dict[str, float]]:
    """The setting with which it answers most, and what each that was tried answered per second.

    All are tried, and once more in the opposite order; the mean counts. Two scenarios of one call
    share what was found.
    """
    if (connections, seconds) in _found:
        return _found[connections, seconds]
    tried: dict[Setting, list[float]] = {setting: [] for setting in CANDIDATES}
    for setting in (*CANDIDATES, *reversed(CANDIDATES)):
        with mlserver(subject, setting) as target:
            tried[setting].append(wrk(target, connections, seconds)["requests/s"])
        click.echo(f"  mlserver, {setting}: {tried[setting][-1]:.1f} requests/s")
    rates = {setting: round(statistics.fmean(found), 1) for setting, found in tried.items()}
    chosen = max(rates, key=lambda setting: rates[setting])
    _found[connections, seconds] = chosen, {str(s): rate for s, rate in rates.items()}
    return _found[connections, seconds]


def require_equal(subject: Subject, theirs: int, ours: int) -> int:
    """Ask all three for the same rows; how many. Raises ClickException where answers differ."""
    head = {"Content-Type": "application/json"}
    for row in subject.rows.to_numpy().tolist():
        body = tensors(row)
        plain = {"columns": list(subject.rows.columns), "data": [row]}
        answer = post(ours, json.dumps({"dataframe_split": plain}).encode(), "application/json")
        (prediction,) = answer.json["predictions"]
        for port in (theirs, ours):
            (output,) = send(port, "POST", PATH, body, head).json["outputs"]
            if output["data"] != [prediction]:
                raise click.ClickException(f"{output} is not {prediction}: not the same model")
    return len(subject.rows)
