"""How far two counted samples are apart, and how surely they are: effect sizes and p-values. Pure.

Effects are what decides; p-values only keep chance out. With enough rows every difference is
significant: at 100,000 rows a Kolmogorov-Smirnov test rejects a shift of 0.02 standard deviations
in 95 % of cases. A distance has the opposite fault: of two small samples of the same origin it is
never zero. `wasserstein` and `total_variation` therefore take off what chance brings on average
(in quadrature, as noise adds to a signal), so that their size means the same at any sample size.

Sources: Wasserstein distance of first order as the area between two distribution functions:
Vallender 1974, Theory Probab. Appl. 18. Total variation, half the sum of absolute differences:
Levin and Peres, Markov Chains and Mixing Times, ch. 4. Kolmogorov-Smirnov for two samples:
Smirnov 1948, Ann. Math. Statist. 19. Ranks for location: Mann and Whitney 1947, Ann. Math.
Statist. 18; for scale: Mood 1954, Ann. Math. Statist. 25; both with midranks and the permutation
variance, which holds for ties and so for bins: Hajek, Sidak and Sen, Theory of Rank Tests, ch. 3.
Chi-square of two samples: Pearson 1911, Biometrika 8. Exact test of two shares: Fisher 1922,
J. R. Statist. Soc. 85.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monitoring.values import Floats

EXPECTED = 5.0
"""Categories of which a sample should have fewer are pooled in the chi-square test."""

Counts = npt.NDArray[Any]


class Distance(NamedTuple):
    """Of two samples."""

    effect: float
    """Less chance."""
    p: float
    """How often chance alone brings so large a distance, approximately."""


def wasserstein(
    edges: Floats, one: tuple[Counts, Floats], other: tuple[Counts, Floats]
) -> Distance:
    """Wasserstein distance of first order in standard deviations.

    `edges` have shape (bins - 1,); each sample is counts and sums of its values, shape (bins,)
    both; edges and values are standard scores. Exact, before chance is taken off, but for
    distribution functions that cross inside a bin, where it is too small. Both samples need a
    value.
    """
    (a, sum_a), (b, sum_b) = one, other
    n, m = a.sum(), b.sum()
    # In a bin the integral of a distribution function is known from count and sum alone.
    ends, starts = np.r_[edges, edges[-1]], np.r_[edges[0], edges]
    before = (np.cumsum(a) - a) / n - (np.cumsum(b) - b) / m
    inside = (a * ends - sum_a) / n - (b * ends - sum_b) / m
    area = before * (ends - starts) + inside
    pooled = (np.cumsum(a + b) - (a + b) / 2) / (n + m)
    spread = np.sqrt(2 / math.pi * pooled * (1 - pooled) * (1 / n + 1 / m))
    chance = float((spread * (ends - starts)).sum())
    # The distance is the largest difference of the means of functions of slope 1 (Kantorovich and
    # Rubinstein 1958), none of which has a larger variance than the values themselves.
    distance = float(np.abs(area).sum())
    error = math.sqrt(1 / n + 1 / m)
    return Distance(_effect(distance, chance), _normal((distance - chance) / error) / 2)


def total_variation(one: Counts, other: Counts) -> Distance:
    """Total variation distance of two samples' categories; 0 to 1.

    Counts have shape (categories,), in the same order. Both samples need a row.
    """
    n, m = one.sum(), other.sum()
    shares = (one + other) / (n + m)
    variance = shares * (1 - shares) * (1 / n + 1 / m)
    chance = np.sqrt(2 / math.pi * variance)
    chance = np.minimum(chance, 2 * shares)  # of a category that hardly anybody has
    distance = float(np.abs(one / n - other / m).sum() / 2)
    # Half-normal summands, independent but for their sum, which of two makes one.
    there = max(int((shares > 0).sum()), 2)
    less = there / (there - 1)
    total = (1 - 2 / math.pi) * float(variance.sum()) * less
    if total == 0:  # all in one category
        return Distance(0.0, 1.0)
    third = 0.2180 * float((variance**1.5).sum()) * less**1.5
    effect = _effect(distance, float(chance.sum()) / 2)
    return Distance(effect, _above(2 * distance - float(chance.sum()), total, third))


def p_numeric(one: Counts, other: Counts) -> float:
    """Of two samples in the same bins: Kolmogorov-Smirnov, Mann-Whitney and Mood by Bonferroni.

    The first sees any difference, but at some hundred rows too few of those in location and scale,
    which the other two are made for. 1 where all values share a bin.
    """
    return min(1.0, 3 * min(_kolmogorov(one, other), *_ranks(one, other)))


def p_categories(one: Counts, other: Counts) -> float:
    """Of two samples of categories: chi-square with rare ones pooled, and distance, by Bonferroni.

    Of small differences in many categories the second sees more. 1 where all share one.
    """
    from scipy.special import chdtrc

    a, b = _pooled(one, other)
    if len(a) < 2:
        return 1.0
    n, m = a.sum(), b.sum()
    statistic = ((math.sqrt(m / n) * a - math.sqrt(n / m) * b) ** 2 / (a + b)).sum()
    chi_square = float(chdtrc(len(a) - 1, statistic))
    return min(1.0, 2 * min(chi_square, total_variation(one, other).p))


def p_share(one: tuple[int, int], other: tuple[int, int], sides: int = 2) -> float:
    """Fisher's exact test of two shares, each as (rows with it, all rows).

    With one side only a larger share in `other` counts.
    """
    (k, n), (j, m) = one, other
    if not n or not m:
        return 1.0
    more = _tail(j, m, k + j, n + m)
    if sides == 1:
        return more
    fewer = _tail(k, n, k + j, n + m)
    return min(1.0, 2 * min(more, fewer))


def least_share(one: tuple[int, int], other: tuple[int, int], sides: int = 2) -> float:
    """The smallest p-value that `p_share` could give to as many rows with it, in both together."""
    (k, n), (j, m) = one, other
    most, least = min(k + j, m), max(k + j - n, 0)
    ends = (most,) if sides == 1 else (most, least)
    return min(p_share((k + j - at, n), (at, m), sides) for at in ends)


def counted(least: Sequence[float], alpha: float) -> int:
    """By how many `alpha` is divided so that all tests together err at that level at most.

    Tests whose smallest possible p-value is above the level that is left could never reject, and
    cost nothing (Tarone 1990, Biometrics 46).
    """
    tests = 1
    while sum(p <= alpha / tests for p in least) > tests:
        tests += 1
    return tests


def _effect(distance: float, chance: float) -> float:
    return math.sqrt(max(distance * distance - chance * chance, 0.0))


def _above(excess: float, variance: float, third: float) -> float:
    """How often a sum exceeds its mean by so much, from its central moments.

    By the chi-square distribution that has the same three (Pearson 1959, Biometrika 46).
    """
    from scipy.special import chdtrc

    degrees = 8 * variance**3 / third**2
    place = excess / math.sqrt(variance) * math.sqrt(2 * degrees) + degrees
    return float(chdtrc(degrees, place)) if place > 0 else 1.0


def _normal(score: float) -> float:
    """Twice the upper tail of the normal distribution."""
    return math.erfc(score / math.sqrt(2))


def _kolmogorov(one: Counts, other: Counts) -> float:
    """Asymptotic; too large, so on the safe side, for values with ties."""
    n, m = one.sum(), other.sum()
    distance = float(np.abs(np.cumsum(one) / n - np.cumsum(other) / m).max())
    scaled = distance * math.sqrt(n * m / (n + m))
    if scaled < 0.3:  # the series does not end there, and its limit is 1
        return 1.0
    k = np.arange(1, 30)
    terms = (-1.0) ** (k - 1) * np.exp(-2 * (k * scaled) ** 2)
    return min(1.0, max(0.0, 2 * float(terms.sum())))


def _ranks(one: Counts, other: Counts) -> tuple[float, float]:
    """Two-sided p-values of Mann-Whitney's and Mood's test."""
    both = (one + other).astype(float)
    n, m, rows = float(one.sum()), float(other.sum()), float(both.sum())
    place = (np.cumsum(both) - both / 2) / rows - 0.5
    found = []
    for score in (place, place * place):
        centred = score - (both @ score) / rows
        variance = n * m / (rows * (rows - 1)) * float(both @ (centred * centred))
        shift = abs(float(other @ centred))
        found.append(_normal(shift / math.sqrt(variance)) if variance > 1e-9 else 1.0)
    return found[0], found[1]


def _pooled(one: Counts, other: Counts) -> tuple[Floats, Floats]:
    """Without categories that nobody has, and with the rare ones in one."""
    both = one + other
    n, m = float(one.sum()), float(other.sum())
    rare = both * min(n, m) / (n + m) < EXPECTED
    if not rare.any():
        return one.astype(float), other.astype(float)
    if both[rare].sum() * min(n, m) / (n + m) < EXPECTED and not rare.all():
        rare = rare.copy()
        rare[np.flatnonzero(~rare)[np.argmin(both[~rare])]] = True
    return (
        np.r_[one[~rare], one[rare].sum()].astype(float),
        np.r_[other[~rare], other[rare].sum()].astype(float),
    )


def _tail(found: int, drawn: int, marked: int, rows: int) -> float:
    """The chance of at least so many marked among the drawn: hypergeometric."""
    from scipy.special import gammaln

    most = min(drawn, marked)
    if found <= max(0, drawn + marked - rows):
        return 1.0
    # Beyond 40 standard deviations above the larger of mean and `found` nothing is left to add.
    spread = math.sqrt(drawn * (marked / rows) * (1 - marked / rows)) + 1
    k = np.arange(found, min(most, math.ceil(max(found, drawn * marked / rows) + 40 * spread)) + 1)

    def choose(of: Any, some: Any) -> Any:
        return gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1)

    logs = choose(marked, k) + choose(rows - marked, drawn - k) - choose(rows, drawn)
    return float(min(1.0, np.exp(logs).sum()))
