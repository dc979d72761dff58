"""How the outcome of a promotion, rollback or archive is printed."""

from __future__ import annotations

from dataclasses import asdict

import click

import understudy
from cli.options import next_command, show_json
from registry.gate import Check


def _word(check: Check) -> str:
    if check.skipped:
        return "skipped"
    return "overridden" if check.overridden else "passed"


def show(outcome: understudy.Outcome, *, as_json: bool, then: str) -> None:
    """The plan, the gates, what was done, and the next command."""
    plan, done = outcome.plan, outcome.number is not None
    if as_json:
        show_json(
            {
                "model": plan.model,
                "action": plan.kind,
                "version": plan.version,
                "from": plan.source,
                "to": plan.target,
                "moves": [asdict(move) for move in plan.moves],
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
        next_command(then)
    else:
        click.echo("nothing was changed (--dry-run)")
