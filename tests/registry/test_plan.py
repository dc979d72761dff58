"""Plans over random histories: what always holds, and what every illegal move is told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import plan
from registry.errors import (
    AlreadyInStage,
    IllegalMove,
    NeverInProduction,
    NoFormerVersion,
    NotFound,
    VersionArchived,
    VersionLive,
    VersionNotFound,
)
from registry.ledger import GENESIS, Numbered, Replay
from registry.plan import Move, Plan
from registry.stages import Stage
from registry.state import State, fold, state_of

quick = settings(deadline=None, max_examples=150)
PRODUCTION, STAGING, ARCHIVED = Stage.PRODUCTION, Stage.STAGING, Stage.ARCHIVED

Action = tuple[Any, ...]
versions = st.integers(1, 4)
actions = st.one_of(
    st.tuples(st.just("promote"), versions, st.sampled_from([STAGING, PRODUCTION])),
    st.tuples(st.just("promote"), versions, st.just(PRODUCTION)),
    st.tuples(st.just("rollback"), st.none() | versions),
    st.tuples(st.just("archive"), versions),
    st.tuples(st.just("register"), st.integers(5, 6)),
)


def planned(state: State, action: Action) -> Plan:
    verb, *arguments = action
    made: Plan = getattr(plan, verb)(state, "m", *arguments)
    return made


def carried_out(state: State, made: Plan) -> State:
    return state.after(made.entry(prev=GENESIS, actor="ana", reason="", time=""))


def after(*history: Action, state: State | None = None) -> State:
    """The state after these actions, the illegal ones refused."""
    state = state or start()
    for action in history:
        try:
            made = planned(state, action)
        except (IllegalMove, NotFound):
            continue
        state = carried_out(state, made)
    return state


def start() -> State:
    """Versions 1 to 4, all in None."""
    state = State()
    for version in range(1, 5):
        state = carried_out(state, plan.register(state, "m", version))
    return state


def live(*numbers: int) -> State:
    """Versions 1 to 4, with these in Production one after the other."""
    return after(*(("promote", n, PRODUCTION) for n in numbers))


states = st.lists(actions, max_size=25).map(lambda history: after(*history))


@quick
@given(states)
def test_there_is_at_most_one_production_and_one_staging(state: State) -> None:
    count = Counter(state.stages.values())
    assert count[PRODUCTION] <= 1
    assert count[STAGING] <= 1
    assert (state.production is None) == (count[PRODUCTION] == 0)
    assert (state.staging is None) == (count[STAGING] == 0)


@quick
@given(states)
def test_the_way_back_leads_over_versions_that_the_ledger_knows(state: State) -> None:
    assert set(state.former) <= set(state.stages)
    if state.production is None:
        assert state.former == ()


@quick
@given(states, actions)
def test_the_moves_of_a_plan_are_the_difference_of_the_states(state: State, action: Action) -> None:
    try:
        made = planned(state, action)
    except (IllegalMove, NotFound):
        return
    following = carried_out(state, made)
    expected = {
        (v, state.stages.get(v, Stage.NONE), s)
        for v, s in following.stages.items()
        if state.stages.get(v) != s
    }
    assert {(m.version, m.source, m.target) for m in made.moves} == expected
    assert len(made.moves) == len(expected)
    assert (made.source, made.target) == (
        state.stages.get(made.version, Stage.NONE),
        following.stages[made.version],
    )


@quick
@given(states, actions)
def test_planning_changes_nothing(state: State, action: Action) -> None:
    before = State(dict(state.stages), state.former)
    after(action, state=state)
    assert (dict(state.stages), state.former) == (before.stages, before.former)


@quick
@given(states, versions)
def test_promote_then_rollback_restores_production_and_the_way_back(
    state: State, version: int
) -> None:
    try:
        made = plan.promote(state, "m", version, PRODUCTION)
    except IllegalMove:
        return
    promoted = carried_out(state, made)
    assert promoted.production == version
    if state.production is None:
        with pytest.raises(NoFormerVersion):
            plan.rollback(promoted, "m")
        return
    assert promoted.former == (*state.former, state.production)
    restored = carried_out(promoted, plan.rollback(promoted, "m"))
    assert (restored.production, restored.former) == (state.production, state.former)


@quick
@given(states)
def test_rolling_back_twice_goes_two_back(state: State) -> None:
    for steps in range(1, len(state.former) + 1):
        back = after(*[("rollback", None)] * steps, state=state)
        assert (back.production, back.former) == (state.former[-steps], state.former[:-steps])


def test_a_rollback_always_changes_what_is_live() -> None:
    again = [("promote", 1, STAGING), ("promote", 1, PRODUCTION)]
    state = after(*again, ("archive", 2), state=live(1, 2))
    assert state.production == 1
    with pytest.raises(NoFormerVersion):
        plan.rollback(state, "m")


@quick
@given(states, versions)
def test_rollback_to_a_version_forgets_all_that_came_after_it(state: State, version: int) -> None:
    try:
        made = plan.rollback(state, "m", version)
    except IllegalMove:
        assert version not in state.former or version == state.production
        return
    back = carried_out(state, made)
    length = len(back.former)
    assert back.production == version
    assert back.former == state.former[:length]
    assert state.former[length] == version
    assert version not in state.former[length + 1 :]


@quick
@given(states, versions)
def test_an_archived_version_is_never_rolled_back_to(state: State, version: int) -> None:
    try:
        made = plan.archive(state, "m", version)
    except IllegalMove:
        return
    archived = carried_out(state, made)
    assert archived.stages[version] is ARCHIVED
    left = [v for v in state.former if v != version]
    kept = [v for v, before in zip(left, [None, *left], strict=False) if v != before]
    while kept and kept[-1] == state.production:
        kept.pop()  # a step that would lead nowhere
    assert archived.former == tuple(kept)
    assert archived.production == state.production


@quick
@given(st.lists(actions, max_size=12))
def test_a_version_leaves_production_only_for_another(history: list[Action]) -> None:
    state = start()
    for action in history:
        following = after(action, state=state)
        assert (following.production is None) <= (state.production is None)
        state = following


def test_promotion_archives_whoever_holds_the_stage() -> None:
    state = after(("promote", 3, STAGING), state=live(1))
    made = plan.promote(state, "m", 3, PRODUCTION)
    assert made.moves == (Move(1, PRODUCTION, ARCHIVED), Move(3, STAGING, PRODUCTION))
    made = plan.promote(state, "m", 2, STAGING)
    assert made.moves == (Move(2, Stage.NONE, STAGING), Move(3, STAGING, ARCHIVED))
    assert carried_out(state, made).former == state.former


def test_rollback_by_number_skips_those_between() -> None:
    state = live(1, 2, 3, 4)
    assert state.former == (1, 2, 3)
    made = plan.rollback(state, "m", 1)
    assert made.moves == (Move(1, ARCHIVED, PRODUCTION), Move(4, PRODUCTION, ARCHIVED))
    assert carried_out(state, made).former == ()


def test_rollback_to_a_version_that_was_live_twice_goes_to_its_last_time() -> None:
    again = [("promote", 1, STAGING), ("promote", 1, PRODUCTION), ("promote", 3, PRODUCTION)]
    state = after(*again, state=live(1, 2))
    assert state.former == (1, 2, 1)
    for wish in (("rollback", 1), ("rollback", None)):
        back = after(wish, state=state)
        assert (back.production, back.former) == (1, (1, 2))


def test_an_archived_former_version_is_skipped_on_the_way_back() -> None:
    state = after(("archive", 2), state=live(1, 2, 3))
    assert plan.rollback(state, "m").version == 1


def test_an_archived_version_comes_back_over_staging() -> None:
    state = after(("archive", 2), ("promote", 2, STAGING), ("promote", 2, PRODUCTION))
    assert state.production == 2


def test_the_state_of_a_replay_is_the_fold_over_its_winners() -> None:
    first = plan.register(State(), "m", 1).entry(prev=GENESIS, actor="", reason="", time="")
    lost = plan.register(State(), "m", 2).entry(prev=GENESIS, actor="", reason="", time="")
    found = Replay((Numbered(1, first),), (Numbered(2, lost),))
    assert dict(state_of(found).stages) == dict(fold([first]).stages) == {1: Stage.NONE}


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (("register", 5), "v5 registered"),
        (("promote", 4, STAGING), "v4 to Staging"),
        (("promote", 4, PRODUCTION), "v4 to Production"),
        (("rollback", None), "rolled back to v1"),
        (("archive", 4), "v4 archived"),
    ],
)
def test_a_plan_says_what_its_entry_says(action: Action, words: str) -> None:
    made = planned(live(1, 2), action)
    written = made.entry(prev="p", actor="ana", reason="why", time="t", digest="d")
    assert made.sentence == words
    assert written.sentence == f"{words} by ana: why"
    assert (written.kind, written.model, written.version) == (made.kind, "m", made.version)
    assert (written.source, written.target) == (made.source, made.target)
    assert (written.prev, written.time, written.evidence) == ("p", "t", {"digest": "d"})


@pytest.mark.parametrize(
    ("state", "action", "error", "sentence"),
    [
        (
            live(1),
            ("promote", 1, PRODUCTION),
            AlreadyInStage,
            "version 1 of m is already in Production; there is nothing to do",
        ),
        (
            after(("promote", 2, STAGING)),
            ("promote", 2, STAGING),
            AlreadyInStage,
            "version 2 of m is already in Staging; there is nothing to do",
        ),
        (
            after(("archive", 2)),
            ("archive", 2),
            AlreadyInStage,
            "version 2 of m is already in Archived; there is nothing to do",
        ),
        (
            live(1, 2),
            ("rollback", 2),
            AlreadyInStage,
            "version 2 of m is already in Production; there is nothing to do",
        ),
        (
            start(),
            ("register", 1),
            AlreadyInStage,
            "version 1 of m is already in the ledger; there is nothing to do",
        ),
        (
            live(1, 2),
            ("promote", 1, PRODUCTION),
            VersionArchived,
            "version 1 of m is archived and cannot be promoted to Production; "
            "`understudy rollback --to 1` brings it back, it was in Production before",
        ),
        (
            after(("archive", 3)),
            ("promote", 3, PRODUCTION),
            VersionArchived,
            "version 3 of m is archived and cannot be promoted to Production; "
            "`understudy promote 3 --to staging` takes it out of the archive first",
        ),
        (
            live(1),
            ("promote", 1, STAGING),
            VersionLive,
            "version 1 of m is in Production and cannot be moved to Staging; "
            "promote another version or roll back first",
        ),
        (
            live(1),
            ("archive", 1),
            VersionLive,
            "version 1 of m is in Production and cannot be archived; "
            "promote another version or roll back first",
        ),
        (
            live(1),
            ("rollback", None),
            NoFormerVersion,
            "m has no former Production version to roll back to; "
            "`understudy history` shows what was live",
        ),
        (
            live(1, 2, 3),
            ("rollback", 4),
            NeverInProduction,
            "version 4 of m is not among its former Production versions (1, 2); "
            "`understudy promote 4 --to staging` and then `--to production` takes it "
            "through the gates",
        ),
        (
            start(),
            ("promote", 9, STAGING),
            VersionNotFound,
            "m has no version 9; it has 1, 2, 3, 4",
        ),
        (start(), ("archive", 9), VersionNotFound, "m has no version 9; it has 1, 2, 3, 4"),
        (start(), ("rollback", 9), VersionNotFound, "m has no version 9; it has 1, 2, 3, 4"),
        (
            State(),
            ("promote", 1, PRODUCTION),
            VersionNotFound,
            "m has no version 1; it has none yet; run `dvc repro`",
        ),
        (
            start(),
            ("promote", 1, ARCHIVED),
            IllegalMove,
            "a version is promoted to staging or production, not to archived",
        ),
        (
            start(),
            ("promote", 1, Stage.NONE),
            IllegalMove,
            "a version is promoted to staging or production, not to none",
        ),
    ],
)
def test_every_illegal_move_is_refused_with_a_sentence(
    state: State, action: Action, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as refused:
        planned(state, action)
    assert type(refused.value) is error
    assert str(refused.value) == sentence


def test_the_former_versions_in_a_refusal_are_each_named_once() -> None:
    state = after(
        ("promote", 1, STAGING), ("promote", 1, PRODUCTION), ("promote", 3, PRODUCTION),
        state=live(1, 2),
    )  # fmt: skip
    assert state.former == (1, 2, 1)
    with pytest.raises(NeverInProduction, match=r"Production versions \(1, 2\);"):
        plan.rollback(state, "m", 4)
