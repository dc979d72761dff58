"""The port of a scoring server is its own, from when it is chosen until the server answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from registry import scoring
from serving.served import Artifact, NotStarted, Served

RANGE = 51
"""IP_LOCAL_PORT_RANGE, of Linux 6.3: from which to which port "any" may be."""
ENDED = "ended by itself; it last wrote: address in use"


def in_a_trial(folder: Path) -> None:
    example = (b"{}", 1)
    with scoring.served(folder, example, manager="local", folder=folder, patience=5):
        pass


def in_a_gateway(folder: Path) -> None:
    artifact = Artifact(1, "", folder, "local", b"{}", 1)
    asyncio.run(Served(artifact, log=folder / "server.log", threads=1).start(5))


starts = pytest.mark.parametrize("start", [in_a_trial, in_a_gateway])


def given_to_whoever_asks_for_any(port: int, reuse: int) -> bool:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            other.setsockopt(socket.IPPROTO_IP, RANGE, struct.pack("HH", port, port))
        except OSError:
            pytest.skip("a Linux before 6.3 cannot be asked for one port of its choice")
        try:
            other.bind(("127.0.0.1", 0))
        except OSError:
            return False
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be reserved")
@starts
def test_a_port_is_reserved_for_who_names_it(
    start: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = []

    def command(_: Path, __: str, port: int) -> list[str]:
        for reuse in (0, 1):
            assert not given_to_whoever_asks_for_any(port, reuse)
        with socket.create_server(("127.0.0.1", port)):  # says SO_REUSEADDR, as uvicorn does
            ports.append(port)
        return ["sh", "-c", "echo address in use"]

    monkeypatch.setattr(scoring, "command", command)
    with pytest.raises((scoring.NotServed, NotStarted), match=ENDED):
        start(tmp_path)
    assert given_to_whoever_asks_for_any(ports[0], 0)


@contextmanager
def stranger(ends: Path) -> Iterator[int]:
    """Answers in the place of a server, whose number stands in a file, and which has ended then."""

    class Stranger(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(ends.read_text()), signal.SIGKILL)
                while (Path("/proc") / ends.read_text().strip() / "cmdline").read_bytes():
                    pass  # a process that ended has none, even if nobody took notice
            answer = b'{"predictions": [1]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as found:
        threading.Thread(target=found.serve_forever).start()
        try:
            yield found.server_port
        finally:
            found.shutdown()


@starts
def test_what_somebody_else_answers_is_no_start(
    start: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tmp_path / "number"
    with stranger(number) as port:

        def command(*_: Any) -> list[str]:
            script = f"echo address in use; echo $$ > {number}.new; mv {number}.new {number}; "
            return ["sh", "-c", script + "exec sleep 600"]

        def reserved_port() -> Any:
            return contextlib.nullcontext(port)

        real = subprocess.Popen

        def started(*arguments: Any, **named: Any) -> Any:
            process = real(*arguments, **named)
            while not number.exists():
                pass
            return process

        monkeypatch.setattr(scoring, "command", command)
        monkeypatch.setattr(scoring, "reserved_port", reserved_port)
        monkeypatch.setattr(subprocess, "Popen", started)
        with pytest.raises((scoring.NotServed, NotStarted), match=ENDED):
            start(tmp_path)
