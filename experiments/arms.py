"""Who answers whom, and the difference between the arms of a randomised experiment. Pure.

An arm is drawn for a unit (a key, or a request without one) with the weight of the challenger;
that draw is what the statistics rest upon. Each unit is counted once, since what a key does again
is no new draw.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.means import Floats, MeanSequence

Bools = NDArray[np.bool_]
CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"


def place(experiment: str, key: str) -> float:
    """Where a key stands in an experiment, from 0 up to 1: uniform, and always the same.

    Another experiment shuffles anew.
    """
    digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8, key=_salt(experiment))
    return int.from_bytes(digest.digest(), "big") / 2**64


@lru_cache(8)
def _salt(experiment: str) -> bytes:
    return hashlib.blake2b(experiment.encode(), digest_size=32).digest()


def is_challengers(experiment: str, key: str, weight: float) -> bool:
    """Whether the challenger answers a key; as the weight grows, keys only come to it."""
    return place(experiment, key) < weight


class Difference:
    """The challenger's mean minus the champion's, of an outcome within [0, 1], by the draws.

    (Y - c) / w of a challenger's and -(Y - c) / (1 - w) of a champion's observation have the
    difference of the arms' means as their conditional mean, whatever the predictable centre c is
    (Horvitz and Thompson 1952; the mean so far keeps the variance small). Weights may change.
    """

    def __init__(self, expected: float = 0.5) -> None:
        """`expected` is about what the outcomes are; the nearer, the less has to be seen."""
        self.sequence = MeanSequence()
        self._expected = expected
        self._sums = np.zeros(2)
        self._counts = np.zeros(2)

    @property
    def counts(self) -> tuple[int, int]:
        """Units of champion and challenger."""
        return int(self._counts[0]), int(self._counts[1])

    @property
    def means(self) -> tuple[float, float]:
        """Mean outcomes of champion and challenger; NaN before any."""
        with np.errstate(invalid="ignore"):
            champion, challenger = self._sums / self._counts
        return float(champion), float(challenger)

    def add(self, outcomes: ArrayLike, challenger: ArrayLike, weights: ArrayLike) -> None:
        """Take units in their order; arrays of shape (n,), outcomes within [0, 1].

        Units whose weight is 0 or 1 say nothing of a difference and are left out. Raises ValueError
        for outcomes outside.
        """
        y = np.atleast_1d(np.asarray(outcomes, dtype=np.float64))
        arm = np.broadcast_to(np.asarray(challenger, dtype=bool), y.shape)
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64), y.shape)
        if not (np.isfinite(y).all() and (y >= 0).all() and (y <= 1).all()):
            raise ValueError("outcomes must lie between 0 and 1")
        drawn = (w > 0) & (w < 1)
        y, arm, w = y[drawn], arm[drawn], w[drawn]
        if not y.size:
            return
        centre = self._centres(y)
        values = (y - centre) * np.where(arm, 1 / w, -1 / (1 - w))
        high = np.maximum((1 - centre) / w, centre / (1 - w))
        low = -np.maximum(centre / w, (1 - centre) / (1 - w))
        self.sequence.add(values, low, high)
        self._sums += (y[~arm].sum(), y[arm].sum())
        self._counts += ((~arm).sum(), arm.sum())

    def _centres(self, y: Floats) -> Floats:
        before = self._sums.sum() + np.concatenate(([0.0], np.cumsum(y)[:-1]))
        counts = self._counts.sum() + np.arange(y.size)
        return cast(Floats, (self._expected + before) / (1 + counts))
