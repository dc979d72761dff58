"""One line for each swap, fault or refusal: readable on a terminal, JSON where asked for."""

from __future__ import annotations

import json
import sys
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


def _plain(value: object) -> str:
    text = str(value).replace("\n", " ")
    return f"{text!r}" if " " in text else text
