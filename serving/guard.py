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
from experiments.losses import loss
from experiments.rule import Mode, Rule
from registry.traffic import GUARD, SHADOW, Traffic
from serving import record_units
from serving.errors import LogError, LogMissing
from serving.record_units import OVERLAP, LabelledUnit, Unit
from serving.records import Log
from serving.split import FAILED, STRANGE, Draw, Seen, refused

FOLD = 0.25
"""Seconds between two looks at what came in."""
HURRY = 0.02
"""Seconds between two looks while the challenger fails."""
LABELS_EVERY = 2.0
OVERDUE = 1000.0
"""Milliseconds after which a request without an answer counts as slow, if that is slow here."""

GRACE = 600.0
"""Seconds until the clock on the wall may end an experiment that was begun before this start."""

Result = TypeVar("Result")


class Guard:
    """Collects, and gives a verdict at any time; it decides nothing."""

    def __init__(self, traffic: Traffic, log: Log | None) -> None:
        self.traffic = traffic
        self.rule, self.problem = _rule(traffic)
        pairs = traffic.mode in (SHADOW, GUARD)
        mode: Mode = "shadow" if pairs else "ab" if traffic.mode == "ab" else "canary"
        self.evidence = Evidence(self.rule, mode)
        self.verdict: Verdict | None = None
        self.decided = ""
        """What was done about it, or who is to decide."""
        self.labels = {"counted": 0, "unfit": 0}
        self.units_of_step = 0
        """Of the challenger since its weight was changed."""
        self._log = log
        self._order: deque[Draw] = deque()
        self._pairs: list[tuple[tuple[str, float], tuple[str, float]]] = []
        self._hurry = asyncio.Event()
        self._up = time.monotonic()
        self._began = None if _since(traffic.began) else self._up
        self._number = 0
        """Of the last label that was read."""
        self._labelled = Seen()
        """Units that had a label."""
        self._labels_at = -math.inf
        self._labels_unread = ""
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="labels")
        if self.rule.metric != "none" and log is None:
            self.problem = "no labels can come, for serve.records is off"

    # From the requests, within the event loop

    def drawn(self, draw: Draw) -> None:
        """A unit of canary or A/B; it counts once it and all before it are over."""
        self._order.append(draw)

    def faulty(self) -> None:
        """The challenger failed."""
        self._hurry.set()

    def copied(self, own: tuple[str, float], other: tuple[str, float]) -> None:
        """A unit that both versions saw."""
        # After a promotion it is the live version that is on trial.
        champion, challenger = (other, own) if self.traffic.mode == GUARD else (own, other)
        self._pairs.append((champion, challenger))
        if challenger[0]:
            self._hurry.set()

    async def look(self) -> Verdict:
        """Wait for news, and say what follows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLD):
                await self._hurry.wait()
        await asyncio.sleep(HURRY)
        self._hurry.clear()
        self._fold()
        if self._log is not None and self.rule.metric != "none":
            await self._read_labels(self._log)
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
        """Take the units that are over, in the order in which they were drawn.

        The slower arm would be missing if whoever is answered first counted first.
        """
        limit, now = self.evidence.slow.limit, time.monotonic()
        arms: list[tuple[bool, float, bool, bool, float]] = []
        while self._order:
            draw = self._order[0]
            took = draw.milliseconds
            if took is None:
                took = (now - draw.start) * 1000
                if limit is None or took < max(limit, OVERDUE):
                    break
            self._order.popleft()
            if draw.counts:
                failed, strange = draw.fault == FAILED, draw.fault == STRANGE
                arms.append((draw.challenger, draw.weight, failed, strange, took))
                same = draw.weight == self.traffic.weight
                self.units_of_step += draw.challenger and same
        if arms:
            self.evidence.add_answers(*zip(*arms, strict=True))
        pairs, self._pairs = self._pairs, []
        if pairs:
            self.evidence.add_shadows(
                [(a[0] == FAILED, b[0] == FAILED) for a, b in pairs],
                [(a[0] == STRANGE, b[0] == STRANGE) for a, b in pairs],
                [(a[1], b[1]) for a, b in pairs],
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
        for unit in units:
            if unit.key and not seen.first(unit.key):
                continue  # another gateway had drawn for it
            if self.evidence.mode == "shadow":
                if unit.other_fault is not None:
                    accepted = unit.other_status == 200
                    fault = FAILED if refused(unit.status) and accepted else unit.fault
                    self.copied((fault, math.nan), (unit.other_fault, math.nan))
                continue
            draw = Draw(unit.arm == CHALLENGER, unit.weight, 0.0, fault=unit.fault)
            draw.milliseconds = unit.milliseconds
            self.drawn(draw)
        self._fold()

    async def _read_labels(self, log: Log) -> None:
        if time.monotonic() - self._labels_at < LABELS_EVERY:
            return
        self._labels_at = time.monotonic()
        after, experiment = max(self._number - OVERLAP, 0), self.traffic.experiment
        try:
            found = await self._in_thread(lambda: record_units.labelled(log, experiment, after))
        except LogError as error:
            self._labels_unread = f"labels cannot be read: {error}"
            return
        self._labels_unread = ""
        if found:
            self._number = max(self._number, found[-1].number)
        if len(found) >= record_units.CHUNK:
            self._labels_at = -math.inf  # there are more
        self._take_labels([unit for unit in found if self._labelled.first(unit.id)])

    def _take_labels(self, units: Sequence[LabelledUnit]) -> None:
        pairs = self.evidence.mode == "shadow"
        fitting: list[tuple[float, float, float]] = []
        for unit in units:
            own = self._loss(unit.answer, unit.fault, unit.label)
            if pairs and unit.other_fault is None:
                continue  # no copy was made of it
            other = self._loss(unit.other, unit.other_fault or "", unit.label) if pairs else 0.0
            if own is None or other is None:
                self.labels["unfit"] += 1
                continue
            if pairs:
                both = (other, own) if self.traffic.mode == GUARD else (own, other)
                fitting.append((*both, 0.0))
            else:
                fitting.append((own, float(unit.arm == CHALLENGER), unit.weight))
        self.labels["counted"] += len(fitting)
        if not fitting:
            return
        first, second, third = (list(column) for column in zip(*fitting, strict=True))
        if pairs:
            self.evidence.add_pairs(first, second)
        else:
            self.evidence.add_losses(first, [bool(c) for c in second], third)

    def _loss(self, answer: Any, fault: str, label: Any) -> float | None:
        """An answer that was none is as bad as can be."""
        return 1.0 if fault else loss(self.rule.metric, answer, label, self.rule.scale)

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
        problem = self.problem or self._labels_unread
        if not problem and self.labels["unfit"] and not self.labels["counted"]:
            problem = f"no label so far fits the metric {self.rule.metric}"
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
            "labels": dict(self.labels),
            "verdict": self.verdict.as_dict() if self.verdict else None,
            "path": [list(point) for point in evidence.path],
            "open": is_open,
            "problem": problem,
            "decided": self.decided,
            "ended": ended,
        }


def _rule(traffic: Traffic) -> tuple[Rule, str]:
    """The rule that was agreed, and what is the matter with it."""
    try:
        return Rule.model_validate(dict(traffic.rule)), ""
    except ValidationError:
        return Rule(), "this release does not understand the rule of the experiment; its own holds"


def _since(moment: str) -> float:
    """Seconds since a moment; none where the clocks say that it is still to come."""
    try:
        return max(time.time() - datetime.fromisoformat(moment).timestamp(), 0.0)
    except ValueError:
        return 0.0
