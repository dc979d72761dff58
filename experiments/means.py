"""Confidence sequences for means of bounded observations, valid whenever one looks. Pure.

For observations X_1, X_2, ... with conditional means mu_i and any predictable centre c_i with
X_i - c_i >= -b_i, the process

    exp( sum_i l (X_i - mu_i) / b_i - psi(l) sum_i ((X_i - c_i) / b_i)^2 ),  psi(l) = -log(1-l) - l

is a nonnegative supermartingale for each l in [0, 1), so by Ville's inequality a mixture over l
exceeds 1/alpha at any time with a probability of at most alpha (Howard, Ramdas, McAuliffe and
Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics
2021, Theorem 4; Fan, Grama and Liu 2015, Lemma 4.1). It adapts to the observed variance. Looking
costs no error, nor does stopping at the best moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_TILTS = np.geomspace(2e-4, 0.9, 48)
"""The l of the mixture: the smallest serve means of millions of observations, the largest few."""
_PSI = -np.log1p(-_TILTS) - _TILTS
_USUAL = 0.1
"""Most of the prior lies around the l that decide between hundreds and 100,000 units."""
_LOG_PRIOR = np.log(
    0.15 / len(_TILTS)
    + 0.85 * (_bell := _TILTS * np.exp(-((_TILTS / _USUAL) ** 2) / 2)) / _bell.sum()
)
PRIOR = 1.0
"""Observations that the first centre, the middle of the range, counts for."""


@dataclass
class _Side:
    """What one side of the sequence needs to know of all observations."""

    total: float = 0.0
    """Sum of X_i / b_i."""
    weight: float = 0.0
    """Sum of 1 / b_i."""
    squares: float = 0.0
    """Sum of ((X_i - c_i) / b_i)^2."""

    def evidence(self, mean: float, times: float = 1.0) -> float:
        """Log e-value against `the running mean is at most this`, of `times` as many."""
        return _log_mixture((self.total - mean * self.weight) * times, self.squares * times)

    def bound(self, alpha: float) -> float:
        """The largest mean that is refuted at level `alpha`; -inf where none is."""
        if not self.weight:
            return -math.inf
        return (self.total - _needed(self.squares, math.log(1 / alpha))) / self.weight


def _log_mixture(deviations: float, squares: float) -> float:
    exponents = _LOG_PRIOR + _TILTS * deviations - _PSI * squares
    most = float(exponents.max())
    return most + math.log(float(np.exp(exponents - most).sum()))


def _needed(squares: float, goal: float) -> float:
    """The sum of deviations at which the mixture has reached the goal.

    The logarithm of the mixture is convex and grows, so Newton's steps from above stay above.
    """
    base = _LOG_PRIOR - _PSI * squares
    at = 1.0
    while _log_mixture(at, squares) < goal:
        at *= 2
    for _ in range(40):
        exponents = base + _TILTS * at
        most = float(exponents.max())
        parts = np.exp(exponents - most)
        whole = float(parts.sum())
        step = (most + math.log(whole) - goal) * whole / float((parts * _TILTS).sum())
        at -= step
        if abs(step) < 1e-9 * max(1.0, abs(at)):
            break
    return at


class MeanSequence:
    """A confidence sequence for the running mean of the conditional means of observations."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0
        self._middles = 0.0
        self._up, self._down = _Side(), _Side()

    @property
    def mean(self) -> float:
        """The mean of what was observed, weighted as the sequence does; NaN before any."""
        up, down = self._up, self._down
        weight = up.weight + down.weight
        return (up.total - down.total) / weight if weight else math.nan

    def add(self, values: ArrayLike, low: ArrayLike, high: ArrayLike) -> None:
        """Take observations of shape (n,) in their order, each known to lie within [low, high].

        The limits may differ for each but must be known before it is seen. The result is that of
        adding one by one. Raises ValueError for observations outside, infinite or not numbers.
        """
        x = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if not x.size:
            return
        a = np.broadcast_to(np.asarray(low, dtype=np.float64), x.shape)
        b = np.broadcast_to(np.asarray(high, dtype=np.float64), x.shape)
        slack = 1e-9 * np.maximum(1.0, b - a)
        if not (np.isfinite(x).all() and (a < b).all()):
            raise ValueError("observations must be finite, and their limits apart")
        if (x < a - slack).any() or (x > b + slack).any():
            raise ValueError("an observation lies outside of its limits")
        centre = np.clip(self._centres(x, (a + b) / 2), a, b)
        apart = 1e-3 * (b - a)  # a centre at a limit would leave nothing to divide by
        for side, sign, room in ((self._up, 1.0, centre - a), (self._down, -1.0, b - centre)):
            scale = np.maximum(room, apart)
            side.total += sign * float((x / scale).sum())
            side.weight += float((1 / scale).sum())
            side.squares += float((((x - centre) / scale) ** 2).sum())
        self.count += x.size
        self._sum += float(x.sum())

    def _centres(self, x: Floats, middles: Floats) -> Floats:
        """For each observation the mean of those before it."""
        if not self.count:
            self._middles = float(middles[0])
        before = self._sum + np.concatenate(([0.0], np.cumsum(x)[:-1]))
        counts = self.count + np.arange(x.size)
        return cast(Floats, (self._middles * PRIOR + before) / (PRIOR + counts))

    def above(self, mean: float) -> float:
        """Log e-value for `the running mean is above this`; log(1/alpha) refutes the contrary."""
        return self._up.evidence(mean)

    def below(self, mean: float) -> float:
        """Log e-value for `the running mean is below this`."""
        return self._down.evidence(-mean)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Contains the running mean at all times together with probability 1 - alpha at least."""
        return self._up.bound(alpha / 2), -self._down.bound(alpha / 2)

    def more(self, mean: float, alpha: float, *, above: bool, most: int = 10_000_000) -> int | None:
        """About how many further observations refute the contrary of above(mean) or below(mean).

        Those to come are taken to be like those that came. None where `most` would not do.
        """
        side, goal = (self._up, mean) if above else (self._down, -mean)
        needed = math.log(1 / alpha)
        if not self.count or side.total - goal * side.weight <= 0:
            return None
        if side.evidence(goal) >= needed:
            return 0
        low, high = 1.0, 2.0
        while side.evidence(goal, high) < needed:
            low, high = high, 2 * high
            if high * self.count > most:
                return None
        while high - low > max((high - 1) / 50, 0.5 / self.count):
            middle = (low + high) / 2
            low, high = (middle, high) if side.evidence(goal, middle) < needed else (low, middle)
        return math.ceil((high - 1) * self.count)
