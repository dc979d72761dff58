"""Carries a plan out: gates, append, projection. The only writer of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry import gate, ledger, plan, projection, trial
from registry.errors import (
    GateRefused,
    IllegalMove,
    LostRace,
    NotText,
    ReasonTooLong,
    VersionNotEntered,
    VersionNotFound,
)
from registry.gate import Limits, Verdict
from registry.ledger import Replay
from registry.plan import Plan
from registry.stages import Stage
from registry.state import State, state_of
from registry.store import Shown, Store

TRIES = 8
REASON_LIMIT = 2000


@dataclass(frozen=True)
class Wish:
    """Who wants it and why; `dry_run` plans and judges, and changes nothing."""

    actor: str
    reason: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a wish. `number` is the ledger entry's, None after a dry run."""

    plan: Plan
    verdict: Verdict = field(default_factory=Verdict)
    number: int | None = None


Planner = Callable[[State], Plan]
Judge = Callable[[Plan, State, Shown], Verdict]


def promote(
    store: Store, model: str, version: int, *, to: Stage, limits: Limits, wish: Wish, folder: Path
) -> Outcome:
    """To Staging or Production, through the gates. Raises GateRefused, IllegalMove, LostRace."""
    verdicts: dict[int | None, Verdict] = {}

    def judge(_: Plan, state: State, shown: Shown) -> Verdict:
        champion = state.production
        if champion not in verdicts:  # judged again only when another champion came up meanwhile
            where = folder / f"trial-{champion}"
            where.mkdir()
            verdicts[champion] = _verdict(store, shown, version, champion, to, limits, where)
        return verdicts[champion]

    return _carry_out(store, model, lambda s: plan.promote(s, model, version, to), wish, judge)


def rollback(store: Store, model: str, *, to: int | None, wish: Wish) -> Outcome:
    """To the former Production version. Raises NoFormerVersion, NeverInProduction, LostRace."""
    return _carry_out(store, model, lambda s: plan.rollback(s, model, to), wish)


def archive(store: Store, model: str, version: int, *, wish: Wish) -> Outcome:
    """Take a version out of use. Raises VersionLive, LostRace."""
    return _carry_out(store, model, lambda s: plan.archive(s, model, version), wish)


def enter(
    store: Store, model: str, version: int, *, evidence: Mapping[str, Any], wish: Wish
) -> Outcome:
    """Write a version that MLflow has into the ledger."""
    return _carry_out(
        store, model, lambda s: plan.register(s, model, version), wish, evidence=evidence
    )


def _carry_out(
    store: Store,
    model: str,
    planner: Planner,
    wish: Wish,
    judge: Judge | None = None,
    *,
    evidence: Mapping[str, Any] | None = None,
) -> Outcome:
    _require_text(wish)
    first: Plan | None = None
    for _ in range(TRIES):
        found, shown = projection.catch_up(store, model)
        state = state_of(found)
        try:
            planned = planner(state)
        except VersionNotFound as error:
            if error.version in shown.versions:
                raise VersionNotEntered(model, error.version) from None
            raise
        except IllegalMove:
            if first is not None and first.kind == "rollback":
                raise LostRace(model, first.sentence, _now_live(state)) from None
            raise
        first = first or planned
        if planned != first and planned.kind == "rollback":
            # Two people who each go back one step want one step, not two.
            raise LostRace(model, first.sentence, _now_live(state))
        if planned.version not in shown.versions:
            raise VersionNotFound(model, planned.version, shown.versions)
        verdict = judge(planned, state, shown) if judge else Verdict()
        if not verdict.passed:
            raise GateRefused(model, planned.version, verdict.failures)
        if wish.dry_run:
            return Outcome(planned, verdict)
        facts = dict(evidence or {})
        if verdict.checks:
            facts["gate"] = verdict.as_dict()
        number = _append(store, shown, found, planned, wish, facts)
        if projection.project(store, model).won(number):
            return Outcome(planned, verdict, number)
    now = state_of(projection.read(store, model))
    raise LostRace(model, planned.sentence, _now_live(now))


def _require_text(wish: Wish) -> None:
    if len(wish.reason) > REASON_LIMIT:
        raise ReasonTooLong(len(wish.reason), REASON_LIMIT)
    for what, text in (("actor", wish.actor), ("reason", wish.reason)):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotText(what) from None


def _append(
    store: Store, shown: Shown, found: Replay, planned: Plan, wish: Wish, facts: dict[str, Any]
) -> int:
    entry = planned.entry(
        prev=found.head,
        actor=wish.actor,
        reason=wish.reason,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    )
    about = shown.versions[planned.version]
    return store.append(planned.model, about, ledger.render(entry), entry.sentence)


def _verdict(
    store: Store,
    shown: Shown,
    version: int,
    champion: int | None,
    to: Stage,
    limits: Limits,
    folder: Path,
) -> Verdict:
    candidate = shown.versions[version]
    problem, model = trial.load_problem(store, candidate, folder / "candidate")
    if problem or to is not Stage.PRODUCTION:
        return gate.decide(problem, None, limits)
    rival = shown.versions.get(champion) if champion else None
    return gate.decide(None, trial.score(store, (candidate, model), rival, folder), limits)


def _now_live(state: State) -> str:
    return f"v{state.production} is in Production" if state.production else "nothing is live"
