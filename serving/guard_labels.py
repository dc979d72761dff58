"""Labels on their way from the prediction log into the evidence of one experiment."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from experiments.ages import EqualAge
from experiments.arms import CHALLENGER
from experiments.evidence import Evidence
from experiments.losses import loss
from registry.traffic import GUARD
from serving import record_units
from serving.errors import LogError
from serving.record_units import OVERLAP, Labelled, LabelledUnit
from serving.records import Log
from serving.split import Seen

LABELS_EVERY = 2.0


class Labels:
    """Each unit counts by the first label that fits, and once those of both arms are as old."""

    def __init__(self, evidence: Evidence, mode: str) -> None:
        """`mode` is that of the traffic."""
        self.counts = {"counted": 0, "held": 0, "unfit": 0}
        """`held`: of units that are newer than what is known of the other arm."""
        self.unread = ""
        """Why they cannot be read."""
        self._evidence, self._mode = evidence, mode
        self._number: int | None = None
        """Of the last label that was read, None before the first look."""
        self._labelled = Seen()
        """Units that had a label that fits."""
        self._unfit: set[int] = set()
        """Numbers of labels that fit no answer."""
        self._ages = EqualAge[tuple[float, bool, float]]()
        self._at = -math.inf

    async def read(
        self,
        log: Log,
        experiment: str,
        within: Callable[[Callable[[], Labelled]], Awaitable[Labelled]],
    ) -> None:
        """Take those that came since, if it is time to look; `within` is where to block."""
        if time.monotonic() - self._at >= LABELS_EVERY:
            self._at = time.monotonic()
            try:
                found = await within(lambda: self._next(log, experiment))
            except LogError as error:
                self.unread = f"labels cannot be read: {error}"
                return
            self.unread = ""
            self._number = max(self._number or 0, found.number)
            self._unfit = {n for n in self._unfit if n > self._number - OVERLAP}
            if found.more:
                self._at = -math.inf
            self.take(found.units)
        self.fold()

    def _next(self, log: Log, experiment: str) -> Labelled:
        if self._number is None:
            return record_units.labelled(log, experiment, record_units.first_label(log, experiment))
        return record_units.labelled(log, experiment, max(self._number - OVERLAP, 0))

    def take(self, units: Sequence[LabelledUnit]) -> None:
        """Labelled units in the order of their labels; to be read again changes nothing."""
        paired = self._evidence.mode == "shadow"
        both: list[tuple[float, float]] = []
        for unit in units:
            if unit.id in self._labelled or (paired and unit.other_fault is None):
                continue  # it had one, or no copy was made of it
            own = self._loss(unit.answer, unit.fault, unit.label)
            other = self._loss(unit.other, unit.other_fault or "", unit.label) if paired else 0.0
            if own is None or other is None:
                self.counts["unfit"] += unit.number not in self._unfit
                self._unfit.add(unit.number)
                continue
            self._labelled.first(unit.id)
            if paired:
                both.append((other, own) if self._mode == GUARD else (own, other))
            else:
                challenger = unit.arm == CHALLENGER
                drawn = (own, challenger, unit.weight)
                self._ages.add(
                    drawn, challenger=challenger, drawn=unit.time, labelled=unit.received
                )
        self.counts["counted"] += len(both)
        if both:
            self._evidence.add_pairs([one for one, _ in both], [two for _, two in both])

    def fold(self) -> None:
        """Count the units that are old enough."""
        ready = self._ages.ready(time.time())
        self.counts["counted"] += len(ready)
        self.counts["held"] = self._ages.held
        if ready:
            losses, arms, weights = (list(column) for column in zip(*ready, strict=True))
            self._evidence.add_losses(losses, arms, weights)

    def _loss(self, answer: Any, fault: str, label: Any) -> float | None:
        """An answer that was none is as bad as can be."""
        rule = self._evidence.rule
        return 1.0 if fault else loss(rule.metric, answer, label, rule.scale)
