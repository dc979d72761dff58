"""The processes of one version: started together, and each started anew when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from serving import wire
from serving.batch import Line, Pool
from serving.client import Answer, Broken
from serving.served import Artifact, Frozen, NotStarted, Served

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
UNHEARD_PAUSE, UNHEARD_LONGEST = 30.0, 300.0
"""Seconds before a process of a version that nobody hears is started again, twice as many each
time: starting takes a processor for seconds, which callers of the live version feel."""
LOGS = 100
"""Files with what the processes of a version said; the oldest is written anew."""
UNTIL_FREE = 2.0
"""Seconds that a question to a process may wait for its turn."""
PROBE = 5.0
"""Seconds after which a process that nobody asked is asked its example."""

Say = Callable[[str, dict[str, object]], None]
"""Takes the name of an event and its facts."""


@dataclass(frozen=True)
class Place:
    """Where and how the processes of a crew run."""

    logs: Path
    processes: int
    threads: int
    timeout: float
    nice: int = 0
    """By how much they leave the processors to others."""


class Crew:
    """Answers for one version, in the line of its model or standing by."""

    def __init__(
        self,
        artifact: Artifact,
        place: Place,
        line: Line,
        say: Say,
        restarted: Callable[[], None],
    ) -> None:
        """`restarted` is called for each process that takes the place of one that broke."""
        self.artifact, self.place = artifact, place
        self.pool = Pool(artifact.version)
        self._line, self._say, self._restarted = line, say, restarted
        self._started = 0
        self._rest = 0.0
        self._members: set[Served] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def version(self) -> int:
        """The version that it answers for."""
        return self.artifact.version

    @property
    def running(self) -> int:
        """How many of its processes are ready to answer or at it."""
        return len(self.pool.free) + len(self.pool.busy)

    def serve(self, line: Line) -> None:
        """Its processes are free for the requests of a line from now on."""
        self._line = line

    def has(self, served: object) -> bool:
        """Whether a process is one of its own."""
        return served in self._members

    async def start(self) -> float:
        """Start all processes; returns the seconds it took. Raises NotStarted."""
        begin = time.monotonic()
        made = [self._new() for _ in range(self.place.processes)]
        self._members |= set(made)
        try:
            await asyncio.gather(*(served.start() for served in made))
        except BaseException:
            await self.stop()
            raise
        for served in made:
            self._line.offer(self.pool, served)
        self._keep(self._watch())
        return time.monotonic() - begin

    def _new(self) -> Served:
        log = self.place.logs / f"v{self.version}-{self._started % LOGS}.log"
        self._started += 1
        return Served(self.artifact, log=log, threads=self.place.threads, nice=self.place.nice)

    def broken(self, served: Served, why: str) -> None:
        """A process is of no more use: end it, and start another in its place."""
        self.pool.without(served)
        if self._stopped or served not in self._members:
            return
        self._members.discard(served)
        self._say("process_ended", {"version": self.version, "pid": served.pid, "reason": why})
        self._keep(self._replace(served))

    async def _replace(self, served: Served) -> None:
        served.kill()
        await served.stop(0)
        pause = FIRST_PAUSE
        if self.place.nice:
            self._rest = min(max(2 * self._rest, UNHEARD_PAUSE), UNHEARD_LONGEST)
            await asyncio.sleep(self._rest)
        while not self._stopped:
            self._restarted()
            new = self._new()
            self._members.add(new)
            try:
                await new.start()
            except NotStarted as error:
                self._members.discard(new)
                facts = {"version": self.version, "reason": str(error), "again_in": pause}
                self._say("process_not_started", facts)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                facts = {"version": self.version, "pid": new.pid, "seconds": round(new.started, 2)}
                self._say("process_started", facts)
                self._line.offer(self.pool, new)
                return

    async def _watch(self) -> None:
        """Notice processes that died, or wait and answer nobody."""
        asked = time.monotonic()
        while not self._stopped:
            await asyncio.sleep(0.2)
            for served in list(self.pool.free):
                if not served.alive:
                    self.broken(served, "it ended")
            if time.monotonic() - asked > PROBE and self.pool.free:
                asked = time.monotonic()
                with contextlib.suppress(NotStarted):
                    await self.ask(self.artifact.example, wire.JSON)

    async def ask(self, body: bytes, content_type: str) -> Answer:
        """The answer of a process that has nothing else to do. Raises NotStarted."""
        end = time.monotonic() + UNTIL_FREE
        while not self.pool.free and self.pool.busy and time.monotonic() < end:
            await asyncio.sleep(0.01)  # it answers a copy of a caller's request
        if not self.pool.free:
            raise NotStarted("none of its processes is free")
        served = self.pool.free.pop(0)
        self.pool.busy[served] = asyncio.ensure_future(asyncio.sleep(0))
        try:
            answer = await served.ask(body, content_type, self.place.timeout)
        except (Broken, Frozen, TimeoutError) as error:
            del self.pool.busy[served]
            why = "it did not answer in time" if isinstance(error, TimeoutError) else "it broke off"
            self.broken(served, why)
            raise NotStarted(why) from None
        except asyncio.CancelledError:
            del self.pool.busy[served]
            self.broken(served, "it was called back in the middle of a call")
            raise
        del self.pool.busy[served]
        self._line.offer(self.pool, served)
        return answer

    async def stop(self, grace: float = 5.0) -> None:
        """End all processes."""
        self._stopped = True
        self.pool.free.clear()
        tasks = [t for t in self._tasks if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(m.stop(grace) for m in self._members))
        self._members.clear()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
