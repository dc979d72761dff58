"""Shows windows in MLflow: a run each in the experiment NAME-monitoring, below one of its version.

The version's run carries every window's metrics with the window's end as step, and so is the line
over time in MLflow's own charts; a window's run carries its page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from monitoring import report
from monitoring.findings import Judged
from monitoring.kept import Kept
from monitoring.profile import Profile, Reference
from monitoring.times import moment
from registry.store import Store

SUFFIX = "-monitoring"


def window(
    store: Store,
    kept: Kept,
    shown: Judged,
    decision: Mapping[str, Any],
    history: Sequence[Judged],
    reference: Reference | None,
    *,
    run: str,
    files: Mapping[str, str],
) -> None:
    """Write one window's run, or write into it again. Raises RegistryUnreachable.

    `files` are further artifacts, by path.
    """
    experiment = shown.model + SUFFIX
    found = metrics(shown)
    series = f"series:{shown.version}"
    above = store.publish(
        experiment,
        f"v{shown.version}",
        params={"model": shown.model, "version": str(shown.version)},
        metrics=found,
        tags={"understudy.series": f"{shown.model} v{shown.version}"},
        files={},
        run=kept.fact(series),
        moment=shown.until,
    )
    kept.note(series, above)
    raw = kept.profile(shown.number)
    profile = None
    if reference is not None and raw is not None:
        profile = Profile.from_dict(reference, raw)
    made = store.publish(
        experiment,
        f"window {shown.number}",
        params={
            "model": shown.model,
            "version": str(shown.version),
            "window": str(shown.number),
            "since": moment(shown.since),
            "until": moment(shown.until),
        },
        metrics=found,
        tags={
            "understudy.decision": str(decision.get("action", "nothing")),
            "understudy.found": ", ".join(f.name for f in shown.found)[:5000],
            "understudy.reasons": "; ".join(decision.get("reasons") or ())[:5000],
        },
        files={
            "report.html": report.page(shown, decision, history, reference, profile),
            **files,
        },
        run=run or None,
        moment=shown.until,
        parent=above,
    )
    kept.published(shown.number, made)


def metrics(shown: Judged) -> dict[str, float]:
    """A window as metrics: `drift/COLUMN`, `performance/NAME`, `estimate/NAME`, counts."""
    found = {"rows": float(shown.rows), "found": float(len(shown.found))}
    found["broken"] = float(len(shown.broken))
    for f in shown.findings:
        if f.kind not in ("performance", "estimate"):
            found[f"{f.kind}/{f.column}" if f.column else f.kind] = f.effect
    for quality in shown.quality:
        if quality.version != shown.version:
            continue
        usable = quality.labelled - quality.unusable
        found["labels/coverage"] = usable / quality.rows if quality.rows else 0.0
        found |= {f"labels/delay_{name}": value for name, value in quality.delay.items()}
        for m in quality.metrics:
            found[f"performance/{m.metric}"] = m.value
            found[f"performance/{m.metric}_low"] = m.low
            found[f"performance/{m.metric}_high"] = m.high
    for guess in shown.estimates:
        if guess.version == shown.version:
            found |= {f"estimate/{name}": value for name, value in guess.metrics.items()}
    return {re.sub(r"[^\w\-. :/]", "_", name): value for name, value in found.items()}
