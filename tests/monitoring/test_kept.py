"""What the monitor remembers, in a real database, and whose turn it is."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitoring import kept as module
from monitoring.decide import Act
from monitoring.errors import MonitorBusy, MonitorStoreRefused
from monitoring.findings import Finding, Judged, Measured, Quality
from monitoring.kept import Kept, Mute, settle, url_of

FOUND = Finding("drift", "temp", "wasserstein", 0.5, 0.1, True, False, "temp moved")
QUALITY = Quality(
    2, 100, 40, 1, {"median": 3.0}, (Measured("roc_auc", 0.7, 0.6, 0.8, 39),),
    {"origin": {"JFK": Measured("roc_auc", 0.7, 0.6, 0.8, 20)}},
)  # fmt: skip


def window(number: int, rows: int = 100) -> Judged:
    return Judged(
        "m", number, number, number + 1, rows, 2, (FOUND,), (QUALITY,), labels={"late": 0.2}
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where nothing is kept yet, in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/monitor.db"
    found: str = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(found, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        module._tables.drop_all(connection)
    return found


@pytest.fixture
def kept(url: str) -> Kept:
    return Kept(url, "m")


def test_several_may_be_the_first_at_the_same_moment(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Kept(url, "m"), range(8)))
    assert [kept.windows(1) for kept in found] == [[]] * 8


def test_who_comes_while_another_makes_the_file_waits(tmp_path: Path) -> None:
    """SQLite waits for no lock where it changes the journal's mode."""
    path = tmp_path / "monitor.db"
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("CREATE TABLE first (x)")
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, other.commit).start()
        assert Kept(f"sqlite:///{path}", "m").windows(1) == []


def test_windows_come_back_as_they_were_by_number(kept: Kept, url: str) -> None:
    for number in (2, 1, 3):
        kept.keep(window(number), {"n": number})
    assert [w.number for w in kept.windows(2)] == [2, 3]
    assert Kept(url, "m").windows(5)[0] == window(1)
    assert kept.profile(2) == {"n": 2}
    assert kept.profile(9) is None
    assert Kept(url, "another").windows(5) == []


def test_a_window_judged_anew_replaces_itself_and_is_shown_anew(kept: Kept) -> None:
    kept.keep(window(1), {"n": 1})
    kept.published(1, "run")
    assert kept.unpublished() == []
    kept.keep(window(1, rows=101), None)
    ((shown, decision, run),) = kept.unpublished()
    assert (shown.rows, decision, run) == (101, {}, "run")
    assert kept.profile(1) == {"n": 1}


def test_a_decision_is_shown_once(kept: Kept) -> None:
    kept.keep(window(1), None)
    kept.published(1, "run")
    assert kept.decision(1) is None
    kept.decided(1, {"action": "alert"})
    assert kept.decision(1) == {"action": "alert"}
    assert len(kept.unpublished()) == 1
    kept.published(1, "run")
    kept.decided(1, {"action": "alert"})
    assert kept.unpublished() == []


def test_an_act_that_nobody_ended_has_failed(kept: Kept) -> None:
    number = kept.begin(Act("retrain", 7, ("performance",), 2, "begun"), "retraining")
    (deed,) = kept.deeds()
    assert (deed.id, deed.act.about, deed.ended) == (number, ("performance",), None)
    over = settle(deed)
    assert over.act.state == "failed"
    assert over.sentence.endswith("the monitor ended in the middle of it")
    kept.end(number, over.act.state, over.sentence)
    assert kept.deeds()[0].act.state == "failed"


def test_an_alert_is_sent_until_it_is_taken_or_given_up(kept: Kept) -> None:
    kept.alert(("log", "webhook"), {"sentence": "s"})
    kept.alert((), {"sentence": "nobody"})
    first, second = kept.unsent()
    kept.sent(first.id)
    for _ in range(module.TRIES):
        assert [a.id for a in kept.unsent()] == [second.id]
        kept.sent(second.id, "it answered 500")
    assert kept.unsent() == []


def test_a_mute_ends_by_itself_or_by_a_person(kept: Kept) -> None:
    kept.mute(Mute(100.0, "ana", "fair"))
    assert kept.muted(99.0) == Mute(100.0, "ana", "fair")
    assert kept.muted(100.0) is None
    kept.mute(None)
    assert kept.muted(0.0) is None


def test_one_at_a_time_and_who_died_holds_nothing_up(
    kept: Kept, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Kept(url, "m")
    busy = pytest.raises(MonitorBusy, match=r"the monitor \d+ on .* is looking at m")
    with kept.turn():
        with busy, other.turn():
            pytest.fail("two at once")
        with Kept(url, "n").turn():  # another model
            pass
    with other.turn():
        pass
    monkeypatch.setattr(module, "TURN", 2.0)
    Kept(url, "m")._take_turn("a monitor that dies")
    with pytest.raises(MonitorBusy, match="a monitor that dies is looking at m"), kept.turn():
        pytest.fail("two at once")
    time.sleep(2.1)
    with other.turn():
        time.sleep(2.5)  # whatever it waits for, it is at work
        with busy, kept.turn():
            pytest.fail("two at once")
        other.require_turn()


def test_who_lost_the_turn_does_nothing_that_must_not_be_done_twice(kept: Kept, url: str) -> None:
    with kept.turn():
        kept.require_turn()
        with kept._engine.begin() as connection:  # as of a machine that slept
            connection.execute(sa.text("UPDATE monitor_turns SET holder = 'another one#1'"))
        with pytest.raises(MonitorBusy, match="another one is looking at m"):
            kept.require_turn()
    with pytest.raises(MonitorBusy, match="another one"), Kept(url, "m").turn():
        pytest.fail("its turn was taken away")


def _take(url: str, gate: Barrier, taken: Queue[bool], over: Event) -> None:
    gate.wait()
    try:
        with Kept(url, "m").turn():
            taken.put(True)
            over.wait(100)
    except MonitorBusy:
        taken.put(False)


def test_of_several_processes_one_has_the_turn(kept: Kept, url: str) -> None:
    context = multiprocessing.get_context("fork")
    gate, taken, over = context.Barrier(4), context.Queue(), context.Event()
    kept.close()
    several = [context.Process(target=_take, args=(url, gate, taken, over)) for _ in range(4)]
    for one in several:
        one.start()
    found = [taken.get(timeout=100) for _ in several]
    over.set()
    for one in several:
        one.join(100)
    assert sorted(found) == [False, False, False, True]


def test_where_it_lies() -> None:
    folder = Path("/p/.understudy")
    log = "postgresql://u:p@h/d"
    assert url_of(None, "sqlite:////p/x.db", folder) == "sqlite:////p/.understudy/monitor.db"
    assert url_of(None, log, folder) == log
    assert url_of("sqlite:////q.db", log, folder) == "sqlite:////q.db"


def test_a_place_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MonitorStoreRefused, match=r"cannot be kept in sqlite:.*monitor\.store"):
        Kept(f"sqlite:///{tmp_path}/file/monitor.db", "m")
    said = r"cannot be kept in mysql://h/d \(nobody has tried mysql\); monitor\.store"
    with pytest.raises(MonitorStoreRefused, match=said):
        Kept("mysql://u:hidden@h/d", "m")
    (tmp_path / "other.db").write_bytes(b"no database" * 100)
    with pytest.raises(MonitorStoreRefused, match="not a database"):
        Kept(f"sqlite:///{tmp_path}/other.db", "m")


def test_what_no_window_is_is_not_read_as_one(kept: Kept) -> None:
    kept.keep(window(1), None)
    with kept._engine.begin() as connection:
        connection.execute(sa.text("UPDATE monitor_windows SET judged = '{\"model\": 1}'"))
    with pytest.raises(ValueError, match="this is no window"):
        kept.windows(1)
