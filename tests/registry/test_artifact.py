"""Which version is taken, and that its files are those that were registered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from registry import artifact, digest, promote, register
from registry.errors import (
    ArtifactAltered,
    ArtifactUnfetched,
    DigestUnknown,
    LedgerEmpty,
    ModelNotFound,
    NothingInStage,
    RegistryRefused,
    VersionGone,
    VersionNotEntered,
    VersionNotFound,
)
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.store import Store
from tests.conftest import Tiny

OFF = GateParams(skip=GATES)


@pytest.fixture
def store(tiny: Tiny, tmp_path: Path) -> Store:
    """Versions 1 and 2 in the ledger, 3 only in MLflow."""
    found = Store(tiny.uri)
    for name in ("good", "better"):
        folder = tmp_path / name
        folder.mkdir()
        register.register_run(found, "m", tiny.runs[name], wish=Wish("ana"), folder=folder)
    run = found.run(tiny.runs["same"])
    found.create_version("m", run.models[0], {})
    return found


def go_live(store: Store, version: int, folder: Path) -> None:
    (folder / f"live-{version}").mkdir()
    promote.promote(
        store,
        "m",
        version,
        to=Stage.PRODUCTION,
        params=OFF,
        wish=Wish("ben"),
        folder=folder / f"live-{version}",
    )


def test_the_production_version_unless_another_one_is_named(store: Store, tmp_path: Path) -> None:
    go_live(store, 2, tmp_path)
    live = artifact.choose(store, "m")
    assert (live.version, live.stage) == (2, Stage.PRODUCTION)
    named = artifact.choose(store, "m", 1)
    assert (named.version, named.stage, named.head) == (1, Stage.NONE, live.head)
    assert named.digest != live.digest
    facts = live.facts()
    assert facts["version"] == "2"
    assert facts["digest"] == live.digest
    assert facts["ledger_head"] == live.head
    assert len(facts["git_commit"]) == 40
    # It is the ledger that decides: a stage moved by hand changes nothing.
    store.set_stage("m", 1, Stage.PRODUCTION)
    assert artifact.choose(store, "m").version == 2


def test_files_that_are_as_they_were_registered(store: Store, tmp_path: Path) -> None:
    chosen = artifact.choose(store, "m", 2)
    files = artifact.fetch(store, "m", 2, chosen.digest, tmp_path / "files")
    assert digest.of_folder(files) == chosen.digest
    assert (files / "MLmodel").is_file()


def test_what_cannot_be_chosen(store: Store, tiny: Tiny) -> None:
    with pytest.raises(NothingInStage, match="m has no version in Production"):
        artifact.choose(store, "m")
    with pytest.raises(VersionNotEntered, match="version 3 of m is in MLflow and not in the"):
        artifact.choose(store, "m", 3)
    with pytest.raises(VersionNotFound, match="m has no version 7; it has 1, 2"):
        artifact.choose(store, "m", 7)
    with pytest.raises(ModelNotFound):
        artifact.choose(store, "other")
    run = store.run(tiny.runs["same"])
    store.create_version("bare", run.models[0], {})
    with pytest.raises(LedgerEmpty, match="bare has no ledger yet"):
        artifact.choose(store, "bare")


def test_files_of_another_version(store: Store, tmp_path: Path) -> None:
    wanted = artifact.choose(store, "m", 1).digest
    said = artifact.choose(store, "m", 2).digest[:12]
    with pytest.raises(ArtifactAltered) as caught:
        artifact.fetch(store, "m", 2, wanted, tmp_path / "files")
    assert str(caught.value) == (
        f"the artifact of v2 is not what was registered: its digest is {said} "
        f"and the ledger has {wanted[:12]}"
    )


def test_files_that_cannot_be_had(
    store: Store, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DigestUnknown, match="the ledger has no digest of v1; register it anew"):
        artifact.fetch(store, "m", 1, "", tmp_path / "files")
    wanted = artifact.choose(store, "m", 1).digest
    path = tiny.uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database, database:
        gone = (tmp_path / "gone").as_uri()
        database.execute("UPDATE model_versions SET source = ? WHERE name = 'm'", (gone,))
    with pytest.raises(RegistryRefused, match="failures occurred while downloading"):
        artifact.fetch(Store(tiny.uri), "m", 1, wanted, tmp_path / "files")

    def denied(source: str, folder: Path) -> Path:
        raise PermissionError(source, folder)

    with monkeypatch.context() as patch:  # as clients of object stores raise what they like
        patch.setattr(store, "download_model", denied)
        with pytest.raises(ArtifactUnfetched) as caught:
            artifact.fetch(store, "m", 1, wanted, tmp_path / "files")
    assert str(caught.value) == "the artifact of v1 cannot be fetched (PermissionError)"
    store._client.delete_model_version("m", "1")
    with pytest.raises(VersionGone, match="version 1 of m is in the ledger and was deleted"):
        artifact.fetch(store, "m", 1, wanted, tmp_path / "files")
