"""What is live, for whoever asks: read from the ledger, never from a stage."""

from __future__ import annotations

from registry import projection
from registry.errors import LedgerEmpty, NothingInStage
from registry.stages import Stage
from registry.state import state_of
from registry.store import Store


def resolve(store: Store, model: str, stage: Stage = Stage.PRODUCTION) -> int:
    """The version in a stage. Raises ModelNotFound, LedgerEmpty, NothingInStage."""
    found = projection.read(store, model)
    if not found.winners:
        store.shown(model)  # raises ModelNotFound
        raise LedgerEmpty(model)
    version = state_of(found).holder(stage)
    if version is None:
        raise NothingInStage(model, stage)
    return version
