"""The folder of manifests holds what was rendered and nothing else, or stays as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from delivery.errors import OutputTaken, OutputUnwritable
from delivery.kubernetes import folder
from delivery.kubernetes.errors import FilesChanged, FilesForeign
from delivery.kubernetes.folder import Written, write
from delivery.making import MANIFEST

FILES = {"service-a.yaml": "a: 1\n", "service-b.yaml": "b: 1\n"}
FACTS = {"model": "m"}


def content(output: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in output.iterdir()}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder that was written once."""
    found = tmp_path / "deep" / "out"
    assert write(found, FILES, FACTS) == Written(tuple(FILES), (), ())
    return found


def test_what_is_written(output: Path) -> None:
    found = content(output)
    listed = json.loads(found.pop(MANIFEST))
    assert found == FILES
    assert listed["kind"] == "kubernetes"
    assert listed["model"] == "m"
    assert set(listed["files"]) == set(FILES)
    assert output.stat().st_mode & 0o777 == 0o755
    assert [p.name for p in output.parent.iterdir()] == ["out"]


def test_the_same_again_touches_nothing(output: Path) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (output, *output.iterdir())}

    before = files()
    assert not write(output, FILES, FACTS).anything
    assert files() == before


def test_what_came_changed_and_went(output: Path) -> None:
    now = {"service-b.yaml": "b: 2\n", "service-c.yaml": "c: 1\n"}
    done = write(output, now, FACTS)
    assert done == Written(("service-c.yaml",), ("service-b.yaml",), ("service-a.yaml",))
    assert {k: v for k, v in content(output).items() if k != MANIFEST} == now
    assert [p.name for p in output.parent.iterdir()] == ["out"]


def test_another_entry_of_the_ledger_alone_is_written_and_no_file_of_anybodys(output: Path) -> None:
    done = write(output, FILES, {"model": "m", "ledger_head": "f"})
    assert done == Written((), (), ())
    assert json.loads((output / MANIFEST).read_text())["ledger_head"] == "f"


@pytest.mark.parametrize(
    "listed", ["", "{}", '{"kind": "docker", "files": {"mine.txt": ""}}', "no"]
)
def test_strange_files_stay(tmp_path: Path, listed: str) -> None:
    mine = {f"mine{n}.txt": "x" for n in range(5)} | ({MANIFEST: listed} if listed else {})
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(FilesForeign, match=r"mine0\.txt, mine1\.txt, mine2\.txt and \d more"):
        write(tmp_path, FILES, FACTS)
    assert content(tmp_path) == mine


def test_a_strange_file_beside_ours_stays(output: Path) -> None:
    (output / "patch.yaml").write_text("mine")
    with pytest.raises(FilesForeign, match=r"\(patch\.yaml\).*--output"):
        write(output, {}, FACTS)
    assert set(content(output)) == {*FILES, MANIFEST, "patch.yaml"}


@pytest.mark.parametrize("kind", ["folder", "link", "dangling"])
def test_folders_and_links_are_strange(output: Path, kind: str) -> None:
    strange = output / "strange"
    if kind == "folder":
        strange.mkdir()
    else:
        strange.symlink_to(output if kind == "link" else output / "nowhere")
    with pytest.raises(FilesForeign, match=r"\(strange\)"):
        write(output, {}, FACTS)
    assert os.path.lexists(strange)


def test_an_edit_is_not_lost(output: Path) -> None:
    (output / "service-a.yaml").write_text("a: mine\n")
    with pytest.raises(FilesChanged, match=r"changed service-a\.yaml.*an overlay"):
        write(output, {**FILES, "service-a.yaml": "a: 2\n"}, FACTS)
    assert (output / "service-a.yaml").read_text() == "a: mine\n"


def test_a_file_that_somebody_removed_comes_back(output: Path) -> None:
    (output / "service-a.yaml").unlink()
    assert write(output, FILES, FACTS).added == ("service-a.yaml",)


def test_an_empty_folder_may_be_filled_and_a_file_may_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty", FILES, FACTS).anything
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("file", "link"):
        with pytest.raises(OutputTaken):
            write(tmp_path / name, FILES, FACTS)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        OutputUnwritable, match="cannot be written: File exists; nothing of it is left"
    ):
        write(tmp_path / "file" / "out", FILES, FACTS)


@pytest.mark.parametrize("step", [1, 2])
def test_whatever_comes_between_leaves_the_old_or_the_new(
    output: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, in the moment in which the folders change places."""
    before, real, calls = content(output), Path.rename, []

    def interrupted(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == step:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(output, {"service-c.yaml": "c: 1\n"}, FACTS)
    assert content(output) == before
    assert [p.name for p in output.parent.iterdir()] == ["out"]
    monkeypatch.undo()
    assert folder.write(output, {}, FACTS).removed == tuple(FILES)
