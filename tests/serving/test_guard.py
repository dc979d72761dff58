"""The split of requests and the guard that collects what becomes of them, without any process."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.arms import is_challengers
from registry.traffic import GUARD, Traffic
from serving import unpack, wire
from serving.batch import Limits, Line, Pool, Refused, Reply, Request, Told
from serving.guard import GRACE, Guard
from serving.record_units import LabelledUnit
from serving.records import Log
from serving.split import BROKE, COPIES, FAILED, STRANGE, Draw, Seen, Split, Thinned, fault_of

GOOD, EMPTY = b'{"predictions":[0.5]}', b'{"predictions":[null]}'


def traffic(mode: str = "canary", weight: float = 0.5, **rule: Any) -> Traffic:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Traffic(1, 2, mode, weight, "x", now, rule)


def line() -> Line:
    return Line(Limits(), Told(lambda *_: None, lambda *_: None))


class Crew:
    """The challenger, which nobody starts here."""

    version = 2
    running = 1


def split(found: Traffic, tally: Any = None) -> Split:
    return Split(found, cast(Any, Crew()), line(), tally or Guard(found, None), 10.0)


def run(act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(act())


def request() -> Request:
    end, reply = time.monotonic() + 10, asyncio.get_running_loop().create_future()
    return Request(b"{}", wire.JSON, None, end, reply)


def reply(version: int, body: bytes = GOOD, status: int = 200, batch: int = 1) -> Reply:
    return Reply(status, wire.JSON, body, version, batch, 0.004)


# Drawing


@given(st.text(min_size=1), st.floats(0.01, 1))
def test_a_keys_first_request_is_a_draw_and_no_other(key: str, weight: float) -> None:
    found = split(traffic(weight=weight))
    first, again = found.draw(key, 0.0), found.draw(key, 0.0)
    assert first is not None
    assert again is not None
    assert first.challenger == again.challenger == is_challengers("x", key, weight)
    assert (first.weight, first.counts) == (weight, True)
    assert math.isnan(again.weight)
    assert not again.counts


def test_requests_without_a_key_are_drawn_one_by_one() -> None:
    found = split(traffic(weight=0.25))
    drawn = [found.draw("", 0.0) for _ in range(4000)]
    assert all(draw is not None and draw.counts for draw in drawn)
    assert 850 < sum(draw is not None and draw.challenger for draw in drawn) < 1150


@pytest.mark.parametrize("mode", ["shadow", GUARD])
def test_of_one_caller_a_share_of_the_requests_is_copied_and_one_in_a_second_counts(
    mode: str,
) -> None:
    found = split(traffic(mode, weight=0.25))
    drawn = [found.draw("caller", n / 100) for n in range(8000)]  # in 80 seconds
    copied = [draw for draw in drawn if draw is not None]
    assert 1780 < len(copied) < 2220  # more than five standard deviations off are none
    assert 75 < sum(draw.counts for draw in copied) <= 80


def test_a_key_counts_once_in_a_second_and_who_has_none_each_time() -> None:
    thinned = Thinned()
    assert [thinned.first(key, at) for key, at in (
        ("a", 0.0), ("a", 0.5), ("b", 0.9), ("", 0.9), ("", 0.9), ("a", 1.0), ("a", 1.1),
    )] == [True, False, True, True, True, True, False]  # fmt: skip


@pytest.mark.parametrize("mode", ["shadow", GUARD])
def test_in_shadow_mode_the_other_version_sees_a_share_and_answers_none(mode: str) -> None:
    tally = Guard(traffic(mode, weight=0.25), None)
    found = split(tally.traffic, tally)
    drawn = [found.draw(str(n), 0.0) for n in range(4000)]
    part = [draw for draw in drawn if draw is not None]
    assert 850 < len(part) < 1150
    assert all(draw.copied and not draw.challenger for draw in part)
    assert not tally._order


def test_few_of_a_million_keys_are_taken_for_others() -> None:
    seen = Seen()
    new = sum(seen.first(f"key {n}") for n in range(200_000))
    assert new > 200_000 * 0.98
    assert not any(seen.first(f"key {n}") for n in range(0, 200_000, 100))


# Asking


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (reply(2, status=500), FAILED),
        (reply(2, status=400), FAILED),
        (reply(2, EMPTY), STRANGE),
        (reply(2, b"{no json with a null"), STRANGE),
        (Refused(504, "DEADLINE_EXCEEDED", "late"), BROKE),
    ],
)
def test_what_the_challenger_fails_is_left_to_the_champion(said: Any, fault: str) -> None:
    async def act() -> None:
        found = split(traffic())
        draw, asked = Draw(True, 0.5, 0.0), request()
        if isinstance(said, Refused):
            asked.reply.set_exception(said)
        else:
            asked.reply.set_result(said)
        assert await found.ask(draw, asked) is None
        assert draw.fault == fault

    run(act)


def test_an_answer_that_was_called_back_says_nothing_of_the_challenger() -> None:
    async def act() -> None:
        found = split(traffic())
        draw, asked = Draw(True, 0.5, 0.0), request()
        asked.reply.set_result(reply(1))
        got = await found.ask(draw, asked)
        assert (got and got.version, draw.fault, draw.counts) == (1, "", False)

    run(act)


def test_a_full_line_of_the_challenger_is_its_failure_and_no_wait() -> None:
    async def act() -> None:
        found = split(traffic())
        found.line = Line(Limits(requests=0), Told(lambda *_: None, lambda *_: None))
        draw = Draw(True, 0.5, 0.0)
        assert await found.ask(draw, request()) is None
        assert draw.fault == BROKE

    run(act)


def test_no_more_copies_are_on_their_way_than_may() -> None:
    async def act() -> None:
        found = split(traffic("shadow", 1.0))
        for _ in range(COPIES + 5):
            draw = found.draw("", 0.0)
            if draw is not None:
                found.copy(draw, request(), reply(1), lambda *_: None)
        assert (found.line.waiting, found.dropped) == (COPIES, 5)
        measured = found.draw("", 10.0)  # now and then one is asked all the same, alone
        assert measured is not None
        assert measured.alone
        found.copy(measured, request(), reply(1), lambda *_: None)
        assert (found.line.waiting, found.dropped) == (COPIES + 1, 5)
        found.line.dismiss(line())
        await asyncio.sleep(0)
        assert found.line.waiting == 0

    run(act)


def test_calls_of_their_own_are_rare_while_callers_wait() -> None:
    found = split(traffic("shadow", 1.0))
    busy = [found.draw("", n / 20, calm=False) for n in range(400)]  # in 20 seconds
    assert [n for n, draw in enumerate(busy) if draw and draw.alone] == [0, 200]
    calm = [found.draw("", 20 + n / 20) for n in range(400)]
    assert sum(draw is not None and draw.alone for draw in calm) == 20


def test_a_line_is_calm_while_a_process_has_nothing_to_do() -> None:
    async def act() -> None:
        found = line()
        assert not found.calm
        found.pool = Pool(1)
        assert not found.calm
        found.pool.free.append(None)  # type: ignore[arg-type]
        assert found.calm
        found.put(request())
        assert not found.calm

    run(act)


@pytest.mark.parametrize(
    ("own", "other", "faults"),
    [
        (reply(1), reply(2), ("", "")),
        (reply(1), reply(2, EMPTY), ("", STRANGE)),
        (reply(1), reply(2, status=400), ("", FAILED)),
        (reply(1, status=400), reply(2, status=400), ("", "")),
        (reply(1, status=400), reply(2), (FAILED, "")),
        (None, reply(2), (FAILED, "")),
        (reply(1), Refused(502, "MODEL_PROCESS_ENDED", "ended"), ("", BROKE)),
    ],
)
def test_both_answers_of_a_copied_request_are_judged(
    own: Reply | None, other: Any, faults: tuple[str, str]
) -> None:
    class Tally:
        found: tuple[tuple[str, float], tuple[str, float]] | None = None

        def copied(self, one: tuple[str, float], two: tuple[str, float]) -> None:
            self.found = (one, two)

    async def act() -> None:
        tally, kept = Tally(), []
        found = split(traffic("shadow", 1.0), tally)
        draw = found.draw("k", 0.0)
        assert draw is not None
        draw.fault = FAILED if own is None else fault_of(own)
        found.copy(draw, request(), own, lambda *what: kept.append(what))
        ((queue,)) = list(found.line._waiting.values())
        if isinstance(other, Refused):
            queue[0].reply.set_exception(other)
        else:
            queue[0].reply.set_result(other)
        await asyncio.sleep(0)
        assert tally.found is not None
        assert (tally.found[0][0], tally.found[1][0]) == faults
        assert [fault for _, fault in kept] == [faults[1]]

    run(act)


# What it says


def test_a_joined_call_is_no_measure_of_latency() -> None:
    async def act() -> None:
        found = traffic("shadow", 1.0)
        guard = Guard(found, None)
        shadow = split(found, guard)
        for batch in (1, 3):
            draw = shadow.draw("", 0.0)
            assert draw is not None
            shadow.copy(draw, request(), reply(1, batch=batch), lambda *_: None)
        for queue in list(shadow.line._waiting.values()):
            queue[0].reply.set_result(reply(2))
        await asyncio.sleep(0)
        took = [(own[1], other[1]) for own, other, _ in guard._pairs]
        assert took[0] == pytest.approx((4.0, 4.0))
        assert math.isnan(took[1][0])

    run(act)


def test_after_a_promotion_it_is_the_live_version_that_is_on_trial() -> None:
    async def act() -> None:
        guard = Guard(replace(traffic(GUARD, 1.0), champion=1, challenger=2), None)
        for _ in range(30):
            guard.copied((FAILED, math.nan), ("", math.nan))  # the live one fails
        verdict = await guard.look()
        assert verdict.decision == "abort"
        assert "it was the challenger's at 30" in verdict.reason

    run(act)


def over(guard: Guard, challenger: bool, fault: str = "", took: float = 5.0) -> None:
    """A unit that has its answer."""
    draw = Draw(challenger, 0.5, 0.0, fault=fault)
    draw.milliseconds = took
    guard.drawn(draw)


@pytest.mark.parametrize(("fault", "finding"), [(FAILED, "errors"), (STRANGE, "answers")])
def test_a_canary_that_breaks_after_every_key_was_seen_is_found(fault: str, finding: str) -> None:
    guard = Guard(traffic(), None)
    tried = split(guard.traffic, guard)

    def ask(second: int, broken: bool) -> None:
        for n in range(40):
            draw = tried.draw(f"k{n}", second + n / 50)
            assert draw is not None
            draw.fault = fault if broken and draw.challenger else ""
            draw.milliseconds = 5.0
        guard._fold()

    for second in range(20):
        ask(second, broken=second >= 5)
    assert sum(guard.evidence.units) == 40
    verdict = guard.judge()
    assert [f.name for f in verdict.findings if f.found and f.name != "good_enough"] == [finding]


def test_what_the_champion_fails_too_is_no_fault_of_the_challenger() -> None:
    guard = Guard(traffic(), None)
    for second in range(60):
        for challenger in (True, False):
            draw = Draw(challenger, math.nan, float(second), fault=FAILED * challenger)
            draw.milliseconds, draw.shared = 5.0, True
            guard.drawn(draw)
    guard._fold()
    assert not any(f.found for f in guard.judge().findings)


def test_one_death_that_hits_many_counts_once() -> None:
    """A process of each version dies in turn, with thirty requests; the challenger's is first."""
    guard = Guard(traffic(), None)
    for second in range(60):
        dies = {10: True, 40: False}.get(second)
        for n in range(100):
            draw = Draw(n % 2 == 0, 0.5, float(second))
            draw.fault = BROKE if dies is draw.challenger and n < 60 else ""
            draw.milliseconds = 5.0
            guard.drawn(draw)
        guard._fold()
        assert guard.judge().decision != "abort"
    assert guard.evidence.errors.events == [30, 30]


def test_who_waits_until_a_dead_process_is_back_counts_once() -> None:
    guard = Guard(traffic(), None)
    tried = split(guard.traffic, guard)
    for second in range(60):
        cast(Any, tried.crew).running = int(not 20 <= second < 24)
        for n in range(40):
            draw = tried.draw("", second + n / 50)
            assert draw is not None
            waits = draw.challenger and not tried.crew.running
            assert draw.excused <= waits
            draw.milliseconds = 5000.0 if waits else 5.0
        guard._fold()
        assert guard.judge().decision != "abort"
    assert guard.evidence.slow.events == [0, 1]
    cast(Any, tried.crew).running = 0
    assert [tried.is_away(at) for at in (60.0, 64.0, 66.0)] == [True, True, False]


def test_calls_that_were_measured_tell_of_a_slow_version_without_any_draw() -> None:
    async def act() -> None:
        guard = Guard(traffic(), None)
        tried = split(guard.traffic, guard)
        tried.champions = line()
        for second in range(12):
            draw = next(
                d for n in range(99) if (d := tried.draw(f"k{n}", float(second))) and d.challenger
            )
            assert draw.alone
            asked = request()
            slow = replace(reply(2), seconds=0.4)
            asked.reply.set_result(slow)
            assert await tried.ask(draw, asked) is slow
        measured = [r for queue in tried.champions._waiting.values() for r in queue]
        assert len(measured) == 12
        for one in measured:
            assert one.alone
            one.reply.set_result(reply(1))
        await asyncio.sleep(0)
        verdict = await guard.look()
        assert [f.name for f in verdict.findings if f.found] == ["latency"]

    run(act)


def test_who_waits_for_too_long_counts_as_slow_before_there_is_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each second in which somebody hangs speaks against the version; nobody else asks then."""
    guard, start = Guard(traffic(), None), 1000.0
    clock = iter([start + 4.0 + second for second in range(40)])
    monkeypatch.setattr("serving.guard.time", Clock(clock))
    for _ in range(60):
        over(guard, False)
        over(guard, True)
    hanging = [Draw(True, 0.5, start) for _ in range(8)]
    for draw in hanging:
        guard.drawn(draw)
    guard.is_away = lambda: True  # its process died, and is not back
    for _ in range(16):
        guard._fold()
    assert guard.evidence.units == [60, 68]
    assert not any(f.found for f in guard.evidence.verdict().findings)
    guard.is_away = lambda: False
    for _ in range(16):
        guard._fold()
    assert [f.name for f in guard.evidence.verdict().findings if f.found] == ["latency"]
    for draw in hanging:
        draw.milliseconds, draw.fault = 20_000.0, BROKE
    guard._fold()
    assert guard.evidence.units == [60, 68]  # they are answered, and are no new units
    assert guard.evidence.errors.events == [0, 8]


class Clock:
    """Stands where it is told."""

    def __init__(self, moments: Iterator[float]) -> None:
        self._moments = moments

    def monotonic(self) -> float:
        return next(self._moments)

    time = staticmethod(time.time)


def test_a_slower_arm_is_not_missing_while_it_is_waited_for() -> None:
    """Half a second is not slow by the rule; so there is nothing against the challenger."""

    async def act() -> None:
        guard = Guard(traffic(slower=100, slower_ms=5000), None)
        waiting = []
        for n in range(200):
            if n % 2:
                over(guard, False)
            else:
                waiting.append(Draw(True, 0.5, time.monotonic()))
                guard.drawn(waiting[-1])
        assert (await guard.look()).decision == "wait"
        assert guard.evidence.units == [0, 0]  # the first of them has no answer yet
        for draw in waiting:
            draw.milliseconds = 500.0
        verdict = await guard.look()
        assert guard.evidence.units == [100, 100]
        assert not any(f.found for f in verdict.findings if f.name != "good_enough")

    run(act)


def test_what_was_called_back_is_no_unit_and_holds_nobody_up() -> None:
    async def act() -> None:
        guard = Guard(traffic(), None)
        called = Draw(True, 0.5, 0.0, void=True)
        called.milliseconds = 1.0
        guard.drawn(called)
        over(guard, False)
        await guard.look()
        assert guard.evidence.units == [1, 0]

    run(act)


def test_under_load_some_requests_are_asked_alone_to_be_measured() -> None:
    found = split(traffic("shadow", 1.0))
    draws = [found.draw("", n / 20) for n in range(100)]
    assert sum(draw is not None and draw.alone for draw in draws) == 5  # in five seconds


def at(moment: datetime, **rule: Any) -> Guard:
    return Guard(replace(traffic(**rule), began=moment.isoformat()), None)


def test_clocks_that_jump_end_no_experiment_early() -> None:
    now = datetime.now(UTC)
    assert at(now + timedelta(days=400)).judge().decision == "wait"  # it begins in the future
    assert Guard(replace(traffic(), began="no time at all"), None).judge().decision == "wait"
    # Once begun, the clock on the wall is not asked again.
    guard = at(now - timedelta(days=29), wait_days=30)
    assert guard.judge().decision == "wait"
    # A start with a clock that is wrong ends nothing; one that stays so does.
    late = at(now - timedelta(days=31), wait_days=30)
    assert late.judge().decision == "wait"
    late._up -= 2 * GRACE
    assert late.judge().reason == "no verdict within 30 days; the champion stays"


def labelled(number: int, name: str, label: Any, arm: str = "champion") -> LabelledUnit:
    return LabelledUnit(number, name, 0.0, 1.0, arm, 0.5, "", 1.0, label, None, None)


def test_a_label_that_does_not_fit_keeps_no_right_one_out() -> None:
    guard = Guard(traffic(metric="absolute", scale=1.0), None)
    guard.labels.take([labelled(1, "p", "a text"), labelled(2, "q", 1.0, "challenger")])
    guard.labels.take([labelled(1, "p", "a text")])  # it is read once more
    guard.labels.fold()
    assert guard.labels.counts == {
        "counted": 0,
        "held": 1,
        "unfit": 1,
    }  # of one arm none is known yet
    guard.labels.take([labelled(3, "p", 1.0), labelled(4, "p", 0.0)])
    guard.labels.fold()
    assert guard.labels.counts == {"counted": 2, "held": 0, "unfit": 1}
    assert guard.evidence.losses.means == (0.0, 0.0)


ALL = "what was seen before this gateway's start is lost, for serve.records is off"
TIMES = "how long calls took before this gateway's start is lost"
KNOWN = "what was asked again for keys that were counted before this gateway's start is lost"


@pytest.mark.parametrize(
    ("mode", "kept", "said"),
    [
        ("canary", False, ALL),
        ("shadow", False, ALL),
        ("canary", True, KNOWN),
        ("shadow", True, TIMES),
    ],
)
def test_what_a_restart_has_lost_is_told(mode: str, kept: bool, said: str, tmp_path: Path) -> None:
    began, log = traffic(mode), Log(f"sqlite:///{tmp_path}/p.db") if kept else None
    for later, problem in ((3600.0, said), (-60.0, "")):
        guard = Guard(began, log, time.time() + later)
        assert guard.report(dropped=0, is_open=True, ended=False)["problem"] == problem
        guard.close()


def test_a_rule_that_is_not_understood_is_told_of() -> None:
    guard = Guard(traffic(metric="of a later release"), None)
    assert guard.report(dropped=0, is_open=True, ended=False)["problem"] == (
        "this release does not understand the rule of the experiment; its own holds"
    )
    assert guard.rule.metric == "none"


def test_where_no_log_is_kept_no_labels_can_come() -> None:
    assert Guard(traffic(metric="error"), None).problem == (
        "no labels can come, for serve.records is off"
    )


def test_only_the_guards_that_were_agreed_end_an_experiment() -> None:
    async def act() -> None:
        for guards, decision in ((["errors"], "abort"), (["latency"], "wait")):
            guard = Guard(traffic(guards=guards), None)
            for _ in range(40):
                over(guard, False)
                over(guard, True, FAILED)
            assert (await guard.look()).decision == decision

    run(act)


def test_the_key_of_a_request_is_found_in_each_form() -> None:
    for body in (
        b'{"dataframe_split":{"columns":["a","id"],"data":[[1,"k7"],[2,"k8"]]}}',
        b'{"dataframe_records":[{"a":1,"id":"k7"},{"a":2,"id":"k8"}]}',
        b'{"instances":[{"a":1,"id":"k7"}]}',
        b'{"inputs":{"a":[1],"id":["k7"]}}',
    ):
        rows = wire.read(body)
        assert rows is not None
        assert (wire.key(rows, "id"), wire.key(rows, "none")) == ("k7", "")
        assert wire.key(rows, "a") == "1"
    arrays = wire.read(b'{"instances":[[1,2],[3,4]]}')
    assert arrays is not None
    assert wire.key(arrays, "id") == ""


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (b"a,id\n1,k7\n2,k8\n", "text/csv; charset=utf-8", "k7"),
        (b"a,id\n1\n", "text/csv", ""),
        (b"a,id\n", "text/csv", ""),
        (b'{"dataframe_records":[{"id":7}],"params":{}}', wire.JSON, "7"),
        (b'{"inputs":[1]}', wire.JSON, ""),
        (b"[", wire.JSON, ""),
        (b"PAR1", "application/vnd.apache.parquet", ""),
    ],
)
def test_the_key_of_a_request_that_goes_alone(body: bytes, kind: str, found: str) -> None:
    assert unpack.key(body, kind, "id") == found


@pytest.mark.parametrize(
    ("body", "strange"),
    [
        (GOOD, False), (EMPTY, True), (b'{"predictions":[NaN]}', True),
        (b'{"predictions":[{"p":-Infinity}]}', True), (b'{"predictions":["null and NaN"]}', False),
        (b'{"predictions":["n', False),
    ],
)  # fmt: skip
def test_answers_without_a_number_are_noticed(body: bytes, strange: bool) -> None:
    assert wire.strange(body) == strange
