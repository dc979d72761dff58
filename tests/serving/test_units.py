"""What the prediction log knows of an experiment, in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from serving import record_store, record_tables, record_units
from serving.errors import LogOfAnotherKind
from serving.feedback import Item
from serving.frames import Record
from serving.records import Log, Window
from serving.unpack import unpack

BODY = b'{"dataframe_split":{"columns":["a"],"data":[[1]]}}'
TWO = b'{"dataframe_split":{"columns":["a"],"data":[[1],[2]]}}'


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """Of an empty log."""
    file = f"sqlite:///{tmp_path}/p.db"
    url = file if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    found = record_tables.engine(url)
    with found.begin() as connection:
        for table in ("predictions", "labels", "log_about"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    record_tables.create(found)
    yield found
    found.dispose()


def log(engine: sa.Engine) -> Log:
    return Log(engine.url.render_as_string(hide_password=False))


def put(engine: sa.Engine, name: str, time: float, arm: str, **more: Any) -> None:
    facts: dict[str, Any] = {
        "version": 1, "key": "", "body": BODY, "rows": 1, "answer": b'{"predictions":[0.5]}',
        "milliseconds": 2.0, "status": 200, "experiment": "x", "weight": 0.5,
        "content_type": "application/json",
    }  # fmt: skip
    record = Record(id=name, time=time, model="m", arm=arm, **{**facts, **more})
    with engine.begin() as connection:
        record_store.insert(connection, record_store.values(record, unpack(record)))


def label(engine: sa.Engine, *items: Item, now: float = 1000.0) -> list[str]:
    with engine.begin() as connection:
        return [a.result for a in record_store.label(connection, items, now=now, days=60)]


def labelled(engine: sa.Engine, after: int = 0) -> list[record_units.LabelledUnit]:
    return record_units.labelled(log(engine), "x", after).units


def units(engine: sa.Engine) -> list[record_units.Unit]:
    return [u for some in record_units.units(log(engine), "x") for u in some]


def test_units_come_by_their_time_and_only_those_that_were_drawn(engine: sa.Engine) -> None:
    put(engine, "b", 2.0, "challenger", key="k", fault="failed")
    put(engine, "a", 1.0, "champion", weight=0.25)
    put(engine, "again", 3.0, "challenger", key="k", weight=None)  # a key that was seen before
    put(engine, "bad", 4.0, "champion", status=502, body=b"", answer=b"")
    put(engine, "other", 5.0, "champion", experiment="y")
    put(engine, "none", 5.0, "", experiment="", weight=None)
    found = units(engine)
    assert [(u.id, u.arm, u.weight, u.fault, u.status, u.key) for u in found] == [
        ("a", "champion", 0.25, "", 200, ""),
        ("b", "challenger", 0.5, "failed", 200, "k"),
        ("bad", "champion", 0.5, "", 502, ""),
    ]
    assert {u.other_fault for u in found} == {None}


def test_of_several_rows_the_first_stands_for_the_draw(engine: sa.Engine) -> None:
    put(engine, "q", 1.0, "champion", body=TWO, rows=2, answer=b'{"predictions":[1,2]}')
    assert [u.id for u in units(engine)] == ["q-0"]
    assert label(engine, Item(3, "q-1"), Item(1, "q-0")) == ["stored", "stored"]
    assert [u.id for u in labelled(engine)] == ["q-0"]


def test_units_are_read_in_pieces(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_units, "CHUNK", 3)
    for n in range(8):
        put(engine, f"p{n}", 1.0 + n // 4, "champion")  # several at the same time
    assert [u.id for u in units(engine)] == [f"p{n}" for n in range(8)]


def test_shadows_stand_beside_what_was_answered_and_take_no_label(engine: sa.Engine) -> None:
    put(engine, "p", 1.0, "champion", key="k")
    put(engine, "sp", 1.5, "shadow", key="k", version=2, weight=None, body=b"",
        answer=b'{"predictions":[0.75]}')  # fmt: skip
    put(engine, "q", 2.0, "champion")
    put(engine, "sq", 2.5, "shadow", weight=None, fault="failed", status=502, body=b"", answer=b"")
    assert [(u.id, u.other_fault, u.other_status) for u in units(engine)] == [
        ("p", "", 200), ("q", "failed", 502),
    ]  # fmt: skip
    # The key means what the caller was given; a shadow has no label of its own.
    assert label(engine, Item(1, key="k"), Item(1, "sp")) == ["stored", "unknown"]
    (found,) = labelled(engine)
    assert (found.id, found.answer, found.other, found.label) == ("p", 0.5, 0.75, 1)
    assert (found.fault, found.other_fault) == ("", "")
    # Who reads predictions is not given what nobody was given.
    assert [p.id for some in log(engine).predictions(Window()) for p in some] == ["p", "q"]
    assert log(engine).one("sp").arm == "shadow"


def test_labels_find_the_unit_that_they_speak_of(engine: sa.Engine) -> None:
    put(engine, "p", 100.0, "champion", key="k")
    put(engine, "q", 200.0, "champion", key="k", weight=None, answer=b'{"predictions":[0.25]}')
    put(engine, "r", 300.0, "challenger", key="k", weight=None)  # the weight grew meanwhile
    put(engine, "alone", 100.0, "challenger")
    put(engine, "other", 100.0, "champion", key="k", experiment="y")

    def found(after: int = 0) -> list[tuple[str, Any, Any]]:
        return [(u.id, u.answer, u.label) for u in labelled(engine, after)]

    assert label(engine, Item(1, "r"), Item(1, "other")) == ["stored", "stored"]
    assert found() == []
    assert label(engine, Item(2, key="k", time=250.0)) == ["stored"]
    assert found() == [("p", 0.25, 2)]  # by the newest one of the key, for the key's unit
    assert label(engine, Item(3, "p"), Item(4, "alone")) == ["stored", "stored"]
    assert found() == [("p", 0.25, 2), ("p", 0.5, 3), ("alone", 0.5, 4)]
    last = labelled(engine)[-1].number
    assert found(last) == []


def test_of_the_units_that_gateways_have_of_a_key_the_first_takes_the_label(
    engine: sa.Engine,
) -> None:
    put(engine, "b", 100.0, "champion", key="k")
    put(engine, "a", 100.0, "champion", key="k")  # another gateway, at the same time
    put(engine, "c", 90.0, "challenger", key="k")  # before the weight went down
    for n, name in enumerate(("b", "a")):
        assert label(engine, Item(n, name)) == ["stored"]
    assert label(engine, Item(7, key="k")) in (["replaced"], ["stored"])
    assert {u.id for u in labelled(engine)} == {"a"}
    assert label(engine, Item(7, "c")) == ["stored"]
    found = labelled(engine)[-1]
    assert (found.id, found.time, found.received) == ("c", 90.0, 1000.0)


def test_what_was_known_before_a_prediction_is_no_label_of_it(engine: sa.Engine) -> None:
    put(engine, "p", 5000.0, "champion")
    assert label(engine, Item(1, "p", time=1000.0), now=6000.0) == ["stored"]
    assert labelled(engine) == []
    assert label(engine, Item(0, "p", time=4980.0), now=6000.0) == ["replaced"]  # clocks differ
    assert [u.label for u in labelled(engine)] == [0]


def test_a_label_from_the_future_does_not_count_and_keeps_no_right_one_out(
    engine: sa.Engine,
) -> None:
    for name, moment in (("p", 1000.0), ("q", 6000.0 + 3 * 86400)):
        put(engine, name, 5000.0, "champion")
        assert label(engine, Item(1, name, time=moment), now=6000.0) == ["stored"]
        assert label(engine, Item(1, name, time=moment), now=6000.0) == ["duplicate"]
        assert label(engine, Item(1, name), now=6000.0) == ["replaced"]  # the same, but timely
        assert label(engine, Item(1, name), now=6000.0) == ["duplicate"]
    found = [(u.id, u.label) for u in labelled(engine)]
    assert found == [("p", 1), ("q", 1)]


def test_labels_are_read_on_from_a_number_in_pieces(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert record_units.first_label(log(engine), "x") == 0
    assert record_units.labelled(log(engine), "x", 0) == ([], 0, False)
    for n in range(4):
        put(engine, f"old{n}", 10.0, "", experiment="", weight=None)
        assert label(engine, Item(1, f"old{n}"), now=20.0 + n) == ["stored"]
    for n in range(7):
        put(engine, f"p{n}", 100.0 + n, "champion", key="k" * (n % 2))
        assert label(engine, Item(n, f"p{n}"), now=500.0 + n) == ["stored"]
    # Nothing is of "x" that came long before its first unit.
    first = record_units.first_label(log(engine), "x")
    assert first == 4
    assert record_units.first_label(log(engine), "y") == 0
    monkeypatch.setattr(record_units, "CHUNK", 3)
    monkeypatch.setattr(record_units, "PART", 2)
    found: list[tuple[str, Any]] = []
    number, more, pieces = first, True, []
    while more:
        some, number, more = record_units.labelled(log(engine), "x", number)
        found += [(u.id, u.label) for u in some]
        pieces.append(number)
    assert pieces == [7, 10, 11]
    keyed = [("p1" if n % 2 else f"p{n}", n) for n in range(7)]
    assert found == keyed  # all labels of a key are of its first unit
    # From zero on the same is found, in more pieces.
    assert record_units.labelled(log(engine), "x", 0) == ([], 3, True)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_question_about_labels_walks_through_the_log(engine: sa.Engine) -> None:
    """Whatever else it holds: over a month of it that took minutes."""
    for n in range(50):
        put(engine, f"p{n}", 100.0 + n, "champion", key=f"k{n % 20}")
        label(engine, Item(n, f"p{n}"))
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, values: Any, *rest: Any) -> None:
        if "FROM labels" in statement or "FROM predictions" in statement:
            asked.append((statement, values))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        record_units.first_label(log(engine), "x")
        assert len(labelled(engine)) == 50
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(asked) >= 5
    with engine.connect() as connection:
        for text, values in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
            scans = [row.detail for row in plan if "SCAN" in row.detail]
            # The newest labels, by their number, as far as CHUNK goes; each comes with one seek.
            assert all("labels" in scan for scan in scans), (text, scans)


def test_a_log_of_the_first_format_is_brought_up_and_keeps_what_it_has(engine: sa.Engine) -> None:
    put(engine, "p", 1.0, "", experiment="", weight=None)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX predictions_experiment")
        for column in ("experiment", "weight", "fault"):
            connection.exec_driver_sql(f"ALTER TABLE predictions DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE log_about SET value = '1' WHERE name = 'format'")
    with pytest.raises(LogOfAnotherKind, match="`understudy serve` brings an older one up to it"):
        log(engine).one("p")
    record_tables.create(engine)
    record_tables.create(engine)
    assert log(engine).one("p").experiment == ""
    put(engine, "q", 2.0, "champion")
    assert [u.id for u in units(engine)] == ["q"]
