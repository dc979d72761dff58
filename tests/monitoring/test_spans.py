"""Where windows begin and end, on a real log."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.sections import MonitorParams
from monitoring.spans import Span, closed
from serving import record_tables
from serving.records import Log

NOW = 1_800_000_000.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/predictions.db"


def log(url: str, times: list[float]) -> Log:
    engine = record_tables.engine(url)
    record_tables.create(engine)
    rows = [
        {"id": f"p{n}", "time": t, "model": "m", "version": 1, "arm": "", "milliseconds": 1.0,
         "status": 200}
        for n, t in enumerate(times)
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(sa.delete(record_tables.predictions))
        if rows:
            connection.execute(sa.insert(record_tables.predictions), rows)
    engine.dispose()
    return Log(url)


def spans(url: str, times: list[float], last: Span | None = None, **policy: object) -> list[Span]:
    params = MonitorParams.model_validate({"lag": 0, **policy})
    return list(closed(log(url, times), "m", params, last, NOW))


def test_by_time_they_are_numbered_by_their_place_since_1970(url: str) -> None:
    found = spans(url, [NOW - 3 * 3600 + 5], window_hours=1)
    assert [s.number for s in found] == [499997, 499998, 499999]
    assert [s.until for s in found] == [NOW - 7200, NOW - 3600, NOW]
    assert spans(url, [NOW - 7200], found[0], window_hours=1) == found[1:]
    assert spans(url, [NOW - 10], window_hours=24) == []


def test_another_length_goes_on_where_the_last_window_ended(url: str) -> None:
    times = [NOW - 10 * 3600 + 5]
    hours = spans(url, times, window_hours=1)
    longer = spans(url, times, hours[3], window_hours=6)
    assert [s.number for s in longer] == [hours[3].number + 1]
    assert longer[0].since == hours[3].until
    assert longer[0].until % (6 * 3600) == 0
    shorter = spans(url, times, longer[0], window_hours=1)
    assert [s.since for s in shorter[:1]] == [longer[0].until]
    numbers = [s.number for s in (*hours[:4], *longer, *shorter)]
    assert numbers == sorted(set(numbers))
    counted = spans(url, [*times, *(NOW - 60 + n for n in range(50))], longer[0], window_rows=20)
    assert [s.number for s in counted] == [longer[0].number + 1, longer[0].number + 2]


def test_nothing_in_the_log_is_no_window(url: str) -> None:
    assert spans(url, [], window_hours=1) == []
    assert spans(url, [], window_rows=20) == []
    assert spans(url, [NOW - 40 * 86400], window_hours=1) == []  # before back_days


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.integers(1, 400), max_size=200), st.integers(20, 60))
def test_by_count_every_row_is_in_one_window_and_none_is_short(
    url: str, moments: list[int], rows: int
) -> None:
    times = sorted(NOW - 500 + m for m in moments)
    found = spans(url, times, window_rows=rows)
    assert [s.number for s in found] == list(range(1, len(found) + 1))
    held = [[t for t in times if s.since <= t < s.until] for s in found]
    assert all(len(some) >= 1 for some in held)
    for one, some in zip(found, held, strict=True):
        # Rows of one moment stay together: without the last moment it is short of a window.
        assert len(some) >= rows or len(set(some)) == 1 or times.count(one.until) > 1
    for before, after in pairwise(found):
        assert before.until == after.since
    left = [t for t in times if not found or t >= found[-1].until]
    assert sum(map(len, held)) + len(left) == len(times)
    assert spans(url, times, found[-1] if found else None, window_rows=rows) == []
