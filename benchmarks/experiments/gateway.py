"""What callers see of experiments: `python -m benchmarks.experiments.gateway`.

abort-slow   32 callers, half of their requests to a canary that begins to take 0.4 s; from the
             moment at which the guard takes its traffic away to its last answer to a caller, and
             how many requests failed
abort-hang   the same with a canary that answers no more
shadow-hang  p99 of the live version at 32 connections (wrk), with a shadow that hangs and without
             any, in turns on the same gateway: callers who ask again as soon as they were
             answered, so that both processors are taken, and callers at half of that rate
shadow-die   the same with a shadow whose process dies at each request, and is started again

A model that echoes its rows. The rule of the shadows leaves them no verdict, so that they stay.
Figures are medians of the runs, of the aborts the longest; ratios are of pairs within a run. Writes
results.json beside this file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import mlflow

from benchmarks.experiments.run import HERE
from benchmarks.pipeline.run import machine
from benchmarks.serving import callers
from benchmarks.serving.load import Figures, Target, median, ratio, wrk
from benchmarks.serving.overload import offer
from benchmarks.serving.soak import read
from tests.flow.gateways import Gateway, Registry, rows, running, until

CALLERS = 32
SECONDS = 8.0
NEVER = {"alpha": 1e-12, "minimum": 10**9}
"""A rule that comes to no verdict."""


@contextmanager
def _gateway() -> Iterator[Gateway]:
    """With version 1 in Production."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        mlflow.MlflowClient(f"sqlite:///{root}/empty.db").search_experiments()  # migrates it
        registry = Registry(root / "project", root / "empty.db")
        registry.promote(registry.version())
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        launch = Gateway.launch
        Gateway.launch = (*launch, "--json")
        try:
            with running(registry, {**os.environ, "PATH": path}, timeout=10) as found:
                yield found
        finally:
            Gateway.launch = launch


def _challenge(gateway: Gateway, mode: str, weight: float, **rule: Any) -> int:
    version = gateway.registry.version()
    gateway.registry.challenge(version, mode, weight, **rule)

    def goes() -> bool:
        said = gateway.status["experiment"]
        return bool(said and said["challenger"] == version and said["open"])

    until(goes, gateway)
    return version


def _stop(gateway: Gateway) -> None:
    gateway.registry.stop_traffic()
    until(lambda: gateway.status["experiment"]["ended"], gateway)


def _aborted(gateway: Gateway, version: int) -> float:
    """When its traffic was taken away, in seconds since 1970."""
    for line in gateway.log.read_text().splitlines():
        said = json.loads(line)
        if said["event"] == "aborted" and said["version"] == version:
            return datetime.fromisoformat(said["time"]).timestamp()
    raise click.ClickException("it was not aborted")


def abort(does: str) -> Callable[[int], dict[str, Any]]:
    """A canary at 50 % that begins to do so, under callers without pause."""

    def play(runs: int) -> dict[str, Any]:
        found: list[dict[str, float]] = []
        with _gateway() as gateway:
            for _ in range(runs):
                found.append(_once(gateway, does))
        return {
            "milliseconds to the last answer, longest": round(max(f["ms"] for f in found), 1),
            "milliseconds to the last answer, median": round(
                statistics.median(f["ms"] for f in found), 1
            ),
            "seconds from its first bad request to the abort, longest": round(
                max(f["noticed"] for f in found), 2
            ),
            "failed requests": int(sum(f["failed"] for f in found)),
            "requests": int(sum(f["requests"] for f in found)),
        }

    return play


def _once(gateway: Gateway, does: str) -> dict[str, float]:
    version = _challenge(gateway, "canary", 0.5)
    folder = gateway.registry.root
    body, out = folder / "body.json", folder / f"answers-{version}.bin"
    body.write_text(json.dumps(rows(1)))
    process = subprocess.Popen(
        [sys.executable, "-P", callers.__file__, str(gateway.port), str(CALLERS), str(body),
         str(out)]
    )  # fmt: skip
    time.sleep(3)
    turned = time.time()
    gateway.registry.turn(version, does)
    until(lambda: gateway.status["experiment"]["ended"], gateway)
    time.sleep(1)
    process.terminate()
    process.wait(90)
    records = read(out)
    last = float(records["received"][records["version"] == version].max())
    aborted = _aborted(gateway, version)
    until(lambda: gateway.status["traffic"] is None, gateway)
    return {
        "ms": max(last - aborted, 0) * 1000,
        "noticed": aborted - turned,
        "failed": float((records["status"] != 200).sum()),
        "requests": float(len(records)),
    }


def shadow(does: str) -> Callable[[int], dict[str, Any]]:
    """A shadow of all requests that begins to do so."""

    def play(runs: int) -> dict[str, Any]:
        most, half = Turns(), Turns()
        with _gateway() as gateway:
            target = Target(gateway.port, json.dumps(rows(1)).encode())
            rate = wrk(target, CALLERS, SECONDS)["requests/s"] / 2
            for turn in range(2 * runs + 1):
                if with_shadow := turn % 2 == 1:
                    version = _challenge(gateway, "shadow", 1.0, **NEVER)
                    gateway.registry.turn(version, does)
                most.found.append(wrk(target, CALLERS, SECONDS))
                half.found.append(_at(target, rate))
                if with_shadow:
                    _stop(gateway)
        return {"as many as are answered": most.compared(), "half as many": half.compared()}

    return play


def _at(target: Target, rate: float) -> Figures:
    found = offer(target.port, target.body, CALLERS, SECONDS, rate)
    return {
        "requests/s": found["answered/s"],
        "p50 ms": found["answered p50 ms"],
        "p99 ms": found["answered p99 ms"],
        "errors": found["errors"],
    }


@dataclass
class Turns:
    """Without a shadow, with one, without, with one, ...; the first and the last without."""

    found: list[Figures] = field(default_factory=list)

    def compared(self) -> dict[str, Any]:
        """Each turn with a shadow against the mean of those around it, for the pace drifts."""
        alone, beside = self.found[::2], self.found[1::2]
        around = [
            {key: math.sqrt(one[key] * other[key]) for key in one} for one, other in pairwise(alone)
        ]
        between = [b["p99 ms"] / a["p99 ms"] for a, b in pairwise(alone)]
        return {
            "alone": median(alone),
            "beside a shadow": median(beside),
            "p99, ratio": round(ratio("p99 ms", beside, around), 3),
            "requests/s, ratio": round(ratio("requests/s", beside, around), 3),
            "p99, from one turn without to the next": [round(each, 2) for each in between],
        }


SCENARIOS: dict[str, Callable[[int], dict[str, Any]]] = {
    "abort-slow": abort("slow"),
    "abort-hang": abort("hang"),
    "shadow-hang": shadow("hang"),
    "shadow-die": shadow("die"),
}


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--runs", default=10, show_default=True, help="Repetitions.")
def main(scenarios: tuple[str, ...], runs: int) -> None:
    """Run SCENARIOS, all of them unless named, and write results.json."""
    path = HERE / "results.json"
    for scenario in scenarios or SCENARIOS:
        found = {**SCENARIOS[scenario](runs), "runs": runs}
        click.echo(f"{scenario}: {json.dumps(found)}")
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        kept |= {"machine": machine(), scenario: found}
        path.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
