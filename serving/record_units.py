"""What the prediction log knows of one experiment: its units, and the labels that came for them.

By it the evidence goes on after a restart, and late labels find their arm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving import record_tables as tables
from serving.records import Log

CHUNK = 5000
SLACK = 60.0
"""Seconds by which the clocks of a caller and of the gateway may differ."""
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


def labelled(log: Log, experiment: str, after: int) -> list[LabelledUnit]:
    """Labels with a number above this, by it, with the unit they speak of; CHUNK at most.

    A label is of the unit whose first request it answers, or of a later one of the same key as
    long as that had the same arm. Of the units that several gateways have of a key and arm it is
    the first one's. A label whose time is before the prediction, or after it came itself, is left
    out. A unit that has several labels comes several times. Raises LogError.
    """
    table, beside, joined = _beside()
    label, whole = tables.labels.c, tables.predictions.alias("unit")
    unit, earlier = whole.c, tables.predictions.alias("earlier")
    has_earlier = (
        sa.select(sa.literal(1))
        .select_from(earlier)
        .where(
            *_own(earlier.c, experiment),
            earlier.c.arm == unit.arm,
            earlier.c.key == unit.key,
            sa.tuple_(earlier.c.time, earlier.c.id) < sa.tuple_(unit.time, unit.id),
        )
    )
    of_unit = sa.and_(
        *_own(unit, experiment),
        unit.arm == table.arm,
        sa.or_(unit.id == table.id, unit.key == table.key),
        ~has_earlier.exists(),
    )
    asked = (
        sa.select(
            label.number, label.label, label.received, unit.id, unit.time, unit.arm, unit.weight,
            table.fault, table.answer, beside.id.label("other_id"), beside.answer.label("other"),
            beside.fault.label("other_fault"),
        )
        .select_from(
            joined.join(tables.labels, label.prediction == table.id).join(
                whole, of_unit
            )
        )
        .where(table.experiment == experiment, label.number > after)
        .where(
            sa.or_(
                label.time.is_(None),
                label.time.between(table.time - SLACK, label.received + SLACK),
            )
        )
        .order_by(label.number)
        .limit(CHUNK)
    )  # fmt: skip
    with log.connected() as connection:
        return [
            LabelledUnit(
                row.number, row.id, row.time, row.received, row.arm, row.weight, row.fault or "",
                _parsed(row.answer), tables.parsed(row.label), _parsed(row.other),
                None if row.other_id is None else row.other_fault or "",
            )
            for row in connection.execute(asked)
        ]  # fmt: skip


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
