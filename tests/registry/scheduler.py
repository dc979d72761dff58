"""Lets actors take turns at the store calls of one another, as a test's data says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from registry.errors import RegistryUnreachable


class Died(BaseException):
    """A process that ends here and now; nothing catches it."""


@dataclass
class _Actor:
    act: Callable[[], None]
    thread: threading.Thread | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: bool = False
    failure: BaseException | None = None


class Scheduler:
    """Runs one actor at a time; hands over where `slices` says: (points to go on for, to whom).

    `faults` maps the number of a point, counted over all actors, to "unreachable" or "dies".
    When the slices are used up, each actor runs to its end.
    """

    def __init__(self, slices: Sequence[tuple[int, int]], faults: Mapping[int, str]) -> None:
        self._slices = list(slices)
        self._faults = dict(faults)
        self._left = 0
        self._points = 0
        self._actors: list[_Actor] = []
        self._back = threading.Semaphore(0)
        self._now: _Actor | None = None

    def point(self, name: str) -> None:
        """Called by the store; anything may happen here."""
        me = self._now
        if me is None:
            return
        self._points += 1
        fault = self._faults.get(self._points)
        if fault == "dies":
            raise Died(name)
        if fault == "unreachable":
            raise RegistryUnreachable("memory", name)
        self._left -= 1
        if self._left <= 0 and self._slices:
            self._back.release()
            me.go.acquire()

    def run(self, acts: Sequence[Callable[[], None]]) -> None:
        """Run all of them to their ends; raises what one of them raised, but not Died."""
        self._actors = [_Actor(act) for act in acts]
        for actor in self._actors:
            actor.thread = threading.Thread(target=self._live, args=(actor,))
            actor.thread.start()
        while any(not actor.done for actor in self._actors):
            self._now = self._next()
            self._now.go.release()
            self._back.acquire()
        self._now = None
        for actor in self._actors:
            if actor.thread:
                actor.thread.join()
        for actor in self._actors:
            if actor.failure:
                raise actor.failure

    def _next(self) -> _Actor:
        ready = [actor for actor in self._actors if not actor.done]
        self._left, chosen = self._slices.pop(0) if self._slices else (0, 0)
        return ready[chosen % len(ready)]

    def _live(self, actor: _Actor) -> None:
        actor.go.acquire()
        try:
            actor.act()
        except Died:
            pass
        except BaseException as failure:  # handed to the test's own thread
            actor.failure = failure
        actor.done = True
        self._back.release()
