"""May this version go to Production? Numbers and limits in, a verdict out. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from registry.metrics import Metric


@dataclass(frozen=True)
class Check:
    """One gate's verdict; `value` and `limit` in the metric's unit, None where none applies."""

    name: str
    passed: bool
    sentence: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What all gates said."""

    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """True when no gate refused."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """`gate NAME: sentence` for each gate that refused."""
        return tuple(f"gate {c.name}: {c.sentence}" for c in self.checks if not c.passed)

    def as_dict(self) -> dict[str, Any]:
        """For the ledger and for --json."""
        return {"passed": self.passed, "checks": [asdict(c) for c in self.checks]}


@dataclass(frozen=True)
class Limits:
    """What params.yaml allows: the worst accepted value, and how much worse than Production."""

    floor: float | None = None
    margin: float = 0.0


@dataclass(frozen=True)
class Trial:
    """What was measured on the candidate's held-out rows; `problems` says what could not be."""

    metric: Metric
    candidate: float | None
    champion: float | None = None
    champion_version: int | None = None
    problems: Mapping[str, str] | None = None


def loads(problem: str | None) -> Check:
    """The artifact loads and predicts its own input example."""
    sentence = problem or "the artifact loads and predicts its own input example"
    return Check("loads", problem is None, sentence)


def floor(trial: Trial, limits: Limits) -> Check:
    """The metric on the held-out rows is not beyond the worst accepted value."""
    metric, value, limit = trial.metric, trial.candidate, limits.floor
    if value is None or not math.isfinite(value):
        return Check("floor", False, _problem(trial, "candidate"), None, limit)
    if limit is None:
        sentence = f"{metric.name} {value:.4f}; params.yaml sets no gate.floor"
        return Check("floor", True, sentence, value)
    passed = metric.at_least(value, limit)
    relation = "is within" if passed else f"is {metric.worse_word}"
    number, bound = _shown(value, limit)
    sentence = f"{metric.name} {number} {relation} the limit {bound}"
    return Check("floor", passed, sentence, value, limit)


def not_worse(trial: Trial, limits: Limits) -> Check:
    """The metric is not worse than Production's on the same rows by more than the margin."""
    metric, value, champion = trial.metric, trial.candidate, trial.champion
    if trial.champion_version is None:
        return Check("not_worse", True, "there is no Production version to compare with", value)
    if value is None or champion is None or not math.isfinite(value + champion):
        who = "candidate" if value is None or not math.isfinite(value) else "champion"
        return Check("not_worse", False, _problem(trial, who))
    limit = metric.worsened(champion, limits.margin)
    passed = metric.at_least(value, limit)
    relation = "is not" if passed else "is"
    number, bound, rival = _shown(value, limit, champion)
    sentence = (
        f"{metric.name} {number} {relation} {metric.worse_word} the limit {bound}: "
        f"Production v{trial.champion_version} has {rival} on the same rows, "
        f"margin {limits.margin:g}"
    )
    return Check("not_worse", passed, sentence, value, limit)


def _shown(*numbers: float) -> list[str]:
    """Four digits, or as many as it takes for different numbers to look different."""
    texts: list[str] = []
    for digits in range(4, 17):
        texts = [f"{n:.{digits}f}" for n in numbers]
        if len(set(texts)) == len(set(numbers)):
            break
    return texts


def _problem(trial: Trial, who: str) -> str:
    return (trial.problems or {}).get(who, f"the {who} was not scored")


def decide(load_problem: str | None, trial: Trial | None, limits: Limits) -> Verdict:
    """All gates on the way to a stage; without a trial only the first applies (Staging)."""
    checks = [loads(load_problem)]
    if trial is not None:
        checks += [floor(trial, limits), not_worse(trial, limits)]
    return Verdict(tuple(checks))
