"""Whether the challenger is slower, by what the champion's latency was; valid at any time. Pure.

An answer is slow when it takes longer than the champion's usual slow answers did: a quantile of
its latencies so far, with an allowance. How often that happens is compared between the arms by
their draws (draws.RateTest), which holds for any distribution of latencies; a difference of means
would be at the mercy of a few outliers.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike

from experiments.draws import RateTest

QUANTILE = 0.9
FIRST = 30
"""Champion's answers that are needed before anything is called slow."""
KEPT = 2000


class SlowTest:
    """Latencies of both arms in milliseconds, and the test of how many are slow."""

    def __init__(self, slower: float = 1.25, allowance: float = 10.0) -> None:
        """Slow: above `slower` times the quantile, and at least `allowance` ms above it."""
        self.rates = RateTest()
        self._slower, self._allowance = slower, allowance
        self._recent: tuple[deque[float], deque[float]] = (deque(maxlen=KEPT), deque(maxlen=KEPT))

    @property
    def limit(self) -> float | None:
        """Milliseconds above which an answer is slow; None while too little is known."""
        champion = self._recent[0]
        if len(champion) < FIRST:
            return None
        usual = float(np.quantile(np.fromiter(champion, float), QUANTILE))
        return max(usual * self._slower, usual + self._allowance)

    @property
    def quantiles(self) -> tuple[float | None, float | None]:
        """The recent latencies' quantile of champion and challenger."""
        found = [float(np.quantile(np.fromiter(r, float), QUANTILE)) if r else None
                 for r in self._recent]  # fmt: skip
        return found[0], found[1]

    def add(self, latencies: ArrayLike, challenger: ArrayLike, weights: ArrayLike) -> None:
        """Take units in their order, arrays of shape (n,); latencies in ms."""
        took = np.atleast_1d(np.asarray(latencies, dtype=np.float64))
        arm = np.broadcast_to(np.asarray(challenger, dtype=bool), took.shape)
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64), took.shape)
        start = 0
        while start < took.size:
            piece = slice(start, start + max(FIRST, sum(self.rates.units) // 2))
            limit = self.limit  # by those before, so that it says nothing of these
            if limit is not None:
                self.rates.add(took[piece] > limit, arm[piece], w[piece])
            self.observe(took[piece][~arm[piece]], took[piece][arm[piece]])
            start = piece.stop

    def observe(self, champion: ArrayLike, challenger: ArrayLike) -> None:
        """Keep latencies for `limit` and `quantiles` without testing them."""
        for recent, took in zip(self._recent, (champion, challenger), strict=True):
            recent.extend(np.atleast_1d(np.asarray(took, dtype=np.float64)).tolist())

    @property
    def evidence(self) -> float:
        """Log e-value for `the challenger is slower`."""
        return self.rates.evidence
