"""100 promotions and rollbacks in 5 minutes while 32 callers ask without pause.

Most decisions go to the version that stands by; every tenth promotes one whose processes must be
started first, and of those every other is followed by a rollback or promotion while they start.
Rollbacks come from the shell and by the admin interface in turns; of the promotions one half pokes
the gateway as the command does, the other half it must find by itself.

An answer is by a version that was not live if its whole time, from when it was sent to when it was
received, lies outside of every span in which the gateway's route (`swaps` of /status) was that
version's; the route itself is held against the ledger: once a decision returned that needed no
start (for those that poke nobody: poll interval and 250 ms later), whatever is sent and answered
before the next command begins must be of the version decided for, and the route never goes to a
version that was not in Production at that moment.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.serving.callers import RECORD
from benchmarks.serving.servers import Gateway, environment, gateway
from benchmarks.serving.settings import Settings
from benchmarks.serving.subject import Subject

EVERY = 3.0
"""Seconds between two decisions."""
CALLERS = 32
UNKNOWN_EVERY = 10
"""Every so many decisions a version is promoted that does not stand by."""
ALLOWED = 1.25
"""Seconds of the poll interval and 250 ms more, for who finds a decision by itself."""
WAITS = 20.0
"""Seconds that a decision waits for the former version to stand by; then it is made anyway."""
VERSIONS = (1, 2, 3)


@dataclass(frozen=True)
class Decision:
    """One command; times are time.time()'s."""

    kind: str
    version: int
    start: float
    end: float
    stood_by: bool
    """Whether the gateway had it ready, or answered by it, as the command began."""
    allowed: float
    """Seconds after its end in which the gateway must have followed, if it needs no start."""


@dataclass(frozen=True)
class Swap:
    """A route that the gateway changed."""

    at: float
    version: int


class Decider:
    """Makes the decisions, and keeps what became of them."""

    def __init__(self, subject: Subject, ours: Gateway) -> None:
        self._subject, self._gateway = subject, ours
        self._former, self._live = [1], 2
        self._drawn = random.Random(0)  # noqa: S311 - the same decisions in each run
        self.decisions: list[Decision] = []
        self.swaps: dict[float, Swap] = {}

    def decide(self) -> None:
        """One more."""
        number = len(self.decisions)
        aim = self._aim()
        unknown = [v for v in VERSIONS if v not in (self._live, aim)]
        turn = number % 2
        if number % UNKNOWN_EVERY == UNKNOWN_EVERY // 2 or aim is None:
            self._promote(self._drawn.choice(unknown), poke=bool(turn))
        elif len(self._former) > 3 or (len(self._former) > 1 and self._drawn.random() < 0.5):
            self._rollback(aim, shell=bool(turn))
        else:
            self._promote(aim, poke=bool(turn))
        self.look()

    def look(self) -> dict[str, Any]:
        """Take what the gateway swapped; its list is short."""
        said = self._gateway.status
        for one in said["swaps"]:
            self.swaps[one["at"]] = Swap(one["at"], one["version"])
        return said

    def settled(self) -> bool:
        """Whether the gateway serves what was decided, and the former version stands by."""
        said = self.look()
        return (said["version"], said["understudy"]) == (self._live, self._aim())

    def _aim(self) -> int | None:
        """Where a rollback goes."""
        return next((v for v in reversed(self._former) if v != self._live), None)

    def _promote(self, version: int, *, poke: bool) -> None:
        def act() -> None:
            self._subject.promote(version)
            if poke:
                self._gateway.admin("refresh", model="m")

        self._note("promotion, poked" if poke else "promotion", version, act, poke=poke)
        self._former.append(self._live)
        self._live = version

    def _rollback(self, aim: int, *, shell: bool) -> None:
        def act() -> None:
            if shell:
                subprocess.run(
                    ["understudy", "rollback"], cwd=self._gateway.home, check=True,
                    env=environment(self._subject), capture_output=True,
                )  # fmt: skip
            else:
                self._gateway.admin("rollback", actor="benchmark")

        self._note("rollback, shell" if shell else "rollback, admin", aim, act, poke=True)
        last = len(self._former) - 1 - self._former[::-1].index(aim)
        del self._former[last:]
        self._live = aim

    def _note(self, kind: str, version: int, act: Callable[[], None], *, poke: bool) -> None:
        before = self.look()
        start = time.time()
        act()
        stood_by = version in (before["understudy"], before["version"])
        allowed = 0.0 if poke else ALLOWED
        self.decisions.append(Decision(kind, version, start, time.time(), stood_by, allowed))


@contextmanager
def calling(port: int, body: bytes, folder: Path) -> Iterator[Path]:
    """The callers for the length of a block; the file is whole after it."""
    said, out = folder / "body.json", folder / "answers.bin"
    said.write_bytes(body)
    process = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("callers.py")),
         str(port), str(CALLERS), str(said), str(out)]
    )  # fmt: skip
    try:
        time.sleep(1)
        yield out
    except BaseException:
        process.kill()
        raise
    process.terminate()
    if process.wait(90) != 0:
        raise click.ClickException("the callers failed")


def soak(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Decisions under load, and what is wrong with any answer; once, however many runs."""
    wanted = max(int(settings.soak / EVERY), 4)
    with gateway(subject) as ours:
        with calling(ours.port, subject.split, ours.home) as out:
            decider = Decider(subject, ours)
            begin = time.monotonic()
            for number in range(wanted):
                hurried = number % (2 * UNKNOWN_EVERY) == UNKNOWN_EVERY // 2 + 1
                _wait_for_turn(decider, begin + number * EVERY, hurried=hurried)
                decider.decide()
            took = time.monotonic() - begin
            until = begin + wanted * EVERY
            while time.monotonic() < until or not decider.settled():
                time.sleep(0.1)
                if time.monotonic() > until + 60:
                    raise click.ClickException("the gateway did not come to rest in 60 s")
            time.sleep(1)
        records = read(out)
        counts = ours.status["counts"]
    swaps = sorted(decider.swaps.values(), key=lambda swap: swap.at)
    return {
        **judge(records, decider.decisions, swaps),
        "decisions": dict(Counter(d.kind for d in decider.decisions)),
        "seconds of decisions": round(took, 1),
        "decisions for a version that stood by": sum(d.stood_by for d in decider.decisions),
        "versions that were refused": counts["refusals"],
    }


def _wait_for_turn(decider: Decider, due: float, *, hurried: bool) -> None:
    """Until it is due, and a version stands by; not for ever, and not where it is hurried."""
    time.sleep(max(due - time.monotonic(), 0))
    end = time.monotonic() + (0 if hurried else WAITS)
    while time.monotonic() < end and not decider.settled():
        time.sleep(0.05)


def read(path: Path) -> np.ndarray[Any, Any]:
    """The callers' records: sent, received, status, version."""
    kind = np.dtype([("sent", "<f8"), ("received", "<f8"), ("status", "<u2"), ("version", "<u4")])
    assert kind.itemsize == RECORD.size  # noqa: S101 - the writer owns the format
    return np.fromfile(path, kind)


def judge(
    records: np.ndarray[Any, Any], decisions: Sequence[Decision], swaps: Sequence[Swap]
) -> dict[str, Any]:
    """What is wrong with any answer."""
    good = records[records["status"] == 200]
    milliseconds = (good["received"] - good["sent"]) * 1000
    return {
        "requests": len(records),
        "failed requests": len(records) - len(good),
        "statuses": {str(s): int((records["status"] == s).sum()) for s in set(records["status"])},
        "answers by a version that was not live": _not_live(good, swaps),
        "answers by another version than decided": _not_decided(good, decisions, swaps),
        "flips": len(swaps) - 1,
        "flips to a version not in Production": _strange(decisions, swaps[1:]),
        "answers by version": {str(v): int((good["version"] == v).sum()) for v in VERSIONS},
        "requests/s": round(len(good) / float(good["received"].max() - good["sent"].min()), 1),
        "p99 ms": round(float(np.percentile(milliseconds, 99)), 1),
        "longest ms": round(float(milliseconds.max()), 1),
    }


def _not_live(good: np.ndarray[Any, Any], swaps: Sequence[Swap]) -> int:
    """Answers whose version had the route at no moment between sent and received."""
    fine = np.zeros(len(good), bool)
    ends = [swap.at for swap in swaps[1:]] + [float("inf")]
    for swap, end in zip(swaps, ends, strict=True):
        was = (good["received"] >= swap.at) & (good["sent"] <= end)
        fine |= was & (good["version"] == swap.version)
    return int((~fine).sum())


def _not_decided(
    good: np.ndarray[Any, Any], decisions: Sequence[Decision], swaps: Sequence[Swap]
) -> int:
    """Answers between what a decision allows for following it and the next command."""
    wrong = 0
    nexts = [d.start for d in decisions[1:]] + [float("inf")]
    for decision, following in zip(decisions, nexts, strict=True):
        due = decision.end + decision.allowed
        if not decision.stood_by:
            flips = [
                s.at for s in swaps if s.at >= decision.start and s.version == decision.version
            ]
            due = max(min(flips, default=float("inf")), decision.end)
        within = (good["sent"] > due) & (good["received"] < following)
        wrong += int((within & (good["version"] != decision.version)).sum())
    return wrong


def _strange(decisions: Sequence[Decision], flips: Sequence[Swap]) -> int:
    """Flips to a version that was not in Production, nor so until a poll interval before."""
    nexts = [d.end + ALLOWED for d in decisions[1:]] + [float("inf")]
    spans = [(d.version, d.start, end) for d, end in zip(decisions, nexts, strict=True)]
    return sum(
        not any(
            version == flip.version and start <= flip.at <= end for version, start, end in spans
        )
        for flip in flips
    )
