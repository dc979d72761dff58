"""One line for each swap, fault or refusal: readable on a terminal, JSON where asked for."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO


class Log:
    """Writes events; a stream that is gone stops nothing."""

    def __init__(self, *, as_json: bool = False, stream: IO[str] | None = None) -> None:
        self._json, self._stream = as_json, stream or sys.stderr

    def say(self, event: str, facts: Mapping[str, object]) -> None:
        """Write an event with its facts; those that are empty are left out on a terminal."""
        now = datetime.now(UTC)
        if self._json:
            line = json.dumps({"time": now.isoformat(), "event": event, **facts}, default=str)
        else:
            told = " ".join(f"{k}={_plain(v)}" for k, v in facts.items() if v not in ("", None))
            line = f"{now:%H:%M:%S} {event.replace('_', ' ')} {told}".rstrip()
        try:
            print(line, file=self._stream, flush=True)
        except (OSError, ValueError):
            return


class Handler(logging.Handler):
    """Takes what libraries log, so that a line is a line of ours; without a trace."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the class of an exception and where it was raised."""
        facts: dict[str, object] = {"level": record.levelname, "says": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            facts["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            if frames:
                facts["where"] = f"{frames[-1].name}, line {frames[-1].lineno}"
        self._log.say("server", facts)


def _plain(value: object) -> str:
    text = str(value).replace("\n", " ")
    return f"{text!r}" if " " in text else text
