"""The clean worktree that a version is made again in, and which environment will do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from registry import lineage, rebuild
from registry.errors import CommitUnknown, DiffRefused, NotReproducible
from registry.rebuild import Recipe
from registry.record import Origin

Git = Callable[..., str]


@pytest.fixture
def project(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Git]:
    """A project in a folder of a repository, with a hook that must not run."""
    root = tmp_path / "repository" / "inner" / "project"
    root.mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    (root / "params.yaml").write_text("data: {path: data}\nregistry: {model: m, keys: {a: b}}\n")
    (root / "data.dvc").write_text("outs:\n- md5: abc.dir\n")
    (root / "code.py").write_text("one\n")
    git("init", "-q", str(tmp_path / "repository"))
    git("add", "-A")
    git("commit", "-q", "-m", "start")
    hook = tmp_path / "repository/.git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    return root, git


def recipe(git: Git, origin: Origin | None = None) -> Recipe:
    return Recipe(git("rev-parse", "HEAD").strip(), "def.dir", origin or Origin())


def test_code_parameters_and_data_version_are_those_of_the_record(
    project: tuple[Path, Git], tmp_path: Path
) -> None:
    root, git = project
    (root / "code.py").write_text("two\n")
    (root / "new.py").write_text("new\n")
    pointer = "outs:\n- md5: def.dir\n  path: data\n  nfiles: 2\n"
    origin = Origin({"train": {"seed": 3}}, pointer=pointer, diff=lineage.diff(root))
    made = recipe(git, origin)
    with rebuild.workshop(root, made, lambda _: None) as shop:
        assert (shop.project / "code.py").read_text() == "two\n"
        assert (shop.project / "new.py").read_text() == "new\n"
        assert (shop.project / "data.dvc").read_text() == pointer
        params = yaml.safe_load((shop.project / "params.yaml").read_text())
        assert (params["train"], params["registry"]) == ({"seed": 3}, {"model": "m"})
        assert shop.uri != os.environ.get("MLFLOW_TRACKING_URI")
        ok, written = shop.run("sh", "-c", "echo $MLFLOW_TRACKING_URI; pwd; exit 3")
        assert (ok, written.split()) == (False, [shop.uri, str(shop.project)])
        folder = shop.folder
    assert not folder.exists()
    assert not (tmp_path / "hooked").exists()
    assert git("worktree", "list").count("\n") == 1


def test_a_record_without_a_pointer_names_the_data_by_its_md5(project: tuple[Path, Git]) -> None:
    root, git = project
    with rebuild.workshop(root, recipe(git), lambda _: None) as shop:
        assert lineage.data_md5(shop.project) == "def.dir"
    with rebuild.workshop(root, replace(recipe(git), data_md5="abc.dir"), lambda _: None) as shop:
        assert (shop.project / "data.dvc").read_text() == (root / "data.dvc").read_text()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_happens_nothing_is_left(
    project: tuple[Path, Git], tmp_path: Path, error: type[BaseException]
) -> None:
    root, git = project
    with pytest.raises(error), rebuild.workshop(root, recipe(git), lambda _: None):
        raise error
    assert list((tmp_path / "temporary").iterdir()) == []
    assert git("worktree", "list").count("\n") == 1


def test_what_cannot_be_made_again_is_refused(project: tuple[Path, Git], tmp_path: Path) -> None:
    root, git = project
    wrong = Origin(diff=b"--- a/code.py\n+++ b/code.py\n@@ -1 +1 @@\n-three\n+two\n")
    refusals: list[tuple[Recipe, type[NotReproducible], str]] = [
        (Recipe("0" * 40, "", Origin()), CommitUnknown, "`git fetch` may bring it"),
        (Recipe("", "", Origin()), CommitUnknown, "names no commit"),
        (recipe(git, wrong), DiffRefused, "do not apply to its commit: error: "),
    ]
    for made, error, sentence in refusals:
        with pytest.raises(error, match=sentence), rebuild.workshop(root, made, lambda _: None):
            pass
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_this_environment_has_otherwise_than_a_lock() -> None:
    here = f"numpy=={version('numpy')}"
    assert rebuild.unlike(f"{here} \\\n    --hash=sha256:00\n") == ()
    assert rebuild.unlike("numpy==1.0 ; sys_platform == 'no-such'\n") == ()
    assert rebuild.unlike("numpy==0.1\nno-such-package==1\n") == (
        f"numpy {version('numpy')}, not 0.1",
        "no-such-package is not there",
    )
