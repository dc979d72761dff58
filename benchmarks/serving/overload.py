"""Twice the load that the gateway can carry.

The peak is what it answers to 64, 128 or 256 callers who ask again as soon as they were answered.
Then requests leave at twice that rate on a schedule of their own, whatever became of those before
them, over 2,048 connections; what is beyond `serve.waiting` is refused. wrk with overload.lua, on
the same two cores: it takes about a tenth of one.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.serving.load import Figures
from benchmarks.serving.servers import gateway
from benchmarks.serving.settings import Settings
from benchmarks.serving.subject import Subject

SCRIPT = Path(__file__).with_name("overload.lua")
CLOSED = (64, 128, 256)
OPEN = 2048
WARM = 2
"""Seconds that overload.lua leaves out."""
_SECONDS = re.compile(r"^SECONDS ([\d.]+)$", re.MULTILINE)
_ERRORS = re.compile(r"^ERRORS (\d+)$", re.MULTILINE)
_STATUS = re.compile(r"^STATUS (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+)$", re.MULTILINE)


def offer(port: int, body: bytes, connections: int, seconds: float, rate: float = 0) -> Figures:
    """What becomes of requests at a rate; of as many as are answered where it is 0."""
    length = max(round(seconds), 1) + WARM
    address = f"http://127.0.0.1:{port}/invocations"
    with tempfile.NamedTemporaryFile(suffix=".json") as said:
        said.write(body)
        said.flush()
        out = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{length}s", "--timeout", "60s", "-s", SCRIPT,
             address, "--", f"{rate:.0f}", said.name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    told, lost = _SECONDS.search(out), _ERRORS.search(out)
    if told is None or lost is None:
        raise click.ClickException(f"wrk said {out!r}")
    took, errors = float(told[1]), float(lost[1])
    found = {int(m[1]): [float(m[i]) for i in (2, 3, 4, 5)] for m in _STATUS.finditer(out)}
    answered, refused = found.get(200, [0.0] * 4), found.get(503, [0.0] * 4)
    others = sum(each[0] for status, each in found.items() if status not in (200, 503))
    return {
        "offered/s": sum(each[0] for each in found.values()) / took,
        "answered/s": answered[0] / took,
        "answered p50 ms": answered[1],
        "answered p99 ms": answered[2],
        "refused/s": refused[0] / took,
        "refused p50 ms": refused[1],
        "refused p99 ms": refused[2],
        "refused longest ms": refused[3],
        "errors": errors + others,
    }


def twice(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Peak and twice the peak, in turns."""
    peaks, loads = [], []
    before: list[float] = []
    after: list[float] = []
    with gateway(subject) as ours:
        offer(ours.port, subject.split, 128, 2)
        for _ in range(settings.runs):
            closed = [offer(ours.port, subject.split, count, settings.seconds) for count in CLOSED]
            peaks.append(max(figures["answered/s"] for figures in closed))
            before.append(ours.megabytes)
            loads.append(offer(ours.port, subject.split, OPEN, settings.seconds, 2 * peaks[-1]))
            after.append(ours.megabytes)
        most = ours.most_megabytes
    said = {key: statistics.median(load[key] for load in loads) for key in loads[0]}
    said["errors"] = sum(load["errors"] for load in loads)
    shares = [load["answered/s"] / peak for load, peak in zip(loads, peaks, strict=True)]
    offered = [load["offered/s"] / peak for load, peak in zip(loads, peaks, strict=True)]
    return {
        "peak/s": round(statistics.median(peaks), 1),
        **{key: round(value, 1) for key, value in said.items()},
        "offered, of the peak": round(statistics.median(offered), 2),
        "answered, of the peak": round(statistics.median(shares), 3),
        "gateway MB, before the first": round(before[0], 1),
        "gateway MB, after each": [round(value, 1) for value in after],
        "gateway MB, most": round(most, 1),
    }
