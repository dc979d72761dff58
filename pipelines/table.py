"""Reads a data version's CSV or Parquet files as one table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from pipelines.data import files
from pipelines.errors import ColumnsDiffer, DataEmpty, MixedTypes, NotATable

TYPES = (".csv", ".parquet")


def read(root: Path, name: str) -> pd.DataFrame:
    """All files of the data as one table, in the order of their names.

    Raises NotATable, MixedTypes, DataEmpty, ColumnsDiffer.
    """
    path = root / name
    # What file managers leave behind is part of the version, as DVC counts it, and no table.
    found = [file for file in files(path) if not _hidden(file, path)]
    kinds = Counter(file.suffix.lower() or "(no ending)" for file in found)
    for file in found:
        if file.suffix.lower() not in TYPES:
            raise NotATable(_shown(root, file), f"its name ends in {file.suffix or 'nothing'}")
    if len(kinds) > 1:
        raise MixedTypes(name, dict(kinds))
    tables = [_read_one(root, file) for file in found]
    for file, one in zip(found, tables, strict=True):
        odd = sorted(map(str, set(tables[0].columns) ^ set(one.columns)))
        if odd:
            raise ColumnsDiffer(_shown(root, found[0]), _shown(root, file), odd)
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _read_one(root: Path, file: Path) -> pd.DataFrame:
    csv = file.suffix.lower() == ".csv"
    try:
        table = pd.read_csv(file, low_memory=False) if csv else pd.read_parquet(file)
    except pd.errors.EmptyDataError:
        raise DataEmpty(_shown(root, file)) from None
    except UnicodeDecodeError:
        raise NotATable(_shown(root, file), "it is not UTF-8 text; save it as UTF-8") from None
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
        why = str(error).strip().splitlines()[0][:160]
        raise NotATable(_shown(root, file), why) from None
    if table.empty:
        raise DataEmpty(_shown(root, file))
    return table


def _shown(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()
