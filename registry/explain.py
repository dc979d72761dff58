"""What is known of a version: where it came from, what was decided of it, where it has been."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from registry import lineage, projection, record
from registry.errors import (
    LedgerEmpty,
    RegistryRefused,
    RunNotFound,
    VersionNotEntered,
    VersionNotFound,
)
from registry.ledger import Entry, Numbered, Replay
from registry.record import Data, Environment, Origin
from registry.stages import Stage
from registry.state import State, state_of
from registry.store import REPORT_TAG, Run, Store, Version


@dataclass(frozen=True)
class Code:
    """The commit a version was trained from."""

    commit: str = ""
    dirty: bool | None = None
    """Whether the working copy differed from it; None where that was not noted."""
    subject: str | None = None
    """The commit's first line; None where the commit is not known here."""
    diff: str | None = None
    """Where among the run's artifacts the difference lies, None where none was kept."""


@dataclass(frozen=True)
class Decision:
    """One entry of the ledger, as it concerns a version."""

    number: int
    kind: str
    version: int
    """The version the entry speaks of: another one, where this one had to make room."""
    actor: str
    reason: str
    time: str


@dataclass(frozen=True)
class Stay:
    """A stage that a version was in, and the decisions that put it there and took it out."""

    stage: Stage
    begin: Decision
    end: Decision | None
    """None while it lasts."""


@dataclass(frozen=True)
class Known:
    """All that is known of a version; what is empty or None was not noted."""

    model: str
    version: int
    stage: Stage
    run_id: str
    trained_by: str
    code: Code
    data: Data
    params: Mapping[str, Any]
    environment: Environment
    lock_sha256: str
    parent: int | None
    """The Production version when this one was registered."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """On the held-out rows, by name."""
    gate: Mapping[str, Any] | None = None
    """The verdict that let it go where it went last (gate.Verdict.as_dict)."""
    gate_report: str | None = None
    """Where among the run's artifacts the gate report lies."""
    approvals: tuple[Decision, ...] = ()
    stays: tuple[Stay, ...] = ()
    reproductions: tuple[Mapping[str, Any], ...] = ()
    """Each a Decision's fields, and what compare.Result.as_dict says."""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def known(store: Store, model: str, version: int, root: Path | None) -> Known:
    """Read it off ledger, run and, where there is one, the repository around `root`.

    Raises ModelNotFound, LedgerEmpty, VersionNotFound, VersionNotEntered. A run that is gone
    leaves what the ledger and the version's tags hold.
    """
    found, entered, about = find(store, model, version)
    run, evidence = _run(store, about), entered.entry.evidence
    kept = origin(store, about)
    facts = {k: v for k, v in tagged(run.tags or about.tags).items() if v}
    noted = evidence.get("lineage")
    facts = {**facts, **(noted if isinstance(noted, dict) else {})}
    judged = _last_judged(found, version)
    return Known(
        model=model,
        version=version,
        stage=state_of(found).stages[version],
        run_id=about.run_id or str(evidence.get("run_id", "")),
        trained_by=str(evidence.get("trained_by") or run.tags.get("mlflow.user", "")),
        code=_code(facts, kept, root),
        data=kept.data if kept.data.md5 else Data(md5=str(facts.get("data_md5", ""))),
        params=kept.params,
        environment=kept.environment,
        lock_sha256=str(facts.get("lock_sha256", "")),
        parent=evidence.get("parent"),
        metrics={
            name.removeprefix("holdout/"): value
            for name, value in run.metrics.items()
            if name.startswith("holdout/")
        },
        gate=judged.get("gate"),
        gate_report=_report(judged, about),
        approvals=tuple(_decision(w) for w in _of_kind(found, version, "approve")),
        stays=stays(found, version),
        reproductions=tuple(
            {**asdict(_decision(w)), **dict(w.entry.evidence.get("reproduction", {}))}
            for w in _of_kind(found, version, "reproduce")
        ),
    )


def find(store: Store, model: str, version: int) -> tuple[Replay, Numbered, Version]:
    """The ledger, the entry that registered a version, and what MLflow has of it.

    A version that was deleted from MLflow is known by its entry alone.
    Raises ModelNotFound, LedgerEmpty, VersionNotFound, VersionNotEntered.
    """
    found, shown = projection.read(store, model), store.shown(model)
    if not found.winners:
        raise LedgerEmpty(model)
    entered = found.about(version, "register")
    if entered is None:
        if version in shown.versions:
            raise VersionNotEntered(model, version)
        raise VersionNotFound(model, version, state_of(found).stages)
    gone = Version(
        version, Stage.NONE, "", str(entered.entry.evidence.get("run_id", "")), "", 0, {}
    )
    return found, entered, shown.versions.get(version, gone)


def origin(store: Store, about: Version) -> Origin:
    """What the version's run was made from; empty where the run or its files are gone."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        there = Path(folder)
        try:
            kept = store.kept(about.run_id, record.FOLDER) if about.run_id else []
            for path in kept:
                if path.rpartition("/")[2] in record.ORIGIN:
                    # Where a single file lands depends on where the artifacts lie.
                    there = store.download_run_folder(about.run_id, path, Path(folder)).parent
        except RegistryRefused:
            pass
        return record.read_origin(there)


def lock(store: Store, about: Version) -> str:
    """The text of the lock kept with the version's run, empty where none was."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        try:
            if not about.run_id or lineage.LOCK not in store.kept(about.run_id, ""):
                return ""
            return store.download_run_folder(about.run_id, lineage.LOCK, Path(folder)).read_text()
        except (RegistryRefused, OSError, ValueError):
            return ""


def tagged(tags: Mapping[str, str]) -> dict[str, str]:
    """The lineage in a run's or a version's tags, by the names of lineage.Lineage."""
    return {
        key.removeprefix(lineage.PREFIX): value
        for key, value in tags.items()
        if key.startswith(lineage.PREFIX)
    }


def stays(found: Replay, version: int) -> tuple[Stay, ...]:
    """Every stage that a version was in, the first first. Pure."""
    state, lasting = State(), None
    done: list[Stay] = []
    for winner in found.winners:
        state = state.after(winner.entry)
        stage = state.stages.get(version)
        if stage is None or (lasting is not None and stage is lasting.stage):
            continue
        decision = _decision(winner)
        if lasting is not None:
            done.append(Stay(lasting.stage, lasting.begin, decision))
        lasting = Stay(stage, decision, None)
    return (*done, lasting) if lasting is not None else ()


def _code(facts: Mapping[str, Any], kept: Origin, root: Path | None) -> Code:
    commit = str(facts.get("git_commit", ""))
    return Code(
        commit=commit,
        dirty={"true": True, "false": False}.get(str(facts.get("git_dirty", ""))),
        subject=lineage.subject(root, commit) if root and commit else None,
        diff=f"{record.FOLDER}/{record.DIFF}" if kept.diff else None,
    )


def _run(store: Store, about: Version) -> Run:
    try:
        return store.run(about.run_id) if about.run_id else Run({}, {}, ())
    except RunNotFound:
        return Run({}, {}, ())


def _last_judged(found: Replay, version: int) -> Mapping[str, Any]:
    """The evidence of the last entry about a version that carries a verdict of the gates."""
    entries: list[Entry] = [
        w.entry
        for w in found.winners
        if w.entry.version == version and w.entry.kind in ("promote", "adopt")
    ]
    return next((e.evidence for e in reversed(entries) if "gate" in e.evidence), {})


def _report(judged: Mapping[str, Any], about: Version) -> str | None:
    report = judged.get("report")
    named = report.get("path") if isinstance(report, Mapping) else None
    return named or about.tags.get(REPORT_TAG)


def _of_kind(found: Replay, version: int, kind: str) -> list[Numbered]:
    return [w for w in found.winners if w.entry.version == version and w.entry.kind == kind]


def _decision(winner: Numbered) -> Decision:
    entry = winner.entry
    return Decision(winner.number, entry.kind, entry.version, entry.actor, entry.reason, entry.time)
