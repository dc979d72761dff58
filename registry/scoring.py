"""The life of one `mlflow models serve` process during a trial, and the requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from registry.finite import finite
from registry.gate import Latency
from registry.requirements import Manager

PATIENCE: dict[Manager, float] = {"local": 60.0, "uv": 600.0, "conda": 900.0}
"""Seconds in which a server must answer; other environments than this one are made first."""
ANSWER_WITHIN = 60.0
"""Seconds for one request once it answers."""
CHUNK = 1000
"""Rows in one request."""
CALLS = 20
WARM_UP = 10
BATCH = 100
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b.*")
_POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_NOT_ITS_BUSINESS = ("MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "MLFLOW_RUN_", "UNDERSTUDY_")
# The server dies with whoever started it, even if that was killed (prctl 1 is PR_SET_PDEATHSIG).
_LAUNCH = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):  # who started it was gone before it could be tied to it
    sys.exit(1)
os.execv(sys.executable, [sys.executable, "-m", "mlflow", *sys.argv[2:]])
"""


class NotServed(Exception):
    """The server, or one of its answers, is not as it should be; the text says what, in words."""


@dataclass(frozen=True)
class Server:
    """A server that answers; `seconds` is how long it took until it did."""

    port: int
    seconds: float

    def predict(self, rows: pd.DataFrame) -> Any:
        """Answers to rows: a table, or a list where the model gives one value for a row.

        Raises NotServed.
        """
        found: list[Any] = []
        with self._connected() as connection:
            for start in range(0, len(rows), CHUNK):
                some = rows.iloc[start : start + CHUNK]
                found += _asked(connection, body(some), len(some))
        return pd.DataFrame(found) if found and isinstance(found[0], dict) else found

    def latency(self, rows: pd.DataFrame) -> Latency:
        """Medians over CALLS calls of one row, and as many of BATCH rows, after warm-up.

        The rows differ from call to call, and are repeated where there are too few.
        Raises NotServed.
        """
        with self._connected() as connection:
            return Latency(
                _median_ms(connection, rows, 1), _median_ms(connection, rows, BATCH), CALLS
            )

    @contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        with contextlib.closing(_connection(self.port, ANSWER_WITHIN)) as connection:
            yield connection


@contextmanager
def served(
    files: Path, example: tuple[bytes, int], *, manager: Manager, folder: Path, patience: float = 0
) -> Iterator[Server]:
    """`mlflow models serve` on a downloaded model, until the block is left in whatever way.

    `example` is a request body and the number of rows in it; the server counts as started once it
    has answered that. `folder` is for its log. Raises NotServed with the last line it wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    limit = patience or PATIENCE[manager]
    with reserved_port() as port, log.open("wb") as stream:
        process = subprocess.Popen(
            command(files, manager, port),
            cwd=folder,  # nothing of this project is found there by accident
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Server(port, _until_it_answers(process, port, example, limit, log))
        finally:
            end(process)


def command(files: Path, manager: Manager, port: int) -> list[str]:
    """`mlflow models serve` on a model's files, as a process that dies with who started it."""
    return [
        *(sys.executable, "-c", _LAUNCH, str(os.getpid())),
        *("models", "serve", "-m", str(files.resolve())),
        *("--env-manager", manager, "-h", "127.0.0.1", "-p", str(port)),
    ]


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of this machine that nobody listens at, or is given by chance while this lasts.

    A server takes seconds until it listens, and whoever listened there before it would answer in
    its place. Linux lets those share a port that nobody listens at yet who name it and say
    SO_REUSEADDR, as servers do; who asks for any port gets another.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":  # where two can be bound only if both say SO_REUSEPORT
            held.close()
        yield port


def body(rows: pd.DataFrame) -> bytes:
    """Rows as a request to `/invocations`; every digit of a number is kept."""
    values = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    split = {"columns": [str(c) for c in rows.columns], "data": values}
    return json.dumps({"dataframe_split": split}, default=_plain, allow_nan=False).encode()


def example_request(files: Path, example: Any) -> tuple[bytes, int]:
    """The request that MLflow keeps with a model's input example, and its number of rows.

    `example` is the example itself, for artifacts of before MLflow kept requests. Raises NotServed.
    """
    try:
        rows = len(example)
        kept = files / "serving_input_example.json"
        if kept.exists():
            return kept.read_bytes(), rows
        if isinstance(example, pd.DataFrame):
            return body(example), rows
        return json.dumps({"inputs": example}, default=_plain, allow_nan=False).encode(), rows
    except (OSError, TypeError, ValueError) as error:
        raise NotServed(f"its input example cannot be sent ({type(error).__name__})") from None


def _plain(value: Any) -> Any:
    """What JSON has no word for: moments as ISO 8601, numpy's numbers and arrays as Python's."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def environment(threads: int = 1) -> dict[str, str]:
    """That of this process, so many threads to each pool, without what is no model's business."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_ITS_BUSINESS)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    pools = {f"{name}_NUM_THREADS": str(threads) for name in _POOLS}
    return {**kept, **pools, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}


def _until_it_answers(
    process: subprocess.Popen[bytes],
    port: int,
    example: tuple[bytes, int],
    limit: float,
    log: Path,
) -> float:
    """Seconds until the input example was answered. Raises NotServed."""
    start = time.monotonic()
    while (left := limit - (time.monotonic() - start)) > 0:
        if process.poll() is not None:
            raise NotServed(f"the scoring server ended by itself{last_line(log)}")
        try:
            with contextlib.closing(_connection(port, min(left, ANSWER_WITHIN))) as connection:
                _asked(connection, *example)
            if process.poll() is None:  # or somebody else has answered
                return time.monotonic() - start
        except ConnectionRefusedError:
            time.sleep(0.1)  # it does not listen yet
        except NotServed as error:
            raise NotServed(f"{error}{last_line(log)}") from None
    raise NotServed(f"the scoring server did not answer within {limit:g} s{last_line(log)}")


def _connection(port: int, seconds: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)


def _asked(connection: http.client.HTTPConnection, request: bytes, rows: int) -> list[Any]:
    """The predictions for a request, one for each row, all of them finite. Raises NotServed."""
    try:
        connection.request("POST", "/invocations", request, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    except ConnectionRefusedError:
        raise
    except TimeoutError:
        raise NotServed("the scoring server took a request and did not answer it") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotServed(f"the scoring server broke off ({type(error).__name__})") from None
    return require_answers(response.status, text, rows)


def require_answers(status: int, text: bytes, rows: int) -> list[Any]:
    """The predictions of a response, one for each row, all of them finite. Raises NotServed."""
    if status != 200:
        raise NotServed(f"the scoring server answered {status}{_reason(text)}")
    try:
        found = json.loads(text)["predictions"]
    except (ValueError, KeyError, TypeError):
        raise NotServed("the scoring server's answer holds no predictions") from None
    if not isinstance(found, list) or len(found) != rows:
        count = len(found) if isinstance(found, list) else 1
        raise NotServed(f"the scoring server gave {count} answers to {rows} rows")
    if not finite(found):
        raise NotServed("the scoring server's answer holds values that are not finite numbers")
    return found


def _median_ms(connection: http.client.HTTPConnection, rows: pd.DataFrame, size: int) -> float:
    took = []
    for call in range(CALLS + WARM_UP):
        picked = [(call * size + i) % len(rows) for i in range(size)]
        request = body(rows.iloc[picked])
        start = time.perf_counter()
        _asked(connection, request, size)
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took[WARM_UP:])


def _reason(text: bytes) -> str:
    """The first line of an error's message; the rest is a stack trace, and repeats the request."""
    try:
        said = json.loads(text)
        message = str(said.get("message") or said.get("detail") or "").strip()
    except (ValueError, AttributeError):
        return ""
    return f": {message.splitlines()[0][:200]}" if message else ""


def last_line(log: Path) -> str:
    """The last error in the server's log that is not MLflow's on its process having ended."""
    try:
        lines = [li.strip() for li in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    told = [li for li in lines if li]
    errors = [li for li in told if _ERROR.match(li) and "returned non zero return code" not in li]
    return f"; it last wrote: {(errors or told)[-1][:200]}" if told else ""


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """End the process and all that it started; they have a process group of their own."""
    for sign, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        if _gone(process, seconds):
            return


def _gone(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether no process of the group is left; waits so long for it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process.poll()  # takes the leader's exit status, which keeps its number in use
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        time.sleep(0.02)
    return False
