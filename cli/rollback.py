"""`understudy rollback`."""

from __future__ import annotations

import http.client
import os
from typing import Any

import click

from cli import options, outcome
from registry import settings
from registry.console import Command
from registry.errors import ProjectNotFound
from serving import nearby

GATEWAY_SECONDS = 30.0


@click.command(
    cls=Command, epilog="Example: understudy rollback --reason 'answers are late at noon'"
)
@click.option("--to", type=click.IntRange(min=1), help="A version that was in Production before.")
@options.changing
def command(
    to: int | None,
    model: str | None,
    reason: str,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Go back to the former Production version; twice in a row goes two back.

    Where a gateway of this project runs, it decides and changes its route in the same moment.
    """
    if not dry_run:
        done = _beside_a_gateway(model, {"to": to, "reason": reason, "actor": actor})
        if done is not None:
            outcome.show_gateways(done, as_json=as_json, then="understudy history")
            return
    import understudy

    said = understudy.rollback(to=to, model=model, reason=reason, actor=actor, dry_run=dry_run)
    outcome.show(said, as_json=as_json, then="understudy history")


def _beside_a_gateway(model: str | None, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What a gateway did, None where none runs that could; it has nobody's key to sign with."""
    try:
        root = settings.find_root()
    except ProjectNotFound:
        return None
    registry = settings.registry_params(root)
    if registry.keys or os.environ.get("UNDERSTUDY_KEY"):
        return None
    name = model or registry.model
    who = settings.actor() if asked["actor"] is None else asked["actor"]
    gateways = nearby.running(root, name)
    if not gateways:
        return None
    try:
        body = {**asked, "model": name, "actor": who}
        done = gateways[0].post("/admin/rollback", body, GATEWAY_SECONDS)
    except (ConnectionError, http.client.HTTPException):
        return None  # it is on its way down or up
    if len(gateways) > 1:
        nearby.poke(name)
    return done
