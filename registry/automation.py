"""What a program may decide by itself, and whose approval a promotion needs. Pure."""

from __future__ import annotations

from collections.abc import Collection

from registry import traffic
from registry.errors import ApprovalsMissing, AutomationRefused, OverrideRefused
from registry.ledger import is_automatic
from registry.plan import Plan
from registry.sections import GateParams
from registry.stages import Stage
from registry.state import State


def permit(
    actor: str,
    planned: Plan,
    state: State,
    params: GateParams,
    overrides: Collection[str] = (),
) -> None:
    """Let a plan pass, or say who else must have a say.

    Raises AutomationRefused, OverrideRefused, ApprovalsMissing.
    """
    if is_automatic(actor):
        if overrides:
            raise OverrideRefused("only a person may, with a reason")
        if why := _beyond(planned, state, params):
            raise AutomationRefused(actor, planned.sentence, why)
    if planned.kind in ("promote", "adopt") and planned.target is Stage.PRODUCTION:
        found = state.approvers(planned.version, actor)
        if len(found) < params.approvals:
            raise ApprovalsMissing(planned.model, planned.version, params.approvals, found)


def _beyond(planned: Plan, state: State, params: GateParams) -> str | None:
    """Why a program may not do this, or None."""
    version = planned.version
    match planned.kind:
        case "register" | "reproduce":
            return None
        case "promote" if planned.target is Stage.STAGING:
            return None
        case "promote" if params.automation == "production":
            return None
        case "promote":
            return (
                "only where params.yaml says `gate.automation: production` may it go to Production"
            )
        case "rollback" if version in state.trusted:
            return None
        case "rollback":
            return f"no person has ever promoted v{version} to Production"
        case "stop":
            return None
        case "traffic" if planned.evidence.get("mode") == "shadow":
            return None
        case "traffic" | "weight" if params.automation != "staging":
            return None
        case "weight" if state.traffic and _share(planned) < state.traffic.weight:
            return None
        case "traffic" | "weight":
            return (
                "only where params.yaml says `gate.automation: canary` or `production` may it give "
                "a challenger traffic"
            )
        case "archive" if planned.source is Stage.STAGING and version not in state.former:
            return None
        case "archive":
            return "it may only take back what waits in Staging and was never live"
        case _:
            return f"to {planned.kind} is a person's"


def _share(planned: Plan) -> float:
    weight = traffic.weight_of(planned.evidence)
    return 1.0 if weight is None else weight
