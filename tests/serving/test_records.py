"""The prediction log: real writers, real databases, and what becomes of each record and label."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import sqlalchemy as sa
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import frames, record_store, record_tables
from serving import recorder as recorder_module
from serving.errors import LogMissing, LogOfAnotherKind, LogUrlRefused, PredictionNotFound
from serving.feedback import RESULTS, Item, parse_feedback
from serving.frames import Record
from serving.recorder import LAUNCH, Recorder, RecordsRefused, url_of
from serving.records import Log, Window, moments
from serving.unpack import unpack
from serving.wire import NotAccepted

SPLIT = b'{"dataframe_split":{"columns":["a","b"],"data":[[1,2.5]]}}'
ANSWER = b'{"predictions":[0.25]}'
DAY = 86400.0


def record(name: str = "p", body: bytes = SPLIT, answer: bytes = ANSWER, **more: Any) -> Record:
    facts: dict[str, Any] = {
        "time": time.time(), "model": "m", "version": 3, "arm": "", "key": "",
        "content_type": "application/json", "rows": 1, "milliseconds": 2.5, "status": 200,
    }  # fmt: skip
    return Record(id=name, body=body, answer=answer, **{**facts, **more})


class Said(list[tuple[str, Mapping[str, object]]]):
    """What a recorder told the gateway's log."""

    def say(self, event: str, facts: Mapping[str, object]) -> None:
        """Hear it."""
        self.append((event, dict(facts)))

    @property
    def events(self) -> list[str]:
        """Without their facts."""
        return [event for event, _ in self]


@contextlib.asynccontextmanager
async def recording(url: str, said: Said | None = None, **options: Any) -> Any:
    recorder = Recorder(url, say=(said if said is not None else Said()).say, **options)
    await recorder.start()
    try:
        yield recorder
    finally:
        await recorder.stop(10)


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.01)


def drained(recorder: Recorder) -> Callable[[], bool]:
    return lambda: recorder.counts()["queued"] == 0


def run(what: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await what()

    return uvloop.run(main())


def reconciles(recorder: Recorder) -> bool:
    counts = recorder.counts()
    return counts["offered"] == counts["written"] + counts["lost"] + counts["queued"]


def ids(url: str) -> list[str]:
    found = [p.id for some in Log(url).predictions(Window()) for p in some]
    assert len(found) == len(set(found))
    return sorted(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "predictions.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty log's address, in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/p.db"
    found: str = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(found, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        for table in ("predictions", "labels", "log_about"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    return found


def fill(url: str, *what: Record) -> sa.Engine:
    """A log with these records, written here and now."""
    engine = record_tables.engine(url)
    record_tables.create(engine)
    with engine.begin() as connection:
        for one in what:
            record_store.insert(connection, record_store.values(one, unpack(one)))
    return engine


# Frames

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
RECORDS = st.builds(
    Record,
    id=TEXT, time=st.floats(allow_nan=False), model=TEXT, version=st.integers(0, 2**62), arm=TEXT,
    key=TEXT, body=st.binary(max_size=300), content_type=TEXT, rows=st.integers(0, 10**6),
    answer=st.binary(max_size=300), milliseconds=st.floats(allow_nan=False),
    status=st.integers(0, 999), experiment=TEXT, fault=TEXT,
    weight=st.none() | st.floats(0, 1),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=8))
def test_records_come_out_of_a_frame_as_they_went_in(some: list[Record]) -> None:
    assert frames.unpack(frames.pack(some)) == some


@given(st.lists(RECORDS, min_size=1, max_size=3), st.data())
def test_a_frame_that_is_cut_is_refused(some: list[Record], data: st.DataObject) -> None:
    packed = frames.pack(some)
    lengths = {len(frames.pack(some[:n])) for n in range(len(some) + 1)}
    at = data.draw(st.integers(0, len(packed)).filter(lambda n: n not in lengths))
    with pytest.raises(ValueError, match=r"."):
        frames.unpack(packed[:at])


@given(
    st.lists(
        st.tuples(st.sampled_from([b"S", b"P", b"F"]), st.integers(0, 2**64 - 1), st.binary())
    ),
    st.integers(1, 40),
)
def test_frames_are_found_in_a_stream_however_it_is_cut(
    some: list[tuple[bytes, int, bytes]], step: int
) -> None:
    stream = b"".join(frames.frame(*one) for one in some)
    buffer, found = bytearray(), []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        while (one := frames.take(buffer)) is not None:
            found.append(one)
    assert found == some
    assert not buffer


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        frames.take(bytearray(b"GET / HTTP/1.1\r\n\r\n"))


@settings(max_examples=50)
@given(st.text(), st.text())
def test_texts_that_no_utf8_can_hold_are_packed_nevertheless(key: str, kind: str) -> None:
    mangled = record(key=f"{key}\ud800", content_type=kind)
    (back,) = frames.unpack(frames.pack([mangled]))
    assert back.key.endswith("?")


# From requests to rows


def rows(body: bytes, answer: bytes = ANSWER, never: tuple[str, ...] = (), **more: Any) -> Any:
    found = unpack(record("x", body, answer, **more), never)
    return [
        (r.id, r.features and json.loads(r.features), r.answer and json.loads(r.answer))
        for r in found
    ]


TWO = b'{"predictions":[1,2]}'


def parquet() -> bytes:
    import pandas as pd

    stream = io.BytesIO()
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"dataframe_split":{"columns":["a","b"],"data":[[1,"x"],[2,null]]}}', "json"),
        (
            b'{"dataframe_split":{"index":[7,8],"columns":["a","b"],"data":[[1,"x"],[2,NaN]]}}',
            "json",
        ),
        (b'{"dataframe_records":[{"a":1,"b":"x"},{"a":2,"b":null}]}', "json"),
        (b'{"instances":[{"a":1,"b":"x"},{"a":2,"b":null}],"params":{"t":1}}', "json"),
        (b'{"inputs":{"a":[1,2],"b":["x",null]}}', "json; charset=utf-8"),
        (b"a,b\n1,x\n2,\n", "csv"),
        (b'\xef\xbb\xbfa,b\r\n1,"x"\r\n\r\n2,nan\r\n', "csv"),
        (parquet(), "parquet"),
    ],
)
def test_every_form_of_a_request_becomes_rows(body: bytes, kind: str) -> None:
    types = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
    content_type = types.get(kind, f"application/{kind}")
    assert rows(body, TWO, content_type=content_type, rows=0) == [
        ("x-0", {"a": 1, "b": "x"}, 1),
        ("x-1", {"a": 2, "b": None}, 2),
    ]


def test_a_request_of_one_row_keeps_its_id() -> None:
    assert rows(SPLIT) == [("x", {"a": 1, "b": 2.5}, 0.25)]


def test_columns_without_names_have_their_positions() -> None:
    assert rows(b'{"inputs":[[1,2],[3,4]]}', TWO)[1] == ("x-1", {"0": 3, "1": 4}, 2)
    assert rows(b'{"instances":[5,6]}', TWO)[0] == ("x-0", {"0": 5}, 1)


def test_a_name_that_comes_twice_is_told_apart_as_pandas_does() -> None:
    assert rows(b"a,a,b\n1,2,3\n", content_type="text/csv")[0][1] == {"a": 1, "a.1": 2, "b": 3}


@pytest.mark.parametrize(
    ("body", "answer", "found"),
    [
        (b"nonsense", ANSWER, [("x", None, 0.25)]),
        (b"nonsense", b"nonsense", [("x", None, None)]),
        (b'{"instances":"ab"}', ANSWER, [("x", None, 0.25)]),
        (b'{"inputs":{"a":"ab"}}', ANSWER, [("x", None, 0.25)]),
        (b'{"dataframe_split":{"columns":["a"],"data":[[1,2]]}}', ANSWER, [("x", None, 0.25)]),
        (
            SPLIT,
            b'{"predictions":{"p":[1],"q":[2]}}',
            [("x", {"a": 1, "b": 2.5}, {"p": 1, "q": 2})],
        ),
        (SPLIT, b'{"predictions":"one for all"}', [("x", {"a": 1, "b": 2.5}, "one for all")]),
        (
            b'{"inputs":[[1],[2]]}',
            b'{"predictions":[1,2,3]}',
            [("x-0", {"0": 1}, [1, 2, 3]), ("x-1", {"0": 2}, None)],
        ),
    ],
)
def test_what_is_out_of_the_ordinary_is_kept_as_far_as_it_goes(
    body: bytes, answer: bytes, found: Any
) -> None:
    assert rows(body, answer) == found


def test_a_request_that_failed_leaves_no_inputs() -> None:
    assert rows(SPLIT, b'{"error_code":"BAD_REQUEST"}', status=400) == [("x", None, None)]


def test_numbers_that_no_64_bits_hold_stay_numbers() -> None:
    body = b'{"dataframe_records":[{"a":123456789012345678901234567890,"b":NaN}]}'
    assert rows(body)[0][1]["a"] == 123456789012345678901234567890


SECRET = "s3cr3t"  # noqa: S105
J, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
WITH_SECRETS = [
    (
        '{"dataframe_split":{"columns":["a","ssn","ssn"],"data":[[1,"%s","%s"]]}}',
        J,
    ),
    ('{"dataframe_split":{"data":[["%s"]]}}', J),
    ('{"dataframe_records":[{"a":1,"ssn":"%s"},{"ssn":"%s"}]}', J),
    ('{"dataframe_records":[{"a":[{"ssn":"%s"}]}]}', J),
    ('{"inputs":{"a":[1],"ssn":["%s"]}}', J),
    ('{"inputs":[["%s"]]}', J),
    ('{"instances":[[1],{"ssn":"%s"}]}', J),
    ('{"instances":[{"ssn":"%s"}],"params":{"ssn":"%s"}}', J),
    ('{"ssn":"%s"', J),
    ("a,ssn\n1,%s\n", CSV),
    ("a,ssn\n1,%s,2\n", CSV),
    ("%s", PARQUET),
]


@given(
    st.lists(st.sampled_from(["a", "b", "ssn"]), min_size=1, max_size=4),
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]),
    st.integers(1, 3),
)
def test_what_is_never_stored_is_in_no_row(names: list[str], form: str, count: int) -> None:
    def cell(name: str) -> str:
        return SECRET if name == "ssn" else "plain"

    data: Any = [{n: cell(n) for n in names} for _ in range(count)]
    if form == "dataframe_split":
        data = {"columns": names, "data": [[cell(n) for n in names] for _ in range(count)]}
    elif form == "inputs":
        data = {n: [cell(n)] * count for n in names}
    found = unpack(record(body=orjson.dumps({form: data})), ("ssn",))
    assert SECRET not in repr(found)
    assert len(found) == count
    assert all(("plain" in str(r.features)) == (set(names) != {"ssn"}) for r in found)


def test_what_is_never_stored_is_nowhere_in_the_file(file: Path, url: str) -> None:
    async def act() -> None:
        async with recording(url, never_stored=("ssn",)) as recorder:
            for n, (body, kind) in enumerate(WITH_SECRETS):
                for status in (200, 400):
                    text = body.replace("%s", SECRET).encode()
                    recorder.put(record(f"{n}-{status}", text, content_type=kind, status=status))
            await until(drained(recorder))
            assert recorder.counts()["written"] == 2 * len(WITH_SECRETS)
            # Also while the log is written to.
            for part in file.parent.iterdir():
                assert SECRET.encode() not in part.read_bytes()

    run(act)
    assert file.stat().st_mode & 0o077 == 0
    for part in file.parent.iterdir():
        assert SECRET.encode() not in part.read_bytes()


# The recorder and its writer


def test_what_is_put_is_read_back(any_url: str) -> None:
    async def act() -> Recorder:
        async with recording(any_url) as recorder:
            for n in range(300):
                recorder.put(record(f"p{n:03}", key=f"k{n}", time=1000.0 + n))
            two = b'{"dataframe_records":[{"a":1},{"a":2}]}'
            recorder.put(record("q", two, TWO, arm="challenger", time=5000.0))
            recorder.put(record("r", status=502, time=5001.0))
        return recorder

    recorder: Recorder = run(act)
    assert recorder.counts() == {"offered": 302, "written": 302, "lost": 0, "queued": 0}
    assert recorder.problem == ""
    log = Log(any_url)
    assert ids(any_url) == [*(f"p{n:03}" for n in range(300)), "q-0", "q-1", "r"]
    one = log.one("p007")
    assert (one.time, one.model, one.version, one.arm, one.key) == (1007.0, "m", 3, "", "k7")
    assert (one.features, one.answer, one.milliseconds, one.status) == (
        {"a": 1, "b": 2.5}, 0.25, 2.5, 200,
    )  # fmt: skip
    assert [p.id for some in log.predictions(Window(arm="challenger")) for p in some] == [
        "q-0",
        "q-1",
    ]
    with pytest.raises(PredictionNotFound, match="each has an id of its own: q-0 to q-1"):
        log.one("q")
    with pytest.raises(PredictionNotFound, match="there is no prediction 'nothing' in the log"):
        log.one("nothing")


def test_a_writer_that_is_killed_in_mid_write_loses_and_doubles_nothing(url: str) -> None:
    said = Said()

    async def act() -> tuple[Recorder, list[str]]:
        offered, kills = [], 0
        async with recording(url, said) as recorder:
            while kills < 6:
                before = recorder.counts()["written"]
                while recorder.counts()["written"] < before + 200 + 37 * kills:
                    for _ in range(20 if recorder.counts()["queued"] < 2_000 else 0):
                        offered.append(f"{len(offered):06}")
                        recorder.put(record(offered[-1]))
                    assert reconciles(recorder)
                    await asyncio.sleep(0.002)
                victim = recorder.writer
                if victim is not None:
                    os.kill(victim, signal.SIGKILL)
                    kills += 1
                    await until(lambda dead=victim: recorder.writer != dead)
            assert recorder.counts()["queued"] > 0
            await until(drained(recorder))
            assert recorder.starts == kills + 1
        return recorder, offered

    recorder, offered = run(act)
    counts = recorder.counts()
    assert counts["lost"] == 0
    assert counts["offered"] == counts["written"] == len(offered)
    assert ids(url) == offered
    assert said.events[0] == "log_not_written"
    assert said.events[-1] == "log_written_again"
    assert "signal 9" in str(said[0][1]["why"])


def test_a_full_disk_stops_no_answer_and_is_told_and_got_over(url: str) -> None:
    said = Said()

    async def act() -> None:
        async with recording(url, said, queue_bytes=400_000) as recorder:
            recorder.put(record("first"))
            await until(drained(recorder))
            assert recorder.writer is not None
            resource.prlimit(recorder.writer, resource.RLIMIT_FSIZE, (1000, -1))
            took = []
            for n in range(2000):
                start = time.perf_counter()
                recorder.put(record(f"p{n}"))
                took.append(time.perf_counter() - start)
                await asyncio.sleep(0.0005)
            assert sorted(took)[-20] < 0.1  # a busy machine may hold up a few of them
            await until(lambda: recorder.counts()["lost"] > 0 and "disk" in recorder.problem)
            assert reconciles(recorder)
            with pytest.raises(NotAccepted, match="labels cannot be stored at present"):
                await recorder.feedback([Item(1, "first")])
            resource.prlimit(recorder.writer, resource.RLIMIT_FSIZE, (-1, -1))
            await until(drained(recorder))
            assert reconciles(recorder)
            assert recorder.starts == 1
            recorder.put(record("last"))
            await until(drained(recorder))
            counts = recorder.counts()
            assert len(ids(url)) == counts["written"] == counts["offered"] - counts["lost"]
            assert Log(url).one("last")

    run(act)
    assert said.events.count("log_not_written") == 1  # and not a line for each attempt
    assert "log_written_again" in said.events
    assert "log_full" in said.events


def without_override() -> tuple[str, ...]:
    """How to start a writer that may not write to files it has no right to, even as root."""
    if os.getuid():
        return LAUNCH
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root writes to files that are read-only, and there is no setpriv")
    drop = "-dac_override"
    return (setpriv, f"--bounding-set={drop}", f"--inh-caps={drop}", *LAUNCH)


def test_a_file_that_is_read_only_is_told_and_got_over(file: Path, url: str) -> None:
    fill(url).dispose()
    file.chmod(0o400)

    async def act() -> None:
        async with recording(url, launch=without_override()) as recorder:
            recorder.put(record())
            await until(lambda: "readonly" in recorder.problem)
            assert recorder.counts() == {"offered": 1, "written": 0, "lost": 0, "queued": 1}
            for part in file.parent.iterdir():  # what SQLite keeps beside it is of its mode
                part.chmod(0o600)
            await until(drained(recorder))
            assert recorder.problem == ""
            assert recorder.counts()["written"] == 1

    run(act)
    assert ids(url) == ["p"]


def test_a_database_that_does_not_answer_holds_nothing_up() -> None:
    async def act() -> None:
        url = "postgresql+psycopg2://nobody:hidden@127.0.0.1:1/none"
        recorder = Recorder(url, say=Said().say)
        await recorder.start()
        recorder.put(record())
        await until(lambda: "refused" in recorder.problem)
        assert "hidden" not in recorder.problem
        start = time.monotonic()
        await recorder.stop(0.5)
        assert time.monotonic() - start < 10
        assert recorder.counts() == {"offered": 1, "written": 0, "lost": 1, "queued": 0}
        recorder.put(record())
        assert recorder.counts()["lost"] == 2

    run(act)


def test_a_queue_that_is_full_counts_what_it_loses(url: str) -> None:
    said = Said()

    async def act() -> None:
        async with recording(url, said, queue_bytes=10_000) as recorder:
            os.kill(writer := running(recorder), signal.SIGSTOP)
            for n in range(100):
                recorder.put(record(f"p{n}"))
            counts = recorder.counts()
            assert counts["queued"] + counts["lost"] == counts["offered"] == 100
            assert 10 <= counts["queued"] <= 16
            assert "more is to be logged than is written" in recorder.problem
            os.kill(writer, signal.SIGCONT)
            await until(drained(recorder))
            assert recorder.counts()["lost"] == counts["lost"]
            assert len(ids(url)) == counts["queued"]

    run(act)
    assert said.events == ["log_full"]


def test_two_gateways_write_to_one_log(any_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "ANSWER_WITHIN", 100.0)

    async def act() -> None:
        async with recording(any_url) as one, recording(any_url) as other:
            for n in range(500):
                one.put(record(f"one{n}", key=f"k{n}"))
                other.put(record(f"other{n}"))
            await until(lambda: drained(one)() and drained(other)())
            items = [Item(1, key=f"k{n}") for n in range(500)]
            answers = await asyncio.gather(one.feedback(items), other.feedback(items))
            found = sorted(answer["result"] for some in answers for answer in some)
            assert found == ["duplicate"] * 500 + ["stored"] * 500

    run(act)
    assert len(ids(any_url)) == 1000


def test_the_record_that_ends_every_writer_is_given_up_alone(tmp_path: Path, url: str) -> None:
    poisoned = tmp_path / "poisoned.py"
    poisoned.write_text(
        "import os, sys\nfrom serving import record_writer as w\nhonest = w.rows_of\n"
        "w.rows_of = lambda r, *n: os._exit(9) if r.key == 'poison' else honest(r, *n)\n"
        "sys.exit(w.main())\n"
    )

    async def act() -> dict[str, int]:
        launch = (sys.executable, str(poisoned))
        async with recording(url, launch=launch) as recorder:
            for n in range(9):
                recorder.put(record(f"p{n}", key="poison" if n == 4 else ""))
            await until(drained(recorder))
        counts: dict[str, int] = recorder.counts()
        return counts

    assert run(act) == {"offered": 9, "written": 8, "lost": 1, "queued": 0}
    assert ids(url) == [f"p{n}" for n in range(9) if n != 4]


def test_the_writer_writes_what_it_was_given_and_ends_with_a_killed_gateway(
    tmp_path: Path, url: str
) -> None:
    gateway = (
        "import asyncio, os, signal\n"
        "from serving.recorder import Recorder\nfrom tests.serving.test_records import record\n"
        "async def main():\n"
        f"    r = Recorder({url!r}, say=lambda *_: None)\n    await r.start()\n"
        "    print(r.writer, flush=True)\n"
        "    for n in range(100): r.put(record(f'p{n}'))\n"
        "    r._pump()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )

    async def act() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", gateway, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        writer = int(await process.stdout.readline())
        assert await process.wait() == -signal.SIGKILL
        await until(lambda: not is_running(writer))

    run(act)
    assert len(ids(url)) == 100


def running(recorder: Recorder) -> int:
    """Its writer's number; for 0 a signal would go to all of ours."""
    assert recorder.writer
    return recorder.writer


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or read
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nonsense", "Could not parse"),
        ("sqlite://", "names no file"),
        ("mysql://u:hidden@h/d", "nobody has tried mysql"),
        ("postgresql+none://h/d", "postgresql.none"),
    ],
)
def test_an_address_that_can_never_be_a_log_is_refused_at_the_start(url: str, word: str) -> None:
    async def act() -> None:
        async with recording(url):
            raise AssertionError("it began")

    with pytest.raises(RecordsRefused, match=word) as caught:
        run(act)
    assert "hidden" not in str(caught.value)
    assert str(caught.value).startswith("serve.records is '")


def test_a_log_of_another_release_is_left_alone(url: str) -> None:
    engine = fill(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE log_about SET value = '99'")

    async def act() -> None:
        async with recording(url):
            raise AssertionError("it began")

    with pytest.raises(RecordsRefused, match="is of format 99, and this release knows format 2"):
        run(act)
    with pytest.raises(LogOfAnotherKind):
        Log(url).one("p")


def test_where_the_log_is() -> None:
    assert url_of("off", Path("/x")) == ""
    assert url_of(None, Path("/x")) == url_of("", Path("/x"))
    assert url_of("", Path("/x")) == "sqlite:////x/predictions.db"
    assert url_of("postgresql://h/d", Path("/x")) == "postgresql://h/d"
    with pytest.raises(LogMissing, match="there is no prediction log at"):
        Log("sqlite:////nowhere/p.db").one("p")
    with pytest.raises(LogUrlRefused):
        Log("nonsense")


# Labels


def give(engine: sa.Engine, *items: Item, now: float | None = None) -> list[tuple[str, str]]:
    with engine.begin() as connection:
        found = record_store.label(connection, items, now=now or time.time(), days=30)
    assert {answer.result for answer in found} <= set(RESULTS)
    return [tuple(answer) for answer in found]


def test_each_label_gets_its_answer(any_url: str) -> None:
    now = time.time()
    two = record("two", b'{"inputs":[[1],[2]]}', TWO, key="pair", time=now)
    old = record("old", time=now - 31 * DAY)
    engine = fill(any_url, record("one", key="k", time=now), two, old)
    assert give(engine, Item("late", "one"), Item(1, "nobody"), Item(1, key="nobody")) == [
        ("stored", "one"), ("unknown", ""), ("unknown", ""),
    ]  # fmt: skip
    assert give(engine, Item("late", "one"), Item("late", key="k")) == [("duplicate", "one")] * 2
    assert give(engine, Item("on time", key="k")) == [("replaced", "one")]
    assert give(engine, Item(1, "two"), Item(1, key="pair"), Item(1, "two-1")) == [
        ("ambiguous", ""), ("ambiguous", ""), ("stored", "two-1"),
    ]  # fmt: skip
    assert give(engine, Item(0, "old")) == [("late", "old")]
    assert give(engine, Item(0.0, "old"), Item(False, "old")) == [
        ("duplicate", "old"), ("late", "old"),
    ]  # fmt: skip
    # Several for one prediction at once.
    assert give(engine, Item(5, "two-0"), Item(5, "two-0"), Item(6, "two-0")) == [
        ("stored", "two-0"), ("duplicate", "two-0"), ("replaced", "two-0"),
    ]  # fmt: skip
    engine.dispose()
    log = Log(any_url)
    kept = log.one("one").label
    assert kept is not None
    assert (kept.label, kept.late) == ("on time", False)
    assert [(x.label, x.counts) for x in log.labels("one")] == [("late", False), ("on time", True)]
    assert [(x.label, x.counts) for x in log.labels("two-0")] == [(5, False), (6, True)]
    late = log.one("old").label
    assert late is not None
    assert (late.label, late.late) == (False, True)


def test_a_key_means_its_newest_prediction_up_to_the_time_of_the_label(any_url: str) -> None:
    now = time.time()
    engine = fill(
        any_url,
        record("first", key="k", time=now - 300),
        record("second", key="k", time=now - 200),
        record("failed", key="k", time=now - 100, status=500),
        record("other", key="k", time=now - 50, model="n"),
    )
    assert give(engine, Item(1, key="k", model="m")) == [("stored", "second")]
    assert give(engine, Item(1, key="k", model="m")) == [("duplicate", "second")]
    assert give(engine, Item(1, key="k", time=now - 250)) == [("stored", "first")]
    assert give(engine, Item(1, key="k", time=now - 400)) == [("unknown", "")]
    assert give(engine, Item(1, key="k")) == [("stored", "other")]
    engine.dispose()


def test_ten_thousand_labels_at_once(url: str) -> None:
    engine = fill(url, *(record(f"p{n}") for n in range(3000)))
    start = time.process_time()
    answers = give(engine, *(Item(n % 2, f"p{n % 4000}") for n in range(10_000)))
    assert time.process_time() - start < 15
    found = [result for result, _ in answers]
    assert (found.count("stored"), found.count("unknown")) == (3000, 2000)
    assert found.count("duplicate") == 5000
    engine.dispose()


def test_labels_come_after_the_predictions_that_were_put_before(url: str) -> None:
    async def act() -> Any:
        async with recording(url) as recorder:
            for n in range(1000):
                recorder.put(record(f"p{n}"))
            several = ([Item(n, f"p{n}"), Item(0, "x")] for n in (999, 0))
            asked = [asyncio.ensure_future(recorder.feedback(some)) for some in several]
            await asyncio.sleep(0)
            recorder.put(record("x"))
            return await asyncio.gather(*asked)

    assert run(act) == [
        [{"result": "stored", "prediction_id": f"p{n}"}, {"result": "unknown", "prediction_id": ""}]
        for n in (999, 0)
    ]


def test_labels_whose_writer_is_killed_are_stored_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "ANSWER_WITHIN", 100.0)

    async def act() -> Any:
        async with recording(url) as recorder:
            recorder.put(record())
            asked = asyncio.ensure_future(recorder.feedback([Item(1, "p")]))
            await asyncio.sleep(0)
            os.kill(running(recorder), signal.SIGKILL)
            return await asked

    ((answer,),) = [run(act)]
    assert answer["result"] in ("stored", "duplicate")
    assert len(Log(url).labels("p")) == 1


GOOD = {"prediction_id": "p", "label": 1}


def test_labels_are_read_singly_or_many() -> None:
    assert parse_feedback(orjson.dumps(GOOD)) == [Item(1, "p")]
    more = {"key": "k", "label": "x", "model": "m", "time": "2026-01-02T03:04:05+01:00"}
    assert parse_feedback(orjson.dumps([GOOD, more])) == [
        Item(1, "p"),
        Item("x", key="k", model="m", time=1767319445.0),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"{", b"[]", b"1", b"[1]", b"null", b"NaN", b'{"prediction_id":"p","label":NaN}',
        *(
            orjson.dumps(raw)
            for raw in (
                {"label": 1}, {"prediction_id": "p"}, {**GOOD, "key": "k"}, {**GOOD, "label": None},
                {**GOOD, "label": [1]}, {**GOOD, "label": "x" * 1001}, {**GOOD, "more": 1},
                {**GOOD, "prediction_id": ""}, {**GOOD, "prediction_id": 5},
                {**GOOD, "prediction_id": "a\0"}, {**GOOD, "prediction_id": "x" * 201},
                {**GOOD, "time": "yesterday"}, {**GOOD, "time": "2026-01-02"},
                {**GOOD, "time": -1}, {**GOOD, "time": True}, {**GOOD, "time": 1e300},
                {**GOOD, "model": None}, [GOOD] * 10_001, [GOOD, {}],
            )
        ),
        b'{"prediction_id":"\xff","label":1}', b'{"prediction_id":"\\ud800","label":1}',
        b'{"prediction_id":"p","label":1e400}', b" " * 1_000_001,
    ],
)  # fmt: skip
def test_labels_that_are_malformed_are_refused_without_an_echo(wrong: bytes) -> None:
    with pytest.raises(NotAccepted) as caught:
        parse_feedback(wrong)
    assert caught.value.status in (400, 413)
    assert len(str(caught.value)) < 200


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["prediction_id", "key", "label", "time"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_as_labels_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(NotAccepted):
        for item in parse_feedback(body):
            assert Item(*orjson.loads(orjson.dumps(item.as_list()))) == item


# Retention


def test_what_is_too_old_goes_with_its_labels(any_url: str) -> None:
    now = time.time()
    old = [record(f"old{n:04}", time=now - 11 * DAY) for n in range(2100)]
    engine = fill(any_url, *old, record("new", time=now - 9 * DAY))
    give(engine, *(Item(1, name) for name in ("old0000", "old2099", "new")))
    assert record_store.sweep(engine, days=10, limit=10**9, now=now)  # in small steps
    assert not record_store.sweep(engine, days=10, limit=10**9, now=now)
    engine.dispose()
    log = Log(any_url)
    assert ids(any_url) == ["new"]
    assert [len(log.labels(name)) for name in ("old0000", "old2099", "new")] == [0, 0, 1]


def test_what_is_too_much_goes_from_the_old_end_and_leaves_the_disk(any_url: str) -> None:
    now, count = time.time(), 6000
    body = b'{"dataframe_records":[{"a":"%s"}]}' % (b"x" * 500)
    engine = fill(any_url, *(record(f"{n:05}", body, time=now - count + n) for n in range(count)))
    steps = 1
    while record_store.sweep(engine, days=10, limit=2_000_000, now=now):
        steps += 1
    engine.dispose()
    left = ids(any_url)
    assert 500 < len(left) < 3500
    assert left == [f"{n:05}" for n in range(count - len(left), count)]
    assert 1 < steps < 10
    if any_url.startswith("sqlite"):
        assert Path(any_url.removeprefix("sqlite:///")).stat().st_size < 2_200_000


def test_the_writer_keeps_to_the_limits_by_itself(url: str) -> None:
    async def act() -> None:
        async with recording(url, days=1.0) as recorder:
            recorder.put(record("old", time=time.time() - 2 * DAY))
            recorder.put(record("new"))
            await until(lambda: recorder.counts()["written"] == 2 and ids(url) == ["new"])

    run(act)


# Reading


def test_a_window_is_read_in_chunks_and_as_tables(any_url: str) -> None:
    some = [record(f"p{n:02}", time=100.0 + n // 3, version=1 + n % 2) for n in range(50)]
    engine = fill(any_url, *some, record("failed", status=500, time=110.0))
    give(engine, Item("yes", "p10", time=500.0), Item(True, "p11"))
    engine.dispose()
    log = Log(any_url)
    chunks = list(log.predictions(Window(until=110.0), chunk=7))
    assert [len(c) for c in chunks] == [7, 7, 7, 7, 2]
    assert [p.id for c in chunks for p in c] == [f"p{n:02}" for n in range(30)]
    assert log.count() == 51
    assert log.count(Window(since=110.0, version=2)) == 10
    assert log.count(Window(labelled=True)) == 2
    assert log.count(Window(model="other")) == 0
    facts, features = log.tables(Window())
    assert len(facts) == len(features) == 50
    assert list(features.columns) == ["a", "b"]
    assert facts.loc["p10", ["answer", "label", "version"]].tolist() == [0.25, "yes", 1]
    assert facts.loc["p11", "late"]
    assert facts["label"].notna().sum() == 2
    assert facts.loc["p10", "label_time"].timestamp() == 500.0
    assert facts.loc["p00", "time"].timestamp() == 100.0
    empty_facts, empty = log.tables(Window(model="other"))
    assert (len(empty_facts), len(empty)) == (0, 0)
    assert "label" in empty_facts


def test_moments_with_gaps_do_not_depend_on_what_memory_holds() -> None:
    some = [100.25, None] * 20
    for _ in range(20):
        garbage = [np.full(size, 1.7e308) for size in (40, 20) for _ in range(7)]
        del garbage
        found = moments(some)
        assert found.isna().tolist() == [False, True] * 20
        assert found[0].timestamp() == 100.25


# What it costs


def test_a_record_costs_the_event_loop_microseconds_and_the_writer_keeps_up(url: str) -> None:
    """Bars of a quiet machine: 5 microseconds, 5,000 a second; here with a busy one's slack."""
    names = [f"f{n}" for n in range(16)]
    body = orjson.dumps(
        {"dataframe_split": {"columns": names, "data": [[0.5 + n for n in range(16)]]}}
    )

    async def act() -> tuple[float, float]:
        async with recording(url) as recorder:
            count, spent, start = 15_000, time.thread_time(), time.perf_counter()
            for n in range(count):
                recorder.put(record(f"{n:08x}", body, time=0.0))
                if n % 100 == 0:
                    await asyncio.sleep(0)
            await until(drained(recorder))
            took = time.perf_counter() - start
            return (time.thread_time() - spent) / count, count / took

    each, rate = run(act)
    assert each < 100e-6
    assert rate > 500
