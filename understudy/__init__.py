"""The registry's verbs for notebooks and scripts; the command line calls the same functions.

    import understudy

    understudy.promote(3, to="production", reason="better on July")
    understudy.rollback(reason="late share doubled")
    understudy.status().production

Every function takes `model` (default: the one in params.yaml of the project around the current
folder) and talks to MLFLOW_TRACKING_URI, or to mlflow.db in the project. Those that change
something take `reason`, `actor` (default: UNDERSTUDY_ACTOR, else the login name) and `dry_run`.
All raise subclasses of registry.errors.UnderstudyError, whose text says what to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.rule import Rule
from registry import projection, settings
from registry import promote as _promote
from registry import register as _register
from registry import resolve as _resolve
from registry import verify as _verify
from registry.errors import (
    LedgerEmpty,
    ModelNameRefused,
    ParamsInvalid,
    ProjectNotFound,
    RuleRefused,
    RunNotFound,
)
from registry.ledger import Numbered
from registry.projection import Difference
from registry.promote import Outcome, Say, Wish
from registry.register import Registered
from registry.sections import GateParams, name_problem
from registry.stages import Stage, parse
from registry.state import State, state_of
from registry.store import Shown, Store, connect
from registry.traffic import Traffic
from registry.verify import Report

if TYPE_CHECKING:
    from registry.difference import Difference as VersionDifference
    from registry.explain import Known
    from registry.reproduce import Reproduction

RUN_FILE = Path("artifacts/train/run.json")
"""Where the pipeline notes the run it trained; `register` without a run reads it."""
SHARES = {"canary": 0.05, "ab": 0.5, "shadow": 1.0}
"""Share of the traffic that a challenger gets where none is named, by the mode."""


@dataclass(frozen=True)
class Status:
    """What the ledger says and what MLflow shows of one model."""

    model: str
    state: State
    shown: Shown
    metrics: dict[int, dict[str, float]]
    differences: tuple[Difference, ...]

    @property
    def production(self) -> int | None:
        """The live version by the ledger."""
        return self.state.production


def status(model: str | None = None) -> Status:
    """Versions, stages, the way back, and what MLflow shows otherwise. Raises ModelNotFound."""
    name = _name(model)
    with connect(_root()) as (store, _):
        found, shown = projection.catch_up(store, name)
        state = state_of(found)
        return Status(
            name,
            state,
            shown,
            _metrics(store, shown),
            projection.differences(state, shown),
        )


def history(model: str | None = None) -> tuple[Numbered, ...]:
    """Every decision that counts, the oldest first. Raises ModelNotFound."""
    name = _name(model)
    with connect(_root()) as (store, _):
        found = projection.read(store, name)
        if not found.winners:
            store.shown(name)  # raises ModelNotFound
            raise LedgerEmpty(name)
        return found.winners


def resolve(stage: str = "production", *, model: str | None = None) -> int:
    """The version in a stage. Raises NothingInStage, ModelNotFound."""
    with connect(_root()) as (store, _):
        return _resolve.resolve(store, _name(model), parse(stage))


def register(
    run_id: str | None = None,
    *,
    version: int | None = None,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Registered:
    """Register the model of a run (default: the pipeline's last), or enter a version that is there.

    Raises RunNotFound, VersionNotFound. The same run twice gives the same version.
    """
    name = _name(model)
    wish = _wish(reason, actor, dry_run)
    with connect(_root()) as (store, folder):
        if version is not None:
            return _register.register_version(store, name, version, wish=wish, folder=folder)
        run = run_id or _last_run()
        return _register.register_run(store, name, run, wish=wish, folder=folder)


def promote(
    version: int,
    *,
    to: str = "production",
    override: Sequence[str] = (),
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
    say: Say = lambda _: None,
    evidence: Mapping[str, Any] | None = None,
) -> Outcome:
    """Promote a version through the gates; those in `override` may refuse, and that is recorded.

    `say` hears what is under way; `evidence` is kept with the entry. Raises GateRefused,
    IllegalMove, VersionNotFound, UnknownGate, OverrideRefused (without a reason), ApprovalsMissing.
    """
    name, wish = _name(model), _wish(reason, actor, dry_run)
    _promote.require_overrides(override, wish)
    with connect(_root()) as (store, folder):
        return _promote.promote(
            store,
            name,
            version,
            to=parse(to),
            params=_gates(),
            wish=wish,
            folder=folder,
            overrides=override,
            say=say,
            evidence=evidence,
        )


def rollback(
    *,
    to: int | None = None,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Go back to the former Production version. Raises NoFormerVersion, NeverInProduction."""
    with connect(_root()) as (store, _):
        wish = _wish(reason, actor, dry_run)
        return _promote.rollback(store, _name(model), to=to, wish=wish, params=_gates())


def archive(
    version: int,
    *,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Take a version out of use. Raises VersionLive, AlreadyInStage, VersionNotFound."""
    with connect(_root()) as (store, _):
        wish = _wish(reason, actor, dry_run)
        return _promote.archive(store, _name(model), version, wish=wish, params=_gates())


def challenge(
    version: int,
    *,
    mode: str = "canary",
    weight: float | None = None,
    steps: Sequence[float] = (),
    rule: Mapping[str, Any] | None = None,
    override: Sequence[str] = (),
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
    say: Say = lambda _: None,
) -> Outcome:
    """Let a version answer (`canary`, `ab`) or see (`shadow`) a share of the champion's traffic.

    `weight` is that share, by default SHARES of the mode; a canary goes through `steps`, from the
    first on. What ends it is agreed here: `experiment` of params.yaml, changed by `rule`. Raises
    RuleRefused, WeightRefused, NoChampion, ChallengerIsChampion, ExperimentRunning,
    VersionArchived, GateRefused, VersionNotFound.
    """
    name, wish = _name(model), _wish(reason, actor, dry_run)
    _promote.require_overrides(override, wish)
    agreed = _rule(mode, steps, rule or {})
    if steps and weight is not None and weight != steps[0]:
        raise RuleRefused([f"the weight is {weight:g} and the first step {steps[0]:g}"])
    if weight is None:
        weight = agreed.steps[0] if agreed.steps else SHARES.get(mode, SHARES["canary"])
    with connect(_root()) as (store, folder):
        return _promote.challenge(
            store,
            name,
            version,
            mode=mode,
            weight=weight,
            rule=agreed.model_dump(mode="json"),
            params=_gates(),
            wish=wish,
            folder=folder,
            overrides=override,
            say=say,
        )


def reweigh(
    weight: float,
    *,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Give the challenger another share of the traffic. Raises NoExperiment, WeightRefused."""
    with connect(_root()) as (store, _):
        wish = _wish(reason, actor, dry_run)
        return _promote.reweigh(store, _name(model), weight, wish=wish, params=_gates())


def stop_traffic(
    *,
    verdict: Mapping[str, Any] | None = None,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """End the experiment: all traffic goes to the champion. Raises NoExperiment.

    `verdict` is what was known of it, as experiments.evidence.Verdict.as_dict makes it; the ledger
    keeps it.
    """
    with connect(_root()) as (store, _):
        wish = _wish(reason, actor, dry_run)
        return _promote.stop(store, _name(model), wish=wish, verdict=verdict)


def traffic(model: str | None = None) -> Traffic | None:
    """The experiment that goes on by the ledger, or None. Raises ModelNotFound."""
    name = _name(model)
    with connect(_root()) as (store, _):
        found = projection.read(store, name)
        if not found.winners:
            store.shown(name)  # raises ModelNotFound
        return state_of(found).traffic


def approve(
    version: int,
    *,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Vouch for a version on its way to Production (`gate.approvals` says how many must).

    Raises ApprovalRefused for who trained or registered it, AlreadyInStage, VersionNotFound.
    """
    with connect(_root()) as (store, _):
        return _promote.approve(store, _name(model), version, wish=_wish(reason, actor, dry_run))


def adopt(
    version: int,
    *,
    override: Sequence[str] = (),
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
    say: Say = lambda _: None,
) -> Outcome:
    """Take over a stage or alias that was moved by hand in MLflow, through the gates.

    A version that the ledger does not know is entered first. Raises AlreadyInStage where nothing
    was moved, VersionLive where the live version was moved away, and what `promote` raises.
    """
    name, wish = _name(model), _wish(reason, actor, dry_run)
    _promote.require_overrides(override, wish)
    with connect(_root()) as (store, folder):
        found, shown = projection.catch_up(store, name)
        seen = projection.seen(state_of(found), shown, version)
        if not dry_run:
            _register.register_version(store, name, version, wish=wish, folder=folder)
        return _promote.promote(
            store,
            name,
            version,
            to=seen,
            by_hand=True,
            params=_gates(),
            wish=wish,
            folder=folder,
            overrides=override,
            say=say,
        )


def verify(
    *,
    model: str | None = None,
    noted: Sequence[str] = (),
    artifacts: bool = True,
    say: Say = lambda _: None,
) -> Report:
    """Check the ledger, its artifacts and what MLflow shows; the report says what is wrong.

    `noted` are hashes of entries kept elsewhere, `artifacts=False` fetches no files.
    Raises ModelNotFound, ModelGone.
    """
    root = _root()
    keys = settings.registry_params(root).keys if root else {}
    with connect(root) as (store, folder):
        return _verify.verify(
            store,
            _name(model),
            keys=keys,
            folder=folder,
            noted=noted,
            artifacts=artifacts,
            say=say,
        )


def _gates() -> GateParams:
    """Section `gate` of the project around; its defaults where there is none."""
    root = _root()
    return settings.gate_params(root) if root else GateParams()


def _rule(mode: str, steps: Sequence[float], changed: Mapping[str, Any]) -> Rule:
    """Section `experiment` of the project around, changed as asked. Raises RuleRefused."""
    root = _root()
    rule = settings.read_section(root, "experiment", Rule) if root else Rule()
    if steps and mode != "canary":
        raise RuleRefused([f"only a canary has steps, and this is {mode}"])
    wanted = {**rule.model_dump(), **changed}
    if steps:
        wanted["steps"] = tuple(steps)
    elif mode != "canary":
        wanted["steps"] = ()
    try:
        return settings.check_section("experiment", Rule, wanted)
    except ParamsInvalid as error:
        raise RuleRefused(error.problems) from None


def repair(*, model: str | None = None, dry_run: bool = False) -> tuple[str, ...]:
    """Put stages and aliases back to what the ledger says; returns what differed.

    A version that only MLflow has is left alone. Raises ModelNotFound, LedgerBroken.
    """
    name = _name(model)
    with connect(_root()) as (store, _):
        found, shown = projection.catch_up(store, name)
        different = projection.differences(state_of(found), shown)
        mendable = tuple(d.sentence for d in different if d.mendable)
        if mendable and not dry_run:
            projection.project(store, name, found)
        return mendable


def lineage(version: int, *, model: str | None = None) -> Known:
    """Where a version came from, what was decided of it, and every stage it was in.

    Raises ModelNotFound, VersionNotFound, VersionNotEntered.
    """
    from registry import explain

    root = _root()
    with connect(root) as (store, _):
        return explain.known(store, _name(model), version, root)


def diff(first: int, second: int, *, model: str | None = None) -> VersionDifference:
    """What changed from one version to another: data, params, code, lock, metrics.

    Raises ModelNotFound, VersionNotFound, VersionNotEntered.
    """
    from registry import difference

    root = _root()
    with connect(root) as (store, _):
        return difference.of(store, _name(model), first, second, root)


def reproduce(
    version: int,
    *,
    tolerance: float = 0.001,
    keep: Path | None = None,
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    say: Say = lambda _: None,
) -> Reproduction:
    """Make a version again from its record, compare, and write the verdict into the ledger.

    `tolerance` is how far held-out metrics may lie apart, in each metric's own unit; `keep` a
    folder for the rebuilt model. Raises NotReproducible, ProjectNotFound, VersionNotFound.
    """
    from registry import reproduce as _reproduce

    root = settings.find_root()
    with connect(root) as (store, _):
        return _reproduce.reproduce(
            store,
            _name(model),
            version,
            root=root,
            wish=_wish(reason, actor, dry_run=False),
            tolerance=tolerance,
            keep=keep,
            say=say,
        )


def _root() -> Path | None:
    """The project's folder; None is allowed where the environment names the server."""
    try:
        return settings.find_root()
    except ProjectNotFound:
        if os.environ.get("MLFLOW_TRACKING_URI"):
            return None
        raise


def _name(model: str | None) -> str:
    """The given name, or that of params.yaml. Raises ModelNameRefused."""
    if model is None:
        return settings.registry_params().model
    if problem := name_problem(model):
        raise ModelNameRefused(model, problem)
    return model


def _wish(reason: str, actor: str | None, dry_run: bool) -> Wish:
    who = settings.actor() if actor is None else actor
    root = _root()
    keys = settings.registry_params(root).keys if root else {}
    path = os.environ.get("UNDERSTUDY_KEY")
    signer = None
    if (keys or path) and not dry_run:
        from registry import signing  # imports cryptography, which few need

        signer = signing.signer_of(who, keys, path)
    return Wish(actor=who, reason=reason, dry_run=dry_run, sign=signer)


def _metrics(store: Store, shown: Shown) -> dict[int, dict[str, float]]:
    """A version's run may be deleted, or of another server; that hides its metrics, no more."""
    runs = store.runs([v.run_id for v in shown.versions.values() if v.run_id])
    return {n: runs[v.run_id].metrics for n, v in shown.versions.items() if v.run_id in runs}


def _last_run() -> str:
    try:
        return str(json.loads((settings.find_root() / RUN_FILE).read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        raise RunNotFound(str(RUN_FILE), "the pipeline has not trained yet") from None


__all__ = [
    "Outcome",
    "Registered",
    "Report",
    "Stage",
    "State",
    "Status",
    "Traffic",
    "adopt",
    "approve",
    "archive",
    "challenge",
    "diff",
    "history",
    "lineage",
    "promote",
    "register",
    "repair",
    "reproduce",
    "resolve",
    "reweigh",
    "rollback",
    "status",
    "stop_traffic",
    "traffic",
    "verify",
]
