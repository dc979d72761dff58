"""The digest of an artifact: SHA-256 over a sorted manifest of its files. Pure but for reading."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

# MLflow writes this file beside the model's own whenever it is downloaded by name and version.
_NOT_OF_THE_MODEL = ("registered_model_meta",)


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest(folder: Path) -> dict[str, str]:
    """The hash of every file below `folder`, by relative path, sorted by path."""
    names = sorted(
        name
        for p in folder.rglob("*")
        if p.is_file() and (name := p.relative_to(folder).as_posix()) not in _NOT_OF_THE_MODEL
    )
    return {name: of_file(folder / name) for name in names}


def of_manifest(files: Mapping[str, str]) -> str:
    """SHA-256 over lines `HASH  RELATIVE/PATH`, sorted by path.

    The form is that of `sha256sum`, so that anyone can check it without this program.
    """
    lines = "".join(_line(files[name], name) for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def of_folder(folder: Path) -> str:
    """The digest of every file below `folder`: `of_manifest` of its manifest."""
    return of_manifest(manifest(folder))


def _line(digest: str, name: str) -> str:
    """As sha256sum writes it: a name with a newline or backslash is escaped, and marked so."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"
