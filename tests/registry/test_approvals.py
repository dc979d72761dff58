"""Approvals, and what a program may decide: pure, then on a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry import automation, plan, projection, promote, register
from registry.errors import (
    ActorRefused,
    AlreadyInStage,
    ApprovalRefused,
    ApprovalsMissing,
    AutomationRefused,
    GateRefused,
    IllegalMove,
    OverrideRefused,
    UnknownGate,
    VersionGone,
    VersionLive,
)
from registry.ledger import is_automatic
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import State, state_of
from tests.conftest import Tiny

OFF = GateParams(skip=GATES)


def entry(planned: plan.Plan, actor: str = "ana", **evidence: Any) -> Any:
    return planned.entry(prev="", actor=actor, reason="", time="", **evidence)


def made(*versions: int, by: str = "ana", trained_by: str = "") -> State:
    state = State()
    for version in versions:
        planned = plan.register(state, "m", version)
        state = state.after(entry(planned, by, trained_by=trained_by))
    return state


def approved(state: State, version: int, *actors: str) -> State:
    for actor in actors:
        state = state.after(entry(plan.approve(state, "m", version, actor), actor))
    return state


def test_whose_approval_counts() -> None:
    state = approved(made(1, by="ana", trained_by="tom"), 1, "ben", "zoe")
    assert state.approvers(1) == ("ben", "zoe")
    assert state.approvers(1, "BEN ") == ("zoe",)
    assert state.approvers(2) == ()
    for actor, why in (
        ("ana", "who trained or registered it cannot"),
        (" Tom", "who trained or registered it cannot"),
        ("ｂｅｎ", "they approved it before"),  # noqa: RUF001 - full width, the same name
        ("auto:nightly", "a program approves nothing"),
    ):
        with pytest.raises(ApprovalRefused, match=why):
            plan.approve(state, "m", 1, actor)


def test_approvals_are_spent_by_the_promotion() -> None:
    state = approved(made(1, 2), 1, "ben", "zoe")
    two = GateParams(approvals=2)
    planned = plan.promote(state, "m", 1, Stage.PRODUCTION)
    automation.permit("ana", planned, state, two)
    with pytest.raises(ApprovalsMissing) as refused:
        automation.permit("ben", planned, state, two)
    assert str(refused.value) == (
        "version 1 of m needs 2 approvals by others than who promotes, trained or registered it, "
        "and has 1 (zoe); `understudy approve 1` gives one"
    )
    automation.permit("ben", plan.promote(state, "m", 1, Stage.STAGING), state, two)
    live = state.after(entry(planned))
    assert live.approvers(1) == ()
    with pytest.raises(AlreadyInStage):
        plan.approve(live, "m", 1, "zoe")
    with pytest.raises(ApprovalsMissing, match="and has none"):
        automation.permit("ana", plan.promote(live, "m", 2, Stage.PRODUCTION), live, two)


@pytest.mark.parametrize(
    "name", ["auto:x", " AUTO:x", "Auto:", "auto:a b", "\uff41uto:x", "auto\uff1ax"]
)
def test_names_of_programs(name: str) -> None:
    assert is_automatic(name)


@pytest.mark.parametrize("name", ["ana", "automaton", "x auto:", ""])
def test_names_of_persons(name: str) -> None:
    assert not is_automatic(name)


def test_what_a_program_may() -> None:
    state = made(1, 2, 3)
    state = state.after(entry(plan.promote(state, "m", 1, Stage.PRODUCTION)))
    state = state.after(entry(plan.promote(state, "m", 2, Stage.PRODUCTION), "auto:x"))
    staged = state.after(entry(plan.promote(state, "m", 3, Stage.STAGING), "auto:x"))
    may = GateParams(automation="production")

    def ask(planned: plan.Plan, at: State, params: GateParams | None = None) -> None:
        automation.permit("auto:x", planned, at, params or GateParams())

    assert state.trusted == {1}
    ask(plan.promote(state, "m", 3, Stage.STAGING), state)
    ask(plan.rollback(state, "m"), state)
    ask(plan.archive(staged, "m", 3), staged)
    ask(plan.promote(state, "m", 3, Stage.PRODUCTION), state, may)
    ask(plan.note(state, "m", "reproduce", 1), state)
    with pytest.raises(AutomationRefused) as refused:
        ask(plan.promote(state, "m", 3, Stage.PRODUCTION), state)
    assert str(refused.value) == (
        "auto:x may not do this (v3 to Production): only where params.yaml says "
        "`gate.automation: production` may it go to Production"
    )
    beyond = state.after(entry(plan.promote(state, "m", 3, Stage.PRODUCTION), "auto:x"))
    with pytest.raises(AutomationRefused, match="no person has ever promoted v2 to Production"):
        ask(plan.rollback(beyond, "m"), beyond, may)
    with pytest.raises(AutomationRefused, match="only take back what waits in Staging"):
        ask(plan.archive(state, "m", 1), state, may)
    with pytest.raises(AutomationRefused, match="to adopt is a person's"):
        ask(plan.adopt(state, "m", 3, Stage.PRODUCTION), state, may)
    with pytest.raises(OverrideRefused, match="only a person may, with a reason"):
        automation.permit(
            "auto:x", plan.promote(state, "m", 3, Stage.STAGING), state, may, ["floor"]
        )


def test_adopting_is_planned_from_where_mlflow_shows_a_version() -> None:
    state = made(1, 2)
    state = state.after(entry(plan.promote(state, "m", 1, Stage.PRODUCTION)))
    planned = plan.adopt(state, "m", 2, Stage.PRODUCTION)
    after = state.after(entry(planned))
    assert (after.production, after.former, after.trusted) == (2, (1,), {1, 2})
    assert planned.sentence == "v2 adopted in Production"
    with pytest.raises(AlreadyInStage, match="already in Production, by the ledger as in MLflow"):
        plan.adopt(state, "m", 1, Stage.PRODUCTION)
    with pytest.raises(VersionLive, match="cannot be moved to Archived"):
        plan.adopt(state, "m", 1, Stage.ARCHIVED)
    with pytest.raises(IllegalMove, match="in no stage, and that cannot be adopted"):
        plan.adopt(after, "m", 1, Stage.NONE)


# On a real store


@pytest.fixture
def three(store: Any, tiny: Tiny, tmp_path: Path) -> Any:
    """Versions 1 (good), 2 (same), 3 (better), registered by ana, version 1 in Production."""
    for name in ("good", "same", "better"):
        register.register_run(
            store, "m", tiny.runs[name], wish=Wish("ana"), folder=folder(tmp_path)
        )
    to_production(store, 1, tmp_path)
    return store


def folder(base: Path) -> Path:
    where = base / f"f{len(list(base.iterdir()))}"
    where.mkdir()
    return where


def to_production(store: Any, version: int, base: Path, **options: Any) -> promote.Outcome:
    options = {"params": OFF, "wish": Wish("ben"), **options}
    return promote.promote(store, "m", version, to=Stage.PRODUCTION, folder=folder(base), **options)


def test_a_promotion_waits_for_its_approvals(three: Any, tmp_path: Path) -> None:
    two = replace_params(approvals=2)
    before = len(three.entries("m"))
    with pytest.raises(ApprovalsMissing, match="needs 2 approvals"):
        to_production(three, 2, tmp_path, params=two)
    promote.approve(three, "m", 2, wish=Wish("zoe", "looked at July"))
    promote.approve(three, "m", 2, wish=Wish("kim"))
    assert len(three.entries("m")) == before + 2
    done = to_production(three, 2, tmp_path, params=two)
    evidence = projection.read(three, "m").winners[-1].entry.evidence
    assert done.number is not None
    assert evidence["approvals"] == ["zoe", "kim"]


def test_a_dry_run_asks_the_gates_before_anybody_has_approved(three: Any, tmp_path: Path) -> None:
    rest = ("lineage", "serves", "latency")
    two, dry = replace_params(approvals=2, skip=rest), Wish("ben", dry_run=True)
    before = three.entries("m")
    with pytest.raises(ApprovalsMissing, match="needs 2 approvals") as missing:
        to_production(three, 2, tmp_path, params=two, wish=dry)
    assert missing.value.page.startswith("<!doctype html>")
    high = replace_params(approvals=2, skip=rest, floor=0.99)
    with pytest.raises(GateRefused, match=r"gate floor: roc_auc 0\.\d+ is below the limit"):
        to_production(three, 2, tmp_path, params=high, wish=dry)
    # Without --dry-run nobody waits for gates to hear that approvals are missing.
    with pytest.raises(ApprovalsMissing) as missing:
        to_production(three, 2, tmp_path, params=high)
    assert missing.value.page == ""
    assert three.entries("m") == before


def replace_params(**changes: Any) -> GateParams:
    return OFF.model_copy(update=changes)


def test_every_entry_carries_what_it_is_about(three: Any) -> None:
    promote.rollback  # noqa: B018 - every kind of entry goes through the same place
    winners = projection.read(three, "m").winners
    registered, promoted = winners[0].entry.evidence, winners[-1].entry.evidence
    assert {"digest", "files", "kept", "source", "trained_by", "parent"} < set(registered)
    assert promoted["digest"] == registered["digest"]
    assert promoted["lineage"] == registered["lineage"]
    assert promoted["gate"]["passed"] is True


def test_adopting_what_was_moved_by_hand(three: Any, tmp_path: Path) -> None:
    three.set_stage("m", 3, Stage.PRODUCTION)
    found, shown = projection.catch_up(three, "m")
    seen = projection.seen(state_of(found), shown, 3)
    assert seen is Stage.PRODUCTION
    wish = Wish("ben", "rightly")
    promote.promote(three, "m", 3, to=seen, by_hand=True, params=OFF, wish=wish, folder=tmp_path)
    state = state_of(projection.read(three, "m"))
    assert (state.production, state.former) == (3, (1,))
    assert projection.differences(state, three.shown("m")) == ()
    last = projection.read(three, "m").winners[-1].entry
    assert (last.kind, last.evidence["gate"]["passed"]) == ("adopt", True)


def test_an_alias_moved_by_hand_is_seen_as_well(three: Any) -> None:
    three.set_alias("m", "production", 2)
    found, shown = projection.catch_up(three, "m")
    assert projection.seen(state_of(found), shown, 2) is Stage.PRODUCTION
    assert projection.seen(state_of(found), shown, 3) is Stage.NONE


def test_a_version_that_mlflow_lost_is_not_used(three: Any, tmp_path: Path) -> None:
    to_production(three, 2, tmp_path)
    three._client.delete_model_version("m", "1")
    with pytest.raises(VersionGone, match="version 1 of m is in the ledger and was deleted"):
        promote.rollback(three, "m", to=None, wish=Wish("ben"))
    assert state_of(projection.read(three, "m")).production == 2


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"overrides": ["taste"], "wish": Wish("ben", "x")}, UnknownGate, "no gate 'taste'; there"),
        ({"overrides": ["floor"]}, OverrideRefused, "an override needs a reason, --reason says"),
        ({"overrides": ["floor"], "wish": Wish("ben", " \n")}, OverrideRefused, "needs a reason"),
        ({"wish": Wish("")}, ActorRefused, "the actor is empty; name one with --actor"),
        ({"wish": Wish(" \t ")}, ActorRefused, "the actor is empty"),
        ({"wish": Wish("a\nb")}, ActorRefused, "holds characters that cannot be"),
        ({"wish": Wish("a" * 201)}, ActorRefused, "the actor has 201 characters"),
    ],
)
def test_wishes_that_are_refused(
    three: Any, tmp_path: Path, options: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    before = three.entries("m")
    with pytest.raises(error, match=sentence):
        to_production(three, 2, tmp_path, **options)
    assert three.entries("m") == before


def test_a_reason_of_several_lines_is_kept_and_shown_in_one(three: Any) -> None:
    reason = "first\nsecond\x00\tthird"
    done = promote.archive(three, "m", 2, wish=Wish("ben", reason))
    number, text, sentence = three.records("m")[-1]
    assert number == done.number
    assert projection.read(three, "m").winners[-1].entry.reason == reason
    assert sentence == "v2 archived by ben: first second third"
    assert text.isprintable()
