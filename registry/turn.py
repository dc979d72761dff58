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
def of(uri: str, model: str) -> Iterator[None]:
    """One's turn at a model of a store, or none after PATIENCE."""
    if fcntl is None:
        yield
        return
    name = hashlib.sha256(f"{uri}\n{model}".encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"understudy-{os.getuid()}-{name}.lock"
    try:
        file = path.open("w")
    except OSError:  # somebody else's file, or no room: going on without a turn is right
        yield
        return
    queued = _Queued(file)
    try:
        yield
    finally:
        queued.leave()


class _Queued:
    """A place in the queue; the kernel gives the turn back when the process dies."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._guard = threading.Lock()
        self._left = False
        came = threading.Event()
        # Blocking is fair, and cannot be given up; so a thread of its own blocks.
        threading.Thread(target=self._wait, args=(came,), daemon=True).start()
        came.wait(PATIENCE)

    def _wait(self, came: threading.Event) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._guard:
            came.set()
            if self._left:
                self._file.close()
            self._came = True

    def leave(self) -> None:
        """Give the turn to the next one, now or as soon as it comes."""
        with self._guard:
            self._left = True
            if getattr(self, "_came", False):
                self._file.close()
