"""A confidence sequence as an SVG, in a page or a file of its own, in light and dark. Pure.

Everything is placed in hundredths of the plot, so that a page may stretch it to a telephone or a
wall and what is written in it keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving import words
from serving.style import DARK, LIGHT, SEQUENCE

Report = Mapping[str, Any]
WIDTH, HEIGHT = 760, 340
"""Pixels of a file."""
LEFT, RIGHT, TOP, BOTTOM = 56, 26, 66, 48
"""Of these, around the plot itself for what is written."""
SETTLED = 0.2
"""The first part of all units, whose wide intervals may reach beyond the plot."""
FARTHEST = 1.5
"""So many times the units so far may be likely needed for that point still to be drawn."""
APART = 2.0
"""Thousandths of the width below which two points are not drawn both."""
SIDE = 1000
"""Width and height that the curves are drawn in."""
ACROSS, UP = 4, 5
"""Steps between the numbers on both axes, about."""

PAIRED = ("shadow", "guard")
"""Modes in which both versions see a request."""
NOTHING = "Nothing was compared yet, so there is no plot."
WHAT = {
    "none": "share of failing answers",
    "error": "error loss",
    "brier": "Brier loss",
    "absolute": "absolute loss",
}
"""What is compared, by the metric."""


@dataclass(frozen=True)
class Point:
    """Where the sequence stood after so many units."""

    units: float
    mean: float
    low: float
    high: float


def points(report: Report) -> list[Point]:
    """The path of a report in its order, without what is no number.

    A mean by few draws may lie where no difference of shares can; it is taken to the interval.
    """
    found: list[Point] = []
    for entry in report.get("path") or ():
        if not isinstance(entry, Sequence) or len(entry) != 4:
            continue
        numbers = [v for value in entry if (v := number(value)) is not None]
        if len(numbers) < 4 or (found and numbers[0] <= found[-1].units):
            continue
        units, mean, low, high = numbers
        found.append(Point(units, min(max(mean, low), high), low, high))
    return found


def number(value: Any) -> float | None:
    """A finite number of a report, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def unit_name(report: Report) -> str:
    """What one step on the horizontal axis is, in the plural."""
    paired = report.get("mode") in PAIRED
    if report.get("metric") == "none":
        return "requests that both saw" if paired else "units of both arms"
    return "labelled requests that both saw" if paired else "labelled units of both arms"


def what(report: Report) -> str:
    """What is compared, in a few words."""
    return WHAT.get(str(report.get("metric")), "decisive difference")


def confidence(report: Report) -> str:
    """How sure the interval is."""
    return words.percent(1 - (number(report.get("level")) or 0.05))


def in_words(report: Report, path: Sequence[Point]) -> str:
    """All that the plot of these points shows, for who cannot see it; not escaped."""
    who = _arms(report)
    if not path:
        return f"No {what(report)} was compared yet, so there is nothing to draw."
    last = path[-1]
    margin = number(report.get("margin")) or 0.0
    stands = "lies below" if last.high < margin else "does not lie below"
    if last.low > margin:
        stands = "lies above"
    return (
        f"Difference of the {what(report)}, {who}, after {last.units:,.0f} {unit_name(report)}: "
        f"{words.signed(last.mean)}, {confidence(report)} interval from {words.signed(last.low)} "
        f"to {words.signed(last.high)}, valid at any time. "
        f"It {stands} the threshold {margin:g}, below which the challenger is good enough."
    )


def _arms(report: Report) -> str:
    challenger, champion = (int(number(report.get(a)) or 0) for a in ("challenger", "champion"))
    return f"v{challenger} minus v{champion}"


# Scales


@dataclass(frozen=True)
class Frame:
    """The values at the plot's four sides."""

    right: float
    bottom: float
    top: float
    margin: float
    likely: float | None = None
    """Units at which a verdict is likely, where that lies in the plot."""

    def x(self, units: float) -> float:
        """Hundredths of the width."""
        return 100 * units / self.right

    def y(self, value: float) -> float:
        """Hundredths of the height, from the top."""
        return 100 * (self.top - value) / (self.top - self.bottom)


def frame(report: Report, path: Sequence[Point]) -> Frame:
    """Such that the last intervals, no difference and the threshold are seen well.

    Of the first intervals, which are the widest, only the means count; they leave the plot.
    There must be a point.
    """
    last, margin = path[-1], number(report.get("margin")) or 0.0
    settled = [p for p in path if p.units >= SETTLED * last.units]
    values = [0.0, margin, *(v for p in settled for v in (p.low, p.high))]
    low, high = min(values), max(values)
    room = 0.1 * ((high - low) or 1.0)
    verdict = report.get("verdict") or {}
    more = number(verdict.get("more")) if verdict.get("decision") == "wait" else None
    near = more is not None and 0 < more <= FARTHEST * last.units
    likely = last.units + (more or 0.0) if near and not report.get("ended") else None
    # The end stands off the edge, a single point in the middle.
    right = (likely or last.units) * (1.03 if len(path) > 1 or likely else 2.0)
    return Frame(right, low - room, high + room, margin, likely)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round values between two, about so many."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.9999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [at * step for at in range(first, last + 1)]


def _large(value: float) -> str:
    for size, name in ((1e6, "M"), (1e3, "k")):
        if value >= size * 10 or (value >= size and size > 1e3):
            return f"{value / size:g}{name}"
    return f"{value:,.0f}"


# Drawing


def svg(report: Report) -> str:
    """A file of `path` with its thresholds; a sentence where nothing was compared yet.

    Well-formed XML that needs nothing beside itself; all its texts are the gateway's own.
    """
    path = points(report)
    if not path:
        return _file(report, path, 72, f'<text x="{LEFT}" y="36" dy=".35em">{NOTHING}</text>')
    name, body = _heading(report), _body(report, path)
    return _file(
        report,
        path,
        HEIGHT,
        f'<text class="name" x="12" y="22">{name}</text>'
        '<rect class="band" x="12" y="35" width="20" height="10"/>'
        f'<path class="mean" d="M12 40H32"/><text x="38" y="44">{_legend(report)}</text>'
        f'<svg x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}" overflow="visible">{body}</svg>',
    )


def inline(report: Report) -> str:
    """The same for a page with style.SHEET, as wide as there is room for."""
    path = points(report)
    if not path:
        return f'<p class="nothing">{NOTHING}</p>'
    key = (
        '<svg class="key" viewBox="0 0 24 12" aria-hidden="true">'
        '<rect class="band" width="24" height="12"/><path class="mean" d="M1 6H23"/></svg>'
    )
    picture = f"{_about(report, path)}{_body(report, path)}"
    return (
        f'<figure class="sequence"><figcaption><b>{_heading(report)}</b>'
        f"<span>{key}{_legend(report)}</span></figcaption>"
        f'<div class="canvas"><svg role="img">{picture}</svg></div></figure>'
    )


def _file(report: Report, path: Sequence[Point], height: int, body: str) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="sequence" role="img" '
        f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">{_about(report, path)}'
        f"<style>.sequence {{ color-scheme: light dark; {LIGHT} }}\n"
        f"@media (prefers-color-scheme: dark) {{ .sequence {{ {DARK} }} }}\n{SEQUENCE}</style>"
        f'<rect class="paper" width="100%" height="100%"/>{body}</svg>'
    )


def _about(report: Report, path: Sequence[Point]) -> str:
    return f"<title>Confidence sequence</title><desc>{in_words(report, path)}</desc>"


def _heading(report: Report) -> str:
    name = what(report)
    return f"{name[:1].upper()}{name[1:]}, {_arms(report)}"


def _legend(report: Report) -> str:
    return f"mean and {confidence(report)} interval"


def _body(report: Report, path: Sequence[Point]) -> str:
    at = frame(report, path)
    return (
        f"{_grid(at)}{_thresholds(at)}{_curves(path, at)}{_ahead(path[-1], at)}{_said(at)}"
        f"{_end(path, at)}{_axis(at, unit_name(report))}"
    )


def _grid(at: Frame) -> str:
    found = ticks(at.bottom, at.top, UP)
    step = found[1] - found[0] if len(found) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return "".join(
        f'<line class="rule" x1="0" x2="100%" y1="{at.y(v):.2f}%" y2="{at.y(v):.2f}%"/>'
        f'<text x="-8" y="{at.y(v):.2f}%" dy=".35em" text-anchor="end">'
        f"{words.signed(v, digits) if abs(v) > step / 2 else 0}</text>"
        for v in found
    )


def _thresholds(at: Frame) -> str:
    y = at.y(at.margin)
    zero = at.y(0.0)
    none = f'<line class="none" x1="0" x2="100%" y1="{zero:.2f}%" y2="{zero:.2f}%"/>'
    return (
        f'<rect class="enough" width="100%" y="{y:.2f}%" height="{100 - y:.2f}%"/>'
        f"{none if at.margin else ''}"
        f'<line class="margin" x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'
    )


def _said(at: Frame) -> str:
    """The thresholds' names: above the upper one and below the lower, so that they never meet."""
    found = _beside(at.y(at.margin), "-.5em", f"good below {at.margin:g}")
    return found + (_beside(at.y(0.0), "1.15em", "no difference") if at.margin else "")


def _beside(y: float, off: str, text: str) -> str:
    return f'<text class="says" x="6" y="{y:.2f}%" dy="{off}">{text}</text>'


def _thinned(path: Sequence[Point], at: Frame) -> list[Point]:
    found: list[Point] = []
    for point in path:
        if not found or SIDE * (point.units - found[-1].units) / at.right >= APART:
            found.append(point)
    if found[-1] is not path[-1]:
        found.append(path[-1])
    return found


def _curves(path: Sequence[Point], at: Frame) -> str:
    """Band, its edges and the mean, stretched; what leaves the plot is cut off."""
    if len(path) == 1:
        return ""

    shown = _thinned(path, at)
    xs = [f"{SIDE / 100 * at.x(p.units):.1f}" for p in shown]
    low, mean, high = (
        [f"{x} {SIDE / 100 * at.y(v):.1f}" for x, v in zip(xs, values, strict=True)]
        for values in zip(*((p.low, p.mean, p.high) for p in shown), strict=True)
    )
    band = "L".join([*high, *reversed(low)])
    edges = f"M{'L'.join(high)}M{'L'.join(low)}"
    return (
        f'<svg width="100%" height="100%" viewBox="0 0 {SIDE} {SIDE}" preserveAspectRatio="none">'
        f'<path class="band" d="M{band}Z"/><path class="edge" d="{edges}"/>'
        f'<path class="mean" d="M{"L".join(mean)}"/></svg>'
    )


def _end(path: Sequence[Point], at: Frame) -> str:
    """The last mean as a dot; where it is the only one, its interval too."""
    last = path[-1]
    x, y = at.x(last.units), at.y(last.mean)
    reach = ""
    if len(path) == 1:
        ends = f'y1="{at.y(last.high):.2f}%" y2="{at.y(last.low):.2f}%"'
        reach = f'<line class="reach" x1="{x:.2f}%" x2="{x:.2f}%" {ends}/>'
    return f'{reach}<circle class="last" cx="{x:.2f}%" cy="{y:.2f}%" r="5"/>'


def _ahead(last: Point, at: Frame) -> str:
    """The units that are likely still needed."""
    if at.likely is None:
        return ""
    now, then = at.x(last.units), at.x(at.likely)
    return (
        f'<rect class="future" x="{now:.2f}%" width="{100 - now:.2f}%" height="100%"/>'
        f'<line class="likely" x1="{then:.2f}%" x2="{then:.2f}%" y1="0" y2="100%"/>'
        f'<text x="{then:.2f}%" y="0" dy="-6" text-anchor="end">likely decided</text>'
    )


def _axis(at: Frame, name: str) -> str:
    found = "".join(
        f'<line class="none" x1="{at.x(v):.2f}%" x2="{at.x(v):.2f}%" y1="100%" y2="100%" '
        f'transform="translate(0 5)"/><text x="{at.x(v):.2f}%" y="100%" dy="17" '
        f'text-anchor="middle">{_large(v)}</text>'
        for v in ticks(0.0, at.right, ACROSS)
        if float(v).is_integer()
    )
    return f'{found}<text x="100%" y="100%" dy="37" text-anchor="end">{name}</text>'
