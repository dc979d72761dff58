"""The process that writes the prediction log, so that the gateway's interpreter does not.

`python -m serving.record_writer`, started by serving/recorder.py. Frames come on stdin (the first
one holds the settings), in their order; on stdout goes a line of JSON for each that is done with,
and one for each attempt that failed. A frame is written in one transaction and until it succeeds.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from sqlalchemy.exc import DataError, SQLAlchemyError

from serving import contract, record_store, record_tables
from serving.errors import LogError
from serving.feedback import Item
from serving.frames import FEEDBACK, PREDICTIONS, SETTINGS, Record, take, unpack
from serving.unpack import unpack as rows_of

READ = 1_000_000
"""Bytes taken from the pipe at once."""
SWEEP_EVERY = 15.0
"""Seconds between two looks for what is too old or too much."""
PATIENCE = 2.0
"""Seconds of the longest pause between two attempts to write."""
LAST = 5.0
"""Seconds for what is left when the gateway is gone."""


@dataclass(frozen=True)
class Settings:
    """What the writer is told first."""

    url: str
    never_stored: tuple[str, ...] = ()
    days: float = 90.0
    max_bytes: int = 2_000_000_000
    label_days: float = 60.0
    parent: int = 0
    """The gateway's process id."""
    contract: Mapping[str, Any] = field(default_factory=dict)
    """What rows are held against (contract.Contracts.settings); later settings change it."""

    def as_json(self) -> bytes:
        """For the frame."""
        return orjson.dumps(asdict(self))


class Gone(Exception):
    """The gateway ended."""


class Inlet:
    """Frames from a pipe."""

    def __init__(self, handle: int) -> None:
        self._handle, self._buffer = handle, bytearray()

    def frame(self, seconds: float | None = None) -> tuple[bytes, int, bytes] | None:
        """The next frame; None if none came within so many seconds. Raises Gone, ValueError."""
        end = None if seconds is None else time.monotonic() + seconds
        while (found := take(self._buffer)) is None:
            left = None if end is None else max(end - time.monotonic(), 0)
            if not select.select([self._handle], [], [], left)[0]:
                return None
            came = os.read(self._handle, READ)
            if not came:
                raise Gone
            self._buffer += came
        return found


class Outlet:
    """Lines of JSON to the gateway; one that is gone stops nothing that is still to be written."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def say(self, **facts: Any) -> None:
        """One line."""
        line = orjson.dumps(facts) + b"\n"
        with suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._handle, line) :]


class Writer:
    """Takes frames to the database."""

    def __init__(self, settings: Settings, inlet: Inlet, outlet: Outlet) -> None:
        """Raises LogUrlRefused."""
        self._settings, self._inlet, self._outlet = settings, inlet, outlet
        self._never = frozenset(settings.never_stored)
        self._checks = contract.checks(settings.contract)
        self._engine = record_tables.engine(settings.url)
        self._made = False
        self._sweep_at = time.monotonic() + 1

    def run(self) -> None:
        """Until the gateway closes the pipe. Raises LogOfAnotherKind."""
        with suppress(SQLAlchemyError, OSError):
            self._connect()  # a fault is told of with the first frame
        self._outlet.say(ready=True)
        try:
            while True:
                came = self._inlet.frame(max(self._sweep_at - time.monotonic(), 0))
                if came is not None:
                    self._take(*came)
                if time.monotonic() >= self._sweep_at:
                    self._sweep()
        except Gone:
            return

    def _take(self, kind: bytes, number: int, content: bytes) -> None:
        if kind == PREDICTIONS:
            counted: dict[str, contract.Counted] = {}
            recorded = [self._rows(record, counted) for record in unpack(content)]
            lost = self._until_done(lambda: self._insert(recorded), number)
            done = {"written": len(recorded) - lost, "lost": lost, "contract": counted}
            self._outlet.say(done=number, **done)
        elif kind == FEEDBACK:
            items = [Item(*raw) for raw in orjson.loads(content)]
            answers = self._until_done(lambda: self._label(items), number)
            self._outlet.say(done=number, answers=[tuple(answer) for answer in answers])
        else:
            self._checks = contract.checks(Settings(**orjson.loads(content)).contract)

    def _rows(self, record: Record, counted: dict[str, contract.Counted]) -> list[dict[str, Any]]:
        """A request's rows for the table; what they violate is added to `counted`, by model."""
        checks = self._checks.get(record.model)

        def see(rows: Sequence[Mapping[str, Any]]) -> None:
            if checks is not None:
                typed = not record.content_type.strip().lower().startswith("text/csv")
                known = counted.setdefault(record.model, contract.nothing())
                contract.add(known, checks.count(rows, typed=typed))

        return record_store.values(record, rows_of(record, self._never, see))

    def _until_done(self, act: Any, number: int) -> Any:
        """What `act` returns, once it does. Raises Gone where the gateway does not wait for it."""
        pause, given_up = 0.05, 0.0
        while True:
            try:
                self._connect()
                return act()
            except (SQLAlchemyError, OSError) as error:
                self._engine.dispose()
                self._outlet.say(failed=number, problem=record_tables.why(error))
            if os.getppid() != self._settings.parent:  # a pipe with frames in it shows no end
                given_up = given_up or time.monotonic() + LAST
                if time.monotonic() > given_up:
                    raise Gone
            time.sleep(pause)
            pause = min(pause * 2, PATIENCE)

    def _connect(self) -> None:
        if not self._made:
            record_tables.create(self._engine)
            self._made = True

    def _insert(self, recorded: Sequence[list[dict[str, Any]]]) -> int:
        """Write all requests, or, where the database takes one of them never, one by one.

        Returns how many it does not take. Raises SQLAlchemyError where it takes none now.
        """
        try:
            with self._engine.begin() as connection:
                record_store.insert(connection, [row for rows in recorded for row in rows])
        except (DataError, ValueError):
            if len(recorded) == 1:
                return 1
            return sum(self._insert([rows]) for rows in recorded)
        return 0

    def _label(self, items: Sequence[Item]) -> list[record_store.Answer]:
        days = self._settings.label_days
        with self._engine.begin() as connection:
            return record_store.label(connection, items, now=time.time(), days=days)

    def _sweep(self) -> None:
        start = time.monotonic()
        more = False
        with suppress(SQLAlchemyError, OSError):  # what is the matter is told of with frames
            self._connect()
            more = record_store.sweep(
                self._engine,
                days=self._settings.days,
                limit=self._settings.max_bytes,
                now=time.time(),
            )
        took = time.monotonic() - start
        # No more than a tenth of the time goes into it, but while there is much to take out.
        self._sweep_at = time.monotonic() + (0 if more else max(SWEEP_EVERY, 10 * took))


def main() -> int:
    """The process. 0 when the gateway closed the pipe, 1 where no log can be kept."""
    os.umask(0o077)  # a log may hold what is not everybody's business
    with suppress(OSError):
        os.nice(10)  # callers first; what waits meanwhile has a queue
    inlet, outlet = Inlet(0), Outlet(1)

    def crashed(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        del error  # its text may hold what was to be logged
        while trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"
        outlet.say(problem=f"its writer failed: {kind.__name__} in {where}")

    sys.excepthook = crashed
    try:
        first = inlet.frame()
        if first is None or first[0] != SETTINGS:
            raise ValueError("the first frame must hold the settings")
        Writer(Settings(**orjson.loads(first[2])), inlet, outlet).run()
    except Gone:
        return 0
    except LogError as error:
        outlet.say(refused=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
