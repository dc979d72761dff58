"""The processes that predict: they are asked, one chunk each at a time, and end with their owner.

Each has a pipe of its own whose other end nobody but the owner has, so that they see at once when
it was killed. (The pools of the standard library wait for ever then.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from batch import worker
from batch.errors import WorkerDied
from batch.source import Chunk
from batch.worker import Failed, Part, Plan

_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")


class Asked(Protocol):
    """Who predicts; `local` needs no more of it."""

    @property
    def idle(self) -> bool:
        """Whether it may be asked."""

    @property
    def busy(self) -> bool:
        """Whether an answer is to come."""

    def ask(self, chunk: Chunk) -> None:
        """Give it a chunk."""

    def answer(self) -> Part | Failed:
        """Wait for the next answer. Raises WorkerDied."""

    def end(self) -> None:
        """End it, whatever it is doing."""


class Pool:
    """Some processes, each with the model loaded."""

    def __init__(self, plan: Plan, processes: int) -> None:
        self._busy: dict[Connection, BaseProcess] = {}
        self._idle: dict[Connection, BaseProcess] = {}
        context = multiprocessing.get_context("spawn")
        with _calm():
            for _ in range(processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=worker.main, args=(theirs, plan), daemon=True)
                process.start()
                theirs.close()
                self._idle[ours] = process

    @property
    def idle(self) -> bool:
        """Whether one of them has nothing to do."""
        return bool(self._idle)

    @property
    def busy(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._busy)

    def ask(self, chunk: Chunk) -> None:
        """Give a chunk to an idle process. Raises WorkerDied."""
        pipe, process = self._idle.popitem()
        self._busy[pipe] = process
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it has left word why, or is dead
            pipe.send(chunk)

    def answer(self) -> Part | Failed:
        """The next answer of any of them. Raises WorkerDied."""
        pipe = next(p for p in connection.wait(list(self._busy)) if isinstance(p, Connection))
        process = self._busy.pop(pipe)
        try:
            found: Part | Failed = pipe.recv()
        except (EOFError, ConnectionResetError):
            process.join(5)
            raise WorkerDied(process.exitcode) from None
        self._idle[pipe] = process
        return found

    def end(self) -> None:
        """End all of them, whatever they are doing."""
        every = {**self._idle, **self._busy}
        for process in every.values():
            process.terminate()
        for pipe, process in every.items():
            process.join()
            pipe.close()


@contextmanager
def _calm() -> Iterator[None]:
    """Processes that are started meanwhile do not see Ctrl-C, and compute in one thread each.

    What the environment says of threads already stays.
    """
    resource_tracker.ensure_running()  # it would unblock the signal when the first one is started
    names = [f"{name}_NUM_THREADS" for name in _THREADS]
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in added:
            os.environ.pop(name, None)
