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

import getpass
import json
import os
from dataclasses import dataclass
from pathlib import Path

from registry import (
    projection,
    settings,
)
from registry import promote as _promote
from registry import register as _register
from registry import resolve as _resolve
from registry.errors import LedgerEmpty, ModelNameRefused, ProjectNotFound, RunNotFound
from registry.gate import Limits
from registry.ledger import Numbered
from registry.projection import Difference
from registry.promote import Outcome, Wish
from registry.register import Registered
from registry.stages import Stage, parse
from registry.state import State, state_of
from registry.store import Shown, Store, connect

RUN_FILE = Path("artifacts/train/run.json")
"""Where the pipeline notes the run it trained; `register` without a run reads it."""


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
            {number: _metrics(store, v.run_id) for number, v in shown.versions.items()},
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
    model: str | None = None,
    reason: str = "",
    actor: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Promote a version through the gates. Raises GateRefused, IllegalMove, VersionNotFound."""
    root = _root()
    gates = settings.gate_params(root) if root else settings.GateParams()
    with connect(root) as (store, folder):
        return _promote.promote(
            store,
            _name(model),
            version,
            to=parse(to),
            limits=Limits(floor=gates.floor, margin=gates.margin),
            wish=_wish(reason, actor, dry_run),
            folder=folder,
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
        return _promote.rollback(store, _name(model), to=to, wish=_wish(reason, actor, dry_run))


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
        return _promote.archive(store, _name(model), version, wish=_wish(reason, actor, dry_run))


def _metrics(store: Store, run_id: str) -> dict[str, float]:
    """A version's run may be deleted, or of another server; that hides its metrics, no more."""
    try:
        return store.run(run_id).metrics if run_id else {}
    except RunNotFound:
        return {}


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
            projection.project(store, name)
        return mendable


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
    if problem := settings.name_problem(model):
        raise ModelNameRefused(model, problem)
    return model


def _wish(reason: str, actor: str | None, dry_run: bool) -> Wish:
    who = actor or os.environ.get("UNDERSTUDY_ACTOR") or getpass.getuser()
    return Wish(actor=who, reason=reason, dry_run=dry_run)


def _last_run() -> str:
    try:
        return str(json.loads((settings.find_root() / RUN_FILE).read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        raise RunNotFound(str(RUN_FILE), "the pipeline has not trained yet") from None


__all__ = [
    "Outcome",
    "Registered",
    "Stage",
    "State",
    "Status",
    "archive",
    "history",
    "promote",
    "register",
    "repair",
    "resolve",
    "rollback",
    "status",
]
