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
three-requests     a canary with 0 to 3 good requests: how often it is promoted
sticky             1,000,000 keys at weights of 1 to 100 %
update-cost        microseconds per observation, in batches of 1000, with a verdict after each

Seeds: the number of the run. No traffic and no clock is involved. Writes results.json beside this
file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import NormalDist
from typing import Any

import click
import numpy as np

from benchmarks.pipeline.run import machine
from experiments.arms import place
from experiments.evidence import Evidence
from experiments.rule import Rule

HERE = Path(__file__).parent
RULE = Rule(metric="error", minimum=100)
PER_ARM, LOOKS = 10_000, 100


def _answers(
    evidence: Evidence, drawn: np.random.Generator, count: int, weight: float,
    fails: tuple[float, float] = (0.005, 0.005), slower: float = 0.0,
) -> np.ndarray[Any, np.dtype[np.bool_]]:  # fmt: skip
    """`count` requests; returns which were the challenger's."""
    arm = drawn.random(count) < weight
    failed = drawn.random(count) < np.where(arm, fails[1], fails[0])
    took = drawn.gamma(3, 4, count) + slower * arm
    evidence.add_answers(arm, np.full(count, weight), failed, np.zeros(count, bool), took)
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
        arm = _answers(evidence, drawn, 2 * PER_ARM // LOOKS, 0.5)
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
    for _ in range(1000):
        _answers(evidence, drawn, 20, 0.05, (0.001, fails), slower)
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
    """One core, batches as the gateway folds them."""
    del runs
    took = []
    for seed in range(5):
        drawn, evidence = np.random.default_rng(seed), Evidence(RULE, "ab")
        start = time.perf_counter()
        for _ in range(100):
            arm = (drawn.random(1000) < 0.5).tolist()
            none = [False] * 1000
            evidence.add_answers(arm, [0.5] * 1000, none, none, [5.0] * 1000)
            evidence.add_losses([0.0] * 1000, arm, 0.5)
            evidence.verdict()
        took.append((time.perf_counter() - start) / 100_000 * 1e6)
    return {"microseconds": round(float(np.median(took)), 2)}


SCENARIOS: dict[str, Callable[[int], dict[str, Any]]] = {
    "no-difference": play_no_difference,
    "ten-and-twelve": play_twelve,
    "failing-canary": lambda runs: _requests(_all(failing, runs)),
    "slow-canary": lambda runs: _requests(_all(slow, runs)),
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
