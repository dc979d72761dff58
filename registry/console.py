"""How errors reach a terminal: a sentence on stderr and exit code 1, never a trace."""

from __future__ import annotations

import atexit
import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from registry.errors import UnderstudyError


class Command(click.Command):
    """A click command whose UnderstudyErrors are sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; click shows the sentence and exits with 1."""
        _spare_the_collector()
        with _ended_by_sigterm():
            try:
                return super().invoke(ctx)
            except UnderstudyError as error:
                raise click.ClickException(str(error)) from None
            except Ended:
                click.echo("Error: ended by SIGTERM before it was done", err=True)
                raise


def _spare_the_collector() -> None:
    """Let Python's garbage collector come less often, and not at all when the process ends.

    A command is mostly imports (MLflow's leave 190,000 objects), of which nothing is garbage; to
    look for some takes a fifth of its time, and most of that when all is over.
    """
    gc.set_threshold(20_000, 20, 100)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


class Ended(SystemExit):
    """SIGTERM came."""


def _end(*_: object) -> None:
    raise Ended(128 + signal.SIGTERM)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM (`kill`, a time limit) ends the block as Ctrl-C does: what is half-done goes with it.

    By default it ends the process where it stands, with its temporary folders and its children.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
