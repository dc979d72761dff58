"""Lets the writers of one machine queue, so that they seldom lose to one another.

The ledger decides who wins whether anyone queues or not; a writer elsewhere does not.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows, where writers race, as those of several machines do
    fcntl = None  # type: ignore[assignment]

PATIENCE = 2.0
"""Seconds to wait for one's turn; then one goes ahead, and the ledger decides."""


@contextmanager
def of(uri: str, model: str, patience: float = PATIENCE) -> Iterator[bool]:
    """One's turn at a model of a store; False when it did not come within `patience` seconds.

    The kernel gives the turn of a process that dies to the next one.
    """
    if fcntl is None:
        yield True
        return
    name = hashlib.sha256(f"{uri}\n{model}".encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"understudy-{os.getuid()}-{name}.lock"
    try:
        file = path.open("w")
    except OSError:  # somebody else's file, or no room: going on without a turn is right
        yield True
        return
    if patience:
        queued = _Queued(file)  # even where the turn is free: those who wait came first
        try:
            yield queued.wait(patience)
        finally:
            queued.leave()
    else:
        with file:
            yield _free(file)


def _free(file: IO[str]) -> bool:
    """Take the turn if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class _Queued:
    """A place in the queue. Blocking is fair and cannot be given up, so a thread does it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._guard = threading.Lock()
        self._came = threading.Event()
        self._left = False
        threading.Thread(target=self._queue, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether the turn came in time."""
        return self._came.wait(seconds)

    def leave(self) -> None:
        """Give the turn to the next one, now or as soon as it comes."""
        with self._guard:
            self._left = True
            if self._came.is_set():
                self._file.close()

    def _queue(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._guard:
            self._came.set()
            if self._left:
                self._file.close()
