"""One kept-open HTTP/1.1 connection to a scoring server: a request, its answer, nothing more.

A general client costs more than the model's own answer when many callers share one call.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

import httptools

ANSWER_LIMIT = 512_000_000
"""Bytes; a scoring server that says more is broken."""


class Broken(Exception):
    """The server closed the connection, or what it said is not HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, Content-Type and body of a response."""

    status: int
    content_type: str
    body: bytes


class Connection(asyncio.Protocol):
    """Connects when it is first asked, and again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._content_type = ""
        self._body: list[bytes] = []
        self._size = 0

    async def ask(self, head: bytes, body: bytes) -> Answer:
        """Send a request, one at a time. Raises Broken, ConnectionRefusedError.

        Whoever gives up waiting (cancels) closes the connection: its answer is nobody's.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        if self._transport is None:
            raise Broken("it closed the connection")
        self._parser = httptools.HttpResponseParser(self)
        self._body, self._size, self._content_type = [], 0, ""
        self._waiter = loop.create_future()
        self._transport.writelines((head, body))
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; whatever nobody asked for ends the connection."""
        if self._parser is None or self._waiter is None or self._waiter.done():
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("what it said is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        del exc
        self._transport = None
        self._fail("it closed the connection")

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the Content-Type."""
        if name.lower() == b"content-type":
            self._content_type = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Gather the body."""
        self._size += len(body)
        if self._size > ANSWER_LIMIT:
            self._fail("its answer does not end")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        parser = self._parser
        if parser is None:
            return
        if self._waiter is not None and not self._waiter.done():
            status = parser.get_status_code()
            self._waiter.set_result(Answer(status, self._content_type, b"".join(self._body)))
        if not parser.should_keep_alive():
            self.close()

    def _fail(self, why: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Broken(why))
        self.close()


def head(content_type: str, size: int, path: str = "/invocations", method: str = "POST") -> bytes:
    """The head of a request; `content_type` has been checked, so that it is one line."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode("latin-1")
