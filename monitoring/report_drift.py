"""How far the data moved, as the report draws it: a heat map over features and windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitoring.findings import Finding, Judged
from monitoring.report_quality import axis
from monitoring.report_words import FEATURE_KINDS, NONE, TIMES, count, day, ratio, text, times
from serving import words

ROWS = 25
"""Features that are drawn; the table has them all."""
STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Thresholds from which on a cell has the next colour."""
WIDEST, NARROWEST = 2.75, 20.0
"""Rem that a column has at most, and what all of them may have at least, for the dates below."""

_WHOLE = (("score", "the answers"), ("labels", "the outcomes"),
          ("reversed", "their agreement"))  # fmt: skip
"""Kinds about the window that have a row of their own, above those of the features."""


@dataclass(frozen=True)
class Cell:
    """One feature in one window."""

    ratio: float
    """The largest effect in thresholds."""
    kind: str
    """Of that finding."""
    found: bool
    broken: bool


@dataclass(frozen=True)
class Row:
    """One feature over the windows, None where it was not compared."""

    name: str
    cells: tuple[Cell | None, ...]

    @property
    def rank(self) -> tuple[float, float, str]:
        """Largest newest difference first, then the largest before."""
        every = [c.ratio for c in self.cells if c]
        newest = self.cells[-1]
        return -(newest.ratio if newest else -1.0), -max(every, default=0.0), self.name


def rows(history: Sequence[Judged]) -> tuple[list[Row], list[Row]]:
    """Rows about the whole window, and those of all features, the largest difference first."""
    by_window = [_by_feature(w.findings) for w in history]
    names = {name for found in by_window for name in found}
    features = [Row(n, tuple(_cell(w.get(n, ())) for w in by_window)) for n in names]
    whole = []
    for kind, name in _WHOLE:
        cells = tuple(_cell([f for f in w.findings if f.kind == kind]) for w in history)
        if any(cells):
            whole.append(Row(name, cells))
    return whole, sorted(features, key=lambda row: row.rank)


def _by_feature(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.kind in FEATURE_KINDS:
            found.setdefault(finding.column, []).append(finding)
    return found


def _cell(findings: Iterable[Finding]) -> Cell | None:
    listed = list(findings)
    if not listed:
        return None
    most = max(listed, key=lambda f: (f.found, ratio(f)))
    return Cell(
        ratio(most),
        most.kind,
        any(f.found for f in listed),
        any(f.found and f.broken for f in listed),
    )


def step(value: float) -> int:
    """The number of the colour, from 0 to the number of STEPS."""
    return sum(value >= limit for limit in STEPS)


# Drawing


def heat_map(history: Sequence[Judged]) -> str:
    """The map with its key; empty where no feature was compared in any window."""
    whole, features = rows(history)
    shown = features[:ROWS]
    if not whole and not shown:
        return ""
    body = "".join(_row(row, history, special=True) for row in whole)
    body += "".join(_row(row, history) for row in shown)
    more = len(features) - len(shown)
    rest = (
        f'<p class="soft">{count(more, "feature")} with smaller differences '
        f"{'is' if more == 1 else 'are'} not drawn; the table below has "
        f"{'it' if more == 1 else 'them'}.</p>"
        if more > 0
        else ""
    )
    widest = f"{max(WIDEST * len(history), NARROWEST):g}rem"
    return (
        f'<div class="heat" style="--widest:{widest}">{body}'
        f"<span></span>{axis(history)}<span></span></div>{rest}{_KEY}"
    )


def _row(row: Row, history: Sequence[Judged], *, special: bool = False) -> str:
    size = len(row.cells)
    width = 100 / size
    body = []
    for at, cell in enumerate(row.cells):
        left = f'x="{at * width:.3f}%" width="{width:.3f}%"'
        if cell is None:
            body.append(f'<rect class="none" {left} height="100%"/>')
            continue
        rect = f'<rect class="h{step(cell.ratio)}" {left} height="100%"/>'
        if not cell.found:
            body.append(rect)
            continue
        looks = ", looks broken" if cell.broken else ""
        said = f"{day(history[at])}: {cell.kind} {times(cell.ratio)}{looks}"
        sign = _sign((at + 0.5) * width, broken=cell.broken)
        body.append(f"<g><title>{text(said)}</title>{rect}{sign}</g>")
    newest = row.cells[-1]
    value = times(newest.ratio) if newest else NONE
    named = " special" if special else ""
    return (
        f'<span class="name{named}" title="{text(row.name, words.LONGEST)}">{text(row.name)}</span>'
        f'<svg class="cells" role="img" aria-label="{_label(row)}">{"".join(body)}</svg>'
        f'<span class="number{" bad" if newest and newest.found else ""}">{value}</span>'
    )


def _sign(x: float, *, broken: bool) -> str:
    if not broken:
        return f'<circle class="sign" cx="{x:.3f}%" cy="50%" r="2.2"/>'
    return (
        f'<svg x="{x:.3f}%" y="50%" overflow="visible">'
        '<path class="cross" d="M-3-3L3 3M3-3L-3 3"/></svg>'
    )


def _label(row: Row) -> str:
    judged = [c for c in row.cells if c]
    found = sum(c.found for c in judged)
    newest = row.cells[-1]
    now = f"{times(newest.ratio)} the threshold now" if newest else "not compared now"
    broken = sum(c.broken for c in judged)
    looks = f", looked broken in {broken}" if broken else ""
    said = f"{row.name}: {now}; found in {found} of {count(len(judged), 'window')}{looks}"
    return text(said, words.LONGEST)


def _key() -> str:
    names = ("", *(f"{s:g}{TIMES}" for s in STEPS))
    squares = "".join(f'<i class="h{at}"></i>{name}' for at, name in enumerate(names[1:], 1))
    return (
        '<p class="note heat-key"><span>Effect in thresholds, from: '
        f'<i class="h0"></i>0{squares}</span>'
        '<span><svg viewBox="-8 -8 16 16" aria-hidden="true"><rect class="h4" x="-8" y="-8" '
        'width="16" height="16"/><circle class="sign" r="2.2"/></svg>found</span>'
        '<span><svg viewBox="-8 -8 16 16" aria-hidden="true"><rect class="h5" x="-8" y="-8" '
        'width="16" height="16"/><path class="cross" d="M-3-3L3 3M3-3L-3 3"/></svg>'
        'found, looks broken</span><span><i class="none"></i>not compared</span></p>'
    )


_KEY = _key()
