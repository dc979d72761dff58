"""Micro-batching: what gathered while the last call was away goes as one call.

No request waits for others to come: a free process takes at once whatever waits. A joined call
that fails is asked in halves, so that one bad request among many fails alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from serving import wire
from serving.client import Answer, Broken
from serving.served import Frozen, Served
from serving.wire import Rows

TRIES = 2
"""Calls that a request may break before it is answered with an error."""
LOOK_EVERY = 0.05
"""Seconds between two looks of a full line for callers who went away; all who wait are looked at,
and under overload thousands of requests per second ask for room."""


class Refused(Exception):
    """A request that is not answered by the model; all fields are for the caller."""

    def __init__(self, status: int, kind: str, sentence: str, retry_after: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.retry_after = status, kind, retry_after


@dataclass(eq=False, slots=True)
class Request:
    """One caller's request while it waits."""

    body: bytes
    content_type: str
    rows: Rows | None
    deadline: float
    """By time.monotonic()."""
    reply: asyncio.Future[Reply]
    gone: Callable[[], bool] = lambda: False
    """Whether the caller hung up."""
    alone: bool = False
    tries: int = 0

    @property
    def count(self) -> int:
        """How many rows it has; 1 where nobody counted."""
        return self.rows.count if self.rows else 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What a caller gets, and which version said it."""

    status: int
    content_type: str
    body: bytes
    version: int
    batch: int
    """Requests that were asked together with it, itself included."""
    seconds: float = 0.0
    """Of the call itself, without waiting."""


@dataclass(frozen=True)
class Limits:
    """How much may wait, and how much may be joined."""

    requests: int = 512
    bytes: int = 64_000_000
    batch_rows: int = 256
    batch_bytes: int = 1_000_000
    tries: int = TRIES


@dataclass(eq=False)
class Pool:
    """The processes of one version that answer callers."""

    version: int
    joins: bool = True
    """Whether its answers to joined rows are those to each alone."""
    per_row: bool = True
    """Whether it gives one prediction for each row."""
    free: list[Served] = field(default_factory=list)
    busy: dict[Served, asyncio.Task[None]] = field(default_factory=dict)

    def without(self, served: Served) -> None:
        """Give a process no further request."""
        if served in self.free:
            self.free.remove(served)


@dataclass
class Told:
    """What a line reports as it goes; each is called from the event loop."""

    batch: Callable[[int, int, int], None]
    """A call of a version was answered: so many requests, and rows."""
    failed: Callable[[Served, str], None]
    """A process broke; it is given nothing more. And why."""


class Line:
    """The requests that wait for one model, and the pool that answers them."""

    def __init__(self, limits: Limits, told: Told) -> None:
        self._limits, self._told = limits, told
        self._waiting: dict[Hashable, deque[Request]] = {}
        self._count = 0
        self._bytes = 0
        self._looked = 0.0
        self._joined = 0
        """Requests of the last call."""
        self.promised = 0
        """Requests that were told there is room, and whose turn to be read has not come."""
        self._pumping = False
        self._heir: Line | None = None
        self._dismissed = False
        self.pool: Pool | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._count

    @property
    def calm(self) -> bool:
        """Whether a process has nothing to do, and the last call was of one request only.

        Callers whose requests are joined are answered and ask again together: between two calls
        there is a moment in which nobody waits.
        """
        idle = self.pool is not None and bool(self.pool.free) and not self._count
        return idle and self._joined <= 1

    def full(self, size: int) -> bool:
        """Whether one more of so many bytes is too much."""
        waiting = self._count + self.promised
        return waiting >= self._limits.requests or self._bytes + size > self._limits.bytes

    def has_room(self, size: int, now: float) -> bool:
        """Whether one more of so many bytes may wait, once those are gone who need no answer."""
        if self.full(size) and now - self._looked >= LOOK_EVERY:
            self._looked = now
            self.expire(now)
        return not self.full(size)

    def put(self, request: Request) -> None:
        """Let a request wait for its answer; `request.reply` becomes a Reply, or Refused."""
        self._add(request)
        self._pump_soon()

    def flip(self, pool: Pool | None) -> Pool | None:
        """Answer by another pool from now on, waiting requests included; returns the former."""
        former, self.pool = self.pool, pool
        self._pump_soon()
        return former

    def offer(self, pool: Pool, served: Served) -> None:
        """A process of a pool is ready for a request."""
        if self._heir is not None:
            self._heir.offer(pool, served)
            return
        pool.free.append(served)
        if pool is self.pool:
            self._pump_soon()

    def hand_over(self, heir: Line) -> None:
        """End: whoever waits here, or is called back by `drain`, waits in another line from now."""
        self._heir, self.pool = heir, None
        for queue in self._waiting.values():
            for request in queue:
                heir.put(request)
        self._waiting.clear()
        self._count = self._bytes = 0

    def dismiss(self, heir: Line) -> None:
        """End: nobody needs an answer any more; processes are free for another line."""
        self._heir, self.pool, self._dismissed = heir, None, True
        for queue in self._waiting.values():
            for request in queue:
                request.reply.cancel()
        self._waiting.clear()
        self._count = self._bytes = 0

    async def drain(self, pool: Pool, seconds: float) -> None:
        """Wait for the calls of a pool; those that take longer are asked again, of the live one."""
        tasks = list(pool.busy.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()

    def expire(self, now: float) -> None:
        """Answer those who waited for too long, and forget those who went away."""
        for kind, queue in list(self._waiting.items()):
            for request in list(queue):
                if request.reply.done() or request.gone():
                    self._take_out(kind, request)
                    request.reply.cancel()
                elif request.deadline <= now:
                    self._take_out(kind, request)
                    request.reply.set_exception(
                        Refused(503, "TEMPORARILY_UNAVAILABLE", "no answer came in time", 1)
                    )

    # What waits

    def _add(self, request: Request, *, first: bool = False) -> None:
        if self._dismissed:
            request.reply.cancel()
            return
        if self._heir is not None:
            self._heir.put(request)
            return
        joinable = request.rows is not None and not request.alone
        kind: Hashable = request.rows.kind if joinable and request.rows else request
        queue = self._waiting.setdefault(kind, deque())
        (queue.appendleft if first else queue.append)(request)
        self._count += 1
        self._bytes += len(request.body)

    def _take_out(self, kind: Hashable, request: Request) -> None:
        queue = self._waiting[kind]
        queue.remove(request)
        self._taken(request)
        if not queue:
            del self._waiting[kind]

    def _taken(self, request: Request) -> None:
        self._count -= 1
        self._bytes -= len(request.body)

    def _take(self, joins: bool) -> list[Request]:
        """The requests of the next call: of the kind whose turn it is, as many as fit."""
        taken: list[Request] = []
        while self._waiting and not taken:
            kind = next(iter(self._waiting))
            queue = self._waiting.pop(kind)
            rows = size = 0
            while queue:
                request = queue[0]
                if request.gone():
                    request.reply.cancel()
                if not request.reply.done():
                    rows, size = rows + request.count, size + len(request.body)
                    over = rows > self._limits.batch_rows or size > self._limits.batch_bytes
                    if taken and (over or not joins):
                        break
                    taken.append(request)
                queue.popleft()
                self._taken(request)
            if queue:
                self._waiting[kind] = queue  # last in turn, so that no kind keeps others waiting
        self._joined = len(taken)
        return taken

    # Asking

    def _pump_soon(self) -> None:
        """Ask once everything that arrived in this round of the event loop is there."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        pool = self.pool
        while pool is not None and pool.free and self._count:
            requests = self._take(pool.joins)
            if not requests:
                return
            served = pool.free.pop()
            task = asyncio.ensure_future(self._call(pool, served, requests))
            pool.busy[served] = task

    async def _call(self, pool: Pool, served: Served, requests: Sequence[Request]) -> None:
        """Ask a process as long as somebody waits; give it back, or report it as broken.

        What waits when an answer comes is asked in the same step: under load each round of the
        event loop takes long, and the process would be idle for it. Whoever has no answer waits on.
        """
        try:
            await self._ask(pool, served, requests)
            while pool is self.pool and self._count:
                requests = self._take(pool.joins)
                await self._ask(pool, served, requests)
        except (Broken, Frozen, TimeoutError) as error:
            del pool.busy[served]
            self._again(requests, type(error))
            self._told.failed(served, _WHY[type(error)])
        except asyncio.CancelledError:
            del pool.busy[served]
            self._again(requests, None)
            self._told.failed(served, "it was called back in the middle of a call")
            raise
        except Exception:
            del pool.busy[served]
            self._again(requests, Broken)
            self._told.failed(served, "its answer could not be understood")
            raise
        else:
            del pool.busy[served]
            self.offer(pool, served)

    async def _ask(self, pool: Pool, served: Served, requests: Sequence[Request]) -> None:
        live = [r for r in requests if not r.reply.done()]
        if not live:
            return
        if len(live) == 1:
            (request,) = live
            begin = time.monotonic()
            seconds = request.deadline - begin
            answer = await served.ask(request.body, request.content_type, max(seconds, 0.001))
            self._told.batch(pool.version, 1, request.count)
            self._settle(request, answer, pool, time.monotonic() - begin)
            return
        joined = wire.join([r.rows for r in live if r.rows])
        # Half of the time, so that each can still be asked alone where one row hangs them all.
        begin = time.monotonic()
        seconds = (min(r.deadline for r in live) - begin) / 2
        answer = await served.ask(joined, wire.JSON, max(seconds, 0.001))
        counts = [r.count for r in live]
        parts = wire.part(answer.body, counts) if answer.status == 200 else None
        if parts is None:
            half = len(live) // 2
            await self._ask(pool, served, live[:half])
            await self._ask(pool, served, live[half:])
            return
        self._told.batch(pool.version, len(live), sum(counts))
        took = time.monotonic() - begin
        for request, part in zip(live, parts, strict=True):
            if not request.reply.done():
                reply = Reply(200, wire.JSON, part, pool.version, len(live), took)
                request.reply.set_result(reply)

    def _settle(self, request: Request, answer: Answer, pool: Pool, took: float) -> None:
        """Give one caller the answer to its own call."""
        if request.reply.done():
            return
        try:
            if answer.status == 200:
                found = wire.predictions(answer.body)
                each = isinstance(found, list) and len(found) == request.count
                if pool.per_row and request.rows and not each:
                    raise ValueError("not one prediction for each row")
        except (ValueError, TypeError):
            sentence = "the model's answer cannot be used; it was not passed on"
            request.reply.set_exception(Refused(502, "BAD_ANSWER", sentence))
            return
        content_type = answer.content_type or wire.JSON
        reply = Reply(answer.status, content_type, answer.body, pool.version, 1, took)
        request.reply.set_result(reply)

    def _again(self, requests: Sequence[Request], error: type[Exception] | None) -> None:
        """Let those wait on who have no answer; who was there too often is told so."""
        now = time.monotonic()
        for request in reversed(requests):
            if request.reply.done():
                continue
            if error is TimeoutError and (request.deadline <= now or len(requests) == 1):
                sentence = "the model did not answer in time"
                request.reply.set_exception(Refused(504, "DEADLINE_EXCEEDED", sentence, 1))
                continue
            if error is not None:
                request.tries += 1
                request.alone = True  # so that whoever breaks processes breaks one for itself
            if request.tries >= self._limits.tries:
                sentence = "the process that was asked ended"
                request.reply.set_exception(Refused(502, "MODEL_PROCESS_ENDED", sentence, 1))
            else:
                self._add(request, first=True)
        self._pump_soon()


_WHY: dict[type[BaseException], str] = {
    Broken: "it broke off in the middle of a call",
    Frozen: "it does not answer at all",
    TimeoutError: "it did not answer in time",
}
