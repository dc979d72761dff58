"""A delivery appears whole or not at all, says what it is, and is noted in MLflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from delivery.errors import OutputTaken, OutputUnwritable
from delivery.making import MANIFEST, making
from registry import artifact, digest, produced, register
from registry.errors import ArtifactAltered, RegistryUnreachable
from registry.promote import Wish
from registry.store import Store
from tests.conftest import REPOSITORY, Tiny


@pytest.fixture
def store(tiny: Tiny, tmp_path: Path) -> Store:
    """Version 1 in the ledger."""
    found = Store(tiny.uri)
    (tmp_path / "files").mkdir()
    register.register_run(
        found, "m", tiny.runs["good"], wish=Wish("ana"), folder=tmp_path / "files"
    )
    return found


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_that_says_what_it_is(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "out" / "image"
    with making(store, "m", 1, "docker", output) as made:
        assert not output.exists()
        assert digest.of_folder(made.model) == made.chosen.digest
        (made.folder / "Dockerfile").write_text("FROM scratch\n")
        made.facts["base"] = "scratch"
        made.metrics["bytes"] = 13.0
    assert left(output) == ["Dockerfile", MANIFEST]
    said = json.loads((output / MANIFEST).read_text())
    assert said["files"] == {"Dockerfile": digest.of_file(output / "Dockerfile")}
    assert said["kind"] == "docker"
    assert said["base"] == "scratch"
    assert said["digest"] == artifact.choose(store, "m", 1).digest
    assert left(output.parent) == ["image"]
    run = store.run(made.run)
    assert run.params["digest"] == said["digest"]
    assert run.tags[produced.KIND_TAG] == "docker"
    assert run.tags[produced.VERSION_TAG] == "1"
    assert run.metrics == {"bytes": 13.0}
    noted = store.download_run_folder(made.run, "delivery.json", tmp_path / "noted")
    assert json.loads(noted.read_text())["output"] == str(output)


def test_what_is_there_already_stays(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    with (
        pytest.raises(OutputTaken, match=f"{output} exists and is left as it is"),
        making(store, "m", 1, "onnx", output),
    ):
        raise AssertionError("never reached")
    assert left(output) == []


def test_somebody_who_was_quicker_wins(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "out" / "x"
    with pytest.raises(OutputTaken), making(store, "m", 1, "onnx", output):  # noqa: PT012
        output.mkdir()
        (output / "theirs").touch()
    assert left(output) == ["theirs"]
    assert left(output.parent) == ["x"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_what_failed(
    store: Store, tmp_path: Path, error: type[BaseException]
) -> None:
    output = tmp_path / "out" / "x"
    with pytest.raises(error), making(store, "m", 1, "onnx", output) as made:  # noqa: PT012
        (made.folder / "half").write_text("of it")
        raise error
    assert not output.parent.exists()


KILLED = """
import sys, time
from pathlib import Path
import click
from delivery.making import making
from registry.console import Command
from registry.store import Store

@click.command(cls=Command)
def packages():
    with making(Store(sys.argv[1]), "m", 1, "onnx", Path(sys.argv[2])) as made:
        (made.folder / "half").write_text("of it")
        print("half", flush=True)
        time.sleep(60)

packages(args=[])
"""


def test_nothing_is_left_by_a_command_that_is_told_to_end(store: Store, tmp_path: Path) -> None:
    output, here = tmp_path / "out" / "x", tmp_path / "tmp"
    here.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, store.uri, str(output)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(here)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "half\n"
        assert left(output.parent) != []
        process.terminate()
        assert process.stderr.read() == "Error: ended by SIGTERM before it was done\n"
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not output.parent.exists()
    assert left(here) == []


def test_a_disk_that_is_full(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "out" / "x"
    said = f"{output} cannot be written: No space left on device; nothing of it is left"
    with pytest.raises(OutputUnwritable) as caught, making(store, "m", 1, "onnx", output):
        Path("/dev/full").write_text("x")
    assert str(caught.value) == said
    assert not output.parent.exists()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")

    def full(*_: str) -> None:
        Path("/dev/full").write_text("x")

    with pytest.raises(OutputUnwritable) as caught, making(store, "m", 1, "onnx", output):
        shutil.copytree(tmp_path / "tree", tmp_path / "copy", copy_function=full)
    assert str(caught.value) == said
    with (
        pytest.raises(OutputUnwritable, match="/dev/null/x cannot be written"),
        making(store, "m", 1, "onnx", Path("/dev/null/x")),
    ):
        raise AssertionError("never reached")


def test_files_that_were_altered_are_not_delivered(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.download_model

    def altered(source: str, folder: Path) -> Path:
        found = real(source, folder)
        (found / "MLmodel").write_text("other")
        return found

    monkeypatch.setattr(store, "download_model", altered)
    with pytest.raises(ArtifactAltered), making(store, "m", 1, "onnx", tmp_path / "out"):
        raise AssertionError("never reached")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("told", [KeyboardInterrupt, SystemExit])
def test_interrupted_before_it_is_noted_it_stays_and_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: type[BaseException]
) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise told

    with making(store, "m", 1, "onnx", tmp_path / "out") as made:
        (made.folder / "model.onnx").touch()
        monkeypatch.setattr(store, "publish", interrupted)
    assert (tmp_path / "out" / "model.onnx").exists()
    assert (made.run, made.unnoted) == ("", "interrupted")


def test_a_registry_that_went_away_does_not_take_what_was_made(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> str:
        raise RegistryUnreachable(store.uri, "gone")

    with making(store, "m", 1, "onnx", tmp_path / "out") as made:
        (made.folder / "model.onnx").touch()
        monkeypatch.setattr(store, "publish", gone)
    assert (tmp_path / "out" / "model.onnx").exists()
    assert made.run == ""
    assert "does not answer (gone)" in made.unnoted
