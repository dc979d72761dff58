"""Whether a fault (no answer, one without a number) is more frequent with the challenger. Pure.

Three kinds of facts are asked. First, the draws (draws.RateTest): of units that were drawn for an
arm, how often the version itself answered with the fault. Second, the requests that both versions
saw: where just one of the two has the fault, it is either's turn with one half. Third, blocks of
time (bets.Blocks), for what many requests have in common: a process that died or hangs; and for
keys that were seen before, which are no draws. There a fault of the challenger counts if the
champion answered the same request. If the challenger is no worse, that happens by what comes and
goes, no more often than with the champion, of which every fault counts.

Their e-values are averaged, which needs no assumption of how they depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.bets import Bets, Blocks, merged
from experiments.draws import RateTest

Bools = NDArray[np.bool_]


class FaultTest:
    """Of one kind of fault."""

    def __init__(self, *, paired: bool) -> None:
        """`paired`: both versions see each request."""
        self.events, self.units = [0, 0], [0, 0]
        """Champion's and challenger's; of pairs only the faults that the other had not."""
        self.blocks = Blocks()
        self._draws, self._tosses, self._paired = RateTest(), Bets(), paired

    def add(
        self,
        faults: ArrayLike,
        challenger: Bools,
        weights: ArrayLike,
        *,
        times: ArrayLike,
        broke: Bools,
        shared: Bools,
    ) -> None:
        """Take units in their order, arrays of shape (n,).

        `broke`: not the version but its process failed; `shared`: the champion failed there, too.
        """
        found = np.asarray(faults, dtype=bool)
        self._draws.add(found & ~broke, challenger, weights)
        self.add_again(found, challenger, times=times, shared=shared)

    def add_again(
        self, faults: ArrayLike, challenger: Bools, *, times: ArrayLike, shared: Bools
    ) -> None:
        """Take requests of keys that were seen before, thinned to one in a second for each key."""
        found = np.asarray(faults, dtype=bool)
        self._count(found, challenger)
        self.blocks.add(times, challenger, found & ~(challenger & shared))

    def _count(self, found: Bools, challenger: Bools) -> None:
        for arm, whose in enumerate((~challenger, challenger)):
            self.units[arm] += int(whose.sum())
            self.events[arm] += int((found & whose).sum())

    def add_pairs(self, faults: Bools, broke: Bools, times: Sequence[float]) -> None:
        """Take requests that both versions saw, arrays of shape (n, 2), champion's first."""
        only = faults[faults[:, 0] != faults[:, 1]]
        for arm in (0, 1):
            self.units[arm] += len(faults)
            self.events[arm] += int(only[:, arm].sum())
        own = faults & ~broke
        self._tosses.add(own[:, 1].astype(float) - own[:, 0])
        both = np.tile([False, True], len(faults))
        self.blocks.add(np.repeat(times, 2), both, (faults & broke).ravel())

    @property
    def evidence(self) -> float:
        """Log e-value for `more frequent with the challenger`."""
        each = self._tosses if self._paired else self._draws
        return merged(each.evidence, self.blocks.evidence)
