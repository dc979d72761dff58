"""Which version a request is for while an experiment goes on, and what becomes of it there.

A challenger can hurt no caller: what it fails, takes too long for, or answers without a number is
asked of the champion. In shadow mode it is asked once the caller has the champion's answer.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from experiments.arms import CHALLENGER, CHAMPION, is_challengers
from registry.traffic import GUARD, SHADOW, Traffic
from serving import wire
from serving.batch import Line, Refused, Reply, Request
from serving.crew import Crew

FAILED, STRANGE, BROKE = "failed", "strange", "broke"
"""Faults of a version: it says that it cannot answer; it answers with what is missing or no finite
number; nothing was said at all, for its process died, hangs, or has no room for more."""
COPIES = 64
"""Copies of requests that may be on their way at once; of more none is made."""
MEASURE_EVERY = 1.0
"""Seconds between two requests that both versions are asked in calls of their own; under load all
others are joined, and a joined call says little about a version."""
MEASURE_BUSY = 10.0
"""The same for a second version that is not heard while callers wait for the live one's processes:
all of them wait for the call of one, which is what a shadow must not cost."""
RESTART = 5.0
"""Seconds within which a process that died may be back without counting more than once."""
SEEN_BITS = 1 << 24

LIVE = "live"
"""Arm of the live version while it is guarded."""


@dataclass(eq=False, slots=True)
class Draw:
    """A request in an experiment."""

    challenger: bool
    """Whether the challenger is to answer."""
    weight: float
    """With which that was drawn; NaN where it is no unit: no new draw, or one of too many."""
    start: float
    """By time.monotonic()."""
    copied: bool = False
    """Whether the other version is to see it."""
    alone: bool = False
    """Whether both versions are asked for it in a call of its own, which shows how long that is."""
    fault: str = ""
    milliseconds: float | None = None
    """Once it is over."""
    void: bool = False
    """Whether it says nothing after all."""
    shared: bool = False
    """Whether the champion failed it, too."""
    told: bool = False
    """Whether the guard hears what becomes of it."""
    excused: bool = False
    """Whether its time says nothing: no process of the version was there, as another one told."""

    @property
    def counts(self) -> bool:
        """Whether it is a unit of the experiment."""
        return self.weight == self.weight and not self.void


Keep = Callable[[Reply | None, str], None]
"""Takes an answer that nobody was given, None where there was none, and its fault."""


class Tally(Protocol):
    """Who wants to know what became of each request."""

    def drawn(self, draw: Draw) -> None:
        """A request of canary or A/B; what becomes of it is noted in it."""

    def faulty(self) -> None:
        """The challenger failed one of them."""

    def copied(self, own: tuple[str, float], other: tuple[str, float]) -> None:
        """Of shadow mode: fault and milliseconds of the version that was heard, and of the other.

        Milliseconds are those of a call of its own, NaN where it was joined with others.
        """

    def measured(self, champion: float, challenger: float) -> None:
        """Milliseconds of both versions for a request that the challenger answered."""


class Seen:
    """Remembers keys in 2 MB, however many there are.

    Now and then a new one is taken for one that was seen (one of 16 once there are a million): it
    says nothing then, whatever its arm and its outcome are, so nothing is distorted.
    """

    def __init__(self) -> None:
        self._bits = bytearray(SEEN_BITS // 8)

    def first(self, key: str) -> bool:
        """Whether a key comes for the first time."""
        at = hash(key) % SEEN_BITS
        bit = 1 << (at & 7)
        if self._bits[at >> 3] & bit:
            return False
        self._bits[at >> 3] |= bit
        return True

    def __contains__(self, key: str) -> bool:
        at = hash(key) % SEEN_BITS
        return bool(self._bits[at >> 3] & (1 << (at & 7)))


class Thinned:
    """Lets a key count once in a second, so that one caller with a thousand requests is not all."""

    def __init__(self) -> None:
        self._second, self._keys = -1, set[str]()

    def first(self, key: str, now: float) -> bool:
        """Whether a key comes for the first time in this second; who has none always does."""
        if int(now) != self._second:
            self._second, self._keys = int(now), set()
        if not key:
            return True
        known = key in self._keys
        self._keys.add(key)
        return not known


class Split:
    """One experiment, or the guard after a promotion, as the requests of a model go through it."""

    def __init__(self, traffic: Traffic, crew: Crew, line: Line, tally: Tally, timeout: float):
        self.traffic, self.crew, self.line = traffic, crew, line
        self.seen = Seen()
        self.dropped = 0
        """Copies that were not made, because as many were on their way as may."""
        self.champions: Line | None = None
        """Where the live version is asked for what the challenger answered, to measure both."""
        self._tally, self._timeout = tally, timeout
        self._thinned = Thinned()
        self._copies = 0
        self._left = math.inf
        """When the last process of the challenger went; infinite while one is there."""
        self._death_told = False
        self._measured = -math.inf

    @property
    def shadows(self) -> bool:
        """Whether the second version is asked without being heard."""
        return self.traffic.mode in (SHADOW, GUARD)

    def draw(self, key: str, start: float, *, calm: bool = True) -> Draw | None:
        """Whose a request is; None for one that is no part of the experiment.

        `calm`: a process of the live version has nothing to do, and nobody waits for the next one.
        """
        traffic = self.traffic
        weight = traffic.weight
        every = MEASURE_EVERY if calm or not self.shadows else MEASURE_BUSY
        if self._copies >= COPIES and start - self._measured < every and self.shadows:
            self.dropped += 1  # before anything is done for it
            return None
        # Where both versions see a request, nothing rests upon who sent it; no key is drawn.
        if self.shadows and random.random() >= weight:  # noqa: S311 - nobody gains by guessing
            return None
        once = self._thinned.first(key, start)
        if self.shadows:
            found = Draw(False, weight if once else float("nan"), start, copied=True)
            found.alone = once and self._is_measured(start, every)
            return found
        if key:
            drawn = is_challengers(traffic.experiment, key, weight)
            says = weight if self.seen.first(key) else float("nan")
        else:
            drawn, says = random.random() < weight, weight  # noqa: S311 - nobody gains by guessing
        found = Draw(drawn, says, start)
        found.alone = drawn and self.champions is not None and self._is_measured(start, every)
        if drawn:
            # A death counts once, by the first who has to wait until the process is back.
            away = self.is_away(start)
            found.excused = away and self._death_told
            self._death_told = away
        if found.counts or once:
            found.told = True
            self._tally.drawn(found)
        return found

    def is_away(self, now: float) -> bool:
        """Whether no process of the challenger is there, and not for long."""
        self._left = math.inf if self.crew.running else min(self._left, now)
        return 0 <= now - self._left < RESTART

    def _is_measured(self, start: float, every: float) -> bool:
        if start - self._measured < every:
            return False
        self._measured = start
        return True

    def arm(self, draw: Draw) -> str:
        """Its name in the prediction log."""
        if self.traffic.mode == GUARD:
            return LIVE
        return CHALLENGER if draw.challenger else CHAMPION

    def over(self, draw: Draw) -> None:
        """A request has its answer, or nobody waits for it any more."""
        draw.milliseconds = (time.monotonic() - draw.start) * 1000
        if draw.challenger and draw.fault and draw.told:
            self._tally.faulty()

    async def ask(self, draw: Draw, request: Request) -> Reply | None:
        """The challenger's answer; None where the champion is to be asked, `draw.fault` says why.

        Where the experiment ends meanwhile it is the champion's answer.
        """
        if not self.line.has_room(len(request.body), time.monotonic()):
            draw.fault = BROKE
            return None
        self.line.put(request)
        try:
            reply = await request.reply
        except Refused:
            draw.fault = BROKE
            return None
        if reply.version != self.traffic.challenger:
            draw.void = True  # it was called back
            return reply
        if reply.status != 200:
            draw.fault = FAILED
        elif wire.strange(reply.body):
            draw.fault = STRANGE
        elif draw.alone and self.champions is not None:
            self._measure(self.champions, request, reply)
        return None if draw.fault else reply

    def _measure(self, line: Line, request: Request, reply: Reply) -> None:
        """Ask the champion the same, in a call of its own, for the time that it takes."""
        if not line.has_room(len(request.body), time.monotonic()):
            return
        second = self._again(request, alone=True)

        def done(found: asyncio.Future[Reply]) -> None:
            if found.cancelled() or found.exception() is not None:
                return
            other = found.result()
            if other.version == self.traffic.champion:
                self._tally.measured(_alone(other), _alone(reply))

        second.reply.add_done_callback(done)
        line.put(second)

    def _again(self, request: Request, *, alone: bool) -> Request:
        """The same request for another version; nobody waits for the answer."""
        return Request(
            request.body,
            request.content_type,
            request.rows,
            time.monotonic() + self._timeout,
            asyncio.get_running_loop().create_future(),
            alone=alone,
        )

    def copy(self, draw: Draw, request: Request, reply: Reply | None, keep: Keep) -> None:
        """Ask the version that is not heard, too; what comes of it goes to `keep`.

        `reply` is the one that was given, None where there was none.
        """
        size = len(request.body)
        many = self._copies >= COPIES and not draw.alone
        if many or not self.line.has_room(size, time.monotonic()):
            self.dropped += 1
            return
        self._copies += 1
        second = self._again(request, alone=draw.alone)
        second.reply.add_done_callback(lambda done: self._copied(draw, reply, done, keep))
        self.line.put(second)

    def _copied(
        self,
        draw: Draw,
        reply: Reply | None,
        done: asyncio.Future[Reply],
        keep: Keep,
    ) -> None:
        self._copies -= 1
        if done.cancelled():
            return
        fault, took = BROKE, float("nan")
        other = None
        if done.exception() is None:
            other = done.result()
            fault = FAILED
            if other.version != self.crew.version:
                return  # the experiment is over
            if other.status == 200:
                fault = STRANGE if wire.strange(other.body) else ""
                took = _alone(other)
            elif reply is not None and refused(reply.status) and refused(other.status):
                fault = ""  # what no version accepts is the caller's
            if reply is not None and refused(reply.status) and other.status == 200:
                draw.fault = FAILED
        keep(other, fault)
        if draw.counts:
            self._tally.copied((draw.fault, _alone(reply)), (fault, took))


def fault_of(reply: Reply) -> str:
    """What is wrong with a version's answer; what it does not accept is the caller's fault."""
    if reply.status >= 500:
        return FAILED
    return STRANGE if reply.status == 200 and wire.strange(reply.body) else ""


def refused(status: int) -> bool:
    """Whether a version says that it does not accept a request."""
    return 400 <= status < 500


def _alone(reply: Reply | None) -> float:
    """Milliseconds of a call that was this request's only; NaN for others.

    A joined call takes longer, and one of the two versions has more to join.
    """
    own = reply is not None and reply.batch == 1 and reply.status == 200
    return reply.seconds * 1000 if reply is not None and own else float("nan")
