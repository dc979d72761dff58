"""The distribution of a feature in the reference and in a window, side by side. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from monitoring.findings import Finding
from monitoring.report_words import count, percent, said, short, text
from serving import words

if TYPE_CHECKING:
    from monitoring.profile import Profile, Reference
    from monitoring.values import Floats

BARS = 20
"""Of numbers, beside one for what lies below and one for what lies above the reference."""
CATEGORIES = 8
"""That are drawn; the others together."""
TAIL = 0.005
"""Share of the reference at either end that goes into the last bar."""


@dataclass(frozen=True)
class Bar:
    """A range of numbers, one number, or a category; shares of the rows that have a value."""

    name: str
    was: float
    now: float
    new: bool = False
    """Whether the reference has nothing of the kind."""


@dataclass(frozen=True)
class Shape:
    """A distribution, then and now."""

    bars: tuple[Bar, ...]
    numeric: bool
    missing: tuple[float, float]
    """Shares of all rows."""
    rest: str = ""
    """What else the window holds, in words."""


def shape(reference: Reference, profile: Profile, column: str) -> Shape | None:
    """The distribution of one column; None for a column that the reference does not have."""
    if column in reference.numeric:
        return _numeric(reference, profile, column)
    if column in reference.categorical:
        return _categorical(reference, profile, column)
    return None


# Numbers


def _numeric(reference: Reference, profile: Profile, column: str) -> Shape:
    known, found = reference.numeric[column], profile.numeric[column]
    bars: list[Bar] = []
    if known.edges and known.min is not None and known.max is not None:
        least, most = known.min, known.max
        was, now = np.array(known.counts, float), np.asarray(found.counts, float)
        was, now = was / max(was.sum(), 1), now / max(now.sum(), 1)
        edges = known.edges
        if was[-1]:  # the largest number there is; nothing lies above it
            edges, was, now = (*edges, math.inf), np.r_[was, 0.0], np.r_[now, 0.0]
        if now[0]:
            bars.append(Bar(f"below {short(least)}", 0.0, float(now[0]), new=True))
        bars += _alone(edges, was, now) or _ranges(edges, was, now, (least, most))
        if now[-1]:
            bars.append(Bar(f"above {short(most)}", 0.0, float(now[-1]), new=True))
    odd = [
        f"{count(n, one, more)}"
        for n, one, more in (
            (found.not_numbers, "value is no number", "values are no numbers"),
            (found.infinite, "value is infinite", "values are infinite"),
        )
        if n
    ]
    return Shape(tuple(bars), True, _missing(reference, profile, known, found), ", ".join(odd))


def _is_point(low: float, high: float) -> bool:
    return high <= math.nextafter(low, math.inf)


def _alone(edges: Sequence[float], was: Floats, now: Floats) -> list[Bar]:
    """A bar for each value, where few values are all there is."""
    points = []
    for (low, high), a, b in zip(pairwise(edges), was[1:-1], now[1:-1], strict=True):
        if _is_point(low, high):
            points.append(Bar(short(low), float(a), float(b)))
        elif a or b:
            return []
    return points if len(points) <= BARS else []


def _ranges(
    begin: Sequence[float], was: Floats, now: Floats, within: tuple[float, float]
) -> list[Bar]:
    """Bars of one width; what a bin holds is spread over it evenly."""
    edges = np.array(begin)
    total = np.cumsum(was)  # was[i] lies before edges[i]
    first = max(int(np.searchsorted(total[:-1], TAIL, side="right")) - 1, 0)
    last = min(int(np.searchsorted(total[:-1], 1 - TAIL)), len(edges) - 1)
    low, high = max(edges[first], within[0]), min(edges[last], within[1])
    with np.errstate(over="ignore", invalid="ignore"):
        limits = np.linspace(low, high, BARS + 1)
    if not low < high or not np.isfinite(limits).all() or (np.diff(limits) <= 0).any():
        limits = edges[[0, -1]]
    shares = [_spread(edges, side[1:-1], limits) for side in (was, now)]
    names = [f"{short(a)} to {short(b)}" for a, b in pairwise(limits.tolist())]
    if limits[0] > within[0]:
        names[0] = f"up to {short(float(limits[1]))}"
    if limits[-1] < within[1]:
        names[-1] = f"from {short(float(limits[-2]))}"
    return [Bar(n, float(a), float(b)) for n, a, b in zip(names, *shares, strict=True)]


def _spread(edges: Floats, shares: Floats, limits: Floats) -> Floats:
    """Shares between `edges` as shares between `limits`; those at the ends take what is beyond."""
    found = np.zeros(len(limits) - 1)
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if _is_point(low, high):
            at = int(np.searchsorted(limits, low, side="right")) - 1
            found[min(max(at, 0), len(found) - 1)] += share
            continue
        cuts = np.clip(limits, low, high)
        cuts[0], cuts[-1] = low, high
        # Halves of large numbers, so that no difference of two finite ones is infinite.
        scale = 0.5 if max(abs(low), abs(high)) > 1 else 1.0
        found += share * np.diff(cuts * scale) / (high * scale - low * scale)
    return found


# Categories


def _categorical(reference: Reference, profile: Profile, column: str) -> Shape:
    known, found = reference.categorical[column], profile.categorical[column]
    before, after = max(known.values, 1), max(found.values, 1)
    bars = [
        Bar(name, was / before, int(now) / after)
        for (name, was), now in zip(known.counts.items(), found.counts, strict=True)
    ]
    bars += [Bar(name, 0.0, now / after, new=True) for name, now in found.unseen.items()]
    if found.others:
        bars.append(Bar("further unseen ones", 0.0, found.others / after, new=True))
    bars.sort(key=lambda b: (-max(b.was, b.now), b.name))
    shown, rest = bars[:CATEGORIES], bars[CATEGORIES:]
    if rest and not any(b.new for b in shown) and any(b.new for b in rest):
        # What the reference does not have is what one wants to see.
        new = next(b for b in rest if b.new)
        rest = [shown[-1], *(b for b in rest if b is not new)]
        shown = [*shown[:-1], new]
    if rest:
        name = f"{len(rest):,} others"
        shown.append(Bar(name, sum(b.was for b in rest), sum(b.now for b in rest)))
    return Shape(tuple(shown), False, _missing(reference, profile, known, found))


def _missing(
    reference: Reference, profile: Profile, known: object, found: object
) -> tuple[float, float]:
    was, now = (int(getattr(side, "missing", 0)) for side in (known, found))
    return was / max(reference.rows, 1), now / max(profile.rows, 1)


# Drawing


def figure(reference: Reference, profile: Profile, column: str, finding: Finding) -> str:
    """One distribution as a figure; empty for a column that the reference does not have."""
    found = shape(reference, profile, column)
    if found is None:
        return ""
    name = "the answers" if finding.kind == "score" else column
    was, now = found.missing
    notes = [said(finding.sentence)] if finding.sentence else []
    if was or now:
        notes.append(f"Missing: {percent(was)}, now {percent(now)}.")
    if found.rest:
        notes.append(f"{found.rest}.")
    if not found.bars:
        body = '<p class="nothing">The reference has no values of it.</p>'
    else:
        body = _upright(found.bars) if found.numeric else _lying(found.bars)
    return (
        f'<figure class="shape"><h4>{text(name)}</h4><p class="note">{" ".join(notes)}</p>'
        f"{body}</figure>"
    )


def _upright(bars: Sequence[Bar]) -> str:
    width, most = 100 / len(bars), max(max(b.was, b.now) for b in bars) or 1.0
    drawn = []
    for at, bar in enumerate(bars):
        told = f"{bar.name}: {percent(bar.was)}, now {percent(bar.now)}"
        rects = "".join(
            f'<rect class="{kind}" x="{(at + left) * width:.2f}%" width="{0.42 * width:.2f}%" '
            f'y="{100 - 100 * share / most:.2f}%" height="{100 * share / most:.2f}%"/>'
            for kind, left, share in (("was", 0.06, bar.was), (_now(bar), 0.5, bar.now))
            if share
        )
        drawn.append(f"<g><title>{escape(told)}</title>{rects}</g>")
    ends = (
        f'<span class="first">{text(bars[0].name)}</span>'
        + (f'<span class="last">{text(bars[-1].name)}</span>' if len(bars) > 1 else "")
    )  # fmt: skip
    largest = max(bars, key=lambda b: abs(b.now - b.was))
    label = (
        f"Distribution in {count(len(bars), 'bar')}. The largest change is at {largest.name}: "
        f"{percent(largest.was)} in the reference, {percent(largest.now)} now."
    )
    return (
        f'<svg class="bars" role="img" aria-label="{text(label, words.LONGEST)}">'
        f'{"".join(drawn)}</svg><div class="days" aria-hidden="true">{ends}</div>'
    )


def _now(bar: Bar) -> str:
    return "is new" if bar.new else "is"


def _lying(bars: Sequence[Bar]) -> str:
    most = max(max(b.was, b.now) for b in bars) or 1.0
    rows = []
    for bar in bars:
        badge = '<b class="badge">new</b>' if bar.new else ""
        told = f"{percent(bar.was)} in the reference, {percent(bar.now)} now"
        rows.append(
            f'<span class="name" title="{text(bar.name, words.LONGEST)}">'
            f"{text(bar.name)}{badge}</span>"
            f'<svg role="img" aria-label="{told}">'
            f'<rect class="was" width="{100 * bar.was / most:.2f}%" height="44%"/>'
            f'<rect class="{_now(bar)}" y="50%" width="{100 * bar.now / most:.2f}%" height="44%"/>'
            f'</svg><span class="number">{percent(bar.was)} → {percent(bar.now)}</span>'
        )
    return f'<div class="categories">{"".join(rows)}</div>'
