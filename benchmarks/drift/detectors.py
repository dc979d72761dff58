"""Detectors on streams with known drift: `python -m benchmarks.drift.detectors`.

stable      windows like the reference: in how many of 1,000 any column shows anything
harmless    the same with all 14 numeric columns shifted by 0.02 standard deviations
mean, scale, missing, unseen, outside, categories, gradual
            three stable windows, then a drift in one of the 20 columns (streams.py says of what
            size): in how many streams it was found in its first two windows (`gradual`: in the
            first two from 0.25 standard deviations on, or before), windows until it was, streams
            in which it was not found in ten, and false alarms in the three windows before

Windows of 500, 2,000, 10,000 and 100,000 rows against a reference of 10,000, each stream with its
own, 20 columns, the default policy, each window also against the one before it. With
`--evidently PYTHON`, the interpreter of an environment with Evidently, the same streams, fewer of
them, go through its DataDriftPreset with its defaults: by column (any of them), and without a drift
also by data set (half of the columns; a drift in one of 20 can never be found so).

Seeds: the number of the stream. Writes results.json beside this file; what was not run is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from benchmarks.drift import streams

HERE = Path(__file__).parent
SIZES = (500, 2_000, 10_000, 100_000)
STABLE, LONGEST = 3, 10
"""Windows before a drift, and windows of it that are looked at."""
WINDOWS = 20
"""Of a stream without drift."""
RUNS = {500: (150, 200), 2_000: (100, 100), 10_000: (50, 60), 100_000: (10, 10)}
"""Streams without drift, and streams of each drift, by size."""
THEIRS = {500: (10, 10), 10_000: (5, 10)}
"""The same for Evidently, which takes seconds for a window."""

Detector = Callable[[pd.DataFrame], set[str]]
"""From a window to the columns in which it shows anything; made anew for each stream."""


def ours(reference: pd.DataFrame) -> Detector:
    """The project's detectors with their default policy."""
    from monitoring.drift import compare
    from monitoring.profile import Profile, Reference
    from monitoring.sections import DriftPolicy

    known = Reference.of(reference, streams.NUMERIC, streams.CATEGORICAL)
    before: list[Profile | None] = [None]

    def look(window: pd.DataFrame) -> set[str]:
        profile = Profile(known)
        profile.add(window)
        found = compare(known, profile, before[0], DriftPolicy())
        before[0] = profile
        return {f.column for f in found if f.found}

    return look


def undrifted(make: Callable[..., Detector], size: int, shift: float, seed: int) -> list[bool]:
    """For each window of a stream whether anything was found."""
    drawn = np.random.default_rng([seed, size, int(1000 * shift)])
    look = make(streams.rows(drawn, streams.REFERENCE))
    return [bool(look(streams.rows(drawn, size, shift))) for _ in range(WINDOWS)]


def drifted(make: Callable[..., Detector], size: int, kind: str, seed: int) -> tuple[int, int, str]:
    """Windows until the drift was found (0: never), false alarms before it, and its column."""
    drawn = np.random.default_rng([seed, size, 100 + streams.DRIFTS.index(kind)])
    reference = streams.rows(drawn, streams.REFERENCE)
    drift, look = streams.planted(kind, reference, drawn), make(reference)
    false = sum(bool(look(streams.rows(drawn, size))) for _ in range(STABLE))
    for age in range(1, LONGEST + 1):
        if drift.column in look(streams.rows(drawn, size, drift=drift, age=age)):
            return age, false, drift.column
    return 0, false, drift.column


def scored(found: Iterable[tuple[int, int, str]], kind: str) -> dict[str, Any]:
    """What is written of the streams of one drift."""
    listed = list(found)
    limit = 2 if kind != "gradual" else round(streams.SHIFT / streams.STEP) + 1
    ages = np.array([age for age, _, _ in listed])
    missed = sorted({c for age, _, c in listed if not 0 < age <= limit})
    return {
        "streams": len(listed),
        "found in two windows": float(((ages > 0) & (ages <= limit)).mean()),
        "windows until found, mean": round(float(ages[ages > 0].mean()), 2) if ages.any() else None,
        "never found": int((ages == 0).sum()),
        "stable windows": STABLE * len(listed),
        "of which alarmed": sum(false for _, false, _ in listed),
        "later in columns": missed,
    }


def play(
    make: Callable[..., Detector], runs: dict[int, tuple[int, int]], workers: int
) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Every scenario at every size: its name, the size, its figures."""
    with ProcessPoolExecutor(workers) as pool:
        for size, (still, each) in runs.items():
            for name, shift in (("stable", 0.0), ("harmless", 0.02)):
                lists = pool.map(partial(undrifted, make, size, shift), range(still))
                alarms = [a for some in lists for a in some]
                per = round(1000 * sum(alarms) / len(alarms), 2)
                yield name, str(size), {"windows": len(alarms), "alarms per 1,000": per}
            for kind in streams.DRIFTS if each else ():
                found = pool.map(partial(drifted, make, size, kind), range(each))
                yield kind, str(size), scored(found, kind)


@click.command()
@click.option("--evidently", envvar="EVIDENTLY_PYTHON", help="Python of an environment with it.")
@click.option("--only-evidently", is_flag=True, help="Leave our own detectors out.")
@click.option("--size", "sizes", type=int, multiple=True, help="Only windows of so many rows.")
@click.option("--scale", default=1.0, help="Share of the streams that are run.")
def main(evidently: str | None, only_evidently: bool, sizes: tuple[int, ...], scale: float) -> None:
    """Run every scenario and write results.json."""
    from benchmarks.pipeline.run import machine

    if not only_evidently:
        for name, size, figures in play(ours, _chosen(RUNS, sizes, scale), os.cpu_count() or 1):
            _keep("ours", name, size, figures, machine())
    if evidently is None:
        click.echo("Evidently is left out: --evidently PYTHON was not given")
        return
    chosen = _chosen(THEIRS, sizes, scale)
    command = [evidently, "-W", "ignore", "-m", "benchmarks.drift.peer", json.dumps(chosen)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "DO_NOT_TRACK": "1"}
    ) as process:
        for line in process.stdout or ():
            how, name, size, figures = json.loads(line)
            _keep(how, name, size, figures, machine())
    if process.returncode:
        raise click.ClickException(f"{evidently} ended with {process.returncode}")


def _chosen(
    runs: dict[int, tuple[int, int]], sizes: tuple[int, ...], scale: float
) -> dict[int, tuple[int, int]]:
    return {
        size: (max(1, round(a * scale)), max(1, round(b * scale)))
        for size, (a, b) in runs.items()
        if not sizes or size in sizes
    }


def _keep(how: str, name: str, size: str, figures: dict[str, Any], machine: str) -> None:
    path = HERE / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept["machine"] = machine
    kept.setdefault(name, {}).setdefault(size, {})[how] = figures
    path.write_text(json.dumps(kept, indent=2) + "\n")
    click.echo(f"{name} {size} {how}: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
