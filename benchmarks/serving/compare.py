"""Throughput and latency of the gateway beside others, in turns on the same machine."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.serving import mlserver
from benchmarks.serving.load import Figures, Target, median, ratio, wrk
from benchmarks.serving.servers import bare, gateway
from benchmarks.serving.settings import Settings
from benchmarks.serving.subject import Subject

STEPS = (1, 8, 32, 64, 128, 256)
"""Connections of the plot."""
SLICE, PAIRS = 2, 6
"""Seconds that one contestant is asked for before it is the other's turn, and how often."""


def throughput(connections: int) -> Callable[[Subject, Settings], dict[str, Any]]:
    """Bare and the gateway at so many connections."""

    def play(subject: Subject, settings: Settings) -> dict[str, Any]:
        theirs, ours = [], []
        with bare(subject) as port, gateway(subject) as found:
            for _ in range(settings.runs):
                theirs.append(wrk(Target(port, subject.split), connections, settings.seconds))
                ours.append(wrk(Target(found.port, subject.split), connections, settings.seconds))
        return {
            "bare": median(theirs),
            "gateway": median(ours),
            "times bare": round(ratio("requests/s", ours, theirs), 1),
            "p99 of bare's": round(ratio("p99 ms", ours, theirs), 3),
        }

    return play


def against_mlserver(subject: Subject, settings: Settings) -> dict[str, Any]:
    """MLServer with the best of its settings, and the gateway by both of its protocols."""
    chosen, tried = mlserver.best(subject, 64, settings.seconds)
    found: dict[str, list[Figures]] = {"mlserver": [], "gateway": [], "gateway, V2": []}
    with mlserver.mlserver(subject, chosen) as theirs, gateway(subject) as ours:
        rows = mlserver.require_equal(subject, theirs.port, ours.port)
        targets = {
            "mlserver": theirs,
            "gateway": Target(ours.port, subject.split),
            "gateway, V2": Target(ours.port, subject.tensors, mlserver.PATH),
        }
        for number in range(settings.runs):
            for name in _turn(list(targets), number):
                found[name].append(wrk(targets[name], 64, settings.seconds))
    said: dict[str, Any] = {name: median(each) for name, each in found.items()}
    for name in ("gateway", "gateway, V2"):
        times = ratio("requests/s", found[name], found["mlserver"])
        said[f"{name}: times mlserver"] = round(times, 2)
    said["mlserver's runtime"] = "mlserver_mlflow.MLflowRuntime"
    said["mlserver's setting"], said["settings tried, requests/s"] = str(chosen), tried
    return {**said, "rows with equal answers": rows}


def _turn(names: list[str], number: int) -> list[str]:
    """There and back, so that a machine that drifts favours nobody."""
    return names[::-1] if number % 2 else names


def latency(subject: Subject, settings: Settings) -> dict[str, Any]:
    """What the gateway adds at one connection, from pairs of short slices: A B, B A, A B, ..."""
    found: dict[str, list[Figures]] = {"bare": [], "gateway": []}
    with bare(subject, threads=1) as theirs, gateway(subject) as ours:
        ports = {"bare": theirs, "gateway": ours.port}
        for port in ports.values():
            wrk(Target(port, subject.split), 1, SLICE, warm=0)
        for number in range(PAIRS * settings.runs):
            for name in _turn(list(ports), number):
                found[name].append(wrk(Target(ports[name], subject.split), 1, SLICE, warm=0))
    pairs = zip(found["gateway"], found["bare"], strict=True)
    added = [g["p50 ms"] - b["p50 ms"] for g, b in pairs]
    quarters = statistics.quantiles(added, n=4)
    return {
        **{name: median(each) for name, each in found.items()},
        "pairs": len(added),
        "added p50 ms": round(quarters[1], 2),
        "added p50 ms, quartiles": [round(quarters[0], 2), round(quarters[2], 2)],
    }


def switched_off(subject: Subject, settings: Settings) -> dict[str, Any]:
    """What log, metrics and rehearsal cost; on, off, off, on within each run."""
    found: dict[str, list[Figures]] = {"on": [], "off": []}
    quiet = [sys.executable, "-P", str(Path(__file__).with_name("unmeasured.py"))]
    for _ in range(settings.runs):
        slices: dict[str, list[Figures]] = {"on": [], "off": []}
        for name, times in (("on", 1), ("off", 2), ("on", 1)):
            with ExitStack() as stack:
                if name == "on":
                    ours = stack.enter_context(gateway(subject))
                else:
                    off: dict[str, Any] = {"command": quiet, "records": "off", "rehearse": 0}
                    ours = stack.enter_context(gateway(subject, **off))
                for _ in range(times):
                    slices[name].append(wrk(Target(ours.port, subject.split), 64, settings.seconds))
        for name, each in slices.items():
            found[name].append(
                {key: statistics.fmean(figures[key] for figures in each) for key in each[0]}
            )
    kept = round(ratio("requests/s", found["on"], found["off"]), 3)
    return {**{name: median(each) for name, each in found.items()}, "kept": kept}


def by_connections(subject: Subject, settings: Settings) -> dict[str, Any]:
    """All three from 1 to 256 connections: what the plot shows."""
    chosen, _ = mlserver.best(subject, 64, settings.seconds)
    found: dict[str, dict[int, list[Figures]]] = {}
    with (
        bare(subject) as port,
        mlserver.mlserver(subject, chosen) as theirs,
        gateway(subject) as ours,
    ):
        targets = {
            "bare": Target(port, subject.split),
            "mlserver": theirs,
            "gateway": Target(ours.port, subject.split),
        }
        for number in range(settings.runs):
            for connections in STEPS:
                for name in _turn(list(targets), number):
                    figures = wrk(targets[name], connections, settings.seconds)
                    found.setdefault(name, {}).setdefault(connections, []).append(figures)
    said: dict[str, Any] = {
        name: {str(count): median(each) for count, each in steps.items()}
        for name, steps in found.items()
    }
    return {**said, "mlserver's setting": str(chosen)}
