"""From a state and a wish to a plan that can be printed before it is carried out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry import traffic
from registry.errors import (
    AlreadyInStage,
    ApprovalRefused,
    ChallengerIsChampion,
    ExperimentRunning,
    IllegalMove,
    NeverInProduction,
    NoChampion,
    NoExperiment,
    NoFormerVersion,
    VersionArchived,
    VersionLive,
    VersionNotFound,
    WeightRefused,
)
from registry.ledger import Entry, describe, is_automatic, same
from registry.stages import Stage
from registry.state import State
from registry.traffic import Traffic


@dataclass(frozen=True)
class Move:
    """One version's change of stage, as a consequence of a plan."""

    version: int
    source: Stage
    target: Stage


@dataclass(frozen=True)
class Plan:
    """One entry to be appended, and all that follows from it."""

    kind: str
    model: str
    version: int
    source: Stage
    target: Stage
    moves: tuple[Move, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What the entry says beside the move."""

    @property
    def sentence(self) -> str:
        """The plan in words."""
        return describe(self.kind, self.version, self.target, self.evidence)

    def entry(self, *, prev: str, actor: str, reason: str, time: str, **evidence: Any) -> Entry:
        """The ledger entry that carries this plan out when it counts."""
        return Entry(
            kind=self.kind,
            model=self.model,
            version=self.version,
            source=self.source,
            target=self.target,
            actor=actor,
            reason=reason,
            time=time,
            prev=prev,
            evidence={**self.evidence, **evidence},
        )


def register(state: State, model: str, version: int) -> Plan:
    """Enter a version that MLflow has and the ledger has not."""
    if version in state.stages:
        raise AlreadyInStage(model, version, "the ledger")
    return _plan(state, model, "register", version, Stage.NONE)


def promote(state: State, model: str, version: int, target: Stage) -> Plan:
    """To Staging or Production; whoever holds that stage is archived."""
    source = _stage(state, model, version)
    if target not in (Stage.STAGING, Stage.PRODUCTION):
        raise IllegalMove(
            f"a version is promoted to staging or production, not to {target.lower()}"
        )
    if source is target:
        raise AlreadyInStage(model, version, target)
    if source is Stage.PRODUCTION:
        raise VersionLive(model, version, "moved to Staging")
    if source is Stage.ARCHIVED and target is Stage.PRODUCTION:
        raise VersionArchived(model, version, was_live=version in state.former)
    return _plan(state, model, "promote", version, target)


def rollback(state: State, model: str, version: int | None = None) -> Plan:
    """To the former Production version, or to a named one of them."""
    if version is not None:
        _stage(state, model, version)
    if version is not None and version == state.production:
        raise AlreadyInStage(model, version, Stage.PRODUCTION)
    if not state.former:
        raise NoFormerVersion(model)
    goal = state.former[-1] if version is None else version
    if goal not in state.former:
        raise NeverInProduction(model, goal, state.former)
    return _plan(state, model, "rollback", goal, Stage.PRODUCTION)


def archive(state: State, model: str, version: int) -> Plan:
    """Take a version out of use; the live one only leaves by promotion or rollback."""
    source = _stage(state, model, version)
    if source is Stage.PRODUCTION:
        raise VersionLive(model, version, "archived")
    if source is Stage.ARCHIVED and version not in state.former:
        raise AlreadyInStage(model, version, Stage.ARCHIVED)
    return _plan(state, model, "archive", version, Stage.ARCHIVED)


def approve(state: State, model: str, version: int, actor: str) -> Plan:
    """One more who vouches for a version; nobody vouches for what is their own."""
    stage = _stage(state, model, version)
    if stage is Stage.PRODUCTION:
        raise AlreadyInStage(model, version, stage)
    if is_automatic(actor):
        raise ApprovalRefused(model, version, actor, "a program approves nothing")
    if same(actor) in map(same, state.makers.get(version, ())):
        raise ApprovalRefused(model, version, actor, "who trained or registered it cannot")
    if same(actor) in map(same, state.approvals.get(version, ())):
        raise ApprovalRefused(model, version, actor, "they approved it before")
    return _plan(state, model, "approve", version, stage)


def adopt(state: State, model: str, version: int, seen: Stage) -> Plan:
    """Make a move that was made by hand in MLflow the ledger's own."""
    source = _stage(state, model, version)
    if source is seen:
        raise AlreadyInStage(model, version, f"{seen}, by the ledger as in MLflow")
    if source is Stage.PRODUCTION:
        raise VersionLive(model, version, f"moved to {seen}")
    if seen is Stage.NONE:
        raise IllegalMove(
            f"MLflow shows version {version} of {model} in no stage, and that cannot be adopted; "
            "`understudy repair` puts it back"
        )
    return _plan(state, model, "adopt", version, seen)


def challenge(
    state: State, model: str, version: int, mode: str, weight: float, rule: Mapping[str, Any]
) -> Plan:
    """Let a version answer, or in shadow mode see, a share of the champion's traffic."""
    stage = _stage(state, model, version)
    if mode not in traffic.MODES:
        raise IllegalMove(f"traffic is {', '.join(traffic.MODES)}, not {mode!r}")
    if state.production is None:
        raise NoChampion(model)
    if version == state.production:
        raise ChallengerIsChampion(model, version)
    if state.traffic is not None:
        raise ExperimentRunning(model, state.traffic.challenger, state.traffic.mode)
    if stage is Stage.ARCHIVED:
        raise VersionArchived(model, version, was_live=False, wish="get traffic")
    _require_weight(weight, mode)
    evidence = {"mode": mode, "weight": weight, "rule": dict(rule)}
    return _plan(state, model, traffic.BEGIN, version, stage, evidence)


def reweigh(state: State, model: str, weight: float, experiment: str | None = None) -> Plan:
    """Another share for the challenger, in this experiment if one is named."""
    now = running(state, model, experiment)
    _require_weight(weight, now.mode)
    if weight == now.weight:
        raise IllegalMove(
            f"version {now.challenger} of {model} gets {100 * weight:.4g} % already; "
            "there is nothing to do"
        )
    stage = _stage(state, model, now.challenger)
    return _plan(state, model, traffic.WEIGHT, now.challenger, stage, {"weight": weight})


def stop(state: State, model: str, experiment: str | None = None) -> Plan:
    """All traffic to the champion; ends this experiment only, if one is named."""
    version = running(state, model, experiment).challenger
    return _plan(state, model, traffic.STOP, version, _stage(state, model, version))


def running(state: State, model: str, experiment: str | None = None) -> Traffic:
    """The experiment that goes on. Raises NoExperiment, also where it is not the one named."""
    found = state.traffic
    if found is None or (experiment is not None and found.experiment != experiment):
        raise NoExperiment(model)
    return found


def _require_weight(weight: float, mode: str) -> None:
    # Where all of the traffic is the challenger's there is nobody to compare it with.
    heard = mode != traffic.SHADOW
    if not 0 < weight <= 1 or (heard and weight == 1):
        raise WeightRefused(weight, "below" if heard else "up to")


def note(state: State, model: str, kind: str, version: int) -> Plan:
    """A finding about a version, which moves nothing."""
    return _plan(state, model, kind, version, _stage(state, model, version))


def _stage(state: State, model: str, version: int) -> Stage:
    if version not in state.stages:
        raise VersionNotFound(model, version, state.stages)
    return state.stages[version]


def _plan(
    state: State,
    model: str,
    kind: str,
    version: int,
    target: Stage,
    evidence: Mapping[str, Any] | None = None,
) -> Plan:
    source = state.stages.get(version, Stage.NONE)
    draft = Plan(kind, model, version, source, target, ())
    after = state.after(draft.entry(prev="", actor="", reason="", time=""))
    moves = tuple(
        Move(v, state.stages.get(v, Stage.NONE), stage)
        for v, stage in after.stages.items()
        if state.stages.get(v) is not stage
    )
    ends = {} if kind == traffic.STOP else traffic.ended(state.traffic, after.traffic)
    return Plan(kind, model, version, source, target, moves, {**(evidence or {}), **ends})
