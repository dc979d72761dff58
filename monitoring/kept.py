"""What the monitor remembers: windows, acts, unsent alerts, mutes, and whose turn it is.

This module owns the tables. They lie beside the prediction log: two monitors of one model, on
whatever machine, must know of one another.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from monitoring.decide import Act
from monitoring.errors import MonitorBusy, MonitorStoreRefused
from monitoring.findings import Judged, judged
from registry.settings import without_password
from serving import record_tables
from serving.errors import LogUrlRefused

TURN = 120.0
"""Seconds after which the turn of a monitor that died is over."""
TRIES = 20
"""After so many failures an alert is given up, and said to be."""

_ONE_AFTER_THE_OTHER = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(hashtext('understudy monitor'))",
}
"""Two monitors that are the first at the same moment would both make the tables."""

_tables = sa.MetaData()
_windows = sa.Table(
    "monitor_windows",
    _tables,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("judged", sa.Text, nullable=False),
    sa.Column("profile", sa.Text),  # of its rows, against the reference of its version
    sa.Column("decision", sa.Text),
    sa.Column("published", sa.Boolean, nullable=False),
    sa.Column("run", sa.Text),
)
_acts = sa.Table(
    "monitor_acts",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("window", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("ended", sa.Double),
    sa.Column("sentence", sa.Text, nullable=False),
)
_alerts = sa.Table(
    "monitor_alerts",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("made", sa.Double, nullable=False),
    sa.Column("sent", sa.Double),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("problem", sa.Text),
)
_facts = sa.Table(
    "monitor_facts",
    _tables,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_turns = sa.Table(
    "monitor_turns",
    _tables,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)


@dataclass(frozen=True)
class Mute:
    """Nothing is done until then."""

    until: float
    """Seconds since 1970."""
    actor: str
    reason: str


@dataclass(frozen=True)
class Deed:
    """An act as it is kept."""

    id: int
    act: Act
    began: float
    ended: float | None
    sentence: str


@dataclass(frozen=True)
class Unsent:
    """An alert on its way."""

    id: int
    channel: str
    content: Mapping[str, Any]
    tries: int


def url_of(store: str | None, records: str, folder: Path) -> str:
    """Where the monitor's knowledge lies; `records` is the address of the prediction log."""
    if store:
        return store
    if records.startswith("postgresql"):
        return records
    return f"sqlite:///{folder.resolve()}/monitor.db"


class Kept:
    """What is remembered of one model. Every method raises MonitorStoreRefused."""

    def __init__(self, url: str, model: str) -> None:
        self.model = model
        try:
            self._engine = record_tables.engine(url)
        except LogUrlRefused as error:
            raise MonitorStoreRefused(without_password(url), error.why) from None
        name = self._engine.url.database or ""
        try:
            if self._engine.dialect.name == "sqlite":
                Path(name).parent.mkdir(parents=True, exist_ok=True)
            with self._connected() as connection:
                connection.exec_driver_sql(_ONE_AFTER_THE_OTHER[self._engine.dialect.name])
                _tables.create_all(connection)
        except OSError as error:
            raise MonitorStoreRefused(
                record_tables.shown(self._engine), str(error.strerror)
            ) from None

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # Whose turn it is

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Only one monitor at a time looks at a model. Raises MonitorBusy.

        It is renewed for as long as this lasts, whatever is waited for meanwhile.
        """
        self._holder = f"the monitor {os.getpid()} on {socket.gethostname()}#{uuid4().hex[:12]}"
        self._take_turn(self._holder)
        over = threading.Event()
        pulse = threading.Thread(target=self._renew_until, args=(over,), daemon=True)
        pulse.start()
        try:
            yield
        finally:
            over.set()
            pulse.join()
            with suppress(MonitorStoreRefused), self._connected() as connection:
                connection.execute(sa.delete(_turns).where(*self._mine()))

    def _mine(self) -> tuple[Any, ...]:
        return (_turns.c.model == self.model, _turns.c.holder == self._holder)

    def _take_turn(self, holder: str) -> None:
        now = time.time()
        with self._connected() as connection:
            connection.execute(
                sa.delete(_turns).where(_turns.c.model == self.model, _turns.c.until < now)
            )
        try:
            with self._connected(raw=True) as connection:
                connection.execute(
                    sa.insert(_turns).values(model=self.model, holder=holder, until=now + TURN)
                )
        except IntegrityError:
            raise self._busy() from None

    def _busy(self) -> MonitorBusy:
        with self._connected() as connection:
            row = connection.execute(sa.select(_turns).where(_turns.c.model == self.model)).first()
        other, left = (row.holder, row.until - time.time()) if row else ("another monitor", 0.0)
        return MonitorBusy(self.model, other.partition("#")[0], left)

    def _renew_until(self, over: threading.Event) -> None:
        """In a thread, with a connection of its own."""
        engine = record_tables.engine(self._engine.url.render_as_string(hide_password=False))
        while not over.wait(TURN / 6):
            with suppress(SQLAlchemyError), engine.begin() as connection:
                connection.execute(
                    sa.update(_turns).where(*self._mine()).values(until=time.time() + TURN)
                )
        engine.dispose()

    def require_turn(self) -> None:
        """Before something is done that must not be done twice. Raises MonitorBusy.

        A machine that slept, or a database that was away, may have lost the turn to another.
        """
        with self._connected() as connection:
            done = connection.execute(
                sa.update(_turns).where(*self._mine()).values(until=time.time() + TURN)
            )
        if not done.rowcount:
            raise self._busy()

    # Windows

    def windows(self, limit: int) -> list[Judged]:
        """The newest windows by their number, the newest last."""
        asked = (
            sa.select(_windows.c.judged)
            .where(_windows.c.model == self.model)
            .order_by(_windows.c.number.desc())
            .limit(limit)
        )
        with self._connected() as connection:
            rows = connection.execute(asked).all()
        return [judged(json.loads(row.judged)) for row in reversed(rows)]

    def profile(self, number: int) -> dict[str, Any] | None:
        """What the columns of a window held, as monitoring.profile reads it."""
        asked = sa.select(_windows.c.profile).where(*self._at(number))
        with self._connected() as connection:
            text = connection.scalar(asked)
        return None if text is None else json.loads(text)

    def keep(self, window: Judged, profile: Mapping[str, Any] | None) -> None:
        """A window that was judged, or judged anew; it is to be published then."""
        values = {
            "until": window.until,
            "judged": json.dumps(window.as_dict()),
            "published": False,
        }
        if profile is not None:
            values["profile"] = json.dumps(profile)
        with self._connected() as connection:
            done = connection.execute(
                sa.update(_windows).where(*self._at(window.number)).values(**values)
            )
            if not done.rowcount:
                connection.execute(
                    sa.insert(_windows).values(model=self.model, number=window.number, **values)
                )

    def decided(self, number: int, decision: Mapping[str, Any]) -> None:
        """What came of a window."""
        text = json.dumps(decision)
        with self._connected() as connection:
            was = connection.scalar(sa.select(_windows.c.decision).where(*self._at(number)))
            if was != text:
                connection.execute(
                    sa.update(_windows)
                    .where(*self._at(number))
                    .values(decision=text, published=False)
                )

    def decision(self, number: int) -> dict[str, Any] | None:
        """What came of a window, None before that is known."""
        asked = sa.select(_windows.c.decision).where(*self._at(number))
        with self._connected() as connection:
            text = connection.scalar(asked)
        return None if text is None else json.loads(text)

    def unpublished(self, limit: int = 500) -> list[tuple[Judged, dict[str, Any], str]]:
        """Windows that MLflow does not show as they are: window, decision, run id if it has one."""
        asked = (
            sa.select(_windows)
            .where(_windows.c.model == self.model, sa.not_(_windows.c.published))
            .order_by(_windows.c.number)
            .limit(limit)
        )
        with self._connected() as connection:
            rows = connection.execute(asked).all()
        return [
            (judged(json.loads(r.judged)), json.loads(r.decision or "{}"), r.run or "")
            for r in rows
        ]

    def published(self, number: int, run: str) -> None:
        """MLflow shows a window."""
        with self._connected() as connection:
            connection.execute(
                sa.update(_windows).where(*self._at(number)).values(published=True, run=run)
            )

    def _at(self, number: int) -> tuple[Any, ...]:
        return (_windows.c.model == self.model, _windows.c.number == number)

    # Acts

    def deeds(self, limit: int = 100) -> list[Deed]:
        """The last acts, the newest last."""
        asked = (
            sa.select(_acts)
            .where(_acts.c.model == self.model)
            .order_by(_acts.c.id.desc())
            .limit(limit)
        )
        with self._connected() as connection:
            rows = connection.execute(asked).all()
        return [_deed(row) for row in reversed(rows)]

    def begin(self, act: Act, sentence: str) -> int:
        """Note that something is about to be done; the act's id."""
        with self._connected() as connection:
            done = connection.execute(
                sa.insert(_acts).values(
                    model=self.model,
                    action=act.action,
                    window=act.window,
                    version=act.version,
                    about=json.dumps(act.about),
                    state=act.state,
                    began=time.time(),
                    sentence=sentence,
                )
            )
            number: Any = done.inserted_primary_key
        return int(number[0])

    def end(self, number: int, state: str, sentence: str) -> None:
        """Note what came of an act."""
        with self._connected() as connection:
            connection.execute(
                sa.update(_acts)
                .where(_acts.c.id == number)
                .values(state=state, sentence=sentence, ended=time.time())
            )

    # Alerts

    def alert(self, channels: tuple[str, ...], content: Mapping[str, Any]) -> None:
        """Let an alert be sent through each channel."""
        rows = [
            {"model": self.model, "channel": c, "content": json.dumps(content), "made": time.time(),
             "tries": 0}
            for c in channels
        ]  # fmt: skip
        if rows:
            with self._connected() as connection:
                connection.execute(sa.insert(_alerts), rows)

    def unsent(self) -> list[Unsent]:
        """Alerts that are still to be sent, in their order."""
        asked = (
            sa.select(_alerts)
            .where(_alerts.c.model == self.model, _alerts.c.sent.is_(None))
            .where(_alerts.c.tries < TRIES)
            .order_by(_alerts.c.id)
        )
        with self._connected() as connection:
            rows = connection.execute(asked).all()
        return [Unsent(r.id, r.channel, json.loads(r.content), r.tries) for r in rows]

    def sent(self, number: int, problem: str = "") -> None:
        """An alert was sent, or was not and why."""
        values: dict[str, Any] = {"tries": _alerts.c.tries + 1, "problem": problem or None}
        if not problem:
            values["sent"] = time.time()
        with self._connected() as connection:
            connection.execute(sa.update(_alerts).where(_alerts.c.id == number).values(**values))

    # Mutes and facts

    def mute(self, mute: Mute | None) -> None:
        """Do nothing for a while, or go on where there is None."""
        self.note("mute", None if mute is None else vars(mute))

    def muted(self, now: float) -> Mute | None:
        """The mute that holds."""
        raw = self.fact("mute")
        if not raw or raw["until"] <= now:
            return None
        return Mute(**raw)

    def fact(self, name: str) -> Any:
        """Something small that was noted, or None."""
        asked = sa.select(_facts.c.value).where(_facts.c.model == self.model, _facts.c.name == name)
        with self._connected() as connection:
            text = connection.scalar(asked)
        return None if text is None else json.loads(text)

    def note(self, name: str, value: Any) -> None:
        """Note something small."""
        text = json.dumps(value)
        at = (_facts.c.model == self.model, _facts.c.name == name)
        with self._connected() as connection:
            done = connection.execute(sa.update(_facts).where(*at).values(value=text))
            if not done.rowcount:
                connection.execute(
                    sa.insert(_facts).values(model=self.model, name=name, value=text)
                )

    @contextmanager
    def _connected(self, *, raw: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            if raw:
                raise
            raise MonitorStoreRefused(
                record_tables.shown(self._engine), "another monitor wrote the same"
            ) from None
        except SQLAlchemyError as error:
            raise MonitorStoreRefused(
                record_tables.shown(self._engine), record_tables.why(error)
            ) from None


def _deed(row: Any) -> Deed:
    act = Act(row.action, row.window, tuple(json.loads(row.about)), row.version, row.state)
    return Deed(row.id, act, row.began, row.ended, row.sentence)


def settle(deed: Deed) -> Deed:
    """An act that a monitor which died had begun: it failed."""
    return replace(
        deed,
        act=replace(deed.act, state="failed"),
        sentence=f"{deed.sentence}; the monitor ended in the middle of it",
    )
