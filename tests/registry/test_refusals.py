"""Sentences for stores and versions that are not as the ledger expects."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from registry import ledger, projection, promote, register, resolve
from registry.errors import (
    LedgerBroken,
    LedgerEmpty,
    NotText,
    RegistryRefused,
    RegistryUnreachable,
    StoreMissing,
    VersionNotEntered,
)
from registry.promote import Wish
from registry.stages import Stage
from registry.store import HEAD_TAG, Store
from tests.conftest import Tiny

WISH = Wish("ana")


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mistyped" / "mlflow.db"
    with pytest.raises(StoreMissing, match=r"there is no MLflow store at .*mlflow\.db yet; `dvc"):
        Store(f"sqlite:///{path}")
    assert not path.parent.exists()


def test_a_file_that_is_no_database_is_said_not_to_answer(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(RegistryUnreachable, match=r"does not answer \(DatabaseError\)"):
        Store(f"sqlite:///{tmp_path}/notes.txt").shown("m")


def test_a_database_without_its_tables_is_told_in_a_sentence_and_no_stack(
    store: Any, tiny: Tiny, capfd: pytest.CaptureFixture[str]
) -> None:
    store.models()  # MLflow opens a database when it is first asked
    with contextlib.closing(sqlite3.connect(tiny.uri.removeprefix("sqlite:///"))) as there:
        there.execute("ALTER TABLE registered_models RENAME TO elsewhere")
    with pytest.raises(RegistryUnreachable, match=r"does not answer \(.*no such table: regist"):
        store.shown("m")
    assert "ERROR" not in capfd.readouterr().err


def test_a_version_that_only_mlflow_has_is_named_with_the_command_that_enters_it(
    store: Any, tiny: Tiny
) -> None:
    store.create_version("m", store.run(tiny.runs["good"]).models[0], {})
    with pytest.raises(LedgerEmpty, match="m has no ledger yet; `understudy register --version"):
        resolve.resolve(store, "m")
    with pytest.raises(VersionNotEntered) as refused:
        promote.archive(store, "m", 1, wish=WISH)
    assert str(refused.value) == (
        "version 1 of m is in MLflow and not in the ledger; "
        "`understudy register --version 1` enters it"
    )


def test_an_actor_that_is_no_text_is_refused_before_anything_is_read(store: Any) -> None:
    with pytest.raises(NotText, match="the actor holds bytes that are not UTF-8 text"):
        promote.rollback(store, "m", to=None, wish=Wish(b"\xff".decode(errors="surrogateescape")))


def test_what_mlflow_refuses_is_told_in_its_words(store: Any) -> None:
    with pytest.raises(
        RegistryRefused, match=r"refused the request: Model Version \(name=m, version=1\) not found"
    ):
        store.set_stage("m", 1, Stage.STAGING)


def test_a_removed_last_entry_is_noticed(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    for name in ("good", "better"):
        folder = tmp_path / name
        folder.mkdir()
        register.register_run(store, "m", tiny.runs[name], wish=WISH, folder=folder)
    import mlflow

    client = mlflow.MlflowClient(tiny.uri, registry_uri=tiny.uri)
    client.delete_model_version("m.ledger", "2")
    with pytest.raises(LedgerBroken, match="broken at entry 2: the entry that was shown last is"):
        projection.catch_up(Store(tiny.uri), "m")  # this one fetches it all, as a new command does


def test_the_head_that_was_shown_is_the_last_winner(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    register.register_run(store, "m", tiny.runs["good"], wish=WISH, folder=tmp_path)
    import mlflow

    client = mlflow.MlflowClient(tiny.uri, registry_uri=tiny.uri)
    shown = client.get_registered_model("m").tags[HEAD_TAG]
    assert shown == ledger.replay("m", store.entries("m")).head
