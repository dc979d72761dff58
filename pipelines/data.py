"""Reads the versioned table, and tells whether it is the version that its .dvc file names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.errors import (
    DataDiffers,
    DataEmpty,
    DataMissing,
    DataUnversioned,
    MixedTypes,
    NotATable,
)
from registry.lineage import data_md5

TYPES = (".csv", ".parquet")


@dataclass(frozen=True)
class File:
    """One file of a data version: path below the data's folder, MD5, size in bytes."""

    path: str
    md5: str
    size: int


def files(path: Path) -> list[Path]:
    """The files below `path`, or `path` itself, sorted; hidden ones are left out."""
    if path.is_file():
        return [path]
    inside = (p for p in path.rglob("*") if p.is_file())
    return sorted(p for p in inside if not p.relative_to(path).as_posix().startswith("."))


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
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"


def check(root: Path, name: str, remedies: Iterable[str]) -> tuple[str, list[File]]:
    """The md5 and the files of the data at `name`, once they are the version its .dvc file names.

    Raises DataMissing, DataUnversioned, DataDiffers.
    """
    path, recorded = root / name, data_md5(root)
    if not path.exists() or not files(path):
        raise DataMissing(name, remedies)
    if not recorded:
        raise DataUnversioned(name)
    found = listing(path)
    md5 = found[0].md5 if path.is_file() else folder_md5((f.path, f.md5) for f in found)
    if md5 != recorded:
        raise DataDiffers(name, recorded, md5)
    return md5, found


def read(root: Path, name: str) -> pd.DataFrame:
    """All files of the data as one table, in the order of their names.

    Raises NotATable, MixedTypes, DataEmpty.
    """
    path = root / name
    found = files(path)
    kinds = Counter(file.suffix.lower() or "(no ending)" for file in found)
    for file in found:
        if file.suffix.lower() not in TYPES:
            raise NotATable(_shown(root, file), f"its name ends in {file.suffix or 'nothing'}")
    if len(kinds) > 1:
        raise MixedTypes(name, dict(kinds))
    tables = [_read_one(root, file) for file in found]
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _read_one(root: Path, file: Path) -> pd.DataFrame:
    reader = pd.read_csv if file.suffix.lower() == ".csv" else pd.read_parquet
    try:
        options = {"low_memory": False} if reader is pd.read_csv else {}
        table: pd.DataFrame = reader(file, **options)
    except pd.errors.EmptyDataError:
        raise DataEmpty(_shown(root, file)) from None
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
        why = str(error).strip().splitlines()[0][:160]
        raise NotATable(_shown(root, file), why) from None
    if table.empty:
        raise DataEmpty(_shown(root, file))
    return table


def _shown(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()
