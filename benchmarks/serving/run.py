"""Throughput, latency and reactions of the gateway: `python -m benchmarks.serving.run`.

throughput-64    requests/s and p99 at 64 connections: bare `mlflow models serve` as a user starts
                 it, and the gateway with log, metrics and rehearsal on, before one process
throughput-128   the same at 128 connections
mlserver-64      the same at 64 connections: MLServer with adaptive batching at the best of several
                 settings on its V2 endpoint, the gateway on the scoring protocol and on V2
connections      all three from 1 to 256 connections; the plot (`benchmarks.serving.plot`)
latency-1        p50 at 1 connection: bare with the same thread settings, and the gateway
switched-off     the gateway at 64 connections with log, metrics and rehearsal, and without
twice-the-load   requests at twice the rate of its peak: how many are answered, how soon refused
rollback         from the command to the last answer of the bad version: `understudy rollback` from
                 the shell, the admin interface, and a restart of `mlflow models serve`
two-gateways     how soon both follow a decision of which nobody tells them
soak             100 promotions and rollbacks in 5 minutes under 32 connections, each answer judged

One row of 16 features for each request, a gradient-boosting model of 300 trees; wrk on the same
machine, one thread. Contestants take turns within each run; figures are medians of the runs, ratios
of pairs within a run. Each scenario has a registry of its own. Writes results.json beside this
file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.pipeline.run import machine
from benchmarks.serving import compare, overload, reacting, soak, subject
from benchmarks.serving.settings import Settings
from benchmarks.serving.subject import Subject

RESULTS = Path(__file__).with_name("results.json")
SCENARIOS: dict[str, Callable[[Subject, Settings], dict[str, Any]]] = {
    "throughput-64": compare.throughput(64),
    "throughput-128": compare.throughput(128),
    "mlserver-64": compare.against_mlserver,
    "connections": compare.by_connections,
    "latency-1": compare.latency,
    "switched-off": compare.switched_off,
    "twice-the-load": overload.twice,
    "rollback": reacting.rollback,
    "two-gateways": reacting.two_gateways,
    "soak": soak.soak,
}


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--runs", default=5, show_default=True, help="Repetitions; soak is done once.")
@click.option("--seconds", default=8.0, show_default=True, help="Of each measurement by wrk.")
@click.option("--soak", default=300.0, show_default=True, help="Seconds of the scenario soak.")
@click.option("--out", default=RESULTS, type=click.Path(path_type=Path), help="Another file.")
def main(scenarios: tuple[str, ...], runs: int, seconds: float, soak: float, out: Path) -> None:
    """Run SCENARIOS, all of them unless named, and write results.json."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is needed (Debian's package wrk)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    settings = Settings(runs, seconds, soak)
    kept: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    kept["machine"] = machine()
    for scenario in scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as root:
            served = subject.make(Path(root))
            found = SCENARIOS[scenario](served, settings)
        kept[scenario] = {**found, "runs": 1 if scenario == "soak" else runs}
        click.echo(f"{scenario}: {json.dumps(kept[scenario])}")
        out.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
