"""Callers in a process of their own, which note every answer: `callers.py PORT COUNT BODY OUT`.

Each has a connection that stays open and asks again as soon as it was answered. SIGTERM ends them:
what is under way is waited for. OUT gets a record of RECORD for each request, status 0 for one
that got no answer.
"""

from __future__ import annotations

import asyncio
import signal
import struct
import sys
import time
from pathlib import Path
from typing import BinaryIO, cast

RECORD = struct.Struct("<ddHI")
"""Sent and received (time.time()), status, version."""
PATIENCE = 60.0
_VERSION = b"x-understudy-version: "
_LENGTH = b"content-length: "


class Caller(asyncio.Protocol):
    """One connection; `done` is set once it is closed or has its last answer."""

    def __init__(self, request: bytes, out: BinaryIO, stop: asyncio.Event) -> None:
        self._request, self._out, self._stop = request, out, stop
        self._sent, self._got, self._waits = 0.0, b"", False
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no such base
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Note an answer that is whole, and ask again."""
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._got[: end + 2]
        if len(self._got) < end + 4 + _number(head, _LENGTH):
            return
        self._note(int(head[9:12]), _number(head, _VERSION))
        self._got = b""
        if self._stop.is_set():
            self._end()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """A request that is under way then has failed."""
        del exc
        if self._waits:
            self._note(0, 0)
        self._end()

    def give_up(self) -> None:
        """It waited for too long."""
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        if self._transport is not None:
            self._sent, self._waits = time.time(), True
            self._transport.write(self._request)

    def _note(self, status: int, version: int) -> None:
        self._waits = False
        self._out.write(RECORD.pack(self._sent, time.time(), status, version))

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _number(head: bytes, name: bytes) -> int:
    """The value of a header, 0 where there is none."""
    start = head.find(name)
    return int(head[start + len(name) : head.index(b"\r\n", start)]) if start >= 0 else 0


async def _keep_calling(port: int, request: bytes, out: BinaryIO, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        sent = time.time()
        try:
            _, caller = await loop.create_connection(
                lambda: Caller(request, out, stop), "127.0.0.1", port
            )
        except OSError:
            out.write(RECORD.pack(sent, time.time(), 0, 0))
            await asyncio.sleep(0.05)
            continue
        while not stop.is_set() and not caller.done.done():
            await asyncio.wait({caller.done}, timeout=0.5)
        await asyncio.wait({caller.done}, timeout=PATIENCE)
        caller.give_up()
        await asyncio.sleep(0)  # so that what it gave up is noted


async def call(port: int, count: int, body: bytes, out: BinaryIO) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    await asyncio.gather(*(_keep_calling(port, request, out, stop) for _ in range(count)))


def main() -> None:
    """As the first lines say."""
    import uvloop

    port, count, body, out = sys.argv[1:]
    with Path(out).open("wb") as stream:
        uvloop.run(call(int(port), int(count), Path(body).read_bytes(), stream))


if __name__ == "__main__":
    main()
