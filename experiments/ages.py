"""Labelled units of both arms, held back until what is known of them is of equal age. Pure.

If the labels of one arm come later, what is labelled so far is newer in the other arm; where rates
drift, that alone makes a difference. So a unit counts only once it is older than the delay within
which nearly all labels of either arm came that came so far, and units count in the order of their
draws. Then what is compared was drawn in the same time. It costs that delay, and no unit.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import Generic, TypeVar

import numpy as np

Unit = TypeVar("Unit")
NEARLY_ALL = 0.95
"""Share of an arm's labels that come within the delay."""
KEPT = 2000
"""Delays of each arm that the quantile is of."""


class EqualAge(Generic[Unit]):
    """Takes labelled units as their labels come, and gives them back when they count."""

    def __init__(self) -> None:
        self._held: list[tuple[float, int, Unit]] = []
        self._delays: tuple[deque[float], deque[float]] = (deque(maxlen=KEPT), deque(maxlen=KEPT))
        self._order = itertools.count()

    def add(self, unit: Unit, *, challenger: bool, drawn: float, labelled: float) -> None:
        """A unit, and when it was drawn and labelled, in seconds by one clock."""
        heapq.heappush(self._held, (drawn, next(self._order), unit))
        self._delays[challenger].append(max(labelled - drawn, 0.0))

    @property
    def delay(self) -> float | None:
        """Seconds within which nearly all labels of either arm come; None while one has none."""
        if not all(self._delays):
            return None
        return max(
            float(np.quantile(np.fromiter(d, float), NEARLY_ALL, method="higher"))
            for d in self._delays
        )

    @property
    def held(self) -> int:
        """Labelled units that do not count yet."""
        return len(self._held)

    def ready(self, now: float) -> list[Unit]:
        """Those that are old enough, in the order of their draws."""
        found: list[Unit] = []
        delay = self.delay if self._held else None
        while delay is not None and self._held and self._held[0][0] <= now - delay:
            found.append(heapq.heappop(self._held)[2])
        return found
