"""The difference to a commit, what lies between two, locks, and the record of a run's origin."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import lineage, record
from registry.record import Data, Environment, Origin

Git = Callable[..., str]
ORIGIN = Origin(
    params={"train": {"params": {"depth": None, "rate": 1e-5}}, "registry": {"model": "m"}},
    data=Data("data", "abc.dir", ({"path": "a.csv", "md5": "1", "size": 2},), ("2013", "2014")),
    pointer="outs:\n- md5: abc.dir\n",
    diff=b"\xff\x00",
    environment=Environment("3.11.7", "Linux x86_64", {"numpy": "2.4"}),
)


@pytest.fixture
def repository(tmp_path: Path, environment: dict[str, str]) -> tuple[Path, Git]:
    """A project with a commit, and git in it."""
    root = tmp_path / "project"
    root.mkdir()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    (root / "params.yaml").write_text("data: {path: data}\n")
    (root / "data.dvc").write_text("outs:\n- md5: abc.dir\n")
    (root / "code.py").write_text("one\n")
    (root / "picture.bin").write_bytes(bytes(range(256)))
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "start")
    return root, git


def test_a_clean_copy_has_no_difference(repository: tuple[Path, Git]) -> None:
    root, _ = repository
    (root / "data.dvc").write_text("outs:\n- md5: def.dir\n")  # is in the lineage itself
    (root / "dvc.lock").write_text("{}")
    assert lineage.diff(root) == b""


def test_a_difference_makes_a_clean_copy_what_the_dirty_one_was(
    repository: tuple[Path, Git], tmp_path: Path
) -> None:
    root, git = repository
    git("config", "diff.noprefix", "true")
    git("config", "color.diff", "always")
    (root / "code.py").write_text("two\n")
    (root / "picture.bin").write_bytes(bytes(reversed(range(256))))
    (root / "new file é.txt").write_text("new\n")
    (root / "empty.txt").touch()
    (root / "deep").mkdir()
    (root / "deep/new.bin").write_bytes(b"\x00\xff")
    (root / "staged.txt").write_text("staged\n")
    git("add", "staged.txt")
    patch = tmp_path / "patch"
    patch.write_bytes(lineage.diff(root))
    git("worktree", "add", "--detach", str(tmp_path / "clean"), "HEAD")
    git("-C", str(tmp_path / "clean"), "apply", str(patch))
    for path in (p for p in root.rglob("*") if p.is_file() and ".git" not in p.parts):
        again = tmp_path / "clean" / path.relative_to(root)
        assert again.read_bytes() == path.read_bytes(), path


def test_a_deleted_file_is_in_the_difference(repository: tuple[Path, Git]) -> None:
    root, _ = repository
    (root / "code.py").unlink()
    assert b"deleted file" in lineage.diff(root)


def test_too_large_a_difference_is_not_kept(
    repository: tuple[Path, Git], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = repository
    (root / "new.txt").write_text("x" * 1000)
    assert lineage.diff(root)
    monkeypatch.setattr(lineage, "DIFF_LIMIT", 100)
    assert lineage.diff(root) == b""


def test_commits_and_files_between_two_commits(repository: tuple[Path, Git]) -> None:
    root, git = repository
    first = git("rev-parse", "HEAD").strip()
    (root / "code.py").write_text("two\n")
    git("commit", "-aqm", "second")
    second = git("rev-parse", "HEAD").strip()
    found = lineage.between(root, first, second)
    assert found.known
    assert [line.partition(" ")[2] for line in found.added] == ["second"]
    assert (found.removed, found.files) == ((), ("M code.py",))
    assert lineage.between(root, second, first).removed == found.added
    assert lineage.subject(root, second) == "second"


@pytest.mark.parametrize("commit", ["", "0" * 40, "--help", "HEAD", "abc"])
def test_a_commit_that_is_not_known_here(repository: tuple[Path, Git], commit: str) -> None:
    root, git = repository
    assert lineage.subject(root, commit) is None
    assert not lineage.between(root, git("rev-parse", "HEAD").strip(), commit).known


def test_pins_of_a_lock() -> None:
    lock = (
        "# a comment\nNumPy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n"
        "numpy==2.5\nmlflow[auth]==3.17.2 \\\n    --hash=sha256:11\n    # via nothing==1\n"
    )
    assert lineage.pins(lock) == {
        "numpy": ("NumPy==2.4.6 ; python_full_version < '3.12'", "numpy==2.5"),
        "mlflow": ("mlflow[auth]==3.17.2",),
    }


def test_an_origin_is_read_back(tmp_path: Path) -> None:
    sha256 = record.write_origin(tmp_path / "understudy", ORIGIN)
    assert record.read_origin(tmp_path / "understudy") == replace(ORIGIN, sha256=sha256)


def test_an_older_run_kept_no_origin(tmp_path: Path) -> None:
    assert record.read_origin(tmp_path) == Origin()


@given(name=st.sampled_from(record.ORIGIN), content=st.binary(max_size=40) | st.just(b'{"md5": 1}'))
def test_whatever_a_file_of_an_origin_holds_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("origin")
    before = record.write_origin(folder, ORIGIN)
    written = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    found = record.read_origin(folder)
    assert isinstance(found.data.md5, str)
    assert (found.sha256 == before) == (content == written)


def test_held_out_rows_are_known_by_values_and_order() -> None:
    rows = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    assert record.rows_sha256(rows) == record.rows_sha256(rows.copy())
    assert record.rows_sha256(rows) != record.rows_sha256(rows[::-1])
    assert record.rows_sha256(rows) != record.rows_sha256(rows.rename(columns={"a": "c"}))
    assert record.rows_sha256(rows) != record.rows_sha256(rows.assign(a=[1.0, 3.0]))
