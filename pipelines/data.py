"""Tells which data version is in place, and whether it is the one that the .dvc file names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataDiffers, DataMissing, DataUnversioned
from registry.lineage import data_md5


@dataclass(frozen=True)
class File:
    """One file of a data version: path below the data's folder, MD5, size in bytes."""

    path: str
    md5: str
    size: int


def files(path: Path) -> list[Path]:
    """The files below `path`, or `path` itself, sorted."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def listing(path: Path) -> list[File]:
    """What `path` holds, with hashes."""
    base = path.parent if path.is_file() else path
    found = []
    for file in files(path):
        with file.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        found.append(File(file.relative_to(base).as_posix(), md5, file.stat().st_size))
    return found


def folder_md5(content: Iterable[tuple[str, str]]) -> str:
    """The identity DVC gives a folder: MD5 over the JSON of its sorted (path, md5) pairs.

    Source: dvc-data, hashfile/tree.py (Tree.digest); a test compares it with `dvc add`.
    """
    rows = [{"md5": md5, "relpath": path} for path, md5 in sorted(content)]
    return (
        hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        + ".dir"
    )


def check(root: Path, name: str, ingest: str | None = None) -> tuple[str, list[File]]:
    """The md5 and the files of the data at `name`, once they are the version its .dvc file names.

    `ingest` is the command, if any, that writes the data from its source.
    Raises DataMissing, DataUnversioned, DataDiffers.
    """
    path, recorded = root / name, data_md5(root)
    if not path.exists() or not files(path):
        raise DataMissing(name, [*([ingest] if ingest else []), f"`dvc pull {name}`"])
    if not recorded:
        raise DataUnversioned(name)
    found = listing(path)
    md5 = found[0].md5 if path.is_file() else folder_md5((f.path, f.md5) for f in found)
    if md5 != recorded:
        raise DataDiffers(name, recorded, md5, ingest)
    return md5, found
