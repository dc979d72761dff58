"""The prediction log as it is read, by whoever reads it: `Log`, with `Window` and `Prediction`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving import record_tables as tables
from serving.errors import LogMissing, LogUnreachable, PredictionNotFound
from serving.feedback import Label

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label of a prediction."""

    label: Label
    time: float | None
    """Seconds since 1970 when the outcome was there, as far as it was said."""
    received: float
    late: bool
    counts: bool
    """False where another one replaced it."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A row of the log, with the label that counts."""

    id: str
    row: int | None
    """Its place in a request of several rows, None in one of a single row."""
    time: float
    """Seconds since 1970."""
    model: str
    version: int
    arm: str
    key: str
    features: dict[str, Any] | None
    """None where they were not kept."""
    answer: Any
    milliseconds: float
    status: int
    label: Labelled | None
    experiment: str = ""
    """In which it was made; empty outside of one."""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True)
class Window:
    """Which predictions; None stands for all."""

    since: float | None = None
    """Seconds since 1970, included."""
    until: float | None = None
    """Not included."""
    model: str | None = None
    version: int | None = None
    arm: str | None = None
    """None stands for all but answers that nobody was given (`shadow`)."""
    labelled: bool | None = None
    """Only those with a label, or only those without."""


class Tables(NamedTuple):
    """Predictions as tables with the same index, the prediction ids, in the order of their time."""

    facts: pd.DataFrame
    """time (UTC), model, version, arm, key, answer, milliseconds, status, label, label_time,
    label_received (both UTC) and late; missing where there is no label."""
    features: pd.DataFrame
    """A column for each feature."""


class Log:
    """Reads the log, while it is written to or not.

    Every method raises LogMissing where there is none, LogUnreachable where it does not answer,
    and LogOfAnotherKind.
    """

    def __init__(self, url: str) -> None:
        """Raises LogUrlRefused."""
        self._engine = tables.engine(url, reading=True)

    def predictions(self, window: Window, chunk: int = 5000) -> Iterator[list[Prediction]]:
        """The predictions of a window by time, so many at once.

        Each chunk is read for itself: who takes an hour over them holds nothing up, and sees what
        came meanwhile.
        """
        after: tuple[float, str] | None = None
        while True:
            asked = _asked(window, after).limit(chunk)
            with self.connected() as connection:
                found = [_prediction(row) for row in connection.execute(asked)]
            if found:
                yield found
            if len(found) < chunk:
                return
            after = (found[-1].time, found[-1].id)

    def tables(self, window: Window) -> Tables:
        """The predictions of a window that were answered (status 200), for pandas."""
        import pandas as pd

        rows = [p for some in self.predictions(window) for p in some if p.status == 200]
        index = pd.Index([p.id for p in rows], name="id")
        labels = [p.label for p in rows]
        times: dict[str, list[float | None]] = {
            "time": [p.time for p in rows],
            "label_time": [known.time if known else None for known in labels],
            "label_received": [known.received if known else None for known in labels],
        }
        facts = pd.DataFrame(
            {
                **{n: [getattr(p, n) for p in rows] for n in _PLAIN},
                "answer": pd.Series([p.answer for p in rows], dtype=object),
                "label": pd.Series([known and known.label for known in labels], dtype=object),
                "late": pd.Series([known and known.late for known in labels], dtype="boolean"),
                **{name: moments(some) for name, some in times.items()},
            }
        )
        features = pd.DataFrame.from_records([p.features or {} for p in rows])
        return Tables(facts.set_index(index), features.set_index(index))

    def one(self, prediction_id: str) -> Prediction:
        """A single prediction. Raises PredictionNotFound."""
        with self.connected() as connection:
            asked = _joined().where(tables.predictions.c.id == prediction_id)
            found = connection.execute(asked).first()
            if found is None:
                table = tables.predictions.c
                names = (f"{prediction_id}-{n}" for n in (0, 1))
                if len(tables.times(connection, list(names))) < 2:
                    raise PredictionNotFound(prediction_id)
                own = table.id.startswith(f"{prediction_id}-", autoescape=True)
                last = connection.scalar(sa.select(sa.func.max(table.row)).where(own))
                raise PredictionNotFound(prediction_id, int(last or 0) + 1)
        return _prediction(found)

    def labels(self, prediction_id: str) -> list[Labelled]:
        """All labels that a prediction ever had, the first first."""
        table = tables.labels.c
        asked = (
            sa.select(tables.labels).where(table.prediction == prediction_id).order_by(table.number)
        )
        with self.connected() as connection:
            rows = connection.execute(asked).all()
        return [
            Labelled(tables.parsed(r.label), r.time, r.received, bool(r.late), bool(r.counts))
            for r in rows
        ]

    def count(self, window: Window | None = None) -> int:
        """How many predictions there are in a window."""
        rows = _asked(window or Window()).order_by(None).subquery()
        with self.connected() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(rows)) or 0)

    def moment(self, window: Window, rows: int) -> float | None:
        """When, after so many answered predictions of a window, the next one came; None if none."""
        table = tables.predictions.c
        asked = (
            sa.select(table.time)
            .where(table.status == 200, *_within(window))
            .order_by(table.time, table.id)
            .offset(rows)
            .limit(1)
        )
        with self.connected() as connection:
            found = connection.scalar(asked)
        return None if found is None else float(found)

    def newest_label(self) -> int:
        """The number of the label that came last; 0 where there is none."""
        with self.connected() as connection:
            return connection.scalar(sa.select(sa.func.max(tables.labels.c.number))) or 0

    def labels_after(
        self, model: str, number: int, chunk: int = 5000
    ) -> list[tuple[int, float | None]]:
        """Labels that came after the one with this number, so many at the most, in their order.

        Each with its number and the time of the prediction; None where that is another model's.
        """
        label, table = tables.labels.c, tables.predictions.c
        asked = (
            sa.select(label.number, label.prediction)
            .where(label.number > number)
            .order_by(label.number)
            .limit(chunk)
        )
        with self.connected() as connection:
            rows = connection.execute(asked).all()
            times: dict[str, float] = {}
            for start in range(0, len(rows), 500):
                some = [row.prediction for row in rows[start : start + 500]]
                own = (table.id.in_(some), table.model == model, table.status == 200)
                found = connection.execute(sa.select(table.id, table.time).where(*own))
                times |= {row.id: row.time for row in found}
        return [(row.number, times.get(row.prediction)) for row in rows]

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """To a log that is there and can be read."""
        shown, name = tables.shown(self._engine), self._engine.url.database or ""
        is_file = self._engine.dialect.name == "sqlite" and not name.startswith("file:")
        if is_file and not Path(name).exists():
            raise LogMissing(shown)
        try:
            with self._engine.connect() as connection:
                if not tables.is_there(connection):
                    raise LogMissing(shown)
                yield connection
        except SQLAlchemyError as error:
            raise LogUnreachable(shown, tables.why(error)) from None


_PLAIN = ("model", "version", "arm", "key", "milliseconds", "status")


def _joined() -> sa.Select[Any]:
    """All predictions, with the labels that count."""
    table, known = tables.predictions.c, tables.labels.c
    counts = sa.and_(known.prediction == table.id, known.counts)
    return sa.select(
        tables.predictions,
        known.label,
        known.time.label("label_time"),
        known.received,
        known.late,
    ).select_from(tables.predictions.outerjoin(tables.labels, counts))


def _asked(window: Window, after: tuple[float, str] | None = None) -> sa.Select[Any]:
    """Predictions with the labels that count, by time; from one on that was seen last."""
    table, known = tables.predictions.c, tables.labels.c
    asked = _joined().where(*_within(window))
    if window.labelled is not None:
        asked = asked.where(known.label.is_not(None) == window.labelled)
    if after is not None:
        asked = asked.where(sa.tuple_(table.time, table.id) > sa.tuple_(*map(sa.literal, after)))
    return asked.order_by(table.time, table.id)


def _within(window: Window) -> list[sa.ColumnElement[bool]]:
    """The conditions of a window, but whether there is a label."""
    table = tables.predictions.c
    found: list[sa.ColumnElement[bool]] = []
    for column, wanted in (
        (table.model, window.model),
        (table.version, window.version),
        (table.arm, window.arm),
    ):
        if wanted is not None:
            found.append(column == wanted)
    if window.arm is None:
        found.append(table.arm != tables.SHADOW)
    if window.since is not None:
        found.append(table.time >= window.since)
    if window.until is not None:
        found.append(table.time < window.until)
    return found


def _prediction(row: Any) -> Prediction:
    known = None
    if row.label is not None:
        known = Labelled(
            tables.parsed(row.label), row.label_time, row.received, bool(row.late), counts=True
        )
    return Prediction(
        id=row.id,
        row=row.row,
        time=row.time,
        model=row.model,
        version=row.version,
        arm=row.arm,
        key=row.key or "",
        features=None if row.features is None else tables.parsed(row.features),
        answer=None if row.answer is None else tables.parsed(row.answer),
        milliseconds=row.milliseconds,
        status=row.status,
        label=known,
        experiment=row.experiment or "",
    )


def moments(seconds: list[float | None]) -> pd.Series[pd.Timestamp]:
    """Seconds since 1970 as moments in UTC, NaT where there is none.

    Only what is there is converted: before pandas 3, `to_datetime` leaves the places of gaps
    uninitialised and stumbles over what it finds in them, now and then (pandas issue 58419).
    """
    import pandas as pd

    values = pd.Series(seconds, dtype=float)
    moments = pd.Series(pd.NaT, index=values.index, dtype="datetime64[ns, UTC]")
    known = values.notna()
    moments[known] = pd.to_datetime(values[known], unit="s", utc=True)
    return moments
