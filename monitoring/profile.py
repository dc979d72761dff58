"""What is kept of a reference sample and of a window of production: counts, in bounded memory.

A numeric column is counted in the bins of the reference, with the sum of the values in each bin:
with that the Wasserstein distance of two profiles is exact but for where their distribution
functions cross inside a bin. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from monitoring.values import Floats, Ints, numbers, texts

NAMED = 50
"""Categories that the reference does not have and that are counted by name; the others together."""
FARTHEST = 1e6
"""Standard deviations from the mean of the reference; what lies farther counts as lying there."""
LEVELS = np.unique(
    [*np.linspace(0, 1, 51), *(t for s in (5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2) for t in (s, 1 - s))]
)
"""Quantiles that bins begin at: 2 % of the values in each, fewer in the tails, which are wide."""
NEAR = 0.05
"""Standard deviations beyond the smallest and largest value that are still in the range: a value
that was rounded elsewhere, or moved by next to nothing, is not outside."""
ATOM = 0.02
"""Share of rows from which on a single value has a bin of its own."""


@dataclass(frozen=True)
class Numeric:
    """A numeric column of the reference. All values are finite; NaN is stored as None."""

    edges: tuple[float, ...]
    """Ascending, shape (bins - 1,); the first bin holds what is below the range of the reference,
    the last one what is above, both by more than NEAR. Empty if there is no finite value."""
    counts: tuple[int, ...]
    """Shape (bins,), with zeros at both ends."""
    sums: tuple[float, ...]
    """Of the values in each bin, as standard scores; shape (bins,)."""
    missing: int = 0
    not_numbers: int = 0
    """Values of another kind; they are among the missing ones, too."""
    infinite: int = 0
    alone: int = 0
    """Rows that would be outside if they were not in the sample themselves: how often a window
    of the same origin is outside."""
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    sd: float | None = None
    """Population standard deviation; 0 only if all values are the same."""

    @property
    def values(self) -> int:
        """Finite numbers."""
        return sum(self.counts)

    def scores(self, values: Floats) -> Floats:
        """Standard scores, at most FARTHEST; distances from the value where all are the same."""
        with np.errstate(over="ignore"):
            found = (values - (self.mean or 0.0)) / (self.sd or 1.0)
        return np.clip(found, -FARTHEST, FARTHEST)


@dataclass(frozen=True)
class Categorical:
    """A categorical column of the reference."""

    counts: Mapping[str, int]
    """By category, the most frequent first."""
    missing: int = 0

    @property
    def values(self) -> int:
        """Rows that have a category."""
        return sum(self.counts.values())

    @property
    def alone(self) -> int:
        """Rows whose category no other row has.

        So often a window of the same origin has an unseen one:
        Good 1953, The population frequencies of species, Biometrika 40.
        """
        return sum(count == 1 for count in self.counts.values())


@dataclass(frozen=True)
class Reference:
    """What a window is compared with."""

    rows: int
    numeric: Mapping[str, Numeric]
    categorical: Mapping[str, Categorical]

    @classmethod
    def of(
        cls, frame: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str]
    ) -> Reference:
        """From a sample of rows; columns that are not named are left out.

        Raises ValueError for no rows, for a column that is not there and for one named twice.
        """
        names = [*numeric, *categorical]
        if absent := [n for n in names if n not in frame.columns]:
            raise ValueError(f"the reference sample has no column {', '.join(absent)}")
        if len(set(names)) < len(names):
            raise ValueError("a column of the reference is named twice")
        if not len(frame):
            raise ValueError("the reference sample has no rows")
        return cls(
            len(frame),
            {n: _numeric(frame[n]) for n in numeric},
            {n: _categorical(frame[n]) for n in categorical},
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, the numeric ones first."""
        return (*self.numeric, *self.categorical)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Reference:
        """Read back what `as_dict` wrote. Raises ValueError for anything else."""
        try:
            return cls(
                int(raw["rows"]),
                {name: _numeric_from(some) for name, some in raw["numeric"].items()},
                {
                    name: Categorical(dict(some["counts"]), int(some["missing"]))
                    for name, some in raw["categorical"].items()
                },
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is no reference ({error})") from None


@dataclass
class Numbers:
    """What a window shows of a numeric column."""

    counts: Ints
    """In the bins of the reference, shape (bins,)."""
    sums: Floats
    """Standard scores by the reference, shape (bins,)."""
    squares: float = 0.0
    """Of the same scores, all together."""
    missing: int = 0
    not_numbers: int = 0
    infinite: int = 0
    absent: int = 0
    """Rows of tables without this column; they are among the missing ones."""

    @property
    def values(self) -> int:
        """Finite numbers."""
        return int(self.counts.sum())


@dataclass
class Names:
    """What a window shows of a categorical column."""

    counts: Ints
    """Of the categories of the reference, in their order."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Of categories that the reference does not have, NAMED at most."""
    others: int = 0
    """Of those beyond them."""
    missing: int = 0
    absent: int = 0

    @property
    def strange(self) -> int:
        """Rows with a category that the reference does not have."""
        return sum(self.unseen.values()) + self.others

    @property
    def values(self) -> int:
        """Rows that have a category."""
        return int(self.counts.sum()) + self.strange


class Profile:
    """Counts of a window. Its size depends on the reference only."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.rows = 0
        self.numeric = {
            name: Numbers(np.zeros(len(known.counts), dtype=np.int64), np.zeros(len(known.counts)))
            for name, known in reference.numeric.items()
        }
        self.categorical = {
            name: Names(np.zeros(len(known.counts), dtype=np.int64))
            for name, known in reference.categorical.items()
        }

    def add(self, frame: pd.DataFrame) -> None:
        """Count rows. A column that the table lacks is missing in each of them."""
        rows = len(frame)
        self.rows += rows
        for name, found in self.numeric.items():
            if name in frame.columns:
                _add_numbers(self.reference.numeric[name], found, frame[name])
            else:
                found.missing, found.absent = found.missing + rows, found.absent + rows
        for name, some in self.categorical.items():
            if name in frame.columns:
                _add_names(self.reference.categorical[name], some, frame[name])
            else:
                some.missing, some.absent = some.missing + rows, some.absent + rows

    def merge(self, other: Profile) -> None:
        """Count the other's rows, too. Raises ValueError if it is of another reference."""
        if other.reference is not self.reference and other.reference != self.reference:
            raise ValueError("profiles of different references cannot be merged")
        self.rows += other.rows
        for name, mine in self.numeric.items():
            for key, value in vars(other.numeric[name]).items():
                setattr(mine, key, getattr(mine, key) + value)
        for name, own in self.categorical.items():
            more = other.categorical[name]
            own.counts = own.counts + more.counts
            own.missing, own.absent = own.missing + more.missing, own.absent + more.absent
            own.others += more.others
            _name_unseen(own, more.unseen.items())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": self.rows,
            "numeric": {name: _plain(found) for name, found in self.numeric.items()},
            "categorical": {name: _plain(found) for name, found in self.categorical.items()},
        }

    @classmethod
    def from_dict(cls, reference: Reference, raw: Mapping[str, Any]) -> Profile:
        """Read back what `as_dict` wrote. Raises ValueError if it is not of this reference."""
        found = cls(reference)
        try:
            found.rows = int(raw["rows"])
            for kind, mine in (("numeric", found.numeric), ("categorical", found.categorical)):
                if set(raw[kind]) != set(mine):
                    raise ValueError("its columns are others")
                for name, one in mine.items():
                    _fill(one, raw[kind][name])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is no profile of this reference ({error})") from None
        return found


def _numeric(column: pd.Series[Any]) -> Numeric:
    values, strange = numbers(column)
    infinite = int(np.isinf(values).sum())
    finite = values[np.isfinite(values)]
    missing = len(values) - len(finite) - infinite
    if not len(finite):
        return Numeric((), (0,), (0.0,), missing, strange, infinite, alone=infinite)
    finite.sort()
    low, high = float(finite[0]), float(finite[-1])
    mean, sd = _moments(finite, low, high)
    near = NEAR * sd
    known = Numeric(
        tuple(_edges(finite, near).tolist()),
        (),
        (),
        missing,
        strange,
        infinite,
        alone=infinite + _alone(finite, near),
        min=low,
        max=high,
        mean=mean,
        sd=sd,
    )
    counts, sums, _ = _binned(known, finite)
    return Numeric(
        **{**vars(known), "counts": tuple(counts.tolist()), "sums": tuple(sums.tolist())}
    )


def _edges(ordered: Floats, near: float) -> Floats:
    """Where bins begin, with a bin of no width for each value that is frequent by itself."""
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, len(ordered)])
    frequent = ordered[starts[counts >= max(2.0, ATOM * len(ordered))]]
    rest = ordered[~np.isin(ordered, frequent)] if len(frequent) else ordered
    at = rest[np.floor(LEVELS * (len(rest) - 1)).astype(np.int64)] if len(rest) else rest
    with np.errstate(over="ignore"):
        ends = (ordered[0] - near, np.nextafter(ordered[-1] + near, np.inf))
        found: Floats = np.unique(np.r_[at, frequent, np.nextafter(frequent, np.inf), ends])
    return found[np.isfinite(found)]


def _alone(ordered: Floats, near: float) -> int:
    """How many of the two values at the ends lie outside the range of all others."""
    if len(ordered) < 2:
        return len(ordered)
    return int(ordered[-1] - ordered[-2] > near) + int(ordered[1] - ordered[0] > near)


def _moments(values: Floats, low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation, also of numbers whose squares are too large."""
    if low == high:
        return low, 0.0
    largest = max(abs(low), abs(high))
    scaled = values / largest
    mean, sd = float(scaled.mean()), float(scaled.std())
    return mean * largest, (sd * largest) or math.ulp(largest)


def _binned(known: Numeric, finite: Floats) -> tuple[Ints, Floats, float]:
    """Counts and sums of scores by bin, and the sum of the scores' squares."""
    bins = len(known.edges) + 1
    places = np.searchsorted(np.array(known.edges), finite, side="right")
    scores = known.scores(finite)
    counts = np.bincount(places, minlength=bins).astype(np.int64)
    sums = np.bincount(places, scores, bins).astype(np.float64)
    return counts, sums, float(scores @ scores)


def _add_numbers(known: Numeric, found: Numbers, column: pd.Series[Any]) -> None:
    values, strange = numbers(column)
    is_finite = np.isfinite(values)
    finite = values[is_finite]
    infinite = int(np.isinf(values).sum())
    counts, sums, squares = _binned(known, finite)
    found.counts, found.sums = found.counts + counts, found.sums + sums
    found.squares += squares
    found.infinite += infinite
    found.not_numbers += strange
    found.missing += len(values) - len(finite) - infinite


def _categorical(column: pd.Series[Any]) -> Categorical:
    codes, names = texts(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    listed = sorted(zip(names, counts, strict=True), key=lambda item: (-item[1], item[0]))
    return Categorical(dict(listed), int((codes < 0).sum()))


def _add_names(known: Categorical, found: Names, column: pd.Series[Any]) -> None:
    codes, names = texts(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    places = {name: place for place, name in enumerate(known.counts)}
    to = np.array([places.get(name, -1) for name in names], dtype=np.int64)
    found.counts = found.counts.copy()
    found.counts[to[to >= 0]] += counts[to >= 0]
    found.missing += int((codes < 0).sum())
    _name_unseen(found, ((names[i], int(counts[i])) for i in np.flatnonzero(to < 0)))


def _name_unseen(found: Names, more: Iterable[tuple[str, int]]) -> None:
    """Count unseen categories; where they get too many the most frequent keep their names."""
    for name, count in more:
        found.unseen[name] = found.unseen.get(name, 0) + count
    if len(found.unseen) > NAMED:
        listed = sorted(found.unseen.items(), key=lambda item: (-item[1], item[0]))
        found.unseen = dict(listed[:NAMED])
        found.others += sum(count for _, count in listed[NAMED:])


def _plain(found: Numbers | Names) -> dict[str, Any]:
    return {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in asdict(found).items()
    }


def _fill(one: Any, raw: Mapping[str, Any]) -> None:
    for key, now in list(vars(one).items()):
        value = raw[key]
        if isinstance(now, np.ndarray):
            value = np.array(value, dtype=now.dtype)
            if value.shape != now.shape:
                raise ValueError("its bins are others")
        setattr(one, key, dict(value) if isinstance(now, dict) else value)


def _numeric_from(raw: Mapping[str, Any]) -> Numeric:
    lists = {key: tuple(raw[key]) for key in ("edges", "counts", "sums")}
    found = Numeric(**{**raw, **lists})
    if not len(found.edges) + 1 == len(found.counts) == len(found.sums):
        raise ValueError("bins do not fit their edges")
    return found
