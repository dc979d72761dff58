"""Processes that promote and roll back at the same time, with Understudy or with plain MLflow.

What each call took and was told, and what was in Production whenever all of them rested. The
tests race few, benchmarks/registry many. Each process makes its own store: an engine of
SQLAlchemy must not be shared over a fork.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Protocol

MODEL = "m"
VERSIONS = 6
PAUSE = 300
"""Seconds that a process waits for the others before it is taken for dead."""

# The processes get this one's path, and pytest puts no folder on it.
sys.path.append(str(Path(__file__).parent.parent.parent))
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["registry.promote"])


@dataclass(frozen=True)
class Call:
    """One call: its seconds, and the ledger entry's number (0 without one) or the error's name."""

    seconds: float
    number: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Race:
    """What came of it. `rests` are the versions in Production whenever nobody was at work."""

    calls: tuple[Call, ...]
    rests: tuple[tuple[int, ...], ...]
    seconds: float


@dataclass(frozen=True)
class Found:
    """A model as the ledger and as MLflow have it; `differences` are what repair would mend."""

    winners: tuple[int, ...]
    production: int | None
    shown: tuple[int, ...]
    differences: tuple[str, ...]


def apart(act: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a process of its own that has everything imported and nothing opened."""
    with ProcessPoolExecutor(1, mp_context=_processes) as pool:
        return pool.submit(act, *arguments).result(PAUSE)


# What the processes do


class Driver(Protocol):
    """Promotes and rolls back one way or another; returns the number of the entry, if any."""

    def promote(self, version: int) -> int:
        """To Production."""

    def rollback(self) -> int:
        """To what was there before."""


class Understudy:
    """Through the ledger, without gates. An archived version goes over Staging first."""

    def __init__(self, uri: str, actor: str, folder: str) -> None:
        from registry.promote import Wish
        from registry.store import Store

        self.store, self.wish, self.folder = Store(uri), Wish(actor, "racing"), Path(folder)
        self.staged: int | None = None

    def promote(self, version: int) -> int:
        """To Staging, and the one that is there by this driver's last call to Production."""
        from registry import promote
        from registry.sections import GATES, GateParams
        from registry.stages import Stage

        version, stage = self.staged or version, Stage.PRODUCTION if self.staged else Stage.STAGING
        self.staged = None
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            done = promote.promote(
                self.store, MODEL, version, to=stage, params=GateParams(skip=GATES),
                wish=self.wish, folder=Path(folder),
            )  # fmt: skip
        if stage is Stage.STAGING:
            self.staged = version
        return done.number or 0

    def rollback(self) -> int:
        """To the former Production version."""
        from registry import promote

        return promote.rollback(self.store, MODEL, to=None, wish=self.wish).number or 0


class Plain:
    """MLflow's own call; it keeps no history, so a rollback names a version it remembers."""

    def __init__(self, uri: str, *, archive: bool) -> None:
        import mlflow

        self.client = mlflow.MlflowClient(uri, uri)
        self.archive = archive
        self.before = 1

    def promote(self, version: int) -> int:
        """Straight to Production."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.client.transition_model_version_stage(
                MODEL, str(version), "Production", archive_existing_versions=self.archive
            )
        self.before = version
        return 0

    def rollback(self) -> int:
        """The version that this process promoted last."""
        return self.promote(self.before)


def _driver(kind: str, uri: str, actor: str, folder: str) -> Driver:
    if kind == "understudy":
        return Understudy(uri, actor, folder)
    return Plain(uri, archive=kind == "mlflow, archiving")


def _called(driver: Driver, rng: random.Random) -> Call:
    from mlflow.exceptions import MlflowException

    from registry.errors import UnderstudyError

    start = time.monotonic()
    number, error = None, ""
    try:
        if rng.random() < 0.3:
            number = driver.rollback()
        else:
            number = driver.promote(rng.randint(1, VERSIONS))
    except (UnderstudyError, MlflowException) as raised:
        error = type(raised).__name__
        if error not in EXPECTED:
            error += f": {raised}"
    return Call(time.monotonic() - start, number, error)


EXPECTED = (
    "AlreadyInStage", "LostRace", "NeverInProduction", "NoFormerVersion", "VersionArchived",
    "VersionLive",
)  # fmt: skip
"""What a loser, or somebody too late, is told."""


def _live(client: Any) -> tuple[int, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = client.search_model_versions(f"name='{MODEL}'")
        return tuple(sorted(int(v.version) for v in found if v.current_stage == "Production"))


def _race(job: tuple[str, str, int, int, int, str], barrier: Barrier, answers: Connection) -> None:
    """One process: a Driver's calls in rounds, and a look at MLflow after each round."""
    import mlflow

    kind, uri, seed, rounds, each, folder = job
    rng = random.Random(seed)  # noqa: S311
    driver = _driver(kind, uri, f"p{seed}", folder)
    client = mlflow.MlflowClient(uri, uri)
    _live(client)  # the first call opens the store; that is no part of a promotion
    calls, rests = [], []
    for _ in range(rounds):
        barrier.wait(PAUSE)
        calls += [_called(driver, rng) for _ in range(each)]
        barrier.wait(PAUSE)
        rests.append(_live(client))
    answers.send((calls, rests))


def race(uri: str, *, kind: str, processes: int, rounds: int, each: int, seed: int) -> Race:
    """Let `processes` make `rounds` times `each` calls, resting together after each round."""
    barrier = _processes.Barrier(processes + 1)
    pipes = [_processes.Pipe(duplex=False) for _ in range(processes)]
    with tempfile.TemporaryDirectory() as folder:
        racers = [
            _processes.Process(
                target=_race,
                args=((kind, uri, seed * 1000 + n, rounds, each, folder), barrier, pipes[n][1]),
            )
            for n in range(processes)
        ]
        for racer in racers:
            racer.start()
        seconds = 0.0
        for _ in range(rounds):
            barrier.wait(PAUSE)
            start = time.monotonic()
            barrier.wait(PAUSE)
            seconds += time.monotonic() - start
        answers = [there.recv() for there, _ in pipes]
        for racer in racers:
            racer.join()
    calls = tuple(call for made, _ in answers for call in made)
    return Race(calls, tuple(rest for _, rests in answers for rest in rests), seconds)


# What was there before, and what is there after


def prepare(uri: str, location: str | None = None) -> None:
    """Six versions without artifacts, entered in the ledger; the first two were live in turn."""
    import mlflow

    from registry import promote
    from registry.promote import Wish
    from registry.store import Store

    client = mlflow.MlflowClient(uri, uri)
    run = client.create_run(client.create_experiment("racing", location))
    client.create_registered_model(MODEL)
    for _ in range(VERSIONS):
        client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run.info.run_id)
    store = Store(uri)
    for version in range(1, VERSIONS + 1):
        evidence = {"digest": "0" * 64, "run_id": run.info.run_id, "lineage": {}}
        promote.enter(store, MODEL, version, evidence=evidence, wish=Wish("start"))
    with tempfile.TemporaryDirectory() as folder:
        driver = Understudy(uri, "start", folder)
        for version in (1, 1, 2, 2):
            driver.promote(version)


def found(uri: str) -> Found:
    """The ledger's winners and what MLflow shows; nothing is changed."""
    from registry import projection
    from registry.stages import Stage
    from registry.state import state_of
    from registry.store import Store

    store = Store(uri)
    replay, shown = projection.read(store, MODEL), store.shown(MODEL)
    state = state_of(replay)
    return Found(
        tuple(winner.number for winner in replay.winners),
        state.production,
        tuple(n for n, v in sorted(shown.versions.items()) if v.stage is Stage.PRODUCTION),
        tuple(d.sentence for d in projection.differences(state, shown)),
    )


# Kills


@dataclass(frozen=True)
class Killing:
    """What came of many kills: how often MLflow lagged behind, and what was never put right."""

    kills: int
    lagging: int
    """How often stages or aliases were not as the ledger says until somebody looked."""
    broken: tuple[str, ...]
    successes: int
    seconds: float


def killing(uri: str, kills: int, seed: int) -> Killing:
    """Kill processes at random moments of their work, alone and three at a time.

    To be called by `apart`: it forks, and so must have opened no store itself. The moments are
    spread over as long as a process takes for a few calls; every second time the next command
    has to put right what was left, else a repair.
    """
    rng = random.Random(seed)  # noqa: S311
    _warm_up(uri)
    start, killed, lagging, successes = time.monotonic(), 0, 0, 0
    broken: list[str] = []
    calls: list[float] = []
    forks = multiprocessing.get_context("fork")
    here, there = forks.Pipe()
    checker = forks.Process(target=_checks, args=(uri, there), daemon=True)
    checker.start()
    while killed < kills:
        crowd = min(rng.choice((1, 1, 3)), kills - killed)
        told, teller = forks.Pipe(duplex=False)
        victims = [
            forks.Process(target=_victim, args=(uri, rng.random(), teller)) for _ in range(crowd)
        ]
        for victim in victims:
            victim.start()
        teller.close()
        numbers: list[int] = []
        while numbers.count(READY) < crowd:
            numbers.append(told.recv())
        for victim in victims:
            time.sleep(rng.uniform(0, max(MOMENTS, 3 * statistics.median(calls or [0.0]))))
            victim.kill()
        for victim in victims:
            victim.join()
        killed += crowd
        numbers = [n for n in (*numbers, *_heard(told)) if n != READY]
        successes += len(numbers)
        here.send(("repair" if crowd > 1 or killed % 2 else "next", numbers))
        lagged, wrong, call = here.recv()
        calls += [call.seconds] if call is not None and call.number else []
        lagging += lagged
        broken += [f"kill {killed}: {sentence}" for sentence in wrong]
    here.send(None)
    checker.join()
    return Killing(killed, lagging, tuple(broken), successes, time.monotonic() - start)


def _warm_up(uri: str) -> None:
    """Import and configure whatever a first call does, on a copy, so that the forks need not."""
    from registry.store import Store

    with tempfile.TemporaryDirectory() as folder:
        shutil.copy2(uri.removeprefix("sqlite:///"), f"{folder}/copy.db")
        Store(f"sqlite:///{folder}/copy.db").shown(MODEL)


READY = 0
"""What a victim tells when it has opened its store and begins; no entry has this number."""
MOMENTS = 0.3
"""Seconds over which kills are spread, or three times a call where that takes longer."""


def _victim(uri: str, seed: float, teller: Connection) -> None:
    """Promotes and rolls back until it is killed; tells the number of each success."""
    rng = random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        driver = Understudy(uri, "victim", folder)
        driver.store.models()
        teller.send(READY)
        while True:
            if number := _called(driver, rng).number:
                teller.send(number)


def _heard(told: Connection) -> list[int]:
    """What the dead had told before; one may have died in the middle of a word."""
    numbers: list[int] = []
    try:
        while True:
            numbers.append(told.recv())
    except (EOFError, OSError):
        return numbers


def _checks(uri: str, asked: Connection) -> None:
    """Does what comes after a kill, and says whether MLflow lagged and what is still wrong."""
    from registry import projection
    from registry.stages import Stage
    from registry.state import state_of
    from registry.store import Store

    store = Store(uri)
    driver = Understudy(uri, "next", tempfile.gettempdir())
    rng = random.Random(0)  # noqa: S311
    while (job := asked.recv()) is not None:
        (what, numbers), call = job, None
        before, shown = projection.read(store, MODEL), store.shown(MODEL)
        lagged = shown.head != before.head or bool(projection.differences(state_of(before), shown))
        if what == "repair":
            projection.project(store, MODEL, projection.catch_up(store, MODEL)[0])
        else:
            call = _called(driver, rng)
        replay, shown = projection.read(store, MODEL), store.shown(MODEL)
        state = state_of(replay)
        wrong = [d.sentence for d in projection.differences(state, shown)]
        live = [n for n, v in shown.versions.items() if v.stage is Stage.PRODUCTION]
        if live != [state.production]:
            wrong.append(f"v{state.production} is live, and MLflow has {live} in Production")
        if shown.head != replay.head:
            wrong.append("the head is not noted")
        wrong += [f"entry {n} was a success and does not count" for n in numbers
                  if not replay.won(n)]  # fmt: skip
        asked.send((lagged, wrong, call))
