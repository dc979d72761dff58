"""May this version go to Production? What each gate said, and what that comes to. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from registry.sections import GATES, GateParams
from registry.stages import Stage

TO_STAGING = ("location", "intact", "loads")
TO_TRAFFIC = (*TO_STAGING, "signature")
"""Of a challenger: it must take what the champion's callers send."""
"""The gates on the way to Staging; on the way to Production it is all of them."""


@dataclass(frozen=True)
class Check:
    """One gate's verdict; `value` and `limit` in the gate's unit, None where none applies."""

    name: str
    passed: bool
    sentence: str
    value: float | None = None
    limit: float | None = None
    overridden: bool = False
    """Whether it refused and somebody, with a reason, did not want that to count."""
    skipped: bool = False
    """Whether params.yaml keeps it from being asked."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Its numbers by name, for the ledger: a few hundred values at the most, all JSON."""

    @property
    def refused(self) -> bool:
        """Whether the version stays where it is because of this gate."""
        return not self.passed and not self.overridden


@dataclass(frozen=True)
class Verdict:
    """What all gates said."""

    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """True when no gate refused, or every refusal was overridden."""
        return not any(check.refused for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """`gate NAME: sentence` for each gate that refused."""
        return tuple(f"gate {c.name}: {c.sentence}" for c in self.checks if c.refused)

    def as_dict(self) -> dict[str, Any]:
        """For the ledger and for --json."""
        return {"passed": self.passed, "checks": [asdict(c) for c in self.checks]}


@dataclass(frozen=True)
class Latency:
    """Medians of warm calls through the scoring server, in milliseconds."""

    single_ms: float
    """One row."""
    batch_ms: float
    """100 rows."""
    calls: int


def on_the_way_to(stage: Stage) -> tuple[str, ...]:
    """The gates that apply, in the order in which they are asked."""
    return GATES if stage is Stage.PRODUCTION else TO_STAGING


def skipped(name: str) -> Check:
    """A gate that params.yaml skips."""
    return Check(name, True, "params.yaml skips it (gate.skip)", skipped=True)


def verdict(checks: Iterable[Check], overrides: Collection[str] = ()) -> Verdict:
    """All checks in the order of the gates; a refusal that is overridden says so and stays."""
    found = sorted(checks, key=lambda check: GATES.index(check.name))
    return Verdict(
        tuple(replace(c, overridden=not c.passed and c.name in overrides) for c in found)
    )


def loads(problem: str | None, manager: str = "local") -> Check:
    """The artifact loads and predicts its own input example."""
    where = "" if manager == "local" else f" in an environment of its own, made by {manager}"
    sentence = problem or f"the artifact loads and predicts its own input example{where}"
    return Check("loads", problem is None, sentence, detail={"environment": manager})


def serves(problem: str | None, manager: str, seconds: float | None) -> Check:
    """The scoring server answers the input example; `seconds` is how long it took to start."""
    detail = {"environment": manager, "seconds": _round(seconds)}
    if problem is not None:
        return Check("serves", False, problem, detail=detail)
    sentence = f"`mlflow models serve --env-manager {manager}` answers the input example"
    after = f", {seconds:.1f} s after its start" if seconds is not None else ""
    return Check("serves", True, sentence + after, detail=detail)


def latency(measured: Latency | str, limits: GateParams) -> Check:
    """Neither call is slower than its limit; `measured` is a sentence where there is nothing."""
    if isinstance(measured, str):
        return Check("latency", False, measured)
    single, batch = measured.single_ms, measured.batch_ms
    calls = (
        ("one row", single, limits.single_ms, "single_ms"),
        ("100 rows", batch, limits.batch_ms, "batch_ms"),
    )
    slow = [limit is not None and took > limit for _, took, limit, _ in calls]
    sentence = ", ".join(
        f"{what} in {took:.1f} ms" + (f" (limit {limit:g} ms)" if limit is not None else "")
        for what, took, limit, _ in calls
    )
    unset = [f"gate.{key}" for _, _, limit, key in calls if limit is None]
    if unset:
        sentence += f"; params.yaml sets no {' and no '.join(unset)}"
    detail = {"single_ms": _round(single), "batch_ms": _round(batch), "calls": measured.calls}
    _, took, limit, _ = calls[slow.index(True)] if any(slow) else calls[0]
    return Check("latency", not any(slow), sentence, _round(took), limit, detail=detail)


def _round(value: float | None) -> float | None:
    return round(value, 3) if value is not None and math.isfinite(value) else None
