"""The share of the traffic that a challenger gets beside the champion, by the ledger. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from registry.ledger import Entry

MODES = ("canary", "ab", "shadow")
"""canary: a share that grows; ab: a fixed share; shadow: a copy, whose answer nobody gets."""
SHADOW = "shadow"
GUARD = "guard"
"""No mode of an experiment: what a gateway does by itself after a promotion. The former version is
the champion and sees copies, the live one is on trial."""
BEGIN, WEIGHT, STOP = "traffic", "weight", "stop"
"""Kinds of ledger entries."""
KINDS = (BEGIN, WEIGHT, STOP)


@dataclass(frozen=True)
class Traffic:
    """An experiment that goes on."""

    champion: int
    challenger: int
    mode: str
    weight: float
    """Share of the units that the challenger answers, or in shadow mode sees; 0 to 1."""
    experiment: str
    """Hash of the entry that began it; by it keys are shuffled."""
    began: str
    """UTC, ISO 8601."""
    rule: Mapping[str, Any] = field(default_factory=dict)
    """What was agreed about its end."""
    weights: tuple[tuple[str, float], ...] = ()
    """When (UTC, ISO 8601) which weight began to hold."""


def after(before: Traffic | None, entry: Entry, production: int | None) -> Traffic | None:
    """The traffic once an entry of one of KINDS counts; what says nothing sensible changes none."""
    if entry.kind == STOP:
        return None
    weight = weight_of(entry.evidence)
    if weight is None:
        return before
    if entry.kind == WEIGHT:
        if before is None or before.challenger != entry.version:
            return before
        changed = (*before.weights, (entry.time, weight))
        return replace(before, weight=weight, weights=changed)
    mode, rule = entry.evidence.get("mode"), entry.evidence.get("rule")
    if production is None or mode not in MODES:
        return before
    return Traffic(
        production,
        entry.version,
        str(mode),
        weight,
        entry.hash,
        entry.time,
        rule if isinstance(rule, dict) else {},
        ((entry.time, weight),),
    )


def ended(before: Traffic | None, now: Traffic | None) -> dict[str, Any]:
    """What an entry is to say of the experiment that it ends beside what it does itself."""
    if before is None or now is not None:
        return {}
    about = {"experiment": before.experiment, "mode": before.mode}
    return {"ends": {**about, "challenger": before.challenger, "champion": before.champion}}


def weight_of(evidence: Mapping[str, Any]) -> float | None:
    """The weight that an entry speaks of, or None."""
    weight = evidence.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return None
    return float(weight) if math.isfinite(weight) and 0 < weight <= 1 else None
