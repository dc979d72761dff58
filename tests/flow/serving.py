"""A real `mlflow models serve` for a test, and one request to it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import Project
from tests.flow.servers import free_port, stop


@contextmanager
def served(project: Project, uri: str) -> Iterator[str]:
    """`mlflow models serve -m URI --env-manager local`, run in the project's folder."""
    port = free_port()
    log = (project.root.parent / "serve.log").open("w")
    server = subprocess.Popen(
        ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "-p", str(port)],
        cwd=project.root,
        env=dict(project.env),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        stop(server)
        log.close()


def ask(address: str, rows: dict[str, Any], seconds: float = 90) -> list[Any]:
    """The predictions for `rows` (dataframe_split); waits while the server starts."""
    body = json.dumps({"dataframe_split": rows}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                found: list[Any] = json.load(answer)["predictions"]
                return found
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < end, "the server never answered"
            time.sleep(0.3)
