"""The gateway's side of the prediction log: a bounded queue, and the life of the writer process.

Everything here runs in the event loop and none of it waits for the log. What the writer has not
confirmed is kept, and sent again to the next writer where one died; writing twice changes nothing,
so each request counts once: offered = written + lost + queued.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from registry.errors import UnderstudyError
from serving.contract import Contracts
from serving.feedback import Item
from serving.frames import FEEDBACK, PREDICTIONS, SETTINGS, Record, frame, pack
from serving.wire import NotAccepted

FLUSH = 0.05
"""Seconds after which at the latest a record is on its way."""
FRAME_RECORDS = 128
FRAME_BYTES = 500_000
"""A frame ends with the record that reaches this."""
AWAY = 8
"""Frames that may be unconfirmed at once."""
STUCK = 60.0
"""Seconds of silence about what was sent, after which a writer is taken for dead."""
TRIES = 3
"""Writers that a single record may end before it counts as lost."""
ANSWER_WITHIN = 10.0
"""Seconds in which labels are stored or refused."""
START_WITHIN = 10.0
"""Seconds to wait for a writer at the start; later its absence is a problem like others."""
LINE = 16_000_000
"""Bytes that one line of the writer may have: answers to many labels."""
LAUNCH = (sys.executable, "-P", "-m", "serving.record_writer")
"""Not from the folder it is started in, which may have a `serving` of its own."""

Say = Callable[[str, Mapping[str, object]], None]


class RecordsRefused(UnderstudyError):
    """No log can be kept where params.yaml wants it; the writer's own sentence."""


def url_of(records: str | None, folder: Path) -> str:
    """The log's address for `serve.records` of params.yaml; empty where none is kept.

    `folder` is the gateway's own, .understudy of the project.
    """
    if records == "off":
        return ""
    return records or f"sqlite:///{folder.resolve()}/predictions.db"


@dataclass(eq=False, slots=True)
class _Feedback:
    """Labels that wait among the records, so that they come after the predictions before them."""

    content: bytes
    answered: asyncio.Future[list[dict[str, str]]]

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(eq=False, slots=True)
class _Away:
    """A frame that was sent and is not confirmed."""

    things: list[Record | _Feedback]
    size: int
    since: float


class Recorder:
    """Keeps the prediction log of a gateway."""

    def __init__(
        self,
        url: str,
        *,
        say: Say,
        never_stored: Sequence[str] = (),
        days: float = 90.0,
        max_bytes: int = 2_000_000_000,
        label_days: float = 60.0,
        queue_bytes: int = 64_000_000,
        launch: Sequence[str] = LAUNCH,
        contracts: Contracts | None = None,
    ) -> None:
        self._say, self._limit, self._launch = say, queue_bytes, launch
        self.contracts = contracts or Contracts()
        self._plain = {
            "url": url,
            "never_stored": list(never_stored),
            "days": days,
            "max_bytes": max_bytes,
            "label_days": label_days,
            "parent": os.getpid(),
        }
        self._waiting: deque[Record | _Feedback] = deque()
        self._away: dict[int, _Away] = {}
        self._bytes = 0
        self._offered = self._written = self._lost = 0
        self._number = 0
        self._together = FRAME_RECORDS
        self._deaths = 0
        """In a row, of writers that had something to write."""
        self._timer: asyncio.TimerHandle | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False
        self._life: asyncio.Task[None] | None = None
        self._first: asyncio.Future[str] | None = None
        self._ended = self._closing = False
        self._problem = ""
        self._told, self._silent = ("", 0.0), False
        self._told_full = -STUCK
        self.starts = 0
        """Writers that were started."""

    async def start(self) -> None:
        """Start the writer. Raises RecordsRefused where no log can ever be kept there.

        A database that does not answer now is no such case: `problem` says so, and it is tried on.
        """
        self._loop = asyncio.get_running_loop()
        self._first = self._loop.create_future()
        self._life = asyncio.ensure_future(self._live())
        with suppress(TimeoutError):
            refused = await asyncio.wait_for(asyncio.shield(self._first), START_WITHIN)
            if refused:
                await self._close(1)
                raise RecordsRefused(refused)
        self._first = None
        self._pump()

    def put(self, record: Record) -> None:
        """Log an answered request. Never waits; where there is no room it counts as lost."""
        self._offered += 1
        size = record.size
        if self._bytes + size > self._limit or self._ended:
            self._lost += 1
            self._full()
            return
        self._bytes += size
        self._waiting.append(record)
        if self._timer is None and self._ready:
            self._timer = self._loop.call_later(FLUSH, self._pump)

    async def feedback(self, items: Sequence[Item]) -> list[dict[str, str]]:
        """What became of each label: `result` (feedback.RESULTS) and `prediction_id`.

        Labels are stored after the predictions that were put before. Raises NotAccepted (503) where
        the log cannot be written at present; a label that was stored nevertheless is a `duplicate`
        when it is sent again.
        """
        content = orjson.dumps([item.as_list() for item in items])
        if self._problem or self._ended or self._bytes + len(content) > self._limit:
            raise _not_now()
        asked = _Feedback(content, self._loop.create_future())
        self._bytes += asked.size
        self._waiting.append(asked)
        self._pump()
        try:
            return await asyncio.wait_for(asked.answered, ANSWER_WITHIN)
        except TimeoutError:
            raise _not_now() from None

    @property
    def problem(self) -> str:
        """Why nothing, or not all, is written at present; empty where all is well."""
        if self._problem:
            return self._problem
        if time.monotonic() - self._told_full < STUCK and self._lost:
            return "more is to be logged than is written; what finds the queue full is not logged"
        return ""

    def counts(self) -> dict[str, int]:
        """Requests since the start: offered = written + lost + queued."""
        done = self._written + self._lost
        return {
            "offered": self._offered,
            "written": self._written,
            "lost": self._lost,
            "queued": self._offered - done,
        }

    @property
    def writer(self) -> int | None:
        """The process id of the writer, None while there is none."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def stop(self, seconds: float) -> None:
        """Write what waits, for so many seconds at the most; the rest is lost, and counted."""
        self._ended = True
        end = time.monotonic() + seconds
        while (self._waiting or self._away) and time.monotonic() < end and self._alive():
            self._pump()
            await asyncio.sleep(0.01)
        if self._timer is not None:
            self._timer.cancel()
        await self._close(max(end - time.monotonic(), 0.2))
        left = self.counts()["queued"]
        for thing in [*self._unconfirmed(), *self._waiting]:
            if type(thing) is _Feedback and not thing.answered.done():
                thing.answered.set_exception(_not_now())
        self._lost += left
        self._waiting.clear()
        self._away.clear()
        self._bytes = 0
        if left:
            self._say("log_incomplete", {"lost": left, "why": self._problem})

    async def _close(self, seconds: float) -> None:
        """End the writer; what it confirms until then counts."""
        process, life = self._process, self._life
        self._closing = True
        if life is None or process is None:
            return
        if not self._ready or process.stdin is None:
            life.cancel()
        else:
            process.stdin.close()
        await asyncio.wait([life], timeout=seconds)
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)

    # Sending

    def _pump(self) -> None:
        """Send a frame, if there is something to send and the writer is not behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ready or len(self._away) >= AWAY:
            return
        things, size = self._next()
        if not things:
            return
        if self.contracts.moved():
            self._set()
        self._number += 1
        self._away[self._number] = _Away(things, size, time.monotonic())
        first = things[0]
        if type(first) is _Feedback:
            self._send(frame(FEEDBACK, self._number, first.content))
        else:
            self._send(frame(PREDICTIONS, self._number, pack(things)))  # type: ignore[arg-type]
        if self._waiting:
            # Not at once: callers come between two frames.
            wait = 0 if len(self._waiting) >= self._together else FLUSH
            self._timer = self._loop.call_later(wait, self._pump)

    def _next(self) -> tuple[list[Record | _Feedback], int]:
        """What the next frame holds: records, or one request with labels."""
        things: list[Record | _Feedback] = []
        size, waiting = 0, self._waiting
        while waiting and len(things) < self._together and size < FRAME_BYTES:
            thing = waiting[0]
            if type(thing) is _Feedback:
                if things:
                    break
                waiting.popleft()
                if thing.answered.done():  # nobody waits for it any more
                    self._bytes -= thing.size
                    continue
                return [thing], thing.size
            things.append(waiting.popleft())
            size += thing.size
        return things, size

    def _set(self) -> None:
        """Tell the writer what it must know: first, and when a live version has other columns."""
        content = orjson.dumps({**self._plain, "contract": self.contracts.settings()})
        self._send(frame(SETTINGS, 0, content))

    def _send(self, data: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(OSError, RuntimeError):  # it just died; what was sent is sent again
            self._process.stdin.write(data)

    # The writer

    async def _live(self) -> None:
        """Keep a writer running."""
        pause = 0.1
        while True:
            try:
                await self._start_one()
                await self._listen()
            except OSError as error:
                self._trouble(f"its writer cannot be started ({error.strerror})")
            finally:
                self._ready = False
            if self._closing:
                return
            confirmed = self._deaths == 0
            self._back()
            pause = 0.1 if confirmed else min(pause * 2, 10.0)
            await asyncio.sleep(pause)

    async def _start_one(self) -> None:
        own = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH", "")]))
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *self._launch,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C on a terminal ends the gateway, which ends the writer
            limit=LINE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._set()

    async def _listen(self) -> None:
        """Take what the writer says, until it ends."""
        process = self._process
        if process is None or process.stdout is None:
            return
        try:
            while True:
                try:
                    line = await asyncio.wait_for(process.stdout.readline(), STUCK / 4)
                except TimeoutError:
                    self._require_life(process)
                    continue
                if not line.endswith(b"\n"):
                    break
                self._heard(orjson.loads(line))
        except ValueError:
            self._trouble("its writer says what nobody understands")
            process.kill()
        code = await process.wait()
        if self._closing:
            return
        if not self._problem:
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            self._trouble(f"its writer ended {how}; another one is started")

    def _require_life(self, process: asyncio.subprocess.Process) -> None:
        oldest = min((away.since for away in self._away.values()), default=None)
        if oldest is not None and time.monotonic() - oldest > STUCK:
            self._trouble(f"its writer said nothing for {STUCK:g} s; another one is started")
            process.kill()

    def _heard(self, said: Mapping[str, Any]) -> None:
        if "done" in said:
            self._confirmed(said)
        elif "ready" in said:
            self._ready = True
            if not self._away and self._deaths == 0:
                self._works()
            self._started("")
            self._pump()
        elif "refused" in said:
            self._started(said["refused"])
            self._trouble(said["refused"])
        elif "problem" in said:
            self._alive_still(said.get("failed"))
            self._trouble(said["problem"])

    def _started(self, refused: str) -> None:
        if self._first is not None and not self._first.done():
            self._first.set_result(refused)

    def _confirmed(self, said: Mapping[str, Any]) -> None:
        away = self._away.pop(said["done"], None)
        if away is None:
            return
        self._bytes -= away.size
        first = away.things[0]
        if type(first) is _Feedback:
            if not first.answered.done():
                pairs = said["answers"]
                first.answered.set_result([{"result": r, "prediction_id": i} for r, i in pairs])
        else:
            self._written += said["written"]
            self._lost += said["lost"]
            self.contracts.add(said.get("contract", {}))
            if said["lost"]:
                self._say("log_refused_records", {"lost": said["lost"]})
        self._deaths = 0
        self._together = min(self._together * 4, FRAME_RECORDS)
        self._works()
        if self._waiting and (self._timer is None or len(self._waiting) >= self._together):
            self._pump()

    def _alive_still(self, number: int | None) -> None:
        """It tries, and does not succeed; so it is not stuck."""
        away = self._away.get(number or 0)
        if away is not None:
            away.since = time.monotonic()

    def _back(self) -> None:
        """The writer is gone: what it did not confirm is to be sent again, in its order.

        Frames get smaller with each writer that died over them, down to the one record that
        it is because of; that one is given up.
        """
        things = self._unconfirmed()
        first = next(iter(self._away.values()), None)
        self._waiting.extendleft(reversed(things))
        self._away.clear()
        if first is None:
            return
        self._deaths += 1
        if len(first.things) > 1:
            self._together = max(len(first.things) // 8, 1)
        elif self._deaths > TRIES:
            self._give_up(self._waiting.popleft())
            self._deaths = 0

    def _give_up(self, thing: Record | _Feedback) -> None:
        self._bytes -= thing.size
        if type(thing) is _Feedback:
            if not thing.answered.done():
                thing.answered.set_exception(_not_now())
            return
        self._lost += 1
        self._say("log_gave_up", {"lost": 1, "why": self._problem})

    def _unconfirmed(self) -> list[Record | _Feedback]:
        return [thing for away in self._away.values() for thing in away.things]

    def _alive(self) -> bool:
        return self._life is not None and not self._life.done()

    # What is told

    def _trouble(self, why: str) -> None:
        """Something keeps records from being written; said once a minute if it comes and goes."""
        self._problem = why
        told, when = self._told
        if why != told or time.monotonic() - when > STUCK:
            self._told, self._silent = (why, time.monotonic()), False
            self._say("log_not_written", {"why": why, "queued": self.counts()["queued"]})

    def _works(self) -> None:
        if self._problem and not self._silent:
            self._silent = True
            self._say("log_written_again", {"lost": self._lost})
        self._problem = ""

    def _full(self) -> None:
        now = time.monotonic()
        if now - self._told_full > STUCK:
            self._told_full = now
            self._say("log_full", {"lost": self._lost, "why": self._problem})


def _not_now() -> NotAccepted:
    sentence = "labels cannot be stored at present; the gateway's status says why; send them again"
    return NotAccepted("LOG_NOT_WRITTEN", sentence, 503)
