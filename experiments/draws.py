"""Tests of the draws of a randomised experiment, valid whenever one looks. Pure.

If the arms do not differ, the outcome of a unit says nothing about its arm: given the outcome, the
challenger has it with its weight w, as before. If an event is more likely with the challenger, a
unit with the event is more often the challenger's, with odds multiplied by the ratio of the
rates. The likelihood ratio of the draws given the outcomes, mixed over a grid of odds ratios,
is a nonnegative martingale with mean 1 under `no difference` and a supermartingale under `the
challenger is better`, whatever the rates are and however they drift: the rates that it is computed
with need only be known before the draws (Turner, Ly and Gruenwald, "Generic E-variables for exact
sequential k-sample tests", 2022; Lindon and Malek, "Anytime-valid inference for multinomial count
data", 2022). By Ville's inequality it exceeds 1/alpha at any time with probability alpha at most.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.means import Floats

_RATIOS = np.geomspace(1.1, 1000, 32)
"""Odds ratios of the mixture."""
_LOG_PRIOR = -math.log(len(_RATIOS))
FIRST_PIECE = 16
"""Units for which the first bet is made."""
_Bools = NDArray[np.bool_]


def _log_mean(logs: Floats) -> float:
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).sum())) + _LOG_PRIOR


class RateTest:
    """Whether an event (an error, a slow answer) is more frequent with the challenger."""

    def __init__(self) -> None:
        self._logs = np.zeros(len(_RATIOS))
        self._events, self._units = [0, 0], [0, 0]

    @property
    def units(self) -> tuple[int, int]:
        """Units of champion and challenger."""
        return self._units[0], self._units[1]

    @property
    def events(self) -> tuple[int, int]:
        """Those with the event."""
        return self._events[0], self._events[1]

    def add(self, events: ArrayLike, challenger: ArrayLike, weights: ArrayLike) -> None:
        """Take units in the order in which they were drawn, arrays of shape (n,).

        Those with weight 0 or 1 say nothing. The bets use rates that are known before, so many
        units at once are taken in pieces: a first bet without any rate would be a bad one.
        """
        y = np.atleast_1d(np.asarray(events, dtype=bool))
        arm = np.broadcast_to(np.asarray(challenger, dtype=bool), y.shape)
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64), y.shape)
        start = 0
        while start < y.size:
            piece = slice(start, start + max(FIRST_PIECE, sum(self._units) // 4))
            self._add(y[piece], arm[piece], w[piece])
            start = piece.stop

    def _add(self, y: _Bools, arm: _Bools, w: Floats) -> None:
        for weight in np.unique(w[(w > 0) & (w < 1)]):
            here = w == weight
            both = [int((y & arm & here).sum()), int((y & ~arm & here).sum())]
            none = [int((~y & arm & here).sum()), int((~y & ~arm & here).sum())]
            self._bet(float(weight), both, none)
        self._events[1] += int((y & arm).sum())
        self._events[0] += int((y & ~arm).sum())
        self._units[1] += int(arm.sum())
        self._units[0] += int((~arm).sum())

    def _bet(self, weight: float, with_event: list[int], without: list[int]) -> None:
        # The champion's rate by what was counted before these.
        rate = (self._events[0] + 0.5) / (self._units[0] + 1)
        odds = rate / (1 - rate) * _RATIOS
        other = odds / (1 + odds)
        for (theirs, ours), (p, q) in (
            (with_event, (other, rate)),
            (without, (1 - other, 1 - rate)),
        ):
            share = weight * p + (1 - weight) * q
            self._logs += theirs * np.log(p / share) + ours * np.log(q / share)

    @property
    def evidence(self) -> float:
        """Log e-value for `more frequent with the challenger`."""
        return _log_mean(self._logs)


class MismatchTest:
    """Whether units went to the arms as the weights say (sample-ratio mismatch)."""

    def __init__(self) -> None:
        self._logs = np.zeros(2 * len(_SHIFTS))
        self.units = [0, 0]
        self.expected = 0.0
        """Units that the challenger should have."""

    def add(self, challenger: ArrayLike, weights: ArrayLike) -> None:
        """Take units in any order, arrays of shape (n,)."""
        arm = np.atleast_1d(np.asarray(challenger, dtype=bool))
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64), arm.shape)
        self.units[1] += int(arm.sum())
        self.units[0] += int((~arm).sum())
        self.expected += float(w.sum())
        for weight in np.unique(w[(w > 0) & (w < 1)]):
            here = w == weight
            theirs, ours = int((arm & here).sum()), int((~arm & here).sum())
            share = weight * _BOTH + 1 - weight
            self._logs += theirs * np.log(_BOTH / share) - ours * np.log(share)

    @property
    def evidence(self) -> float:
        """Log e-value against `as the weights say`."""
        most = float(self._logs.max())
        return most + math.log(float(np.exp(self._logs - most).mean()))


_SHIFTS = np.geomspace(1.01, 30, 24)
_BOTH = np.concatenate((_SHIFTS, 1 / _SHIFTS))
