"""States of a gateway, as its page may have to show them."""

from __future__ import annotations

import functools
import math
import random
from typing import Any

import numpy as np

from experiments.evidence import Evidence
from experiments.rule import Rule
from serving.metrics import Second

NOW = 1_790_000_003.4


def model(**more: Any) -> dict[str, Any]:
    """One model of Gateway.status(), healthy unless told otherwise."""
    return {
        "model": "flights",
        "ready": True,
        "version": 4,
        "processes": 2,
        "understudy": 3,
        "rollback_ready": True,
        "rollback_milliseconds": 6.14,
        "rehearsed_at": NOW - 4,
        "rollback_reason": "",
        "ledger": {
            "entry": 9,
            "head": "ab" * 32,
            "production": 4,
            "says": "v4 to Production by ana: nightly retrain",
            "followed": True,
            "reason": "",
        },
        "starting": None,
        "problem": "",
        "waiting": 0,
        "counts": {"swaps": 2, "refusals": 0, "rehearsals": 311, "rehearsals_failed": 0},
        "restarts": 0,
        "entries": ENTRIES,
        **more,
    }


ENTRIES = [
    {
        "entry": number,
        "kind": kind,
        "sentence": sentence,
        "actor": "ana",
        "reason": "",
        "time": f"2026-09-{20 + number // 8}T0{number}:15:00+00:00",
    }
    for number, kind, sentence in (
        (4, "promote", "v2 to Production by ana: first on the new data"),
        (5, "register", "v3 registered by auto:nightly"),
        (6, "promote", "v3 to Production by ben: AUC +0.011 [0.006, 0.016] over v2"),
        (7, "register", "v4 registered by auto:nightly"),
        (8, "approve", "v4 approved by ben"),
        (9, "promote", "v4 to Production by ana: nightly retrain; AUC +0.004 [0.001, 0.007]"),
    )
]


def status(*models: dict[str, Any], up: float = 93_784.0) -> dict[str, Any]:
    """What Gateway.status() gives."""
    default = models[0]["model"]
    return {"default": default, "seconds_up": up, "models": {m["model"]: m for m in models}}


def seconds(
    rate: float = 60.0, errors: int = 0, slow: float = 0.0, since: int = 600
) -> list[Second]:
    """Ten minutes of traffic around a rate per second; `errors` of them within one minute."""
    noise = random.Random(7)  # noqa: S311 - a picture
    found = []
    for back in range(since, -1, -1):
        second = Second(int(NOW) - back)
        wave = 1 + 0.35 * math.sin(back / 55) + 0.15 * (noise.random() - 0.5)
        second.requests = round(rate * wave) if rate >= 1 else int(noise.random() < rate)
        if 180 < back <= 240 and errors:
            second.errors = round(errors / 60 + noise.random() - 0.5)
        each = 0.004 + 0.001 * noise.random() + (slow if 60 < back < 130 else 0)
        second.total = second.requests * each
        second.longest = each * (1.5 + 4 * noise.random() ** 6) if second.requests else 0.0
        if second.requests or second.errors:
            found.append(second)
    return found


ASKED = "v5 is good enough; Production is a person's to give: understudy promote 5"
LABELS = Rule(metric="error", minimum=50)


def played(mode: str, rule: Rule, units: int, *, step: int = 50, **world: Any) -> Evidence:
    """Evidence of a seeded world, looked at after each step and left at its first verdict.

    `fails` and `loss` are rates of champion and challenger, `weight` the challenger's.
    """
    drawn = np.random.default_rng(7)
    evidence = Evidence(rule, "shadow" if mode in ("shadow", "guard") else mode)  # type: ignore[arg-type]
    fails, loss = np.array(world.get("fails", (0.001, 0.001))), world.get("loss")
    weight = world.get("weight", 0.5)
    for _ in range(units // step):
        if evidence.mode == "shadow":
            failed = drawn.random((step, 2)) < fails
            took = np.where(failed, math.inf, drawn.gamma(3, 4, (step, 2)))
            evidence.add_shadows(failed.tolist(), [(False, False)] * step, took.tolist())
            if loss:
                evidence.add_pairs(*(drawn.random((step, 2)) < np.array(loss)).astype(float).T)
        else:
            arm = drawn.random(step) < weight
            failed = drawn.random(step) < np.where(arm, fails[1], fails[0])
            took = np.where(failed, math.inf, drawn.gamma(3, 4, step))
            evidence.add_answers(arm, [weight] * step, failed, [False] * step, took)
            if loss:
                wrong = drawn.random(step) < np.where(arm, loss[1], loss[0])
                evidence.add_losses(wrong.astype(float), arm, weight)
        evidence.look()
        if evidence.verdict().decision != "wait":
            break
    return evidence


@functools.cache
def _evidence(mode: str, rule: Rule, units: int, step: int, world: tuple[Any, ...]) -> Evidence:
    return played(mode, rule, units, step=step, **dict(world))


def experiment(
    mode: str = "ab", rule: Rule = LABELS, units: int = 0, *, step: int = 50, **more: Any
) -> dict[str, Any]:
    """A gateway's report of an experiment; `fails`, `loss` and `weight` are the world's."""
    world = tuple((k, more.pop(k)) for k in ("fails", "loss") if k in more)
    weight = more.pop("weight", 0.5)
    evidence = _evidence(mode, rule, units, step, (*world, ("weight", weight)))
    return {
        "experiment": "cd" * 32,
        "mode": mode,
        "champion": 4,
        "challenger": 5,
        "weight": weight,
        "began": "2026-09-21T08:00:00+00:00",
        "metric": rule.metric,
        "alpha": rule.alpha,
        "level": 2 * rule.decisive_level,
        "margin": evidence.margin,
        "minimum": rule.minimum,
        "units": list(evidence.units),
        "judged": evidence.judged,
        "dropped": 0,
        "labels": {
            "counted": evidence.decisive.count if rule.metric != "none" else 0,
            "held": 0,
            "unfit": 0,
        },
        "verdict": evidence.verdict().as_dict() if units else None,
        "path": [list(point) for point in evidence.path],
        "open": True,
        "problem": "",
        "decided": "",
        "ended": False,
        **more,
    }


def waiting(**more: Any) -> dict[str, Any]:
    """A canary that is not decided yet, and may be soon."""
    rule = Rule(metric="error")
    return experiment("canary", rule, 5000, weight=0.1, loss=(0.3, 0.26), **more)


def better(**more: Any) -> dict[str, Any]:
    """An A/B that has shown the challenger to be good enough."""
    return experiment("ab", LABELS, 20_000, loss=(0.3, 0.2), **more)


def broken(**more: Any) -> dict[str, Any]:
    """A canary that failed every request, and was aborted."""
    ended = {"open": False, "ended": True, "decided": "v5 was taken out of the traffic"}
    return experiment(
        "canary", Rule(), 4000, step=10, weight=0.05, fails=(0.001, 1.0), **{**ended, **more}
    )


def guarded(**more: Any) -> dict[str, Any]:
    """A version that was promoted, and is guarded by the former one."""
    more = {"champion": 3, "challenger": 4, **more}
    return experiment("guard", Rule(), 400, weight=0.1, **more)


def tried(report: dict[str, Any]) -> dict[str, Any]:
    """What the status of a model has while the ledger has this experiment."""
    names = ("champion", "challenger", "weight", "mode", "experiment", "began")
    return {"traffic": {name: report[name] for name in names}, "experiment": report}


def states() -> dict[str, tuple[dict[str, Any], dict[str, list[Second]]]]:
    """By name: status and minutes."""
    away = "the MLflow store at http://127.0.0.1:5000 does not answer (connection refused)"
    nothing = {
        "version": None,
        "ready": False,
        "understudy": None,
        "rollback_ready": False,
        "rollback_milliseconds": None,
        "processes": 0,
        "entries": [],
    }
    ledger = model()["ledger"]
    return {
        "healthy": (
            status(model(swaps=[{"at": NOW - 260, "version": 4, "former": 3}])),
            {"flights": seconds(slow=0.02)},
        ),
        "refused": (
            status(
                model(
                    problem="its answers have another form than those of the live version",
                    ledger={**ledger, "entry": 11, "production": 5},
                    counts={"swaps": 2, "refusals": 3, "rehearsals": 311, "rehearsals_failed": 0},
                )
            ),
            {"flights": seconds(errors=200)},
        ),
        "away": (
            status(
                model(
                    ledger={**ledger, "followed": False, "reason": away},
                    rollback_ready=False,
                    rollback_reason="it takes 1430 ms to answer, and 1000 ms are allowed",
                )
            ),
            {"flights": seconds(0.3)},
        ),
        "nothing": (status(model(swaps=[], entries=ENTRIES[-1:]), up=75), {"flights": []}),
        "starting": (
            status(
                model(
                    **nothing,
                    starting=1,
                    ledger={**ledger, "entry": 2, "production": 1, "says": "v1 to Production"},
                ),
                up=4,
            ),
            {},
        ),
        "two": (
            status(
                model(
                    starting=5,
                    traffic={"champion": 4, "challenger": 5, "weight": 0.1, "mode": "canary"},
                ),
                model(
                    **{**nothing, "model": "delays-by-airport"},
                    ledger={**ledger, "entry": 2, "production": 1},
                    problem="the artifact of v1 is not what was registered: its digest is "
                    "0123456789ab and the ledger has ba9876543210",
                ),
            ),
            {"flights": seconds(1250), "delays-by-airport": seconds(0.0, errors=90)},
        ),
        "canary": (status(model(**tried(waiting()))), {"flights": seconds()}),
        "asking": (status(model(**tried(better(decided=ASKED)))), {"flights": seconds()}),
        "aborted": (status(model(traffic=None, experiment=broken())), {"flights": seconds()}),
        "guard": (
            status(
                model(
                    traffic=None,
                    experiment=guarded(dropped=3, problem="v3 does not answer: no process runs"),
                )
            ),
            {"flights": seconds()},
        ),
        "begun": (
            status(model(**tried(experiment("shadow", open=False, weight=1.0)))),
            {"flights": seconds()},
        ),
    }
