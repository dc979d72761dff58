"""All that is known of an experiment so far, and the verdict on it. Pure.

Guards compare what is a fact about the versions, whoever asks how often (faults, latency): draws of
the arms, requests that both versions saw, and shares of blocks of time, in which what hangs
together counts once. Outcomes are compared by a confidence sequence of their difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from experiments.arms import Difference
from experiments.draws import MismatchTest
from experiments.faults import Bools, FaultTest
from experiments.latency import SlowTest
from experiments.means import MeanSequence
from experiments.rule import MISMATCH, Mode, Rule

Decision = Literal["promote", "abort", "wait"]
DAY = 86_400.0
_EQUAL = 1e-9
"""A challenger that is exactly as good is no worse guess."""
RARE = 0.01
"""What is expected of the share of failing answers before there are any."""


@dataclass(frozen=True)
class Finding:
    """One question that was asked of the evidence."""

    name: str
    log_evidence: float
    """Log e-value; `log_needed` or more answers it with yes, for good."""
    log_needed: float
    sentence: str

    @property
    def found(self) -> bool:
        """Whether it is answered with yes."""
        return self.log_evidence >= self.log_needed


@dataclass(frozen=True)
class Verdict:
    """What follows from the evidence under the rule."""

    decision: Decision
    reason: str
    """A sentence."""
    findings: tuple[Finding, ...] = ()
    more: int | None = None
    """Units that are likely still needed, of all arms together; None where nobody can say."""
    interval: tuple[float, float] | None = None
    """Of the loss difference, challenger minus champion."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the ledger; what is infinite is null."""

        def plain(value: float) -> float | None:
            return round(value, 6) if math.isfinite(value) else None

        return {
            "decision": self.decision,
            "reason": self.reason,
            "more": self.more,
            "interval": [plain(v) for v in self.interval] if self.interval else None,
            "findings": [
                {
                    "name": f.name,
                    "found": f.found,
                    "log_evidence": plain(f.log_evidence),
                    "log_needed": plain(f.log_needed),
                    "sentence": f.sentence,
                }
                for f in self.findings
            ],
        }


@dataclass
class Evidence:
    """Grows with each answer and label; may be asked for a verdict at any time."""

    rule: Rule
    mode: Mode
    mismatch: MismatchTest = field(default_factory=MismatchTest)
    errors: FaultTest = field(init=False)
    answers: FaultTest = field(init=False)
    slow: SlowTest = field(init=False)
    failing: Difference = field(default_factory=lambda: Difference(RARE))
    losses: Difference = field(default_factory=Difference)
    pairs: MeanSequence = field(default_factory=MeanSequence)
    units: list[int] = field(default_factory=lambda: [0, 0])
    """Champion's and challenger's."""
    path: list[tuple[int, float, float, float]] = field(default_factory=list)
    """Of the decisive difference, to plot: units, mean, lower and upper end."""

    def __post_init__(self) -> None:
        paired = self.mode == "shadow"
        self.errors, self.answers = FaultTest(paired=paired), FaultTest(paired=paired)
        self.slow = SlowTest(self.rule.slower, self.rule.slower_ms, paired=paired)
        self._calls = 0

    # What came in

    def add_answers(
        self,
        challenger: Sequence[bool],
        weights: Sequence[float],
        failed: Sequence[bool],
        strange: Sequence[bool],
        milliseconds: Sequence[float],
        *,
        times: Sequence[float] | None = None,
        broke: Sequence[bool] | None = None,
        shared: Sequence[bool] | None = None,
    ) -> None:
        """Take units of canary or A/B in their order; all of the same length n.

        `failed`: without an answer of the arm's version; `strange`: an answer with missing or
        infinite numbers; `milliseconds` are until the caller had an answer, of whatever version,
        or gave up, NaN where that says nothing. `times` in seconds; without them what comes
        together is of one second. `broke`: not the version said so, but its process died, hung or
        had no room; `shared`: the champion failed the same request. Without them none did.
        """
        arm = np.asarray(challenger, dtype=bool)
        if not arm.size:
            return
        self.units[0] += int((~arm).sum())
        self.units[1] += int(arm.sum())
        at = self._times(times, arm.size)
        self.mismatch.add(arm, weights)
        died, both = _none(broke, arm), _none(shared, arm)
        for test, faults in ((self.errors, failed), (self.answers, strange)):
            test.add(faults, arm, weights, times=at, broke=died, shared=both)
        self.slow.add(milliseconds, arm, at)
        bad = np.asarray(failed, dtype=float)
        self.failing.add(np.maximum(bad, np.asarray(strange, dtype=float)), arm, weights)

    def add_known(
        self,
        challenger: Sequence[bool],
        failed: Sequence[bool],
        strange: Sequence[bool],
        *,
        times: Sequence[float],
        shared: Sequence[bool],
    ) -> None:
        """Take requests of canary or A/B that were no draws, since their keys were seen before.

        Of each key one in a second at most; otherwise as in `add_answers`.
        """
        arm = np.asarray(challenger, dtype=bool)
        if arm.size:
            both = np.asarray(shared, dtype=bool)
            self.errors.add_again(failed, arm, times=times, shared=both)
            self.answers.add_again(strange, arm, times=times, shared=both)

    def add_shadows(
        self,
        failed: Sequence[tuple[bool, bool]],
        strange: Sequence[tuple[bool, bool]],
        milliseconds: Sequence[tuple[float, float]],
        *,
        times: Sequence[float] | None = None,
        broke: Sequence[tuple[bool, bool]] | None = None,
    ) -> None:
        """Take requests that both versions saw, champion's part first; otherwise as above.

        `milliseconds` are NaN where the two cannot be compared.
        """
        if not failed:
            return
        self.units[0] += len(failed)
        self.units[1] += len(failed)
        at = self._times(times, len(failed))
        for test, pairs in ((self.errors, failed), (self.answers, strange)):
            faults = np.asarray(pairs, dtype=bool)
            test.add_pairs(faults, _none(broke, faults), at)
        self.add_measured(milliseconds)
        bad = np.maximum(np.asarray(failed, dtype=float), np.asarray(strange, dtype=float))
        self.failing.sequence.add(bad[:, 1] - bad[:, 0], -1.0, 1.0)

    def add_measured(self, milliseconds: Sequence[tuple[float, float]]) -> None:
        """Take calls of both versions for the same requests, champion's first, in any mode."""
        took = np.asarray(milliseconds, dtype=float).reshape(-1, 2)
        took = took[~np.isnan(took).any(axis=1)]
        if len(took):
            self.slow.add_pairs(took[:, 0], took[:, 1])

    def add_hanging(self, time: float, challenger: Sequence[bool]) -> None:
        """Units that came in before this time (seconds) still wait, once in each second."""
        for arm in challenger:
            self.slow.hang(time, arm)

    def tick(self, time: float) -> None:
        """All of before this time (seconds) is in."""
        for blocks in (self.errors.blocks, self.answers.blocks, self.slow.blocks):
            blocks.tick(time)

    def _times(self, times: Sequence[float] | None, count: int) -> Sequence[float]:
        if times is not None:
            return times
        self._calls += 1
        return [float(self._calls)] * count

    def add_losses(self, losses: ArrayLike, challenger: ArrayLike, weights: ArrayLike) -> None:
        """Take labelled units of canary or A/B, losses within [0, 1]. Raises ValueError."""
        self.losses.add(losses, challenger, weights)

    def add_pairs(self, champion: ArrayLike, challenger: ArrayLike) -> None:
        """Take the losses of both versions at the same labelled requests. Raises ValueError."""
        difference = np.asarray(challenger, dtype=float) - np.asarray(champion, dtype=float)
        self.pairs.add(difference, -1.0, 1.0)

    # What follows

    @property
    def decisive(self) -> MeanSequence:
        """The sequence of the difference that decides; below the margin is good."""
        if self.rule.metric == "none":
            return self.failing.sequence
        return self.pairs if self.mode == "shadow" else self.losses.sequence

    @property
    def margin(self) -> float:
        """What the decisive difference must be below."""
        return self.rule.errors_margin if self.rule.metric == "none" else self.rule.margin

    @property
    def judged(self) -> int:
        """Units of the challenger that say something about what decides."""
        if self.rule.metric == "none":
            return self.units[1]
        return self.pairs.count if self.mode == "shadow" else self.losses.counts[1]

    @property
    def promising(self) -> bool:
        """Whether the best guess so far is that the challenger is good enough."""
        return bool(self.judged) and self.decisive.mean < self.margin + _EQUAL

    def look(self) -> None:
        """Note where the decisive difference stands, for the plot."""
        decisive = self.decisive
        if decisive.count and (not self.path or self.path[-1][0] != decisive.count):
            low, high = self._interval(decisive)
            self.path.append((decisive.count, _within(decisive.mean), low, high))
            if len(self.path) > 600:
                del self.path[1:-1:2]

    def _interval(self, decisive: MeanSequence) -> tuple[float, float]:
        """Its end is beyond the margin, or beyond 0, just when the verdict says so."""
        low, high = decisive.interval(2 * self.rule.decisive_level)
        return _within(low), _within(high)

    def verdict(self, age: float = 0.0) -> Verdict:
        """What to do now; `age` in seconds since the experiment began."""
        rule, decisive = self.rule, self.decisive
        worse = math.log(1 / rule.guard_level)
        decided = math.log(1 / rule.decisive_level)
        findings = [
            Finding("errors", self.errors.evidence, worse, self._rates("fail", self.errors)),
            Finding(
                "answers",
                self.answers.evidence,
                worse,
                self._rates("hold no number", self.answers),
            ),
            Finding("latency", self.slow.evidence, worse, self._slow_sentence()),
        ]
        findings = [finding for finding in findings if finding.name in rule.guards]
        interval = self._interval(decisive) if decisive.count else None
        what = "failing answers" if rule.metric == "none" else f"the {rule.metric} loss"
        about = f"the difference of {what} is {_shown(decisive, interval)}"
        if rule.metric != "none":
            findings.append(Finding("loss", decisive.above(0.0), decided, about))
        good = Finding(
            "good_enough",
            decisive.below(self.margin) if decisive.count else -math.inf,
            decided,
            f"{about}, and the margin is {self.margin:g}",
        )
        mismatch = Finding(
            "mismatch",
            self.mismatch.evidence,
            math.log(1 / MISMATCH),
            f"{self.mismatch.units[1]} units went to the challenger, "
            f"{self.mismatch.expected:.0f} were to",
        )
        drawn = () if self.mode == "shadow" else (mismatch,)
        everything = (*drawn, *findings, good)
        if drawn and mismatch.found:  # first of all: whatever else is found rests upon the draws
            reason = f"the arms are not as the weights say: {mismatch.sentence}"
            return Verdict("abort", reason, everything, None, interval)
        bad = next((f for f in findings if f.found), None)
        if bad is not None:
            return Verdict(
                "abort", f"the challenger is worse: {bad.sentence}", everything, 0, interval
            )
        if good.found and self.judged >= rule.minimum:
            return Verdict(
                "promote",
                f"the challenger is good enough: {good.sentence}",
                everything,
                0,
                interval,
            )
        if age > rule.wait_days * DAY:
            reason = f"no verdict within {rule.wait_days:g} days; the champion stays"
            return Verdict("abort", reason, everything, None, interval)
        return Verdict("wait", self._waiting(good, about), everything, self._more(), interval)

    def _waiting(self, good: Finding, about: str) -> str:
        if not self.judged:
            unit = "answer" if self.rule.metric == "none" else "label"
            return f"no {unit} of the challenger is there yet"
        if good.found:
            return f"good so far, {self.judged} of {self.rule.minimum} units at the least"
        return f"it is not decided: {about}"

    def _more(self) -> int | None:
        decisive, rule = self.decisive, self.rule
        found = decisive.more(self.margin, rule.decisive_level, above=False)
        if found is None and rule.metric != "none":
            found = decisive.more(0.0, rule.decisive_level, above=True)
        if found is None or not self.judged:
            return None
        share = decisive.count / self.judged
        return max(found, math.ceil((rule.minimum - self.judged) * share))

    def _slow_sentence(self) -> str:
        slow, said = self.slow, []
        if self.mode != "shadow":
            limit = slow.limit
            if limit is None:
                return "too few answers of the champion to say what is slow"
            said.append(_rates(f"take more than {limit:.3g} ms", slow.events, slow.units))
        if slow.measured or not said:
            said.append(
                f"of {slow.measured} requests that were measured with both versions, the "
                f"challenger took more than {slow.slower:g} times as long at {slow.longer[1]}, the "
                f"champion at {slow.longer[0]}"
            )
        return "; ".join(said)

    def _rates(self, what: str, test: FaultTest) -> str:
        if self.mode != "shadow":
            return _rates(what, test.events, test.units)
        champions, challengers = test.events
        return (
            f"of the {champions + challengers} requests at which just one of the two answers would "
            f"{what}, it was the challenger's at {challengers}"
        )


def _rates(what: str, events: Sequence[int], units: Sequence[int]) -> str:
    return (
        f"{events[1]} of {units[1]} answers of the challenger {what}, {events[0]} of "
        f"{units[0]} answers of the champion {what}"
    )


def _none(found: Any, like: Bools) -> Bools:
    return np.zeros(like.shape, dtype=bool) if found is None else np.asarray(found, dtype=bool)


def _within(value: float) -> float:
    """A difference of two shares or losses lies between -1 and 1; weighted means may not."""
    return min(max(value, -1.0), 1.0)


def _shown(sequence: MeanSequence, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "not known"
    return f"{_within(sequence.mean):+.4f} [{interval[0]:+.4f}, {interval[1]:+.4f}]"
