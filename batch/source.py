"""The input: its files, their columns, and its rows in chunks that are always the same."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs
import pyarrow.parquet

from batch.errors import (
    InputEmpty,
    InputFormatUnknown,
    InputMissing,
    InputMixed,
    InputUnreadable,
    UrlRefused,
)
from batch.job import File, Format

SUFFIXES: dict[str, Format] = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}
BLOCK = 1 << 22
"""Bytes of a CSV file that are parsed at once; no row may be longer."""
QUOTE = b'"'
BUFFER = 1 << 20
"""Bytes of a column of a Parquet file that are read at once."""
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file."""

    number: int
    """From 0, over all files."""
    file: File
    table: pa.Table
    """Of CSV, all cells are bytes."""
    rows: Rows
    """The number of each row in its file, from 1."""
    malformed: tuple[tuple[int, str], ...] = ()
    """Row number and text of CSV rows with too many or too few fields; they are not in `table`."""

    def __reduce__(self) -> tuple[Callable[..., Chunk], tuple[object, ...]]:
        """Arrow would pickle all that a slice was cut from; its stream has the slice alone."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as stream:
            stream.write_table(self.table)
        return _unpacked, (self.number, self.file, sink.getvalue(), self.rows, self.malformed)


def _unpacked(number: int, file: File, stream: pa.Buffer, *rest: Any) -> Chunk:
    return Chunk(number, file, pa.ipc.open_stream(stream).read_all(), *rest)


@dataclass(frozen=True)
class About:
    """What is known of a file before its rows are read."""

    columns: Mapping[str, pa.DataType]
    rows: int | None


def opened(url: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a path or URL, and the path in it. Raises UrlRefused.

    Arrow's own file systems come first, then those of fsspec (`memory://`, `abfs://`, ...).
    """
    if "://" not in url:
        return pa.fs.LocalFileSystem(), str(Path(url).absolute())
    try:
        found: tuple[pa.fs.FileSystem, str] = pa.fs.FileSystem.from_uri(url)
        return found
    except pa.ArrowInvalid:
        pass
    except OSError as error:
        raise UrlRefused(url, _why(error)) from None
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise UrlRefused(url, _why(error)) from None
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(system)), path


class _Counted:
    """A stream whose quotes are counted as they pass: an odd number may mean one never closed."""

    def __init__(self, stream: pa.NativeFile, passed: Callable[[int], None]) -> None:
        self._stream = stream
        self._passed = passed
        self.quotes = 0
        self.ended = self.closed = False

    def read(self, count: int = -1) -> bytes:
        """Some bytes, all that are left where `count` is negative."""
        found: bytes = self._stream.read(count if count >= 0 else None)
        self.quotes += found.count(QUOTE)
        self._passed(len(found))
        self.ended = not found
        return found

    def readable(self) -> bool:
        """As files of Python say."""
        return True

    def close(self) -> None:
        """The stream belongs to whoever opened it."""
        self.closed = True


class Source:
    """The files of one input."""

    def __init__(self, url: str) -> None:
        """Raises UrlRefused, InputMissing, InputEmpty, InputFormatUnknown, InputMixed."""
        self.url = url
        self._system, self._base = opened(url)
        self.files, self.is_folder = self._listed()
        self.format = self._format()
        self._bytes = 0

    def _listed(self) -> tuple[tuple[File, ...], bool]:
        with reading(self.url):
            top = self._system.get_file_info(self._base)
            if top.type == pa.fs.FileType.NotFound:
                raise InputMissing(self.url)
            if top.type == pa.fs.FileType.File:
                return (_file(top, top.base_name),), False
            inside = self._system.get_file_info(pa.fs.FileSelector(self._base, recursive=True))
        paths = {_below(i.path, self._base): i for i in inside if i.type == pa.fs.FileType.File}
        found = [
            _file(info, path.as_posix())
            for path, info in paths.items()
            if not any(part.startswith((".", "_")) for part in path.parts)
        ]
        if not found:
            raise InputEmpty(self.url, "files")
        found.sort(key=lambda f: f.path)
        if "://" not in self.url:  # a link to a folder above would bring each file again and again
            real: dict[str, File] = {}
            for file in sorted(found, key=lambda f: (f.path.count("/"), f.path)):
                real.setdefault(os.path.realpath(self._path_below(file.path)), file)
            found = sorted(real.values(), key=lambda f: f.path)
        return tuple(found), True

    def _format(self) -> Format:
        formats: dict[Format, str] = {}
        for file in self.files:
            kind = next((k for s, k in SUFFIXES.items() if file.path.lower().endswith(s)), None)
            if kind is None:
                raise InputFormatUnknown(file.path)
            formats.setdefault(kind, file.path)
        if len(formats) > 1:
            raise InputMixed(self.url, *formats.values())
        return next(iter(formats))

    def _path(self, file: str) -> str:
        return self._path_below(file) if self.is_folder else self._base

    def _path_below(self, file: str) -> str:
        return f"{self._base.rstrip('/')}/{file}"

    def about(self, file: str) -> About:
        """Columns of a file, and its rows where that is known. Raises InputUnreadable."""
        with reading(file), self._system.open_input_file(self._path(file)) as stream:
            if self.format == "parquet":
                with pa.parquet.ParquetFile(stream) as opened_file:
                    schema = opened_file.schema_arrow
                    return About(_by_name(file, schema), opened_file.metadata.num_rows)
        with reading(file), self._csv(file, None, []) as reader:
            return About(_by_name(file, reader.schema), None)

    @contextmanager
    def _csv(
        self, file: str, columns: Sequence[str] | None, malformed: list[tuple[int, str]]
    ) -> Iterator[pa.csv.CSVStreamingReader]:
        """A reader of cells as bytes; malformed rows are appended as they are met."""

        def note(row: pa.csv.InvalidRow) -> str:
            why = f"has {row.actual_columns} fields instead of {row.expected_columns}: {row.text}"
            malformed.append((row.number - 1, why))  # the header is a row to Arrow
            return "skip"

        with self._system.open_input_stream(self._path(file)) as stream:
            counted = _Counted(stream, self._count)
            yield pa.csv.open_csv(
                counted,
                # Rows are numbered for us only by one thread.
                read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),
                parse_options=pa.csv.ParseOptions(
                    newlines_in_values=True, invalid_row_handler=note
                ),
                convert_options=pa.csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(columns or (), pa.binary()),
                    include_columns=columns,
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
            if counted.ended and counted.quotes % 2:
                self._require_closed(file)

    def _count(self, passed: int) -> None:
        self._bytes += passed

    def share(self) -> float | None:
        """How much of CSV files `chunks` has read, a block ahead of what it gave; else None."""
        size = sum(file.size for file in self.files)
        plain = all(file.path.lower().endswith(".csv") for file in self.files)
        return min(self._bytes / size, 1.0) if plain and size else None

    def _require_closed(self, file: str) -> None:
        """Raises InputUnreadable where a quote takes all to the end of the file into one cell."""
        csv.field_size_limit(sys.maxsize)
        last = 0
        with self._system.open_input_stream(self._path(file)) as stream:
            lines = io.TextIOWrapper(cast(BinaryIO, stream), "latin-1", newline="")
            rows = csv.reader(lines, strict=True)
            try:
                for _ in rows:
                    last = rows.line_num
            except csv.Error as error:
                if "unexpected end" not in str(error):
                    return  # quotes where Python's reader allows none; Arrow took them as they are
                why = f"a quote is opened in the row of line {last + 1} and never closed"
                raise InputUnreadable(file, why) from None

    def chunks(
        self, columns: Sequence[str], size: int, done: Collection[int] = ()
    ) -> Iterator[Chunk]:
        """The rows in chunks of `size`, a file's last one smaller; those in `done` left out.

        Raises InputUnreadable.
        """
        number = self._bytes = 0
        for file in self.files:
            with reading(file.path):
                if self.format == "csv":
                    pieces = self._pieces_of_csv(file.path, columns)
                else:
                    left = self.about(file.path).rows or 0
                    finished = 0
                    while left > 0 and number in done:
                        number, finished, left = number + 1, finished + size, left - size
                    pieces = self._pieces_of_parquet(file.path, columns, size, finished)
                for chunk in _chunked(pieces, file, size, number):
                    number = chunk.number + 1
                    if chunk.number not in done:
                        yield chunk

    def _pieces_of_csv(self, file: str, columns: Sequence[str]) -> Iterator[_Piece]:
        malformed: list[tuple[int, str]] = []  # the reader may be a block ahead of us
        with self._csv(file, columns, malformed) as reader:
            last = 0
            for batch in reader:
                wrong = [row for row, _ in malformed if row > last]
                some = np.arange(last + 1, last + 1 + batch.num_rows + len(wrong))
                rows = some[~np.isin(some, wrong)][: batch.num_rows]
                last = int(rows[-1]) if len(rows) else last
                here = [m for m in malformed if m[0] < last]
                malformed[:] = [m for m in malformed if m[0] > last]
                yield pa.Table.from_batches([batch]), rows, here
            empty = pa.table({name: pa.array([], pa.binary()) for name in columns})
            yield empty, np.empty(0, np.int64), malformed

    def _pieces_of_parquet(
        self, file: str, columns: Sequence[str], size: int, finished: int
    ) -> Iterator[_Piece]:
        """Row groups among the first `finished` rows are stepped over, not read."""
        with (
            self._system.open_input_file(self._path(file)) as stream,
            pa.parquet.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False) as opened_file,
        ):
            row, groups = 0, list(range(opened_file.num_row_groups))
            while groups:
                count = opened_file.metadata.row_group(groups[0]).num_rows
                if row + count > finished:
                    break
                row += count
                del groups[0]
            for batch in opened_file.iter_batches(
                batch_size=size, row_groups=groups, columns=list(columns), use_threads=False
            ):
                table = pa.Table.from_batches([batch]).select(list(columns))
                rows = np.arange(row + 1, row + 1 + batch.num_rows)
                row += batch.num_rows
                new = rows > finished
                yield table.filter(new) if not new.all() else table, rows[new], []


_Piece = tuple[pa.Table, Rows, list[tuple[int, str]]]
"""Some rows with their numbers, and the malformed ones among them."""


def _chunked(pieces: Iterator[_Piece], file: File, size: int, number: int) -> Iterator[Chunk]:
    """Pieces of any length as chunks of `size`; a malformed row goes with the rows after it."""
    tables: list[pa.Table] = []
    numbers: list[Rows] = []
    malformed: list[tuple[int, str]] = []
    have = 0
    for table, rows, wrong in pieces:
        tables.append(table)
        numbers.append(rows)
        malformed += wrong
        have += len(rows)
        while have >= size:
            whole, all_rows = pa.concat_tables(tables), np.concatenate(numbers)
            first, last = all_rows[:size], int(all_rows[size - 1])
            here = tuple(m for m in malformed if m[0] < last)
            yield Chunk(number, file, whole.slice(0, size), first, here)
            number += 1
            have -= size
            malformed = [m for m in malformed if m[0] > last]
            tables, numbers = [whole.slice(size)], [all_rows[size:]]
    if have or malformed:
        yield Chunk(
            number, file, pa.concat_tables(tables), np.concatenate(numbers), tuple(malformed)
        )


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Turns what Arrow and file systems raise into InputUnreadable."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputUnreadable(file, _why(error)) from None


def _why(error: Exception) -> str:
    """The first line of an error, without the many places that a store's client names."""
    if isinstance(error, UnicodeDecodeError):
        return "its text is not UTF-8"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.strip().partition("\n")[0][:200] or type(error).__name__


def _by_name(file: str, schema: pa.Schema) -> dict[str, pa.DataType]:
    """Raises InputUnreadable where two columns have one name."""
    found = dict(zip(schema.names, schema.types, strict=True))
    if len(found) < len(schema.names):
        twice = next(n for n in schema.names if schema.names.count(n) > 1)
        raise InputUnreadable(file, f"two columns are named {twice!r}")
    return found


def _file(info: pa.fs.FileInfo, path: str) -> File:
    return File(path, int(info.size or 0), str(info.mtime_ns or ""))


def _below(path: str, base: str) -> PurePosixPath:
    return PurePosixPath(path.lstrip("/")).relative_to(base.lstrip("/"))
