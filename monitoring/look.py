"""Looks at one window: reads its rows from the log, and says what there is to find in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from monitoring import agreement, drift, habit
from monitoring.baseline import ANSWER, Baseline, answer_column
from monitoring.calibration import Calibration
from monitoring.estimate import estimate
from monitoring.findings import Finding, Judged, Quality
from monitoring.profile import Profile
from monitoring.quality import measure, outcome_shares
from monitoring.sections import MonitorParams
from monitoring.spans import Span
from registry import metrics
from registry.record import Record
from serving.records import Labelled, Log, Prediction, Window

MOST = 100_000
"""Rows of one version in a window that metrics are computed from; of more, evenly spread ones."""


FUTURE = "from the future"
"""Stands for a label whose time was yet to come when it arrived: no class is called so."""
SLACK = 60.0
"""Seconds by which clocks may differ."""

_Row = tuple[Any, Any, float | None, float, tuple[Any, ...]]
"""Answer, label, time of the label, time of the prediction, and the values of the slices."""


@dataclass
class _Sample:
    """Rows of one version, thinned so that there are never more than MOST."""

    step: int = 1
    seen: int = 0
    rows: list[_Row] = field(default_factory=list)

    def add(self, row: _Row) -> None:
        if self.seen % self.step == 0:
            self.rows.append(row)
            if len(self.rows) > MOST:
                del self.rows[1::2]
                self.step *= 2
        self.seen += 1


@dataclass(frozen=True)
class Seen:
    """What a window holds."""

    rows: int
    profile: Profile
    samples: Mapping[int, _Sample]
    """By version."""
    kept: int
    """Rows whose features are in the log."""
    failed: int
    """Requests that got no answer; they are no rows."""


def read(log: Log, model: str, span: Span, baseline: Baseline, slices: Sequence[str]) -> Seen:
    """Read a window once, in pieces. Raises LogError."""
    profile = Profile(baseline.reference)
    samples: dict[int, _Sample] = {}
    rows = kept = failed = 0
    window = Window(since=span.since, until=span.until, model=model)
    for piece in log.predictions(window):
        answered = [p for p in piece if p.status == 200]
        rows, failed = rows + len(answered), failed + len(piece) - len(answered)
        told = [p for p in answered if p.features is not None]
        kept += len(told)
        if told:
            profile.add(_frame(told, baseline))
        for p in answered:
            known = p.label
            values = tuple((p.features or {}).get(c) for c in slices)
            samples.setdefault(p.version, _Sample()).add(
                (p.answer, *_outcome(known), p.time, values)
            )
    return Seen(rows, profile, samples, kept, failed)


def _outcome(known: Labelled | None) -> tuple[Any, float | None]:
    """The label and its time, or that of its arrival."""
    if known is None:
        return None, None
    if known.time is None:
        return known.label, known.received
    return (FUTURE if known.time > known.received + SLACK else known.label), known.time


def _frame(rows: Sequence[Prediction], baseline: Baseline) -> pd.DataFrame:
    found = {
        name: pd.Series([(p.features or {}).get(name) for p in rows], dtype=object)
        for name in baseline.columns
        if any(name in (p.features or {}) for p in rows)
    }
    found[ANSWER] = pd.Series(
        answer_column(baseline.record, [p.answer for p in rows]), dtype=object
    )
    return pd.DataFrame(found)


def judge(
    model: str,
    span: Span,
    seen: Seen,
    baseline: Baseline,
    before: Profile | None,
    earlier: Sequence[Judged],
    policy: MonitorParams,
    slices: Sequence[str],
    calibration: Calibration,
) -> Judged:
    """Everything about a window; `earlier` are those before it, `before` the rows of the last."""
    former = earlier[-1] if earlier else None
    found: list[Finding] = []
    problem = ""
    if seen.rows == 0:
        found.append(_empty(former, seen.failed))
    elif seen.kept == 0:
        problem = "the prediction log holds no features of these requests"
    else:
        found += drift.compare(baseline.reference, seen.profile, before, policy.drift)
    estimates = []
    for version, sample in sorted(seen.samples.items()):
        answers = [row[0] for row in sample.rows]
        guess = estimate(baseline.record, version, answers, calibration)
        if guess is not None:
            estimates.append(replace(guess, rows=sample.seen))
    window = Judged(
        model,
        span.number,
        span.since,
        span.until,
        seen.rows,
        baseline.version,
        tuple(found),
        estimates=tuple(estimates),
        problem=problem,
    )
    if guessed := _estimated(window, baseline, policy, calibration):
        window = replace(window, findings=(*window.findings, guessed))
    window = measured(window, seen, baseline, policy, slices)
    return with_outcomes(window, baseline, earlier, policy)


def measured(
    window: Judged,
    seen: Seen,
    baseline: Baseline,
    policy: MonitorParams,
    slices: Sequence[str],
) -> Judged:
    """The window with its metrics, as far as labels are there now."""
    qualities, shares = [], {}
    for version, sample in sorted(seen.samples.items()):
        answers = [row[0] for row in sample.rows]
        labels = [row[1] for row in sample.rows]
        times = ([row[3] for row in sample.rows], [row[2] for row in sample.rows])
        by_slice = {c: [row[4][n] for row in sample.rows] for n, c in enumerate(slices)}
        known = measure(baseline.record, version, answers, labels, times, by_slice, policy.quality)
        qualities.append(_scaled(known, sample))
        if version == baseline.version:
            least = agreement.least(baseline.record, answers, labels, policy.quality.minimum)
            qualities[-1] = replace(qualities[-1], least=least)
            shares = outcome_shares(baseline.record, labels)
    return replace(window, quality=tuple(qualities), labels=shares)


def with_outcomes(
    window: Judged, baseline: Baseline, earlier: Sequence[Judged], policy: MonitorParams
) -> Judged:
    """The window with its findings about the metric with labels, and about the labels."""
    former = earlier[-1] if earlier else None
    others = [f for f in window.findings if f.kind not in ("performance", "labels", "reversed")]
    found = [
        _performance(window, baseline, policy),
        _labels(window, baseline, former, policy),
        _reversed(window, baseline),
    ]
    known = habit.usual(earlier, baseline.jumps, window.rows)
    findings = (*others, *(f for f in found if f is not None))
    return replace(window, findings=habit.tamed(findings, known))


def _scaled(known: Quality, sample: _Sample) -> Quality:
    """Counts of all rows, where only every so many was looked at."""
    if sample.step == 1:
        return known
    share = sample.seen / len(sample.rows)
    return replace(
        known,
        rows=sample.seen,
        labelled=round(known.labelled * share),
        unusable=round(known.unusable * share),
    )


def _own(parts: Iterable[Any], version: int) -> Any:
    return next((part for part in parts if part.version == version), None)


def _performance(window: Judged, baseline: Baseline, policy: MonitorParams) -> Finding | None:
    """The metric with labels against that on the held-out rows."""
    quality = _own(window.quality, baseline.version)
    about = baseline.record
    if quality is None or not quality.metrics or about.metric not in baseline.metrics:
        return None
    measured, limits = quality.metrics[0], policy.quality
    if measured.metric != about.metric or measured.rows < limits.minimum:
        return None
    if quality.labelled - quality.unusable < limits.coverage * quality.rows:
        return None
    metric = metrics.get(about.metric, about.problem)
    base = baseline.metrics[about.metric]
    worse = base - measured.value if metric.greater_is_better else measured.value - base
    far_end = measured.high if metric.greater_is_better else measured.low
    certain = far_end < base if metric.greater_is_better else far_end > base
    return Finding(
        "performance",
        "",
        about.metric,
        worse,
        limits.drop,
        found=worse >= limits.drop and certain,
        broken=False,
        sentence=(
            f"{about.metric} of v{baseline.version} is {measured.value:.3f} "
            f"[{measured.low:.3f}, {measured.high:.3f}] on {measured.rows:,} labelled rows, and "
            f"was {base:.3f} on its held-out rows"
        ),
    )


def _estimated(
    window: Judged, baseline: Baseline, policy: MonitorParams, calibration: Calibration
) -> Finding | None:
    """The metric as it is estimated without labels, here and on the held-out rows."""
    guess, about = _own(window.estimates, baseline.version), baseline.record
    before = estimate(about, baseline.version, baseline.answers, calibration)
    if guess is None or before is None or guess.rows < policy.drift.minimum:
        return None
    if about.metric not in guess.metrics or about.metric not in before.metrics:
        return None
    value, base = guess.metrics[about.metric], before.metrics[about.metric]
    better = metrics.get(about.metric, about.problem).greater_is_better
    worse = base - value if better else value - base
    return Finding(
        "estimate",
        "",
        about.metric,
        worse,
        policy.quality.drop,
        found=worse >= policy.quality.drop,
        broken=False,
        sentence=(
            f"{about.metric} of v{baseline.version} is estimated to be {value:.3f}, without "
            f"labels; in the same way it is {base:.3f} on its held-out rows"
        ),
    )


def _labels(
    window: Judged, baseline: Baseline, former: Judged | None, policy: MonitorParams
) -> Finding | None:
    """The outcomes against those of the window before, else of the held-out rows."""
    count = sum(q.labelled - q.unusable for q in window.quality if q.version == window.version)
    if count < policy.quality.minimum or not window.labels:
        return None
    known, what = baseline.shares, "in the held-out rows"
    if former is not None and former.labels and former.version == window.version:
        known, what = former.labels, "in the window before"
    distance = label_distance(baseline.record, window.labels, known, baseline.shares)
    if distance is None:
        return None
    name = _moved(window.labels, known)
    return Finding(
        "labels",
        "",
        "total_variation" if baseline.record.problem != "regression" else "sd",
        distance,
        policy.quality.labels,
        found=distance >= policy.quality.labels,
        broken=True,
        sentence=(
            f"of {count:,} labels {window.labels[name]:.0%} are {name}, and {known[name]:.0%} "
            f"{what}"
            if baseline.record.problem != "regression"
            else f"{count:,} labels are {window.labels[name]:.4g} on average, and "
            f"{known[name]:.4g} {what}"
        ),
    )


def _reversed(window: Judged, baseline: Baseline) -> Finding | None:
    """Whether outcomes are those that the model held least likely: a world seldom turns over."""
    quality, about = _own(window.quality, baseline.version), baseline.record
    if quality is None or not quality.least or not baseline.answers:
        return None
    held_out = agreement.least(about, baseline.answers, baseline.labels, 2, parts=(1,))
    if not held_out or held_out["z"] < agreement.CERTAIN:
        return None
    least = quality.least
    where = f"in part {least['part']:.0f} of {least['parts']:.0f} of the window, "
    return Finding(
        "reversed",
        "",
        "z",
        -least["z"],
        agreement.CERTAIN,
        found=least["z"] <= -agreement.CERTAIN,
        broken=True,
        sentence=(
            f"{where if least['parts'] > 1 else ''}on {least['rows']:,.0f} labelled rows, answers "
            f"of v{baseline.version} and outcomes go {_together(least['z'])} (z {least['z']:+.1f}, "
            f"on the held-out rows {held_out['z']:+.1f})"
        ),
    )


def _together(z: float) -> str:
    if z <= -agreement.CERTAIN:
        return "against each other, as if the labels were reversed"
    return "together" if z >= agreement.CERTAIN else "neither together nor against each other"


def label_distance(
    about: Record,
    shares: Mapping[str, float],
    known: Mapping[str, float],
    held_out: Mapping[str, float],
) -> float | None:
    """Total variation distance of two shares of outcomes; of a regression of the means in sd / 10.

    None where one of them is not known.
    """
    if about.problem == "regression":
        sd = held_out.get("sd", 0.0)
        if "mean" not in known or "mean" not in shares or not sd:
            return None
        return abs(shares["mean"] - known["mean"]) / sd / 10
    if not known:
        return None
    names = {*shares, *known}
    return sum(abs(shares.get(n, 0.0) - known.get(n, 0.0)) for n in names) / 2


def _moved(shares: Mapping[str, float], known: Mapping[str, float]) -> str:
    """The outcome whose share changed most."""
    names = [n for n in shares if n in known] or list(shares)
    return max(names, key=lambda n: abs(shares[n] - known.get(n, 0.0)))


def _empty(former: Judged | None, failed: int) -> Finding:
    return Finding(
        "empty",
        "",
        "rows",
        0.0,
        1.0,
        found=former is not None or failed > 0,
        broken=failed > 0,
        sentence=(
            f"none of {failed:,} requests in this window was answered"
            if failed
            else "nobody asked the model anything in this window"
        ),
    )
