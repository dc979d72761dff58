"""The folder of manifests: written as a whole, and only over what was written here before."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.errors import OutputTaken, OutputUnwritable
from delivery.kubernetes.errors import FilesChanged, FilesForeign
from delivery.making import MANIFEST
from registry import digest

KIND = "kubernetes"


@dataclass(frozen=True)
class Written:
    """What became of a folder's files, by name."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether any file is not as it was."""
        return bool(self.added or self.changed or self.removed)


def write(output: Path, files: Mapping[str, str], facts: Mapping[str, Any]) -> Written:
    """Make `output` hold these files, and the list of them with `facts`.

    What is as it should be is not touched. Raises OutputTaken, FilesForeign, FilesChanged,
    OutputUnwritable.
    """
    output = output.absolute()
    try:
        before = _before(output)
        new = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=_parent(output)))
        try:
            _fill(new, files, facts)
            after = digest.manifest(new)
            if before == after:
                return Written((), (), ())
            _exchange(new, output)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise OutputUnwritable(output, error.strerror or type(error).__name__) from None
    both = before.keys() & after.keys()
    return Written(
        _told(after.keys() - before.keys()),
        _told({name for name in both if before[name] != after[name]}),
        _told(before.keys() - after.keys()),
    )


def _told(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names - {MANIFEST}))


def _before(output: Path) -> dict[str, str]:
    """The hashes of the files there, all of them as they were written."""
    if not output.exists() and not output.is_symlink():
        return {}
    if output.is_symlink() or not output.is_dir():
        raise OutputTaken(output)
    found = digest.manifest(output)
    listed = _listed(output)
    known = {*listed, *([MANIFEST] if listed else [])}
    if strange := [*sorted(found.keys() - known), *_folders(output)]:
        raise FilesForeign(output, strange)
    if changed := [name for name in listed if name in found and found[name] != listed[name]]:
        raise FilesChanged(output, changed)
    return found


def _listed(output: Path) -> dict[str, str]:
    """What the folder's own list says; nothing where it has none that was written here."""
    try:
        raw = json.loads((output / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    files = raw.get("files") if isinstance(raw, dict) and raw.get("kind") == KIND else None
    return {str(k): str(v) for k, v in files.items()} if isinstance(files, dict) else {}


def _folders(output: Path) -> list[str]:
    """Folders, and links to whatever: they are never ours, and have no hash."""
    return sorted(p.name for p in output.iterdir() if p.is_dir() or p.is_symlink())


def _parent(output: Path) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    return output.parent


def _fill(new: Path, files: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    new.chmod(0o755)
    for name, content in files.items():
        (new / name).write_text(content)
    listed = {"kind": KIND, **facts, "files": digest.manifest(new)}
    (new / MANIFEST).write_text(json.dumps(listed, indent=2) + "\n")


def _exchange(new: Path, output: Path) -> None:
    """Put the new folder where the old one was; whatever comes between brings the old one back."""
    if not output.exists():
        new.rename(output)
        return
    old = new.with_name(f"{new.name}.before")
    output.rename(old)
    try:
        new.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
