"""HTTP as uvicorn speaks it, with limits that it lacks: size of a head, and time to send one.

What may follow a body (trailers) is not taken, and what lies between its chunks counts as head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 32_000
HEAD_SECONDS = 10.0
CONNECTIONS = 20_000
"""More are closed at once; each costs a file descriptor and some kB."""


class Protocol(HttpToolsProtocol):
    """Closes connections that send a head too long, too slowly, or that are one too many."""

    _late: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _got_body = False
    _refused_at = float("-inf")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._no_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is complete."""
        if self.app.crowded and self._refuse_unparsed(data):
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._got_body = False
        super().data_received(data)
        if self._in_head and self._head_bytes and self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)
        if not self._in_head:
            self._head_bytes = 0 if self._got_body else self._head_bytes + len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def _refuse_unparsed(self, data: bytes) -> bool:
        """Refuse a prediction that came whole, in one piece and between two others.

        Under overload most requests are of this kind; to parse each of them takes half of what
        refusing costs. Whatever is out of the ordinary is parsed.
        """
        cycle, between = self.cycle, self._in_head and not self._head_bytes
        if not between or not (cycle is None or cycle.response_complete) or self.pipeline:
            return False
        request_id = plain(data)
        if request_id is None or self.transport.is_closing():
            return False
        no_room: Callable[[bytes], bytes | None] = self.app.no_room
        said = no_room(request_id)
        if said is None:
            return False
        self.transport.write(said)
        self._refused_at = self.loop.time()
        if self._late is not None:
            self._no_timer()
            self._stay_open()
        return True

    def _stay_open(self) -> None:
        self._unset_keepalive_if_required()
        left = self._refused_at + self.timeout_keep_alive - self.loop.time()
        self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close what was quiet for long; one that was refused something since was not."""
        if self.loop.time() - self._refused_at < self.timeout_keep_alive:
            self._stay_open()
            return
        super().timeout_keep_alive_handler()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body count there."""
        self._got_body = True
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head is there in time."""
        self._in_head, self._head_bytes = False, 0
        self._no_timer()
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and self.parser.should_keep_alive():
            at_once: Callable[..., bytes | None] = self.app.at_once
            said = at_once(self.parser.get_method(), self.url, self.headers)
            if said:
                self.cycle = _SAID  # type: ignore[assignment]
                if not self.transport.is_closing():
                    self.transport.write(said)
                    self.on_response_complete()
                return
            self.scope["state"]["promised"] = said is not None
        super().on_headers_complete()
        self.headers = []  # what comes after the body is none of the request's head

    def on_message_complete(self) -> None:
        """The next head may begin."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def _no_timer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._refuse(b"408 Request Timeout")

    def _refuse(self, line: bytes) -> None:
        self._no_timer()
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an answer without a word of it."""
        del msg
        self._refuse(b"400 Bad Request")


def plain(data: bytes) -> bytes | None:
    """The X-Request-Id (empty for none) of a whole POST to /invocations without anything special.

    None where it is not all of it, or more, or has a head that asks for more than an answer.
    """
    if not data.startswith(_START):
        return None
    end = data.find(b"\r\n\r\n")
    if not 0 < end < HEAD_BYTES:
        return None
    head = data[: end + 2].lower()
    at = head.find(_LENGTH)
    if at < 0 or head.find(_LENGTH, at + 1) > 0 or any(word in head for word in _SPECIAL):
        return None
    length = head[at + len(_LENGTH) : head.find(b"\r\n", at + 2)].strip()
    if not length.isdigit() or len(length) > 12 or len(data) != end + 4 + int(length):
        return None
    at = head.find(_ID)
    return data[at + len(_ID) : data.find(b"\r\n", at + 2)].strip() if at > 0 else b""


_START = b"POST /invocations HTTP/1.1\r\n"
_LENGTH, _ID = b"\r\ncontent-length:", b"\r\nx-request-id:"
_SPECIAL = (b"\nconnection:", b"\nexpect:", b"\ntransfer-encoding:", b"\nupgrade:")


class _Said:
    """Stands for a request that was answered with its head; its body is nobody's."""

    response_complete = True
    disconnected = False
    message_event = asyncio.Event()


_SAID = _Said()


def arrived(receive: Any) -> bool:
    """Whether there is something to receive without waiting for it."""
    event = getattr(getattr(receive, "__self__", None), "message_event", None)
    return event is not None and event.is_set()


def respond_at_once(
    receive: Any, status: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> bool:
    """Write a whole response with one write; False where that takes the usual way.

    Two messages, each looked through for what a stranger's application may have put there, take a
    fifth of all that a prediction costs. These headers are our own. `status` is code and phrase.
    """
    cycle = getattr(receive, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.response_started:
        return False
    if cycle.disconnected:
        return True
    if not cycle.keep_alive or cycle.flow.write_paused:
        return False
    parts = [b"HTTP/1.1 ", status, b"\r\n"]
    for name, value in (*cycle.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    try:
        cycle.transport.write(b"".join(parts))
        cycle.message_event.set()
        cycle.on_response()
    except RuntimeError:
        return True  # the connection was closed, by a caller who sent several requests at once
    return True


def gone(receive: Any) -> Any:
    """A function that says whether the caller of a request has hung up."""
    cycle = getattr(receive, "__self__", None)
    if cycle is None or not hasattr(cycle, "disconnected"):
        return lambda: False
    return lambda: cycle.disconnected
