"""A real `mlflow server --workers 2` and a real PostgreSQL, for as long as a test takes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class NotThere(Exception):
    """What is needed is not on this machine; the text says what."""


QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Eight processes that nobody here needs."""


def free_port() -> int:
    """A port of this machine that nobody listens on.

    It is below those that Linux gives to whoever does not ask for one, and many do so before the
    port is bound.
    """
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.randint(10_000, 32_000)  # noqa: S311
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def mlflow_server(
    folder: Path,
    env: Mapping[str, str],
    backend: str,
    workers: int = 2,
    options: Sequence[str] = (),
) -> Iterator[str]:
    """Yields the address of `mlflow server`; artifacts lie below `folder`."""
    port = free_port()
    command = [
        "mlflow", "server", "--port", str(port), "--workers", str(workers),
        "--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts"),
        *options,
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**env, **QUIET},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address
    finally:
        stop(process)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()  # noqa: S310
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"mlflow server did not come up on {address}") from None
            time.sleep(0.3)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def postgres_programs() -> Path:
    """The folder of initdb and postgres. Raises NotThere."""
    if importlib.util.find_spec("psycopg2") is None:
        raise NotThere("psycopg2, through which MLflow speaks to PostgreSQL, is not installed")
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NotThere("there is no PostgreSQL here: neither on PATH nor in /usr/lib/postgresql/*/bin")


@contextmanager
def postgres() -> Iterator[str]:
    """Yields the URI of an empty database of a PostgreSQL of its own. Raises NotThere."""
    programs = postgres_programs()
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        first = _unprivileged(folder)
        init = ["initdb", "-D", str(folder / "data"), "-U", "mlflow", "-A", "trust", "-E", "UTF8"]
        init[0] = str(programs / "initdb")
        init += ["--no-sync"]  # it is gone before the power is; a busy disk may take minutes
        subprocess.run([*first, *init], check=True, capture_output=True, cwd=folder)
        serve = [
            str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder),
            "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        ]  # fmt: skip
        with (folder / "postgres.log").open("w") as log:
            process = subprocess.Popen(
                [*first, *serve], cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            _wait_for_postgres(programs, port, process)
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            # The fast shutdown: connections that are still open are cut.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def _unprivileged(folder: Path) -> list[str]:
    """How to run a command that refuses to run as root; gives `folder` to whoever runs it."""
    if os.getuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise NotThere("PostgreSQL does not run as root, and there is no user postgres") from None
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise NotThere("PostgreSQL does not run as root, and there is no setpriv") from None
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _wait_for_postgres(programs: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    end = time.monotonic() + 60
    while subprocess.run(ready, capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > end:
            raise TimeoutError("PostgreSQL did not come up")
        time.sleep(0.1)
