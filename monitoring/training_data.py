"""Whether a new data version may be learnt: looked at as traffic is, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from monitoring import drift, habit
from monitoring.baseline import Baseline
from monitoring.findings import Finding
from monitoring.look import label_distance
from monitoring.profile import Profile
from monitoring.quality import outcome_shares
from monitoring.sections import MonitorParams
from pipelines import conform, params, schema, table

BLOCK = 5000
"""Rows that are looked at together, where windows are not by count."""
SHOWN = 5
"""Problems that are told of."""


def problems(root: Path, baseline: Baseline, policy: MonitorParams) -> list[str]:
    """What speaks against learning from the data in the working copy, as sentences.

    The rows that came after those of the live version are cut into blocks, by time; each is
    compared with the reference and with the block before it, and what looks broken is named. A data
    version that lost rows, all together or of the time that the live version knows, is refused as a
    whole. Raises PipelineError (ContractBroken, ...).
    """
    known = params.data_params(root)
    rows = table.read(root, known.path)
    if baseline.rows and len(rows) < policy.retrain_share * baseline.rows:
        return [
            f"the data version has {len(rows):,} rows, and v{baseline.version} was trained on "
            f"{baseline.rows:,}; monitor.retrain_share asks for {policy.retrain_share:.0%} of them"
        ]
    contract = schema.resolve(rows, known)
    typed = conform.validate(rows, contract, known)
    parts = _newer(typed, contract.time, baseline)
    if lost := _lost(parts[0], contract.time, baseline, policy):
        return [lost]
    return list(_broken(parts, baseline, policy))[:SHOWN]


def _newer(typed: pd.DataFrame, time: str | None, baseline: Baseline) -> list[pd.DataFrame]:
    """The rows before and those after the end of what the live version knows, each by time."""
    if time is None or baseline.span is None:
        return [typed.iloc[:0], typed]
    ordered = typed.sort_values(time, kind="stable")
    end = pd.Timestamp(baseline.span[1])
    end = end.tz_convert("UTC").tz_localize(None) if end.tzinfo else end
    return [ordered[ordered[time] <= end], ordered[ordered[time] > end]]


def _lost(
    old: pd.DataFrame, time: str | None, baseline: Baseline, policy: MonitorParams
) -> str | None:
    """Whether rows are gone of the time that the live version knows, which new ones would hide.

    Data that begin later than its own did, such as those of the last year, are compared with its
    rows from then on, as if these were evenly spread.
    """
    if time is None or baseline.span is None or old.empty:
        return None
    first, last = (pd.Timestamp(moment) for moment in baseline.span)
    if not last > first:
        return None
    begins = pd.Timestamp(old[time].iloc[0])
    if first.tzinfo:
        begins = begins.tz_localize("UTC")
    due = baseline.rows * min((last - begins) / (last - first), 1.0)
    if len(old) >= policy.retrain_share * due:
        return None
    return (
        f"the data version has {len(old):,} rows of the time from {begins:%Y-%m-%d} to "
        f"{last:%Y-%m-%d}, and v{baseline.version} was trained on "
        f"{'' if begins <= first else 'about '}{due:,.0f} of it; monitor.retrain_share asks for "
        f"{policy.retrain_share:.0%} of them"
    )


def _broken(
    parts: Sequence[pd.DataFrame], baseline: Baseline, policy: MonitorParams
) -> Iterator[str]:
    old, new = parts
    size = policy.window_rows or BLOCK
    known: dict[str, float] = {}
    before: _Block | None = None
    for rows in _blocks(old.tail(habit.LAST * size), size, policy):
        before = _block(rows, baseline, before, policy)
        known = habit.largest(before.findings, known)
    for start, rows in enumerate(_blocks(new, size, policy)):
        before = _block(rows, baseline, before, policy)
        place = f"rows {start * size + 1:,} to {start * size + len(rows):,} of the new ones"
        for finding in habit.tamed(before.findings, known):
            if finding.found and finding.broken:
                yield f"{place}: {finding.sentence}"


@dataclass(frozen=True)
class _Block:
    """Rows that are looked at together."""

    profile: Profile
    shares: Mapping[str, float]
    findings: tuple[Finding, ...]


def _blocks(rows: pd.DataFrame, size: int, policy: MonitorParams) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), size):
        block = rows.iloc[start : start + size]
        # The last one may be short; what is judged of it would be judged of few rows.
        if len(block) >= max(policy.drift.minimum, size // 2 if start else 0):
            yield block


def _block(
    rows: pd.DataFrame, baseline: Baseline, before: _Block | None, policy: MonitorParams
) -> _Block:
    about = baseline.record
    profile = _profile(rows, baseline)
    found = drift.compare(
        baseline.reference, profile, before.profile if before else None, policy.drift
    )
    shares = outcome_shares(about, _labels(rows, about.target))
    was = before.shares if before else baseline.shares
    distance = label_distance(about, shares, was, baseline.shares) if shares else None
    findings = [f for f in found if f.kind != "score"]
    if distance is not None:
        told = ", ".join(f"{name} {value:.3g}" for name, value in shares.items())
        former = ", ".join(f"{name} {was[name]:.3g}" for name in shares if name in was)
        limit = policy.quality.labels
        findings.append(
            Finding(
                "labels", "", "distance", distance, limit, found=distance >= limit, broken=True,
                sentence=f"the outcomes jump to {told} (before: {former})",
            )
        )  # fmt: skip
    return _Block(profile, shares or was, tuple(findings))


def _profile(rows: pd.DataFrame, baseline: Baseline) -> Profile:
    profile = Profile(baseline.reference)
    profile.add(rows[[c for c in baseline.columns if c in rows.columns]])
    return profile


def _labels(rows: pd.DataFrame, target: str) -> list[object]:
    return [None if pd.isna(v) else v for v in rows[target]]
