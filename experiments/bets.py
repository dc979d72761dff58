"""Bets that the challenger is worse, on differences of what both versions did. Pure.

For differences D_1, D_2, ... within [-1, 1] (challenger's minus champion's) whose conditional means
are at most 0 where the challenger is no worse, the wealth

    prod_i (1 + l D_i),  0 < l < 1

of somebody who stakes the share l each time is a nonnegative supermartingale, so by Ville's
inequality a mixture over l exceeds 1/alpha at any time with a probability of at most alpha
(Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024). Where D
is 1 or -1, by the toss of a coin, that is the sequential sign test of chance 1/2 against
(1 + l) / 2 (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970).

Part of the money is held back and put in later, on a schedule that was fixed before: a mixture over
the moments at which the challenger may become worse, so that a long good time does not make blind.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

_ODDS = np.geomspace(1.05, 400, 32)
_STAKES = (_ODDS - 1) / (_ODDS + 1)
"""The l of the mixture; of a coin the chances (1 + l) / 2, which have these odds."""
_EACH = -math.log(len(_STAKES))
HELD_BACK = 0.4
"""Share of the money that is not there for the first bet."""
SECONDS = 1.0
"""Length of a block."""
JUMP = 60
"""Blocks by which time goes back where a clock was changed; less is a matter of order."""


def merged(*evidence: float) -> float:
    """The log of the mean of e-values, which is one itself, from their logs."""
    most = max(evidence)
    return most + math.log(math.fsum(math.exp(e - most) for e in evidence) / len(evidence))


class Bets:
    """The money of the mixture, as differences come."""

    def __init__(self) -> None:
        self.count = 0
        self._logs = np.full(len(_STAKES), _EACH + math.log(1 - HELD_BACK))

    def add(self, differences: ArrayLike) -> None:
        """Take differences of shape (n,) within [-1, 1], in their order. Raises ValueError."""
        found = np.atleast_1d(np.asarray(differences, dtype=np.float64))
        if not found.size:
            return
        if not (np.abs(found) <= 1).all():
            raise ValueError("differences must lie between -1 and 1")
        before = _held(self.count)
        self.count += found.size
        new = math.log(before - _held(self.count)) + _EACH
        self._logs = np.logaddexp(self._logs, new)
        self._logs += np.log1p(np.outer(_STAKES, found)).sum(axis=1)

    @property
    def evidence(self) -> float:
        """Log e-value for `the differences are above 0 in the mean`."""
        most = float(self._logs.max())
        bets = most + math.log(float(np.exp(self._logs - most).sum()))
        return float(np.logaddexp(bets, math.log(_held(self.count))))


def _held(count: int) -> float:
    """What is still held back after so many bets."""
    return HELD_BACK / (1 + math.log1p(count))


class Blocks:
    """Bets on the shares that the two arms have of an event, second by second.

    What hangs together in time counts once: requests that a process made wait, or took with it when
    it died, are one difference of shares, however many they were. Whatever hits the processes of
    equal versions equally often leaves the mean of the difference at 0. A second in which an arm
    had no request goes on into the next.
    """

    def __init__(self) -> None:
        self.bets = Bets()
        self._now: int | None = None
        self._units, self._events = [0, 0], [0, 0]
        self._hangs = False

    def add(self, times: ArrayLike, challenger: ArrayLike, events: ArrayLike) -> None:
        """Take requests about in the order of their times (seconds); arrays of shape (n,)."""
        seconds = np.floor(np.atleast_1d(np.asarray(times, dtype=np.float64)) / SECONDS)
        if not seconds.size:
            return
        arm = np.asarray(challenger, dtype=bool)
        event = np.asarray(events, dtype=bool)
        starts = np.concatenate(([0], np.flatnonzero(np.diff(seconds)) + 1))
        columns = (
            np.add.reduceat(column.astype(np.int64), starts).tolist()
            for column in (~arm, arm, event & ~arm, event & arm)
        )
        for second, *counts in zip(seconds[starts].tolist(), *columns, strict=True):
            self._take(int(second), counts)

    def hang(self, time: float, challenger: bool) -> None:
        """Somebody has waited for an arm all this second, and no end is in sight.

        If all callers are held up so, there is nobody to be compared with; then the other arm's
        share counts as none.
        """
        self._take(int(time // SECONDS), [not challenger, challenger, not challenger, challenger])
        self._hangs = True

    def _take(self, second: int, counts: list[int]) -> None:
        self.close(second)
        self._now = second if self._now is None else max(self._now, second)
        for arm in (0, 1):
            self._units[arm] += counts[arm]
            self._events[arm] += counts[2 + arm]

    def close(self, second: int) -> None:
        """Bet on the block before this second, if it is over and can be bet on."""
        if self._now is None or self._now - JUMP <= second <= self._now:
            return
        self._now = second if second < self._now else self._now
        if all(self._units) or self._hangs:
            champion, challenger = (
                events / units if units else 0.0
                for events, units in zip(self._events, self._units, strict=True)
            )
            self.bets.add([challenger - champion])
            self._units, self._events, self._hangs = [0, 0], [0, 0], False

    def tick(self, time: float) -> None:
        """Nothing comes any more from before this time."""
        self.close(int(time // SECONDS))

    @property
    def evidence(self) -> float:
        """Log e-value for `the challenger's share is larger`."""
        return self.bets.evidence
