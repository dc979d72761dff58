"""A jump is a fault only where it is larger than what jumps anyway."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitoring import habit
from monitoring.findings import Finding, Judged


def jump(effect: float, column: str = "day", kind: str = "jump") -> Finding:
    return Finding(kind, column, "w", effect, 1.5, effect >= 1.5, True, f"{column} jumps")


def windows(*effects: float) -> list[Judged]:
    return [Judged("m", n, n, n + 1, 1000, 1, (jump(e),)) for n, e in enumerate(effects)]


def test_the_day_of_the_week_jumps_every_sunday_night() -> None:
    sundays = [3.0, 0.5, 0.5, 3.2, 0.5, 0.5, 2.9]
    known = habit.usual(windows(*sundays), {}, 1000)
    (found,) = habit.tamed([jump(3.0)], known)
    assert not found.found
    assert found.sentence == "day jumps; it has jumped by 2.9 before"
    (larger,) = habit.tamed([jump(4.6)], known)
    assert larger.found


def test_the_same_fault_a_second_time_is_one_too() -> None:
    for told in ([3.0], [3.0, 3.0]):
        known = habit.usual(windows(0.5, *told), {}, 1000)
        (found,) = habit.tamed([jump(3.0)], known)
        assert (known, found.found, found.broken) == ({"jump:day": 0.5}, True, True)


def test_what_often_has_no_value_does_not_look_broken_without_one() -> None:
    gone = Finding("gone", "gust", "share", 1.0, 1.0, True, True, "gust is gone")
    missing = Finding("missing", "pressure", "share", 0.5, 0.05, True, True, "much is missing")
    known = {"gone:gust": 1.0, "missing:pressure": 0.4}
    one, other = habit.tamed([gone, missing], known)
    assert (one.found, one.broken, one.sentence) == (
        False, False, "gust is gone; it has been missing by 1 before",
    )  # fmt: skip
    assert (other.found, other.broken) == (True, False)
    assert habit.tamed([gone, missing], {"missing:pressure": 0.3}) == (gone, missing)


def test_a_column_without_a_habit_is_as_it_was() -> None:
    found = [jump(2.0, "temp"), jump(0.1, "day"), jump(5.0, "temp", "drift")]
    assert list(habit.tamed(found, {"jump:day": 3.0, "drift:temp": 9.0})) == found


def test_what_is_long_ago_is_forgotten() -> None:
    assert habit.usual(windows(1.0, *[0.1] * habit.LAST), {}, 1000) == {"jump:day": 0.1}


def test_held_out_blocks_speak_for_windows_of_about_their_size() -> None:
    held_out = {200: {"jump:day": 3.0}, 800: {"jump:day": 2.0}}
    assert habit.usual([], held_out, 1000) == {"jump:day": 2.0}
    assert habit.usual([], held_out, 300) == {"jump:day": 3.0}
    assert habit.usual([], held_out, 100) == {}
    assert habit.usual([], held_out, 5000) == {}
    assert habit.usual(windows(*[4.0] * 3), held_out, 1000) == {"jump:day": 4.0}


@given(st.integers(0, 100_000))
def test_every_size_has_enough_blocks(rows: int) -> None:
    assert all(rows // size >= habit.BLOCKS for size in habit.sizes(rows))
    assert bool(habit.sizes(rows)) == (rows >= habit.BLOCKS * habit.SMALLEST)
