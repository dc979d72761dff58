"""The last minutes as plots for the gateway's page: inline SVG in HTML, with axes and units. Pure.

The SVG is stretched to the width there is; everything that is written stands beside it as HTML, so
that it has the same size on a telephone as on a wall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.metrics import Second

MINUTES = 10
STEP = 5
"""Seconds that one point of a plot stands for."""
POINTS = MINUTES * 60 // STEP - 1
"""One less than ten minutes hold: of the oldest step a part may be forgotten already."""

LATELY = 60 // STEP
"""Points of the last minute."""

FLAG = 14.0
"""Hundredths of the width that a word above a plot takes."""

Numbers = Sequence[float | None]


@dataclass(frozen=True)
class Minutes:
    """What happened in the last whole steps, the oldest first; each sequence has POINTS numbers."""

    end: int
    """When the last step ended, in seconds since 1970."""
    requests: Sequence[float]
    """Answered requests per second."""
    errors: Sequence[float]
    """Requests without a model's answer, per second."""
    mean: Numbers
    """Milliseconds; None where nothing was answered."""
    longest: Numbers
    marks: Sequence[tuple[float, int]] = ()
    """Where on the time axis (0 to POINTS) the route was changed, and to which version."""
    unknown: float = 0.0
    """The part of the time axis before the gateway was started, from 0 to 1."""

    @property
    def answered(self) -> int:
        """Requests in all of the time."""
        return round(sum(self.requests) * STEP)

    @property
    def failed(self) -> int:
        """Requests without an answer in all of the time."""
        return round(sum(self.errors) * STEP)


def gather(
    seconds: Iterable[Second], now: float, up: float, swaps: Iterable[tuple[float, int]] = ()
) -> Minutes:
    """Seconds in steps on a fixed grid, so that a plot moves and does not flicker.

    `up` is for how many seconds the gateway runs, `swaps` when the route was changed and
    to which version.
    """
    end = int(now) // STEP * STEP
    start = end - POINTS * STEP
    requests, errors = [0] * POINTS, [0] * POINTS
    total, longest = [0.0] * POINTS, [0.0] * POINTS
    for second in seconds:
        if start <= second.at < end:
            at = (second.at - start) // STEP
            requests[at] += second.requests
            errors[at] += second.errors
            total[at] += second.total
            longest[at] = max(longest[at], second.longest)
    places = [((at - start) / STEP, version) for at, version in swaps]
    return Minutes(
        end,
        [n / STEP for n in requests],
        [n / STEP for n in errors],
        [t / n * 1000 if n else None for t, n in zip(total, requests, strict=True)],
        [w * 1000 if n else None for w, n in zip(longest, requests, strict=True)],
        [(at, version) for at, version in places if 0 <= at <= POINTS],
        min(max((now - up - start) / (POINTS * STEP), 0.0), 1.0),
    )


def rate(value: float) -> str:
    """A number of requests per second, as people write it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(milliseconds: float) -> str:
    """A time from milliseconds to seconds, with its unit."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.2g} ms"


# The three plots


def requests(minutes: Minutes) -> str:
    """Answered requests per second."""
    values = minutes.requests
    now, most = sum(values[-LATELY:]) / LATELY, max(values)
    figure = f"<b>{rate(now)}</b> per second, this minute"
    if not minutes.answered:
        text, label = "no requests in the last 10 minutes", "No requests in the last 10 minutes."
    else:
        text = f"highest {rate(most)}, {minutes.answered:,} in 10 minutes"
        label = (
            f"Requests per second over the last 10 minutes: {rate(now)} in the last "
            f"minute, {rate(most)} at most, "
            f"{minutes.answered:,} requests in all."
        )
    top = _nice(most)
    scale = _linear(top)
    body = _area(values, scale) + _line(values, scale, "line") if minutes.answered else ""
    ticks = [(0.0, "0"), (top / 2, f"{top / 2:g}"), (top, f"{top:g}/s")]
    places = [(scale(v), says) for v, says in ticks]
    return _figure(_Drawing("Requests", figure, text, label, body, places), minutes)


def latency(minutes: Minutes) -> str:
    """Mean and longest time of an answer; a tenfold is a step, because the two are far apart."""
    mean, longest = minutes.mean, minutes.longest
    known = [v for v in mean if v is not None]
    if not known:
        label = "Latency: no answers in the last 10 minutes, so none was measured."
        ticks = [(100.0, "1 ms"), (50.0, "10 ms"), (0.0, "100 ms")]
        drawing = _Drawing(
            "Latency", "<b>none</b> measured", "no answers in the last 10 minutes", label, "", ticks
        )
        return _figure(drawing, minutes)
    weights = [n for n, v in zip(minutes.requests, mean, strict=True) if v is not None]
    average = sum(v * n for v, n in zip(known, weights, strict=True)) / sum(weights)
    most = max(v for v in longest if v is not None)
    low = math.floor(math.log10(max(min(known), 0.01)))
    high = max(math.ceil(math.log10(max(most, 0.01))), low + 2)
    scale = _logarithmic(low, high)
    body = _line(longest, scale, "line thin") + _line(mean, scale, "line")
    ticks = [(scale(10.0**e), duration(10.0**e)) for e in range(low, high + 1)]
    figure = f"<b>{duration(average)}</b> mean"
    text = f"{_key('line')}mean {_key('line thin')}longest {duration(most)}"
    label = (
        f"Latency over the last 10 minutes, on a logarithmic scale: mean {duration(average)}, "
        f"longest {duration(most)}."
    )
    return _figure(_Drawing("Latency", figure, text, label, body, ticks), minutes)


def errors(minutes: Minutes) -> str:
    """Requests that got no model's answer, per second."""
    values, count = minutes.errors, minutes.failed
    top = _nice(max(values))
    scale = _linear(top)
    if not count:
        figure, text = "<b>0</b>", "none in the last 10 minutes"
        label = "Errors: none in the last 10 minutes."
        body = ""
    else:
        share = count / (count + minutes.answered)
        figure = f"<b>{count:,}</b>"
        text = f"{100 * share:.3g} % of all requests, at most {rate(max(values))} per second"
        label = (
            f"Errors over the last 10 minutes: {count:,} requests without an answer, "
            f"{100 * share:.3g} % of all, at most {rate(max(values))} per second."
        )
        body = _bars(values, scale)
    ticks = [(scale(v), s) for v, s in ((0.0, "0"), (top / 2, f"{top / 2:g}"), (top, f"{top:g}/s"))]
    return _figure(_Drawing("Errors", figure, text, label, body, ticks), minutes)


# Drawing; x from 0 to POINTS, y from 0 (top) to 100


def _key(kind: str) -> str:
    """A piece of a line, before the name of what it stands for."""
    path = f'<path class="{kind}" d="M1 4H23"/>'
    return f'<svg class="key" viewBox="0 0 24 8" aria-hidden="true">{path}</svg>'


def _nice(value: float) -> float:
    """1, 2 or 5 times a power of ten, not less than `value`; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * 0.9999)


def _linear(top: float) -> Callable[[float], float]:
    return lambda v: 100 - 100 * min(v / top, 1.0)


def _logarithmic(low: int, high: int) -> Callable[[float], float]:
    return lambda v: 100 - 100 * (math.log10(max(v, 10.0**low)) - low) / (high - low)


def _runs(values: Numbers) -> list[list[tuple[float, float]]]:
    """Neighbouring points, each at the middle of its step; a gap ends a run."""
    found: list[list[tuple[float, float]]] = [[]]
    for at, value in enumerate(values):
        if value is not None:
            found[-1].append((at + 0.5, value))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _line(values: Numbers, scale: Callable[[float], float], kind: str) -> str:
    parts = []
    for run in _runs(values):
        points = [f"{x:g} {scale(v):.2f}" for x, v in run]
        # A single point is a line of no length, which a round end makes a dot.
        parts.append("M" + "L".join(points if len(points) > 1 else points * 2))
    return f'<path class="{kind}" d="{"".join(parts)}"/>'


def _area(values: Sequence[float], scale: Callable[[float], float]) -> str:
    points = "L".join(f"{x + 0.5:g} {scale(v):.2f}" for x, v in enumerate(values))
    return f'<path class="area" d="M0.5 100L{points}L{POINTS - 0.5} 100Z"/>'


def _bars(values: Sequence[float], scale: Callable[[float], float]) -> str:
    # A small number is still seen.
    tops = ((x, min(scale(v), 97.0)) for x, v in enumerate(values) if v)
    return "".join(
        f'<rect class="bar" x="{x + 0.1:g}" y="{y:.2f}" width="0.8" height="{100 - y:.2f}"/>'
        for x, y in tops
    )


@dataclass(frozen=True)
class _Drawing:
    """A plot, and what is said of it; `text` stands in its middle where there is no body."""

    title: str
    figure: str
    """One number that matters most, as HTML."""
    text: str
    label: str
    """All of it in words, for who cannot see it."""
    body: str
    ticks: Sequence[tuple[float, str]]
    """Places on the vertical axis, and what is written there."""


def _figure(drawing: _Drawing, minutes: Minutes) -> str:
    beside = "".join(
        f'<span style="top:{y:.2f}%">{escape(says)}</span>' for y, says in drawing.ticks
    )
    flags = "".join(f'<span style="left:{at:.2f}%">{text}</span>' for at, text in _flags(minutes))
    shown, empty = drawing.text, ""
    if not drawing.body:
        shown = "&nbsp;"
        empty = f'<p class="empty"><span>{drawing.text}</span></p>'
    return (
        f'<figure class="plot"><figcaption><h3>{drawing.title}</h3>'
        f'<p class="figure">{drawing.figure}</p><p class="note">{shown}</p></figcaption>'
        f'<div class="canvas"><div class="y" aria-hidden="true">{beside}</div>'
        f'{_svg(drawing, minutes)}<div class="flags" aria-hidden="true">{flags}</div>{empty}</div>'
        '<div class="x" aria-hidden="true"><span>10 min ago</span><span>5 min</span>'
        "<span>now</span></div></figure>"
    )


def _flags(minutes: Minutes) -> list[tuple[float, str]]:
    """Words above the plot and where (0 to 100); of those that would overlap, the newest."""
    wanted = [(100 * x / POINTS, f"\u2192 v{version}") for x, version in minutes.marks]
    if 0.05 < minutes.unknown < 0.95:
        wanted.insert(0, (100 * minutes.unknown, "started"))
    found: list[tuple[float, str]] = []
    for at, text in reversed(wanted):
        if not found or found[-1][0] - at >= FLAG:
            found.append((at, text))
    return found


def _svg(drawing: _Drawing, minutes: Minutes) -> str:
    label = drawing.label
    lines = "".join(f'<path class="grid" d="M0 {y:.2f}H{POINTS}"/>' for y, _ in drawing.ticks)
    marks = "".join(f'<path class="mark" d="M{x:.2f} 0V100"/>' for x, _ in minutes.marks)
    label += "".join(f" The route was changed to v{version}." for _, version in minutes.marks)
    away = ""
    if minutes.unknown:
        away = f'<rect class="away" width="{minutes.unknown * POINTS:.2f}" height="100"/>'
        label += " The gateway was started within this time."
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {POINTS} 100" '
        f'preserveAspectRatio="none">{away}{lines}{drawing.body}{marks}</svg>'
    )
