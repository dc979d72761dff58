"""How soon a decision shows in the answers: rollback, and two gateways on one registry."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import threading
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.serving.servers import Gateway, bare, environment, gateway
from benchmarks.serving.settings import Settings
from benchmarks.serving.subject import Subject
from registry.store import Store

POLL = 1.0
"""The gateway's default."""
DECISIONS = 4
"""Of two-gateways, in each run."""
KEYS = 50
SETTLED = 0.5
"""Seconds without an answer of the former version after which its last one is taken as last."""


class Watcher:
    """Asks one gateway without pause, and notes when which version answered last."""

    def __init__(self, ours: Gateway, body: bytes) -> None:
        self.last: dict[int, float] = {}
        """Of each version, by time.time()."""
        self.failed = 0
        self._there = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
        self._body, self._stop = body, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        time.sleep(SETTLED)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._there.close()

    def until_only(self, version: int, seconds: float = 30) -> None:
        """Wait until no other version answered for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            others = [at for number, at in self.last.items() if number != version]
            if version in self.last and time.time() - max(others, default=0) > SETTLED:
                return
            time.sleep(0.02)
        raise TimeoutError(f"v{version} did not come to answer alone")

    def _watch(self) -> None:
        while not self._stop.is_set():
            status, version = ask(self._there, self._body)
            self.failed += status != 200
            if status == 200:
                self.last[version] = time.time()


def ask(there: http.client.HTTPConnection, body: bytes, key: str = "") -> tuple[int, int]:
    """Status and version of an answer."""
    head = {"Content-Type": "application/json", **({"X-Understudy-Key": key} if key else {})}
    there.request("POST", "/invocations", body, head)
    response = there.getresponse()
    response.read()
    return response.status, int(response.headers.get("x-understudy-version", 0))


def rollback(subject: Subject, settings: Settings) -> dict[str, Any]:
    """From the command to the last answer of the bad version, and what of it is whose."""
    ways = ("shell", "admin")
    last: dict[str, list[float]] = {way: [] for way in ways}
    whole: dict[str, list[float]] = {way: [] for way in ways}
    inside: dict[str, list[float]] = {way: [] for way in ways}
    restart, failed = [], 0
    for _ in range(settings.runs):
        with gateway(subject) as ours:
            for way in ways:
                with Watcher(ours, subject.split) as seen:
                    start = time.time()
                    said = _from_shell(subject, ours) if way == "shell" else _by_admin(ours)
                    whole[way].append(time.time() - start)
                    seen.until_only(1)
                last[way].append(max(seen.last[2] - start, 0.0))
                inside[way].append(said["milliseconds"] / 1000)
                failed += seen.failed
                subject.promote(2)
                ours.admin("refresh", model="m")
                ours.until_ready()
        begin = time.monotonic()
        with bare(subject):
            restart.append(time.monotonic() - begin)
    return {
        "to the last bad answer, s": {way: _median(last[way]) for way in ways},
        "the whole command, s": {way: _median(whole[way]) for way in ways},
        "of it inside the gateway, s": {way: _median(inside[way]) for way in ways},
        "restart of bare, s": _median(restart),
        "failed requests": failed,
    }


def _from_shell(subject: Subject, ours: Gateway) -> dict[str, Any]:
    done = subprocess.run(
        ["understudy", "rollback", "--json"], cwd=ours.home, env=environment(subject),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _by_admin(ours: Gateway) -> dict[str, Any]:
    return ours.admin("rollback", actor="benchmark")


def _median(found: list[float]) -> float:
    return round(statistics.median(found), 3)


def two_gateways(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Decisions that poke neither: from the entry in the ledger to the last former answer.

    The decisions go between two versions of which the other stands by: v1 is promoted beside v2,
    that is rolled back, and so on.
    """
    took: list[float] = []
    later: list[float] = []
    failed = keys = differing = 0
    with ExitStack() as stack:
        pair = [stack.enter_context(gateway(subject, home)) for home in ("first", "second")]
        for number in range(DECISIONS * settings.runs):
            former, new = (1, 2) if number % 2 else (2, 1)
            with Watcher(pair[0], subject.split) as one, Watcher(pair[1], subject.split) as two:
                start = time.time()
                entry = subject.rollback() if number % 2 else subject.promote(new)
                for seen in (one, two):
                    seen.until_only(new)
            since = _written(subject, entry)
            took += [max(seen.last[former] - since, 0.0) for seen in (one, two)]
            later += [max(seen.last[former] - start, 0.0) for seen in (one, two)]
            failed += one.failed + two.failed
            differing += sum(_version(pair[0], subject, key) != _version(pair[1], subject, key)
                             for key in map(str, range(KEYS)))  # fmt: skip
            keys += KEYS
            for ours in pair:
                ours.until_ready()
    return {
        "poll interval, s": POLL,
        "decisions": DECISIONS * settings.runs,
        "from the ledger entry, median s": _median(took),
        "from the ledger entry, most s": round(max(took), 3),
        "from the start of the command, most s": round(max(later), 3),
        "followed within the interval + 250 ms": sum(t <= POLL + 0.25 for t in took),
        "of": len(took),
        "keys asked of both": keys,
        "keys with different versions": differing,
        "failed requests": failed,
    }


def _written(subject: Subject, entry: int) -> float:
    """When MLflow took an entry, by time.time()."""
    kept = Store(subject.uri)._client.get_model_version("m.ledger", str(entry))
    return float(kept.creation_timestamp) / 1000


def _version(ours: Gateway, subject: Subject, key: str) -> int:
    there = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
    try:
        return ask(there, subject.split, key)[1]
    finally:
        there.close()
