"""What is known of a version, and what changed from one to another."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import difference, explain, ledger, plan, projection, promote, register
from registry.errors import IllegalMove, LedgerEmpty, VersionNotEntered, VersionNotFound
from registry.explain import Code, Known
from registry.ledger import Numbered, Replay
from registry.lineage import Between
from registry.promote import Wish
from registry.record import Data, Environment
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import State, state_of
from tests.conftest import Tiny

WISH = Wish("ana", "because")
VERSIONS = (1, 2, 3)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["staging", "production", "rollback", "archive", "approve", "reproduce"]),
        st.sampled_from(VERSIONS),
    ),
    max_size=20,
)


def walked(steps: list[tuple[str, int]]) -> Replay:
    """The ledger of these wishes, those that are not legal left out; all versions registered."""
    state, winners = State(), []
    for kind, version in [*(("register", v) for v in VERSIONS), *steps]:
        try:
            planned = {
                "register": lambda s, v: plan.register(s, "m", v),
                "staging": lambda s, v: plan.promote(s, "m", v, Stage.STAGING),
                "production": lambda s, v: plan.promote(s, "m", v, Stage.PRODUCTION),
                "rollback": lambda s, v: plan.rollback(s, "m", v),
                "archive": lambda s, v: plan.archive(s, "m", v),
                "approve": lambda s, v: plan.approve(s, "m", v, f"b{len(winners)}"),
                "reproduce": lambda s, v: plan.note(s, "m", "reproduce", v),
            }[kind](state, version)
        except IllegalMove:
            continue
        time = f"2026-01-01T00:00:{len(winners):02}+00:00"
        prev = winners[-1].entry.hash if winners else ledger.GENESIS
        entry = planned.entry(prev=prev, actor="ana", reason="", time=time)
        winners.append(Numbered(len(winners) + 1, entry))
        state = state.after(entry)
    return Replay(tuple(winners))


@given(STEPS)
def test_stays_follow_one_another_and_end_where_the_version_is(
    steps: list[tuple[str, int]],
) -> None:
    found = walked(steps)
    for version in VERSIONS:
        stays = explain.stays(found, version)
        assert stays[0].stage is Stage.NONE
        assert stays[-1].stage is state_of(found).stages[version]
        assert stays[-1].end is None
        for stay, after in pairwise(stays):
            assert stay.end == after.begin
            assert stay.stage is not after.stage


@given(STEPS)
def test_at_no_time_two_versions_were_in_production(steps: list[tuple[str, int]]) -> None:
    found = walked(steps)
    spans = [
        range(stay.begin.number, stay.end.number if stay.end else 1000)
        for version in VERSIONS
        for stay in explain.stays(found, version)
        if stay.stage is Stage.PRODUCTION
    ]
    numbers = [n for span in spans for n in span]
    assert len(numbers) == len(set(numbers))


def test_a_version_that_made_room_says_for_whom() -> None:
    found = walked([("production", 1), ("production", 2)])
    last = explain.stays(found, 1)[-1]
    assert (last.stage, last.begin.version, last.begin.kind) == (Stage.ARCHIVED, 2, "promote")
    assert explain.stays(found, 9) == ()


@pytest.fixture
def entered(store: Any, tiny: Tiny, tmp_path: Path) -> Any:
    """A store with v1 in Production, approved and reproduced, and v2 registered after it."""
    params = GateParams(skip=GATES)
    for name in ("good", "better"):
        register.register_run(
            store, "m", tiny.runs[name], wish=WISH, folder=tmp_path / f"enter-{name}"
        )
        if name == "good":
            promote.approve(store, "m", 1, wish=Wish("ben", "looked at it"))
            where = tmp_path / "promote"
            where.mkdir()
            promote.promote(
                store, "m", 1, to=Stage.PRODUCTION, params=params, wish=WISH, folder=where
            )
            facts = {"reproduction": {"verdict": "bit-equal", "sentence": "bit-equal: all"}}
            promote.note(store, "m", 1, kind="reproduce", evidence=facts, wish=WISH)
    return store


def test_what_ledger_and_run_hold_of_a_version(entered: Any, tiny: Tiny) -> None:
    found = explain.known(entered, "m", 1, None)
    assert (found.stage, found.run_id, found.parent) == (Stage.PRODUCTION, tiny.runs["good"], None)
    assert [a.actor for a in found.approvals] == ["ben"]
    assert [s.stage for s in found.stays] == [Stage.NONE, Stage.PRODUCTION]
    assert found.reproductions[0]["verdict"] == "bit-equal"
    assert found.reproductions[0]["actor"] == "ana"
    assert json.loads(json.dumps(found.as_dict()))["stays"][1]["begin"]["reason"] == "because"
    assert explain.known(entered, "m", 2, None).parent == 1


def test_a_run_that_kept_no_origin_is_explained_as_far_as_it_goes(entered: Any) -> None:
    found = explain.known(entered, "m", 1, None)
    assert (found.params, found.data.files, found.environment) == ({}, (), Environment())
    changed = difference.of(entered, "m", 1, 2, None)
    assert not changed.params_kept
    assert not changed.data.listed
    assert changed.data.same_holdout is None
    json.dumps(changed.as_dict())


def test_versions_that_cannot_be_explained(entered: Any, tiny: Tiny) -> None:
    with pytest.raises(VersionNotFound, match="no version 9; it has 1, 2"):
        explain.known(entered, "m", 9, None)
    run = entered.run(tiny.runs["same"])
    number = entered.create_version("m", run.models[0], {})
    with pytest.raises(VersionNotEntered):
        explain.known(entered, "m", number, None)
    entered.create_version("other", run.models[0], {})
    with pytest.raises(LedgerEmpty):
        explain.known(entered, "other", 1, None)


def test_a_version_deleted_from_mlflow_is_known_by_the_ledger(entered: Any, tiny: Tiny) -> None:
    import mlflow

    mlflow.MlflowClient().delete_model_version("m", "2")
    assert explain.known(entered, "m", 2, None).run_id == tiny.runs["better"]
    assert projection.read(entered, "m").about(2, "register") is not None


ONE = Known(
    model="m",
    version=1,
    stage=Stage.NONE,
    run_id="r",
    trained_by="ana",
    code=Code("1" * 40, dirty=False),
    data=Data(
        "data",
        "abc",
        ({"path": "a", "md5": "1"}, {"path": "b", "md5": "2"}),
        ("2013-01", "2013-06"),
        {"train": 10},
        ("x", "y"),
        "h1",
    ),
    params={"train": {"seed": 0, "params": {"depth": 2, "rate": 0.1}}},
    environment=Environment("3.11.7"),
    lock_sha256="l1",
    parent=None,
    metrics={"r2": 0.5},
)
TWO = replace(
    ONE,
    version=2,
    data=Data(
        "data",
        "def",
        ({"path": "b", "md5": "3"}, {"path": "c", "md5": "1"}),
        ("2013-01", "2013-07"),
        {"train": 12, "valid": 1},
        ("y", "z"),
        "h2",
    ),
    params={"train": {"seed": 0, "params": {"depth": 3, "new": None}}},
    lock_sha256="l2",
    metrics={"r2": 0.75, "mae": 1.0},
)


def test_what_changed_from_one_version_to_the_next() -> None:
    locks = ("numpy==2.4\npandas==2.3\n", "numpy==2.5\nscipy==1.17\n")
    found = difference.between(ONE, TWO, Between(known=False), locks)
    data = found.data
    assert (data.added, data.removed, data.changed) == (("c",), ("a",), ("b",))
    assert (data.columns_added, data.columns_removed) == (("z",), ("x",))
    assert data.rows == {"train": (10, 12), "valid": (None, 1)}
    assert data.span == (("2013-01", "2013-06"), ("2013-01", "2013-07"))
    assert (data.listed, data.same_holdout) == (True, False)
    assert found.params == {"train.params.depth": (2, 3), "train.params.rate": (0.1, None)}
    assert found.lock.packages == {
        "numpy": ("2.4", "2.5"), "pandas": ("2.3", None), "scipy": (None, "1.17"),
    }  # fmt: skip
    shown = found.as_dict()["metrics"]
    assert shown["r2"] == {"first": 0.5, "second": 0.75, "difference": 0.25}
    assert shown["mae"]["difference"] is None


def test_a_version_does_not_differ_from_itself() -> None:
    found = difference.between(ONE, ONE, Between(known=True), ("", ""))
    assert (found.params, found.lock.same, found.data.same_holdout) == ({}, True, True)
    assert (found.data.added, found.data.removed, found.data.changed) == ((), (), ())


PARAMS = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(PARAMS, PARAMS)
def test_the_difference_of_parameters_turns_round(one: Any, other: Any) -> None:
    found = difference.params(one, other)
    assert {n: (b, a) for n, (a, b) in found.items()} == difference.params(other, one)
    assert difference.params(one, one) == {}
