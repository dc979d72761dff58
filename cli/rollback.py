"""`understudy rollback`."""

from __future__ import annotations

import click

import understudy
from cli import options, outcome
from registry.console import Command


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
    """Go back to the former Production version; twice in a row goes two back."""
    done = understudy.rollback(to=to, model=model, reason=reason, actor=actor, dry_run=dry_run)
    outcome.show(done, as_json=as_json, then="understudy history")
