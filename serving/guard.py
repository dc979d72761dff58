"""The evidence of one experiment as it grows from answers and labels, and what it says.

Answers are folded several times a second, and at once after a fault of the challenger; labels are
read from the prediction log. From there it also goes on after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from experiments.arms import CHALLENGER
from experiments.evidence import DAY, Evidence, Verdict
from experiments.rule import Mode, Rule
from registry.traffic import GUARD, SHADOW, Traffic
from serving import record_units
from serving.errors import LogError, LogMissing
from serving.guard_labels import Labels
from serving.record_units import Unit
from serving.records import Log
from serving.split import BROKE, FAILED, STRANGE, Draw, Seen, refused

FOLD = 0.25
"""Seconds between two looks at what came in."""
HURRY = 0.02
"""Seconds between two looks while the challenger fails."""
OVERDUE = 1000.0
"""Milliseconds after which a request without an answer counts as slow, if that is slow here."""

GRACE = 600.0
"""Seconds until the clock on the wall may end an experiment that was begun before this start."""

Result = TypeVar("Result")
Side = tuple[str, float]
"""A version's part in a request that both saw: fault and milliseconds."""


class Guard:
    """Collects, and gives a verdict at any time; it decides nothing."""

    def __init__(self, traffic: Traffic, log: Log | None, up: float = 0.0) -> None:
        """`up`: when this gateway came up, in seconds since 1970."""
        self.traffic = traffic
        self.rule, self.problem = _rule(traffic)
        self.hindrance = ""
        """Why the challenger is not served; nothing else matters then."""
        pairs = traffic.mode in (SHADOW, GUARD)
        mode: Mode = "shadow" if pairs else "ab" if traffic.mode == "ab" else "canary"
        self.evidence = Evidence(self.rule, mode)
        self.verdict: Verdict | None = None
        self.decided = ""
        """What was done about it, or who is to decide."""
        self.labels = Labels(self.evidence, traffic.mode)
        self.units_of_step = 0
        """Of the challenger since its weight was changed."""
        self._log = log
        self._order: deque[Draw] = deque()
        self._late: list[Draw] = []
        """Those that were slow before they had an answer, and have none yet."""
        self._second = 0
        self.is_away: Callable[[], bool] = lambda: False
        """Whether no process of the challenger is there, which speaks against it once, not in each
        second until one is back."""
        self._pairs: list[tuple[Side, Side, float]] = []
        self._calls: list[tuple[float, float]] = []
        self._hurry = asyncio.Event()
        self._up = time.monotonic()
        self._began = None if _since(traffic.began) else self._up
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="labels")
        if self.rule.metric != "none" and log is None:
            self.problem = "no labels can come, for serve.records is off"
        self._lost = ""
        if _moment(traffic.began, up) < up:
            self._lost = _lost(pairs, log is None)

    # From the requests, within the event loop

    def drawn(self, draw: Draw) -> None:
        """A request of canary or A/B; it counts once it and all before it are over."""
        self._order.append(draw)

    def faulty(self) -> None:
        """The challenger failed."""
        self._hurry.set()

    def copied(self, own: Side, other: Side) -> None:
        """A unit that both versions saw."""
        self._take_pair(own, other, time.monotonic())

    def _take_pair(self, own: Side, other: Side, at: float) -> None:
        # After a promotion it is the live version that is on trial.
        champion, challenger = (other, own) if self.traffic.mode == GUARD else (own, other)
        self._pairs.append((champion, challenger, at))
        if challenger[0]:
            self._hurry.set()

    def measured(self, champion: float, challenger: float) -> None:
        """A request that the challenger answered was asked of the champion, too."""
        self._calls.append((champion, challenger))

    async def look(self) -> Verdict:
        """Wait for news, and say what follows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLD):
                await self._hurry.wait()
        await asyncio.sleep(HURRY)
        self._hurry.clear()
        self._fold()
        if self._log is not None and self.rule.metric != "none":
            await self.labels.read(self._log, self.traffic.experiment, self._in_thread)
        return self.judge()

    def judge(self) -> Verdict:
        """What follows from all that was folded."""
        self.evidence.look()
        self.verdict = self.evidence.verdict(self._age())
        return self.verdict

    def _age(self) -> float:
        """Seconds since it began.

        No clock on the wall ends an experiment that has just come up: it is asked again a while
        later, when a wrong one may have been put right.
        """
        ran = time.monotonic() - self._up
        if ran > GRACE and self._began is None:
            self._began = self._up + ran - _since(self.traffic.began)
        if self._began is None:
            return min(_since(self.traffic.began), self.rule.wait_days * DAY)
        return time.monotonic() - self._began

    def _fold(self) -> None:
        """Take the requests that are over, in the order in which they came.

        The slower arm would be missing if whoever is answered first counted first.
        """
        limit, now = self.evidence.slow.limit, time.monotonic()
        units: list[Draw] = []
        known: list[tuple[Draw, float]] = []
        while self._order:
            draw = self._order[0]
            if draw.milliseconds is None:
                took = (now - draw.start) * 1000
                if took < OVERDUE or (draw.counts and (limit is None or took < limit)):
                    break
                self._late.append(draw)
            self._order.popleft()
            if draw.counts:
                units.append(draw)
            elif draw.milliseconds is not None and not draw.void:
                known.append((draw, draw.start))
        self._fold_late(known, now)
        self._fold_units(units, now)
        self._fold_known(known)
        self._fold_pairs()
        self.evidence.tick(self._order[0].start if self._order else now)

    def _fold_units(self, units: Sequence[Draw], now: float) -> None:
        if units:
            self.evidence.add_answers(
                [d.challenger for d in units],
                [d.weight for d in units],
                [d.fault in (FAILED, BROKE) for d in units],
                [d.fault == STRANGE for d in units],
                [_waited(d, now) for d in units],
                times=[d.start for d in units],
                broke=[d.fault == BROKE for d in units],
                shared=[d.shared for d in units],
            )
        same = self.traffic.weight
        self.units_of_step += sum(d.challenger and d.weight == same for d in units)

    def _fold_late(self, known: list[tuple[Draw, float]], now: float) -> None:
        """What hangs is slow in each second; what becomes of it counts when it is over."""
        over = [d for d in self._late if d.milliseconds is not None]
        self._late = [d for d in self._late if d.milliseconds is None and not d.void]
        known.extend((d, now) for d in over if not d.void)
        if int(now) != self._second:
            self._second = int(now)
            away = self.is_away()
            hanging = [d.challenger for d in self._late if d.counts and not d.excused]
            self.evidence.add_hanging(now, [arm for arm in hanging if not (arm and away)])

    def _fold_known(self, known: Sequence[tuple[Draw, float]]) -> None:
        if known:
            self.evidence.add_known(
                [d.challenger for d, _ in known],
                [d.fault in (FAILED, BROKE) for d, _ in known],
                [d.fault == STRANGE for d, _ in known],
                times=[at for _, at in known],
                shared=[d.shared for d, _ in known],
            )

    def _fold_pairs(self) -> None:
        pairs, self._pairs = self._pairs, []
        calls, self._calls = self._calls, []
        self.evidence.add_measured(calls)
        if pairs:
            self.evidence.add_shadows(
                [(a[0] in (FAILED, BROKE), b[0] in (FAILED, BROKE)) for a, b, _ in pairs],
                [(a[0] == STRANGE, b[0] == STRANGE) for a, b, _ in pairs],
                [(a[1], b[1]) for a, b, _ in pairs],
                times=[at for _, _, at in pairs],
                broke=[(a[0] == BROKE, b[0] == BROKE) for a, b, _ in pairs],
            )

    # From the log

    async def restore(self, seen: Seen) -> None:
        """Take what the log knows of the experiment; keys are noted in `seen`."""
        log = self._log
        if log is None:
            return

        def units() -> list[list[Unit]]:
            return list(record_units.units(log, self.traffic.experiment))

        try:
            for chunk in await self._in_thread(units):
                self._take(chunk, seen)
        except LogMissing:
            return  # nothing was ever written
        except LogError as error:
            self.problem = f"what was known before this start could not be read: {error}"

    def _take(self, units: Sequence[Unit], seen: Seen) -> None:
        paired = self.evidence.mode == "shadow"
        for unit in units:
            if paired:
                if unit.other_fault is not None:
                    accepted = unit.other_status == 200
                    fault = FAILED if refused(unit.status) and accepted else unit.fault
                    self._take_pair((fault, math.nan), (unit.other_fault, math.nan), unit.time)
                continue
            if unit.key and not seen.first(unit.key):
                continue  # another gateway had drawn for it
            draw = Draw(unit.arm == CHALLENGER, unit.weight, unit.time, fault=unit.fault)
            draw.milliseconds, draw.shared = unit.milliseconds, unit.status != 200
            self.drawn(draw)
        self._fold()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    def close(self) -> None:
        """It is not asked any more."""
        self._reading.shutdown(wait=False, cancel_futures=True)

    def reweighed(self, traffic: Traffic) -> None:
        """The challenger has another weight from now on."""
        if traffic.weight != self.traffic.weight:
            self.units_of_step = 0
            self.decided = ""
        self.traffic = traffic

    def report(self, *, dropped: int, is_open: bool, ended: bool) -> dict[str, Any]:
        """All of it, for JSON."""
        evidence, traffic = self.evidence, self.traffic
        problem, labels = self.hindrance or self.problem or self.labels.unread, self.labels.counts
        if not problem and labels["unfit"] and not labels["counted"]:
            problem = f"no label so far fits the metric {self.rule.metric}"
        problem = problem or self._lost
        return {
            "experiment": traffic.experiment,
            "mode": traffic.mode,
            "champion": traffic.champion,
            "challenger": traffic.challenger,
            "weight": traffic.weight,
            "began": traffic.began,
            "metric": self.rule.metric,
            "alpha": self.rule.alpha,
            "level": round(2 * self.rule.decisive_level, 6),
            "margin": evidence.margin,
            "minimum": self.rule.minimum,
            "units": list(evidence.units),
            "judged": evidence.judged,
            "dropped": dropped,
            "labels": dict(labels),
            "verdict": self.verdict.as_dict() if self.verdict else None,
            "path": [list(point) for point in evidence.path],
            "open": is_open,
            "problem": problem,
            "decided": self.decided,
            "ended": ended,
        }


def _waited(draw: Draw, now: float) -> float:
    """Milliseconds that are known so far; NaN where they say nothing."""
    if draw.excused:
        return math.nan
    return (now - draw.start) * 1000 if draw.milliseconds is None else draw.milliseconds


def _rule(traffic: Traffic) -> tuple[Rule, str]:
    """The rule that was agreed, and what is the matter with it."""
    try:
        return Rule.model_validate(dict(traffic.rule)), ""
    except ValidationError:
        return Rule(), "this release does not understand the rule of the experiment; its own holds"


def _lost(paired: bool, unwritten: bool) -> str:
    """What is not known any more once a gateway was started anew."""
    if unwritten:
        return "what was seen before this gateway's start is lost, for serve.records is off"
    what = "how long calls took" if paired else "what was asked again for keys that were counted"
    return f"{what} before this gateway's start is lost"


def _moment(text: str, otherwise: float) -> float:
    """Seconds since 1970."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return otherwise


def _since(moment: str) -> float:
    """Seconds since a moment; none where the clocks say that it is still to come."""
    now = time.time()
    return max(now - _moment(moment, now), 0.0)
