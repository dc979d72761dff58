"""What the gateway reads of a request: its head and its body, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from serving.batch import Refused
from serving.protocol import HEAD_BYTES, arrived
from serving.wire import NotAccepted

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
"""ASGI's."""
BODY_SECONDS = 30.0
ID_LIMIT = 128


class Heads:
    """What the gateway reads of a request's head."""

    __slots__ = (
        "authorization",
        "content_type",
        "encoding",
        "host",
        "key",
        "length",
        "origin",
        "request_id",
        "size",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.content_type = self.authorization = self.request_id = self.key = ""
        self.host = self.origin = self.encoding = ""
        self.length, self.size = -1, 0
        for name, value in headers:
            self.size += len(name) + len(value)
            if name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else -1
            elif name == b"x-request-id":
                self.request_id = value.decode("latin-1")[:ID_LIMIT]
            elif name == b"x-understudy-key":
                self.key = value.decode("latin-1")[:ID_LIMIT]
            elif name == b"authorization":
                self.authorization = value.decode("latin-1")
            elif name == b"content-encoding":
                self.encoding = value.decode("latin-1")
            elif name == b"host":
                self.host = value.decode("latin-1")
            elif name == b"origin":
                self.origin = value.decode("latin-1")


def require_small(heads: Heads) -> None:
    """Raises NotAccepted for headers that are too large."""
    if heads.size > HEAD_BYTES:
        sentence = f"the headers are larger than {HEAD_BYTES} bytes"
        raise NotAccepted("HEADERS_TOO_LARGE", sentence, 431)


class Bodies:
    """Reads the bodies of all callers, and holds no more of them at once than is allowed."""

    def __init__(self, limit: int, together: int) -> None:
        """Bytes of one body, and of all those that are on their way in."""
        self._limit, self._together = limit, together
        self._held = 0

    def require_taken(self, heads: Heads) -> None:
        """Raises NotAccepted for what its head says is compressed or too large."""
        if heads.encoding and heads.encoding.lower() != "identity":
            raise NotAccepted("UNSUPPORTED_MEDIA_TYPE", "compressed bodies are not taken", 415)
        if heads.length > self._limit:
            raise self._too_large()

    async def read(self, heads: Heads, receive: Receive) -> bytes:
        """The whole body.

        Raises NotAccepted for one too large, too slow, broken off or compressed, Refused where
        those of others fill the room.
        """
        self.require_taken(heads)
        message: Mapping[str, Any] | None = None
        if arrived(receive):
            message = await receive()
            if not message.get("more_body") and message["type"] == "http.request":
                body: bytes = message["body"]
                if len(body) > self._limit:
                    raise self._too_large()
                return body
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._rest(message or await receive(), receive)
        except TimeoutError:
            raise NotAccepted("REQUEST_TIMEOUT", "the body did not come in time", 408) from None

    def _too_large(self) -> NotAccepted:
        sentence = f"the body is larger than {self._limit} bytes"
        return NotAccepted("REQUEST_TOO_LARGE", sentence, 413)

    async def _rest(self, message: Mapping[str, Any], receive: Receive) -> bytes:
        parts, size = [], 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise NotAccepted("CANCELLED", "the caller hung up", 400)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                self._held += len(parts[-1])
                if size > self._limit:
                    raise self._too_large()
                if self._held > self._together:
                    raise Refused(503, "OVERLOADED", "too much is on its way in already", 1)
                if not message.get("more_body"):
                    return b"".join(parts)
                message = await receive()
        finally:
            self._held -= size
