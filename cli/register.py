"""`understudy register`."""

from __future__ import annotations

import click

import understudy
from cli import options
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy register --reason 'tried a deeper tree'")
@click.argument("run_id", required=False)
@click.option("--version", type=click.IntRange(min=1), help="Enter a version that MLflow has.")
@options.changing
def command(
    run_id: str | None,
    version: int | None,
    model: str | None,
    reason: str,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring a run's model into the registry; without RUN_ID, the pipeline's last run."""
    if run_id and version:
        raise click.UsageError("give a RUN_ID or --version, not both")
    found = understudy.register(
        run_id, version=version, model=model, reason=reason, actor=actor, dry_run=dry_run
    )
    if as_json:
        options.show_json({"version": found.version, "new": found.new, "dry_run": dry_run})
    elif dry_run:
        does = "would be registered as" if found.new else "is registered already:"
        click.echo(f"{does} version {found.version}; nothing was changed (--dry-run)")
    else:
        click.echo(f"version {found.version} " + ("registered" if found.new else "was there"))
        then = f"promote {found.version} --to production" if found.new else "status"
        options.next_command(f"understudy {then}")
