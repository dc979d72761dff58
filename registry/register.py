"""Brings a run's model into the registry and into the ledger, once however often it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry import digest, lineage, projection, promote, record
from registry.errors import ModelNotFound, RunNotFound, VersionNotFound
from registry.promote import Wish
from registry.state import state_of
from registry.store import Shown, Store

MOST_FILES = 100
"""Of an artifact with more files only the digest goes into the ledger, not each file's hash."""


@dataclass(frozen=True)
class Registered:
    """A version, and whether this call made it."""

    version: int
    new: bool


def register_run(store: Store, model: str, run_id: str, *, wish: Wish, folder: Path) -> Registered:
    """Register the model that a run logged. Raises RunNotFound.

    The same run a second time gives the same version. A process that dies between the
    registration and the ledger's entry is finished by the next call.
    """
    run = store.run(run_id)
    if len(run.models) != 1:
        raise RunNotFound(run_id, f"it logged {len(run.models)} models, one is needed")
    for version in _known(store, model).versions.values():
        if version.run_id == run_id:
            return Registered(version.number, _enter(store, model, version.number, wish, folder))
    if wish.dry_run:
        return Registered(max(_known(store, model).versions, default=0) + 1, True)
    tags = {k: v for k, v in run.tags.items() if k.startswith(lineage.PREFIX)}
    number = store.create_version(model, run.models[0], tags)
    _enter(store, model, number, wish, folder)
    return Registered(number, True)


def register_version(
    store: Store, model: str, version: int, *, wish: Wish, folder: Path
) -> Registered:
    """Enter a version that was registered by other means. Raises VersionNotFound."""
    shown = store.shown(model)
    if version not in shown.versions:
        raise VersionNotFound(model, version, shown.versions)
    return Registered(version, _enter(store, model, version, wish, folder))


def _enter(store: Store, model: str, number: int, wish: Wish, folder: Path) -> bool:
    if number in state_of(projection.read(store, model)).stages:
        return False
    version = store.shown(model).versions[number]
    files = digest.manifest(store.download_model(version.source, folder / f"register-{number}"))
    tags = store.run(version.run_id).tags if version.run_id else version.tags
    evidence = {
        "digest": digest.of_manifest(files),
        "files": files if len(files) <= MOST_FILES else {},
        "kept": _kept(store, version.run_id, folder / f"kept-{number}"),
        "run_id": version.run_id,
        "source": version.source,
        "tagged": any(k.startswith(lineage.PREFIX) for k in version.tags),
        "trained_by": tags.get("mlflow.user", ""),
        "lineage": {
            k.removeprefix(lineage.PREFIX): v
            for k, v in tags.items()
            if k.startswith(lineage.PREFIX)
        },
    }
    promote.enter(store, model, number, evidence=evidence, wish=wish)
    return True


def _kept(store: Store, run_id: str, folder: Path) -> str:
    """Digest of what a run keeps for the gates (registry.record), empty where it keeps nothing."""
    if not run_id or not store.kept(run_id, record.FOLDER):
        return ""
    return digest.of_folder(store.download_run_folder(run_id, record.FOLDER, folder))


def _known(store: Store, model: str) -> Shown:
    try:
        return store.shown(model)
    except ModelNotFound:
        return Shown({}, {}, "")
