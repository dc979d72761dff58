"""Where windows begin and end, by time or by count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from monitoring.sections import MonitorParams
from serving.records import Log, Window

MOST = 1000
"""Windows that one look judges; the next one goes on."""


@dataclass(frozen=True)
class Span:
    """A window that is over."""

    number: int
    since: float
    """Seconds since 1970, included."""
    until: float
    """Not included."""


def closed(
    log: Log, model: str, policy: MonitorParams, last: Span | None, now: float
) -> Iterator[Span]:
    """The windows after `last` that are over, in their order. Raises LogError.

    By time they are numbered by their place since 1970, so that every monitor means the same one;
    by count from 1 on. A number is always larger than the one before, and a window begins where
    that ended, also where params.yaml has another length by now. Rows of the same moment are never
    parted: a window by count may be longer than it should.
    """
    end = now - policy.lag
    start = last.until if last else now - policy.back_days * 86400
    for _ in range(MOST):
        if policy.window_rows is not None:
            span = _by_count(log, model, policy.window_rows, last, start, end)
        else:
            span = _by_time(log, model, policy.window_hours * 3600, last, start, end)
        if span is None:
            return
        yield span
        last, start = span, span.until


def _by_time(
    log: Log, model: str, width: float, last: Span | None, start: float, end: float
) -> Span | None:
    if last is None:
        first = log.moment(Window(model=model, since=start), 0)
        if first is None:
            return None
        place = math.floor(first / width)
        span = Span(place, place * width, (place + 1) * width)
    else:
        place = math.floor(last.until / width + 1e-9)
        span = Span(max(place, last.number + 1), last.until, (place + 1) * width)
    return span if span.until <= end else None


def _by_count(
    log: Log, model: str, rows: int, last: Span | None, start: float, end: float
) -> Span | None:
    window = Window(model=model, since=start, until=end)
    begin = start if last else log.moment(window, 0)
    until = log.moment(window, rows)
    if begin is None or until is None:
        return None
    if until <= begin:  # more rows came in one moment than a window has
        until = log.moment(Window(model=model, since=math.nextafter(begin, math.inf), until=end), 0)
        if until is None:
            return None
    return Span(last.number + 1 if last else 1, begin, until)
