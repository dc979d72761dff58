"""An experiment in words: what the ledger says of it, and what the gateways nearby have found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.rule import Rule
from registry import settings
from registry.errors import UnderstudyError
from registry.traffic import GUARD
from serving import nearby
from serving.nearby import Heard

if TYPE_CHECKING:
    from understudy import Traffic


def percent(share: float) -> str:
    """A share of the traffic, as it is typed."""
    return f"{100 * share:.4g} %"


def heard(model: str | None) -> list[Heard]:
    """What the gateways nearby say; none where there is no project to find them by."""
    try:
        return nearby.experiments(model or settings.registry_params().model)
    except UnderstudyError:
        return []


def known_verdict(model: str | None, challenger: int | None = None) -> dict[str, Any] | None:
    """The verdict of a gateway nearby on the experiment that the ledger has.

    With `challenger`, only where it is about that version. Of several gateways it is the one that
    has seen most.
    """
    found = [
        h.report
        for h in heard(model)
        if h.report
        and isinstance(h.report.get("verdict"), dict)
        and h.report.get("mode") != GUARD
        and challenger in (None, h.report.get("challenger"))
    ]
    if not found:
        return None
    import understudy

    now = understudy.traffic(model)
    of_it = [r for r in found if now is not None and r.get("experiment") == now.experiment]
    if not of_it:
        return None
    verdict: dict[str, Any] = max(of_it, key=lambda r: int(r.get("judged") or 0))["verdict"]
    return verdict


def sentence(now: Traffic) -> str:
    """Who challenges whom, how, and since when."""
    return (
        f"{now.mode}, v{now.challenger} challenges v{now.champion} with {percent(now.weight)} of "
        f"the traffic; it began {_time(now.began)}"
    )


def as_dict(now: Traffic | None) -> dict[str, Any] | None:
    """What the ledger says, for JSON."""
    if now is None:
        return None
    return {
        "mode": now.mode,
        "champion": now.champion,
        "challenger": now.challenger,
        "weight": now.weight,
        "experiment": now.experiment,
        "began": now.began,
        "weights": [{"since": since, "weight": weight} for since, weight in now.weights],
        "rule": dict(now.rule),
    }


def ledgers(now: Traffic) -> Iterator[str]:
    """The lines about what the ledger says, beyond the first."""
    if len(now.weights) > 1:
        before = (f"{percent(weight)} from {_time(since)}" for since, weight in now.weights)
        yield f"weights: {', '.join(before)}"
    yield f"agreed: {agreed(now.rule)}"


def agreed(raw: Mapping[str, Any]) -> str:
    """A rule in words."""
    try:
        rule = Rule.model_validate(dict(raw))
    except ValueError:
        return "what this release does not understand; its own rule holds"
    if rule.metric == "none":
        goal = (
            f"no labels are awaited; it is good where at most {rule.errors_margin:g} more of its "
            "answers fail"
        )
    else:
        much = f"at most {rule.margin:g} more" if rule.margin else "less"
        goal = f"labels decide; it is good where its {rule.metric} loss is {much}"
    parts = [
        goal,
        f"after at least {rule.minimum:,} units",
        f"within {rule.wait_days:g} days",
        f"a wrong verdict has a chance of {rule.alpha:g} at the most",
    ]
    if rule.steps:
        steps = ", ".join(map(percent, rule.steps))
        parts.append(f"steps {steps}, each after {rule.step_units:,} units")
    return "; ".join(parts)


def gateways(found: Sequence[Heard], now: Traffic | None) -> Iterator[str]:
    """What each gateway has to say: of the experiment that goes on, else of the last one."""
    for one in found:
        report = one.report
        yield f"gateway at {one.address}"
        if one.problem:
            yield f"  {one.problem}"
        elif report is None or (now is not None and report.get("experiment") != now.experiment):
            yield "  it knows nothing of this experiment yet" if now else "  it has seen none"
        else:
            yield from (f"  {line}" for line in _report(report))


def _report(report: Mapping[str, Any]) -> Iterator[str]:
    champion, challenger = report.get("champion"), report.get("challenger")
    if report.get("mode") == GUARD:
        state = "was" if report.get("ended") else "is"
        yield f"v{challenger} {state} guarded after its promotion, beside the former v{champion}"
    elif report.get("ended"):
        yield f"the last experiment: {report.get('mode')}, v{challenger} against v{champion}, ended"
    units, judged = report.get("units") or [0, 0], report.get("judged") or 0
    yield (
        f"units: {units[0]:,} of v{champion}, {units[1]:,} of v{challenger}; {judged:,} of "
        f"v{challenger} count, {report.get('minimum', 0):,} are needed"
    )
    if verdict := report.get("verdict"):
        yield from _verdict(verdict, float(report.get("margin") or 0.0))
    else:
        yield "verdict: none yet"
    if problem := report.get("problem"):
        yield f"problem: {problem}"
    if decided := report.get("decided"):
        yield f"decided: {decided}"


def _verdict(verdict: Mapping[str, Any], margin: float) -> Iterator[str]:
    yield f"verdict: {verdict.get('decision')}: {verdict.get('reason')}"
    more = verdict.get("more")
    if verdict.get("decision") == "wait":
        yield (
            "how many more requests it takes cannot be said yet"
            if more is None
            else f"about {more:,} more requests are likely needed"
        )
    if interval := verdict.get("interval"):
        low, high = (_end(value) for value in interval)
        yield (
            f"difference: between {low} and {high} (challenger minus champion); good enough: below "
            f"{margin:g}"
        )
    for finding in verdict.get("findings") or ():
        said = "yes" if finding.get("found") else "no"
        yield f"{finding.get('name')}: {said}: {finding.get('sentence')}"


def _end(value: float | None) -> str:
    return "?" if value is None else f"{max(-1.0, min(value, 1.0)):+.4f}"


def next_command(found: Sequence[Heard], now: Traffic | None) -> str:
    """What is to be done next."""
    if now is None:
        guarding = any(_decision(h, None) == "abort" for h in found)
        return "understudy rollback" if guarding else "understudy traffic canary VERSION"
    if not found:
        return "understudy serve"
    decisions = {_decision(h, now) for h in found}
    if "abort" in decisions:
        return "understudy traffic stop"
    if "promote" in decisions:
        step = _next_step(now)
        if step is not None:
            return f"understudy traffic weight {100 * step:.4g}%"
        return f"understudy promote {now.challenger} --to production"
    return "understudy traffic status"


def _next_step(now: Traffic) -> float | None:
    """The weight that a canary is to have next; all of the traffic is its promotion."""
    found = now.rule.get("steps")
    steps = found if now.mode == "canary" and isinstance(found, list | tuple) else ()
    numbers = (s for s in steps if isinstance(s, int | float))
    return next((float(s) for s in numbers if now.weight < s < 1), None)


def _decision(one: Heard, now: Traffic | None) -> str | None:
    """What a gateway would do about the experiment, or without one about what it guards."""
    report = one.report
    if not report or report.get("ended"):
        return None
    if now is None and report.get("mode") != GUARD:
        return None
    if now is not None and report.get("experiment") != now.experiment:
        return None
    decision: str | None = (report.get("verdict") or {}).get("decision")
    return decision


def _time(moment: str) -> str:
    return moment.replace("+00:00", "Z")
