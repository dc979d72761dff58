"""`understudy reproduce`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import understudy
from cli import options
from registry.console import Command
from registry.reproduce import TOLERANCE


@click.command(cls=Command, epilog="Example: understudy reproduce 1 --tolerance 0.001")
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=TOLERANCE,
    show_default=True,
    help="How far held-out metrics may lie apart, in each metric's own unit.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the rebuilt model, what its run kept and the log in this folder.",
)
@options.reason
@options.actor
@options.model
@options.as_json
def command(
    version: int,
    tolerance: float,
    keep: Path | None,
    model: str | None,
    reason: str,
    actor: str | None,
    as_json: bool,
) -> None:
    """Make VERSION again from its record, compare, and record the verdict.

    Its commit is checked out in a temporary worktree, its data version fetched by its md5, its
    pipeline run against a temporary store. The working copy is not touched. The exit code is 1
    where the version came out different.
    """
    done = understudy.reproduce(
        version,
        tolerance=tolerance,
        keep=keep,
        model=model,
        reason=reason,
        actor=actor,
        say=options.progress(quiet=False),
    )
    if as_json:
        options.show_json(done.as_dict())
    else:
        click.echo(f"{done.model} v{version}: {done.result.sentence}")
        for cause in done.result.causes:
            click.echo(f"  {cause}")
        click.echo(f"{done.environment}; data from {done.data_from}; {done.seconds:.0f} s")
        click.echo(f"ledger entry {done.number}")
        options.next_command(f"understudy lineage {version}")
    if not done.result.reproduced:
        sys.exit(1)
