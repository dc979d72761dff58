"""A proxy before a real `mlflow server` that fails, refuses or asks for a token as told."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What the proxy says instead of the server; `seconds` of silence before."""

    status: int = 200
    body: str = ""
    kind: str = "application/json"
    seconds: float = 0.0


Rule = Callable[[str, str, Any], Answer | None]
"""From method, path and headers to the answer, or None to pass the request on."""


@contextmanager
def proxy(upstream: str, rule: Rule) -> Iterator[str]:
    """The address of a proxy before `upstream`."""
    target = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, TimeoutError):
                self.close_connection = True

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            answer = rule(self.command, self.path, self.headers)
            if answer is not None:
                time.sleep(answer.seconds)
                self._send(answer.status, answer.kind, answer.body.encode())
                return
            connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            found = connection.getresponse()
            self._send(found.status, found.getheader("Content-Type") or "", found.read())
            connection.close()

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _pass  # noqa: N815 - its names there

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
