"""What the writer does to the prediction log: adds rows and labels, takes out what is old."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from serving import record_tables as tables
from serving.feedback import Item
from serving.frames import Record
from serving.record_units import SLACK
from serving.unpack import Row

STEP = 2000
"""Rows that are taken out at once, when they are too old or too many."""
TOGETHER = 500
"""Ids in one question to the database."""


def values(record: Record, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The table's rows for those of a request; of several the first stands for what was drawn."""
    return [
        {
            "id": row.id,
            "row": row.row,
            "time": record.time,
            "model": record.model,
            "version": record.version,
            "arm": record.arm,
            "key": record.key or None,
            "features": row.features,
            "answer": row.answer,
            "milliseconds": record.milliseconds,
            "status": record.status,
            "experiment": record.experiment or None,
            "weight": None if row.row else record.weight,
            "fault": record.fault or None,
        }
        for row in rows
    ]


def insert(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows made by `values`; those that are there already stay as they are."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(postgresql.insert(tables.predictions).on_conflict_do_nothing(), rows)
    else:
        connection.execute(sa.insert(tables.predictions).prefix_with("OR IGNORE"), rows)


class Answer(NamedTuple):
    """What became of a label (feedback.RESULTS), and of which prediction; empty for none."""

    result: str
    prediction_id: str


def label(
    connection: sa.Connection, items: Sequence[Item], *, now: float, days: float
) -> list[Answer]:
    """Store labels, in their order; feedback.RESULTS says what the answers mean.

    A label that comes more than so many days after its prediction is late.
    """
    answers: list[Answer] = []
    for start in range(0, len(items), TOGETHER):
        some = items[start : start + TOGETHER]
        answers += _Labelling(connection, some, now, now - days * 86400).answers()
    return answers


class _Labelling:
    """A few labels on their way into the tables; one may replace another of the same few."""

    def __init__(
        self, connection: sa.Connection, items: Sequence[Item], now: float, late: float
    ) -> None:
        self._connection, self._items, self._now, self._late = connection, items, now, late
        ids = {item.prediction_id for item in items if item.prediction_id}
        self._times = tables.times(connection, ids)
        missing = ids - set(self._times)
        self._several = tables.times(connection, {f"{name}-0" for name in missing})
        self._meant = [self._prediction(item) for item in items]
        self._have = _counting(connection, {m for m in self._meant if m is not None})
        self._new: dict[str, dict[str, Any]] = {}
        self._added: list[dict[str, Any]] = []
        self._replaced: set[str] = set()

    def answers(self) -> list[Answer]:
        pairs = zip(self._items, self._meant, strict=True)
        answers = [self._answer(item, prediction) for item, prediction in pairs]
        if self._replaced:
            self._connection.execute(
                sa.update(tables.labels)
                .where(tables.labels.c.prediction.in_(self._replaced), tables.labels.c.counts)
                .values(counts=False)
            )
        if self._added:
            self._connection.execute(sa.insert(tables.labels), self._added)
        return answers

    def _prediction(self, item: Item) -> str | None:
        """The id of the prediction that a label is for; empty where that is ambiguous."""
        if item.prediction_id:
            if item.prediction_id in self._times:
                return item.prediction_id
            return "" if f"{item.prediction_id}-0" in self._several else None
        table = tables.predictions.c
        asked = (
            sa.select(table.id, table.row, table.time)
            .where(table.key == item.key, table.status == 200, table.arm != tables.SHADOW)
            .where(table.time <= (self._now if item.time is None else item.time))
            .order_by(table.time.desc())
            .limit(1)
        )
        if item.model:
            asked = asked.where(table.model == item.model)
        found = self._connection.execute(asked).first()
        if found is None:
            return None
        self._times[found.id] = found.time
        return "" if found.row is not None else str(found.id)

    def _answer(self, item: Item, prediction: str | None) -> Answer:
        if not prediction:
            return Answer("unknown" if prediction is None else "ambiguous", "")
        text = orjson.dumps(item.label).decode()
        had, predicted = self._have.get(prediction), self._times[prediction]
        timely = item.time is None or predicted - SLACK <= item.time <= self._now + SLACK
        if had is not None and _same(had[0], text) and (had[1] or not timely):
            return Answer("duplicate", prediction)
        late = predicted < self._late
        if prediction in self._new:
            self._new[prediction]["counts"] = False
        elif had is not None:
            self._replaced.add(prediction)
        row = {
            "prediction": prediction,
            "label": text,
            "time": item.time,
            "received": self._now,
            "late": late,
            "counts": True,
        }
        self._have[prediction], self._new[prediction] = (text, timely), row
        self._added.append(row)
        return Answer("late" if late else "stored" if had is None else "replaced", prediction)


def _counting(connection: sa.Connection, ids: Collection[str]) -> dict[str, tuple[str, bool]]:
    """The labels that count, of those predictions that have one, and whether their time can be."""
    if not ids:
        return {}
    label, prediction = tables.labels.c, tables.predictions.c
    asked = (
        sa.select(
            label.prediction,
            label.label,
            sa.or_(
                label.time.is_(None),
                label.time.between(prediction.time - SLACK, label.received + SLACK),
            ).label("timely"),
        )
        .join(tables.predictions, prediction.id == label.prediction)
        .where(label.prediction.in_(ids), label.counts)
    )
    return {row.prediction: (row.label, row.timely) for row in connection.execute(asked)}


def _same(one: str, other: str) -> bool:
    """1 and 1.0 are the same label, 1 and true are not."""
    a, b = tables.parsed(one), tables.parsed(other)
    return (type(a) is bool) == (type(b) is bool) and bool(a == b)


def sweep(found: sa.Engine, *, days: float, limit: int, now: float) -> bool:
    """Take out the oldest predictions, with their labels, where they are too old or too many.

    At most STEP of them; True where there are more to take out. `limit` is in bytes: what the pages
    of a SQLite file hold, or what the columns of PostgreSQL's tables hold. Raises SQLAlchemyError.
    """
    with found.begin() as connection:
        gone = _take_out(connection, tables.predictions.c.time < now - days * 86400)
    more = gone == STEP
    with found.begin() as connection:
        if not more and _size(connection) > limit:
            more = _take_out(connection, sa.true()) > 0
    if found.dialect.name == "sqlite":
        with found.connect() as connection:
            # As a script: sqlite3 takes a single step of a statement that gives no rows.
            raw: Any = connection.connection.driver_connection
            raw.executescript("PRAGMA incremental_vacuum(4000)")
    return more


def _take_out(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Delete up to STEP of the oldest predictions; how many there were."""
    table = tables.predictions.c
    oldest = sa.select(table.time, table.id).where(which).order_by(table.time, table.id).limit(STEP)
    rows = connection.execute(oldest).all()
    if rows:
        last = sa.tuple_(table.time, table.id) <= sa.tuple_(*map(sa.literal, rows[-1]))
        ids = sa.select(table.id).where(last)
        connection.execute(sa.delete(tables.labels).where(tables.labels.c.prediction.in_(ids)))
        connection.execute(sa.delete(tables.predictions).where(last))
    return len(rows)


_PAGES = (
    "SELECT (p.page_count - f.freelist_count) * s.page_size FROM "
    "pragma_page_count p, pragma_freelist_count f, pragma_page_size s"
)
_COLUMNS = (
    # 200: the other columns and the entries in the indexes. Pages that were emptied are used again
    # after a VACUUM and not given back, so the size of the files says nothing here.
    "SELECT coalesce(sum(200 + coalesce(pg_column_size(features), 0) "
    "+ coalesce(pg_column_size(answer), 0)), 0) FROM predictions"
)


def _size(connection: sa.Connection) -> int:
    query = _COLUMNS if connection.dialect.name == "postgresql" else _PAGES
    return int(connection.exec_driver_sql(query).scalar() or 0)
