"""The life of one `mlflow models serve` process that answers callers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from registry import scoring
from registry.requirements import Manager
from serving.client import Answer, Broken, Connection, head
from serving.signature import NOTHING_KNOWN, Signature

STALL = 1.0
"""Seconds without an answer after which a process is asked whether it lives at all."""
PULSE = 2.0
"""Seconds within which a living one says so; its event loop is free while a model computes."""


class Frozen(Exception):
    """The process took a request and does not even answer `/ping`."""


class NotStarted(Exception):
    """The process did not come to answer its example; the text says why."""


@dataclass(frozen=True)
class Artifact:
    """The verified files of a version, how they are run, and a request they must answer."""

    version: int
    digest: str
    files: Path
    manager: Manager
    example: bytes
    rows: int
    signature: Signature = NOTHING_KNOWN


class Served:
    """One process; it answers one request at a time, because more make it slower, not faster."""

    def __init__(self, artifact: Artifact, *, log: Path, threads: int, nice: int = 0) -> None:
        self.artifact = artifact
        self._log, self._threads, self._nice = log, threads, nice
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._port = 0
        self.started = 0.0
        """Seconds that it took until it answered."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid if self._process else None

    async def start(self, patience: float = 0.0) -> None:
        """Start it and wait until it answers its example. Raises NotStarted."""
        with scoring.reserved_port() as self._port:
            await self._start(patience or scoring.PATIENCE[self.artifact.manager])

    async def _start(self, limit: float) -> None:
        begin = time.monotonic()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as stream:
            # In the thread of the event loop: the process dies with the thread that started it.
            self._process = subprocess.Popen(
                scoring.command(self.artifact.files, self.artifact.manager, self._port),
                cwd=self._log.parent,
                env=scoring.environment(self._threads),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._nice:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._nice)
        self._connection = Connection(self._port)
        try:
            await self._until_it_answers(begin + limit, limit)
        except BaseException:
            await self.stop()
            raise
        self.started = time.monotonic() - begin

    async def _until_it_answers(self, end: float, limit: float) -> None:
        example = self.artifact.example
        while (left := end - time.monotonic()) > 0:
            if not self.alive:
                said = scoring.last_line(self._log)
                raise NotStarted(f"the scoring server ended by itself{said}")
            try:
                async with asyncio.timeout(min(left, scoring.ANSWER_WITHIN)):
                    answer = await self._ask(example, "application/json")
                scoring.require_answers(answer.status, answer.body, self.artifact.rows)
            except (Broken, OSError):
                await asyncio.sleep(0.05)  # it does not listen yet
            except TimeoutError:
                continue
            except scoring.NotServed as error:
                raise NotStarted(f"{error}{scoring.last_line(self._log)}") from None
            else:
                if self.alive:  # or somebody else has answered
                    return
        said = scoring.last_line(self._log)
        raise NotStarted(f"the scoring server did not answer within {limit:g} s{said}")

    async def ask(self, body: bytes, content_type: str, seconds: float) -> Answer:
        """An answer within `seconds`. Raises Broken, Frozen, TimeoutError."""
        loop = asyncio.get_running_loop()
        doubting: list[asyncio.Task[None]] = []
        frozen = False

        async def doubt() -> None:
            nonlocal frozen
            while await self._pulse():
                await asyncio.sleep(STALL)
            frozen = True
            limit.reschedule(loop.time())

        # A timer is all that a call costs which is answered soon; a task would cost a tenth of it.
        timer = loop.call_later(STALL, lambda: doubting.append(asyncio.ensure_future(doubt())))
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._asked(body, content_type)
        except TimeoutError:
            if frozen:
                raise Frozen from None
            raise
        finally:
            timer.cancel()
            for task in doubting:
                task.cancel()

    async def _asked(self, body: bytes, content_type: str) -> Answer:
        try:
            return await self._ask(body, content_type)
        except Broken:
            if not self.alive:
                raise
        except OSError as error:
            raise Broken(str(error)) from None
        try:
            # uvicorn closes what was quiet for 5 s, maybe just now; asking again changes nothing.
            return await self._ask(body, content_type)
        except OSError as error:
            raise Broken(str(error)) from None

    async def _ask(self, body: bytes, content_type: str) -> Answer:
        if self._connection is None:
            raise Broken("it was not started")
        return await self._connection.ask(head(content_type, len(body)), body)

    async def _pulse(self) -> bool:
        """Whether the process answers `/ping`, over a connection of its own."""
        connection = Connection(self._port)
        try:
            async with asyncio.timeout(PULSE):
                answer = await connection.ask(head("text/plain", 0, "/ping", "GET"), b"")
            return answer.status == 200
        except (TimeoutError, Broken, OSError):
            return False
        finally:
            connection.close()

    async def stop(self, grace: float = 5.0) -> None:
        """End the process and all that it started, gently first."""
        if self._connection is not None:
            self._connection.close()
        process = self._process
        if process is None:
            return
        await asyncio.get_running_loop().run_in_executor(None, scoring.end, process, grace)

    def kill(self) -> None:
        """End it at once, without waiting."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, 9)
