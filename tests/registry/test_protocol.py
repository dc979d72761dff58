"""Order under concurrency, crash safety and bounded automation, over every interleaving we find.

The store is in memory (tests/registry/memory.py) and holds to the real one in the first test.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import projection, promote, turn
from registry.errors import (
    IllegalMove,
    LostRace,
    OverrideRefused,
    RegistryUnreachable,
    UnderstudyError,
)
from registry.ledger import AUTOMATIC, Replay
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import State, state_of
from registry.store import Store
from tests.conftest import Tiny
from tests.registry.memory import Memory
from tests.registry.scheduler import Scheduler

VERSIONS = 4
NO_GATES = GateParams(skip=GATES)
versions = st.integers(1, VERSIONS)
stages = st.sampled_from([Stage.STAGING, Stage.PRODUCTION])

Action = tuple[Any, ...]
actions = st.one_of(
    st.tuples(st.just("promote"), versions, stages),
    st.tuples(st.just("promote"), versions, st.just(Stage.PRODUCTION)),
    st.tuples(st.just("rollback"), st.none() | versions),
    st.tuples(st.just("archive"), versions),
)


@dataclass
class Told:
    """What a caller was told: an entry's number, an error, or nothing because it died."""

    number: int | None = None
    error: UnderstudyError | None = None


@pytest.fixture(autouse=True, scope="module")
def _no_waiting() -> Iterator[None]:
    """Actors of one process would wait for one another's turn for ever, and sleep for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn, "of", lambda *_, **__: contextlib.nullcontext(True))
        # Not for others: a thread that Spark's tests left would go round and round.
        patch.setattr(
            promote, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None)
        )
        yield


@functools.cache
def template() -> Memory:
    """Four versions: the first was live, the second is; nothing waits in Staging."""
    store = Memory()
    for version in range(1, VERSIONS + 1):
        store.create_version("m", f"m-{version}", {})
        promote.enter(store, "m", version, evidence={}, wish=Wish("ana"))
    for version in (1, 2):
        carry_out(store, ("promote", version, Stage.PRODUCTION), Wish("ana"))
    return store


def carry_out(
    store: Any,
    action: Action,
    wish: Wish,
    params: GateParams = NO_GATES,
    overrides: Sequence[str] = (),
) -> int | None:
    """Do it as the command line would; returns the entry's number."""
    verb, *arguments = action
    if verb == "rollback":
        return promote.rollback(store, "m", to=arguments[0], wish=wish, params=params).number
    if verb == "archive":
        return promote.archive(store, "m", arguments[0], wish=wish, params=params).number
    if verb == "approve":
        return promote.approve(store, "m", arguments[0], wish=wish).number
    with tempfile.TemporaryDirectory() as folder:
        rest: dict[str, Any] = {"params": params, "wish": wish, "folder": Path(folder)}
        rest["overrides"] = overrides
        if verb == "adopt":
            state = state_of(projection.read(store, "m"))
            rest["to"] = projection.seen(state, store.shown("m"), arguments[0])
            return promote.promote(store, "m", arguments[0], by_hand=True, **rest).number
        return promote.promote(store, "m", arguments[0], to=arguments[1], **rest).number


def raced(
    wishes: Sequence[Sequence[Action]],
    slices: Sequence[tuple[int, int]],
    faults: Mapping[int, str],
) -> tuple[Memory, dict[str, Told]]:
    """Run the actors' wishes together; what each was told, by the reason it gave."""
    scheduler = Scheduler(slices, faults)
    store = template().copy(scheduler.point)
    told: dict[str, Told] = {}

    def live(actor: int, own: Sequence[Action]) -> None:
        for count, action in enumerate(own):
            reason = f"{actor}.{count}"
            told[reason] = Told()
            try:
                told[reason].number = carry_out(store, action, Wish(f"p{actor}", reason))
            except UnderstudyError as error:
                told[reason].error = error

    scheduler.run([lambda n=n, own=own: live(n, own) for n, own in enumerate(wishes)])
    return store, told


def assert_told_the_truth(found: Replay, told: Mapping[str, Told]) -> None:
    """Successes are winners, losers have none, and no wish was carried out twice."""
    winners = [(w.entry.reason, w.number) for w in found.winners if w.entry.reason]
    by_reason = dict(winners)
    assert len(winners) == len(by_reason), "a wish was carried out twice"
    for reason, answer in told.items():
        if answer.number is not None:
            assert by_reason.get(reason) == answer.number, "a success that is not in the ledger"
        if isinstance(answer.error, LostRace | IllegalMove):
            assert reason not in by_reason, f"it won, and was told {answer.error}"


def assert_shown(store: Memory) -> None:
    """MLflow shows what the ledger says, and one version in Production."""
    found, shown = projection.read(store, "m"), store.shown("m")
    state = state_of(found)
    assert [d.sentence for d in projection.differences(state, shown)] == []
    assert shown.head == found.head
    live = [n for n, v in shown.versions.items() if v.stage is Stage.PRODUCTION]
    assert live == [state.production]


def repair(store: Memory) -> None:
    """What `understudy repair` does."""
    projection.project(store, "m", projection.catch_up(store, "m")[0])


actors = st.lists(st.lists(actions, min_size=1, max_size=3), min_size=2, max_size=4)
schedules = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=60)
faults = st.dictionaries(
    st.integers(1, 150), st.sampled_from(["unreachable", "dies"]), min_size=1, max_size=3
)
many = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@many
@given(actors, schedules)
def test_whoever_races_one_version_is_live_and_everybody_is_told_the_truth(
    wishes: list[list[Action]], slices: list[tuple[int, int]]
) -> None:
    store, told = raced(wishes, slices, {})
    assert_shown(store)
    assert_told_the_truth(projection.read(store, "m"), told)
    assert not [t.error for t in told.values() if isinstance(t.error, RegistryUnreachable)]
    assert all(t.number or t.error for t in told.values())


@many
@given(actors, schedules, faults)
def test_whatever_fails_or_dies_a_repair_shows_the_ledger_again(
    wishes: list[list[Action]], slices: list[tuple[int, int]], failing: dict[int, str]
) -> None:
    store, told = raced(wishes, slices, failing)
    repair(store)
    assert_shown(store)
    assert_told_the_truth(projection.read(store, "m"), told)


EVERY: list[Action] = [
    ("promote", 1, Stage.STAGING),
    ("promote", 4, Stage.STAGING),
    ("promote", 4, Stage.PRODUCTION),
    ("rollback", None),
    ("archive", 1),
    ("archive", 4),
]
POINTS = 45
"""More than the store calls of any one action have."""


@pytest.mark.parametrize("first", EVERY, ids=str)
def test_another_may_do_all_of_theirs_between_any_two_of_my_steps(first: Action) -> None:
    for second in EVERY:
        for points in range(1, POINTS):
            store, told = raced([[first], [second]], [(points, 0), (1000, 1)], {})
            assert_shown(store)
            assert_told_the_truth(projection.read(store, "m"), told)


@pytest.mark.parametrize("fault", ["unreachable", "dies"])
@pytest.mark.parametrize("first", EVERY, ids=str)
def test_the_next_command_finishes_what_one_that_died_anywhere_left(
    first: Action, fault: str
) -> None:
    for second in EVERY:
        for point in range(1, POINTS):
            store, told = raced([[first]], [], {point: fault})
            with contextlib.suppress(UnderstudyError):
                carry_out(store, second, Wish("bo", "next"))
            assert_shown(store)
            assert_told_the_truth(projection.read(store, "m"), told)


# Automation

robots = st.sampled_from(["auto:nightly", " Auto:x", "AUTO:y "])
people = st.sampled_from(["ana", "bo", "automat", "not-auto:x"])
anything = st.one_of(
    actions,
    st.tuples(st.just("approve"), versions),
    st.tuples(st.just("adopt"), versions),
    st.tuples(st.just("by hand"), versions, st.sampled_from(list(Stage))),
)
calls = st.lists(
    st.tuples(robots | people, anything, st.lists(st.sampled_from(GATES), max_size=2)),
    max_size=14,
)


@many
@given(calls)
def test_a_program_brings_nothing_live_that_no_person_has(
    sequence: list[tuple[str, Action, list[str]]],
) -> None:
    store = template().copy(lambda _: None)
    for actor, action, overrides in sequence:
        if action[0] == "by hand":
            store.set_stage("m", action[1], action[2])
            continue
        with contextlib.suppress(UnderstudyError):
            carry_out(store, action, Wish(actor, "why"), overrides=overrides)
    assert_programs_only_bring_back(projection.read(store, "m"))


def assert_programs_only_bring_back(found: Replay) -> None:
    """What a program makes live, a person had; and it approves, adopts and overrides nothing."""
    state, by_people = State(), set()
    for entry in (winner.entry for winner in found.winners):
        before, state = state.production, state.after(entry)
        if not entry.actor.casefold().startswith(AUTOMATIC):
            if entry.target is Stage.PRODUCTION and entry.kind != "rollback":
                by_people.add(entry.version)
            continue
        assert entry.kind in ("promote", "rollback", "archive")
        assert "'overridden': True" not in str(entry.evidence)
        assert state.production == before or state.production in by_people


def test_with_every_gate_off_nothing_is_fetched_or_kept() -> None:
    class Watched(Memory):
        asked: ClassVar[list[str]] = []

        def __getattr__(self, name: str) -> Any:
            self.asked.append(name)
            raise AttributeError(name)

    store = Watched()
    store.__dict__.update(template().copy(lambda _: None).__dict__)
    carry_out(store, ("promote", 4, Stage.STAGING), Wish("ana"))
    carry_out(store, ("promote", 4, Stage.PRODUCTION), Wish("ana"))
    assert store.asked == []


def test_a_program_overrides_no_gate() -> None:
    store = template().copy(lambda _: None)
    action = ("promote", 4, Stage.STAGING)
    with pytest.raises(OverrideRefused, match="only a person may"):
        carry_out(store, action, Wish("auto:x", "now"), overrides=["floor"])


# The store in memory is as the real one

store_calls = st.lists(
    st.one_of(
        st.tuples(st.just("create_version")),
        st.tuples(st.just("set_stage"), st.integers(1, 5), st.sampled_from(list(Stage))),
        st.tuples(st.just("set_stage"), st.integers(1, 3), stages),
        st.tuples(
            st.just("set_alias"),
            st.sampled_from(["production", "staging"]),
            st.none() | st.integers(1, 4),
        ),
        st.tuples(st.just("set_version_tag"), st.integers(1, 4), st.just("k"), st.text(max_size=3)),
        st.tuples(st.just("set_head"), st.sampled_from(["h1", "h2"])),
        st.tuples(st.just("append"), st.sampled_from(["one", "two"])),
    ),
    max_size=12,
)
counter = itertools.count()


@settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
@given(store_calls)
def test_the_store_in_memory_answers_as_mlflow_does(tiny: Tiny, sequence: list[Action]) -> None:
    real, memory, name = Store(tiny.uri), Memory(), f"m{next(counter)}"
    model_id = real.run(tiny.runs["good"]).models[0]
    for action in [("create_version",), ("create_version",), *sequence]:
        answers = [answer(one, name, model_id, action) for one in (real, memory)]
        assert answers[0] == answers[1], action
    assert everything(real, name) == everything(memory, name)


def answer(store: Any, model: str, model_id: str, action: Action) -> Any:
    """What a call returns, or the class of what it raises."""
    verb, *arguments = action
    if verb == "create_version":
        arguments = [model_id, {}]
    if verb == "append":
        arguments = [store.shown(model).versions[1], *arguments, "a sentence"]
    try:
        return getattr(store, verb)(model, *arguments)
    except UnderstudyError as error:
        return type(error)


def everything(store: Any, model: str) -> Any:
    """Everything that can be read of a model, without what only MLflow knows."""
    shown = store.shown(model)
    found = {n: (v.stage, v.source, v.model_id, v.tags) for n, v in shown.versions.items()}
    ledger = (store.entries(model), store.entries(model, 1), store.records(model))
    return found, shown.aliases, shown.head, shown.has_stages, *ledger
