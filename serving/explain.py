"""From an answer back to all it came from: inputs, version, decision, gates, data and code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry import explain as registry_explain
from registry import projection
from registry.errors import UnderstudyError
from registry.explain import Decision, Known
from registry.ledger import Numbered, Replay
from registry.stages import Stage
from registry.store import Store
from serving.records import Labelled, Log, Prediction


@dataclass(frozen=True)
class Origin:
    """What the registry knows of the version that answered."""

    decision: Decision | None
    """What put it into Production before it answered; None where it was not there then."""
    gate: Mapping[str, Any] | None
    """The verdict by which it was last let go there until then (gate.Verdict.as_dict)."""
    stage: Stage
    """Where it is now."""
    data_md5: str
    git_commit: str
    git_dirty: bool | None
    run_id: str
    trained_by: str


@dataclass(frozen=True)
class Explained:
    """A prediction, its labels, and where its version came from."""

    prediction: Prediction
    labels: tuple[Labelled, ...]
    """All it ever had, the first first."""
    origin: Origin | None
    """None where the registry could not say; `problem` is why."""
    problem: str = ""
    time: str = field(default="")
    """When the request came: UTC, ISO 8601 with milliseconds."""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def explain(log: Log, uri: str, prediction_id: str, root: Path | None) -> Explained:
    """Walk from a prediction to its origin, in the registry at `uri`.

    A registry that does not answer leaves what the log knows. Raises PredictionNotFound,
    LogMissing, LogUnreachable, LogOfAnotherKind.
    """
    prediction = log.one(prediction_id)
    labels = tuple(log.labels(prediction_id))
    origin, problem = None, ""
    try:
        origin = _origin(Store(uri), prediction, root)
    except UnderstudyError as error:
        problem = str(error)
    time = datetime.fromtimestamp(prediction.time, UTC).isoformat(timespec="milliseconds")
    return Explained(prediction, labels, origin, problem, time)


def _origin(store: Store, prediction: Prediction, root: Path | None) -> Origin:
    known = registry_explain.known(store, prediction.model, prediction.version, root)
    found = projection.read(store, prediction.model)
    decision = put_live(known, prediction.time)
    return Origin(
        decision=decision,
        gate=verdict(found, known.version, decision) if decision else None,
        stage=known.stage,
        data_md5=known.data.md5,
        git_commit=known.code.commit,
        git_dirty=known.code.dirty,
        run_id=known.run_id,
        trained_by=known.trained_by,
    )


def put_live(known: Known, moment: float) -> Decision | None:
    """The last decision before a moment (seconds since 1970) that put a version into Production.

    The ledger's times have no fractions of a second and come from the clock of whoever decided.
    Pure.
    """
    begun = [s.begin for s in known.stays if s.stage is Stage.PRODUCTION]
    before = [b for b in begun if datetime.fromisoformat(b.time).timestamp() <= moment]
    return before[-1] if before else None


def verdict(found: Replay, version: int, decision: Decision) -> Mapping[str, Any] | None:
    """What the gates last said of a version when a decision was made; of a rollback, before it.

    Pure.
    """
    judged: list[Numbered] = [
        w
        for w in found.winners
        if w.number <= decision.number
        and w.entry.version == version
        and w.entry.kind in ("promote", "adopt")
        and "gate" in w.entry.evidence
    ]
    return judged[-1].entry.evidence["gate"] if judged else None
