"""The newest window as Prometheus gauges: for a textfile collector, or for a port of the watch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from monitoring.decide import ACTIONS
from monitoring.findings import KINDS, Judged

COLUMNS = 300
"""Features of a model that have gauges of their own, the first ones by name."""


class Gauges:
    """Of all models that one process looks at."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            name = f"understudy_monitor_{name}"
            return Gauge(name, text, ["model", *labels], registry=self.registry)

        self._checked = gauge("last_check_seconds", "When monitoring last looked (Unix time)")
        self._end = gauge("window_end_seconds", "End of the newest window (Unix time)")
        self._rows = gauge("window_rows", "Answered predictions of the newest window")
        self._drift = gauge("drift", "Difference from the reference", "column", "measure")
        self._finding = gauge("finding", "1 where something was found", "kind", "column")
        self._broken = gauge("broken", "1 where something looks like a fault in the data")
        self._quality = gauge("performance", "Metric with labels", "version", "metric")
        self._estimate = gauge("estimate", "Metric estimated without labels", "version", "metric")
        self._coverage = gauge("label_coverage", "Share of predictions with a label", "version")
        self._decision = gauge("decision", "1 for what the newest window came to", "action")
        self._problem = gauge("problem", "1 where monitoring could not do its work")
        self._muted = gauge("muted", "1 while somebody has muted monitoring")
        self._unsent = gauge("unsent_alerts", "Alerts that nobody has taken yet")

    def show(
        self,
        model: str,
        windows: Sequence[Judged],
        decision: Mapping[str, Any],
        *,
        muted: bool,
        unsent: int,
        problem: bool,
    ) -> None:
        """The windows of a model, the newest last; what a former one had is taken away."""
        self._checked.labels(model).set(time.time())
        self._muted.labels(model).set(muted)
        self._unsent.labels(model).set(unsent)
        self._problem.labels(model).set(problem)
        for action in ACTIONS:
            self._decision.labels(model, action).set(decision.get("action", "nothing") == action)
        if not windows:
            return
        newest = windows[-1]
        self._end.labels(model).set(newest.until)
        self._rows.labels(model).set(newest.rows)
        self._broken.labels(model).set(bool(newest.broken))
        self._findings(model, newest)
        self._metrics(model, windows)

    def _findings(self, model: str, newest: Judged) -> None:
        _forget(self._drift, model)
        _forget(self._finding, model)
        columns = sorted({f.column for f in newest.findings if f.column})[:COLUMNS]
        for kind in KINDS:
            if not any(f.kind == kind and f.column for f in newest.findings):
                self._finding.labels(model, kind, "").set(0)
        for found in newest.findings:
            if found.column and found.column not in columns:
                continue
            self._finding.labels(model, found.kind, found.column).set(found.found)
            if found.kind == "drift":
                self._drift.labels(model, found.column, found.measure).set(found.effect)
            elif found.kind == "score":
                self._drift.labels(model, "answer", found.measure).set(found.effect)

    def _metrics(self, model: str, windows: Sequence[Judged]) -> None:
        """Those of the newest window that has them: labels come late."""
        for gauge in (self._quality, self._estimate, self._coverage):
            _forget(gauge, model)
        newest = windows[-1]
        labelled = next((w for w in reversed(windows) if any(q.metrics for q in w.quality)), newest)
        for quality in labelled.quality:
            for m in quality.metrics:
                self._quality.labels(model, str(quality.version), m.metric).set(m.value)
        for quality in newest.quality:
            share = quality.labelled / quality.rows if quality.rows else 0.0
            self._coverage.labels(model, str(quality.version)).set(share)
        for guess in newest.estimates:
            for name, value in guess.metrics.items():
                self._estimate.labels(model, str(guess.version), name).set(value)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)

    def write(self, path: Path) -> None:
        """For node_exporter's textfile collector, whole or not at all."""
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(self.text())
        part.replace(path)


def _forget(gauge: Gauge, model: str) -> None:
    gauge.remove_by_labels({"model": model})
