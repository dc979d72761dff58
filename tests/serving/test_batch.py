"""Batching: everybody gets the answer to his own rows, whatever a process does in between."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import wire
from serving.batch import Limits, Line, Pool, Refused, Reply, Request, Told
from serving.client import Answer, Broken
from serving.served import Frozen, Served


def body(*numbers: int, do: str = "echo") -> bytes:
    data = [[n, do] for n in numbers]
    return orjson.dumps({"dataframe_split": {"columns": ["id", "do"], "data": data}})


def echo(sent: bytes) -> Answer:
    """What a scoring server says that gives each row's id back, and refuses bad rows."""
    rows = orjson.loads(sent)["dataframe_split"]["data"]
    if any(do == "bad" for _, do in rows):
        return Answer(400, wire.JSON, b'{"error_code": "BAD_REQUEST"}')
    return Answer(200, wire.JSON, orjson.dumps({"predictions": [n for n, _ in rows]}))


@dataclass(eq=False)
class Puppet:
    """Stands where a process stands; what it does is drawn for every call."""

    mood: Callable[[], str] = lambda: "echo"
    calls: list[int] = field(default_factory=list)

    async def ask(self, sent: bytes, content_type: str, seconds: float) -> Answer:
        del content_type
        self.calls.append(len(orjson.loads(sent)["dataframe_split"]["data"]))
        await asyncio.sleep(0)
        mood = self.mood()
        rows = orjson.loads(sent)["dataframe_split"]["data"]
        if any(do == "poison" for _, do in rows) or mood == "break":
            raise Broken("it closed the connection")
        if mood == "freeze":
            raise Frozen
        if mood == "html":
            return Answer(200, "text/html", b"<html>")
        if mood == "few":
            return Answer(200, wire.JSON, b'{"predictions": []}')
        if mood == "late":
            await asyncio.sleep(min(seconds, 0.05))
        return echo(sent)


class Hanging(Puppet):
    """One that takes a request and keeps it."""

    async def ask(self, sent: bytes, content_type: str, seconds: float) -> Answer:
        await asyncio.sleep(60)
        return await super().ask(sent, content_type, seconds)


class Bench:
    """A line whose broken processes are replaced at once."""

    def __init__(self, mood: Callable[[], str], processes: int = 1, **limits: int) -> None:
        self.broken = 0
        self.line = Line(Limits(**limits), Told(lambda *_: None, self._replace))
        self.mood = mood
        self.pool = Pool(1)
        self.puppets = [Puppet(mood) for _ in range(processes)]
        self.line.flip(self.pool)
        for puppet in self.puppets:
            self.line.offer(self.pool, cast(Served, puppet))

    def _replace(self, served: Served, why: str) -> None:
        del served, why
        self.broken += 1
        self.line.offer(self.pool, cast(Served, Puppet(self.mood)))

    def put(self, sent: bytes, seconds: float = 5, gone: Any = lambda: False) -> Request:
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        request = Request(sent, wire.JSON, wire.read(sent), time.monotonic() + seconds, reply, gone)
        self.line.put(request)
        return request


async def outcome(request: Request) -> Any:
    try:
        reply = await asyncio.wait_for(request.reply, 10)
    except Refused as refused:
        return refused.kind
    return orjson.loads(reply.body)["predictions"] if reply.status == 200 else reply.status


moods = st.sampled_from(["echo", "echo", "echo", "break", "freeze", "html", "few", "late"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=40),
    st.lists(moods, max_size=30),
    st.integers(1, 3),
    st.integers(1, 50),
)
def test_everybody_gets_his_own_rows_or_is_told_why_not(
    asked: list[tuple[int, bool]], drawn: list[str], processes: int, batch_rows: int
) -> None:
    async def play() -> None:
        left = iter(drawn)
        bench = Bench(lambda: next(left, "echo"), processes, batch_rows=batch_rows)
        number, requests = 0, []
        for count, pause in asked:
            mine = list(range(number, number + count))
            number += count
            requests.append((mine, bench.put(body(*mine))))
            if pause:
                await asyncio.sleep(0)
        for mine, request in requests:
            found = await outcome(request)
            assert found in (mine, "BAD_ANSWER", "MODEL_PROCESS_ENDED"), (mine, found)
        assert bench.line.waiting == 0
        if not {"break", "freeze", "html", "few"} & set(drawn):
            assert all([await outcome(r) == mine for mine, r in requests])

    asyncio.run(play())


def test_what_gathers_while_a_call_is_away_goes_as_one() -> None:
    async def play() -> None:
        bench = Bench(lambda: "late")
        requests = [bench.put(body(0))]
        await asyncio.sleep(0.01)
        requests += [bench.put(body(n)) for n in range(1, 30)]
        assert [await outcome(r) for r in requests] == [[n] for n in range(30)]
        assert bench.puppets[0].calls == [1, 29]

    asyncio.run(play())


@pytest.mark.parametrize(("do", "found"), [("bad", 400), ("poison", "MODEL_PROCESS_ENDED")])
def test_one_bad_request_among_many_fails_alone(do: str, found: Any) -> None:
    async def play() -> None:
        bench = Bench(lambda: "echo")
        requests = [bench.put(body(n)) for n in range(20)]
        bad = bench.put(body(99, do=do))
        requests += [bench.put(body(n)) for n in range(20, 40)]
        assert await outcome(bad) == found
        assert [await outcome(r) for r in requests] == [[n] for n in range(40)]
        assert bench.broken == (2 if do == "poison" else 0)

    asyncio.run(play())


def test_callers_who_hang_up_disturb_nobody_and_are_not_asked_for() -> None:
    async def play() -> None:
        bench = Bench(lambda: "late")
        first = bench.put(body(0))
        await asyncio.sleep(0.01)
        away = [bench.put(body(n), gone=lambda: True) for n in range(1, 500)]
        stays = bench.put(body(1000))
        assert await outcome(first) == [0]
        assert await outcome(stays) == [1000]
        assert all(r.reply.cancelled() for r in away)
        assert bench.puppets[0].calls == [1, 1]
        assert bench.line.waiting == 0

    asyncio.run(play())


def test_waiting_has_an_end_in_number_bytes_and_time() -> None:
    async def play() -> None:
        bench = Bench(lambda: "echo", requests=3, bytes=10_000)
        bench.line.flip(None)
        waiting = [bench.put(body(n), seconds=0.01) for n in range(2)]
        assert not bench.line.full(10)
        assert bench.line.full(10_000)
        waiting.append(bench.put(body(2), seconds=60))
        assert bench.line.full(10)
        await asyncio.sleep(0.02)
        bench.line.expire(time.monotonic())
        assert [await outcome(r) for r in waiting[:2]] == ["TEMPORARILY_UNAVAILABLE"] * 2
        assert bench.line.waiting == 1
        bench.line.flip(bench.pool)
        assert await outcome(waiting[2]) == [2]

    asyncio.run(play())


def test_a_flip_takes_those_who_wait_along_and_calls_back_what_is_late() -> None:
    async def play() -> None:
        bench = Bench(lambda: "echo")
        old = Pool(7)
        bench.line.flip(old)
        bench.line.offer(old, cast(Served, Hanging()))
        asked = bench.put(body(1))
        await asyncio.sleep(0.01)
        waits = bench.put(body(2))
        assert bench.line.flip(bench.pool) is old
        assert await outcome(waits) == [2]
        await bench.line.drain(old, 0.05)
        reply = await asyncio.wait_for(asked.reply, 5)
        assert (reply.version, orjson.loads(reply.body)) == (1, {"predictions": [1]})

    asyncio.run(play())


def test_a_line_that_ends_hands_over_who_waits_and_who_is_called_back() -> None:
    async def play() -> None:
        challenger, champion = Bench(lambda: "echo", 0), Bench(lambda: "echo")
        challenger.line.offer(challenger.pool, cast(Served, Hanging()))
        asked = [challenger.put(body(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0.01)
        late = challenger.put(body(4, do="wait"))
        challenger.line.hand_over(champion.line)
        assert await outcome(late) == [4]  # at once, whatever its former process does
        assert not any(request.reply.done() for request in asked)
        await champion.line.drain(challenger.pool, 0)
        assert [await outcome(request) for request in asked] == [[1], [2], [3]]
        assert challenger.line.waiting == 0
        # Whoever still knows the former line is answered, and its processes serve the heir.
        champion.line.flip(challenger.pool)
        assert await outcome(challenger.put(body(5))) == [5]

    asyncio.run(play())


def test_a_line_that_is_dismissed_asks_nobody_for_those_who_waited() -> None:
    async def play() -> None:
        unheard, main = Bench(lambda: "echo", 0), Bench(lambda: "echo")
        unheard.line.offer(unheard.pool, cast(Served, Hanging()))
        asked = unheard.put(body(1))
        await asyncio.sleep(0.01)
        waiting = unheard.put(body(2, do="wait"))
        unheard.line.dismiss(main.line)
        assert waiting.reply.cancelled()
        await main.line.drain(unheard.pool, 0)
        await asyncio.sleep(0.01)
        assert asked.reply.cancelled()
        assert main.puppets[0].calls == []
        assert (unheard.line.waiting, main.line.waiting) == (0, 0)

    asyncio.run(play())


def test_what_may_not_be_joined_goes_one_by_one() -> None:
    async def play() -> None:
        bench = Bench(lambda: "echo")
        bench.pool.joins = False
        requests = [bench.put(body(n)) for n in range(10)]
        assert [await outcome(r) for r in requests] == [[n] for n in range(10)]
        assert bench.puppets[0].calls == [1] * 10

    asyncio.run(play())


def test_a_hundred_thousand_mixed_requests_each_get_their_own() -> None:
    async def play() -> None:
        drawn = random.Random(1)  # noqa: S311 - a seeded test
        bench = Bench(lambda: "late" if drawn.random() < 0.01 else "echo", 2, requests=10**6)
        wrong = 0
        for start in range(0, 100_000, 1000):
            sent = [
                (mine, bench.put(body(*mine)))
                for n in range(start, start + 1000)
                for mine in [[n * 10 + i for i in range(drawn.choice((1, 1, 1, 3)))]]
            ]
            for mine, request in sent:
                reply = await asyncio.wait_for(request.reply, 30)
                wrong += orjson.loads(reply.body)["predictions"] != mine
        assert wrong == 0

    asyncio.run(play())
