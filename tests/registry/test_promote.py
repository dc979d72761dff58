"""Promotion, rollback and archive against a real MLflow store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry import projection, promote, register
from registry.errors import GateRefused, NoFormerVersion, Unfinished
from registry.promote import Outcome, Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import state_of
from tests.conftest import Tiny

WISH = Wish("ana", "because")
OFF = ("lineage", "serves", "latency")
"""A tiny model has no clean commit, and a server takes seconds; test_judge is about them."""


def enter(store: Any, tiny: Tiny, name: str, folder: Path) -> int:
    where = folder / f"enter-{name}"
    where.mkdir()
    return register.register_run(store, "m", tiny.runs[name], wish=WISH, folder=where).version


def to_production(
    store: Any, version: int, folder: Path, params: GateParams | None = None, wish: Wish = WISH
) -> Outcome:
    where = folder / f"promote-{version}-{len(list(folder.iterdir()))}"
    where.mkdir()
    return promote.promote(
        store,
        "m",
        version,
        to=Stage.PRODUCTION,
        params=params or GateParams(skip=OFF),
        wish=wish,
        folder=where,
    )


def live(store: Any) -> tuple[int | None, list[int], dict[str, int]]:
    """The ledger's Production version, all that MLflow shows in Production, and the aliases."""
    state, shown = state_of(projection.read(store, "m")), store.shown("m")
    in_production = [n for n, v in shown.versions.items() if v.stage is Stage.PRODUCTION]
    return state.production, in_production, shown.aliases


def test_promote_twice_then_back_twice(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    for name in ("good", "same", "better"):
        version = enter(store, tiny, name, tmp_path)
        assert to_production(store, version, tmp_path).number is not None
        assert live(store) == (version, [version], {"production": version})
    for former in (2, 1):
        promote.rollback(store, "m", to=None, wish=WISH)
        assert live(store) == (former, [former], {"production": former})
    with pytest.raises(NoFormerVersion, match="no former Production version"):
        promote.rollback(store, "m", to=None, wish=WISH)
    assert live(store)[0] == 1


def test_a_worse_version_is_refused_with_both_numbers_and_nothing_changes(
    store: Any, tiny: Tiny, tmp_path: Path
) -> None:
    first, second = (enter(store, tiny, name, tmp_path) for name in ("better", "worse"))
    to_production(store, first, tmp_path)
    before = store.entries("m")
    with pytest.raises(GateRefused) as refused:
        to_production(store, second, tmp_path, GateParams(floor=0.1, margin=0.01, skip=OFF))
    (sentence,) = refused.value.failures
    assert sentence.startswith("gate not_worse: roc_auc 0.")
    assert " against 0." in sentence
    assert " of Production v1 on the same 400 rows: improvement -0." in sentence
    assert sentence.endswith("whose lower end is below -0.0100 (margin 0.01)")
    assert store.entries("m") == before
    assert live(store)[:2] == (first, [first])


def test_a_model_below_the_floor_is_refused(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    version = enter(store, tiny, "good", tmp_path)
    with pytest.raises(GateRefused, match=r"gate floor: roc_auc 0\.\d+ is below the limit 0\.9900"):
        to_production(store, version, tmp_path, GateParams(floor=0.99, skip=OFF))
    assert live(store)[:2] == (None, [])


def test_an_artifact_that_does_not_load_is_refused(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    version = enter(store, tiny, "broken", tmp_path)
    with pytest.raises(GateRefused, match="gate loads: the artifact does not load"):
        to_production(store, version, tmp_path)


def test_a_dry_run_judges_and_changes_nothing(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    version = enter(store, tiny, "good", tmp_path)
    before, reports = store.entries("m"), store.kept(tiny.runs["good"], "gate")
    outcome = to_production(store, version, tmp_path, wish=Wish("ana", dry_run=True))
    assert outcome.number is None
    assert outcome.verdict.passed
    assert [c.name for c in outcome.verdict.checks] == list(GATES)
    assert outcome.page.startswith("<!doctype html>")
    assert store.kept(tiny.runs["good"], "gate") == reports
    assert store.entries("m") == before


def test_the_same_run_is_registered_once(store: Any, tiny: Tiny, tmp_path: Path) -> None:
    assert enter(store, tiny, "good", tmp_path) == 1
    again = tmp_path / "again"
    again.mkdir()
    found = register.register_run(store, "m", tiny.runs["good"], wish=WISH, folder=again)
    assert (found.version, found.new) == (1, False)
    assert len(store.entries("m")) == 1


def test_a_registration_that_died_before_its_entry_is_finished(
    store: Any, tiny: Tiny, tmp_path: Path
) -> None:
    run = store.run(tiny.runs["good"])
    store.create_version("m", run.models[0], {})
    assert enter(store, tiny, "good", tmp_path) == 1
    assert len(store.entries("m")) == 1
    assert len(store.shown("m").versions) == 1


def test_a_crash_between_append_and_projection_is_finished_by_the_next_reader(
    store: Any, tiny: Tiny, tmp_path: Path
) -> None:
    version = enter(store, tiny, "good", tmp_path)
    found, shown = projection.read(store, "m"), store.shown("m")
    from registry import ledger, plan

    entry = plan.promote(state_of(found), "m", version, Stage.PRODUCTION).entry(
        prev=found.head, actor="ana", reason="", time="2026-01-01T00:00:00+00:00"
    )
    store.append("m", shown.versions[version], ledger.render(entry), entry.sentence)
    assert live(store) == (version, [], {})
    projection.catch_up(store, "m")
    assert live(store) == (version, [version], {"production": version})


@pytest.mark.parametrize(
    ("step", "says", "after"),
    [
        ("append", "was sent and not confirmed; `understudy history` says whether it counts", 1),
        ("set_stage", "counts, as entry 4 of the ledger, and MLflow does not show it yet", 2),
    ],
)
def test_who_interrupts_is_told_whether_it_counts(
    store: Any, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    step: str, says: str, after: int,
) -> None:  # fmt: skip
    to_production(store, enter(store, tiny, "good", tmp_path), tmp_path)
    second = enter(store, tiny, "same", tmp_path)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, step, interrupted)
        with pytest.raises(Unfinished, match=says):
            to_production(store, second, tmp_path)
    projection.catch_up(store, "m")
    assert live(store) == (after, [after], {"production": after})


def test_of_two_who_append_to_the_same_head_one_wins(
    store: Any, tiny: Tiny, tmp_path: Path
) -> None:
    from registry import ledger, plan

    versions = [enter(store, tiny, name, tmp_path) for name in ("good", "better")]
    found, shown = projection.read(store, "m"), store.shown("m")
    numbers = []
    for version in versions:
        entry = plan.promote(state_of(found), "m", version, Stage.PRODUCTION).entry(
            prev=found.head, actor=f"a{version}", reason="", time="2026-01-01T00:00:00+00:00"
        )
        about = shown.versions[version]
        numbers.append(store.append("m", about, ledger.render(entry), entry.sentence))
    after = projection.project(store, "m", projection.read(store, "m"))
    assert [after.won(n) for n in numbers] == [True, False]
    assert live(store) == (versions[0], [versions[0]], {"production": versions[0]})


def test_a_stage_moved_by_hand_is_a_difference_and_not_obeyed(
    store: Any, tiny: Tiny, tmp_path: Path
) -> None:
    first, second = (enter(store, tiny, name, tmp_path) for name in ("good", "better"))
    to_production(store, first, tmp_path)
    store.set_stage("m", second, Stage.PRODUCTION)
    found, shown = projection.catch_up(store, "m")
    assert state_of(found).production == first
    sentences = [d.sentence for d in projection.differences(state_of(found), shown)]
    assert sentences == [
        "v1 is in Production by the ledger and shown in Archived",
        "v2 is in None by the ledger and shown in Production",
    ]
    projection.project(store, "m", projection.read(store, "m"))
    assert live(store)[:2] == (first, [first])
