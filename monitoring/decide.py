"""From the newest windows and the policy to what is to be done about them. Pure.

Windows are compared with those of the same live version only: a promotion changes the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from monitoring.findings import Finding, Judged
from monitoring.sections import MonitorParams

Action = Literal["nothing", "alert", "retrain", "rollback"]
ACTIONS: tuple[Action, ...] = ("nothing", "alert", "retrain", "rollback")

_LATE = ("labels", "reversed", "performance")
"""Kinds that wait for labels: their newest window is the newest one that has labels."""


@dataclass(frozen=True)
class Act:
    """Something that was done, or tried, before."""

    action: Action
    window: int
    """Number of the newest window when it was decided."""
    about: tuple[str, ...]
    """Names of findings."""
    version: int
    state: str
    """begun, done, failed, refused or waiting."""

    @property
    def counts(self) -> bool:
        """Whether a cool-down follows; one that only waits for newer data changed nothing."""
        return self.state != "waiting"


@dataclass(frozen=True)
class Situation:
    """What else decides, beside windows and policy."""

    version: int
    """In Production now."""
    former: int | None = None
    """What a rollback would bring back."""
    challenger: int | None = None
    """Of an experiment that goes on."""
    muted: str = ""
    """By whom, until when and why; empty where nobody muted."""


@dataclass(frozen=True)
class Decision:
    """What is to be done; `held` says what is not, and why."""

    action: Action
    reasons: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    window: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For --json and for keeping."""
        return asdict(self)


def decide(
    windows: Sequence[Judged],
    policy: MonitorParams,
    acts: Sequence[Act],
    now: Situation,
    fresh: int = 1,
) -> Decision:
    """What the windows (by number, the newest last) call for.

    The newest `fresh` of them are decided about together. What looks broken in any of these is
    told of at once and is never learnt or rolled back from. Everything else
    must show in `policy.at_least` of the newest `policy.of` windows, the newest among them. A
    rollback or a retraining is followed by a cool-down of `policy.cool_down` windows, an alert by
    one about the same findings. While somebody has muted, nothing is done.
    """
    if not windows:
        return Decision("nothing")
    newest = windows[-1]
    own = [w for w in windows if w.version == now.version]
    found = [*_broken(own, windows[-max(fresh, 1) :]), *(_debounced(own, policy) if own else ())]
    if newest.problem:
        found.append(
            Finding("problem", "", "", 0.0, 0.0, found=True, broken=True, sentence=newest.problem)
        )
    told = sorted({f.name: f for f in reversed(found)}.values(), key=_weight, reverse=True)
    if not told:
        return Decision("nothing", window=newest.number)
    reasons = tuple(f.sentence for f in told)
    about = tuple(f.name for f in told)
    if now.muted:
        return Decision("nothing", reasons, about, (f"muted {now.muted}",), newest.number)
    held: list[str] = []
    if action := _remedy(told, windows, policy, acts, now, newest.number, held):
        return Decision(action, reasons, about, tuple(held), newest.number)
    if not _untold(told, acts, policy, newest):
        held.append("this was told of in one of the last windows")
        return Decision("nothing", reasons, about, tuple(held), newest.number)
    return Decision("alert", reasons, about, tuple(held), newest.number)


def _weight(finding: Finding) -> tuple[bool, bool, float]:
    """What is told first: what looks broken, what is about the model, what is large."""
    size = finding.effect / finding.threshold if finding.threshold else 0.0
    return finding.broken, not finding.column, size


def _broken(own: Sequence[Judged], fresh: Sequence[Judged]) -> list[Finding]:
    """What looks broken in one of these windows, and in the newest one that has labels.

    Of the same finding in several windows the newest comes first.
    """
    newest = fresh[-1]
    found = [f for f in newest.broken if f.kind not in _LATE]
    for window in reversed(fresh[:-1]):
        told = (f for f in window.broken if f.kind not in _LATE)
        found += [replace(f, sentence=f"window {window.number}: {f.sentence}") for f in told]
    for kind in _LATE:
        judged = [w for w in own if any(f.kind == kind for f in w.findings)]
        found += [f for f in judged[-1].broken if f.kind == kind] if judged else []
    return found


def _debounced(own: Sequence[Judged], policy: MonitorParams) -> list[Finding]:
    """What shows in enough of the newest windows, and in the newest, as it is there."""
    told = []
    late = [w for w in own if any(f.kind in _LATE for f in w.findings)]
    for windows, wanted in ((own, False), (late, True)):
        last = windows[-policy.of :]
        if not last:
            continue
        names = [{f.name for f in w.found} for w in last]
        for finding in last[-1].found:
            if (finding.kind in _LATE) is not wanted:
                continue
            if sum(finding.name in some for some in names) >= policy.at_least:
                told.append(finding)
    return told


def _remedy(
    told: Sequence[Finding],
    windows: Sequence[Judged],
    policy: MonitorParams,
    acts: Sequence[Act],
    now: Situation,
    number: int,
    held: list[str],
) -> Action | None:
    """A rollback or a retraining, if one is called for and nothing speaks against it."""
    sound = [f for f in told if not f.broken]
    worse = any(f.kind == "performance" for f in sound)
    back = worse and now.former is not None and _since_promotion(windows, policy, now)
    wanted = [f for f in sound if f.kind in policy.retrain_on]
    if back and not policy.rollback:
        held.append("no rollback: monitor.rollback is off")
    if wanted and policy.retrain == "off":
        held.append("no retraining: monitor.retrain is off")
    action: Action | None = None
    if back and policy.rollback:
        action = "rollback"
    elif wanted and policy.retrain != "off":
        action = "retrain"
    if action is None:
        return None
    word = "rollback" if action == "rollback" else "retraining"
    if any(f.broken for f in told):
        held.append(f"no {word}: something looks broken, and that is for a person to see")
        return None
    recent = [
        a
        for a in acts
        if a.action in ("retrain", "rollback") and a.counts and number - a.window < policy.cool_down
    ]
    if recent:
        last = recent[-1]
        held.append(
            f"no {word}: the last {last.action} ({last.state}) was {number - last.window} windows "
            f"ago, and monitor.cool_down is {policy.cool_down}"
        )
        return None
    if now.challenger is not None and action == "retrain":
        held.append(f"no {word}: v{now.challenger} is being tried on traffic")
        return None
    return action


def _since_promotion(windows: Sequence[Judged], policy: MonitorParams, now: Situation) -> bool:
    """Whether the live version did worse from its start on, and the former one had not.

    A version that was good for long and is not any more is to be retrained: what was live before
    it would do no better today.
    """

    def judged(version: int | None) -> list[bool]:
        return [
            any(f.kind == "performance" for f in w.found)
            for w in windows
            if w.version == version and any(f.kind == "performance" for f in w.findings)
        ]

    live, former = judged(now.version), judged(now.former)
    return (
        0 < len(live) <= 2 * policy.of
        and sum(live[: policy.of]) >= policy.at_least
        and len(former) > 0
        and not any(former[-policy.of :])
    )


def _untold(
    told: Sequence[Finding], acts: Sequence[Act], policy: MonitorParams, newest: Judged
) -> list[Finding]:
    """What no act of the cool-down was about."""
    known = {
        name
        for a in acts
        if a.version == newest.version and newest.number - a.window < max(policy.cool_down, 1)
        for name in a.about
    }
    return [f for f in told if f.name not in known]
