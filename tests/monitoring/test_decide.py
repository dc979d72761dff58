"""What windows call for: nothing, an alert, a retraining or a rollback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.decide import Act, Decision, Situation, decide
from monitoring.findings import Finding, Judged
from monitoring.sections import MonitorParams

POLICY = MonitorParams(retrain="staging", rollback=True)
NOW = Situation(version=2, former=1)


def finding(kind: str, column: str = "", *, found: bool = True, broken: bool = False) -> Finding:
    return Finding(kind, column, "m", 1.0, 0.5, found, broken, f"{kind} {column}".strip())


def window(number: int, *found: Finding, version: int = 2, problem: str = "") -> Judged:
    return Judged("m", number, number, number + 1, 1000, version, found, problem=problem)


def judged(*runs: Any, version: int = 2, start: int = 1) -> list[Judged]:
    """A window for each tuple of findings."""
    return [window(start + n, *found, version=version) for n, found in enumerate(runs)]


BAD = finding("performance")
GOOD = finding("performance", found=False)
DRIFT = finding("drift", "temp")
CALM = finding("drift", "temp", found=False)


def ask(windows: list[Judged], acts: Any = (), policy: MonitorParams = POLICY, **now: Any) -> Any:
    return decide(windows, policy, acts, replace(NOW, **now))


def test_nothing_where_nothing_is_found() -> None:
    assert ask([]) == Decision("nothing")
    assert ask(judged((CALM,), (CALM, GOOD))).action == "nothing"


def test_one_window_is_not_enough_and_the_newest_must_show_it() -> None:
    assert ask(judged((CALM,), (DRIFT,))).action == "nothing"
    assert ask(judged((DRIFT,), (DRIFT,), (CALM,))).action == "nothing"
    assert ask(judged((DRIFT,), (CALM,), (CALM,), (CALM,), (DRIFT,))).action == "alert"
    assert ask(judged((DRIFT,), *[(CALM,)] * 4, (DRIFT,))).action == "nothing"  # six windows ago


def test_two_features_once_each_are_not_one_twice() -> None:
    assert ask(judged((finding("drift", "a"),), (finding("drift", "b"),))).action == "nothing"


def test_what_looks_broken_in_any_window_that_is_new_is_told_of() -> None:
    unit = finding("jump", "temp", broken=True)
    windows = judged((CALM,), (unit,), (CALM,), (CALM,))
    assert ask(windows).action == "nothing"  # the others were decided about before
    found = decide(windows, POLICY, (), NOW, 3)
    assert (found.action, found.about, found.window) == ("alert", ("jump:temp",), 4)
    assert found.reasons == ("window 2: jump temp",)
    again = decide(judged((unit,), (unit,)), POLICY, (), NOW, 2)
    assert again.reasons == ("jump temp",)
    known = [Act("alert", 4, ("jump:temp",), 2, "done")]
    assert decide([*windows, window(5, unit)], POLICY, known, NOW).action == "nothing"


def test_what_looks_broken_is_told_of_at_once_and_never_learnt() -> None:
    unit = finding("jump", "temp", broken=True)
    found = ask(judged((BAD,), (BAD, unit)), former=None)
    assert found.action == "alert"
    assert "jump:temp" in found.about
    assert any("broken" in why for why in found.held)
    assert ask(judged((BAD,), (BAD,)), former=None).action == "retrain"


def test_labels_that_look_broken_hold_a_retraining_though_newer_windows_have_none() -> None:
    flipped = finding("labels", broken=True)
    windows = judged((BAD,), (BAD, flipped), (CALM,), (CALM,))
    found = ask(windows, former=None)
    assert found.action == "alert"
    assert "labels" in found.about


def test_performance_is_that_of_the_newest_windows_with_labels() -> None:
    windows = judged((BAD,), (BAD,), (CALM,), (CALM,), (CALM,), (CALM,), (CALM,))
    assert ask(windows, former=None).action == "retrain"


@pytest.mark.parametrize("kind", ["performance", "estimate", "score", "drift"])
def test_what_calls_for_a_retraining_is_asked_for(kind: str) -> None:
    windows = judged((finding(kind),), (finding(kind),))
    for wanted in (True, False):
        policy = MonitorParams(retrain="staging", retrain_on=(kind,) if wanted else ())
        assert ask(windows, policy=policy).action == ("retrain" if wanted else "alert")


def test_off_is_off_and_says_so() -> None:
    found = ask(judged((BAD,), (BAD,)), policy=MonitorParams())
    assert found.action == "alert"
    assert "no retraining: monitor.retrain is off" in found.held


def test_a_version_that_is_worse_from_its_start_goes_back() -> None:
    before = judged((GOOD,), (GOOD,), version=1)
    after = judged((BAD,), (BAD,), start=3)
    assert ask([*before, *after]).action == "rollback"
    off = ask([*before, *after], policy=MonitorParams(retrain="staging"))
    assert off.action == "retrain"
    assert "no rollback: monitor.rollback is off" in off.held


def test_one_that_was_good_for_long_is_retrained_and_not_taken_back() -> None:
    before = judged((GOOD,), (GOOD,), version=1)
    after = judged(*[(GOOD,)] * 9, (BAD,), (BAD,), start=3)
    assert ask([*before, *after]).action == "retrain"


def test_to_a_version_that_was_as_bad_there_is_no_way_back() -> None:
    before = judged((GOOD,), (BAD,), version=1)
    after = judged((BAD,), (BAD,), start=3)
    assert ask([*before, *after]).action == "retrain"
    assert ask(judged((BAD,), (BAD,)), former=None).action == "retrain"


def test_windows_of_another_version_do_not_count() -> None:
    windows = [*judged((DRIFT,), version=1), *judged((DRIFT,), start=2)]
    assert ask(windows).action == "nothing"


@pytest.mark.parametrize("state", ["done", "failed", "refused"])
def test_after_a_retraining_there_is_a_cool_down_whatever_came_of_it(state: str) -> None:
    acts = [Act("retrain", 2, ("performance",), 2, state)]
    windows = judged(*[(BAD,)] * 6)
    held = ask(windows, acts, former=None)
    assert held.action == "nothing"
    assert any("monitor.cool_down is 5" in why for why in held.held)
    assert ask(judged(*[(BAD,)] * 7), acts, former=None).action == "retrain"


def test_one_that_waits_for_data_is_asked_for_again() -> None:
    acts = [Act("retrain", 2, ("performance",), 2, "waiting")]
    assert ask(judged((BAD,), (BAD,)), acts, former=None).action == "retrain"


def test_the_same_is_told_once_in_a_cool_down_and_something_new_at_once() -> None:
    windows = judged((DRIFT,), (DRIFT,), (DRIFT,))
    acts = [Act("alert", 2, ("drift:temp",), 2, "done")]
    again = ask(windows, acts)
    assert again.action == "nothing"
    assert "this was told of in one of the last windows" in again.held
    more = finding("missing", "humid", broken=True)
    assert ask([*windows, window(4, DRIFT, more)], acts).action == "alert"
    assert ask(judged(*[(DRIFT,)] * 7), acts).action == "alert"


def test_nothing_is_retrained_while_a_challenger_is_tried() -> None:
    found = ask(judged((BAD,), (BAD,)), former=None, challenger=3)
    assert found.action == "alert"
    assert "no retraining: v3 is being tried on traffic" in found.held


def test_a_mute_holds_everything() -> None:
    found = ask(judged((BAD,), (BAD,)), muted="by ana until noon")
    assert found.action == "nothing"
    assert found.held == ("muted by ana until noon",)
    assert found.reasons


def test_a_window_that_could_not_be_judged_is_told_of() -> None:
    found = ask([window(1, problem="v2 keeps no reference")])
    assert (found.action, found.reasons) == ("alert", ("v2 keeps no reference",))


KINDS = st.sampled_from(["drift", "score", "estimate", "performance", "labels", "jump"])
FINDINGS = st.builds(
    lambda kind, found, broken: finding(kind, found=found, broken=broken or kind == "labels"),
    KINDS, st.booleans(), st.booleans(),
)  # fmt: skip
WINDOWS = st.lists(st.lists(FINDINGS, max_size=4, unique_by=lambda f: f.name), max_size=12)


@given(WINDOWS, st.integers(0, 10), st.integers(1, 5))
def test_whatever_the_windows_are(runs: Any, cool: int, least: int) -> None:
    """What is done twice is done once; without findings nothing; broken is never a remedy."""
    policy = MonitorParams(retrain="staging", rollback=True, cool_down=cool, at_least=least)
    windows = judged(*map(tuple, runs))
    found = ask(windows, policy=policy)
    if not windows or not any(f.found for w in windows for f in w.findings):
        assert found.action == "nothing"
    if windows and windows[-1].broken:
        assert found.action == "alert"
    if found.action in ("retrain", "rollback", "alert"):
        assert found.reasons
        done = Act(found.action, found.window, found.about, 2, "done")
        again = ask(windows, [done], policy=policy)
        if cool or found.action == "alert":
            assert again.action == "nothing"
