"""From the ledger to the folder of manifests, and the note in MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.kubernetes import folder, live, manifests
from delivery.kubernetes.live import Live
from delivery.kubernetes.wishes import Wishes
from registry import artifact, produced, projection
from registry.artifact import Chosen
from registry.errors import RegistryRefused, RegistryUnreachable
from registry.ledger import Replay
from registry.state import state_of
from registry.store import Store


@dataclass(frozen=True)
class Packed:
    """What was made of the ledger."""

    chosen: Chosen
    """The version in Production."""
    live: Live
    facts: Mapping[str, Any]
    written: folder.Written
    run: str = ""
    """The id of the note's run; empty where nothing was new, or the registry did not take it."""
    unnoted: str = ""
    """Why the registry did not take the note."""


def package(store: Store, model: str, wishes: Wishes, output: Path) -> Packed:
    """Render what the ledger says into `output`; nothing is noted that was not new.

    Raises what registry.artifact, delivery.kubernetes.live, .manifests and .folder raise.
    """
    chosen, found = _read(store, model)
    seen = live.live(model, found.head, state_of(found), lambda n: artifact.known_digest(found, n))
    documents = manifests.render(seen, wishes)
    files = manifests.files(seen, wishes, documents)
    _verify(store, seen)
    facts = {**_facts(chosen, seen, wishes), "unpinned": manifests.unpinned(documents)}
    written = folder.write(output, files, facts)
    if not written.anything:
        return Packed(chosen, seen, facts, written)
    try:
        run = produced.note(
            store,
            chosen,
            folder.KIND,
            facts={**facts, "output": str(output)},
            metrics={"objects": len(documents)},
            files={"manifests.yaml": manifests.together(files.values())},
        )
    except (RegistryUnreachable, RegistryRefused) as error:
        return Packed(chosen, seen, facts, written, unnoted=str(error))
    return Packed(chosen, seen, facts, written, run)


def _read(store: Store, model: str) -> tuple[Chosen, Replay]:
    """The version in Production and the ledger at one and the same entry."""
    while True:
        chosen, found = artifact.choose(store, model), projection.read(store, model)
        if chosen.head == found.head:
            return chosen, found


def _verify(store: Store, seen: Live) -> None:
    """Hold the files of every version that is to run against the ledger's digest."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as fetched:
        for version in seen.versions:
            where = Path(fetched) / str(version.number)
            artifact.fetch(store, seen.model, version.number, version.digest, where)


def _facts(chosen: Chosen, seen: Live, wishes: Wishes) -> dict[str, Any]:
    """What the folder says of itself; of the same ledger and wishes always the same."""
    traffic = seen.traffic
    return {
        **chosen.facts(),
        "form": wishes.form,
        "namespace": wishes.namespace,
        "versions": {str(v.number): v.role for v in seen.versions},
        "mode": traffic.mode if traffic else None,
        "weight": traffic.weight if traffic else None,
    }
