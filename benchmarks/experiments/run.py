"""Verdicts under a known truth: `python -m benchmarks.experiments.run`.

no-difference      10,000 requests per arm, looked at 100 times, arms that do not differ (outcome
                   10 %, errors 0.5 %, the same latencies): share of experiments with any verdict
                   that a difference exists; beside it a t-test at 5 % at each look
ten-and-twelve     outcome rates of 10 % and 12 %, 50 : 50, at most 10,000 per arm, 100 looks: share
                   of right verdicts, when they come; and how many units per arm a test of a fixed
                   size needs for the same power
failing-canary     5 % to a canary that fails every request; the champion fails 0.1 %; a look every
                   20 requests: its requests until the verdict
slow-canary        5 % to a canary whose answers take 200 ms more
stalls             no difference at 50 %, but now and then a process of either version, equally
                   often, makes all wait that are there, or takes them with it: 10 or 30 requests
                   every 2,000, 60 every 5,000, 30 that fail every 5,000; 10,000 requests: aborted
paired             shadow, or the guard after a promotion: both fail 1 % by chance, for 20,000
                   requests; the challenger 3 % instead; or all after 300 such faults of either
known-keys         3 % of the requests of 150 keys fail by chance, whoever answers; for 40,000
                   requests, or until the canary at 30 % fails each after every key was seen
delayed-labels     no difference at 50 %, the labels of the challenger 1,000 requests later, a
                   rate that drifts from 10 % to 50 % in 12,000 requests; and without any delay
three-requests     a canary with 0 to 3 good requests: how often it is promoted
sticky             1,000,000 keys at weights of 1 to 100 %
update-cost        microseconds of processor per observation, in batches of 1000, with a verdict
                   after each; and of a look with 25 new units

RATE requests come in a second, which matters for blocks of time alone. Seeds: the number of the
run. No traffic and no clock is involved. Writes results.json beside this file; scenarios that were
not chosen keep what they had.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import click
import numpy as np

from benchmarks.pipeline.run import machine
from experiments.ages import EqualAge
from experiments.arms import place
from experiments.evidence import Evidence
from experiments.rule import Rule

HERE = Path(__file__).parent
RULE = Rule(metric="error", minimum=100)
PER_ARM, LOOKS = 10_000, 100
RATE = 100.0
"""Requests in a second, of both arms together."""


def _answers(
    evidence: Evidence, drawn: np.random.Generator, count: int, weight: float,
    fails: tuple[float, float] = (0.005, 0.005), slower: float = 0.0, after: int = 0,
) -> np.ndarray[Any, np.dtype[np.bool_]]:  # fmt: skip
    """`count` requests after others; returns which were the challenger's."""
    arm = drawn.random(count) < weight
    failed = drawn.random(count) < np.where(arm, fails[1], fails[0])
    took = drawn.gamma(3, 4, count) + slower * arm
    none, times = np.zeros(count, bool), (after + np.arange(count)) / RATE
    evidence.add_answers(arm, np.full(count, weight), failed, none, took, times=times)
    return arm


def _naive(sums: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> bool:
    """Whether a t-test of two rates is significant at 5 %, as if this were the only look."""
    rates = sums / counts
    variance = (rates * (1 - rates) / counts).sum()
    return bool(variance > 0 and abs(rates[1] - rates[0]) > 1.96 * math.sqrt(variance))


def compared(rates: tuple[float, float], seed: int) -> tuple[str, int, bool]:
    """The verdict, its units per arm, and whether the naive test called any difference."""
    drawn, evidence, naive = np.random.default_rng(seed), Evidence(RULE, "ab"), False
    sums, counts, decision, stopped = np.zeros(2), np.zeros(2), "wait", PER_ARM
    for look in range(1, LOOKS + 1):
        size = 2 * PER_ARM // LOOKS
        arm = _answers(evidence, drawn, size, 0.5, after=(look - 1) * size)
        wrong = drawn.random(arm.size) < np.where(arm, rates[1], rates[0])
        sums += (wrong[~arm].sum(), wrong[arm].sum())
        counts += ((~arm).sum(), arm.sum())
        naive = naive or _naive(sums, counts)
        if decision == "wait":
            evidence.add_losses(wrong.astype(float), arm, 0.5)
            decision = evidence.verdict().decision
            stopped = look * PER_ARM // LOOKS
    return decision, stopped, naive


def no_difference(seed: int) -> tuple[str, int, bool]:
    """Equal arms."""
    return compared((0.1, 0.1), seed)


def twelve(seed: int) -> tuple[str, int, bool]:
    """The challenger's loss is larger."""
    return compared((0.1, 0.12), seed)


def canary(fails: float, slower: float, seed: int) -> int:
    """Requests of a canary at 5 % until it is aborted; -1 where it is not."""
    drawn, evidence = np.random.default_rng(seed), Evidence(Rule(), "canary")
    for look in range(1000):
        _answers(evidence, drawn, 20, 0.05, (0.001, fails), slower, after=20 * look)
        if evidence.verdict().decision == "abort":
            return evidence.units[1]
    return -1


def failing(seed: int) -> int:
    """A canary that fails every request."""
    return canary(1.0, 0.0, seed)


def slow(seed: int) -> int:
    """A canary that takes 200 ms more."""
    return canary(0.001, 200.0, seed)


def few(seed: int) -> bool:
    """Whether a canary with 0 to 3 good requests is promoted."""
    drawn, evidence = np.random.default_rng(seed), Evidence(Rule(), "canary")
    arm = np.zeros(400, bool)
    arm[drawn.choice(400, seed % 4, replace=False)] = True
    none = np.zeros(400, bool)
    evidence.add_answers(arm, np.full(400, 0.05), none, none, drawn.gamma(3, 4, 400))
    return evidence.verdict().decision == "promote"


Stall = tuple[int, int, bool]
"""Requests between two, requests that one lasts, and whether they fail."""
STALLS: dict[str, Stall] = {
    "10 slow every 2,000": (2000, 10, False),
    "30 slow every 2,000": (2000, 30, False),
    "60 slow every 5,000": (5000, 60, False),
    "30 failing every 5,000": (5000, 30, True),
}


def stalls(stall: Stall, seed: int) -> bool:
    """Whether equal versions, whose processes stall equally often, are told apart."""
    every, lasts, fail = stall
    drawn, evidence, count = np.random.default_rng(seed), Evidence(Rule(), "ab"), 10_000
    arm, took = drawn.random(count) < 0.5, drawn.lognormal(2.5, 0.3, count)
    hit = np.zeros(count, bool)
    for start in np.flatnonzero(drawn.random(count) < 1 / every):
        hit[start : start + lasts] |= arm[start : start + lasts] == (drawn.random() < 0.5)
    none, times = np.zeros(count, bool), np.arange(count) / RATE
    took[hit] += 200
    broke = hit & fail
    for look in np.array_split(np.arange(count), 60):
        evidence.add_answers(
            arm[look], np.full(look.size, 0.5), broke[look], none[look], took[look],
            times=times[look], broke=broke[look],
        )  # fmt: skip
        if evidence.verdict().decision == "abort":
            return True
    return False


def pairs(fails: tuple[float, float], before: int, seed: int) -> int:
    """Requests that both saw until the challenger is aborted; -1 where it is not.

    With `before`, only after so many faults of either, and -1 where it was aborted before.
    """
    drawn, evidence = np.random.default_rng(seed), Evidence(Rule(), "shadow")
    none, untimed = [(False, False)] * 100, [(math.nan, math.nan)] * 100
    if before:
        alone = np.repeat([[True, False]], 2 * before, axis=0)
        alone[before:] = [False, True]
        drawn.shuffle(alone)
        evidence.add_shadows(alone.tolist(), none[:1] * len(alone), untimed[:1] * len(alone))
        if evidence.verdict().decision == "abort":
            return -1
    step = 1 if before else 100
    for look in range(20_000 // step):
        failed = drawn.random((step, 2)) < fails
        evidence.add_shadows(failed.tolist(), none[:step], untimed[:step])
        if evidence.verdict().decision == "abort":
            return (look + 1) * step
    return -1


def known(breaks: bool, seed: int) -> int:
    """Requests of a canary's keys, all seen before, until it is aborted; -1 where it is not."""
    drawn, evidence, keys = np.random.default_rng(seed), Evidence(Rule(), "canary"), 150
    arms, fails = drawn.random(keys) < 0.3, 0.03
    asked, challengers, step = drawn.integers(0, keys, 40_000), 0, 25
    failed = drawn.random(40_000) < np.where(arms[asked] & breaks, 1.0, fails)
    shared = drawn.random(40_000) < fails
    for start in range(0, 40_000, step):
        here = slice(start, start + step)
        # A key counts once in a second.
        second = asked[start - start % int(RATE) : start]
        _, first = np.unique(asked[here], return_index=True)
        first = first[~np.isin(asked[here][first], second)]
        arm = arms[asked[here]]
        challengers += int(arm.sum())
        evidence.add_known(
            arm[first], failed[here][first], np.zeros(first.size, bool),
            times=np.full(first.size, start / RATE), shared=shared[here][first],
        )  # fmt: skip
        evidence.tick((start + step) / RATE)
        if evidence.verdict().decision == "abort":
            return challengers
    return -1


def delayed(delay: int, seed: int) -> str:
    """The verdict on equal versions, of which one has its labels later."""
    drawn, evidence, count = np.random.default_rng(seed), Evidence(RULE, "ab"), 12_000
    arm = drawn.random(count) < 0.5
    wrong = drawn.random(count) < np.linspace(0.1, 0.5, count)
    times = np.arange(count)
    labelled = times + delay * arm
    ages, order = EqualAge[int](), np.argsort(labelled, kind="stable")
    for look in np.array_split(order, 60):
        for unit in look.tolist():
            ages.add(unit, challenger=bool(arm[unit]), drawn=times[unit], labelled=labelled[unit])
        ready = ages.ready(float(labelled[look[-1]]))
        evidence.add_losses(wrong[ready].astype(float), arm[ready], 0.5)
        if evidence.verdict().decision != "wait":
            break
    return evidence.verdict().decision


def _all(one: Callable[[int], Any], runs: int) -> list[Any]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(one, range(runs), chunksize=max(1, runs // 64)))


def play_no_difference(runs: int) -> dict[str, Any]:
    """Wrong verdicts, ours and the naive."""
    found = _all(no_difference, runs)
    return {
        "wrong": sum(d != "wait" for d, _, _ in found) / runs,
        "of which promoted": sum(d == "promote" for d, _, _ in found) / runs,
        "t-test at each look": sum(n for _, _, n in found) / runs,
    }


def play_twelve(runs: int) -> dict[str, Any]:
    """Right verdicts and when they come."""
    found = _all(twelve, runs)
    right = sum(d == "abort" for d, _, _ in found) / runs
    stops = [s for _, s, _ in found]
    return {
        "right": right,
        "wrong": sum(d == "promote" for d, _, _ in found) / runs,
        "mean units per arm": round(float(np.mean(stops))),
        "median units per arm": round(float(np.median(stops))),
        "fixed size of equal power, per arm": _fixed(0.1, 0.12, min(right, 0.9999)),
    }


def _fixed(one: float, other: float, power: float) -> int:
    """Units per arm of a two-sided z-test of two rates at 5 %, looked at once."""
    normal = NormalDist()
    z = normal.inv_cdf(0.975) + normal.inv_cdf(power)
    return math.ceil(z**2 * (one * (1 - one) + other * (1 - other)) / (one - other) ** 2)


def _requests(found: Iterable[int]) -> dict[str, Any]:
    counts = np.array(list(found))
    return {
        "not aborted": float((counts < 0).mean()),
        "median requests": int(np.median(counts)),
        "99.9 % within": int(np.quantile(counts, 0.999)),
        "most": int(counts.max()),
    }


def play_stalls(runs: int) -> dict[str, Any]:
    """Wrong aborts."""
    return {name: sum(_all(partial(stalls, s), runs)) / runs for name, s in STALLS.items()}


def play_paired(runs: int) -> dict[str, Any]:
    """Wrong aborts, and when a worse challenger is found."""
    few = max(1, runs // 10)
    return {
        "1 % and 1 %, wrong": sum(n > 0 for n in _all(partial(pairs, (0.01, 0.01), 0), runs))
        / runs,
        "1 % and 3 %": _requests(_all(partial(pairs, (0.01, 0.03), 0), few)),
        "all after 300 faults of either": _requests(_all(partial(pairs, (0.0, 1.0), 300), few)),
        "runs of the last two": few,
    }


def play_known(runs: int) -> dict[str, Any]:
    """Wrong aborts, and when one that breaks is found."""
    few = max(1, runs // 10)
    return {
        "no difference, wrong": sum(n > 0 for n in _all(partial(known, False), few)) / few,
        "breaks": _requests(_all(partial(known, True), few)),
        "runs of each": few,
    }


def play_delayed(runs: int) -> dict[str, Any]:
    """Wrong verdicts."""
    found = {
        name: _all(partial(delayed, d), runs) for name, d in (("1,000 later", 1000), ("none", 0))
    }
    return {
        f"{name}, {decision}": sum(f == decision for f in verdicts) / runs
        for name, verdicts in found.items()
        for decision in ("promote", "abort")
    }


def play_sticky(runs: int) -> dict[str, Any]:
    """Shares against the binomial interval, and keys that went back and forth."""
    del runs
    places = np.array([place("benchmark", str(n)) for n in range(1_000_000)])
    weights = np.array([0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
    arms = places[:, None] < weights
    shares = arms.mean(axis=0)
    spread = np.sqrt(weights * (1 - weights) / len(places))
    distance = np.abs(shares - weights) / np.where(spread > 0, spread, 1)
    return {
        "keys": len(places),
        "largest distance, standard errors": round(float(distance.max()), 2),
        "keys that went back": int((arms[:, :-1] & ~arms[:, 1:]).any(axis=1).sum()),
    }


def play_cost(runs: int) -> dict[str, Any]:
    """One core, batches of a busy gateway, and of one that has 100 requests in a second."""
    del runs
    large, small = (
        float(np.median([_cost(size, seed) for seed in range(5)])) for size in (1000, 25)
    )
    return {"microseconds": round(large, 2), "microseconds, a look with 25": round(small * 25)}


def _cost(size: int, seed: int) -> float:
    drawn, evidence = np.random.default_rng(seed), Evidence(RULE, "ab")
    looks = 100_000 // max(size, 100)
    start = time.process_time()
    for _ in range(looks):
        arm = (drawn.random(size) < 0.5).tolist()
        none = [False] * size
        evidence.add_answers(arm, [0.5] * size, none, none, [5.0] * size)
        evidence.add_losses([0.0] * size, arm, 0.5)
        evidence.verdict()
    return (time.process_time() - start) / (looks * size) * 1e6


SCENARIOS: dict[str, Callable[[int], dict[str, Any]]] = {
    "no-difference": play_no_difference,
    "ten-and-twelve": play_twelve,
    "failing-canary": lambda runs: _requests(_all(failing, runs)),
    "slow-canary": lambda runs: _requests(_all(slow, runs)),
    "stalls": play_stalls,
    "paired": play_paired,
    "known-keys": play_known,
    "delayed-labels": play_delayed,
    "three-requests": lambda runs: {"promoted": sum(_all(few, runs)) / runs},
    "sticky": play_sticky,
    "update-cost": play_cost,
}


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--runs", default=10_000, show_default=True, help="Experiments of each scenario.")
def main(scenarios: tuple[str, ...], runs: int) -> None:
    """Run SCENARIOS, all of them unless named, and write results.json."""
    path = HERE / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept["machine"] = machine()
    for scenario in scenarios or SCENARIOS:
        kept[scenario] = {**SCENARIOS[scenario](runs), "runs": runs}
        click.echo(f"{scenario}: {json.dumps(kept[scenario])}")
        path.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
