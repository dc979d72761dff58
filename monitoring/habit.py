"""What usually changes from one window to the next, so that only more than that looks broken. Pure.

In windows of a day the day of the week jumps every night, and the share of late arrivals with every
storm. A jump is a fault only where it is larger than the jumps that were seen before: between
blocks of the held-out rows, in their order, and between the last windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from monitoring.findings import Finding, Judged

KINDS = ("jump", "labels", "missing", "gone")
LAST = 30
"""Windows that are remembered."""
TOLD = 3
"""Times that somebody must have been told of a jump among them before as large a one is a habit:
the same fault a second time is one, too, and not every weekend needs an alert."""
FACTOR = 1.5
"""How many times as large as the largest one before a jump must be."""
BLOCKS = 3
"""Held-out blocks that are needed to know a habit."""
SMALLEST = 200


def sizes(rows: int) -> list[int]:
    """Sizes of blocks, in rows, for which so many held-out rows tell a habit: 200, 400, 800, ..."""
    found = []
    size = SMALLEST
    while rows // size >= BLOCKS:
        found.append(size)
        size *= 2
    return found


def largest(
    findings: Iterable[Finding], known: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The largest jump by the name of its finding, these and those that are known."""
    found = dict(known or {})
    for f in findings:
        if f.kind in KINDS:
            found[f.name] = max(found.get(f.name, 0.0), f.effect)
    return found


def usual(
    before: Sequence[Judged], held_out: Mapping[int, Mapping[str, float]], rows: int
) -> dict[str, float]:
    """The largest jumps of before, for a window of so many rows.

    `held_out` holds them by the size of its blocks; one that is much smaller than the window tells
    nothing of it.
    """
    fitting = [size for size in held_out if rows / 2 <= size <= rows]
    known = held_out[max(fitting)] if fitting else {}
    findings = [f for w in before[-LAST:] for f in w.findings if f.kind in KINDS]
    told = Counter(f.name for f in findings if f.found and f.broken)
    usual = [f for f in findings if not (f.found and f.broken)]
    for name in (n for n, times in told.items() if times >= TOLD):
        alike = (f for f in findings if f.name == name and f.found and f.broken)
        usual.append(sorted(alike, key=lambda f: -f.effect)[TOLD - 1])
    return largest(usual, known)


def tamed(findings: Iterable[Finding], known: Mapping[str, float]) -> tuple[Finding, ...]:
    """The findings; jumps that are no larger than usual are no findings any more.

    That so many values are missing stays one, but does not look broken.
    """
    return tuple(
        replace(
            f,
            found=f.kind == "missing",
            broken=False,
            sentence=f"{f.sentence}; it has {_DONE[f.kind]} by {known[f.name]:.3g} before",
        )
        if f.kind in KINDS and f.broken and f.found and f.effect < FACTOR * known.get(f.name, 0.0)
        else f
        for f in findings
    )


_DONE = {"jump": "jumped", "labels": "jumped", "missing": "differed", "gone": "been missing"}
