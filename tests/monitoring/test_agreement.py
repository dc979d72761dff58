"""Answers and outcomes that go together, and against each other."""

from __future__ import annotations

import re
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from monitoring import agreement, look
from monitoring.baseline import Baseline
from monitoring.findings import Judged, judged
from monitoring.profile import Reference
from monitoring.sections import MonitorParams
from registry.record import Record
from tests.monitoring.rows import NUMBER, THREE, TWO, named, two

POLICY = MonitorParams()


@settings(max_examples=60)
@given(st.sampled_from([TWO, THREE, NUMBER]), st.integers(2, 6), st.integers(0, 10_000))
def test_it_is_the_distance_from_all_pairings_in_standard_deviations(
    about: Record, rows: int, seed: int
) -> None:
    drawn = np.random.default_rng(seed)
    if about is NUMBER:
        found = drawn.integers(0, 4, rows).astype(float)
        truth: Any = drawn.integers(0, 4, rows).astype(float)
        table = np.outer(rankdata(found), rankdata(truth))
    else:
        found = drawn.dirichlet(np.ones(len(about.classes)), rows)
        truth = drawn.choice(np.array(about.classes, dtype=object), rows)
        table = np.array([[row[about.classes.index(t)] for t in truth] for row in found])
    sums = [sum(table[i, j] for i, j in enumerate(way)) for way in permutations(range(rows))]
    spread = float(np.std(sums))
    z = agreement.agreement(about, found, truth)
    if spread < 1e-6:
        assert z == 0
    else:
        assert z == pytest.approx((np.trace(table) - np.mean(sums)) / spread, abs=1e-6)


def late(rows: int, seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Answers of a model with a ROC AUC of about 0.7, and what came."""
    drawn = np.random.default_rng(seed)
    chances = drawn.beta(1.5, 5, rows)
    return two(chances), np.where(drawn.random(rows) < chances, "late", "on_time").tolist()


TURNED = {"late": "on_time", "on_time": "late"}


def window(
    answers: list[Any], labels: list[Any], about: Record = TWO, held_out: tuple[Any, Any] = ((), ())
) -> Judged:
    """As the monitor judges one of these rows."""
    reference = Reference.of(pd.DataFrame({"answer": [0.5] * 50}), ["answer"], [])
    baseline = Baseline(1, about, reference, (), answers=held_out[0], labels=held_out[1])
    sample = look._Sample(rows=[(a, y, 1.0, 0.0, ()) for a, y in zip(answers, labels, strict=True)])
    sample.seen = len(answers)
    seen = look.Seen(len(answers), None, {1: sample}, 0, 0)  # type: ignore[arg-type]
    blank = Judged("m", 1, 0.0, 1.0, len(answers), 1)
    found = look.measured(blank, seen, baseline, POLICY, ())
    # What is kept and read again is judged in the same way.
    return judged(look.with_outcomes(judged(found.as_dict()), baseline, [], POLICY).as_dict())


def told(found: Judged) -> list[str]:
    return [f.sentence for f in found.found if f.kind == "reversed"]


HELD_OUT = tuple(map(tuple, late(4000, 1)))


@pytest.mark.parametrize("day", range(6))
def test_labels_that_are_reversed_for_two_days_of_a_week_are_told_of(day: int) -> None:
    answers, labels = late(6500, 2)
    for row in range(day * 900, day * 900 + 1800):
        labels[row] = TURNED[labels[row]]
    (sentence,) = told(window(answers, labels, held_out=HELD_OUT))
    assert " labelled rows, answers of v1 and outcomes go against each other, as if " in sentence
    assert re.match(r"in part \d of [48] of the window, on ", sentence)


def test_a_short_window_is_one_part() -> None:
    answers, labels = late(700, 3)
    (sentence,) = told(window(answers, [TURNED[y] for y in labels], held_out=HELD_OUT))
    assert sentence.startswith("on 700 labelled rows, answers of v1 and outcomes go against each")


def test_what_goes_together_or_says_nothing_is_not_told_of() -> None:
    answers, labels = late(6500, 4)
    (finding,) = (
        f for f in window(answers, labels, held_out=HELD_OUT).findings if f.kind == "reversed"
    )
    assert not finding.found
    assert " go together (z +" in finding.sentence
    drawn = np.random.default_rng(5)
    mixed = drawn.permutation(labels).tolist()
    (finding,) = (
        f for f in window(answers, mixed, held_out=HELD_OUT).findings if f.kind == "reversed"
    )
    assert not finding.found
    assert " go neither together nor against each other (z " in finding.sentence


def test_nothing_is_said_without_enough_labels_or_of_a_model_that_knows_nothing() -> None:
    answers, labels = late(6500, 6)
    few = [*labels[:150], *[None] * 6350]
    turned = [TURNED[y] for y in labels]
    useless = (HELD_OUT[0], tuple(np.random.default_rng(7).permutation(HELD_OUT[1]).tolist()))
    for found in (
        window(answers, few, held_out=HELD_OUT),
        window(answers, turned),
        window(answers, turned, held_out=useless),
        window(two(np.full(6500, 0.3)), turned, held_out=(tuple(two(np.full(9, 0.3))), labels[:9])),
    ):
        assert [f for f in found.findings if f.kind == "reversed"] == []


def test_a_model_that_always_says_the_same_goes_neither_way() -> None:
    _, labels = late(6500, 8)
    found = window(two(np.full(6500, 0.3)), labels, held_out=HELD_OUT)
    (finding,) = (f for f in found.findings if f.kind == "reversed")
    assert (finding.effect, finding.found) == (0, False)


def test_numbers_and_several_classes() -> None:
    drawn = np.random.default_rng(9)
    truth = drawn.normal(size=3000)
    guess = (truth + drawn.normal(size=3000)).tolist()
    held = (tuple(guess[:900]), tuple(truth[:900].tolist()))
    assert told(window(guess, truth.tolist(), NUMBER, held)) == []
    assert len(told(window(guess, (-truth).tolist(), NUMBER, held))) == 1

    chances = drawn.dirichlet((2, 2, 2), 3000)
    classes = np.array(THREE.classes)
    labels = [str(drawn.choice(classes, p=p)) for p in chances]
    worst = [str(classes[int(p.argmin())]) for p in chances]
    answers = named(THREE, chances)
    held_out = (tuple(answers[:900]), tuple(labels[:900]))
    assert told(window(answers, labels, THREE, held_out)) == []
    assert len(told(window(answers, worst, THREE, held_out))) == 1
