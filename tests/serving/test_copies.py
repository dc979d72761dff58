"""Copies of versions that several gateways of one project fetch at the same time."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from registry import digest
from registry.store import Store
from serving.watch import ABANDONED, KEPT_MODELS, NEW, Live, Wanted, Watch


@pytest.fixture
def model(tmp_path: Path) -> Path:
    found = tmp_path / "model"
    found.mkdir()
    (found / "MLmodel").write_text("flavors: {}")
    return found


def watch(folder: Path) -> Watch:
    return Watch("m", "sqlite://", folder, "local")


def test_whoever_is_second_takes_what_is_there(tmp_path: Path, model: Path) -> None:
    wanted = digest.of_folder(model)
    files = tmp_path / "serve" / "models" / wanted
    files.parent.mkdir(parents=True)
    for n in range(2):
        mine = tmp_path / f"mine-{n}"
        shutil.copytree(model, mine)
        watch(tmp_path / "serve")._put(mine, files, wanted)
        assert digest.of_folder(files) == wanted
    (files / "MLmodel").write_text("altered")
    watch(tmp_path / "serve")._put(tmp_path / "mine-1", files, wanted)
    assert digest.of_folder(files) == wanted


def test_each_fetches_into_a_folder_of_its_own_and_leaves_none(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one gateway fetches, another comes, fetches and is done."""
    live = Live(1, digest.of_folder(model), "somewhere")
    folder = tmp_path / "serve"
    files = folder / "models" / live.digest
    used: list[Path] = []

    class Shown:
        versions = {1: type("About", (), {"source": "somewhere"})}  # noqa: RUF012

    def fetch(self: Store, source: str, into: Path) -> Path:
        used.append(into)
        if len(used) == 1:
            watch(folder)._download(live, files)
        shutil.copytree(model, into, dirs_exist_ok=True)
        return into

    monkeypatch.setattr(Store, "__init__", lambda *_: None)
    monkeypatch.setattr(Store, "shown", lambda *_: Shown)
    monkeypatch.setattr(Store, "download_model", fetch)
    watch(folder)._download(live, files)
    assert digest.of_folder(files) == live.digest
    assert len(set(used)) == 2
    assert [path.name for path in files.parent.iterdir()] == [live.digest]
    assert files.stat().st_mode & 0o055 == model.stat().st_mode & 0o055


def test_what_another_gateway_serves_is_not_forgotten(tmp_path: Path) -> None:
    """It was fetched long ago, but whoever follows a ledger touches what the ledger names."""
    one, other = watch(tmp_path), watch(tmp_path)
    for n in range(KEPT_MODELS + 3):
        (tmp_path / "models" / f"{n}").mkdir(parents=True)
        os.utime(tmp_path / "models" / f"{n}", (n, n))
    one._keep(Wanted(production=Live(1, "0", ""), former=Live(2, "", ""), challenger=None))
    other._forget_old({f"{KEPT_MODELS + 2}"})
    left = {int(path.name) for path in (tmp_path / "models").iterdir()}
    assert left == {0, *range(3, KEPT_MODELS + 3)}


def test_what_a_gateway_left_when_it_ended_is_taken_out_a_day_later(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name, age in (("old", 2 * ABANDONED), ("new", 0.0)):
        (models / f"{name}{NEW}").mkdir(parents=True)
        then = time.time() - age
        os.utime(models / f"{name}{NEW}", (then, then))
    watch(tmp_path)._forget_old(())
    assert [path.name for path in models.iterdir()] == [f"new{NEW}"]
