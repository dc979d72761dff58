"""What is live: a fold over the ledger's entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from registry import traffic
from registry.ledger import Entry, Replay, same
from registry.stages import Stage
from registry.traffic import Traffic


@dataclass(frozen=True)
class State:
    """The stages of all versions, and the former Production versions, the latest last."""

    stages: Mapping[int, Stage] = field(default_factory=lambda: MappingProxyType({}))
    former: tuple[int, ...] = ()
    approvals: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Who approved a version since it was last in Production."""
    makers: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Who trained or registered a version."""
    trusted: frozenset[int] = frozenset()
    """The versions that a person, not a program, has put into Production."""
    traffic: Traffic | None = None
    """The experiment that goes on."""

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
        return fold([entry], self)

    def approvers(self, version: int, promoter: str = "") -> tuple[str, ...]:
        """Whose approvals of a version count: not its makers', not the promoter's, each once."""
        out = {same(name) for name in (*self.makers.get(version, ()), promoter)}
        found: dict[str, str] = {}
        for name in self.approvals.get(version, ()):
            if same(name) not in out:
                found.setdefault(same(name), name)
        return tuple(found.values())


def fold(entries: Iterable[Entry], start: State | None = None) -> State:
    """The state that these entries, all of them counting, lead to."""
    folded = _Fold(start or State())
    for entry in entries:
        folded.apply(entry)
    return folded.state()


def state_of(found: Replay) -> State:
    """The state that a replay leads to."""
    return fold(w.entry for w in found.winners)


class _Fold:
    """A state that may be changed, so that a long ledger is not copied at every entry."""

    def __init__(self, start: State) -> None:
        self.stages = dict(start.stages)
        self.former = list(start.former)
        self.approvals = dict(start.approvals)
        self.makers = dict(start.makers)
        self.trusted = set(start.trusted)
        self.traffic = start.traffic
        self.holders = {stage: start.holder(stage) for stage in (Stage.STAGING, Stage.PRODUCTION)}

    def state(self) -> State:
        return State(
            MappingProxyType(self.stages),
            tuple(self.former),
            MappingProxyType(self.approvals),
            MappingProxyType(self.makers),
            frozenset(self.trusted),
            self.traffic,
        )

    def apply(self, entry: Entry) -> None:
        version, kind = entry.version, entry.kind
        if kind == "approve":
            self.approvals[version] = (*self.approvals.get(version, ()), entry.actor)
            return
        if kind == "reproduce":
            return
        if kind in traffic.KINDS:
            self.traffic = traffic.after(self.traffic, entry, self.holders[Stage.PRODUCTION])
            return
        if kind == "register":
            trained_by = entry.evidence.get("trained_by")
            names = (entry.actor, trained_by if isinstance(trained_by, str) else "")
            self.makers[version] = tuple(dict.fromkeys(name for name in names if name))
        self._move(version, entry)
        goes_on = self.traffic
        if goes_on is not None and (
            self.holders[Stage.PRODUCTION] != goes_on.champion
            or self.stages.get(goes_on.challenger) is Stage.ARCHIVED
        ):
            self.traffic = None
        if entry.target is Stage.PRODUCTION:
            self.approvals.pop(version, None)
            if kind != "rollback" and not entry.automatic:
                self.trusted.add(version)

    def _move(self, version: int, entry: Entry) -> None:
        live = self.holders[Stage.PRODUCTION]
        ousted = self.holders.get(entry.target)
        if entry.kind == "rollback" and version in self.former:
            del self.former[_last_index(self.former, version) :]
        elif entry.target is Stage.PRODUCTION and ousted is not None:
            self.former.append(ousted)
        elif entry.target is Stage.ARCHIVED:
            self.former = _without(self.former, version, live=live)
        for stage, holder in self.holders.items():
            if holder == version:
                self.holders[stage] = None
        if ousted is not None and ousted != version:
            self.stages[ousted] = Stage.ARCHIVED
        if entry.target in self.holders:
            self.holders[entry.target] = version
        self.stages[version] = entry.target


def _without(former: list[int], version: int, *, live: int | None) -> list[int]:
    """The stack without a version, and without the steps that would then lead nowhere."""
    kept: list[int] = []
    for item in former:
        if item != version and (not kept or kept[-1] != item):
            kept.append(item)
    while kept and kept[-1] == live:
        kept.pop()
    return kept


def _last_index(items: list[int], item: int) -> int:
    return len(items) - 1 - items[::-1].index(item)
