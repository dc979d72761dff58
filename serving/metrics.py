"""What the gateway counts, for Prometheus and for its own page; every label is bounded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
KEPT = 600
"""Seconds that the page looks back on."""


class _Named(TypedDict):
    registry: CollectorRegistry
    namespace: str


@dataclass(slots=True)
class Second:
    """What happened within one second."""

    at: int
    requests: int = 0
    errors: int = 0
    total: float = 0.0
    longest: float = 0.0


class _Counted(Collector):
    """What others count, as counters."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Called for each answer to Prometheus."""
        about = "Swaps, refusals, rehearsals, restarts."
        events = CounterMetricFamily("understudy_events", about, labels=("model", "kind"))
        for labels, count in self._metrics.events.items():
            events.add_metric(labels, count)
        about = "Predictions to be logged, by what became of them."
        records = CounterMetricFamily("understudy_records", about, labels=("kind",))
        for kind, count in self._metrics.records.items():
            records.add_metric((kind,), count)
        yield events
        yield records
        about = "Values in answered rows that break the contract, or are of another type."
        names = ("model", "column", "rule")
        violations = CounterMetricFamily("understudy_contract_violations", about, labels=names)
        for cell, count in self._metrics.violations.items():
            violations.add_metric(cell, count)
        yield violations


class Metrics:
    """Counters of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        one = ("model",)
        self.requests = Counter(
            "requests", "Answered requests.", ("model", "version", "status"), **self._named()
        )
        self.latency = Histogram(
            "request_seconds",
            "From a request's arrival to its answer.",
            one,
            buckets=SECONDS,
            **self._named(),
        )
        self.refused = Counter(
            "refused", "Requests without an answer of a model.", ("model", "kind"), **self._named()
        )
        self.batch = Histogram(
            "batch_requests",
            "Requests in one call to a model.",
            one,
            buckets=SIZES,
            **self._named(),
        )
        self.rows = Counter("rows", "Rows that were answered.", one, **self._named())
        self.waiting = self._gauge("waiting", "Requests that wait.")
        self.live = self._gauge("version_live", "The version that answers.")
        self.standing_by = self._gauge("version_standing_by", "The rehearsed version.")
        self.rollback_ready = self._gauge("rollback_ready", "1 when a rollback is a flip.")
        self.challenger = self._gauge("version_challenging", "The version on trial; 0 for none.")
        self.weight = self._gauge("challenger_weight", "Share of the requests that it gets.")
        self.ready = self._gauge("ready", "1 when the model answers.")
        self.queued = Gauge("records_queued", "Predictions to be logged.", **self._named())
        self.events: dict[tuple[str, str], int] = {}
        """Swaps, refusals, rehearsals, restarts, by model and kind; they are counted elsewhere."""
        self.records: dict[str, int] = {}
        """Predictions by what became of them."""
        self.violations: dict[tuple[str, str, str], int] = {}
        """By model, column and rule, of the contract's and the live version's own."""
        self.registry.register(_Counted(self))
        self._children: dict[tuple[str, int, int], Counter] = {}
        self._seconds: dict[str, deque[Second]] = {}
        self._latency: dict[str, Histogram] = {}
        self._refused: dict[tuple[str, str], Counter] = {}

    def _named(self) -> _Named:
        return {"registry": self.registry, "namespace": "understudy"}

    def _gauge(self, name: str, says: str, *further: str) -> Gauge:
        return Gauge(name, says, ("model", *further), **self._named())

    def answered(self, model: str, version: int, status: int, seconds: float) -> None:
        """Count an answered request."""
        key = (model, version, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.requests.labels(model, str(version), str(status))
            self._latency[model] = self.latency.labels(model)
        child.inc()
        self._latency[model].observe(seconds)
        second = self._second(model)
        second.requests += 1
        second.errors += status >= 500
        second.total += seconds
        second.longest = max(second.longest, seconds)

    def refuse(self, model: str, kind: str) -> None:
        """Count a request without an answer."""
        counter = self._refused.get((model, kind))
        if counter is None:
            counter = self._refused[model, kind] = self.refused.labels(model, kind)
        counter.inc()
        self._second(model).errors += 1

    def _second(self, model: str) -> Second:
        kept = self._seconds.get(model)
        if kept is None:
            kept = self._seconds[model] = deque(maxlen=KEPT)
        now = int(time.time())
        if not kept or kept[-1].at != now:
            kept.append(Second(now))
        return kept[-1]

    def last_minutes(self, model: str) -> list[Second]:
        """What happened, second by second; seconds without a request are left out."""
        since = time.time() - KEPT
        return [s for s in self._seconds.get(model, ()) if s.at >= since]

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
