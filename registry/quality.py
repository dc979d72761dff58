"""The gates on how good a version is: floor, not_worse, slices. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from registry import bootstrap, metrics
from registry.bootstrap import Comparison
from registry.gate import Check
from registry.metrics import Metric, Truth
from registry.sections import GateParams

WORST = 20
"""So many slices go into the ledger."""
NO_RIVAL = "there is no Production version to compare with"
MISSING = "(missing)"


@dataclass(frozen=True)
class Scored:
    """Candidate and Production on the candidate's held-out rows.

    Scores are of the form `Truth.scores` gives, None where there are none; `problems` says why,
    by `candidate` and `champion`.
    """

    metric: Metric
    truth: Truth
    rows: pd.DataFrame
    candidate: np.ndarray | None
    champion: np.ndarray | None = None
    champion_version: int | None = None
    problems: Mapping[str, str] | None = None

    def problem(self, who: str) -> str:
        """Why there are no scores of the one or the other."""
        return (self.problems or {}).get(who, f"the {who} was not scored")

    def value(self, scores: np.ndarray | None) -> float | None:
        """The metric of some scores; None where there are none or it is not defined."""
        if scores is None:
            return None
        found = metrics.compute(self.truth, scores, [self.metric.name]).get(self.metric.name)
        return found if found is not None and math.isfinite(found) else None


@dataclass(frozen=True)
class Slice:
    """The rows with one value in one column."""

    column: str
    value: str
    margin: float
    compared: Comparison

    @property
    def worse(self) -> bool:
        """Whether the candidate is worse there by more than the margin."""
        return self.compared.improvement < -self.margin

    @property
    def spare(self) -> float:
        """How far it is from being worse; below zero when it is."""
        return self.compared.improvement + self.margin


def floor(scored: Scored, limits: GateParams) -> Check:
    """The metric on the held-out rows is not beyond the worst accepted value."""
    metric, limit = scored.metric, limits.floor
    value = scored.value(scored.candidate)
    if value is None:
        return Check("floor", False, _unscored(scored, "candidate"), None, limit)
    if limit is None:
        sentence = f"{metric.name} {value:.4f}; params.yaml sets no gate.floor"
        return Check("floor", True, sentence, value)
    passed = metric.at_least(value, limit)
    relation = "is within" if passed else f"is {metric.worse_word}"
    number, bound = _shown(value, limit)
    sentence = f"{metric.name} {number} {relation} the limit {bound}"
    return Check("floor", passed, sentence, value, limit)


def compare(scored: Scored, limits: GateParams) -> Comparison | None:
    """Candidate against Production on all held-out rows; None where it cannot be done."""
    return _compare(scored, np.ones(len(scored.rows), dtype=bool), limits)


def not_worse(scored: Scored, compared: Comparison | None, limits: GateParams) -> Check:
    """The lower end of the improvement's interval is not below the margin (non-inferiority)."""
    name, number = scored.metric.name, scored.champion_version
    if number is None:
        return Check("not_worse", True, NO_RIVAL)
    if compared is None:
        return Check("not_worse", False, _uncompared(scored))
    low, high = compared.interval.low, compared.interval.high
    limit = 0.0 - limits.margin
    passed = low >= limit
    value, rival = _shown(compared.candidate, compared.champion)
    bottom, bound, gain, top = _signed(low, limit, compared.improvement, high)
    sentence = (
        f"{name} {value} against {rival} of Production v{number} on the same {compared.rows:,} "
        f"rows: improvement {gain}, {limits.confidence * 100:g} % interval [{bottom}, {top}], "
        f"whose lower end {'is not' if passed else 'is'} below {bound} (margin {limits.margin:g})"
        + _left_out(compared)
    )
    detail = {**_numbers(compared), "confidence": limits.confidence}
    return Check("not_worse", passed, sentence, low, limit, detail=detail)


def cut(scored: Scored, limits: GateParams) -> tuple[list[Slice], list[str]]:
    """The slices that params.yaml names, worst first, and those that say nothing, in words.

    Raises ValueError for a column that the held-out rows do not have.
    """
    unknown = [c for c in limits.slices if c not in scored.rows.columns]
    if unknown:
        known = ", ".join(map(str, scored.rows.columns[:60]))
        raise ValueError(
            f"gate.slices names {', '.join(map(repr, unknown))}, and the held-out rows have no "
            f"such column; they have {known}"
        )
    found: list[Slice] = []
    silent: list[str] = []
    for column, margin in limits.slices.items():
        values = scored.rows[column].astype(object)
        values = values.where(values.notna(), MISSING).astype(str)
        counts = values.value_counts().sort_index()
        large = [str(v) for v, n in counts.items() if n >= limits.slice_rows]
        if small := len(counts) - len(large):
            silent.append(
                f"{small} of the {len(counts)} values of {column} have fewer than "
                f"{limits.slice_rows} rows"
            )
        for value in large:
            compared = _compare(scored, (values == value).to_numpy(), limits)
            if compared is None:
                silent.append(f"{scored.metric.name} is not defined where {column} is {value[:80]}")
            else:
                found.append(Slice(column, value[:80], margin, compared))
    return sorted(found, key=lambda s: s.spare), silent


def slices(scored: Scored, found: list[Slice], silent: list[str], limits: GateParams) -> Check:
    """No slice of those in `found`, worst first, is worse by more than its margin."""
    number, name = scored.champion_version, scored.metric.name
    if not limits.slices:
        return Check("slices", True, "params.yaml names no gate.slices")
    if number is None:
        return Check("slices", True, NO_RIVAL)
    if scored.candidate is None or scored.champion is None:
        return Check("slices", False, _uncompared(scored))
    worse = [s for s in found if s.worse]
    tail = "".join(f"; {text}" for text in silent[:5])
    detail = {
        "slices": len(found),
        "worse": len(worse),
        "worst": [
            {"column": s.column, "value": s.value, "margin": s.margin, **_numbers(s.compared)}
            for s in found[:WORST]
        ],
    }
    if not found:
        return Check("slices", True, f"no slice can be judged{tail}", detail=detail)
    if not worse:
        sentence = f"none of {len(found)} slices is worse by more than its margin{tail}"
    else:
        told = "; ".join(_told(s) for s in worse[:5])
        more = f"; and {len(worse) - 5} more" if len(worse) > 5 else ""
        sentence = (
            f"{name} is worse than that of Production v{number} by more than the margin in "
            f"{len(worse)} of {len(found)} slices: {told}{more}{tail}"
        )
    worst = found[0]
    return Check(
        "slices", not worse, sentence, worst.compared.improvement, 0.0 - worst.margin, detail=detail
    )


def _told(cut: Slice) -> str:
    value, rival = _shown(cut.compared.candidate, cut.compared.champion)
    return (
        f"{cut.column} {cut.value}: {value} against {rival} "
        f"({cut.compared.rows:,} rows, margin {cut.margin:g})"
    )


def _compare(scored: Scored, mask: np.ndarray, limits: GateParams) -> Comparison | None:
    if scored.candidate is None or scored.champion is None:
        return None
    return bootstrap.compare(
        scored.metric,
        scored.truth.take(mask),
        scored.candidate[mask],
        scored.champion[mask],
        resamples=limits.resamples,
        confidence=limits.confidence,
    )


def _numbers(compared: Comparison) -> dict[str, float | int]:
    six = {
        "candidate": compared.candidate,
        "champion": compared.champion,
        "improvement": compared.improvement,
        "low": compared.interval.low,
        "high": compared.interval.high,
    }
    return {
        **{name: float(f"{value:.6g}") for name, value in six.items()},
        "rows": compared.rows,
        "resamples": compared.resamples,
        "left_out": compared.left_out,
    }


def _left_out(compared: Comparison) -> str:
    if not compared.left_out:
        return ""
    return (
        f"; {compared.left_out} of {compared.resamples} resamples are left out, "
        "the metric is not defined on them"
    )


def _unscored(scored: Scored, who: str) -> str:
    scores = scored.candidate if who == "candidate" else scored.champion
    if scores is None:
        return scored.problem(who)
    return f"{scored.metric.name} is not defined on these {len(scored.rows):,} rows"


def _uncompared(scored: Scored) -> str:
    missing = [w for w in ("candidate", "champion") if getattr(scored, w) is None]
    if missing:
        return "; ".join(scored.problem(who) for who in missing)
    return f"{scored.metric.name} is not defined on these {len(scored.rows):,} rows"


def _shown(*numbers: float) -> list[str]:
    """Four digits, or as many as it takes for different numbers to look different."""
    return [f"{n:.{_digits(*numbers)}f}" for n in numbers]


def _signed(value: float, limit: float, *others: float) -> list[str]:
    """With their signs, and as many digits as tell a value from its limit."""
    digits = _digits(value, limit)
    return [f"{n + 0.0:+.{digits}f}" for n in (value, limit, *others)]


def _digits(*numbers: float) -> int:
    for digits in range(4, 16):
        if len({f"{n:.{digits}f}" for n in numbers}) == len(set(numbers)):
            return digits
    return 16
