"""What a version must show before it goes live, and what the former one shows again and again.

Its own example, then recent requests of callers: it answers each, in the form that callers read
today, with values, and fast enough.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from registry.finite import finite
from serving import wire
from serving.crew import Crew
from serving.served import NotStarted

FEW = 5
"""Recent requests in one rehearsal."""
MANY = 50
"""Recent requests before a version goes live."""


ENOUGH = 3.0
"""Seconds after which a few requests are enough."""


class Failed(Exception):
    """A version did not answer as it must; the text says how."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A request of a caller, and what was answered."""

    body: bytes
    content_type: str
    answer: bytes


@dataclass(frozen=True)
class Heard:
    """What came of it: how many requests, the median time, and the share of equal answers."""

    requests: int
    milliseconds: float
    equal: float | None
    """None where there was nothing to compare with."""


async def audition(
    crew: Crew, samples: Sequence[Sample], live: Crew | None, slow_ms: float
) -> Heard:
    """Everything that must hold before `crew` goes live. Raises Failed, NotStarted."""
    await _learn(crew)
    form = await _form_of(live, crew) if live else None
    if form is None and samples:  # the live version has no moment for it
        form = wire.shape(wire.predictions(samples[-1].answer))
    own = await _answer(crew, crew.artifact.example, wire.JSON)
    if form is not None and wire.shape(own) != form:
        raise Failed("its answers have another form than those of the live version")
    return await rehearse(crew, samples[-MANY:], slow_ms)


async def rehearse(crew: Crew, samples: Sequence[Sample], slow_ms: float) -> Heard:
    """Recent requests, or its example where there are none. Raises Failed, NotStarted."""
    asked = samples or [Sample(crew.artifact.example, wire.JSON, b"")]
    took: list[float] = []
    equal = compared = 0
    end = time.monotonic() + ENOUGH
    for sample in asked:
        if len(took) >= FEW and time.monotonic() > end:
            break
        start = time.perf_counter()
        found = await _answer(crew, sample.body, sample.content_type)
        took.append((time.perf_counter() - start) * 1000)
        if sample.answer:
            before = wire.predictions(sample.answer)
            _require_like(before, found)
            compared += 1
            equal += wire.close(before, found)
    median = statistics.median(took)
    if median > slow_ms:
        raise Failed(f"it takes {median:.0f} ms to answer, and {slow_ms:g} ms are allowed")
    return Heard(len(took), median, equal / compared if compared else None)


def _require_like(before: object, found: object) -> None:
    if isinstance(before, list) and isinstance(found, list) and len(before) != len(found):
        raise Failed(f"it gave {len(found)} answers where the live version gave {len(before)}")
    if not finite(before):
        return
    if not finite(found):
        raise Failed("it answered what is missing or no finite number to a recent request")
    if wire.shape(before) != wire.shape(found):
        raise Failed("its answers have another form than those of the live version")


async def _answer(crew: Crew, body: bytes, content_type: str) -> object:
    """What it predicts. Raises Failed, NotStarted."""
    answer = await crew.ask(body, content_type)
    if answer.status != 200:
        raise Failed(f"it answered {answer.status} to a request that was answered before")
    try:
        return wire.predictions(answer.body)
    except ValueError:
        raise Failed("its answer is not JSON") from None


async def _form_of(live: Crew, crew: Crew) -> object:
    """How the live version answers the example of a new one; None where it does not."""
    try:
        return wire.shape(await _answer(live, crew.artifact.example, wire.JSON))
    except (Failed, NotStarted):
        return None


def with_nulls(body: bytes) -> bytes:
    """The same with null for what JSON has no number for: MLflow writes NaN into its examples."""
    try:
        return orjson.dumps(json.loads(body, parse_constant=lambda _: None))
    except ValueError:
        return body


async def _learn(crew: Crew) -> None:
    """Whether rows may be joined: each alone is answered as all together. Raises Failed."""
    try:
        rows = wire.read(with_nulls(crew.artifact.example))
    except wire.NotAccepted:
        rows = None
    if rows is None:
        crew.pool.joins = crew.pool.per_row = False
        return
    several = [wire.row(rows, i) for i in range(min(rows.count, FEW))]
    several = several if len(several) > 1 else several * 2
    together = await _answer(crew, wire.join(several), wire.JSON)
    crew.pool.per_row = isinstance(together, list) and len(together) == len(several)
    alone = [await _answer(crew, wire.join([one]), wire.JSON) for one in several]
    crew.pool.joins = crew.pool.per_row and all(
        isinstance(one, list) and len(one) == 1 for one in alone
    )
    if crew.pool.joins:
        firsts = [one[0] for one in alone if isinstance(one, list)]
        crew.pool.joins = wire.close(firsts, together)
