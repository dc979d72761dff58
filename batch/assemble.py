"""One file made of parts, a part in memory at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet


def csv(parts: Sequence[Path], whole: Path) -> None:
    """Parts with the same header, which is written once. Raises OSError."""
    with whole.open("wb") as stream:
        for number, part in enumerate(parts):
            with part.open("rb") as source:
                if number:
                    source.seek(_header(part))
                shutil.copyfileobj(source, stream, 1 << 20)
        stream.flush()
        os.fsync(stream.fileno())


def _header(part: Path) -> int:
    """Length of the header: up to the first newline outside of quotes."""
    quoted, length = False, 0
    with part.open("rb") as stream:
        for line in stream:
            length += len(line)
            quoted ^= line.count(b'"') % 2 == 1
            if not quoted:
                break
    return length


def parquet(parts: Sequence[Path], whole: Path) -> None:
    """Each part becomes a row group. Raises OSError."""
    schema = pa.parquet.read_schema(parts[0])
    with whole.open("wb") as stream:
        with pa.parquet.ParquetWriter(stream, schema) as writer:
            for part in parts:
                with pa.parquet.ParquetFile(part, memory_map=True) as source:
                    writer.write_table(source.read(use_threads=False))
        stream.flush()
        os.fsync(stream.fileno())
