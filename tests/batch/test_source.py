"""The input: what is found, and that chunks are the same rows whatever was done before."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import source
from batch.errors import (
    InputEmpty,
    InputFormatUnknown,
    InputMissing,
    InputMixed,
    InputUnreadable,
    UrlRefused,
)
from batch.job import File
from batch.source import Chunk, Source

cell = st.sampled_from(["", "1", "a b", 'q"u', "new\nline", "x,y", "é"])
lines = st.lists(
    st.one_of(
        st.tuples(cell, cell),
        st.tuples(st.just("only one")),
        st.tuples(cell, cell, st.just("third")),
        st.just(()),
    ),
    max_size=12,
)


def chunks(given: Source, size: int, done: Any = ()) -> list[Chunk]:
    return list(given.chunks(["a", "b"], size, done))


@settings(deadline=None)
@given(lines, st.integers(1, 5), st.sets(st.integers(0, 5)))
def test_csv_is_what_pythons_own_reader_reads(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, ...]],
    size: int,
    done: set[int],
) -> None:
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *table])
    path.write_text(text.getvalue(), newline="")
    rows = [row for row in csv.reader(io.StringIO(text.getvalue())) if row][1:]
    expected = {n: tuple(row) for n, row in enumerate(rows, 1) if len(row) == 2}
    wrong = {n for n, row in enumerate(rows, 1) if len(row) != 2}

    every = chunks(Source(str(path)), size)
    found = {
        int(n): (a.decode(), b.decode())
        for c in every
        for n, a, b in zip(c.rows, *(c.table[x].to_pylist() for x in "ab"), strict=True)
    }
    assert found == expected
    assert {n for c in every for n, _ in c.malformed} == wrong
    assert [c.number for c in every] == list(range(len(every)))
    assert all(len(c.rows) == size for c in every[:-1])
    met = [n for c in every for n in sorted([*c.rows, *(m for m, _ in c.malformed)])]
    assert met == sorted(met)

    again = {c.number: c for c in chunks(Source(str(path)), size, done)}
    assert again.keys() == {c.number for c in every} - done
    for chunk in every:
        if chunk.number in again:
            other = again[chunk.number]
            assert other.table.equals(chunk.table)
            assert (list(other.rows), other.malformed) == (list(chunk.rows), chunk.malformed)


@pytest.mark.parametrize(
    ("row", "line"),
    [('5,"x', 6), ('"5,x', 6), ('5,"x""', 6), ('"5\n6",x\n7,"x', 8)],
)
@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz"])
def test_a_quote_that_is_never_closed_swallows_no_rows(
    tmp_path: Path, name: str, row: str, line: int
) -> None:
    before = "a,b\n" + "".join(f"{n},x\n" for n in range(4))
    text = before + row + "\n" + "".join(f"{n},y\n" for n in range(20))
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(InputUnreadable) as refused:
        chunks(Source(str(tmp_path / name)), 100)
    assert str(refused.value) == (
        f"{name} cannot be read: a quote is opened in the row of line {line} and never closed"
    )


@pytest.mark.parametrize("row", ['5,"x""y"', '"5\n6","x, y"', '5" pipe,x', '5,a "b" c', '"",""'])
def test_quotes_that_are_closed_or_no_quotes(tmp_path: Path, row: str) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,x\n" + row + "\n2,y\n")
    (found,) = chunks(Source(str(tmp_path / "in.csv")), 100)
    assert len(found.rows) == 3


def test_a_link_to_a_folder_above_brings_no_row_twice(tmp_path: Path) -> None:
    (tmp_path / "in" / "below").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("a,b\n1,x\n")
    (tmp_path / "in" / "below" / "b.csv").write_text("a,b\n2,x\n")
    (tmp_path / "in" / "below" / "loop").symlink_to(tmp_path / "in")
    assert [f.path for f in Source(str(tmp_path / "in")).files] == ["a.csv", "below/b.csv"]


def test_blocks_of_a_csv_file_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a,b\n" + "".join(f"{n},x\n" if n % 7 else f"{n}\n" for n in range(1, 3000)))

    def seen() -> list[Any]:
        every = chunks(Source(str(path)), 100)
        return [(list(c.rows), c.table["a"].to_pylist(), c.malformed) for c in every]

    whole = seen()
    monkeypatch.setattr(source, "BLOCK", 4096)
    assert seen() == whole
    assert [int(a) for _, cells, _ in whole for a in cells] == [n for n in range(1, 3000) if n % 7]
    assert [n for _, _, wrong in whole for n, _ in wrong] == list(range(7, 3000, 7))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sets(st.integers(0, 12)),
)
def test_parquet_is_read_where_nothing_is_done_yet(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    group: int,
    size: int,
    done: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    for number, count in enumerate(counts):
        table = pa.table(
            {"b": [f"{number}-{n}" for n in range(count)], "a": pa.array(range(count))}
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
    given_ = Source(str(folder))
    assert [given_.about(f.path).rows for f in given_.files] == counts
    every = chunks(given_, size)
    met = [
        (c.file.path, int(n), b)
        for c in every
        for n, b in zip(c.rows, c.table["b"].to_pylist(), strict=True)
    ]
    assert met == [
        (f"{f}.parquet", n + 1, f"{f}-{n}") for f, count in enumerate(counts) for n in range(count)
    ]
    left = chunks(given_, size, done)
    wanted = [c for c in every if c.number not in done]
    assert [(c.number, c.file, c.table.to_pydict()) for c in left] == [
        (c.number, c.file, c.table.to_pydict()) for c in wanted
    ]
    assert all(list(x.rows) == list(y.rows) for x, y in zip(left, wanted, strict=True))


def test_files_are_found_below_a_folder_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.csv", "a/.x.csv", "_tmp/c.csv", ".state/d.csv", "A.CSV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a,b\n1,2\n")
    found = Source(str(tmp_path))
    assert [f.path for f in found.files] == ["A.CSV", "a/z.csv", "b.csv"]
    assert [c.file.path for c in chunks(found, 10)] == ["A.CSV", "a/z.csv", "b.csv"]


def test_urls(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/scored/in/x.csv", b"a,b\n1,2\n")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    for url in ("memory://scored/in", "memory://scored/in/x.csv", f"file://{tmp_path}"):
        (chunk,) = chunks(Source(url), 10)
        assert chunk.table.to_pydict() == {"a": [b"1"], "b": [b"2"]}
    memory.rm("/scored", recursive=True)


def test_compressed_csv(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    (chunk,) = chunks(Source(str(tmp_path)), 10)
    assert chunk.table.to_pydict() == {"a": [b"1"], "b": [b"2"]}


def test_a_chunk_travels_without_what_it_was_cut_from() -> None:
    whole = pa.table({"a": np.arange(100_000), "b": ["text"] * 100_000})
    chunk = Chunk(3, File("x.csv", 9, "now"), whole.slice(50_000, 10), np.arange(10), ((4, "why"),))
    sent = pickle.dumps(chunk)
    assert len(sent) < 5_000
    found = pickle.loads(sent)  # noqa: S301 - our own
    assert found.table.equals(chunk.table)
    assert (found.number, found.file, found.malformed) == (
        3,
        File("x.csv", 9, "now"),
        ((4, "why"),),
    )
    assert list(found.rows) == list(range(10))


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [
        ({}, InputEmpty, "holds no files, so there is nothing to score"),
        ({"x.txt": b""}, InputFormatUnknown, r"x\.txt is neither CSV nor Parquet by its name"),
        ({"x.csv": b"a\n", "y.parquet": b""}, InputMixed,
         r"mixes CSV and Parquet \(x\.csv, y\.parquet\)"),
        ({"x.parquet": b"PAR1 and no more"}, InputUnreadable,
         r"x\.parquet cannot be read: Parquet magic bytes not found"),
        ({"x.csv": b""}, InputUnreadable, r"x\.csv cannot be read: Empty CSV file"),
        ({"x.csv": "a,b\n1,2\n".encode("utf-16")}, InputUnreadable,
         r"x\.csv cannot be read: its text is not UTF-8"),
        ({"x.csv": b"a,b,a\n1,2,3\n"}, InputUnreadable, "two columns are named 'a'"),
    ],
)  # fmt: skip
def test_bad_input(
    tmp_path: Path, content: dict[str, bytes], error: type[Exception], sentence: str
) -> None:
    for name, text in content.items():
        (tmp_path / name).write_bytes(text)
    with pytest.raises(error, match=sentence):
        look(tmp_path)


def look(folder: Path) -> None:
    found = Source(str(folder))
    for file in found.files:
        found.about(file.path)


def test_a_parquet_file_that_is_damaged_inside(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": range(5000), "b": [f"t{n}" for n in range(5000)]}), path)
    raw = bytearray(path.read_bytes())
    raw[100:4000] = bytes(3900)
    path.write_bytes(raw)
    with pytest.raises(InputUnreadable, match=r"x\.parquet cannot be read"):
        chunks(Source(str(path)), 100)


@pytest.mark.parametrize(
    ("url", "error", "sentence"),
    [
        ("/no/such/file.csv", InputMissing, "there is no file or folder /no/such/file.csv"),
        ("memory://nothing/here", InputMissing, "there is no file or folder"),
        ("nosuch://x", UrlRefused, "nosuch://x cannot be opened: Protocol not known"),
    ],
)
def test_nothing_there(url: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        Source(url)
