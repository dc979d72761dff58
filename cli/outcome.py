"""How the outcome of a promotion, rollback or archive is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.options import next_command, show_json
from registry.gate import Check
from serving import nearby

if TYPE_CHECKING:
    from understudy import Outcome


def _word(check: Check) -> str:
    if check.skipped:
        return "skipped"
    return "overridden" if check.overridden else "passed"


def show(outcome: Outcome, *, as_json: bool, then: str) -> None:
    """The plan, the gates, what was done, and the next command."""
    plan, done = outcome.plan, outcome.number is not None
    followers = nearby.poke(plan.model) if done else []
    if as_json:
        show_json(
            {
                "model": plan.model,
                "action": plan.kind,
                "version": plan.version,
                "from": plan.source,
                "to": plan.target,
                "moves": [asdict(move) for move in plan.moves],
                **plan.evidence,
                "gate": outcome.verdict.as_dict(),
                "dry_run": not done,
                "ledger_entry": outcome.number,
                "report": outcome.report,
            }
        )
        return
    for check in outcome.verdict.checks:
        click.echo(f"gate {check.name}: {_word(check)}: {check.sentence}")
    click.echo(f"{plan.model}: {plan.sentence}" if done else f"would do: {plan.sentence}")
    for move in plan.moves:
        click.echo(f"  v{move.version}: {move.source} -> {move.target}")
    if done:
        click.echo(f"ledger entry {outcome.number}")
        if outcome.report:
            click.echo(f"gate report: {outcome.report}, among the artifacts of the version's run")
        for address in followers:
            click.echo(f"the gateway at {address} follows")
        next_command("understudy history" if followers and then == "understudy serve" else then)
    else:
        click.echo("nothing was changed (--dry-run)")


def show_gateways(done: Mapping[str, Any], *, as_json: bool, then: str) -> None:
    """What a gateway did when it was asked to roll back."""
    if as_json:
        show_json({**done, "dry_run": False})
        return
    click.echo(f"{done['model']}: {done['sentence']}")
    for move in done["moves"]:
        click.echo(f"  v{move['version']}: {move['source']} -> {move['target']}")
    click.echo(f"ledger entry {done['ledger_entry']}")
    if done["answers"] == done["version"]:
        click.echo(f"the gateway answers with v{done['version']}, after {done['milliseconds']} ms")
    else:
        click.echo(
            f"the gateway is starting v{done['version']}; until then v{done['answers']} answers"
        )
    next_command(then)
