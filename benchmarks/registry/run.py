"""Order, crash safety and speed of the registry: `python -m benchmarks.registry.run`.

concurrent-sqlite    8 processes x 25 promotions and rollbacks on a SQLite file: with Understudy,
                     and with plain MLflow, archiving and as MLflow does by default
concurrent-server    the same through `mlflow server --workers 2` (on a SQLite file)
concurrent-postgres  the same on PostgreSQL; left out where there is none
concurrent-server-postgres  the same through `mlflow server --workers 2` on PostgreSQL
kills-200            200 processes killed in the middle of a promotion or rollback (SQLite)
replay-10000         replay and fold of a ledger of 10,000 entries of about 2 kB, without network
state-1000           reading the state of a ledger of 1,000 such entries from an `mlflow server`

No gate is asked, and importing is not timed. Seeds: 0, 1, ... for each run; the figures are those
of the run with the median p99, the numbers in Production the worst of all runs. Writes results.json
beside this file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from benchmarks.pipeline.run import machine
from tests.flow import racing, servers

HERE = Path(__file__).parent
KINDS = ("understudy", "mlflow, archiving", "mlflow, default")
PROCESSES, ROUNDS, EACH = 8, 5, 5


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """The URI of a new SQLite store."""
    uri = f"sqlite:///{folder}/mlflow.db"
    script = f"import mlflow; mlflow.MlflowClient({uri!r}).search_experiments()"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    yield uri


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server with two workers on a new SQLite store."""
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with sqlite(folder) as backend, servers.mlflow_server(folder, env, backend) as address:
        yield address


@contextmanager
def postgresql(_: Path) -> Iterator[str]:
    """The URI of a new PostgreSQL."""
    with servers.postgres() as uri:
        yield uri


@contextmanager
def server_on_postgresql(folder: Path) -> Iterator[str]:
    """The address of a server with two workers on a new PostgreSQL."""
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with servers.postgres() as backend, servers.mlflow_server(folder, env, backend) as address:
        yield address


Open = Callable[[Path], Any]


@contextmanager
def prepared(opened: Open) -> Iterator[str]:
    """A store with a model of six versions."""
    with tempfile.TemporaryDirectory() as name, opened(Path(name)) as uri:
        location = None if uri.startswith("http") else (Path(name) / "artifacts").as_uri()
        racing.apart(racing.prepare, uri, location)
        yield uri


def concurrent(opened: Open, runs: int) -> dict[str, Any]:
    """Each kind of caller, in turns, `runs` times."""
    raced: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for seed in range(runs):
        for kind in KINDS:
            with prepared(opened) as uri:
                raced[kind].append(one_race(uri, kind, seed))
    return {kind: summed(rows) for kind, rows in raced.items()}


def one_race(uri: str, kind: str, seed: int) -> dict[str, Any]:
    """The figures of one race."""
    before = racing.apart(racing.found, uri)
    race = racing.race(uri, kind=kind, processes=PROCESSES, rounds=ROUNDS, each=EACH, seed=seed)
    after = racing.apart(racing.found, uri)
    times = sorted(call.seconds for call in race.calls)
    said = [call for call in race.calls if not call.error]
    figures: dict[str, Any] = {
        "in Production at the end": len(after.shown),
        "in Production at rest, most": max(len(rest) for rest in race.rests),
        "in Production at rest, least": min(len(rest) for rest in race.rests),
        "calls": len(race.calls),
        "successes told": len(said),
        "calls per second": round(len(race.calls) / race.seconds, 1),
        "p50 s": round(statistics.median(times), 3),
        "p99 s": round(times[int(0.99 * (len(times) - 1))], 3),
        "max s": round(times[-1], 3),
        "told otherwise": dict(Counter(c.error.split(":")[0] for c in race.calls if c.error)),
    }
    if kind == "understudy":
        numbers = sorted(call.number or 0 for call in said)
        figures["winners in the ledger"] = len(after.winners) - len(before.winners)
        figures["winners are successes"] = numbers == sorted(
            set(after.winners) - set(before.winners)
        )
        figures["shown is the ledger's"] = after.shown == (after.production,)
        figures["differences"] = list(after.differences)
    return figures


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the median p99, and the worst of all runs where one bad one is too many."""
    middle = dict(sorted(rows, key=lambda row: float(row["p99 s"]))[(len(rows) - 1) // 2])
    for key in ("in Production at the end", "in Production at rest, most"):
        middle[key] = max(row[key] for row in rows)
    least = "in Production at rest, least"
    middle[least] = min(row[least] for row in rows)
    for key in ("winners are successes", "shown is the ledger's"):
        if key in middle:
            middle[key] = all(row[key] for row in rows)
    return {**middle, "runs": len(rows)}


def kills(runs: int) -> dict[str, Any]:
    """200 kills, `runs` times with other seeds."""
    found = []
    for seed in range(runs):
        with prepared(sqlite) as uri:
            found.append(racing.apart(racing.killing, uri, 200, seed))
    return {
        "kills": sum(done.kills for done in found),
        "MLflow lagged behind the ledger": sum(done.lagging for done in found),
        "successes told": sum(done.successes for done in found),
        "unrepaired": sum(len(done.broken) for done in found),
        "what": [sentence for done in found for sentence in done.broken],
        "seconds": round(statistics.median(done.seconds for done in found), 1),
    }


def entries(count: int) -> list[tuple[int, str]]:
    """A ledger of promotions in turns among a hundred versions; an entry has about 2 kB."""
    from registry import ledger, plan
    from registry.stages import Stage
    from registry.state import State

    checks = [
        {"name": f"gate {n}", "passed": True, "value": 0.75 + n / 100, "limit": 0.7,
         "sentence": "roc_auc 0.7512 is not below the limit 0.7448: Production v3 has 0.7498"}
        for n in range(9)
    ]  # fmt: skip
    lineage = {"git_commit": "0" * 40, "data_md5": "1" * 32 + ".dir", "params_sha256": "2" * 64}
    evidence = {"gate": {"passed": True, "checks": checks}, "lineage": lineage, "digest": "3" * 64}
    state, head, found = State(), ledger.GENESIS, []
    for number in range(1, count + 1):
        version = (number - 1) % 100 + 1
        if number <= 100:
            made = plan.register(state, "m", version)
        else:
            made = plan.promote(state, "m", version, Stage.STAGING)
            if number % 2:
                made = plan.rollback(state, "m") if state.former else made
            elif state.staging:
                made = plan.promote(state, "m", state.staging, Stage.PRODUCTION)
        entry = made.entry(
            prev=head, actor="ana", reason=f"nightly {number}", time="2026-01-01T00:00:00+00:00",
            **evidence,
        )  # fmt: skip
        state, head = state.after(entry), entry.hash
        found.append((number, ledger.render(entry)))
    return found


def replay(runs: int) -> dict[str, Any]:
    """Replay and fold of 10,000 entries."""
    from registry import ledger
    from registry.state import state_of

    texts = entries(10_000)
    times, busy = [], []
    for _ in range(runs):
        start, cpu = time.perf_counter(), time.process_time()
        state = state_of(ledger.replay("m", texts))
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - cpu)
    return {
        "entries": len(texts),
        "bytes per entry": round(statistics.mean(len(text) for _, text in texts)),
        "versions": len(state.stages),
        "seconds": round(statistics.median(times), 3),
        "of the processor, seconds": round(statistics.median(busy), 3),
        "asked": 1.0,
        "runs": runs,
    }


def fill(uri: str, count: int) -> None:
    """Append a ledger of `count` entries to the model m, which is made with one version."""
    import mlflow

    from registry.store import Store

    client = mlflow.MlflowClient(uri, uri)
    run = client.create_run(client.create_experiment("filled"))
    client.create_registered_model("m")
    client.create_model_version(
        "m", f"{run.info.artifact_uri}/model", run.info.run_id, await_creation_for=0
    )
    store = Store(uri)
    about = store.shown("m").versions[1]
    for _, text in entries(count):
        store.append("m", about, text, "an entry")


def read_state(uri: str, runs: int) -> list[float]:
    """Seconds of each reading, each by a store that has read nothing before."""
    from registry import projection
    from registry.state import state_of
    from registry.store import Store

    times = []
    for _ in range(runs):
        store = Store(uri)
        start = time.perf_counter()
        state = state_of(projection.read(store, "m"))
        times.append(time.perf_counter() - start)
        assert len(state.stages) == 100  # noqa: S101
    return times


def state(runs: int) -> dict[str, Any]:
    """Read the state of a ledger of 1,000 entries from a server."""
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as uri:
        racing.apart(fill, uri, 1000)
        times = racing.apart(read_state, uri, max(5, runs))
    return {
        "entries": 1000,
        "seconds": round(statistics.median(times), 3),
        "slowest, seconds": round(max(times), 3),
        "asked": 1.0,
        "runs": len(times),
    }


SCENARIOS: dict[str, Callable[[int], dict[str, Any]]] = {
    "concurrent-sqlite": lambda runs: concurrent(sqlite, runs),
    "concurrent-server": lambda runs: concurrent(server, runs),
    "concurrent-postgres": lambda runs: concurrent(postgresql, runs),
    "concurrent-server-postgres": lambda runs: concurrent(server_on_postgresql, runs),
    "kills-200": kills,
    "replay-10000": replay,
    "state-1000": state,
}


def table(name: str, result: dict[str, Any]) -> str:
    """One scenario for people: a line per kind of caller, or per figure."""
    if not name.startswith("concurrent"):
        return "\n".join(f"  {key:34} {value}" for key, value in result.items())
    keys = [
        "in Production at the end", "in Production at rest, most", "successes told",
        "winners in the ledger", "calls per second", "p50 s", "p99 s", "max s",
    ]  # fmt: skip
    lines = [" " * 28 + "".join(f"{kind:>20}" for kind in result)]
    for key in keys:
        cells = "".join(f"{row.get(key, '-'):>20}" for row in result.values())
        lines.append(f"  {key:26}{cells}")
    return "\n".join(lines)


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--runs", default=3, show_default=True, help="Repetitions of each scenario.")
def main(scenarios: tuple[str, ...], runs: int) -> None:
    """Run SCENARIOS, all of them unless named, and write results.json."""
    path = HERE / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept["machine"] = machine()
    for name in scenarios or SCENARIOS:
        click.echo(name)
        try:
            kept[name] = SCENARIOS[name](runs)
        except servers.NotThere as reason:
            click.echo(f"  skipped: {reason}")
            continue
        click.echo(table(name, kept[name]))
        path.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
