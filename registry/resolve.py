"""What is live, for whoever asks: read from the ledger, never from a stage."""

from __future__ import annotations

from registry import projection
from registry.errors import ModelNotFound, NothingInStage
from registry.stages import Stage
from registry.state import state_of
from registry.store import Store


def resolve(store: Store, model: str, stage: Stage = Stage.PRODUCTION) -> int:
    """The version in a stage. Raises ModelNotFound, NothingInStage."""
    found = projection.read(store, model)
    if not found.winners:
        raise ModelNotFound(model, store.models())
    version = state_of(found).holder(stage)
    if version is None:
        raise NothingInStage(model, stage)
    return version
