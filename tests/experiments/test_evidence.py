"""Verdicts: who is promoted, who is aborted, and who has to wait."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import ValidationError

from experiments.evidence import DAY, Evidence, Verdict
from experiments.rule import GUARDS, Rule

LABELS = Rule(metric="error", minimum=50)


@dataclass
class World:
    """How the arms behave; the challenger's second."""

    weight: float = 0.5
    fails: tuple[float, float] = (0.001, 0.001)
    strange: tuple[float, float] = (0.0, 0.0)
    slower: float = 0.0
    loss: tuple[float, float] | None = None
    seed: int = 0

    def play(self, rule: Rule, units: int, step: int = 100, *, to_end: bool = False) -> Evidence:
        """Look after each step, and end at a verdict unless told otherwise."""
        drawn, evidence = np.random.default_rng(self.seed), Evidence(rule, "ab")
        for _ in range(units // step):
            arm = drawn.random(step) < self.weight
            failed = drawn.random(step) < np.where(arm, self.fails[1], self.fails[0])
            strange = drawn.random(step) < np.where(arm, self.strange[1], self.strange[0])
            took = drawn.gamma(3, 4, step) + self.slower * arm
            evidence.add_answers(arm, [self.weight] * step, failed, strange, took)
            if self.loss:
                wrong = drawn.random(step) < np.where(arm, self.loss[1], self.loss[0])
                evidence.add_losses(wrong.astype(float), arm, self.weight)
            evidence.look()
            if not to_end and evidence.verdict().decision != "wait":
                break
        return evidence


def decided(evidence: Evidence) -> Verdict:
    found = evidence.verdict()
    json.dumps(found.as_dict(), allow_nan=False)
    return found


@pytest.mark.parametrize(
    ("world", "says"),
    [
        (World(0.05, fails=(0.001, 1.0)), "answers of the challenger fail"),
        (World(0.05, strange=(0.0, 1.0)), "answers of the challenger hold no number"),
        (World(0.05, slower=200.0), "answers of the challenger take more than"),
        (World(0.5, loss=(0.1, 0.2)), "difference of the error loss is +"),
    ],
)
def test_a_worse_challenger_is_aborted(world: World, says: str) -> None:
    rule = LABELS if world.loss else Rule()
    evidence = world.play(rule, 20_000, 20)
    found = decided(evidence)
    assert (found.decision, found.more) == ("abort", 0)
    assert says in found.reason
    assert evidence.units[1] < (300 if not world.loss else 5000)


def test_a_better_challenger_is_promoted_by_its_labels() -> None:
    found = decided(World(loss=(0.3, 0.2)).play(LABELS, 20_000))
    assert found.decision == "promote"
    assert found.interval is not None
    assert found.interval[1] < 0


def test_an_equal_challenger_waits_unless_a_margin_allows_it() -> None:
    equal = World(loss=(0.2, 0.2))
    assert decided(equal.play(LABELS, 5000)).decision == "wait"
    allowed = Rule(metric="error", margin=0.05, minimum=50)
    assert decided(equal.play(allowed, 20_000)).decision == "promote"


def test_without_labels_an_equal_challenger_is_promoted_and_a_failing_one_is_not() -> None:
    assert decided(World().play(Rule(), 20_000)).decision == "promote"
    assert decided(World(fails=(0.01, 0.05)).play(Rule(), 20_000)).decision == "abort"


@pytest.mark.parametrize("rule", [Rule(), LABELS])
def test_three_requests_or_none_are_no_reason_to_promote(rule: Rule) -> None:
    evidence = Evidence(rule, "canary")
    assert decided(evidence).decision == "wait"
    assert "is there yet" in evidence.verdict().reason
    evidence.add_answers([True] * 3, [0.05] * 3, [False] * 3, [False] * 3, [1.0] * 3)
    evidence.add_losses([0.0] * 3, [True] * 3, 0.05)
    found = decided(evidence)
    assert found.decision == "wait"


def test_what_is_good_early_still_waits_for_the_minimum() -> None:
    rule = Rule(metric="error", minimum=5000)
    evidence = World(loss=(0.9, 0.1)).play(rule, 2000, to_end=True)
    found = decided(evidence)
    assert found.decision == "wait"
    assert re_minimum(found.reason) == (evidence.losses.counts[1], 5000)
    assert found.more is not None
    assert found.more > 5000


def re_minimum(reason: str) -> tuple[int, int]:
    words = reason.split()
    return int(words[words.index("of") - 1]), int(words[words.index("of") + 1])


def test_nothing_else_is_concluded_from_arms_that_are_not_as_declared() -> None:
    evidence = Evidence(LABELS, "ab")
    drawn = np.random.default_rng(0)
    arm = drawn.random(20_000) < 0.4
    none = [False] * arm.size
    evidence.add_answers(arm, [0.5] * arm.size, none, none, [1.0] * arm.size)
    evidence.add_losses(np.where(arm, 0.0, 1.0), arm, 0.5)
    found = decided(evidence)
    assert found.decision == "abort"
    assert "not as the weights say" in found.reason


def test_after_the_longest_wait_the_champion_stays() -> None:
    found = Evidence(Rule(wait_days=2), "canary").verdict(age=2 * DAY + 1)
    assert (found.decision, found.reason) == (
        "abort", "no verdict within 2 days; the champion stays",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("champion", "challenger", "decision"),
    [(0.30, 0.25, "promote"), (0.25, 0.30, "abort"), (0.25, 0.25, "wait")],
)
def test_shadows_are_compared_request_by_request(
    champion: float, challenger: float, decision: str
) -> None:
    """Both are right or wrong at mostly the same requests, which makes a pair worth many units."""
    drawn = np.random.default_rng(1)
    evidence = Evidence(LABELS, "shadow")
    for _ in range(40):
        level = drawn.random(100)
        evidence.add_pairs((level < champion).astype(float), (level < challenger).astype(float))
    assert decided(evidence).decision == decision


def test_a_shadow_that_fails_alone_is_told_and_one_that_fails_with_the_champion_is_not() -> None:
    both, alone = Evidence(Rule(), "shadow"), Evidence(Rule(), "shadow")
    for _ in range(10):
        fine, took = [(False, False)] * 10, [(1.0, 1.0)] * 10
        both.add_shadows([(True, True)] * 10, fine, took)
        alone.add_shadows([(False, True)] * 10, fine, took)
    assert both.verdict().decision == "wait"
    assert alone.verdict().decision == "abort"
    slow = Evidence(Rule(), "shadow")
    for _ in range(10):
        slow.add_shadows([(False, False)] * 10, [(False, False)] * 10, [(1.0, 300.0)] * 10)
    assert "took more than 1.25 times as long at 100, the champion at 0" in slow.verdict().reason


def test_the_path_is_kept_short_and_keeps_its_ends() -> None:
    evidence = World(loss=(0.2, 0.2)).play(LABELS, 100_000, to_end=True)
    assert 100 < len(evidence.path) <= 600
    assert evidence.path[0][0] == 100
    assert evidence.path[-1][0] == 100_000
    for _, mean, low, high in evidence.path:
        assert low <= mean <= high


def test_the_levels_add_up() -> None:
    rule = Rule(metric="brier", alpha=0.1)
    assert 2 * rule.decisive_level + len(GUARDS) * rule.guard_level == pytest.approx(0.1)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": (0.5, 0.1)}, {"steps": (0.0,)}, {"alpha": 0}, {"metric": "auc"}, {"minimum": 0},
     {"margin": -1}, {"other": 1}],
)  # fmt: skip
def test_rules_that_are_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rule(**wrong)
