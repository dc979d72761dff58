"""What a window shows, as it is kept, sent and read again. Pure; every value is JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KINDS = (
    "drift", "missing", "unseen", "outside", "gone", "jump", "score", "labels", "reversed",
    "estimate", "performance", "empty",
)  # fmt: skip
"""Of findings. The first six are about a feature (`column`), the others about the window:

drift, missing, unseen, outside   differ from the reference
gone                              a feature that no row has
jump                              differs from the window before by more than the world changes
score                             the answers differ from those to the reference
labels                            the outcomes differ from those of the window before
reversed                          the outcomes are those that the model held least likely
estimate, performance             the metric, estimated before labels and measured with them
empty                             no rows
"""


@dataclass(frozen=True)
class Finding:
    """One comparison, whether anything was found or not."""

    kind: str
    column: str
    """Empty where it is about the window."""
    measure: str
    """The name of what `effect` is: wasserstein, total_variation, share, a metric's name, ..."""
    effect: float
    threshold: float
    found: bool
    """Whether effect and certainty are both large enough."""
    broken: bool
    """Whether that looks like a fault in the data, not like a change of the world."""
    sentence: str

    @property
    def name(self) -> str:
        """By which the same finding is known in another window."""
        return f"{self.kind}:{self.column}" if self.column else self.kind

    def as_dict(self) -> dict[str, Any]:
        """For --json and for keeping."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A metric on labelled rows, with its interval."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Quality:
    """How well one version did in a window, as far as labels are there."""

    version: int
    rows: int
    """Predictions."""
    labelled: int
    unusable: int
    """Labels that are none of the model's classes, or no numbers."""
    delay: Mapping[str, float] = field(default_factory=dict)
    """Seconds from prediction to label: median, p90, largest."""
    metrics: tuple[Measured, ...] = ()
    """The first is the one that decides."""
    slices: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    """Column, then value: the deciding metric there."""
    least: Mapping[str, float] = field(default_factory=dict)
    """Where in the window answers and outcomes go together least (agreement.least)."""


@dataclass(frozen=True)
class Estimate:
    """What the metrics would be if the calibrated score were right about each row."""

    version: int
    rows: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    calibrated_on: int = 0
    """Rows with an outcome that the calibration was made from."""


@dataclass(frozen=True)
class Judged:
    """Everything about one window of one model."""

    model: str
    number: int
    """Windows are numbered in their order; by time there are gaps where nothing was asked."""
    since: float
    """Seconds since 1970, included."""
    until: float
    """Not included."""
    rows: int
    version: int
    """Production at the end of the window; the reference is its."""
    findings: tuple[Finding, ...] = ()
    quality: tuple[Quality, ...] = ()
    """One for each version that answered."""
    estimates: tuple[Estimate, ...] = ()
    labels: Mapping[str, float] = field(default_factory=dict)
    """Share of each outcome among the labels; of a regression `mean`."""
    problem: str = ""
    """Why it could not be judged, empty where it was."""

    @property
    def found(self) -> tuple[Finding, ...]:
        """What there is to tell."""
        return tuple(f for f in self.findings if f.found)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What looks like a fault in the data."""
        return tuple(f for f in self.found if f.broken)

    def as_dict(self) -> dict[str, Any]:
        """For --json and for keeping."""
        return asdict(self)


def judged(raw: Mapping[str, Any]) -> Judged:
    """Read back what `as_dict` wrote. Raises ValueError for anything else."""
    try:
        values = dict(raw)
        values["findings"] = tuple(Finding(**f) for f in raw.get("findings", ()))
        values["quality"] = tuple(_quality(q) for q in raw.get("quality", ()))
        values["estimates"] = tuple(Estimate(**e) for e in raw.get("estimates", ()))
        known = {f.name for f in fields(Judged)}
        return Judged(**{k: v for k, v in values.items() if k in known})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this is no window ({error})") from None


def _quality(raw: Mapping[str, Any]) -> Quality:
    slices = {
        column: {value: Measured(**m) for value, m in found.items()}
        for column, found in raw.get("slices", {}).items()
    }
    metrics = tuple(Measured(**m) for m in raw.get("metrics", ()))
    return Quality(**{**raw, "metrics": metrics, "slices": slices})
