"""What the prediction log knows of one experiment: its units, and the labels that came for them.

By it the evidence goes on after a restart, and late labels find their arm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from serving import record_tables as tables
from serving.records import Log

CHUNK = 5000
SLACK = 60.0
"""Seconds by which the clocks of a caller and of the gateway may differ."""
PART = 500
"""Names in one statement."""
OVERLAP = 1000
"""Labels that are read once more: of two writers the one with the smaller number may come last."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The first request of a key in an experiment, or one without a key."""

    id: str
    time: float
    arm: str
    weight: float
    fault: str
    status: int
    milliseconds: float
    key: str
    other_fault: str | None
    """In shadow mode that of the version whose answer nobody was given, None where none is kept."""
    other_status: int | None


@dataclass(frozen=True, slots=True)
class LabelledUnit:
    """A unit, and a label that came for it."""

    number: int
    """Labels are numbered as they come."""
    id: str
    time: float
    """When the unit was drawn, in seconds since 1970, ..."""
    received: float
    """... and its label came."""
    arm: str
    weight: float
    fault: str
    answer: Any
    label: Any
    other: Any
    """The answer of the version that nobody was given, None where none is kept."""
    other_fault: str | None


class Labelled(NamedTuple):
    """What was read of the labels."""

    units: list[LabelledUnit]
    number: int
    """Of the last label that was looked at, whoever's it is."""
    more: bool
    """Whether there may be others behind it."""


def units(log: Log, experiment: str) -> Iterator[list[Unit]]:
    """All of them, by their time. Raises LogError."""
    table, beside, joined = _beside()
    after: tuple[float, str] | None = None
    while True:
        asked = (
            sa.select(
                table.id, table.time, table.arm, table.weight, table.fault, table.status,
                table.milliseconds, table.key, beside.id.label("other"),
                beside.fault.label("other_fault"), beside.status.label("other_status"),
            )
            .select_from(joined)
            .where(*_own(table, experiment))
            .order_by(table.time, table.id)
            .limit(CHUNK)
        )  # fmt: skip
        if after is not None:
            asked = asked.where(
                sa.tuple_(table.time, table.id) > sa.tuple_(*map(sa.literal, after))
            )
        with log.connected() as connection:
            rows = connection.execute(asked).all()
        if rows:
            yield [_unit(row) for row in rows]
            after = (rows[-1].time, rows[-1].id)
        if len(rows) < CHUNK:
            return


def first_label(log: Log, experiment: str) -> int:
    """A number up to which no label is of an experiment; 0 where it has no units. Raises LogError.

    Labels are numbered as they come, so that those of before its first unit need not be read.
    """
    table, label = tables.predictions.c, tables.labels.c
    with log.connected() as connection:
        began = connection.scalar(
            sa.select(sa.func.min(table.time)).where(*_own(table, experiment))
        )
        low, high = 0, connection.scalar(sa.select(sa.func.max(label.number))) or 0
        while began is not None and low < high:
            middle = (low + high + 1) // 2
            received = connection.scalar(
                sa.select(label.received)
                .where(label.number >= middle)
                .order_by(label.number)
                .limit(1)
            )
            if received is None or received >= began - SLACK:
                high = middle - 1
            else:
                low = middle
    return low


def labelled(log: Log, experiment: str, after: int) -> Labelled:
    """Of CHUNK labels with a number above this, those of an experiment's units. Raises LogError.

    A label is of the unit whose first request it answers, or of a later one of the same key as
    long as that had the same arm. Of the units that several gateways have of a key and arm it is
    the first one's. A label whose time is before the prediction, or after it came itself, is left
    out. A unit that has several labels comes several times.

    Each question goes through one index, whatever else the log holds; all of it in one statement
    leaves the order to the database, and SQLite takes minutes over a month.
    """
    label = tables.labels.c
    asked = (
        sa.select(label.number, label.prediction, label.label, label.time, label.received)
        .where(label.number > after)
        .order_by(label.number)
        .limit(CHUNK)
    )
    with log.connected() as connection:
        rows = connection.execute(asked).all()
        answered = _answered(connection, experiment, {row.prediction for row in rows})
        keys = {row.key for row in answered.values() if row.key}
        firsts = _firsts(connection, experiment, keys)
    found: list[LabelledUnit] = []
    for row in rows:
        given = answered.get(row.prediction)
        if given is None or not _in_time(row.time, given.time, row.received):
            continue
        if given.key:
            unit = firsts.get((given.key, given.arm))
        else:
            unit = None if given.weight is None else given
        if unit is not None:
            found.append(
                LabelledUnit(
                    row.number, unit.id, unit.time, row.received, unit.arm, unit.weight,
                    given.fault or "", _parsed(given.answer), tables.parsed(row.label),
                    _parsed(given.other),
                    None if given.other_id is None else given.other_fault or "",
                )
            )  # fmt: skip
    return Labelled(found, rows[-1].number if rows else after, len(rows) == CHUNK)


def _in_time(said: float | None, predicted: float, received: float) -> bool:
    return said is None or predicted - SLACK <= said <= received + SLACK


def _answered(connection: sa.Connection, experiment: str, ids: Collection[str]) -> dict[str, Any]:
    """Those of the predictions that are of an experiment, by id, each with the one beside it."""
    table, beside, joined = _beside()
    found: dict[str, Any] = {}
    for some in _in_parts(ids):
        asked = (
            sa.select(
                table.id, table.time, table.arm, table.weight, table.key, table.fault, table.answer,
                table.experiment, beside.id.label("other_id"), beside.answer.label("other"),
                beside.fault.label("other_fault"),
            )
            .select_from(joined)
            .where(table.id.in_(some), table.arm != tables.SHADOW)
        )  # fmt: skip
        found |= {row.id: row for row in connection.execute(asked) if row.experiment == experiment}
    return found


def _firsts(
    connection: sa.Connection, experiment: str, keys: Collection[str]
) -> dict[tuple[str, str], Any]:
    """The first unit of each key and arm in an experiment."""
    table = tables.predictions.c
    found: dict[tuple[str, str], Any] = {}
    for some in _in_parts(keys):
        asked = (
            sa.select(table.id, table.time, table.arm, table.weight, table.key, table.experiment)
            .where(table.key.in_(some), table.weight.is_not(None), table.arm != tables.SHADOW)
            .order_by(table.time.desc(), table.id.desc())
        )
        # The last one that is put there is the first one of all.
        found |= {
            (row.key, row.arm): row
            for row in connection.execute(asked)
            if row.experiment == experiment
        }
    return found


def _in_parts(names: Collection[str]) -> Iterator[list[str]]:
    """As many as one statement takes."""
    listed = sorted(names)
    for start in range(0, len(listed), PART):
        yield listed[start : start + PART]


def _beside() -> tuple[Any, Any, sa.Join]:
    """Answers that were given, and beside each the one that was not."""
    given, beside = tables.predictions.c, tables.predictions.alias("beside")
    pairs = sa.and_(beside.c.id == "s" + given.id, beside.c.arm == tables.SHADOW)
    return given, beside.c, tables.predictions.outerjoin(beside, pairs)


def _own(table: Any, experiment: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Units of an experiment."""
    return (
        table.experiment == experiment,
        table.weight.is_not(None),
        table.arm != tables.SHADOW,
    )


def _unit(row: Any) -> Unit:
    return Unit(
        row.id, row.time, row.arm, row.weight, row.fault or "", row.status, row.milliseconds,
        row.key or "", None if row.other is None else row.other_fault or "", row.other_status,
    )  # fmt: skip


def _parsed(text: str | None) -> Any:
    return None if text is None else tables.parsed(text)
