"""wrk: callers that ask again as soon as they were answered."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from tests.flow.gateways import send

Figures = dict[str, float]


@dataclass(frozen=True)
class Target:
    """Whom to ask, and what."""

    port: int
    body: bytes
    path: str = "/invocations"

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}{self.path}"


def wrk(target: Target, connections: int, seconds: float, warm: int = 2) -> Figures:
    """Requests per second, p50 and p99 in ms, and how many were not answered with 200."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{target.body.decode()}]==]\n"
            "done = function(summary, latency)\n"
            '  io.write(string.format("%d %d %f %f %d\\n", summary.requests, summary.duration,'
            " latency:percentile(50) / 1000, latency:percentile(99) / 1000,"
            " summary.errors.status + summary.errors.connect + summary.errors.read"
            " + summary.errors.timeout))\nend\n"
        )
        script.flush()
        run = ["wrk", "-t1", f"-c{connections}", "--timeout", "60s", "-s", script.name]
        if warm:
            subprocess.run([*run, f"-d{warm}s", target.address], capture_output=True, check=True)
        out = subprocess.run(
            [*run, f"-d{max(round(seconds), 1)}s", target.address],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    _let_it_rest(target)
    found = re.search(r"^(\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)$", out, re.MULTILINE)
    if found is None:
        raise click.ClickException(f"wrk said {out!r}")
    count, micro, p50, p99, errors = (float(x) for x in found.groups())
    return {"requests/s": count / micro * 1e6, "p50 ms": p50, "p99 ms": p99, "errors": errors}


def _let_it_rest(target: Target) -> None:
    """Wait until it has worked off what nobody waits for, which would slow down whoever is next.

    One more request has its turn after the ones that were given up; a gateway also writes its log.
    """
    send(target.port, "POST", target.path, target.body, {"Content-Type": "application/json"})
    end = time.monotonic() + 60
    while time.monotonic() < end:
        said = send(target.port, "GET", "/status", None, {})
        kept = said.json.get("records") if said.status == 200 else None
        if not kept or not kept["queued"]:
            return
        time.sleep(0.1)


def median(found: Sequence[Figures]) -> Figures:
    """Each figure's median over the runs; of errors, the sum."""
    each = {key: [f[key] for f in found] for key in found[0]}
    return {
        key: sum(values) if key == "errors" else round(statistics.median(values), 2)
        for key, values in each.items()
    }


def ratio(name: str, of: Sequence[Figures], to: Sequence[Figures]) -> float:
    """The median of a figure's ratios, run by run."""
    return statistics.median(a[name] / b[name] for a, b in zip(of, to, strict=True))
