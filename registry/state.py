"""What is live: a fold over the ledger's entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from registry.ledger import Entry, Replay
from registry.stages import Stage


@dataclass(frozen=True)
class State:
    """The stages of all versions, and the former Production versions, the latest last."""

    stages: Mapping[int, Stage] = field(default_factory=lambda: MappingProxyType({}))
    former: tuple[int, ...] = ()

    def holder(self, stage: Stage) -> int | None:
        """The one version in Staging or Production, or None."""
        return next((v for v, s in self.stages.items() if s is stage), None)

    @property
    def production(self) -> int | None:
        """The version that is live, or None."""
        return self.holder(Stage.PRODUCTION)

    @property
    def staging(self) -> int | None:
        """The version that waits, or None."""
        return self.holder(Stage.STAGING)

    def after(self, entry: Entry) -> State:
        """The state once `entry` counts."""
        stages = dict(self.stages)
        former = self.former
        ousted = self.holder(entry.target) if entry.target in _EXCLUSIVE else None
        if ousted is not None and ousted != entry.version:
            stages[ousted] = Stage.ARCHIVED
        if entry.kind == "rollback":
            former = former[: _last_index(former, entry.version)]
        elif entry.target is Stage.PRODUCTION and ousted is not None:
            former = (*former, ousted)
        elif entry.target is Stage.ARCHIVED:
            former = _without(former, entry.version, live=self.production)
        stages[entry.version] = entry.target
        return replace(self, stages=MappingProxyType(stages), former=former)


_EXCLUSIVE = (Stage.STAGING, Stage.PRODUCTION)


def _without(former: tuple[int, ...], version: int, *, live: int | None) -> tuple[int, ...]:
    """The stack without a version, and without the steps that would then lead nowhere."""
    kept: list[int] = []
    for item in former:
        if item != version and (not kept or kept[-1] != item):
            kept.append(item)
    while kept and kept[-1] == live:
        kept.pop()
    return tuple(kept)


def _last_index(items: tuple[int, ...], item: int) -> int:
    return len(items) - 1 - items[::-1].index(item)


def fold(entries: Iterable[Entry]) -> State:
    """The state that these entries, all of them counting, lead to."""
    state = State()
    for entry in entries:
        state = state.after(entry)
    return state


def state_of(found: Replay) -> State:
    """The state that a replay leads to."""
    return fold(w.entry for w in found.winners)
