"""Carries a plan out: gates, append, projection. The only writer of the ledger."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import automation, ledger, plan, projection, traffic, turn
from registry.errors import (
    ActorRefused,
    ApprovalsMissing,
    GateRefused,
    IllegalMove,
    LostRace,
    NotText,
    OverrideRefused,
    ReasonTooLong,
    RegistryRefused,
    RegistryUnreachable,
    Unfinished,
    UnknownGate,
    VersionGone,
    VersionNotEntered,
    VersionNotFound,
)
from registry.gate import Verdict
from registry.judge import Case, Judgement, judge
from registry.ledger import Replay
from registry.plan import Plan
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import State, state_of
from registry.store import NumberTaken, Shown, Store, Version

if TYPE_CHECKING:
    from registry.signing import Signer  # imports cryptography, which few need

PATIENCE = 30.0
"""Seconds after which a writer who keeps losing gives up."""
REASON_LIMIT = 2000
ACTOR_LIMIT = 200
REPORTS = "gate"
"""Folder of a run's artifacts where the gate reports of its version lie."""


@dataclass(frozen=True)
class Wish:
    """Who wants it and why; `dry_run` plans and judges, and changes nothing."""

    actor: str
    reason: str = ""
    dry_run: bool = False
    sign: Signer | None = None
    """Signs the entry; None leaves it unsigned."""


@dataclass(frozen=True)
class Outcome:
    """What came of a wish. `number` is the ledger entry's, None after a dry run."""

    plan: Plan
    verdict: Verdict = field(default_factory=Verdict)
    number: int | None = None
    page: str = ""
    """The gate report as HTML, empty where no gate was asked."""
    report: str = ""
    """Where the report is kept among the artifacts of the version's run."""


@dataclass(frozen=True)
class Asked:
    """What the gates said, their report, and where it is kept."""

    verdict: Verdict = field(default_factory=Verdict)
    page: str = ""
    report: Mapping[str, str] = field(default_factory=dict)
    """`path` among the artifacts of the version's run, and its `sha256`."""


Say = Callable[[str], None]
Planner = Callable[[State], Plan]
Asking = Callable[[Plan, Replay, State, Shown], Asked]


def promote(
    store: Store,
    model: str,
    version: int,
    *,
    to: Stage,
    params: GateParams,
    wish: Wish,
    folder: Path,
    overrides: Collection[str] = (),
    say: Say = lambda _: None,
    by_hand: bool = False,
    experiment: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Outcome:
    """To Staging or Production, through the gates; `evidence` is what else speaks for it.

    With `by_hand`, it was moved in MLflow already and the ledger adopts that: `to` is where MLflow
    showed it (projection.seen), read before the next projection puts it back. With `experiment`,
    only as long as that one goes on.
    Raises GateRefused, IllegalMove, LostRace, UnknownGate, OverrideRefused, NoExperiment.
    """
    require_overrides(overrides, wish)
    asked = _asking(store, params, wish, overrides, folder, say)
    move = plan.adopt if by_hand else plan.promote

    def planner(state: State) -> Plan:
        if experiment is not None:
            plan.running(state, model, experiment)
        return move(state, model, version, to)

    return _carry_out(
        store,
        model,
        planner,
        wish,
        asked,
        params=params,
        overrides=overrides,
        evidence=(lambda _: evidence) if evidence else None,
    )


def rollback(
    store: Store,
    model: str,
    *,
    to: int | None,
    wish: Wish,
    params: GateParams | None = None,
    live: int | None = None,
    verdict: Mapping[str, Any] | None = None,
) -> Outcome:
    """To the former Production version; with `live`, only away from that one.

    `verdict` is what the guard found. Raises NoFormerVersion, NeverInProduction, LostRace.
    """

    def planner(state: State) -> Plan:
        planned = plan.rollback(state, model, to)
        if live is not None and state.production != live:
            raise LostRace(model, planned.sentence, _now_live(state))
        return planned

    known = _experiments(verdict)
    return _carry_out(store, model, planner, wish, params=params, evidence=lambda _: known)


def archive(
    store: Store, model: str, version: int, *, wish: Wish, params: GateParams | None = None
) -> Outcome:
    """Take a version out of use. Raises VersionLive, LostRace."""
    return _carry_out(
        store, model, lambda state: plan.archive(state, model, version), wish, params=params
    )


def challenge(
    store: Store,
    model: str,
    version: int,
    *,
    mode: str,
    weight: float,
    rule: Mapping[str, Any],
    params: GateParams,
    wish: Wish,
    folder: Path,
    overrides: Collection[str] = (),
    say: Say = lambda _: None,
) -> Outcome:
    """Let a version have a share of the traffic, if it takes what callers send.

    Raises NoChampion, ChallengerIsChampion, ExperimentRunning, WeightRefused, VersionArchived,
    GateRefused, LostRace, UnknownGate, OverrideRefused.
    """
    require_overrides(overrides, wish)
    return _carry_out(
        store,
        model,
        lambda state: plan.challenge(state, model, version, mode, weight, rule),
        wish,
        _asking(store, params, wish, overrides, folder, say),
        params=params,
        overrides=overrides,
    )


def reweigh(
    store: Store,
    model: str,
    weight: float,
    *,
    wish: Wish,
    params: GateParams | None = None,
    experiment: str | None = None,
    verdict: Mapping[str, Any] | None = None,
) -> Outcome:
    """Another share for the challenger; with `experiment`, in that one only.

    `verdict` is what is known. Raises NoExperiment, WeightRefused, LostRace.
    """
    known = _experiments(verdict)
    return _carry_out(
        store,
        model,
        lambda state: plan.reweigh(state, model, weight, experiment),
        wish,
        params=params,
        evidence=lambda _: known,
    )


def stop(
    store: Store,
    model: str,
    *,
    wish: Wish,
    experiment: str | None = None,
    verdict: Mapping[str, Any] | None = None,
) -> Outcome:
    """All traffic to the champion; with `experiment`, ends that one only.

    `verdict` is what is known. Raises NoExperiment, LostRace.
    """
    known = _experiments(verdict)
    return _carry_out(
        store,
        model,
        lambda state: plan.stop(state, model, experiment),
        wish,
        evidence=lambda _: known,
    )


def _experiments(verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an entry keeps of a verdict."""
    return {"experiment": dict(verdict)} if verdict else {}


def approve(store: Store, model: str, version: int, *, wish: Wish) -> Outcome:
    """Vouch for a version. Raises ApprovalRefused, AlreadyInStage, VersionNotFound."""
    return _carry_out(
        store, model, lambda state: plan.approve(state, model, version, wish.actor), wish
    )


def enter(
    store: Store, model: str, version: int, *, evidence: Mapping[str, Any], wish: Wish
) -> Outcome:
    """Write a version that MLflow has into the ledger."""

    def planner(state: State) -> Plan:
        return plan.register(state, model, version)

    def facts(state: State) -> Mapping[str, Any]:
        return {**evidence, "parent": state.production}

    return _carry_out(store, model, planner, wish, evidence=facts)


def note(
    store: Store, model: str, version: int, *, kind: str, evidence: Mapping[str, Any], wish: Wish
) -> Outcome:
    """Write a finding about a version into the ledger; nothing moves."""

    def planner(state: State) -> Plan:
        return plan.note(state, model, kind, version)

    return _carry_out(store, model, planner, wish, evidence=lambda _: evidence)


def require_overrides(overrides: Collection[str], wish: Wish) -> None:
    """Gates that exist, and a reason. Raises UnknownGate, OverrideRefused."""
    for name in overrides:
        if name not in GATES:
            raise UnknownGate(name, GATES)
    if overrides and not wish.reason.strip():
        raise OverrideRefused("an override needs a reason, --reason says it")


def _asking(
    store: Store,
    params: GateParams,
    wish: Wish,
    overrides: Collection[str],
    folder: Path,
    say: Say,
) -> Asking:
    """Asks the gates, again only when another champion came up meanwhile; keeps the report."""
    heard: dict[int | None, Asked] = {}

    def ask(planned: Plan, found: Replay, state: State, shown: Shown) -> Asked:
        champion = state.production
        challenges = planned.kind == traffic.BEGIN
        if planned.target not in (Stage.STAGING, Stage.PRODUCTION) and not challenges:
            return Asked()
        if champion not in heard:
            where = folder / f"trial-{champion}"
            where.mkdir()
            case = Case(
                planned.model, planned.version, planned.target, champion, found, shown, challenges
            )
            said = judge(store, case, params, folder=where, overrides=overrides, say=say)
            version = shown.versions[planned.version]
            kept = _attach(store, version, said) if said.page and not wish.dry_run else {}
            if kept:
                store.link_report(planned.model, version, kept["path"])
            heard[champion] = Asked(said.verdict, said.page, kept)
        return heard[champion]

    return ask


def _carry_out(
    store: Store,
    model: str,
    planner: Planner,
    wish: Wish,
    asking: Asking | None = None,
    *,
    params: GateParams | None = None,
    overrides: Collection[str] = (),
    evidence: Callable[[State], Mapping[str, Any]] | None = None,
) -> Outcome:
    wish = _checked(wish)
    rules = params or GateParams()
    first: Plan | None = None
    end = time.monotonic() + PATIENCE
    found, shown = projection.look(store, model)
    while True:
        state = state_of(found)
        try:
            first, planned = _planned(planner, first, model, state, shown)
        except IllegalMove:
            projection.finish(store, model, found, shown)  # it may be just what was asked for
            raise
        unapproved = _unapproved(wish, planned, state, rules, overrides)
        asked = asking(planned, found, state, shown) if asking else Asked()
        _require_passed(model, planned, asked)
        if unapproved is not None:
            unapproved.page = asked.page
            raise unapproved
        if wish.dry_run:
            return Outcome(planned, asked.verdict, page=asked.page)
        with turn.of(store.uri, model):
            newer = projection.read(store, model, found)
            if newer.head != found.head:
                was, found, state = state, newer, state_of(newer)
                if asking and state.production != was.production:
                    continue  # another rival: the gates have to be asked again, out of turn
                first, planned = _planned(planner, first, model, state, shown)
                automation.permit(wish.actor, planned, state, rules, overrides)
            facts = _facts(found, planned, asked, rules, state, wish)
            facts.update(evidence(state) if evidence else {})
            with _half_done(model, planned, RegistryUnreachable):
                number = _append(store, shown, found, planned, wish, facts)
                found = projection.read(store, model, found)
        if number is not None and found.won(number):
            if found.winners[-1].number == number:  # otherwise the later winner shows its own
                with _half_done(model, planned, RegistryUnreachable, RegistryRefused, entry=number):
                    projection.project(store, model, found, unless_overtaken=True)
            kept = asked.report.get("path", "")
            return Outcome(planned, asked.verdict, number, asked.page, kept)
        if time.monotonic() > end:
            raise LostRace(model, planned.sentence, _now_live(state_of(found)))
        time.sleep(random.uniform(0, 0.05))  # noqa: S311 - so that losers do not stay in step
        shown = store.shown(model)


def _unapproved(
    wish: Wish, planned: Plan, state: State, rules: GateParams, overrides: Collection[str]
) -> ApprovalsMissing | None:
    """Raises AutomationRefused and ApprovalsMissing, which a dry run gets to raise later.

    Who is to approve wants to know what the gates say.
    """
    try:
        automation.permit(wish.actor, planned, state, rules, overrides)
    except ApprovalsMissing as missing:
        if wish.dry_run:
            return missing
        raise
    return None


def _require_passed(model: str, planned: Plan, asked: Asked) -> None:
    """Raises GateRefused."""
    if not asked.verdict.passed:
        raise GateRefused(
            model,
            planned.version,
            asked.verdict.failures,
            asked.report.get("path", ""),
            asked.page,
            traffic=planned.kind == traffic.BEGIN,
        )


@contextmanager
def _half_done(
    model: str, planned: Plan, *errors: type[Exception], entry: int | None = None
) -> Iterator[None]:
    """Turns these errors, Ctrl-C and SIGTERM into Unfinished; `entry` is in the ledger already."""
    try:
        yield
    except errors as error:
        raise Unfinished(model, planned.sentence, str(error), entry) from None
    except (KeyboardInterrupt, SystemExit):  # the second one comes of SIGTERM
        raise Unfinished(model, planned.sentence, "interrupted", entry) from None


def _planned(
    planner: Planner, first: Plan | None, model: str, state: State, shown: Shown
) -> tuple[Plan, Plan]:
    """The plan made first, and the one for the state as it is now."""
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
    if first is not None and planned != first and planned.kind == "rollback":
        # Two people who each go back one step want one step, not two.
        raise LostRace(model, first.sentence, _now_live(state))
    if planned.version not in shown.versions:
        raise VersionGone(model, planned.version)
    return first or planned, planned


def _checked(wish: Wish) -> Wish:
    """The wish with a name that can be compared. Raises NotText, ActorRefused, ReasonTooLong."""
    if len(wish.reason) > REASON_LIMIT:
        raise ReasonTooLong(len(wish.reason), REASON_LIMIT)
    for what, text in (("actor", wish.actor), ("reason", wish.reason)):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotText(what) from None
    actor = wish.actor.strip()
    if not actor:
        raise ActorRefused("is empty")
    if len(actor) > ACTOR_LIMIT:
        raise ActorRefused(f"has {len(actor):,} characters")
    if not actor.isprintable():  # not repeated: a gateway says this sentence to anybody
        raise ActorRefused("holds characters that cannot be printed")
    return replace(wish, actor=actor, reason=wish.reason.strip())


def _facts(
    found: Replay, planned: Plan, asked: Asked, params: GateParams, state: State, wish: Wish
) -> dict[str, Any]:
    """The evidence of an entry: what the version is, what the gates said, who approved."""
    facts: dict[str, Any] = {}
    if entered := found.about(planned.version, "register"):
        known = entered.entry.evidence
        facts = {key: known[key] for key in ("digest", "run_id", "lineage") if key in known}
    if asked.verdict.checks:
        facts["gate"] = asked.verdict.as_dict()
    if asked.report:
        facts["report"] = dict(asked.report)
    if wish.sign is not None:
        facts["signed_by"] = wish.sign.public
    if params.approvals:
        facts["approvals"] = list(state.approvers(planned.version, wish.actor))
    return facts


def _append(
    store: Store, shown: Shown, found: Replay, planned: Plan, wish: Wish, facts: dict[str, Any]
) -> int | None:
    """The number of the entry, None where MLflow found no number for it."""
    entry = planned.entry(
        prev=found.head,
        actor=wish.actor,
        reason=wish.reason,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    )
    signature = wish.sign(entry) if wish.sign else None
    about = shown.versions[planned.version]
    try:
        return store.append(planned.model, about, ledger.render(entry, signature), entry.sentence)
    except NumberTaken:
        return None


def _attach(store: Store, version: Version, judgement: Judgement) -> dict[str, str]:
    """Keep the report among the run's artifacts and point the version at it."""
    if not version.run_id:
        return {}
    path = f"{REPORTS}/v{version.number}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.html"
    store.attach(version.run_id, judgement.page, path)
    return {"path": path, "sha256": hashlib.sha256(judgement.page.encode()).hexdigest()}


def _now_live(state: State) -> str:
    return f"v{state.production} is in Production" if state.production else "nothing is live"
