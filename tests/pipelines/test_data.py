"""Data versions, the reading of tables, and the writing of files from a source."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from pipelines import data, ingest, paths, table
from pipelines.errors import (
    DataDiffers,
    DataEmpty,
    DataMissing,
    DataUnversioned,
    IngestFailed,
    MixedTypes,
    NotATable,
    StageMissing,
)

A, B = "x,y\n1,2\n", "x,y\n3,4\n5,6\n"
INGEST = "`bring it`"


def put(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def parquet(rows: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    rows.to_parquet(stream, index=False)
    return stream.getvalue()


def identity(path: Path) -> str:
    return data.folder_md5((f.path, f.md5) for f in data.listing(path))


def pointer(root: Path, md5: str) -> None:
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": md5, "path": "data"}]}))


@pytest.fixture(scope="module")
def added(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A folder and a file that DVC itself versioned, and the md5 it gave to each."""
    root = tmp_path_factory.mktemp("dvc")
    # Names on which an order by characters and one by folders differ, and one beyond ASCII.
    names = ("b.csv", "sub/deep/a.csv", "sub/z.csv", "sub-1.csv", "ü.csv")
    put(root / "folder", {name: f"x\n{name}\n" for name in names})
    put(root, {"one.csv": A})
    for command in (["init", "-q", "--no-scm"], ["add", "-q", "folder", "one.csv"]):
        subprocess.run(["dvc", *command], cwd=root, env=environment, check=True)
    md5s = {
        name: yaml.safe_load((root / f"{name}.dvc").read_text())["outs"][0]["md5"]
        for name in ("folder", "one.csv")
    }
    return root, md5s


# Data versions


def test_a_folder_with_subfolders_has_the_md5_that_dvc_gives_it(
    added: tuple[Path, dict[str, str]],
) -> None:
    root, md5s = added
    assert identity(root / "folder") == md5s["folder"]


def test_a_single_file_has_the_md5_that_dvc_gives_it(added: tuple[Path, dict[str, str]]) -> None:
    root, md5s = added
    (found,) = data.listing(root / "one.csv")
    assert found == data.File("one.csv", md5s["one.csv"], len(A))


@pytest.mark.parametrize(("name", "count"), [("folder", 5), ("one.csv", 1)])
def test_check_accepts_what_dvc_added(
    added: tuple[Path, dict[str, str]], name: str, count: int
) -> None:
    root, md5s = added
    (root / "params.yaml").write_text(yaml.safe_dump({"data": {"path": name}}))
    md5, files = data.check(root, name, INGEST)
    assert (md5, len(files)) == (md5s[name], count)


def test_a_folder_with_a_hidden_file_has_the_md5_that_dvc_gives_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    put(tmp_path / "data", {"a.csv": A, ".DS_Store": "not a table"})
    for command in (["init", "-q", "--no-scm"], ["add", "-q", "data"]):
        subprocess.run(["dvc", *command], cwd=tmp_path, env=environment, check=True)
    assert data.check(tmp_path, "data", INGEST)


def test_order_of_listing_does_not_matter_and_every_byte_does(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"a.csv": A, "sub/b.csv": B})
    before = identity(folder)
    assert before.endswith(".dir")
    pairs = [(f.path, f.md5) for f in data.listing(folder)]
    assert data.folder_md5(reversed(pairs)) == before
    put(folder, {"sub/b.csv": B + " "})
    assert identity(folder) != before
    put(folder, {"sub/b.csv": B})
    assert identity(folder) == before
    (folder / "sub" / "b.csv").rename(folder / "b.csv")
    assert identity(folder) != before


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_missing_data_is_named_with_what_brings_it(tmp_path: Path, empty: bool) -> None:
    if empty:
        (tmp_path / "data").mkdir()
    pointer(tmp_path, "0" * 32)
    with pytest.raises(DataMissing) as error:
        data.check(tmp_path, "data", INGEST)
    assert str(error.value) == ("there is no data at data; `bring it` or `dvc pull data` brings it")


@pytest.mark.parametrize("content", [None, "", "outs: []\n", "[", "outs: [{path: data}]\n"])
def test_data_without_a_readable_pointer_is_unversioned(
    tmp_path: Path, content: str | None
) -> None:
    put(tmp_path, {"data/a.csv": A})
    if content is not None:
        (tmp_path / "data.dvc").write_text(content)
    with pytest.raises(DataUnversioned) as error:
        data.check(tmp_path, "data", INGEST)
    assert str(error.value) == "data is not versioned; run `dvc add data`"


def test_changed_data_is_refused_with_both_md5s_and_both_ways_on(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"a.csv": A})
    recorded = identity(folder)
    pointer(tmp_path, recorded)
    assert data.check(tmp_path, "data", INGEST)[0] == recorded
    put(folder, {"b.csv": B})
    with pytest.raises(DataDiffers) as error:
        data.check(tmp_path, "data", INGEST)
    assert str(error.value) == (
        "data is not the version that data.dvc names "
        f"(it is {identity(folder)}, recorded is {recorded}); "
        "`dvc add data` makes it the next version, "
        "`dvc checkout data --force` brings the recorded one back "
        "(`bring it` where DVC's cache lacks it)"
    )


# Tables


def test_several_csv_files_are_one_table_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path / "data", {"b.csv": B, "a.CSV": A, "sub/c.csv": "x,y\n7,8\n"})
    found = table.read(tmp_path, "data")
    assert found.to_dict("list") == {"x": [1, 3, 5, 7], "y": [2, 4, 6, 8]}
    assert list(found.index) == [0, 1, 2, 3]


def test_several_parquet_files_are_one_table(tmp_path: Path) -> None:
    first, second = pd.DataFrame({"x": [1], "t": ["a"]}), pd.DataFrame({"x": [2], "t": ["b"]})
    put(tmp_path / "data", {"2.parquet": parquet(second), "1.parquet": parquet(first)})
    assert table.read(tmp_path, "data").to_dict("list") == {"x": [1, 2], "t": ["a", "b"]}


def test_a_single_file_may_be_the_data(tmp_path: Path) -> None:
    put(tmp_path, {"one.csv": B})
    assert table.read(tmp_path, "one.csv").to_dict("list") == {"x": [3, 5], "y": [4, 6]}


def test_hidden_files_are_no_part_of_the_table(tmp_path: Path) -> None:
    put(tmp_path / "data", {"a.csv": A, ".a.csv.part": "x,y\n9", ".tmp/b.txt": "?"})
    assert len(table.read(tmp_path, "data")) == 1


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", A, "its name ends in .txt"),
        ("a", A, "its name ends in nothing"),
        ("a.parquet", "x,y\n1,2\n", "Could not open Parquet input source"),
        ("a.csv", parquet(pd.DataFrame({"x": [1.5] * 50})), "it is not UTF-8 text; save"),
        ("a.csv", "x,y\n1,2\n1,2,3\n", "Error tokenizing data. C error: Expected 2 fields"),
        ("a.csv", 'x,y\n"1,2\n', "Error tokenizing data. C error: EOF inside string"),
    ],
    ids=["ending", "no-ending", "csv-as-parquet", "parquet-as-csv", "ragged", "open-quote"],
)
def test_a_file_that_is_no_table_is_named_with_why(
    tmp_path: Path, name: str, content: str | bytes, why: str
) -> None:
    put(tmp_path / "data", {name: content})
    with pytest.raises(NotATable) as error:
        table.read(tmp_path, "data")
    sentence = str(error.value)
    assert sentence.startswith(f"data/{name} is not a CSV or Parquet table: {why}")
    assert "\n" not in sentence
    assert str(tmp_path) not in sentence


def test_two_types_of_files_are_counted(tmp_path: Path) -> None:
    rows = parquet(pd.DataFrame({"x": [1]}))
    put(tmp_path / "data", {"a.csv": A, "b.csv": B, "c.parquet": rows})
    with pytest.raises(MixedTypes) as error:
        table.read(tmp_path, "data")
    assert str(error.value) == (
        "data holds more than one type of file (2 .csv, 1 .parquet); keep only CSV or only Parquet"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("z.csv", ""),
        ("z.csv", "\n\n"),
        ("z.csv", "x,y\n"),
        ("z.parquet", parquet(pd.DataFrame({"x": pd.Series([], dtype=float)}))),
    ],
    ids=["no-bytes", "blank", "header-only", "parquet"],
)
def test_a_file_without_rows_is_named(tmp_path: Path, name: str, content: str | bytes) -> None:
    good = {"a.csv": A} if name.endswith("csv") else {}
    put(tmp_path / "data", {**good, name: content})
    with pytest.raises(DataEmpty) as error:
        table.read(tmp_path, "data")
    assert str(error.value) == f"data/{name} has no rows; remove it or put rows into it"


# Sources

STEPS = {"one": A, "two": B, "three": "x,y\n7,8\n"}
SOURCE: Any = SimpleNamespace(
    steps=lambda: list(STEPS), name=lambda step: f"{step}.csv", text=STEPS.__getitem__
)
NAMES = {f"{step}.csv" for step in STEPS}


def test_a_data_version_holds_its_step_and_all_before_it() -> None:
    assert ingest.collect(SOURCE, "one") == {"one.csv": A}
    assert ingest.collect(SOURCE, "two") == {"one.csv": A, "two.csv": B}
    assert set(ingest.collect(SOURCE, "three")) == NAMES


def test_an_unknown_step_is_refused_with_the_known_ones() -> None:
    with pytest.raises(IngestFailed) as error:
        ingest.collect(SOURCE, "four")
    assert str(error.value) == "there is no 'four'; there is one to three"


def test_the_md5_of_a_version_is_that_of_its_files_on_disk(tmp_path: Path) -> None:
    files = ingest.collect(SOURCE, "three")
    ingest.write(tmp_path / "data", files, NAMES)
    assert ingest.version_md5(files) == identity(tmp_path / "data")


@pytest.mark.parametrize("step", list(STEPS))
def test_the_recorded_version_is_found_by_its_md5(step: str) -> None:
    files = ingest.collect(SOURCE, step)
    assert ingest.recorded(SOURCE, ingest.version_md5(files)) == files


@pytest.mark.parametrize(("md5", "shown"), [("0" * 32 + ".dir", "0" * 32), ("", "(none)")])
def test_an_md5_of_no_version_is_refused_with_two_ways_on(md5: str, shown: str) -> None:
    with pytest.raises(IngestFailed) as error:
        ingest.recorded(SOURCE, md5)
    sentence = str(error.value)
    assert sentence.startswith(f"no version of the source has the recorded md5 {shown}")
    assert sentence.endswith("; `dvc pull` may have it, or name a version with --through")


def test_write_leaves_foreign_files_alone_and_removes_later_steps(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"mine.csv": "x,y\n0,0\n", "three.csv": "old"})
    ingest.write(folder, ingest.collect(SOURCE, "two"), NAMES)
    found = {p.name: p.read_text() for p in folder.iterdir()}
    assert found == {"mine.csv": "x,y\n0,0\n", "one.csv": A, "two.csv": B}


def test_whoever_reads_while_a_file_is_written_sees_the_old_one_whole(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"one.csv": "old, and longer than what comes\n" * 100})
    old = (folder / "one.csv").read_text()
    with (folder / "one.csv").open() as reader:
        ingest.write(folder, {"one.csv": A}, NAMES)
        assert reader.read() == old
    assert (folder / "one.csv").read_text() == A
    assert [p.name for p in folder.iterdir()] == ["one.csv"]


def test_a_file_that_is_right_is_not_written_again(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"one.csv": A, "two.csv": "wrong"})
    before = {name: (folder / name).stat().st_ino for name in ("one.csv", "two.csv")}
    ingest.write(folder, {"one.csv": A, "two.csv": B}, NAMES)
    same = {name: (folder / name).stat().st_ino == inode for name, inode in before.items()}
    assert same == {"one.csv": True, "two.csv": False}


def test_without_a_source_the_person_is_told_to_bring_files(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("ingest: {}\n")
    with pytest.raises(IngestFailed) as error:
        ingest.load_source(tmp_path)
    assert str(error.value) == (
        "params.yaml names no ingest.source; put your files into the data folder yourself"
    )


def test_a_source_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("ingest: {source: there.is.none}\n")
    with pytest.raises(IngestFailed) as error:
        ingest.load_source(tmp_path)
    assert str(error.value) == (
        "ingest.source 'there.is.none' cannot be imported: No module named 'there'"
    )


def test_the_command_brings_the_recorded_version_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"S = {STEPS!r}\nsteps = lambda: list(S)\nname = '{{}}.csv'.format\ntext = S.get\n"
    put(tmp_path, {"understudy_test_source.py": code})
    section = {"target": "x", "problem": "regression"}
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump({"ingest": {"source": "understudy_test_source"}, "data": section})
    )
    pointer(tmp_path, ingest.version_md5(ingest.collect(SOURCE, "two")))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(ingest.main, [])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "  data/one.csv  0.0 MB",
        "  data/two.csv  0.0 MB",
        "this is the version that data.dvc names; next: dvc repro",
    ]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["one.csv", "two.csv"]
    done = CliRunner().invoke(ingest.main, ["--through", "one"])
    assert done.output.splitlines()[-1] == "data.dvc names another version; next: dvc add data"
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["one.csv"]
    done = CliRunner().invoke(ingest.main, ["--through", "ten"])
    assert (done.exit_code, done.stderr) == (1, "Error: there is no 'ten'; there is one to three\n")
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["one.csv"]


# Stages' outputs


def test_a_missing_output_names_the_stage_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageMissing) as error:
        paths.need(tmp_path, paths.CONTRACT, "validate")
    assert str(error.value) == (
        "artifacts/contract.json is not there; run `dvc repro validate` first"
    )
    assert paths.need(tmp_path.parent, Path(tmp_path.name), "validate") == tmp_path


def test_the_same_value_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "new" / "1.json", tmp_path / "new" / "2.json"
    paths.write_json(one, {"b": 1, "a": [1.5, "ü"]})
    paths.write_json(two, {"a": [1.5, "ü"], "b": 1})
    assert one.read_bytes() == two.read_bytes()
    assert paths.read_json(one) == {"a": [1.5, "ü"], "b": 1}
