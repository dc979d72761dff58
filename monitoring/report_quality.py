"""How well the model did, as the report draws it: the metric over the windows, and slices. Pure.

Curves are stretched to the width there is; what is written stands beside them as HTML, so that it
keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from monitoring.findings import Finding, Judged, Measured, Quality
from monitoring.report_words import count, day, figure, short, text
from registry import metrics
from registry.problems import METRICS
from serving import sequence, words

FLAG = 12.0
"""Hundredths of the width that a word above the plot takes."""
DOTS = 31
"""Windows up to which each has a dot."""
COLUMNS = 6
"""Columns of slices that are drawn."""

Value = float | None


@dataclass(frozen=True)
class Point:
    """One window in the plot; what is None is not known."""

    window: Judged
    measured: Measured | None
    estimate: Value
    held_out: Value
    limit: Value
    """From here on a worse metric is told of."""
    found: bool


# What is drawn


def metric(window: Judged, history: Sequence[Judged]) -> str:
    """The name of the metric that decides, empty where none is known."""
    for seen in (window, *reversed(history)):
        for finding in seen.findings:
            if finding.kind in ("performance", "estimate"):
                return finding.measure
        for quality in _first(seen.quality, seen.version):
            if quality.metrics:
                return quality.metrics[0].metric
    guesses = (g for seen in (window, *reversed(history)) for g in seen.estimates)
    return next((name for g in guesses for name in g.metrics), "")


def greater_is_better(name: str) -> bool | None:
    """Whether more of a metric is better; None for one that is not the platform's."""
    for problem, names in METRICS.items():
        if name in names:
            return metrics.get(name, problem).greater_is_better
    return None


def points(history: Sequence[Judged], name: str) -> list[Point]:
    """One for each window, of the version that was live in it."""
    better = greater_is_better(name)
    levels: dict[int, tuple[float, float]] = {}
    for window in history:
        if (known := _levels(window, name, better)) is not None:
            levels[window.version] = known
    found = []
    for window in history:
        level = _levels(window, name, better) or levels.get(window.version)
        held_out, limit = level or (None, None)
        told = _finding(window, "performance", name) or _finding(window, "estimate", name)
        found.append(
            Point(
                window,
                _measured(window, name),
                _estimate(window, name),
                held_out,
                limit,
                told is not None and told.found,
            )
        )
    return found


def _first(parts: Iterable[Quality], version: int) -> list[Quality]:
    return sorted(parts, key=lambda q: (q.version != version, q.version))


def _measured(window: Judged, name: str) -> Measured | None:
    for quality in window.quality:
        if quality.version == window.version:
            for known in quality.metrics:
                if known.metric == name and math.isfinite(known.value):
                    return known
    return None


def _estimate(window: Judged, name: str) -> Value:
    for guess in window.estimates:
        if guess.version == window.version and math.isfinite(guess.metrics.get(name, math.nan)):
            return guess.metrics[name]
    return None


def _finding(window: Judged, kind: str, name: str) -> Finding | None:
    return next((f for f in window.findings if f.kind == kind and f.measure == name), None)


def _levels(window: Judged, name: str, better: bool | None) -> tuple[float, float] | None:
    """The metric on the held-out rows and the threshold, from what a finding compared."""
    known = _measured(window, name)
    for kind, value in (
        ("performance", None if known is None else known.value),
        ("estimate", _estimate(window, name)),
    ):
        told = _finding(window, kind, name)
        if told is None or value is None or better is None or not math.isfinite(told.effect):
            continue
        side = 1.0 if better else -1.0
        base = value + side * told.effect
        return base, base - side * told.threshold
    return None


# The plot


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Hundredths from the top; what lies outside leaves the plot."""
        return min(max(100 * (self.high - value) / (self.high - self.low), -4.0), 104.0)


def plot(history: Sequence[Judged], name: str) -> str:
    """The metric of the live version over the windows as a figure; empty without a value."""
    shown = points(history, name)
    if not any(p.measured or p.estimate is not None for p in shown):
        return ""
    scale = _scale(shown)
    ticks = sequence.ticks(scale.low, scale.high, 4)
    beside = "".join(
        f'<span style="top:{scale(v):.2f}%">{text(_tick(v, ticks))}</span>' for v in ticks
    )
    lines = "".join(f'<path class="grid" d="M0 {scale(v):.2f}H{len(shown)}"/>' for v in ticks)
    flags = _flags(shown)
    changes = "".join(f'<path class="mark" d="M{at} 0V100"/>' for at, _ in flags)
    words_above = "".join(
        f'<span style="left:{100 * at / len(shown):.2f}%">→ v{version}</span>'
        for at, version in _apart(flags, len(shown))
    )
    return (
        f'<figure class="plot wide-plot"><figcaption><p class="note">{_legend(shown)}</p>'
        f'</figcaption><div class="canvas"><div class="y" aria-hidden="true">{beside}</div>'
        f'<svg role="img" aria-label="{_label(shown, name)}" viewBox="0 0 {len(shown)} 100" '
        f'preserveAspectRatio="none">{lines}{changes}{_curves(shown, scale)}</svg>'
        f'<div class="flags" aria-hidden="true">{words_above}</div></div>'
        f"{axis(history)}</figure>"
    )


def axis(history: Sequence[Judged]) -> str:
    """When the first, the middle and the last window began, below what has one place for each."""
    size = len(history)
    kinds = {0: "first", size // 2: "middle", size - 1: "last"} if size > 2 else {0: "first"}
    if size == 2:
        kinds[1] = "last"
    spans = "".join(
        f'<span class="{kind}" style="left:{100 * (at + 0.5) / size:.2f}%">'
        f"{text(day(history[at], year=kind != 'middle'))}</span>"
        for at, kind in sorted(kinds.items())
    )
    return f'<div class="days" aria-hidden="true">{spans}</div>'


def _scale(shown: Sequence[Point]) -> _Scale:
    """All values, and of the intervals what is not many times as wide as the others."""
    middle = [p.measured.value for p in shown if p.measured]
    middle += [v for p in shown for v in (p.estimate, p.held_out, p.limit) if v is not None]
    ends = [(p.measured.low, p.measured.high) for p in shown if p.measured]
    ends = [(a, b) for a, b in ends if math.isfinite(a) and math.isfinite(b)]
    usual = median(b - a for a, b in ends) if ends else 0.0
    low = min([*middle, *(max(a, min(middle) - 2 * usual) for a, _ in ends)])
    high = max([*middle, *(min(b, max(middle) + 2 * usual) for _, b in ends)])
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return _Scale(low - room, high + room)


def _tick(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(value) or 1.0
    digits = min(max(0, -math.floor(math.log10(step) + 1e-9)), 6)
    return f"{value:,.{digits}f}".replace("-", "\u2212")


def _curves(shown: Sequence[Point], scale: _Scale) -> str:
    measured = [p.measured for p in shown]
    band = "".join(_band(run, scale) for run in _runs(measured))
    body = [
        band,
        _steps([p.held_out for p in shown], scale, "held-out"),
        _steps([p.limit for p in shown], scale, "limit"),
        _line([p.estimate for p in shown], scale, "guess"),
        _line([m.value if m else None for m in measured], scale, "line"),
    ]
    for at, p in enumerate(shown):
        dots: list[tuple[float, str]] = []
        if len(shown) <= DOTS and p.estimate is not None:
            dots.append((p.estimate, "guess" if p.measured or not p.found else "told"))
        if p.measured and (len(shown) <= DOTS or p.found):
            dots.append((p.measured.value, "told" if p.found else "measured"))
        body += [f'<path class="dot {kind}" d="{_dot(at, scale(v))}"/>' for v, kind in dots]
    return "".join(body)


def _dot(at: int, y: float) -> str:
    """A line of no length, which a round end makes a dot however the plot is stretched."""
    return f"M{at + 0.5} {y:.2f}h0"


def _runs(values: Sequence[Measured | None]) -> list[list[tuple[int, Measured]]]:
    found: list[list[tuple[int, Measured]]] = [[]]
    for at, value in enumerate(values):
        if value is not None and math.isfinite(value.low) and math.isfinite(value.high):
            found[-1].append((at, value))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _band(run: Sequence[tuple[int, Measured]], scale: _Scale) -> str:
    if len(run) == 1:
        at, one = run[0]
        ends = f"M{at + 0.5} {scale(one.high):.2f}V{scale(one.low):.2f}"
        return f'<path class="reach" d="{ends}"/>'
    above = [f"{at + 0.5} {scale(m.high):.2f}" for at, m in run]
    below = [f"{at + 0.5} {scale(m.low):.2f}" for at, m in reversed(run)]
    return f'<path class="band" d="M{"L".join([*above, *below])}Z"/>'


def _line(values: Sequence[Value], scale: _Scale, kind: str) -> str:
    path, pen = "", "M"
    for at, value in enumerate(values):
        path += "" if value is None else f"{pen}{at + 0.5} {scale(value):.2f}"
        pen = "M" if value is None else "L"
    return f'<path class="{kind}" d="{path}"/>' if path else ""


def _steps(values: Sequence[Value], scale: _Scale, kind: str) -> str:
    """A level for each window, neighbours of one level as one line."""
    path, former = "", None
    for at, value in enumerate(values):
        if value is None:
            former = None
            continue
        y = f"{scale(value):.2f}"
        path += f"H{at + 1}" if y == former else f"M{at} {y}H{at + 1}"
        former = y
    return f'<path class="{kind}" d="{path}"/>' if path else ""


def _flags(shown: Sequence[Point]) -> list[tuple[int, int]]:
    versions = [p.window.version for p in shown]
    return [(at, v) for at, v in enumerate(versions) if at and v != versions[at - 1]]


def _apart(flags: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Of the words that would overlap, the newest."""
    found: list[tuple[int, int]] = []
    for at, version in reversed(flags):
        if not found or 100 * (found[-1][0] - at) / size >= FLAG:
            found.append((at, version))
    return found


_MEASURED = '<rect class="band" width="24" height="12"/><path class="line" d="M1 6H23"/>'
_GUESS = '<path class="guess" d="M1 6H23"/>'
_HELD_OUT = '<path class="held-out" d="M0 6H24"/>'
_LIMIT = '<path class="limit" d="M0 6H24"/>'


def _key(body: str) -> str:
    return f'<svg class="key" viewBox="0 0 24 12" aria-hidden="true">{body}</svg>'


def _legend(shown: Sequence[Point]) -> str:
    """What each kind of line is, with the newest level where it has one."""
    held_out = next((p.held_out for p in reversed(shown) if p.held_out is not None), None)
    limit = next((p.limit for p in reversed(shown) if p.limit is not None), None)
    parts = []
    if any(p.measured for p in shown):
        parts.append(f"{_key(_MEASURED)}measured, with its interval")
    if any(p.estimate is not None for p in shown):
        parts.append(f"{_key(_GUESS)}estimated without labels")
    if held_out is not None:
        parts.append(f"{_key(_HELD_OUT)}on the held-out rows, {short(held_out)}")
    if limit is not None:
        parts.append(f"{_key(_LIMIT)}threshold, {short(limit)}")
    if any(p.found for p in shown):
        parts.append('<i class="sign told"></i>found to be worse')
    return "".join(f"<span>{part}</span>" for part in parts)


def _label(shown: Sequence[Point], name: str) -> str:
    """All that the plot shows, for who cannot see it."""
    newest = shown[-1]
    found = f"{name} over {count(len(shown), 'window')}. "
    if newest.measured:
        m = newest.measured
        found += f"The newest: {figure(m.value)}, from {figure(m.low)} to {figure(m.high)}. "
    else:
        found += "The newest has no labels. "
    if newest.estimate is not None:
        found += f"Estimated without labels: {figure(newest.estimate)}. "
    if newest.limit is not None:
        found += f"Threshold: {figure(newest.limit)}. "
    worse = sum(p.found for p in shown)
    return text(f"{found}Worse than the threshold in {worse} of them.", words.LONGEST)


# Slices


def slices(quality: Quality) -> str:
    """The deciding metric by the values of each column, on one scale; empty where none is known."""
    every = [m for by_value in quality.slices.values() for m in by_value.values()]
    every = [m for m in every if all(map(math.isfinite, (m.value, m.low, m.high)))]
    if not every:
        return ""
    low, high = min(m.low for m in every), max(m.high for m in every)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.05

    def x(value: float) -> float:
        return 100 * (value - low + room) / (high - low + 2 * room)

    whole = quality.metrics[0].value if quality.metrics else math.nan
    columns = [
        _column(name, by_value, x, whole)
        for name, by_value in list(quality.slices.items())[:COLUMNS]
        if by_value
    ]
    more = len(quality.slices) - COLUMNS
    rest = f'<p class="soft">And {count(more, "further column")}.</p>' if more > 0 else ""
    return f'<div class="plots">{"".join(columns)}</div>{rest}'


def _column(
    name: str, by_value: Mapping[str, Measured], x: Callable[[float], float], whole: float
) -> str:
    rows = "".join(_slice(value, m, x, whole) for value, m in by_value.items())
    return f'<figure class="plot"><h4>{text(name)}</h4><div class="slices">{rows}</div></figure>'


def _slice(value: str, m: Measured, x: Callable[[float], float], whole: float) -> str:
    if not all(map(math.isfinite, (m.value, m.low, m.high))):
        return ""
    at = f"{x(m.value):.2f}%"
    middle = ""
    if math.isfinite(whole) and 0 <= x(whole) <= 100:
        middle = f'<line class="whole" x1="{x(whole):.2f}%" x2="{x(whole):.2f}%" y2="100%"/>'
    told = (
        f"{value}: {figure(m.value)}, from {figure(m.low)} to {figure(m.high)}, "
        f"{count(m.rows, 'labelled row')}"
    )
    return (
        f'<span class="name">{text(value)}</span>'
        f'<svg class="range" role="img" aria-label="{text(told, words.LONGEST)}">{middle}'
        f'<line class="reach" x1="{x(m.low):.2f}%" x2="{x(m.high):.2f}%" y1="50%" y2="50%"/>'
        f'<circle class="at" cx="{at}" cy="50%" r="4"/></svg>'
        f'<span class="number">{figure(m.value)}</span>'
        f'<span class="number soft">{m.rows:,}</span>'
    )
