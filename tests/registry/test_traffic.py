"""Challengers in the ledger: what may begin, change and end an experiment, and who may."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import automation, plan, traffic
from registry.errors import (
    AutomationRefused,
    ChallengerIsChampion,
    ExperimentRunning,
    IllegalMove,
    NoChampion,
    NoExperiment,
    NotFound,
    VersionArchived,
    WeightRefused,
)
from registry.ledger import GENESIS, Entry
from registry.plan import Plan
from registry.sections import GateParams
from registry.stages import Stage
from registry.state import State, fold

RULE = {"metric": "none"}


def entry_of(made: Plan, actor: str = "ana", **more: Any) -> Entry:
    return made.entry(
        prev=GENESIS, actor=actor, reason="", time="2026-01-01T00:00:00+00:00", **more
    )


def after(state: State, *made: Plan) -> State:
    for one in made:
        state = state.after(entry_of(one))
    return state


@pytest.fixture
def live() -> State:
    """v1 in Production, v2 and v3 entered."""
    state = State()
    for version in (1, 2, 3):
        state = after(state, plan.register(state, "m", version))
    return after(state, plan.promote(state, "m", 1, Stage.PRODUCTION))


def challenged(state: State, mode: str = "canary", weight: float = 0.05) -> State:
    return after(state, plan.challenge(state, "m", 2, mode, weight, RULE))


def test_from_the_first_share_to_the_end(live: State) -> None:
    begun = plan.challenge(live, "m", 2, "canary", 0.05, RULE)
    assert begun.sentence == "v2 challenges: canary, 5 % of the traffic"
    assert begun.moves == ()
    entry = entry_of(begun)
    state = live.after(entry)
    found = state.traffic
    assert found is not None
    assert (found.champion, found.challenger, found.mode, found.weight) == (1, 2, "canary", 0.05)
    assert (found.experiment, found.began, found.rule) == (entry.hash, entry.time, RULE)
    more = plan.reweigh(state, "m", 0.25)
    assert more.sentence == "v2 gets 25 % of the traffic"
    state = after(state, more)
    assert state.traffic is not None
    assert (state.traffic.weight, state.traffic.experiment) == (0.25, entry.hash)
    assert [w for _, w in state.traffic.weights] == [0.05, 0.25]
    ended = plan.stop(state, "m")
    assert ended.sentence == "v2 taken out of the traffic"
    state = after(state, ended)
    assert state.traffic is None
    assert state.stages == live.stages


def test_another_champion_or_an_archived_challenger_ends_it(live: State) -> None:
    state = challenged(live)
    assert after(state, plan.promote(state, "m", 3, Stage.PRODUCTION)).traffic is None
    assert after(state, plan.promote(state, "m", 2, Stage.PRODUCTION)).traffic is None
    assert after(state, plan.archive(state, "m", 2)).traffic is None
    assert after(state, plan.promote(state, "m", 2, Stage.STAGING)).traffic is not None
    # v3 takes v2's place in Staging, and v2 is archived by that.
    staged = after(state, plan.promote(state, "m", 2, Stage.STAGING))
    assert after(staged, plan.promote(staged, "m", 3, Stage.STAGING)).traffic is None


def test_what_ends_an_experiment_besides_says_so(live: State) -> None:
    state = challenged(live)
    about = {"experiment": state.traffic.experiment} if state.traffic else {}
    ends = {**about, "mode": "canary", "challenger": 2, "champion": 1}
    for made, words in (
        (plan.promote(state, "m", 3, Stage.PRODUCTION), "v3 to Production"),
        (plan.promote(state, "m", 2, Stage.PRODUCTION), "v2 to Production"),
        (plan.archive(state, "m", 2), "v2 archived"),
    ):
        assert made.sentence == f"{words}, which ends the canary of v2 beside v1"
        entry = entry_of(made)
        assert (entry.evidence["ends"], entry.sentence) == (ends, f"{made.sentence} by ana")
    assert "ends" not in plan.stop(state, "m").evidence
    assert "ends" not in plan.promote(state, "m", 3, Stage.STAGING).evidence
    assert "ends" not in plan.promote(live, "m", 3, Stage.PRODUCTION).evidence
    back = after(live, plan.promote(live, "m", 3, Stage.PRODUCTION))
    back = after(back, plan.challenge(back, "m", 2, "shadow", 1.0, RULE))
    assert plan.rollback(back, "m").sentence == (
        "rolled back to v1, which ends the shadow of v2 beside v3"
    )


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("mode", traffic.MODES)
def test_weights_that_are_none(live: State, mode: str, weight: float) -> None:
    with pytest.raises(WeightRefused, match=r"is no share; it lies above 0 and (up to|below) 1"):
        plan.challenge(live, "m", 2, mode, weight, RULE)
    with pytest.raises(WeightRefused):
        plan.reweigh(challenged(live, mode), "m", weight)


def test_an_ab_test_keeps_something_for_the_champion(live: State) -> None:
    with pytest.raises(WeightRefused, match="below 1"):
        plan.challenge(live, "m", 2, "ab", 1.0, RULE)
    with pytest.raises(WeightRefused, match="all of the traffic is a promotion"):
        plan.challenge(live, "m", 2, "canary", 1.0, RULE)
    assert challenged(live, "shadow", 1.0).traffic


def test_what_cannot_begin(live: State) -> None:
    with pytest.raises(ChallengerIsChampion, match="the challenger is to be another one"):
        plan.challenge(live, "m", 1, "ab", 0.5, RULE)
    with pytest.raises(NotFound):
        plan.challenge(live, "m", 9, "ab", 0.5, RULE)
    with pytest.raises(IllegalMove, match="canary, ab, shadow, not 'blue'"):
        plan.challenge(live, "m", 2, "blue", 0.5, RULE)
    archived = after(live, plan.archive(live, "m", 2))
    with pytest.raises(VersionArchived, match="cannot get traffic"):
        plan.challenge(archived, "m", 2, "ab", 0.5, RULE)
    nothing = fold([entry_of(plan.register(State(), "m", 1))])
    with pytest.raises(NoChampion, match="can be challenged"):
        plan.challenge(nothing, "m", 1, "ab", 0.5, RULE)


def test_one_experiment_at_a_time(live: State) -> None:
    state = challenged(live)
    with pytest.raises(ExperimentRunning, match=r"version 2 of m gets traffic already \(canary\)"):
        plan.challenge(state, "m", 3, "shadow", 1.0, RULE)
    with pytest.raises(IllegalMove, match="gets 5 % already"):
        plan.reweigh(state, "m", 0.05)
    for what in (plan.stop, lambda s, m: plan.reweigh(s, m, 0.5)):
        with pytest.raises(NoExperiment, match="all traffic of m goes to one version"):
            what(live, "m")


def permitted(state: State, made: Plan, automatic: str) -> bool:
    try:
        automation.permit("auto:guard", made, state, GateParams(automation=automatic))
    except AutomationRefused:
        return False
    return True


def test_what_a_program_may(live: State) -> None:
    shadow = plan.challenge(live, "m", 2, "shadow", 1.0, RULE)
    canary = plan.challenge(live, "m", 2, "canary", 0.05, RULE)
    running = challenged(live, weight=0.2)
    for level, shares in (("staging", False), ("canary", True), ("production", True)):
        assert permitted(live, shadow, level)
        assert permitted(live, canary, level) is shares
        assert permitted(running, plan.reweigh(running, "m", 0.5), level) is shares
        assert permitted(running, plan.reweigh(running, "m", 0.1), level)
        assert permitted(running, plan.stop(running, "m"), level)


junk = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.lists(st.integers())
)


@given(st.lists(st.tuples(st.sampled_from(traffic.KINDS), st.integers(1, 3), junk, junk, junk)))
def test_no_entry_breaks_the_fold(things: list[tuple[str, int, Any, Any, Any]]) -> None:
    state = State()
    for version in (1, 2):
        state = after(state, plan.register(state, "m", version))
    state = after(state, plan.promote(state, "m", 1, Stage.PRODUCTION))
    for kind, version, mode, weight, rule in things:
        evidence = {"mode": mode, "weight": weight, "rule": rule}
        entry = Entry(
            kind=kind, model="m", version=version, source=Stage.NONE, target=Stage.NONE, actor="a",
            reason="", time="", prev=GENESIS, evidence=evidence,
        )  # fmt: skip
        state = state.after(entry)
        assert entry.sentence
        assert state.traffic is None or 0 < state.traffic.weight <= 1


def test_every_kind_has_words() -> None:
    for kind, version in itertools.product(traffic.KINDS, (1, 2)):
        made = Plan(kind, "m", version, Stage.NONE, Stage.NONE, ())
        assert f"v{version}" in made.sentence
        assert "None" not in made.sentence
