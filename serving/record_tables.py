"""The tables of the prediction log, and how their database is opened."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from serving.errors import LogOfAnotherKind, LogUrlRefused

FORMAT = 2
"""Of the tables; noted in them. 1 had no column for experiments."""
SHADOW = "shadow"
"""Arm of an answer that nobody was given; its id is `s` and that of the answer beside it."""
WAIT = 5
"""Seconds for a lock, or for a connection."""

_tables = sa.MetaData()
about = sa.Table(
    "log_about",
    _tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
predictions = sa.Table(
    "predictions",
    _tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("row", sa.Integer),  # its place in a request of several rows
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("features", sa.Text),
    sa.Column("answer", sa.Text),
    sa.Column("milliseconds", sa.Double, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("experiment", sa.Text),
    sa.Column("weight", sa.Double),  # null where no arm was drawn for this row
    sa.Column("fault", sa.Text),
    sa.Index("predictions_time", "time", "id"),
    sa.Index(
        "predictions_experiment",
        "experiment",
        "time",
        "id",
        sqlite_where=sa.text("experiment IS NOT NULL"),
        postgresql_where=sa.text("experiment IS NOT NULL"),
    ),
    sa.Index(
        "predictions_key",
        "key",
        "time",
        sqlite_where=sa.text("key IS NOT NULL"),
        postgresql_where=sa.text("key IS NOT NULL"),
    ),
)
labels = sa.Table(
    "labels",
    _tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("prediction", sa.Text, nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("time", sa.Double),
    sa.Column("received", sa.Double, nullable=False),
    sa.Column("late", sa.Boolean, nullable=False),
    sa.Column("counts", sa.Boolean, nullable=False),  # False for one that was replaced
    sa.Index(
        "labels_one_counts",
        "prediction",
        unique=True,
        sqlite_where=sa.text("counts"),
        postgresql_where=sa.text("counts"),
    ),
)


def engine(url: str, *, reading: bool = False) -> sa.Engine:
    """Knows how to reach the log; connects to nothing yet. Raises LogUrlRefused."""
    try:
        made = sa.make_url(url)
        dialect = made.get_backend_name()
        if dialect not in ("sqlite", "postgresql"):
            raise LogUrlRefused(url, f"nobody has tried {dialect}")
        if dialect == "sqlite" and made.database in (None, "", ":memory:"):
            raise LogUrlRefused(url, "it names no file")
        found = sa.create_engine(
            made,
            # One connection for the writer; readers may be threads.
            poolclass=sa.pool.NullPool if reading else sa.pool.StaticPool,
            connect_args=_PATIENCE[dialect],
        )
    except (SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise LogUrlRefused(url, why(error)) from None
    if dialect == "sqlite":
        sa.event.listen(found, "connect", _for_reading if reading else _for_writing)
    return found


_PATIENCE = {
    "sqlite": {"timeout": WAIT},
    # A server that is no more there is noticed, too: milliseconds without an acknowledgement.
    "postgresql": {"connect_timeout": WAIT, "tcp_user_timeout": 30_000},
}


def _for_writing(connection: Any, _: object) -> None:
    """Readers do not wait for the writer, and what is taken out is given back to the disk.

    A commit survives the end of any process; one just before a power failure may be lost whole.
    """
    for setting in (
        "auto_vacuum=INCREMENTAL",  # before anything else makes the file
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "journal_size_limit=16000000",
    ):
        _set(connection, setting)


def _set(connection: Any, setting: str) -> None:
    """SQLite does not wait for a lock where it changes the journal's mode, which is ours to do."""
    end = time.monotonic() + WAIT
    while True:
        try:
            connection.execute(f"PRAGMA {setting}")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _for_reading(connection: Any, _: object) -> None:
    connection.execute("PRAGMA query_only=ON")


def create(found: sa.Engine) -> None:
    """Make the tables where there are none. Raises LogOfAnotherKind, SQLAlchemyError, OSError."""
    sqlite = found.dialect.name == "sqlite"
    name = found.url.database or ""
    if sqlite and not name.startswith("file:"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    with found.begin() as connection:
        before = _format(connection)
        if before == FORMAT:
            return
        if sqlite:
            # pysqlite begins no transaction for DDL: who dies here would leave half of the tables.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if before is not None:
            _bring_up(connection)
            return
        _tables.create_all(connection)
        connection.execute(sa.insert(about).values(name="format", value=str(FORMAT)))


def is_there(connection: sa.Connection) -> bool:
    """Whether there is a log that can be read. Raises LogOfAnotherKind."""
    found = _format(connection)
    if found not in (None, FORMAT):
        raise LogOfAnotherKind(shown(connection.engine), str(found), FORMAT)
    return found is not None


def _format(connection: sa.Connection) -> int | None:
    """That of a log, None where there is none. Raises LogOfAnotherKind for one that is not ours."""
    if not sa.inspect(connection).has_table(about.name):
        return None
    said = str(connection.scalar(sa.select(about.c.value).where(about.c.name == "format")))
    if said not in map(str, range(1, FORMAT + 1)):
        raise LogOfAnotherKind(shown(connection.engine), said, FORMAT)
    return int(said)


def _bring_up(connection: sa.Connection) -> None:
    """From format 1: the columns of experiments, which are empty in what is there."""
    for column in (predictions.c.experiment, predictions.c.weight, predictions.c.fault):
        kind = column.type.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE predictions ADD COLUMN {column.name} {kind}")
    next(i for i in predictions.indexes if i.name == "predictions_experiment").create(connection)
    connection.execute(sa.update(about).where(about.c.name == "format").values(value=str(FORMAT)))


def shown(found: sa.Engine) -> str:
    """The address without its password."""
    return found.url.render_as_string(hide_password=True)


def why(error: BaseException) -> str:
    """What a database says, in one line and without the values that it was given."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    lines = str(cause).strip().splitlines()
    return lines[0][:200] if lines else type(cause).__name__


def times(connection: sa.Connection, ids: Collection[str]) -> dict[str, float]:
    """The times of those predictions that there are, but those that nobody was given."""
    if not ids:
        return {}
    table = predictions.c
    asked = sa.select(table.id, table.time).where(table.id.in_(ids), table.arm != SHADOW)
    rows = connection.execute(asked)
    return {row.id: row.time for row in rows}


def parsed(text: str) -> Any:
    """A cell that holds JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
