"""`understudy approve`."""

from __future__ import annotations

import click

import understudy
from cli import options, outcome
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy approve 2 --reason 'checked on July'")
@click.argument("version", type=click.IntRange(min=1))
@options.changing
def command(
    version: int,
    model: str | None,
    reason: str,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Vouch for VERSION; gate.approvals of params.yaml says how many must before Production.

    Who trained or registered a version cannot approve it, and who promotes it does not count.
    """
    done = understudy.approve(version, model=model, reason=reason, actor=actor, dry_run=dry_run)
    outcome.show(done, as_json=as_json, then=f"understudy promote {version} --to production")
