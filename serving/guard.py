"""The evidence of one experiment as it grows from answers and labels, and what it says.

Answers are folded several times a second, and at once after a fault of the challenger; labels are
read from the prediction log. From there it also goes on after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from experiments.arms import CHALLENGER
from experiments.evidence import Evidence, Verdict
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
        self._arms: list[tuple[bool, float, bool, bool, float]] = []
        self._pairs: list[tuple[tuple[str, float], tuple[str, float]]] = []
        self._hurry = asyncio.Event()
        self._began = time.monotonic() - _age(traffic.began)
        self._number = 0
        self._numbers: set[int] = set()
        """Of the last labels, which are read once more."""
        self._labels_at = -math.inf
        self._labels_unread = ""
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="labels")
        if self.rule.metric != "none" and log is None:
            self.problem = "no labels can come, for serve.records is off"

    # From the requests, within the event loop

    def answered(self, draw: Draw, milliseconds: float) -> None:
        """A unit of canary or A/B."""
        fault = draw.fault
        self._arms.append(
            (draw.challenger, draw.weight, fault == FAILED, fault == STRANGE, milliseconds)
        )
        if draw.challenger:
            self.units_of_step += 1
            if fault:
                self._hurry.set()

    def copied(self, own: tuple[str, float], other: tuple[str, float]) -> None:
        """A unit that both versions saw."""
        # After a promotion it is the live version that is on trial.
        champion, challenger = (other, own) if self.traffic.mode == GUARD else (own, other)
        self._pairs.append((champion, challenger))
        if challenger[0]:
            self._hurry.set()

    async def look(self, flying: set[Draw]) -> Verdict:
        """Wait for news, and say what follows; `flying` are the requests without an answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLD):
                await self._hurry.wait()
        await asyncio.sleep(HURRY)
        self._hurry.clear()
        self._fold(flying)
        if self._log is not None and self.rule.metric != "none":
            await self._read_labels(self._log)
        return self.judge()

    def judge(self) -> Verdict:
        """What follows from all that was folded."""
        self.evidence.look()
        self.verdict = self.evidence.verdict(time.monotonic() - self._began)
        return self.verdict

    def _fold(self, flying: set[Draw]) -> None:
        limit = self.evidence.slow.limit
        for draw in list(flying):
            took = (time.monotonic() - draw.start) * 1000
            if limit is not None and draw.counts and took > max(limit, OVERDUE):
                draw.told = True
                self.answered(draw, took)
        arms, self._arms = self._arms, []
        if arms:
            self.evidence.add_answers(*zip(*arms, strict=True))
        pairs, self._pairs = self._pairs, []
        if pairs:
            self.units_of_step += len(pairs)
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
        until = time.time()

        def units() -> list[list[Unit]]:
            return list(record_units.units(log, self.traffic.experiment, until))

        try:
            for chunk in await self._in_thread(units):
                self._take(chunk, seen)
        except LogMissing:
            return  # nothing was ever written
        except LogError as error:
            self.problem = f"what was known before this start could not be read: {error}"

    def _take(self, units: Sequence[Unit], seen: Seen) -> None:
        for unit in units:
            if unit.key:
                seen.first(unit.key)
            if self.evidence.mode == "shadow":
                if unit.other_fault is not None:
                    accepted = unit.other_status == 200
                    fault = FAILED if refused(unit.status) and accepted else unit.fault
                    self.copied((fault, math.nan), (unit.other_fault, math.nan))
                continue
            challenger = unit.arm == CHALLENGER
            draw = Draw(challenger, unit.weight, 0.0, fault=unit.fault)
            self.answered(draw, unit.milliseconds)
            if challenger and unit.weight != self.traffic.weight:
                self.units_of_step -= 1
        self._fold(set())

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
        new = [unit for unit in found if unit.number not in self._numbers]
        if not new:
            return
        self._number = max(self._number, *(unit.number for unit in new))
        self._numbers = {n for n in self._numbers if n > self._number - 2 * OVERLAP}
        self._numbers |= {unit.number for unit in new}
        if len(found) >= record_units.CHUNK:
            self._labels_at = -math.inf  # there are more
        self._take_labels(new)

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


def _age(began: str) -> float:
    """Seconds since a moment; none where the clocks say that it is still to come."""
    try:
        return max(time.time() - datetime.fromisoformat(began).timestamp(), 0.0)
    except ValueError:
        return 0.0
