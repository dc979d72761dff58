"""Whether the challenger is slower, valid at any time. Pure.

An answer that a caller waited for is slow when it took longer than the champion's usual slow ones
did: a quantile of its latencies so far, with an allowance. How large a share of each arm's answers
is slow is compared second by second (bets.Blocks): a stall of one process makes all that wait there
slow together, so requests are no independent draws of a latency. A difference of means would be at
the mercy of a few outliers.

Where a request was measured with both versions, one after the other, the two are compared with each
other: which of them took longer by more than the allowance is the toss of a coin where the versions
are equal. About one request in a second is measured so, whoever sent it.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike

from experiments.bets import Bets, Blocks, merged

QUANTILE = 0.9
FIRST = 30
"""Champion's answers that are needed before anything is called slow."""
KEPT = 2000


class SlowTest:
    """Latencies in milliseconds, of waits and of measured calls."""

    def __init__(
        self, slower: float = 1.25, allowance: float = 10.0, *, paired: bool = False
    ) -> None:
        """Slow: above `slower` times what it is compared with, and `allowance` ms above it.

        `paired`: there are measured calls only.
        """
        self._paired = paired
        self.blocks = Blocks()
        self.events, self.units = [0, 0], [0, 0]
        """Slow answers, and answers, of champion and challenger."""
        self.longer, self.measured = [0, 0], 0
        """Measured requests for which one of them took longer; all of them."""
        self.slower, self.allowance = slower, allowance
        self._calls = Bets()
        self._recent: deque[float] = deque(maxlen=KEPT)
        self._limit: float | None = None

    @property
    def limit(self) -> float | None:
        """Milliseconds above which an answer is slow; None while too little is known."""
        if self._limit is None and len(self._recent) >= FIRST:
            usual = float(np.quantile(np.fromiter(self._recent, float), QUANTILE))
            self._limit = max(usual * self.slower, usual + self.allowance)
        return self._limit

    def add(self, latencies: ArrayLike, challenger: ArrayLike, times: ArrayLike) -> None:
        """Take units in their order, arrays of shape (n,); latencies in ms, times in s.

        A latency that says nothing is NaN.
        """
        took = np.atleast_1d(np.asarray(latencies, dtype=np.float64))
        said = ~np.isnan(took)
        arm = np.broadcast_to(np.asarray(challenger, dtype=bool), took.shape)[said]
        at = np.broadcast_to(np.asarray(times, dtype=np.float64), took.shape)[said]
        took = took[said]
        start = 0
        while start < took.size:
            piece = slice(start, start + max(FIRST, sum(self.units) // 2))
            limit = self.limit  # by those before, so that it says nothing of these
            if limit is not None:
                slow = took[piece] > limit
                self.blocks.add(at[piece], arm[piece], slow)
                for which, whose in enumerate((~arm[piece], arm[piece])):
                    self.units[which] += int(whose.sum())
                    self.events[which] += int((slow & whose).sum())
            self._recent.extend(took[piece][~arm[piece]].tolist())
            self._limit = None
            start = piece.stop

    def hang(self, time: float, challenger: bool) -> None:
        """Somebody waits at this time for an answer that is slow already."""
        if self.limit is not None:
            self.blocks.hang(time, challenger)

    def add_pairs(self, champion: ArrayLike, challenger: ArrayLike) -> None:
        """Take calls for the same requests, each its version's only one at the time; in ms."""
        one, two = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (champion, challenger))
        longer = self._is_longer(two, one).astype(float) - self._is_longer(one, two)
        self.measured += longer.size
        self.longer[0] += int((longer < 0).sum())
        self.longer[1] += int((longer > 0).sum())
        self._calls.add(longer)

    def _is_longer(
        self, one: np.ndarray[tuple[int], np.dtype[np.float64]],
        other: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:  # fmt: skip
        return one > np.maximum(other * self.slower, other + self.allowance)

    @property
    def evidence(self) -> float:
        """Log e-value for `the challenger is slower`."""
        if self._paired:
            return self._calls.evidence
        return merged(self.blocks.evidence, self._calls.evidence)
