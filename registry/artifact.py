"""The files of a version, fetched and held against the digest that the ledger has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from registry import digest, projection
from registry.errors import (
    ArtifactAltered,
    ArtifactUnfetched,
    DigestUnknown,
    LedgerEmpty,
    NothingInStage,
    UnderstudyError,
    VersionGone,
    VersionNotEntered,
    VersionNotFound,
)
from registry.ledger import Replay
from registry.stages import Stage
from registry.state import State, state_of
from registry.store import Store


@dataclass(frozen=True)
class Chosen:
    """A version by what the ledger says of it."""

    model: str
    version: int
    stage: Stage
    digest: str
    """SHA-256 of the manifest of its files; empty where the ledger has none."""
    head: str
    """Hash of the ledger's last entry when it was chosen."""
    lineage: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """git_commit, git_dirty, data_md5, params_sha256, lock_sha256, as far as they are known."""

    def facts(self) -> dict[str, str]:
        """What is written beside everything that is made of it."""
        return {
            "model": self.model,
            "version": str(self.version),
            "stage": str(self.stage),
            "digest": self.digest,
            "ledger_head": self.head,
            **self.lineage,
        }


def choose(store: Store, model: str, version: int | None = None) -> Chosen:
    """A version of the ledger; without a number, the one in Production.

    Raises ModelNotFound, LedgerEmpty, NothingInStage, VersionNotFound, VersionNotEntered.
    """
    found = projection.read(store, model)
    if not found.winners:
        store.shown(model)  # raises ModelNotFound
        raise LedgerEmpty(model)
    state = state_of(found)
    number = state.production if version is None else version
    if number is None:
        raise NothingInStage(model, Stage.PRODUCTION)
    if number not in state.stages:
        shown = store.shown(model)
        if number in shown.versions:
            raise VersionNotEntered(model, number)
        raise VersionNotFound(model, number, state.stages)
    return _chosen(found, state, model, number)


def _chosen(found: Replay, state: State, model: str, number: int) -> Chosen:
    lineage = _registered(found, number).get("lineage")
    return Chosen(
        model,
        number,
        state.stages[number],
        known_digest(found, number),
        found.head,
        {str(k): str(v) for k, v in lineage.items()} if isinstance(lineage, dict) else {},
    )


def known_digest(found: Replay, version: int) -> str:
    """The digest of a version's files by the ledger; empty where it has none."""
    known = _registered(found, version).get("digest")
    return known if isinstance(known, str) else ""


def _registered(found: Replay, version: int) -> Mapping[str, Any]:
    entered = found.about(version, "register")
    return entered.entry.evidence if entered else {}


def fetch(store: Store, model: str, version: int, wanted: str, folder: Path) -> Path:
    """The files of a version below `folder`, once their digest is `wanted`, the ledger's.

    Raises DigestUnknown, VersionGone, ArtifactUnfetched, ArtifactAltered.
    """
    if not wanted:
        raise DigestUnknown(version)
    about = store.shown(model).versions.get(version)
    if about is None:
        raise VersionGone(model, version)
    try:
        found = store.download_model(about.source, folder)
    except UnderstudyError:
        raise
    except Exception as error:  # every kind of artifact store fails in its own way
        raise ArtifactUnfetched(version, type(error).__name__) from None
    said = digest.of_folder(found)
    if said != wanted:
        raise ArtifactAltered(version, said, wanted)
    return found
