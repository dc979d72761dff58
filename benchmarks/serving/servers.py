"""The servers that are measured, each as a process for the length of a block."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.serving.subject import Subject
from registry import scoring
from tests.flow.gateways import send
from tests.flow.servers import free_port


@dataclass(frozen=True)
class Gateway:
    """A running `understudy serve`."""

    port: int
    token: str
    pid: int
    home: Path

    @property
    def status(self) -> dict[str, Any]:
        """What it says of the model."""
        found: dict[str, Any] = json.loads(send(self.port, "GET", "/status", None, {}).body)
        said: dict[str, Any] = found["models"]["m"]
        return said

    def admin(self, what: str, **asked: Any) -> dict[str, Any]:
        """What its admin interface answers."""
        head = {"Authorization": f"Bearer {self.token}"}
        got = send(self.port, "POST", f"/admin/{what}", json.dumps(asked).encode(), head)
        if got.status != 200:
            raise click.ClickException(f"the gateway answered {got.status}: {got.body!r}")
        said: dict[str, Any] = got.json
        return said

    def until_ready(self, seconds: float = 120) -> None:
        """Wait until it serves what the ledger says, and a rollback is a change of route."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = self.status
            if said["rollback_ready"] and said["version"] == said["ledger"]["production"]:
                return
            time.sleep(0.05)
        raise click.ClickException(f"no version stood by within {seconds:g} s: {said}")

    @property
    def megabytes(self) -> float:
        """Of memory that it holds."""
        return _memory(self.pid, "VmRSS")

    @property
    def most_megabytes(self) -> float:
        """That it ever held."""
        return _memory(self.pid, "VmHWM")


def _memory(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def environment(subject: Subject) -> dict[str, str]:
    """With the store of the benchmark."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": subject.uri}


@contextmanager
def bare(subject: Subject, *, threads: int | None = None) -> Iterator[int]:
    """`mlflow models serve` on what is in Production; `threads` of MLflow's choice unless given."""
    port = free_port()
    env = environment(subject)
    if threads is not None:
        env = {**scoring.environment(threads), "MLFLOW_TRACKING_URI": subject.uri}
    process = subprocess.Popen(
        ["mlflow", "models", "serve", "-m", "models:/m/Production", "--env-manager", "local",
         "-p", str(port)],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until_it_answers(port, "/invocations", subject.split)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@contextmanager
def gateway(
    subject: Subject,
    home: str = "first",
    command: Sequence[str] = ("understudy", "serve"),
    **serve: Any,
) -> Iterator[Gateway]:
    """`understudy serve` in a project of its own, a folder called `home`."""
    project = subject.root / home
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    params = {"registry": {"model": "m"}, "serve": {"port": 0, **serve}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    process = subprocess.Popen(
        list(command), cwd=project, env=environment(subject),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        known = project / ".understudy" / "gateways" / f"{process.pid}.json"
        while not known.exists() or not known.read_text():
            if process.poll() is not None:
                raise click.ClickException("the gateway ended at its start")
            time.sleep(0.05)
        said = json.loads(known.read_text())
        port = int(said["address"].rpartition(":")[2])
        until_it_answers(port, "/invocations", subject.split)
        found = Gateway(port, said["token"], process.pid, project)
        if serve.get("rehearse", 10):
            found.until_ready()
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def until_it_answers(port: int, path: str, body: bytes, seconds: float = 120) -> None:
    """Wait for a real answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if send(port, "POST", path, body, {"Content-Type": "application/json"}).status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    raise click.ClickException("no server answered")
