"""Labels of both arms: what is compared is of equal age."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experiments.ages import EqualAge


def play(delays: tuple[float, float], until: float) -> list[int]:
    """A unit in each second, arms in turn; those that count at a moment."""
    ages, found = EqualAge[int](), []
    labelled = sorted((n + delays[n % 2], n) for n in range(200))
    for at, n in labelled:
        if at <= until:
            ages.add(n, challenger=bool(n % 2), drawn=float(n), labelled=at)
            found += ages.ready(at)
    return found + ages.ready(until)


def test_units_of_the_quicker_arm_wait_for_those_of_the_slower() -> None:
    assert play((0.0, 50.0), 50.0) == []
    assert play((0.0, 50.0), 150.0) == list(range(101))
    assert play((0.0, 0.0), 150.0) == list(range(151))


def test_nothing_counts_before_both_arms_have_a_label() -> None:
    ages = EqualAge[str]()
    ages.add("a", challenger=False, drawn=0.0, labelled=1.0)
    assert (ages.delay, ages.ready(1e9), ages.held) == (None, [], 1)
    ages.add("b", challenger=True, drawn=2.0, labelled=1.0)  # its clock is behind
    assert (ages.delay, ages.ready(2.5), ages.held) == (1.0, ["a"], 1)
    assert ages.ready(3.0) == ["b"]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(0, 100)), max_size=40))
def test_each_unit_counts_once_at_most(units: list[tuple[bool, float, float]]) -> None:
    ages, found = EqualAge[int](), []
    for n, (challenger, drawn, delay) in enumerate(units):
        ages.add(n, challenger=challenger, drawn=drawn, labelled=drawn + delay)
        found += ages.ready(drawn + delay)
    found += ages.ready(1000.0)
    arms = {challenger for challenger, *_ in units}
    assert sorted(found) == (list(range(len(units))) if len(arms) == 2 else [])
