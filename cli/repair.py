"""`understudy repair`."""

from __future__ import annotations

import click

import understudy
from cli import options
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy repair --dry-run")
@options.model
@click.option("--dry-run", is_flag=True, help="Show what would happen, change nothing.")
@options.as_json
def command(model: str | None, dry_run: bool, as_json: bool) -> None:
    """Make MLflow's stages and aliases show what the ledger says."""
    found = understudy.repair(model=model, dry_run=dry_run)
    if as_json:
        options.show_json({"repaired": list(found), "dry_run": dry_run})
        return
    for sentence in found:
        click.echo(f"{'would put right' if dry_run else 'put right'}: {sentence}")
    if not found:
        click.echo("nothing to repair: stages and aliases are as the ledger says")
    options.next_command("understudy status")
