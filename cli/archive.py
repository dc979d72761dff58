"""`understudy archive`."""

from __future__ import annotations

import click

import understudy
from cli import options, outcome
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy archive 3 --reason 'trained on bad labels'")
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
    """Take VERSION out of use; a rollback never goes to it again."""
    done = understudy.archive(version, model=model, reason=reason, actor=actor, dry_run=dry_run)
    outcome.show(done, as_json=as_json, then="understudy status")
