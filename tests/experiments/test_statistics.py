"""The statistics: exact where that can be enumerated, simulated with a seed where it cannot."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.arms import Difference, is_challengers, place
from experiments.bets import Bets, Blocks, merged
from experiments.draws import MismatchTest, RateTest
from experiments.latency import FIRST, SlowTest
from experiments.means import MeanSequence

units = st.lists(st.floats(0, 1), min_size=1, max_size=60)


# A process that may be looked at whenever one likes: its mean is 1 at most, at any time


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("side", ["above", "below"])
def test_the_mean_of_the_evidence_is_at_most_one_if_there_is_no_difference(
    rate: float, side: str
) -> None:
    """All sequences of nine coins, each with its probability."""
    expected = 0.0
    for coins in itertools.product((0.0, 1.0), repeat=9):
        sequence = MeanSequence()
        sequence.add(coins, 0.0, 1.0)
        heads = sum(coins)
        probability = rate**heads * (1 - rate) ** (9 - heads)
        expected += probability * math.exp(getattr(sequence, side)(rate))
    assert expected <= 1 + 1e-9


@pytest.mark.parametrize("weight", [0.05, 0.5, 0.8])
def test_the_mean_of_a_rate_tests_evidence_is_one_whatever_the_outcomes(weight: float) -> None:
    events = (True, False, False, True, True, False, True, False)
    expected = 0.0
    for arms in itertools.product((True, False), repeat=len(events)):
        test = RateTest()
        for event, arm in zip(events, arms, strict=True):
            test.add([event], [arm], weight)
        theirs = sum(arms)
        expected += weight**theirs * (1 - weight) ** (8 - theirs) * math.exp(test.evidence)
    assert expected == pytest.approx(1)


def test_a_better_challenger_gives_no_evidence_that_it_is_worse() -> None:
    """The champion has an event with 1/2, the challenger with 1/4; six units, enumerated."""
    expected = 0.0
    for draws in itertools.product(itertools.product((True, False), repeat=2), repeat=6):
        test, probability = RateTest(), 1.0
        for arm, event in draws:
            rate = 0.25 if arm else 0.5
            probability *= 0.3 if arm else 0.7
            probability *= rate if event else 1 - rate
            test.add([event], [arm], 0.3)
        expected += probability * math.exp(test.evidence)
    assert expected <= 1


@pytest.mark.parametrize("chance", [0.3, 0.5])
def test_the_mean_of_bets_on_a_coin_is_at_most_one(chance: float) -> None:
    expected = 0.0
    for coins in itertools.product((1.0, -1.0), repeat=9):
        bets = Bets()
        for coin in coins:
            bets.add(coin)
        heads = coins.count(1.0)
        expected += chance**heads * (1 - chance) ** (9 - heads) * math.exp(bets.evidence)
    assert expected <= 1 + 1e-9
    assert (expected == pytest.approx(1)) is (chance == 0.5)


def test_bets_find_what_changes_after_a_long_good_time() -> None:
    bets = Bets()
    for _ in range(300):
        bets.add([1.0, -1.0])
    seen = 0
    while bets.evidence < math.log(200):
        bets.add(1.0)
        seen += 1
    assert seen < 30


def test_bets_on_shares_that_do_not_differ() -> None:
    """One arm has nine times the requests; now and then a second goes wrong in either."""
    wrong = 0
    for seed in range(100):
        drawn, blocks = np.random.default_rng(seed), Blocks()
        for second in range(200):
            arm = drawn.random(40) < 0.1
            bad = drawn.random(40) < 0.05
            if drawn.random() < 0.05:
                bad |= arm == (drawn.random() < 0.5)
            blocks.add([second] * 40, arm, bad)
        wrong += blocks.evidence > math.log(20)
    assert wrong <= 5


def test_a_block_goes_on_until_both_arms_have_a_request_or_one_hangs() -> None:
    blocks = Blocks()
    blocks.add([0.0, 1.0, 2.5], [False] * 3, [False] * 3)
    assert blocks.bets.count == 0
    blocks.add([3.5, 3.6], [True, False], [True, False])
    blocks.tick(3.9)
    assert blocks.bets.count == 0
    blocks.tick(4.0)
    assert blocks.bets.count == 1
    blocks.hang(5.0, challenger=True)
    blocks.add([4.9], [True], [False])  # order is not that exact
    blocks.tick(6.0)
    blocks.tick(7.0)
    assert blocks.bets.count == 2
    blocks.add([6.5e8, 6.5e8], [True, False], [True, False])
    blocks.tick(1.0)  # another clock
    assert blocks.bets.count == 3


def test_the_mean_of_e_values_is_taken() -> None:
    assert merged(0.0, math.log(3)) == pytest.approx(math.log(2))
    assert merged(800.0, 0.0) == pytest.approx(800 - math.log(2))


@pytest.mark.parametrize("weight", [0.05, 0.5])
def test_the_mean_of_the_mismatch_evidence_is_one(weight: float) -> None:
    expected = 0.0
    for arms in itertools.product((True, False), repeat=8):
        test = MismatchTest()
        test.add(arms, weight)
        expected += weight ** sum(arms) * (1 - weight) ** (8 - sum(arms)) * math.exp(test.evidence)
    assert expected == pytest.approx(1)


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_the_difference_of_arms_that_do_not_differ(weight: float) -> None:
    """Outcomes are fixed, arms drawn: six units, enumerated."""
    outcomes = (0.0, 1.0, 0.2, 0.9, 0.0, 0.5)
    for side in ("above", "below"):
        expected = 0.0
        for arms in itertools.product((True, False), repeat=6):
            difference = Difference()
            difference.add(outcomes, arms, weight)
            probability = weight ** sum(arms) * (1 - weight) ** (6 - sum(arms))
            expected += probability * math.exp(getattr(difference.sequence, side)(0.0))
        assert expected <= 1 + 1e-9


# What they find


def test_a_mean_is_enclosed_and_the_interval_shrinks() -> None:
    drawn = np.random.default_rng(0)
    sequence, widths = MeanSequence(), []
    for _ in range(20):
        sequence.add(drawn.beta(2, 6, 500), 0, 1)
        low, high = sequence.interval(0.05)
        assert low < 0.25 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.025


def test_a_difference_is_found_and_its_sign() -> None:
    drawn = np.random.default_rng(1)
    difference = Difference()
    arm = drawn.random(20_000) < 0.3
    difference.add((drawn.random(20_000) < np.where(arm, 0.2, 0.1)).astype(float), arm, 0.3)
    low, high = difference.sequence.interval(0.05)
    assert 0 < low < 0.1 < high
    assert difference.means == pytest.approx((0.1, 0.2), abs=0.015)
    assert difference.sequence.above(0.0) > math.log(1000) > difference.sequence.below(0.0)


def test_weights_that_change_on_the_way() -> None:
    drawn = np.random.default_rng(2)
    weights = np.repeat([0.05, 0.25, 0.5], 8000)
    arm = drawn.random(24_000) < weights
    # The champion's rate drifts; the difference stays.
    base = np.linspace(0.1, 0.4, 24_000)
    difference = Difference()
    difference.add((drawn.random(24_000) < base + 0.05 * arm).astype(float), arm, weights)
    low, high = difference.sequence.interval(0.05)
    assert low < 0.05 < high
    assert low > 0


def test_how_many_more_are_likely_needed() -> None:
    drawn = np.random.default_rng(3)

    def add(sequence: MeanSequence, count: int) -> None:
        sequence.add(drawn.random(count) < 0.55, 0, 1)

    sequence = MeanSequence()
    assert sequence.more(0.5, 0.05, above=True) is None
    add(sequence, 300)
    more = sequence.more(0.5, 0.05, above=True)
    assert more is not None
    assert more > 0
    assert sequence.more(0.5, 0.05, above=False) is None
    for _ in range(200):
        add(sequence, 200)
        if sequence.above(0.5) >= math.log(20):
            break
    assert sequence.more(0.5, 0.05, above=True) == 0
    assert sequence.count < 20 * (300 + more)


def test_slower_answers_are_found_and_a_few_outliers_are_not() -> None:
    drawn = np.random.default_rng(4)
    for shift, found in ((0.0, False), (3.0, False), (200.0, True)):
        test = SlowTest()
        for second in range(40):
            arm = drawn.random(50) < 0.1
            took = drawn.gamma(4, 5, 50) + shift * arm
            took[drawn.integers(50)] = 5000
            test.add(took, arm, second)
        assert (test.evidence > math.log(200)) is found


def test_no_answer_is_slow_before_the_champions_are_known() -> None:
    test = SlowTest()
    test.add([1.0] * (FIRST - 1), [False] * (FIRST - 1), 0.0)
    assert test.limit is None
    test.add([1e9], [True], 0.0)
    assert test.units == [0, 0]
    test.add([1.0], [False], 0.0)
    assert test.limit == 11.0


def test_what_made_many_wait_at_once_counts_once() -> None:
    one, many = SlowTest(), SlowTest()
    for test, stalled in ((one, 1), (many, 50)):
        for second in range(20):
            arm = [False] * 50 + [True] * 50
            took = [1.0] * 50 + ([900.0] * stalled + [1.0] * (50 - stalled)) * (second == 9)
            test.add(took if second == 9 else [1.0] * 100, arm, float(second))
        test.blocks.tick(100.0)
    assert many.events == [0, 50]
    assert one.evidence < many.evidence < math.log(2)


def test_of_two_calls_for_the_same_request_the_longer_one_is_a_coin() -> None:
    test = SlowTest(paired=True)
    drawn = np.random.default_rng(0)
    test.add_pairs(drawn.gamma(3, 9, 2000), drawn.gamma(3, 9, 2000))  # as noisy as the other
    assert test.evidence < math.log(10)
    test.add_pairs([5.0] * 40, [400.0] * 40)
    assert test.evidence > math.log(200)
    assert test.longer[1] >= 40


@pytest.mark.parametrize(("share", "found"), [(0.5, False), (0.56, True), (0.44, True)])
def test_units_that_do_not_go_where_the_weights_say(share: float, found: bool) -> None:
    test = MismatchTest()
    test.add(np.random.default_rng(5).random(10_000) < share, 0.5)
    assert (test.evidence > math.log(1000)) is found
    assert test.expected == 5000


# How they may be fed


@given(units, st.integers(1, 10))
def test_a_batch_is_as_one_by_one(values: list[float], size: int) -> None:
    one, many = MeanSequence(), MeanSequence()
    for value in values:
        one.add([value], 0, 1)
    for at in range(0, len(values), size):
        many.add(values[at : at + size], 0, 1)
    assert many.above(0.5) == pytest.approx(one.above(0.5))
    assert many.interval(0.05) == pytest.approx(one.interval(0.05))


@given(units, st.integers(0, 2**32 - 1), st.integers(1, 10))
def test_a_batch_of_arms_is_as_one_by_one(values: list[float], seed: int, size: int) -> None:
    arms = np.random.default_rng(seed).random(len(values)) < 0.4
    one, many = Difference(), Difference()
    for value, arm in zip(values, arms, strict=True):
        one.add([value], [arm], 0.4)
    for at in range(0, len(values), size):
        many.add(values[at : at + size], arms[at : at + size], 0.4)
    assert many.sequence.above(0) == pytest.approx(one.sequence.above(0))
    assert many.counts == one.counts


def test_units_without_a_draw_say_nothing() -> None:
    difference, rates, mismatch = Difference(), RateTest(), MismatchTest()
    difference.add([1.0, 0.0], [True, False], [1.0, 0.0])
    rates.add([True, False], [True, False], [1.0, 0.0])
    mismatch.add([True, False], [1.0, 0.0])
    assert difference.sequence.count == 0
    assert rates.evidence == pytest.approx(0)
    assert mismatch.evidence == pytest.approx(0)
    for test in (rates, mismatch):
        test.add([], [], 0.5) if isinstance(test, RateTest) else test.add([], 0.5)


@pytest.mark.parametrize("bad", [[2.0], [-0.1], [math.nan], [math.inf]])
def test_what_is_no_outcome(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Difference().add(bad, [True], 0.5)
    with pytest.raises(ValueError, match=r"outside of its limits|must be finite"):
        MeanSequence().add(bad, 0, 1)
    with pytest.raises(ValueError, match="between -1 and 1"):
        Bets().add([20 * bad[0]])


# Who answers whom


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_keys_only_come_as_the_weight_grows(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert not is_challengers("e", key, low) or is_challengers("e", key, high)
    assert not is_challengers("e", key, 0.0)
    assert is_challengers("e", key, 1.0)


@settings(max_examples=20)
@given(st.floats(0.02, 0.98))
def test_shares_are_as_the_weight_and_another_experiment_shuffles(weight: float) -> None:
    keys = [str(n) for n in range(4000)]
    here = [is_challengers("one", k, weight) for k in keys]
    there = [is_challengers("two", k, weight) for k in keys]
    spread = 5 * math.sqrt(weight * (1 - weight) * 4000)
    assert abs(sum(here) - weight * 4000) < spread
    both = sum(a and b for a, b in zip(here, there, strict=True))
    assert abs(both - weight**2 * 4000) < 5 * math.sqrt(weight**2 * (1 - weight**2) * 4000) + 1


def test_places_do_not_change_between_releases() -> None:
    """A gateway of another release gives the same key the same arm."""
    found = [round(place("experiment", key), 6) for key in ("a", "b", "ü")]
    assert found == [0.115024, 0.213534, 0.029775]
