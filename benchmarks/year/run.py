"""`make year`: the flights of July to December through a real gateway, watched and retrained.

Twice: as they were, and with faults planted. Each month's flights go one by one through
`understudy serve`, their outcomes come as they land, the monitor looks every day, a new data
version comes at the end of the month. Beside it the June model that is left alone, and one that
is retrained every month without gates.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmarks.year import rivals
from benchmarks.year.project import Gateway, Project
from benchmarks.year.rivals import Score
from benchmarks.year.traffic import Sender
from benchmarks.year.world import (
    CELSIUS,
    FAULTS,
    FIRST,
    FLIPPED,
    HALVED,
    RENAMED,
    Fault,
    World,
)
from monitoring.check import Look, Monitor
from monitoring.findings import Judged
from registry.settings import find_root, quiet

SECTIONS: dict[str, dict[str, Any]] = {
    "serve": {"poll": 0.5, "rehearse": 60.0, "guard_share": 0.05},
    "gate": {"automation": "production"},
    "experiment": {"metric": "brier", "margin": 0.02, "minimum": 1000},
    "monitor": {
        "window_rows": 6500,
        "lag": 0.0,
        "retrain": "canary",
        "retrain_on": ["performance", "estimate", "score", "drift"],
        "canary_weight": 0.5,
        "rollback": True,
        "cool_down": 4,
        "of": 4,
    },
}
"""What a team would write into params.yaml, with windows of about a week."""

YEARS: dict[str, tuple[Fault, ...]] = {"plain": (), "faulty": FAULTS}
"""The faults that are planted in each."""

LAST = 12
Say = Callable[[str], None]
Scores = dict[str, dict[int, Score]]


@dataclass
class Event:
    """Something that happened, and when in the year."""

    month: int
    day: str
    what: str
    """alert, retrain, rollback, promotion, aborted, data"""
    sentence: str
    state: str = ""
    about: tuple[str, ...] = ()
    window: int = 0


@dataclass
class Caught:
    """What became of a planted fault."""

    fault: str
    windows: int | None = None
    """Windows of traffic that had it when somebody was told, the one in which it began as 1."""
    how: str = "missed"
    in_production: bool = False
    """Whether a version that had learnt it was live."""


@dataclass
class Year:
    """One year as it went."""

    name: str
    late: dict[int, float] = field(default_factory=dict)
    findings: dict[int, dict[str, int]] = field(default_factory=dict)
    windows: dict[int, int] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    estimates: list[dict[str, float]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    caught: list[Caught] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failed_requests: int = 0
    seconds: float = 0.0


_DAY = pd.Timedelta(days=1)

_TOLD = {
    CELSIUS: ("jump:temp",),
    RENAMED: ("unseen:carrier", "jump:carrier"),
    FLIPPED: ("labels", "reversed"),
    HALVED: (),
}
"""Findings that name a fault; the season's drift names none."""
_REFUSED = {
    CELSIUS: "temp",
    RENAMED: "carrier",
    FLIPPED: "outcomes",
    HALVED: "monitor.retrain_share",
}
"""Words of a refused data version that do."""


def _tells(fault: Fault, found: Look) -> str:
    """How somebody was told of a fault by this look; empty where nobody was."""
    if set(_TOLD[fault]) & set(found.decision.about):
        return "an alert about traffic"
    if found.state == "refused" and _REFUSED[fault] in found.did and "not learnt" in found.did:
        return "the data version was refused"
    if found.state == "refused" and fault == HALVED and "gate" in found.did:
        return "a gate"
    return ""


def _joined(pending: pd.DataFrame, flights: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([pending, flights]) if len(pending) else flights


class Run:
    """Lives through one year."""

    def __init__(self, project: Project, world: World, name: str, say: Say) -> None:
        self.project, self.world, self.say = project, world, say
        self.year = Year(name)
        self.mended: set[Fault] = set()
        self.learnt: dict[int, set[Fault]] = {}
        """By version: the faults in the data that it was trained on."""
        self.data_faults: set[Fault] = set()
        self.month, self.day, self.live_version = FIRST, "", 1
        self._last_state = ""
        self.year.caught = [Caught(f.name) for f in FAULTS if f in world.faults]

    def live(self, months: list[int]) -> Year:
        """All of it."""
        start = time.monotonic()
        monitor = self.project.monitor()
        with self.project.gateway() as gateway:
            sender = Sender(gateway.address)
            pending = self.world.sent.iloc[:0]
            for month in months:
                self.month = month
                self.say(f"2013-{month:02}")
                for flights in self.world.days(month):
                    self.day = str(flights["departs"].iloc[0].date())
                    sender.fly(flights)
                    gateway.written()
                    end = flights["departs"].iloc[0].normalize() + _DAY
                    waiting = _joined(pending, flights)
                    landed = waiting["lands"] < end
                    sender.land(waiting[landed])
                    pending = waiting[~landed & waiting["lands"].notna()]
                    self._look(monitor, gateway)
                self._month_ends(month, monitor, gateway)
            self._look(monitor, gateway)
            self.year.failed_requests = sender.failed
            served = {flight: found[2] for flight, found in sender.answers.items()}
        self.year.scores["understudy"] = {m: rivals.score(self.world, m, served) for m in months}
        self._after(monitor)
        self.year.seconds = time.monotonic() - start
        return self.year

    def _month_ends(self, month: int, monitor: Monitor, gateway: Gateway) -> None:
        own = self.world.truth[self.world.truth["month"] == month]
        known = own["arrival"].dropna()
        self.year.late[month] = float((known == "late").mean())
        if month == LAST:  # nobody is asked what would be learnt then
            return
        through = {f for f in self.world.faults if f.month <= month and f not in self.mended}
        self.data_faults = through
        if any(self.project.folder.parent.glob("*.over")):  # the other year needs no processor
            os.environ["OMP_NUM_THREADS"] = "2"
        self.project.deliver(self.world.files(month, self.mended))
        self._note("data", f"data through 2013-{month:02}", about=tuple(f.name for f in through))
        self._look(monitor, gateway)
        # Who was told of a fault has it mended before the next delivery.
        for caught in self.year.caught:
            if caught.how != "missed":
                self.mended |= {f for f in FAULTS if f.name == caught.fault}

    def _look(self, monitor: Monitor, gateway: Gateway) -> None:
        before = self._newest()
        found = monitor.check()
        for window in found.judged:
            self._window(window)
        if found.did and not (found.state == "waiting" and self._last_state == "waiting"):
            decision = found.decision
            self._note(decision.action, found.did, found.state, decision.about, decision.window)
        self._last_state = found.state or self._last_state
        if (newest := self._newest()) != before:
            self.learnt[newest] = set(self.data_faults)
        self._catch(found)
        live = int(gateway.settled()["version"])
        if live != self.live_version:
            self._note("live", f"v{live} is live, and v{self.live_version} was")
            self.live_version = live
        for caught in self.year.caught:
            if any(f.name == caught.fault for f in self.learnt.get(live, ())):
                caught.in_production = True

    def _window(self, window: Judged) -> None:
        known = self.year.findings.setdefault(self.month, {})
        for finding in window.found:
            known[finding.kind] = known.get(finding.kind, 0) + 1
        self.year.windows[self.month] = self.year.windows.get(self.month, 0) + 1

    def _newest(self) -> int:
        """The version that the pipeline registered last."""
        path = self.project.folder / "artifacts/register/version.json"
        return int(json.loads(path.read_text())["version"])

    def _catch(self, found: Look) -> None:
        """Which planted faults somebody was told of just now."""
        if not found.did:
            return
        for fault in self.world.faults:
            caught = next((c for c in self.year.caught if c.fault == fault.name), None)
            if caught is None or caught.how != "missed" or self.month < fault.month:
                continue
            if words := _tells(fault, found):
                caught.how = words
                caught.windows = self._windows_of(fault, found)

    def _windows_of(self, fault: Fault, found: Look) -> int | None:
        """How many windows of traffic had the fault until then; None where none ever did."""
        if fault == HALVED:
            return 0
        sent = self.world.sent
        bad = sent["month"] == fault.month
        if fault == FLIPPED:
            bad &= sent["departs"].dt.day <= 7
        elif fault == RENAMED:
            bad &= sent["carrier"] == "JB"
        size = SECTIONS["monitor"]["window_rows"]
        first = int(bad.to_numpy().argmax()) // size + 1
        return max(found.decision.window - first + 1, 0)

    def _note(
        self,
        what: str,
        sentence: str,
        state: str = "",
        about: tuple[str, ...] = (),
        window: int = 0,
    ) -> None:
        self.year.events.append(Event(self.month, self.day, what, sentence, state, about, window))
        self.say(f"  {self.day} {what}{f' {state}' if state else ''}: {sentence[:200]}")

    def _after(self, monitor: Monitor) -> None:
        """What the ledger and the windows say at the end."""
        kinds: Counter[str] = Counter()
        for entry in self.project.history():
            kinds[f"{entry['kind']} by {entry['actor']}"] += 1
        self.year.counts = dict(kinds)
        for window in monitor.kept.windows(1000):
            own = next((q for q in window.quality if q.version == window.version), None)
            guess = next((e for e in window.estimates if e.version == window.version), None)
            if own and own.metrics and guess:
                self.year.estimates.append(
                    {
                        "window": window.number,
                        "version": window.version,
                        "measured": own.metrics[0].value,
                        "estimated": guess.metrics.get(own.metrics[0].metric, float("nan")),
                    }
                )


def begin(project: Project, source: Path, world: World, say: Say) -> None:
    """The June model, trained by the pipeline and promoted through the gates."""
    say("a working copy, and the June model through the pipeline and the gates")
    project.make(source)
    project.deliver(world.files(FIRST - 1, ()))
    project.run("dvc", "repro")
    project.run("understudy", "promote", "1", "--to", "production", "--reason", "the first one")


def _saying(start: float, name: str = "") -> Say:
    """Prints sentences with the seconds since `start` (since 1970)."""

    def say(sentence: str) -> None:
        click.echo(f"[{time.time() - start:4.0f} s] {name:6} {sentence}")

    return say


def _windows(share: float) -> None:
    """Windows of as many days where fewer flights happen."""
    rows = max(200, round(SECTIONS["monitor"]["window_rows"] * share))
    SECTIONS["monitor"]["window_rows"] = rows


def lived(folder: Path, name: str, share: float, months: list[int], start: float) -> Year:
    """One year in a copy of the project `base`; runs in a process of its own."""
    quiet()
    _windows(share)
    world, say = World(YEARS[name], share), _saying(start, name)
    project = Project(folder / name, {})
    shutil.rmtree(project.folder, ignore_errors=True)
    shutil.copytree(folder / "base", project.folder, symlinks=True)
    year = Run(project, world, name, say).live(months)
    (folder / f"{name}.over").touch()
    return year


def compared(root: Path, names: list[str], share: float, months: list[int]) -> list[Scores]:
    """What the two others would have scored in these years; runs in a process of its own."""
    quiet()
    known: dict[str, object] = {}
    return [rivals.scores(root, World(YEARS[name], share), months, known) for name in names]


def as_dict(year: Year) -> dict[str, Any]:
    """For results.json."""
    return asdict(year)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("artifacts/year"))
@click.option("--months", type=click.IntRange(1, 6), default=6, help="How many, from July on.")
@click.option("--share", type=click.FloatRange(0.01, 1), default=1.0, help="Of the flights.")
@click.option("--only", type=click.Choice(list(YEARS)), help="One of the two years.")
@click.option("--keep", is_flag=True, help="Write results.json and the README's picture, too.")
def main(folder: Path, months: int, share: float, only: str | None, keep: bool) -> None:
    """Live through the year, and write a table and a picture of it."""
    from benchmarks.year import picture

    quiet()
    start = time.time()
    root = find_root()
    folder = (root / folder).resolve()
    say = _saying(start)
    _windows(share)
    base = Project(folder / "base", SECTIONS)
    for path in folder.glob("*.over"):  # of a run before
        path.unlink()
    wanted = list(range(FIRST, FIRST + months))
    names = [only] if only else list(YEARS)
    # Side by side, for each waits much; with a thread each, for two trainings with several threads
    # on the same cores wait for one another far longer than they compute.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(len(names) + 1, mp_context=get_context("spawn")) as pool:
        beside = pool.submit(compared, root, names, share, wanted)
        begin(base, root, World((), share), say)
        going = [pool.submit(lived, folder, n, share, wanted, start) for n in names]
        years = [each.result() for each in going]
        for year, others in zip(years, beside.result(), strict=True):
            year.scores |= others
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    results = {
        "commit": commit.stdout.strip(),
        "seconds": round(time.time() - start),
        "years": [as_dict(y) for y in years],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = picture.table(results)
    (folder / "year.md").write_text(table)
    picture.draw(results, folder / "year.png")
    click.echo(table)
    say(f"the picture is {folder / 'year.png'}")
    if keep:
        own = Path(__file__).parent
        (own / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        shutil.copy2(folder / "year.png", root / "docs/images/year.png")


if __name__ == "__main__":
    main()
