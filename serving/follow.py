"""Makes what is served follow the ledger: start, try, swap, drain; and keep the former one ready.

Swap last: whatever fails before it leaves the version serving that served before.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from registry.errors import UnderstudyError
from registry.promote import Outcome, Wish
from registry.traffic import Traffic
from serving import audition
from serving.audition import FEW, Failed, Sample
from serving.batch import Line
from serving.conduct import Conductor
from serving.crew import Crew, Place, Say
from serving.decisions import Decisions
from serving.sections import ServeParams
from serving.served import NotStarted
from serving.signature import NOTHING_KNOWN, Signature
from serving.split import Split
from serving.watch import Live, OlderLedger, Unfit, Wanted, Watch

AGAIN = 30.0
"""Seconds after which a version that could not be served is tried again."""
ROLLBACK_DRAIN = 0.1
"""Seconds that calls of a version get that was rolled back; then the live one is asked instead."""
SILENT = 5.0
"""Seconds after which a registry that has not answered yet is said not to be followed."""
SAMPLES = 200
UNHEARD = 10
"""By how much processes whose answers nobody gets are nicer than others."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Rehearsal:
    """What the last rehearsal of the former version showed."""

    ready: bool
    at: float
    """Seconds since 1970."""
    milliseconds: float | None = None
    """Median time of an answer."""
    reason: str = ""


@dataclass(frozen=True)
class Swap:
    """A route that was changed."""

    at: float
    version: int
    former: int | None
    seconds: float
    """From when the ledger was read to the change."""
    kind: str


@dataclass
class Facts:
    """What is known of following, for status and page."""

    wanted: Wanted = field(default_factory=Wanted)
    problem: str = ""
    """Why what the ledger wants is not served."""
    problem_version: int | None = None
    """The version that it is about."""
    registry: str = ""
    """Why the registry is not followed at present."""
    bringing: int | None = None
    """The version that is being started."""
    rehearsal: Rehearsal | None = None
    swaps: deque[Swap] = field(default_factory=lambda: deque(maxlen=100))
    counts: dict[str, int] = field(
        default_factory=lambda: {
            "swaps": 0, "refusals": 0, "rehearsals": 0, "rehearsals_failed": 0, "looks_failed": 0,
            "restarts": 0,
        }
    )  # fmt: skip


class Follower:
    """One model: its line, the crew that answers, and the one that stands by."""

    def __init__(
        self,
        watch: Watch,
        decisions: Decisions,
        line: Line,
        place: Place,
        params: ServeParams,
        say: Say,
    ) -> None:
        self.watch, self._decisions, self.line = watch, decisions, line
        self.live: Crew | None = None
        self.understudy: Crew | None = None
        self.facts = Facts()
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._place, self._params, self._say = place, params, say
        self.conductor: Conductor | None = None
        """Of experiments; whoever puts the gateway together sets it."""
        # Looks and fetches each have a thread: a registry that hangs does not hold up a start.
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._fetching = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._deciding = ThreadPoolExecutor(1, thread_name_prefix="decide")
        self._poked = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._target: tuple[Live | None, Live | None] = (None, None)
        self._coming: int | None = None
        """The version that is being started to be live or to stand by."""
        self._failed_at = 0.0
        self._leaving: set[asyncio.Task[None]] = set()
        self._seen_at = time.monotonic()
        self._remembered = ""

    @property
    def model(self) -> str:
        """The registered model."""
        return self.watch.model

    @property
    def signature(self) -> Signature:
        """What the live version takes and gives."""
        return self.live.artifact.signature if self.live else NOTHING_KNOWN

    @property
    def ready(self) -> bool:
        """Whether a version answers."""
        return self.live is not None and self.live.running > 0

    def crew_of(self, served: object) -> Crew | None:
        """The crew that a process belongs to, while it is in use."""
        return next((c for c in self._crews if c.has(served)), None)

    @property
    def _crews(self) -> list[Crew]:
        """All that run for this model."""
        challenger = self.conductor.crew if self.conductor else None
        return [c for c in (self.live, self.understudy, challenger) if c is not None]

    @property
    def rollback_ready(self) -> bool:
        """Whether the former version stands by, and answered its last rehearsal."""
        rehearsal = self.facts.rehearsal
        return bool(rehearsal and rehearsal.ready and self.understudy and self.understudy.running)

    @property
    def split(self) -> Split | None:
        """The experiment that requests go through, None while there is none."""
        return self.conductor.split if self.conductor else None

    def expire(self, now: float) -> None:
        """Answer those who waited for too long."""
        self.line.expire(now)
        if self.conductor is not None:
            self.conductor.expire(now)

    # The loop

    async def run(self) -> None:
        """Follow until cancelled."""
        rehearsing = asyncio.ensure_future(self._keep_rehearsing())
        try:
            while True:
                self._poked.clear()
                await self._look()
                self._pursue()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._params.poll):
                        await self._poked.wait()
        finally:
            rehearsing.cancel()
            await self._stop()

    async def _keep_rehearsing(self) -> None:
        while self._params.rehearse:
            await asyncio.sleep(self._params.rehearse)
            if self.understudy is not None and not self._busy:
                await self._rehearse(self.understudy)

    def poke(self) -> None:
        """Look at the ledger now."""
        self._poked.set()

    async def rollback(self, to: int | None, wish: Wish) -> Outcome:
        """Roll back in the ledger, and here at once. Raises UnderstudyError."""
        done = await self._in(self._deciding, lambda: self._decisions.rollback(to, wish))
        await self.look_now()
        return done

    async def look_now(self) -> None:
        """Read the ledger, and flip the route before this returns where that needs no start."""
        await self._look()
        self._pursue()

    @property
    def _busy(self) -> bool:
        return self._work is not None and not self._work.done()

    async def _look(self) -> None:
        facts = self.facts
        silent = asyncio.get_running_loop().call_later(SILENT, self._hear_nothing)
        try:
            wanted = await self._in(self._looking, self.watch.look)
        except Exception as error:  # a page with status 200, say, is no answer of a registry
            facts.counts["looks_failed"] += 1
            known = isinstance(error, UnderstudyError | OlderLedger)
            strange = f"what the registry said could not be understood ({type(error).__name__})"
            self._not_followed(str(error) if known else strange)
            return
        finally:
            silent.cancel()
        if facts.registry:
            facts.registry = ""
            if self.live is None:
                self._failed_at = -AGAIN  # what could not be fetched may be there now
            self._say("registry_followed_again", {})
        if wanted.head != facts.wanted.head:
            self._seen_at = time.monotonic()
            self._say("ledger_moved", {"entry": wanted.entry, "says": wanted.sentence})
        facts.wanted = wanted

    def _hear_nothing(self) -> None:
        """A look hangs; a gateway that has just started does not wait for its end."""
        self._not_followed(f"the registry has not answered for {SILENT:g} s")
        self._pursue()

    def _not_followed(self, why: str) -> None:
        facts = self.facts
        if facts.registry != why:
            facts.registry = why
            self._say("registry_not_followed", {"reason": why})
        if self.live is None and facts.wanted.production is None:
            facts.wanted = self.watch.remembered()

    def _pursue(self) -> None:
        """Flip at once where that is possible; start in the background what is missing."""
        wanted = self.facts.wanted
        production = wanted.production
        challenger = self.conductor.settle(wanted) if self.conductor else None
        if production is None:
            return
        if challenger is not None:
            self._flip(challenger)
        if self.live is not None and self.live.version == production.version:
            if not self._busy and self._is_there((production, wanted.former)):
                self.facts.problem = ""
        elif (
            self.understudy is not None
            and self.understudy.version == production.version
            and self.understudy.running
        ):
            crew, self.understudy = self.understudy, None
            self._flip(crew)
        if self.conductor is not None:
            self.conductor.pursue(wanted)
        if self.live is not None and self.live.version == production.version:
            self._remember(wanted)
        target = (production, wanted.former)
        if self._work is not None and self._busy:
            if target == self._target:
                return
            if self._coming in [live.version for live in target if live is not None]:
                self._target = target  # it is needed in another part; what has begun goes on
                return
            self._work.cancel()
        if self._is_there(target):
            self._target = target
            return
        if target == self._target and time.monotonic() - self._failed_at < AGAIN:
            return
        self._target = target
        self._work = asyncio.ensure_future(self._reach())

    def _is_there(self, target: tuple[Live | None, Live | None]) -> bool:
        production, former = target
        live = self.live.version if self.live else None
        ready = self.understudy.version if self.understudy else None
        wanted = former.version if former is not None and self._params.rehearse else None
        return (production is None or live == production.version) and ready == wanted

    async def _reach(self) -> None:
        """Bring up what is missing: the live version, then the one that stands by.

        What is wanted may change while a version starts; its place is by what is wanted then.
        """
        try:
            while not self._is_there(self._target):
                await asyncio.sleep(0)
                production, former = self._target
                if production is not None and not self._is_live(production):
                    await self._place_of(await self._bring(production, trial=True))
                elif former is not None and self._params.rehearse:
                    await self._place_of(await self._bring(former, trial=False))
                else:
                    await self._dismiss_understudy()
            self.facts.problem = ""
        except (Unfit, NotStarted, Failed) as error:
            self._refuse(str(error))
        except Exception as error:  # whatever it is, the old version goes on, and it is shown
            self._refuse(f"it failed in a way nobody thought of ({type(error).__name__}: {error})")
        finally:
            if self._work is asyncio.current_task():  # else another one is at it already
                self.facts.bringing = self._coming = None

    def _is_live(self, wanted: Live) -> bool:
        return self.live is not None and self.live.version == wanted.version

    async def _place_of(self, crew: Crew) -> None:
        """Give a version that has just started the part that the ledger has for it now."""
        self._coming = None
        production, former = self._target
        if production is not None and production.version == crew.version:
            if not self._is_live(production):
                self._flip(crew)
                return
        elif former is not None and former.version == crew.version:
            before, self.understudy, self.facts.rehearsal = self.understudy, crew, None
            if before is not None:
                await asyncio.shield(before.stop())
            await self._rehearse(crew)
            return
        await asyncio.shield(crew.stop())

    def _refuse(self, why: str) -> None:
        self._failed_at = time.monotonic()
        self.facts.problem, self.facts.problem_version = why, self.facts.bringing
        self.facts.counts["refusals"] += 1
        self._say("version_refused", {"version": self.facts.bringing, "reason": why})

    async def _dismiss_understudy(self) -> None:
        crew, self.understudy = self.understudy, None
        self.facts.rehearsal = None
        if crew is not None:
            await asyncio.shield(crew.stop())

    async def bring_challenger(self, live: Live, line: Line, *, heard: bool) -> Crew:
        """A crew beside the live one, for a line of its own. Raises Unfit, NotStarted, Failed.

        One that nobody is to hear leaves the processors to others.
        """
        place = self._place if heard else replace(self._place, nice=UNHEARD)
        try:
            return await self._start(live, trial=True, line=line, place=place)
        finally:
            self.facts.bringing = None

    async def _bring(self, live: Live, *, trial: bool) -> Crew:
        """A crew that answers as it must. Raises Unfit, NotStarted, Failed."""
        self._coming = live.version
        return await self._start(live, trial=trial)

    async def _start(
        self, live: Live, *, trial: bool, line: Line | None = None, place: Place | None = None
    ) -> Crew:
        self.facts.bringing = live.version
        in_use = {c.artifact.digest for c in self._crews}
        artifact = await self._in(self._fetching, lambda: self.watch.fetch(live, in_use))
        self._say("starting", {"version": live.version})
        crew = Crew(artifact, place or self._place, line or self.line, self._say, self._restarted)
        try:
            seconds = await crew.start()
            samples = list(self.samples) if trial else []
            against = self.live if trial else None
            heard = await audition.audition(crew, samples, against, self._params.slow_ms)
        except BaseException:
            await asyncio.shield(crew.stop())
            raise
        facts: dict[str, object] = {"version": live.version, "seconds": round(seconds, 2)}
        facts |= {"tried_with": heard.requests, "milliseconds": round(heard.milliseconds, 1)}
        if heard.equal is not None:
            facts["equal_answers"] = round(heard.equal, 4)
        self._say("ready", facts)
        return crew

    def _flip(self, crew: Crew) -> None:
        """The route of the model; from here on every waiting and new request is the crew's."""
        former, self.live = self.live, crew
        crew.serve(self.line)
        self.line.flip(crew.pool)
        wanted = self.facts.wanted
        number = former.version if former else None
        took = time.monotonic() - self._seen_at
        self.facts.swaps.append(Swap(time.time(), crew.version, number, took, wanted.kind))
        self.facts.counts["swaps"] += 1
        self._say(
            "swap", {"version": crew.version, "former": number, "milliseconds": round(took * 1000)}
        )
        self.samples.clear()  # what the former answered is no measure for this one
        self._remember(wanted)
        if former is not None:
            stays = wanted.former is not None and wanted.former.version == former.version
            before = self.understudy
            if stays and self._params.rehearse:
                self.understudy, self.facts.rehearsal = former, None
            task = asyncio.ensure_future(self._leave(former, wanted.kind, before))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _remember(self, wanted: Wanted) -> None:
        """What is served, for a start without the registry."""
        if wanted.known and wanted.head != self._remembered:
            self._remembered = wanted.head
            self.watch.remember(wanted)

    async def _leave(self, crew: Crew, kind: str, before: Crew | None) -> None:
        """Let a version finish its calls; then it stands by in place of `before`, or ends."""
        seconds = self._params.timeout if kind != "rollback" else ROLLBACK_DRAIN
        stays = self.understudy is crew
        if stays and before is not None:
            await before.stop()
        await self.line.drain(crew.pool, seconds)
        if self.understudy is crew:
            await self._rehearse(crew)
        elif not stays:
            await crew.stop()

    def _restarted(self) -> None:
        self.facts.counts["restarts"] += 1

    async def _rehearse(self, crew: Crew) -> None:
        counts = self.facts.counts
        counts["rehearsals"] += 1
        before = self.facts.rehearsal
        try:
            samples = [Sample(s.body, s.content_type, s.answer) for s in list(self.samples)[-FEW:]]
            heard = await audition.rehearse(crew, samples, self._params.slow_ms)
            self.facts.rehearsal = Rehearsal(True, time.time(), round(heard.milliseconds, 2))
        except (Failed, NotStarted) as error:
            counts["rehearsals_failed"] += 1
            self.facts.rehearsal = Rehearsal(False, time.time(), reason=str(error))
        after = self.facts.rehearsal
        if before is None or before.ready != after.ready:
            facts = {"version": crew.version, "ready": after.ready, "reason": after.reason}
            self._say("rollback_ready" if after.ready else "rollback_not_ready", facts)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def _stop(self) -> None:
        if self.conductor is not None:
            await self.conductor.stop()
        tasks = [t for t in (self._work, *self._leaving) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        crews = [c for c in (self.live, self.understudy) if c is not None]
        await asyncio.gather(*(c.stop() for c in crews))
        for pool in (self._looking, self._fetching, self._deciding):
            pool.shutdown(wait=False, cancel_futures=True)

    def status(self) -> dict[str, Any]:
        """What is live, what stands by, and what is wrong."""
        facts, wanted = self.facts, self.facts.wanted
        rehearsal = facts.rehearsal
        return {
            "model": self.model,
            "ready": self.ready,
            "version": self.live.version if self.live else None,
            "processes": self.live.running if self.live else 0,
            "understudy": self.understudy.version if self.understudy else None,
            "rollback_ready": self.rollback_ready,
            "rollback_milliseconds": rehearsal.milliseconds if rehearsal else None,
            "rehearsed_at": rehearsal.at if rehearsal else None,
            "rollback_reason": rehearsal.reason if rehearsal else "",
            "ledger": {
                "entry": wanted.entry,
                "head": wanted.head,
                "production": wanted.production.version if wanted.production else None,
                "says": wanted.sentence,
                "followed": not facts.registry,
                "reason": facts.registry,
            },
            "entries": list(wanted.entries),
            "swaps": [asdict(swap) for swap in facts.swaps],
            "starting": facts.bringing,
            "problem": facts.problem,
            "problem_version": facts.problem_version if facts.problem else None,
            "waiting": self.line.waiting,
            "counts": dict(facts.counts),
            "restarts": facts.counts["restarts"],
            "traffic": _traffic(wanted.traffic),
            "experiment": self.conductor.report() if self.conductor else None,
        }


def _traffic(found: Traffic | None) -> dict[str, Any] | None:
    """What the ledger says of an experiment, for JSON."""
    if found is None:
        return None
    names = ("champion", "challenger", "weight", "mode", "experiment", "began")
    return {name: getattr(found, name) for name in names}
