"""`understudy adopt`."""

from __future__ import annotations

import click

import understudy
from cli import options, outcome
from registry.console import Command


@click.command(
    cls=Command, epilog="Example: understudy adopt 3 --reason 'ana moved it in the UI, rightly'"
)
@click.argument("version", type=click.IntRange(min=1))
@options.override
@options.report
@options.changing
def command(
    version: int,
    override: tuple[str, ...],
    report: str | None,
    model: str | None,
    reason: str,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over where VERSION was moved by hand in MLflow, through the gates.

    The opposite is `understudy repair`, which puts stages and aliases back.
    """
    done = options.reported(
        report,
        lambda: understudy.adopt(
            version,
            override=override,
            model=model,
            reason=reason,
            actor=actor,
            dry_run=dry_run,
            say=options.progress(as_json),
        ),
    )
    outcome.show(done, as_json=as_json, then="understudy status")
