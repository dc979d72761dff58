"""Whether a new data version may be learnt: looked at as traffic is, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from monitoring import drift
from monitoring.baseline import Baseline
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
    version that lost rows is refused as a whole. Raises PipelineError (ContractBroken, ...).
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
    return list(_broken(_newer(typed, contract.time, baseline), baseline, policy))[:SHOWN]


def _newer(typed: pd.DataFrame, time: str | None, baseline: Baseline) -> list[pd.DataFrame]:
    """The rows before and those after the end of what the live version knows, each by time."""
    if time is None or baseline.span is None:
        return [typed.iloc[:0], typed]
    ordered = typed.sort_values(time, kind="stable")
    end = pd.Timestamp(baseline.span[1])
    end = end.tz_convert("UTC").tz_localize(None) if end.tzinfo else end
    return [ordered[ordered[time] <= end], ordered[ordered[time] > end]]


def _broken(
    parts: Sequence[pd.DataFrame], baseline: Baseline, policy: MonitorParams
) -> Iterator[str]:
    old, new = parts
    size = policy.window_rows or BLOCK
    about = baseline.record
    before: Profile | None = None
    shares = dict(baseline.shares)
    if len(old) >= policy.drift.minimum:
        before = _profile(old.tail(size), baseline)
        shares = outcome_shares(about, _labels(old.tail(size), about.target)) or shares
    for start in range(0, len(new), size):
        block = new.iloc[start : start + size]
        if len(block) < policy.drift.minimum:
            return
        place = f"rows {start + 1:,} to {start + len(block):,} of the new ones"
        profile = _profile(block, baseline)
        for finding in drift.compare(baseline.reference, profile, before, policy.drift):
            if finding.found and finding.broken and finding.kind != "score":
                yield f"{place}: {finding.sentence}"
        now = outcome_shares(about, _labels(block, about.target))
        distance = label_distance(about, now, shares, baseline.shares) if now else None
        if distance is not None and distance >= policy.quality.labels:
            told = ", ".join(f"{name} {value:.3g}" for name, value in now.items())
            was = ", ".join(f"{name} {shares[name]:.3g}" for name in now if name in shares)
            yield f"{place}: the outcomes jump to {told} (before: {was})"
        before, shares = profile, now or shares


def _profile(rows: pd.DataFrame, baseline: Baseline) -> Profile:
    profile = Profile(baseline.reference)
    profile.add(rows[[c for c in baseline.columns if c in rows.columns]])
    return profile


def _labels(rows: pd.DataFrame, target: str) -> list[object]:
    return [None if pd.isna(v) else v for v in rows[target]]
